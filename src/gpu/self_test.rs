//! The self-test of kernels: on the first use of a driver every kernel of a plan computes one dispatch twice, on random values.

use super::dispatch_bench::DispatchBench;
use super::program::Compiled;
use super::self_tests::Subject;
use super::{Gpu, GpuError};
use crate::kernel::{Function, Kernel, Layout, Precision, Role, Spec};
use crate::plan::CheckedPlan;
use crate::trial::{TrialData, check_samples, decoded};
use std::fmt::Write as _;

/// Outputs of a dispatch that are compared with the plain loops, at least, where there are so many. They are spread over images, channels,
/// rows and columns.
const SAMPLES: usize = 64;

/// Maximum bytes of the buffers of a test. A dispatch of a large batch may take more; its kernel is then not tested.
const MAX_BYTES: usize = 256 << 20;

/// Values below the normal range of f16, which drivers may flush to zero.
const SMALLEST_NORMAL_F16: f32 = 1.0 / 16384.0;

/// Tests the kernels of a plan that have not been tested on this driver, each in the smallest dispatch that it computes, and records the
/// results. Returns whether a kernel of the plan is of a family that is wrong. Blocks.
///
/// # Errors
/// [`GpuError::DeviceLost`], [`GpuError::Refused`], [`GpuError::Timeout`].
pub(super) fn finds_wrong(
    gpu: &Gpu,
    plan: &CheckedPlan,
    compiled: &mut Compiled,
    safe: bool,
) -> Result<bool, GpuError> {
    let untested = untested(gpu, plan, compiled, safe);
    if !untested.is_empty() {
        compiled.finish(gpu)?;
    }
    for (subject, dispatch) in untested {
        let wrong = match test(gpu, plan, dispatch, compiled) {
            // The network itself may still fit.
            Err(GpuError::OutOfMemory { doing }) => {
                log::warn!("{}: {} is not tested: out of memory for {doing}", gpu.adapter(), subject.kernel);
                continue;
            }
            tested => tested?,
        };
        let found = wrong.as_deref().unwrap_or("right");
        log::debug!(
            "{}: {} in {} with {}: {found}",
            gpu.adapter(),
            subject.kernel,
            subject.precision,
            subject.with
        );
        gpu.self_tests_mut().add(gpu.adapter(), subject, wrong);
    }
    // Another session may have found it meanwhile.
    let record = gpu.self_tests_mut();
    let is_wrong = |(spec, kernel): (&Spec, &Kernel)| {
        record.wrong_families(gpu.adapter(), spec.precision()).contains(&kernel.choice.family)
    };
    Ok(plan.dispatches.iter().map(|d| &d.spec).zip(compiled.kernels()).any(is_wrong))
}

/// The smallest dispatch of every kernel that has not been tested.
fn untested(gpu: &Gpu, plan: &CheckedPlan, compiled: &Compiled, safe: bool) -> Vec<(Subject, usize)> {
    let known = gpu.self_tests();
    let mut smallest: Vec<(Subject, usize, usize)> = vec![];
    for (i, (dispatch, kernel)) in plan.dispatches.iter().zip(compiled.kernels()).enumerate() {
        let subject = subject(&dispatch.spec, kernel, safe);
        if known.has(gpu.adapter(), &subject) {
            continue;
        }
        let bytes = bytes(gpu, plan, i, kernel);
        match smallest.iter_mut().find(|(s, ..)| *s == subject) {
            Some((_, at, least)) if bytes < *least => (*at, *least) = (i, bytes),
            Some(_) => {}
            None => smallest.push((subject, i, bytes)),
        }
    }
    smallest.retain(|(subject, _, bytes)| {
        let fits = *bytes <= MAX_BYTES;
        if !fits {
            log::warn!("{}: {} is not tested: it would take {bytes} bytes", gpu.adapter(), subject.kernel);
        }
        fits
    });
    smallest.into_iter().map(|(subject, at, _)| (subject, at)).collect()
}

/// What a test of a dispatch's kernel is a test of.
fn subject(spec: &Spec, kernel: &Kernel, safe: bool) -> Subject {
    let mut with = String::new();
    let mut part = |has: bool, name: &str| {
        if has {
            let comma = if with.is_empty() { "" } else { ", " };
            let _ = write!(with, "{comma}{name}");
        }
    };
    let is_planar = |layout: Layout| layout == Layout::Planar;
    part(spec.operands().iter().any(|o| is_planar(o.shape.layout)), "planar input");
    part(spec.outputs().iter().any(|shape| is_planar(shape.layout)), "planar output");
    if let Spec::Conv(conv) = spec {
        for range in &conv.k_ranges {
            let [height, width] = range.kernel;
            part(true, &format!("{height}x{width}"));
            part(range.stride != [1, 1] || range.from.stride != 1, "stride");
            part(range.dilation != [1, 1], "dilation");
            part(range.groups > 1, "groups");
            part(range.prologue.is_some(), "prologue");
            part(range.from.avg_pool_2x2, "means");
        }
        part(conv.adds.len() > conv.in_place, "adds");
        part(conv.in_place > 0, "in place");
        part(conv.adds.iter().any(|add| add.gate.is_some()), "gates");
        for (_, function) in &conv.activation {
            part(*function != Function::Identity, &function.to_string());
        }
        part(conv.activation.len() > 1, "ranges");
        part(conv.pool.is_some(), "max-pool");
        part(conv.outputs.len() > 1, "parts");
    }
    let shaders = &kernel.shaders;
    part(shaders.iter().any(|s| s.bindings.iter().any(|b| b.role == Role::Arena)), "arena");
    part(shaders.iter().any(|s| s.subgroup), "subgroups");
    part(shaders.iter().any(|s| s.int64), "int64");
    part(safe, "checks");
    Subject { kernel: kernel.choice.to_string(), precision: spec.precision().to_string(), with }
}

/// Bytes of the buffers of a test: what the dispatch reads, its weights, and its outputs with a copy of their first content and of the
/// result. An arena, with a copy of its first content, is as long as the last of its buffers needs.
fn bytes(gpu: &Gpu, plan: &CheckedPlan, dispatch: usize, kernel: &Kernel) -> usize {
    let d = &plan.dispatches[dispatch];
    let read: usize = d.spec.operands().iter().map(|o| o.shape.bytes()).sum();
    let written: usize = d.spec.outputs().iter().map(|shape| 3 * shape.bytes()).sum();
    let arena = gpu.arena(plan, dispatch).map_or(0, |arena| {
        let starts = arena.reads.into_iter().chain(arena.writes).flatten();
        starts.max().map_or(0, |quads| 2 * 16 * quads as usize)
    });
    read + written + arena + kernel.scratch as usize + d.weights.as_ref().map_or(0, |w| w.bytes())
}

/// The first wrong value that a kernel computes. The second run has other values in the same buffers: a driver may be right only once.
fn test(
    gpu: &Gpu,
    plan: &CheckedPlan,
    dispatch: usize,
    compiled: &Compiled,
) -> Result<Option<String>, GpuError> {
    let (spec, kernel) = (&plan.dispatches[dispatch].spec, compiled.kernel(dispatch));
    let mut data = data(spec, 1);
    let weights = match spec {
        Spec::Conv(conv) => data.pack(kernel, conv),
        _ => vec![],
    };
    let [reads, writes] = data.encoded(spec);
    let mut bench = DispatchBench::new(gpu, plan, dispatch, &reads, &writes)?;
    let candidate = bench.bind(kernel, &weights, compiled.pipelines_of(dispatch))?;
    let flushed = if spec.precision() == Precision::F16 { f64::from(SMALLEST_NORMAL_F16) } else { 0.0 };
    for run in ["first", "second"] {
        if run == "second" {
            (data.reads, data.writes) = TrialData::buffers(spec, 2);
            flush(spec.precision(), data.reads.iter_mut().chain(&mut data.writes));
            let [reads, writes] = data.encoded(spec);
            bench.refill(&reads, &writes)?;
        }
        let found = decoded(spec, bench.answer(&candidate)?);
        if let Err(wrong) = check_samples(spec, &data, &found, kernel.rounding(), SAMPLES, flushed) {
            return Ok(Some(format!("{run} run, {wrong}")));
        }
    }
    Ok(None)
}

/// Random values without such as f16 may flush to zero, with weights that make sums of about unit variance: every part of an activation is
/// reached, and the rounding bound stays far below the values.
fn data(spec: &Spec, seed: u64) -> TrialData {
    let mut data = TrialData::new(spec, seed);
    let precision = spec.precision();
    if let Spec::Conv(conv) = spec {
        let per_channel = |w: &Vec<f32>| w.len() / conv.out_channels.max(1);
        let terms: usize = data.weights.iter().map(per_channel).sum();
        let scale = 2.0 / (terms.max(1) as f32).sqrt();
        data.weights.iter_mut().flatten().for_each(|w| *w = precision.stored(*w * scale));
    }
    flush(precision, data.reads.iter_mut().chain(&mut data.writes).chain(&mut data.weights));
    data
}

/// Sets what f16 may flush to zero.
fn flush<'a>(precision: Precision, values: impl Iterator<Item = &'a mut Vec<f32>>) {
    if precision == Precision::F16 {
        values.flatten().filter(|v| v.abs() < SMALLEST_NORMAL_F16).for_each(|v| *v = 0.0);
    }
}
