//! Winograd's filtering in several shaders, which software adapters use: every remainder of its tiles, every operand and epilogue it
//! takes, and the layers of networks.

mod common;

use common::families::{pass_kinds, pass_remainders, three};
use common::specs::{conv, packed, range, relu_until, whole};
use common::{Gpu, arena, check_conv, layers, sharing};
use rmnet::kernel::{ConvSpec, Kernel, Spec, candidates_in};

/// The kernels of passes for a spec.
fn passes(gpu: &Gpu, spec: &ConvSpec) -> Vec<Kernel> {
    let spec = Spec::Conv(spec.clone());
    let mut kernels = candidates_in(&spec, &gpu.caps, Some(&arena(&spec))).expect("within the limits");
    kernels.retain(|k| k.scratch > 0);
    kernels
}

#[test]
fn every_remainder() {
    let mut wrong = vec![];
    for gpu in sharing() {
        for (i, (name, spec)) in pass_remainders().into_iter().enumerate() {
            let kernels = passes(&gpu, &spec);
            assert_eq!(kernels.len(), 2, "{}", gpu.name);
            for kernel in kernels {
                wrong.extend(check_conv(&gpu, &name, &spec, &kernel, i % 2 == 0, 1).err());
            }
        }
    }
    assert!(wrong.is_empty(), "{} wrong:\n{}", wrong.len(), wrong.join("\n"));
}

#[test]
fn every_operand_and_epilogue() {
    let specs = pass_kinds();
    let mut wrong = vec![];
    for gpu in sharing() {
        for (name, count, spec) in &specs {
            let kernels = passes(&gpu, spec);
            assert_eq!(kernels.len(), *count, "{name}");
            for kernel in &kernels {
                wrong.extend(check_conv(&gpu, name, spec, kernel, kernel.shaders.len() > 3, 1).err());
            }
        }
        // What it does not compute.
        let plain = three(1, 8, 8, 8, 16);
        let wide = conv(vec![range(whole(0, packed(1, 8, 8, 8)), 3, 1, 2, 2)], 16);
        for spec in [relu_until(plain, 8, true), wide] {
            assert!(passes(&gpu, &spec).is_empty());
        }
    }
    assert!(wrong.is_empty(), "{} wrong:\n{}", wrong.len(), wrong.join("\n"));
}

#[test]
fn layers_of_networks() {
    let mut wrong = vec![];
    for gpu in sharing() {
        let mut layers_seen = 0;
        for layer in ["resnet18", "resnet50"].into_iter().flat_map(|n| layers::network(n, 1)) {
            let Spec::Conv(spec) = &layer.spec else { continue };
            for kernel in passes(&gpu, spec) {
                layers_seen += 1;
                wrong.extend(check_conv(&gpu, &layer.name, spec, &kernel, false, 997).err());
            }
        }
        assert!(layers_seen >= 20, "{layers_seen}");
    }
    assert!(wrong.is_empty(), "{} wrong:\n{}", wrong.len(), wrong.join("\n"));
}
