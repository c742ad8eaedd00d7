//! The dispatches of full-size networks as they are planned.
#![allow(dead_code, reason = "each test binary uses its part")]

use super::random::Builder;
use super::seeded::{self, Arch};
use rmnet::checkpoint::Checkpoint;
use rmnet::graph::{Activation, Graph, Op, Shape, ValueId};
use rmnet::kernel::{Precision, Spec};
use rmnet::plan::{self, PlanOptions};
use rmnet::rewrite::{self, Mode};

fn resnet(arch: Arch) -> Graph {
    let checkpoint = Checkpoint::from_bytes(seeded::checkpoint(arch, 1), None).expect("a checkpoint");
    rmnet::models::load(&checkpoint, None).expect("a network").graph
}

/// MobileNetV2 at 224x224.
fn mobilenet_v2() -> Graph {
    let mut b = Builder::new(1, Shape { channels: 3, height: 224, width: 224 });
    let relu6 = |b: &mut Builder, x: ValueId| b.push("relu6", Op::Activation(Activation::Relu6), &[x]);
    let mut x = b.conv(ValueId::INPUT, 32, 3, 2, 1);
    x = relu6(&mut b, x);
    let stages = [
        (1, 16, 1, 1),
        (6, 24, 2, 2),
        (6, 32, 3, 2),
        (6, 64, 4, 2),
        (6, 96, 3, 1),
        (6, 160, 3, 2),
        (6, 320, 1, 1),
    ];
    for (expansion, out, count, stride) in stages {
        for i in 0..count {
            let channels = b.graph.shape(x).channels;
            let (mut h, width) = (x, channels * expansion);
            if expansion > 1 {
                h = b.conv(h, width, 1, 1, 1);
                h = relu6(&mut b, h);
            }
            h = b.conv(h, width, 3, if i == 0 { stride } else { 1 }, width);
            h = relu6(&mut b, h);
            h = b.conv(h, out, 1, 1, 1);
            x = if i > 0 { b.push("add", Op::Add(Activation::Identity), &[h, x]) } else { h };
        }
    }
    x = b.conv(x, 1280, 1, 1, 1);
    x = relu6(&mut b, x);
    b.head(x, 1000);
    b.graph
}

/// Every dispatch of three networks at batch 1, in f32 and f16.
pub fn dispatches() -> Vec<(String, Spec)> {
    let networks = [
        ("resnet18", resnet(seeded::RESNET18)),
        ("resnet50", resnet(seeded::RESNET50)),
        ("mobilenet_v2", mobilenet_v2()),
    ];
    let mut all = vec![];
    for (name, graph) in networks {
        let graph = rewrite::for_mode(&graph, Mode::Structured).expect("blocks are removed").graph;
        for (precision, suffix) in [(Precision::F32, ""), (Precision::F16, ", f16")] {
            let options = PlanOptions { precision, ..PlanOptions::default() };
            let plan = plan::compile(&graph, &options).expect("a plan");
            let named = |d: plan::Dispatch| (format!("{name} as planned, {}{suffix}", d.name), d.spec);
            all.extend(plan.dispatches.into_iter().map(named));
        }
    }
    all
}
