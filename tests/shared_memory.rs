//! Kernels that share workgroup memory against plain loops, on every Vulkan adapter present: every remainder of their tiles,
//! every kind of operand and epilogue, and the layers of three networks.

mod common;

use common::families::{in_slices, shared_kinds, shared_remainders};
use common::specs::half;
use common::{Gpu, adapters, check_conv, check_whole, data, decoded, in_parallel, layers, on_each};
use rmnet::kernel::{Capabilities, Class, FamilyId, Kernel, Spec, candidates, select};
use std::collections::{BTreeSet, HashSet};
use std::sync::Mutex;

/// The adapter as if it were a discrete card.
fn discrete(gpu: &Gpu) -> Capabilities {
    gpu.caps.clone().with(|c| c.class = Class::Discrete)
}

fn shares(kernel: &Kernel) -> bool {
    kernel.shaders[0].wgsl().contains("var<workgroup>")
}

fn none_wrong(found: Vec<Vec<String>>) {
    let wrong = found.concat();
    assert!(wrong.is_empty(), "{} wrong:\n{}", wrong.len(), wrong.join("\n"));
}

#[test]
fn every_remainder() {
    let kinds_seen = Mutex::new(BTreeSet::new());
    let (gpus, cases) = (adapters(), shared_remainders());
    let found = in_parallel(&on_each(&gpus, &cases), |(gpu, _, (name, spec))| {
        let mut wrong = vec![];
        let kernels = candidates(&Spec::Conv(spec.clone()), &discrete(gpu)).expect("within the limits");
        for kernel in kernels.iter().filter(|k| shares(k)) {
            kinds_seen.lock().expect("no thread panicked").insert(kernel.choice);
            wrong.extend(check_conv(gpu, name, spec, kernel, false, 1).err());
        }
        let Spec::Conv(stored) = half(Spec::Conv(spec.clone())) else { unreachable!("it stays one") };
        let kernels = candidates(&Spec::Conv(stored.clone()), &discrete(gpu)).expect("within the limits");
        for kernel in kernels.iter().filter(|k| shares(k)).step_by(2) {
            wrong.extend(check_conv(gpu, &format!("{name}, f16"), &stored, kernel, false, 1).err());
        }
        wrong
    });
    let kinds_seen = kinds_seen.into_inner().expect("no thread panicked");
    assert!(kinds_seen.len() >= 9, "only {kinds_seen:?}");
    none_wrong(found);
}

#[test]
fn every_operand_and_epilogue() {
    let (gpus, cases) = (adapters(), shared_kinds());
    none_wrong(in_parallel(&on_each(&gpus, &cases), |&(gpu, case, (name, spec))| {
        let mut wrong = vec![];
        let kernels = candidates(&Spec::Conv(spec.clone()), &discrete(gpu)).expect("within the limits");
        let shared: Vec<_> = kernels.iter().filter(|k| shares(k)).collect();
        assert!(!shared.is_empty(), "{name}: no kernel to try");
        // Every other one, in turn, some with runtime checks: pipelines take long to make.
        for kernel in shared.iter().skip(case % 2).step_by(2) {
            wrong.extend(check_conv(gpu, name, spec, kernel, case % 4 == 0, 1).err());
        }
        let Spec::Conv(stored) = half(Spec::Conv(spec.clone())) else { unreachable!("it stays one") };
        let kernels = candidates(&Spec::Conv(stored.clone()), &discrete(gpu)).expect("within the limits");
        let shared: Vec<_> = kernels.iter().filter(|k| shares(k)).collect();
        assert!(!shared.is_empty(), "{name}, f16: no kernel to try");
        let turn = shared[case % shared.len()];
        wrong.extend(check_conv(gpu, &format!("{name}, f16"), &stored, turn, false, 1).err());
        wrong
    }));
}

/// What a discrete card would run, Winograd's kernels, and one alternative in turn. A sample of each answer is judged.
#[test]
fn layers_of_networks() {
    let networks = ["resnet18", "resnet50", "mobilenet_v2"].into_iter().flat_map(|n| layers::network(n, 1));
    let mut seen = HashSet::new();
    let layers: Vec<_> = networks.enumerate().filter(|(_, layer)| seen.insert(layer.spec.clone())).collect();
    let gpus = adapters();
    none_wrong(in_parallel(&on_each(&gpus, &layers), |(gpu, _, (case, layer))| {
        let Spec::Conv(spec) = &layer.spec else { return vec![] };
        let caps = discrete(gpu);
        let kernels = candidates(&layer.spec, &caps).expect("within the limits");
        let shared: Vec<_> =
            kernels.iter().filter(|k| shares(k) && k.choice.family != FamilyId::Gemv).collect();
        let chosen = select(&layer.spec, &caps).expect("within the limits").choice;
        let turn = case % shared.len().max(1);
        let wanted = shared
            .iter()
            .enumerate()
            .filter(|(i, k)| *i == turn || k.choice == chosen || k.choice.family == FamilyId::WinogradFused);
        let depth: usize = spec.k_ranges.iter().map(|r| r.from.channels * r.kernel[0] * r.kernel[1]).sum();
        let every = (depth * spec.out_channels * spec.size[0] * spec.size[1] / 4_000_000) | 1;
        wanted.filter_map(|(_, k)| check_conv(gpu, &layer.name, spec, k, false, every).err()).collect()
    }));
}

#[test]
fn sums_in_slices() {
    let mut wrong = vec![];
    let mut seen = BTreeSet::new();
    for gpu in adapters() {
        for (case, (name, spec)) in in_slices().into_iter().enumerate() {
            for spec in [half(spec.clone()), spec] {
                let caps = gpu.caps.clone().with(|c| c.class = Class::Integrated);
                let kernel = select(&spec, &caps).expect("within the limits");
                seen.insert(kernel.choice.to_string());
                let data = data(&spec, 7);
                let weights = match &spec {
                    Spec::Conv(conv) => data.pack(&kernel, conv),
                    _ => vec![],
                };
                let [reads, writes] = data.encoded(&spec);
                let prepared = gpu.prepare(&kernel, &reads, &writes, &weights, case % 2 == 0);
                gpu.dispatch(&prepared, 1);
                let message = check_whole(&spec, &data, &decoded(&spec, gpu.outputs(&prepared))).err();
                wrong.extend(message.map(|m| format!("{} {name} [{}]: {m}", gpu.name, kernel.choice)));
            }
        }
    }
    assert!(wrong.is_empty(), "{} wrong:\n{}", wrong.len(), wrong.join("\n"));
    for name in ["gemv in 8", "gemv in 32", "gemv in 64", "average", "average in 8", "average in 256"] {
        assert!(seen.contains(name), "no {name} in {seen:?}");
    }
}

/// Large maps get large tiles, small maps slices; software adapters keep their own kernel.
#[test]
fn static_choice() {
    let name = |line: &str, batch: usize, caps: &Capabilities| {
        let layers = layers::network("resnet18", batch);
        let layer = layers.iter().find(|l| l.name == line).expect("a layer");
        select(&layer.spec, caps).expect("within the limits").choice.to_string()
    };
    let card = Capabilities::WEBGPU.with(|c| c.class = Class::Discrete);
    assert_eq!(name("conv 64 56 3 1 64", 64, &card), "gemm 128px x 64oc x 8");
    assert_eq!(name("conv 128 28 3 1 128", 64, &card), "winograd-fused 64px x 32oc");
    // Tiles of 2x2 reach far over the edge of an odd map.
    assert_eq!(name("conv 512 7 3 1 512", 64, &card), "gemm 64px x 64oc x 16");
    assert_eq!(name("conv 64 56 3 1 64", 1, &card), "gemm 32px x 32oc x 8 in 4");
    assert_eq!(name("conv 512 7 3 1 512", 1, &card), "gemm 16px x 16oc x 4 in 16");
    assert!(name("stem 64", 1, &card).starts_with("stem "));
    assert!(name("conv 64 56 3 1 64", 1, &Capabilities::WEBGPU).starts_with("direct "));
    let software = Capabilities::WEBGPU.with(|c| {
        c.class = Class::Software;
        c.features.subgroup_size = Some(8);
    });
    assert!(name("conv 64 56 3 1 64", 1, &software).starts_with("software-direct "));
}
