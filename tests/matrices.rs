//! Kernels for matrix units, on every Vulkan adapter that has f16 in shaders: on the units where they are there, and everywhere
//! with each matrix taken apart into plain numbers, which tests all but the units themselves. Where
//! no adapter has units, each case is run on one of them, in turn.

mod common;

use common::families::{in_half, matrix_cases};
use common::specs::{activated, conv, half, packed, range, to_planar, whole};
use common::{Gpu, adapters, check_conv, data, decoded, in_parallel, in_turn, layers, on_each};
use rmnet::kernel::{Capabilities, Class, ConvSpec, Function, Kernel, Shader, Spec, candidates, select};
use std::collections::{BTreeSet, HashSet};
use std::sync::Mutex;

/// The adapter as if it had matrix units.
fn with_units(gpu: &Gpu) -> Capabilities {
    gpu.caps.clone().with(|c| {
        c.class = Class::Discrete;
        c.features.matrix_units = true;
        c.features.subgroup_size = Some(32);
        c.limits.max_workgroup_memory = 48 << 10;
        c.limits.max_workgroup_invocations = 256;
        c.features.int64 = false;
    })
}

/// Adapters whose shaders may use f16.
fn able() -> Vec<Gpu> {
    let able: Vec<Gpu> = adapters()
        .into_iter()
        .filter(|g| g.device().features().contains(wgpu::Features::SHADER_F16))
        .collect();
    assert!(!able.is_empty(), "no adapter with SHADER_F16");
    able
}

/// Each case with every adapter where one has matrix units, else with one of them.
fn pairs<'a, T>(gpus: &'a [Gpu], cases: &'a [T]) -> Vec<(&'a Gpu, usize, &'a T)> {
    let units = gpus.iter().any(|g| g.caps.features.matrix_units);
    if units { on_each(gpus, cases) } else { in_turn(gpus, cases) }
}

/// A kernel without matrix units: 32 neighbouring invocations are a subgroup, a matrix of operands is where it lies, and of one
/// of sums each invocation has eight elements.
fn taken_apart(kernel: &Kernel) -> Kernel {
    let mut lines: Vec<String> = vec![];
    for line in kernel.shaders[0].wgsl().lines() {
        let line = line.trim();
        if line.contains("enable wgpu_cooperative_matrix") || line.starts_with("@builtin(subgroup") {
            continue;
        }
        let (before, inside) = match line.split_once("coopLoad") {
            Some((before, rest)) => (before, rest.split_once("(&staged[").map(|(_, rest)| rest)),
            None => (line, None),
        };
        lines.push(match inside {
            Some(rest) => {
                let at = rest.strip_suffix("], ROW);").expect("a load's end");
                format!("{before}{at};")
            }
            None if line.contains("coop_mat16x16<f32, C>()") => {
                line.replace("coop_mat16x16<f32, C>()", "array<f32, 8>()")
            }
            None if line.contains("coopMultiplyAdd(") => {
                line.replace("coopMultiplyAdd(", "multiply_add(local, ")
            }
            None if line.starts_with("coopStore(") => {
                let (sums, to) = line.strip_prefix("coopStore(").and_then(|l| l.split_once(", &sums[")).expect("a store");
                let to = to.strip_suffix("], SUMS_ROW);").expect("a store's end");
                format!(
                    "for (var e = 0u; e < 8u; e++) {{ let row = local % 16u; let column = local / 16u % 2u + 2u * e; \
                     let at = ({to} + column * SUMS_ROW) * 4u + row; sums[at / 4u][at % 4u] = {sums}[e]; }}"
                )
            }
            None if line == ") {" => {
                ") {\nlet subgroup = local / 32u;\nlet lane_of_subgroup = local % 32u;".to_string()
            }
            None => line.to_string(),
        });
    }
    // Row `local % 16` of the left matrix times columns of the right, K in ascending order.
    lines.push(
        "fn multiply_add(local: u32, left: u32, right: u32, before: array<f32, 8>) -> array<f32, 8> {\n\
         var sums_of = before;\n\
         for (var e = 0u; e < 8u; e++) { let row = local % 16u; let column = local / 16u % 2u + 2u * e;\n\
         for (var k = 0u; k < 4u; k++) {\n\
         sums_of[e] += dot(vec4<f32>(staged[left + row * ROW + k]), vec4<f32>(staged[right + column * ROW + k]));\n\
         } }\n\
         return sums_of;\n}"
            .into(),
    );
    let wgsl = lines.join("\n");
    assert!(!wgsl.contains("coop"), "{wgsl}");
    let mut apart = kernel.clone();
    let shader = apart.shaders.remove(0);
    apart.shaders = vec![Shader::from_wgsl(wgsl, shader.entry, shader.bindings, shader.grid)];
    apart
}

fn judge(
    gpu: &Gpu,
    name: &str,
    spec: &ConvSpec,
    kernel: &Kernel,
    safe: bool,
    every: usize,
) -> Option<String> {
    let run = |kernel: &Kernel| check_conv(gpu, name, spec, kernel, safe, every).err();
    let on_units = if gpu.caps.features.matrix_units { run(kernel) } else { None };
    on_units.or_else(|| run(&taken_apart(kernel)))
}

#[test]
fn every_tile_on_every_remainder_operand_and_epilogue() {
    let seen = Mutex::new(BTreeSet::new());
    let (gpus, cases) = (able(), matrix_cases());
    let found = in_parallel(&pairs(&gpus, &cases), |&(gpu, case, (name, spec))| {
        let kernels = candidates(&Spec::Conv(spec.clone()), &with_units(gpu)).expect("within the limits");
        let kernels: Vec<_> = kernels.into_iter().filter(|k| k.shaders[0].matrices).collect();
        assert!(!kernels.is_empty(), "{name}: none for matrix units");
        // One in three, in turn, and in half of the cases the second: pipelines take long to make.
        let some = kernels
            .iter()
            .skip(case % 3)
            .step_by(3)
            .chain(kernels.get(kernels.len().min(2) - 1).filter(|_| case % 4 < 2));
        let judged = some.filter_map(|kernel| {
            seen.lock().expect("no thread panicked").insert(kernel.choice.to_string());
            judge(gpu, name, spec, kernel, case % 5 == 0, 1)
        });
        judged.collect::<Vec<String>>()
    });
    let (seen, wrong) = (seen.into_inner().expect("no thread panicked"), found.concat());
    assert!(seen.len() >= 8, "only {seen:?}");
    assert!(wrong.is_empty(), "{} wrong:\n{}", wrong.len(), wrong.join("\n"));
}

/// What a card with matrix units runs for the layers of two networks; a sample of each answer is judged.
#[test]
fn layers_of_networks() {
    let mut seen = HashSet::new();
    let layers: Vec<_> = ["resnet18", "resnet50"]
        .into_iter()
        .flat_map(|n| layers::network(n, 1))
        .map(|layer| (layer.name, half(layer.spec)))
        .filter(|(_, spec)| seen.insert(spec.clone()))
        .collect();
    let gpus = able();
    let judged = in_parallel(&pairs(&gpus, &layers), |(gpu, _, (name, spec))| {
        let Spec::Conv(conv) = spec else { return None };
        let kernel = select(spec, &with_units(gpu)).expect("within the limits");
        if !kernel.shaders[0].matrices {
            return None;
        }
        let depth: usize = conv.k_ranges.iter().map(|r| r.from.channels * r.kernel[0] * r.kernel[1]).sum();
        let every = (depth * conv.out_channels * conv.size[0] * conv.size[1] / 4_000_000) | 1;
        Some((&gpu.name, judge(gpu, name, conv, &kernel, false, every)))
    });
    let on_units: Vec<_> = judged.into_iter().flatten().collect();
    for gpu in &gpus {
        let layers = on_units.iter().filter(|(name, _)| **name == gpu.name).count();
        assert!(layers > 10 / gpus.len(), "{}: {layers} layers on matrix units", gpu.name);
    }
    let wrong: Vec<String> = on_units.into_iter().filter_map(|(_, wrong)| wrong).collect();
    assert!(wrong.is_empty(), "{} wrong:\n{}", wrong.len(), wrong.join("\n"));
}

/// What f16 cannot hold is NaN where it is stored, and stays so: through rectifiers, and on the way out of the network.
#[test]
fn nan_is_kept() {
    let x = whole(0, packed(1, 64, 8, 8));
    let three = conv(vec![range(x, 3, 1, 1, 1)], 64);
    for gpu in able() {
        for function in [Function::Relu, Function::Relu6] {
            for spec in [activated(three.clone(), function), to_planar(activated(three.clone(), function))] {
                let spec = in_half(spec);
                let whole = Spec::Conv(spec.clone());
                let kernel = select(&whole, &with_units(&gpu)).expect("within the limits");
                assert!(kernel.shaders[0].matrices, "{}", kernel.choice);
                let mut data = data(&whole, 5);
                let shape = spec.k_ranges[0].from.shape;
                data.reads[0][shape.index(0, 7, 3, 4)] = f32::NAN;
                let [reads, writes] = data.encoded(&whole);
                let apart = taken_apart(&kernel);
                let prepared = gpu.prepare(&apart, &reads, &writes, &data.pack(&kernel, &spec), false);
                gpu.dispatch(&prepared, 1);
                let found = decoded(&whole, gpu.outputs(&prepared)).remove(0);
                let out = spec.outputs[0].shape;
                for (y, x, reached) in [(3, 4, true), (2, 5, true), (0, 0, false), (5, 4, false)] {
                    for c in [0, 33, 63] {
                        assert_eq!(found[out.index(0, c, y, x)].is_nan(), reached, "{function} {c} {y} {x}");
                    }
                }
            }
        }
    }
}

/// Matrix kernels bind the weights twice: where that is one buffer too many, another family does the dispatch.
#[test]
fn one_buffer_too_many() {
    let operand = |buffer: usize| whole(buffer, packed(1, 64, 8, 8));
    let ranges = (0..6).map(|buffer| range(operand(buffer), 1, 1, 0, 1)).collect();
    let spec = Spec::Conv(in_half(conv(ranges, 64)));
    let caps = Capabilities::WEBGPU.with(|c| {
        c.class = Class::Discrete;
        c.features.matrix_units = true;
        c.features.subgroup_size = Some(32);
    });
    let kernel = select(&spec, &caps).expect("8 buffers are enough");
    assert!(!kernel.shaders[0].matrices && kernel.shaders[0].bindings.len() == 8, "{}", kernel.choice);
    let more = caps.with(|c| c.limits.max_storage_buffers = 9);
    assert!(select(&spec, &more).expect("within the limits").shaders[0].matrices);
}
