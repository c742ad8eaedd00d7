//! Winograd's filtering in several shaders, which software adapters use: every remainder of its tiles, every operand and epilogue it
//! takes, and the layers of networks.

mod common;

use common::specs::{add, conv, in_place, packed, projection, range, relu_until, split, whole};
use common::{Gpu, arena, check_conv, layers, sharing};
use rmnet::kernel::{ConvSpec, Function, Kernel, Operand, Spec, candidates_in};

/// The kernels of passes for a spec.
fn passes(gpu: &Gpu, spec: &ConvSpec) -> Vec<Kernel> {
    let spec = Spec::Conv(spec.clone());
    let mut kernels = candidates_in(&spec, &gpu.caps, Some(&arena(&spec))).expect("within the limits");
    kernels.retain(|k| k.scratch > 0);
    kernels
}

fn three(batch: usize, channels: usize, height: usize, width: usize, out: usize) -> ConvSpec {
    conv(vec![range(whole(0, packed(batch, channels, height, width)), 3, 1, 1, 1)], out)
}

#[test]
fn every_remainder() {
    let mut wrong = vec![];
    for gpu in sharing() {
        let shapes = [
            (1, 1, 1, 1, 1),
            (1, 3, 2, 5, 7),
            (1, 8, 3, 4, 16),
            (2, 5, 4, 9, 17),
            (3, 12, 7, 7, 20),
            (1, 16, 13, 31, 33),
            (2, 22, 8, 6, 48),
            (5, 4, 5, 3, 5),
            (1, 9, 30, 17, 12),
            (1, 6, 9, 9, 64),
            (2, 7, 5, 12, 67),
        ];
        for (i, (batch, channels, height, width, out)) in shapes.into_iter().enumerate() {
            let spec = three(batch, channels, height, width, out);
            let kernels = passes(&gpu, &spec);
            assert_eq!(kernels.len(), 2, "{}", gpu.name);
            for kernel in kernels {
                let name = format!("{batch}x{height}x{width}, {channels} to {out}");
                wrong.extend(check_conv(&gpu, &name, &spec, &kernel, i % 2 == 0, 1).err());
            }
        }
    }
    assert!(wrong.is_empty(), "{} wrong:\n{}", wrong.len(), wrong.join("\n"));
}

#[test]
fn every_operand_and_epilogue() {
    let x = packed(2, 24, 11, 9);
    let view = Operand { first_channel: 8, channels: 10, ..whole(0, x) };
    let strided = Operand { stride: 2, ..whole(0, packed(2, 12, 21, 18)) };
    let unpadded = conv(vec![range(whole(0, x), 3, 1, 0, 1)], 20);
    let of_two =
        conv(vec![range(whole(0, x), 3, 1, 1, 1), range(whole(1, packed(2, 6, 11, 9)), 3, 1, 1, 1)], 20);
    let added = |spec| add(spec, whole(1, packed(2, 8, 11, 9)), 4);
    let every_other = Operand { stride: 2, ..whole(2, packed(2, 12, 21, 18)) };
    let clipped = ConvSpec { activation: vec![(0..20, Function::Relu6)], ..three(2, 24, 11, 9, 20) };
    let specs = [
        ("a range of channels", conv(vec![range(view, 3, 1, 1, 1)], 20)),
        ("every other row", conv(vec![range(strided, 3, 1, 1, 1)], 20)),
        ("no padding", unpadded),
        ("wide padding", conv(vec![range(whole(0, x), 3, 1, 2, 1)], 20)),
        ("two windows", of_two),
        ("in place", in_place(three(2, 24, 11, 9, 20))),
        ("in place, and an added value", in_place(added(three(2, 24, 11, 9, 20)))),
        ("an added value", added(three(2, 24, 11, 9, 20))),
        ("two added values", add(added(three(2, 24, 11, 9, 20)), every_other, 0)),
        ("two outputs", split(three(2, 24, 11, 9, 20), &[8])),
        ("clipped", clipped),
    ];
    // There a projection may be summed before.
    let strided = projection(x, packed(2, 10, 22, 18), 20, 3, 2);
    let two = ConvSpec {
        k_ranges: [&strided.k_ranges[..], &[range(whole(2, packed(2, 6, 11, 9)), 1, 1, 0, 1)]].concat(),
        ..strided.clone()
    };
    let mut offset = strided.clone();
    offset.outputs[0].first_channel = 12;
    offset.outputs[0].shape.channels = 36;
    let apart = [
        ("a projection", 3, strided.clone()),
        ("a projection of stride 1", 3, projection(x, packed(2, 10, 11, 9), 20, 3, 1)),
        ("a projection to many", 3, projection(x, packed(2, 10, 22, 18), 37, 3, 2)),
        ("a projection and an added value", 3, add(strided.clone(), whole(2, packed(2, 8, 11, 9)), 4)),
        (
            "a projection, clipped",
            3,
            ConvSpec { activation: vec![(0..20, Function::Relu6)], ..strided.clone() },
        ),
        ("two projections", 1, two),
        ("a projection in place", 2, in_place(strided.clone())),
        ("a projection to a part of a buffer", 3, offset),
        ("a projection and two outputs", 2, split(strided, &[8])),
    ];
    let specs: Vec<_> = specs.into_iter().map(|(name, spec)| (name, 2, spec)).chain(apart).collect();
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
