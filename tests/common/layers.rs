//! The layers of a network as the planner dispatches them, from `benches/shapes/`.
#![allow(dead_code, reason = "each test binary uses its part")]

use super::specs::{
    activated, conv, grouped, in_place, packed, planar, pooled, projection, range, to_planar, whole,
};
use rmnet::kernel::{AverageSpec, Function, Spec};

/// One line of a file of shapes.
pub struct Layer {
    /// The line without its count.
    pub name: String,
    /// How often the network has it.
    pub count: usize,
    pub spec: Spec,
}

/// The layers of `benches/shapes/{network}.txt` for a batch.
///
/// # Panics
/// When there is no such file or a line of it is none of the kinds that resnet18.txt and mobilenet_v2.txt explain.
pub fn network(network: &str, batch: usize) -> Vec<Layer> {
    let path = format!("{}/benches/shapes/{network}.txt", env!("CARGO_MANIFEST_DIR"));
    let text = std::fs::read_to_string(&path).unwrap_or_else(|e| panic!("{path}: {e}"));
    text.lines().filter(|l| !l.starts_with('#')).map(|line| parse(line, batch)).collect()
}

fn parse(line: &str, batch: usize) -> Layer {
    let (count, name) = line.split_once(' ').expect("a count and a kind");
    let count = count.parse().expect("a count");
    let mut words = name.split_whitespace();
    let kind = words.next().expect("a kind");
    let n: Vec<usize> = words.map(|w| w.parse().expect("a number")).collect();
    let square = |c: usize, size: usize| packed(batch, c, size, size);
    let one = |c: usize, size: usize, k: usize, s: usize, out: usize| {
        conv(vec![range(whole(0, square(c, size)), k, s, k / 2, 1)], out)
    };
    let image = |k: usize, pad: usize, out: usize| {
        conv(vec![range(whole(0, planar(batch, 3, 224, 224)), k, 2, pad, 1)], out)
    };
    let spec = match kind {
        "conv" => one(n[0], n[1], n[2], n[3], n[4]),
        "inplace" => in_place(one(n[0], n[1], n[2], 1, n[3])),
        "project" => projection(square(n[0], n[1]), square(n[4], 2 * n[1]), n[3], n[2], 2),
        "project1" => projection(square(n[0], n[1]), square(n[4], n[1]), n[3], n[2], 1),
        "stem" => pooled(image(7, 3, n[0]), 3, 2, 1),
        "stem6" => activated(image(3, 1, n[0]), Function::Relu6),
        "expand" => activated(one(n[0], n[1], 1, 1, n[2]), Function::Relu6),
        "depthwise" => activated(grouped(one(n[0], n[1], 3, n[2], n[0]), n[0]), Function::Relu6),
        "linear" => activated(one(n[0], n[1], 1, 1, n[2]), Function::Identity),
        "linear+" => activated(in_place(one(n[0], n[1], 1, 1, n[2])), Function::Identity),
        "fc" => to_planar(one(n[0], 1, 1, 1, n[1])),
        "average" => {
            let spec = Spec::Average(AverageSpec { from: whole(0, square(n[0], n[1])), to: square(n[0], 1) });
            return Layer { name: name.into(), count, spec };
        }
        _ => panic!("{line}"),
    };
    Layer { name: name.into(), count, spec: Spec::Conv(spec) }
}
