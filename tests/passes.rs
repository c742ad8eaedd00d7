//! Winograd's filtering in three shaders, which software adapters use: every remainder of its tiles, every operand and epilogue it
//! takes, and the layers of networks.

mod common;

use common::specs::{add, conv, in_place, packed, projection, range, relu_until, split, whole};
use common::{Gpu, adapters, arena, data, decoded, layers, oracle};
use rmnet::kernel::{ConvSpec, Function, Kernel, Operand, Spec, candidates_in, packed_weight_bytes};

/// The adapters that share buffers: of those in CI llvmpipe; SwiftShader has no 64-bit integers.
fn able() -> Vec<Gpu> {
    let able: Vec<Gpu> = adapters().into_iter().filter(|g| g.caps.shares_buffers()).collect();
    assert!(!able.is_empty(), "no adapter that shares buffers");
    able
}

/// The kernels of three shaders for a spec.
fn passes(gpu: &Gpu, spec: &ConvSpec) -> Vec<Kernel> {
    let spec = Spec::Conv(spec.clone());
    let mut kernels = candidates_in(&spec, &gpu.caps, Some(&arena(&spec))).expect("within the limits");
    kernels.retain(|k| k.shaders.len() == 3);
    kernels
}

/// Runs a kernel and judges one element of `every`.
fn check(
    gpu: &Gpu,
    name: &str,
    spec: &ConvSpec,
    kernel: &Kernel,
    safe: bool,
    every: usize,
) -> Option<String> {
    let whole = Spec::Conv(spec.clone());
    let data = data(&whole, 11);
    let weights = data.pack(kernel, spec);
    assert!(weights.len() as u64 * 4 <= packed_weight_bytes(spec), "bound of {name}, {}", kernel.name);
    let [reads, writes] = data.encoded(&whole);
    let prepared = gpu.prepare_in(kernel, &arena(&whole), &reads, &writes, &weights, safe);
    gpu.dispatch(&prepared, 1);
    let found = decoded(&whole, gpu.outputs(&prepared));
    let checked = oracle::check_sample(&whole, &data, &found, kernel.rounding(), every);
    checked.err().map(|message| format!("{} {name} [{}]: {message}", gpu.name, kernel.name))
}

fn three(batch: usize, channels: usize, height: usize, width: usize, out: usize) -> ConvSpec {
    conv(vec![range(whole(0, packed(batch, channels, height, width)), 3, 1, 1, 1)], out)
}

#[test]
fn every_remainder() {
    let mut wrong = vec![];
    for gpu in able() {
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
        ];
        for (i, (batch, channels, height, width, out)) in shapes.into_iter().enumerate() {
            let spec = three(batch, channels, height, width, out);
            let kernels = passes(&gpu, &spec);
            assert_eq!(kernels.len(), 2, "{}", gpu.name);
            for kernel in kernels {
                let name = format!("{batch}x{height}x{width}, {channels} to {out}");
                wrong.extend(check(&gpu, &name, &spec, &kernel, i % 2 == 0, 1));
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
    let clipped = ConvSpec { activation: vec![(0..20, Function::Relu6)], ..three(2, 24, 11, 9, 20) };
    let specs = [
        ("a range of channels", conv(vec![range(view, 3, 1, 1, 1)], 20)),
        ("every other row", conv(vec![range(strided, 3, 1, 1, 1)], 20)),
        ("no padding", unpadded),
        ("two windows", of_two),
        ("a projection", projection(x, packed(2, 10, 22, 18), 20, 3, 2)),
        ("a projection of stride 1", projection(x, packed(2, 10, 11, 9), 20, 3, 1)),
        ("in place", in_place(three(2, 24, 11, 9, 20))),
        ("an added value", add(three(2, 24, 11, 9, 20), whole(1, packed(2, 8, 11, 9)), 4)),
        ("two outputs", split(three(2, 24, 11, 9, 20), &[8])),
        ("clipped", clipped),
    ];
    let mut wrong = vec![];
    for gpu in able() {
        for (name, spec) in &specs {
            let kernels = passes(&gpu, spec);
            assert_eq!(kernels.len(), 2, "{name}");
            wrong.extend(kernels.iter().filter_map(|k| check(&gpu, name, spec, k, false, 1)));
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
    for gpu in able() {
        let mut layers_seen = 0;
        for layer in ["resnet18", "resnet50"].into_iter().flat_map(|n| layers::network(n, 1)) {
            let Spec::Conv(spec) = &layer.spec else { continue };
            for kernel in passes(&gpu, spec) {
                layers_seen += 1;
                wrong.extend(check(&gpu, &layer.name, spec, &kernel, false, 997));
            }
        }
        assert!(layers_seen >= 20, "{layers_seen}");
    }
    assert!(wrong.is_empty(), "{} wrong:\n{}", wrong.len(), wrong.join("\n"));
}
