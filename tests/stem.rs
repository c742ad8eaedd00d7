//! Kernels for a network's first convolution against plain loops, on every Vulkan adapter present: the stems of the families, every
//! remainder of the rectangles, every window and pool, in f32 and f16.

mod common;

use common::families::{image, stem_families, stem_kinds, stem_remainders};
use common::specs::{activated, add, conv, half, packed, planar, pooled, range, whole};
use common::{Gpu, adapters, answer, check, data, in_parallel, layers, on_each};
use rmnet::kernel::{Capabilities, Class, ConvSpec, FamilyId, Function, Kernel, Spec, candidates, select};

/// The adapter as if it were a discrete card.
fn card(gpu: &Gpu) -> Capabilities {
    gpu.caps.clone().with(|c| c.class = Class::Discrete)
}

fn stems(spec: &Spec, caps: &Capabilities) -> Vec<Kernel> {
    let kernels = candidates(spec, caps).expect("within the limits");
    kernels.into_iter().filter(|k| k.choice.family == FamilyId::Stem).collect()
}

/// Judges the stems of the cases, in f32 and f16 in turn; of every case those that `turn` says.
fn judge<N: AsRef<str> + Sync>(cases: &[(N, ConvSpec)], turn: impl Fn(usize, usize) -> bool + Sync) {
    let gpus = adapters();
    let found = in_parallel(&on_each(&gpus, cases), |&(gpu, case, (name, spec))| {
        let mut wrong = vec![];
        let spec = Spec::Conv(spec.clone());
        let kernels = stems(&spec, &card(gpu));
        assert!(!kernels.is_empty(), "{}: no kernel to try", name.as_ref());
        for (i, kernel) in kernels.iter().enumerate().filter(|&(i, _)| turn(case, i)) {
            let safe = case % 4 == 0;
            if (case + i) % 3 != 2 {
                wrong.extend(check(gpu, name.as_ref(), &spec, kernel, safe, 1).err());
                continue;
            }
            let spec = half(spec.clone());
            let kernel = stems(&spec, &card(gpu)).swap_remove(i);
            let name = format!("{}, f16", name.as_ref());
            wrong.extend(check(gpu, &name, &spec, &kernel, safe, 1).err());
        }
        wrong
    });
    let wrong = found.concat();
    assert!(wrong.is_empty(), "{} wrong:\n{}", wrong.len(), wrong.join("\n"));
}

#[test]
fn every_family() {
    judge(&stem_families(), |_, _| true);
}

#[test]
fn every_remainder() {
    judge(&stem_remainders(), |case, i| i == case % 4 || i == 0);
}

#[test]
fn every_window_pool_and_output() {
    judge(&stem_kinds(), |case, i| i == case % 4 || i == (case + 1) % 4);
}

/// At full size, what each kind of GPU would run. A sample of each answer is judged.
#[test]
fn layers_of_networks() {
    let mut wrong = vec![];
    for gpu in adapters() {
        for network in ["resnet18", "mobilenet_v2"] {
            let layers = layers::network(network, 2);
            let layer = layers.iter().find(|l| l.name.starts_with("stem")).expect("a stem");
            for discrete in [false, true] {
                for spec in [layer.spec.clone(), half(layer.spec.clone())] {
                    let caps = card(&gpu)
                        .with(|c| c.class = if discrete { Class::Discrete } else { Class::Integrated });
                    let kernel = select(&spec, &caps).expect("within the limits");
                    wrong.extend(check(&gpu, &layer.name, &spec, &kernel, false, 997).err());
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{} wrong:\n{}", wrong.len(), wrong.join("\n"));
}

/// More rectangles than a grid's side may have: some workgroups have none.
#[test]
fn a_folded_grid() {
    for gpu in adapters() {
        let caps = card(&gpu).with(|c| c.limits.max_workgroups = 13);
        for spec in [image([3, 3, 33, 33], 3, 1, 20), pooled(image([3, 3, 33, 33], 3, 1, 20), 3, 2, 1)] {
            let spec = Spec::Conv(spec);
            for kernel in stems(&spec, &caps) {
                check(&gpu, "folded", &spec, &kernel, true, 1).expect("right");
            }
            let grids = stems(&spec, &caps).into_iter().map(|k| k.shaders[0].grid);
            let folded = grids.filter(|g| g[2] > 1 && (g[0] * g[2]) % 9 != 0);
            assert!(folded.count() > 0);
        }
    }
}

/// In f16 a value that is none reaches all that depend on it, as in the other kernels: no rectifier or pool drops it.
#[test]
fn nan_is_kept() {
    for gpu in adapters() {
        for function in [Function::Relu, Function::Relu6] {
            let base = activated(image([1, 3, 40, 40], 3, 1, 16), function);
            for spec in [pooled(base.clone(), 3, 2, 1), base] {
                let spec = half(Spec::Conv(spec));
                let mut data = data(&spec, 3);
                data.reads[0][17 * 40 + 14] = f32::NAN;
                let nan = |kernel: &Kernel| -> Vec<bool> {
                    answer(&gpu, &spec, &data, kernel, false)[0].iter().map(|v| v.is_nan()).collect()
                };
                let kernels = candidates(&spec, &card(&gpu)).expect("within the limits");
                let plain =
                    kernels.iter().find(|k| k.choice.family == FamilyId::Direct).expect("a register tile");
                let expected = nan(plain);
                assert!(expected.contains(&true) && expected.contains(&false));
                for kernel in kernels.iter().filter(|k| k.choice.family == FamilyId::Stem) {
                    assert_eq!(nan(kernel), expected, "{function} [{}]", kernel.choice);
                }
            }
        }
    }
}

/// Every GPU has its stem in rectangles, software and other convolutions do not.
#[test]
fn static_choice() {
    let name = |network: &str, batch: usize, caps: &Capabilities| {
        let layers = layers::network(network, batch);
        let layer = layers.iter().find(|l| l.name.starts_with("stem")).expect("a stem");
        select(&layer.spec, caps).expect("within the limits").choice.to_string()
    };
    let gpu = Capabilities::WEBGPU;
    let discrete = gpu.clone().with(|c| c.class = Class::Discrete);
    assert_eq!(name("resnet18", 64, &discrete), "stem 256px x 32oc");
    assert_eq!(name("resnet18", 1, &discrete), "stem 256px x 16oc");
    assert_eq!(name("resnet18", 64, &gpu), "stem 256px x 16oc");
    assert_eq!(name("mobilenet_v2", 64, &discrete), "stem 256px x 32oc");
    assert_eq!(name("mobilenet_v2", 1, &discrete), "stem 128px x 16oc");
    let software = gpu.clone().with(|c| c.class = Class::Software);
    let small = gpu.clone().with(|c| c.limits.max_workgroup_memory = 1 << 10);
    for caps in [software, small] {
        for network in ["resnet18", "mobilenet_v2"] {
            let spec = layers::network(network, 1).swap_remove(0).spec;
            assert!(stems(&spec, &caps).is_empty());
        }
    }
    let x = whole(0, planar(1, 3, 20, 20));
    let others = [
        conv(vec![range(whole(0, packed(1, 3, 20, 20)), 3, 1, 1, 1)], 16),
        conv(vec![range(x, 1, 1, 0, 1)], 16),
        conv(vec![range(whole(0, planar(1, 9, 20, 20)), 3, 1, 1, 1)], 16),
        conv(vec![range(x, 3, 1, 1, 1), range(whole(1, packed(1, 8, 20, 20)), 1, 1, 0, 1)], 16),
        add(conv(vec![range(x, 3, 1, 1, 1)], 16), whole(1, packed(1, 16, 20, 20)), 0),
    ];
    for spec in others {
        assert!(stems(&Spec::Conv(spec), &gpu).is_empty());
    }
}
