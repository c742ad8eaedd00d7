//! Kernels that share workgroup memory against plain loops, on every Vulkan adapter present: every remainder of their tiles,
//! every kind of operand and epilogue, and the layers of three networks.

mod common;

use common::specs::{
    activated, add, conv, gated, half, in_place, in_place_in_parts, mapped, of_means, packed, planar,
    projection, range, relu_until, split, to_planar, whole,
};
use common::{Gpu, adapters, check_conv, data, decoded, layers, oracle};
use rmnet::kernel::{
    AverageSpec, BufferShape, Capabilities, ConvSpec, Function, Kernel, Operand, Spec, candidates, select,
};

/// The adapter as if it were a discrete card.
fn discrete(gpu: &Gpu) -> Capabilities {
    Capabilities { discrete: true, ..gpu.caps.clone() }
}

fn shares(kernel: &Kernel) -> bool {
    kernel.shaders[0].wgsl().contains("var<workgroup>")
}

/// One 3x3 and one 1x1 for every remainder of pixels, channels and K; the first offers every tile.
fn remainders() -> Vec<(String, ConvSpec)> {
    let mut specs = vec![];
    for (batch, height, width, channels, kernel, out) in [
        (1, 10, 13, 25, 3, 130),
        (3, 5, 7, 24, 3, 70),
        (2, 8, 8, 22, 3, 128),
        (1, 1, 65, 197, 1, 67),
        (1, 4, 4, 24, 3, 16),
        (1, 1, 17, 200, 1, 17),
        (2, 3, 11, 28, 3, 33),
        (1, 7, 9, 21, 3, 12),
        (5, 2, 3, 33, 3, 28),
        (1, 1, 64, 3, 1, 64),
        (1, 33, 1, 8, 1, 36),
        (1, 1, 130, 16, 1, 31),
    ] {
        let from = whole(0, packed(batch, channels, height, width));
        let spec = conv(vec![range(from, kernel, 1, kernel / 2, 1)], out);
        specs.push((format!("{batch}x{height}x{width}, {channels} to {out}, {kernel}x{kernel}"), spec));
    }
    specs
}

/// Every kind of operand and epilogue on 2 x 63 pixels and 20 or more channels: tiles with and without slices.
fn kinds() -> Vec<(&'static str, ConvSpec)> {
    let x = whole(0, packed(2, 24, 7, 9));
    let three = |out: usize| conv(vec![range(x, 3, 1, 1, 1)], out);
    let like = |buffer: usize, channels: usize| whole(buffer, packed(2, channels, 7, 9));
    let mut specs = vec![
        ("in place", in_place(three(20))),
        ("in place in parts", in_place_in_parts(24, &[(4, 8), (16, 24)])),
        ("in place and another", add(in_place(three(18)), like(1, 18), 0)),
        ("add planar", add(three(20), whole(1, planar(2, 20, 7, 9)), 0)),
        ("gated add", gated(add(three(20), like(1, 20), 0), 2, 24, 4)),
        ("gated in place", gated(in_place(three(20)), 1, 20, 0)),
        ("relu before", relu_until(three(19), 6, true)),
        ("prelu", activated(three(21), Function::PRelu)),
        ("sigmoid", activated(three(24), Function::Sigmoid)),
        ("split in three", split(three(39), &[4, 32])),
        ("split planar", to_planar(split(three(39), &[12, 32]))),
        ("classifier of many", to_planar(conv(vec![range(whole(0, packed(19, 210, 1, 1)), 1, 1, 0, 1)], 30))),
    ];
    let view = Operand { first_channel: 4, channels: 21, stride: 2, ..whole(1, packed(2, 29, 13, 17)) };
    specs.push(("add a strided part", add(three(28), view, 4)));
    let part = Operand { first_channel: 4, channels: 25, stride: 2, ..whole(0, packed(2, 30, 13, 18)) };
    specs.push(("strided view", conv(vec![range(part, 3, 1, 1, 1)], 20)));
    specs.push(("strided view 1x1", conv(vec![range(part, 1, 1, 0, 1)], 20)));
    for (kernel, stride, padding, dilation) in
        [(3, 2, 1, 1), (3, 1, 0, 1), (3, 1, 2, 2), (5, 2, 3, 1), (2, 2, 0, 1), (1, 2, 0, 1)]
    {
        let from = whole(0, packed(2, 27, 14, 13));
        specs.push(("window", conv(vec![range(from, kernel, stride, padding, dilation)], 20)));
    }
    let mut uneven = range(whole(0, packed(2, 26, 8, 13)), 1, 1, 0, 1);
    (uneven.kernel, uneven.stride, uneven.dilation) = ([3, 2], [1, 3], [2, 1]);
    (uneven.padding, uneven.padding_end) = ([2, 0], [2, 1]);
    specs.push(("uneven window", conv(vec![uneven], 20)));
    for function in [Function::Identity, Function::Relu, Function::Relu6] {
        specs.push(("mapped", mapped(three(20), 0, function)));
        specs.push(("mapped means", mapped(of_means(packed(2, 18, 13, 11), 20), 0, function)));
    }
    specs.push(("means", of_means(packed(1, 32, 12, 10), 20)));
    specs.push(("projection", projection(packed(2, 22, 7, 8), packed(2, 18, 13, 15), 20, 3, 2)));
    specs.push(("projection 1x1", projection(packed(2, 30, 6, 5), packed(2, 27, 6, 5), 36, 1, 1)));
    let shape = packed(1, 56, 6, 6);
    let (low, high) = (
        Operand { channels: 26, ..whole(0, shape) },
        Operand { first_channel: 28, channels: 28, ..whole(0, shape) },
    );
    let thrice = vec![range(low, 3, 1, 1, 1), range(high, 5, 1, 2, 1), range(whole(0, shape), 1, 1, 0, 1)];
    specs.push(("same buffer thrice", conv(thrice, 24)));
    let mut offset = three(39);
    offset.outputs[0].first_channel = 12;
    offset.outputs[0].shape.channels = 51;
    specs.push(("offset", offset));
    specs
}

#[test]
fn every_remainder() {
    let mut wrong = vec![];
    let mut kinds_seen = std::collections::BTreeSet::new();
    for gpu in adapters() {
        for (name, spec) in remainders() {
            let kernels = candidates(&Spec::Conv(spec.clone()), &discrete(&gpu)).expect("within the limits");
            for kernel in kernels.iter().filter(|k| shares(k)) {
                kinds_seen.insert(kernel.name.clone());
                wrong.extend(check_conv(&gpu, &name, &spec, kernel, false, 1).err());
            }
            let Spec::Conv(stored) = half(Spec::Conv(spec)) else { unreachable!("it stays one") };
            let kernels =
                candidates(&Spec::Conv(stored.clone()), &discrete(&gpu)).expect("within the limits");
            for kernel in kernels.iter().filter(|k| shares(k)).step_by(2) {
                wrong.extend(check_conv(&gpu, &format!("{name}, f16"), &stored, kernel, false, 1).err());
            }
        }
    }
    assert!(kinds_seen.len() >= 9, "only {kinds_seen:?}");
    assert!(wrong.is_empty(), "{} wrong:\n{}", wrong.len(), wrong.join("\n"));
}

#[test]
fn every_operand_and_epilogue() {
    let mut wrong = vec![];
    for gpu in adapters() {
        for (case, (name, spec)) in kinds().iter().enumerate() {
            let kernels = candidates(&Spec::Conv(spec.clone()), &discrete(&gpu)).expect("within the limits");
            let shared: Vec<_> = kernels.iter().filter(|k| shares(k)).collect();
            assert!(!shared.is_empty(), "{name}: no kernel to try");
            // Every other one, in turn, some with runtime checks: pipelines take long to make.
            for kernel in shared.iter().skip(case % 2).step_by(2) {
                wrong.extend(check_conv(&gpu, name, spec, kernel, case % 4 == 0, 1).err());
            }
            let Spec::Conv(stored) = half(Spec::Conv(spec.clone())) else { unreachable!("it stays one") };
            let kernels =
                candidates(&Spec::Conv(stored.clone()), &discrete(&gpu)).expect("within the limits");
            let shared: Vec<_> = kernels.iter().filter(|k| shares(k)).collect();
            assert!(!shared.is_empty(), "{name}, f16: no kernel to try");
            let turn = shared[case % shared.len()];
            wrong.extend(check_conv(&gpu, &format!("{name}, f16"), &stored, turn, false, 1).err());
        }
    }
    assert!(wrong.is_empty(), "{} wrong:\n{}", wrong.len(), wrong.join("\n"));
}

/// What a discrete card would run, Winograd's kernels, and one alternative in turn. A sample of each answer is judged.
#[test]
fn layers_of_networks() {
    let mut wrong = vec![];
    for gpu in adapters() {
        let networks = ["resnet18", "resnet50", "mobilenet_v2"];
        let mut seen = std::collections::HashSet::new();
        for (case, layer) in networks.into_iter().flat_map(|n| layers::network(n, 1)).enumerate() {
            let Spec::Conv(spec) = &layer.spec else { continue };
            if !seen.insert(layer.spec.clone()) {
                continue;
            }
            let caps = discrete(&gpu);
            let kernels = candidates(&layer.spec, &caps).expect("within the limits");
            let shared: Vec<_> = kernels.iter().filter(|k| shares(k) && !k.name.contains("gemv")).collect();
            let chosen = select(&layer.spec, &caps).expect("within the limits").name;
            let turn = case % shared.len().max(1);
            for (_, kernel) in shared
                .iter()
                .enumerate()
                .filter(|(i, k)| *i == turn || k.name == chosen || k.name.contains("winograd"))
            {
                let depth: usize =
                    spec.k_ranges.iter().map(|r| r.from.channels * r.kernel[0] * r.kernel[1]).sum();
                let every = (depth * spec.out_channels * spec.size[0] * spec.size[1] / 4_000_000) | 1;
                wrong.extend(check_conv(&gpu, &layer.name, spec, kernel, false, every).err());
            }
        }
    }
    assert!(wrong.is_empty(), "{} wrong:\n{}", wrong.len(), wrong.join("\n"));
}

/// Matrices times vectors, and means: the sums that several invocations share, with as many of them as a GPU would have.
fn in_slices() -> Vec<(String, Spec)> {
    let mut specs = vec![];
    for (batch, channels, out) in
        [(1, 512, 1000), (1, 2048, 100), (3, 300, 37), (2, 1030, 18), (4, 129, 17), (1, 64, 4), (2, 7, 1100)]
    {
        let product = conv(vec![range(whole(0, packed(batch, channels, 1, 1)), 1, 1, 0, 1)], out);
        let name = format!("{batch} of {channels} to {out}");
        let spec = match out % 2 {
            0 => to_planar(product),
            _ => activated(product, Function::PRelu),
        };
        specs.push((name, Spec::Conv(spec)));
    }
    for shape in [
        packed(1, 512, 7, 7),
        packed(3, 10, 5, 6),
        packed(1, 24, 56, 57),
        packed(2, 9, 2, 3),
        packed(1, 6, 1, 8),
        planar(2, 5, 12, 11),
    ] {
        for part in [false, true] {
            let first_channel = if part { 4 } else { 0 };
            let from = Operand { first_channel, channels: shape.channels - first_channel, ..whole(0, shape) };
            let to = BufferShape { channels: from.channels, ..packed(shape.batch, 0, 1, 1) };
            specs.push((
                format!("mean of {shape:?} from {first_channel}"),
                Spec::Average(AverageSpec { from, to }),
            ));
        }
    }
    specs
}

#[test]
fn sums_in_slices() {
    let mut wrong = vec![];
    let mut seen = std::collections::BTreeSet::new();
    for gpu in adapters() {
        for (case, (name, spec)) in in_slices().into_iter().enumerate() {
            for spec in [half(spec.clone()), spec] {
                let caps = Capabilities { software: false, ..gpu.caps.clone() };
                let kernel = select(&spec, &caps).expect("within the limits");
                seen.insert(kernel.name.clone());
                let data = data(&spec, 7);
                let weights = match &spec {
                    Spec::Conv(conv) => data.pack(&kernel, conv),
                    _ => vec![],
                };
                let [reads, writes] = data.encoded(&spec);
                let prepared = gpu.prepare(&kernel, &reads, &writes, &weights, case % 2 == 0);
                gpu.dispatch(&prepared, 1);
                let message = oracle::check(&spec, &data, &decoded(&spec, gpu.outputs(&prepared))).err();
                wrong.extend(message.map(|m| format!("{} {name} [{}]: {m}", gpu.name, kernel.name)));
            }
        }
    }
    assert!(wrong.is_empty(), "{} wrong:\n{}", wrong.len(), wrong.join("\n"));
    for name in [
        "gemv 8 slices",
        "gemv 32 slices",
        "gemv 64 slices",
        "average",
        "average 8 slices",
        "average 256 slices",
    ] {
        assert!(seen.contains(name), "no {name} in {seen:?}");
    }
}

/// Large maps get large tiles, small maps slices; software adapters keep their own kernel.
#[test]
fn static_choice() {
    let name = |line: &str, batch: usize, caps: &Capabilities| {
        let layers = layers::network("resnet18", batch);
        let layer = layers.iter().find(|l| l.name == line).expect("a layer");
        select(&layer.spec, caps).expect("within the limits").name
    };
    let card = Capabilities { discrete: true, ..Capabilities::WEBGPU };
    assert_eq!(name("conv 64 56 3 1 64", 64, &card), "conv2d tiled 128px x 64oc x 8");
    assert_eq!(name("conv 128 28 3 1 128", 64, &card), "conv2d winograd 64px x 32oc");
    // Tiles of 2x2 reach far over the edge of an odd map.
    assert_eq!(name("conv 512 7 3 1 512", 64, &card), "conv2d tiled 64px x 64oc x 16");
    assert_eq!(name("conv 64 56 3 1 64", 1, &card), "conv2d tiled 32px x 32oc x 8 in 4");
    assert_eq!(name("conv 512 7 3 1 512", 1, &card), "conv2d tiled 16px x 16oc x 4 in 16");
    assert!(name("stem 64", 1, &card).contains("stem"));
    assert!(name("conv 64 56 3 1 64", 1, &Capabilities::WEBGPU).contains("plain"));
    let software = Capabilities { software: true, subgroup_size: Some(8), ..Capabilities::WEBGPU };
    assert!(name("conv 64 56 3 1 64", 1, &software).contains("shuffle"));
}
