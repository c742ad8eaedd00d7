//! The self-test of kernels: on the first use of a driver every kernel of a plan computes one dispatch twice, on random values.

use super::dispatch_bench::DispatchBench;
use super::program::Compiled;
use super::{Gpu, GpuError};
use crate::kernel::{Choice, Kernel, Precision, Spec};
use crate::plan::{CheckedPlan, Dispatch};
use crate::trial::{TrialData, check_sample, decoded};

/// Outputs of a dispatch that are compared, at least, where there are so many. They are spread over images, channels, rows and columns.
const SAMPLES: usize = 64;

/// Maximum bytes of the buffers of a test. A dispatch of a large batch may take more; its kernel is then not tested.
const MAX_BYTES: usize = 256 << 20;

/// Tests the kernels of a plan that have not been tested on this driver, each in the smallest dispatch that it computes, and records the
/// results. Returns whether a kernel was wrong. Blocks.
///
/// # Errors
/// [`GpuError::OutOfMemory`], [`GpuError::DeviceLost`], [`GpuError::Refused`], [`GpuError::Timeout`].
pub(super) fn finds_wrong(gpu: &Gpu, plan: &CheckedPlan, compiled: &mut Compiled) -> Result<bool, GpuError> {
    let untested = untested(gpu, plan, compiled);
    if untested.is_empty() {
        return Ok(false);
    }
    compiled.finish(gpu)?;
    let mut any = false;
    for dispatch in untested {
        let kernel = compiled.kernel(dispatch);
        let wrong = test(gpu, plan, dispatch, kernel, compiled)?;
        let precision = plan.dispatches[dispatch].spec.precision();
        match &wrong {
            Some(wrong) => log::warn!(
                "{}: the driver computes {} in {precision} wrong, so its family is not used: {wrong}",
                gpu.adapter(),
                kernel.choice
            ),
            None => log::debug!("{}: {} in {precision} is right", gpu.adapter(), kernel.choice),
        }
        any |= wrong.is_some();
        gpu.self_tests_mut().add(gpu.adapter(), kernel.choice, precision, wrong);
    }
    Ok(any)
}

/// The smallest dispatch of every kernel that has not been tested.
fn untested(gpu: &Gpu, plan: &CheckedPlan, compiled: &Compiled) -> Vec<usize> {
    let known = gpu.self_tests();
    let mut smallest: Vec<(Choice, Precision, usize)> = vec![];
    for (i, (dispatch, kernel)) in plan.dispatches.iter().zip(compiled.kernels()).enumerate() {
        let (choice, precision) = (kernel.choice, dispatch.spec.precision());
        if bytes(dispatch) > MAX_BYTES || known.has(gpu.adapter(), choice, precision) {
            continue;
        }
        match smallest.iter_mut().find(|(c, p, _)| (*c, *p) == (choice, precision)) {
            Some((.., at)) if bytes(dispatch) < bytes(&plan.dispatches[*at]) => *at = i,
            Some(_) => {}
            None => smallest.push((choice, precision, i)),
        }
    }
    smallest.into_iter().map(|(.., at)| at).collect()
}

/// Bytes of the buffers of a test: what the dispatch reads, its weights, and its outputs with a copy of their first content and of the
/// result.
fn bytes(dispatch: &Dispatch) -> usize {
    let read: usize = dispatch.spec.operands().iter().map(|o| o.shape.bytes()).sum();
    let written: usize = dispatch.spec.outputs().iter().map(|shape| 3 * shape.bytes()).sum();
    read + written + dispatch.weights.as_ref().map_or(0, |w| w.bytes())
}

/// The first wrong value that a kernel computes. The second run has other values in the same buffers: a driver may be right only once.
fn test(
    gpu: &Gpu,
    plan: &CheckedPlan,
    dispatch: usize,
    kernel: &Kernel,
    compiled: &Compiled,
) -> Result<Option<String>, GpuError> {
    let spec = &plan.dispatches[dispatch].spec;
    let mut data = TrialData::new(spec, 1);
    let weights = match spec {
        Spec::Conv(conv) => data.pack(kernel, conv),
        _ => vec![],
    };
    let [reads, writes] = data.encoded(spec);
    let mut bench = DispatchBench::new(gpu, plan, dispatch, &reads, &writes)?;
    let candidate = bench.bind(kernel, &weights, compiled.pipelines_of(dispatch))?;
    let elements: usize = spec.outputs().iter().map(|shape| shape.elements()).sum();
    // Odd, so that the sampled columns differ from row to row where rows are of even length.
    let every = (elements / SAMPLES) | 1;
    for run in ["first", "second"] {
        let found = decoded(spec, bench.answer(&candidate)?);
        if let Err(wrong) = check_sample(spec, &data, &found, kernel.rounding(), every) {
            return Ok(Some(format!("{run} run, {wrong}")));
        }
        let other = TrialData::new(spec, 2);
        (data.reads, data.writes) = (other.reads, other.writes);
        let [reads, writes] = data.encoded(spec);
        bench.refill(&reads, &writes)?;
    }
    Ok(None)
}
