//! ResNet-18 and ResNet-50 at 224x224 with seeded weights: every block in f64, logits on every device.

mod common;

use common::random::images;
use common::seeded::{self, Arch};
use common::{devices, difference};
use rmnet::checkpoint::Checkpoint;
use rmnet::gpu::{AdapterChoice, Gpu, GpuKind};
use rmnet::rewrite::{self, Mode};
use rmnet::{Options, Session, models, verify};
use std::collections::HashMap;

fn check(arch: Arch, blocks: usize) {
    let checkpoint = Checkpoint::from_bytes(seeded::checkpoint(arch, 1), None).unwrap();
    let model = models::load(&checkpoint, None).unwrap();
    let input = images(&model.graph, 1, 7);
    let wide: Vec<f64> = input.iter().map(|v| f64::from(*v)).collect();
    let rewritten = rewrite::for_mode(&model.graph, Mode::Structured).unwrap();
    let expected = verify::expected(&model.graph, &rewritten.blocks, &wide, 1);
    let (checks, logits) = verify::check_blocks(&rewritten, &expected, &wide, 1, &HashMap::new());
    assert_eq!(checks.len(), blocks);
    for b in &checks {
        assert!(b.f64.relative < verify::F64_BOUND, "{}: {:e}", b.block, b.f64.relative);
    }
    assert!(logits.relative < verify::F64_BOUND, "{:e}", logits.relative);
    for (name, device) in devices() {
        let session = Session::new(&model, &Options::default().device(device)).unwrap();
        let found: Vec<f64> = session.run(&input).unwrap().iter().map(|v| f64::from(*v)).collect();
        let (_, relative) = difference(&found, &expected.logits);
        println!("{name}: {relative:.1e}");
        assert!(relative < verify::F32_LOGITS_BOUND, "{name}: {relative:e}");
    }
    // What GPUs would be given, on software.
    let adapter = Gpu::new(&AdapterChoice::Best).unwrap();
    for kind in [GpuKind::Integrated, GpuKind::Discrete] {
        let gpu = adapter.clone().with_kernels_for(kind);
        let session = Session::with_gpu(&gpu, &model, &Options::default()).unwrap();
        let found: Vec<f64> = session.run(&input).unwrap().iter().map(|v| f64::from(*v)).collect();
        let (_, relative) = difference(&found, &expected.logits);
        println!("{} as {kind:?}: {relative:.1e}", gpu.adapter());
        assert!(relative < verify::F32_LOGITS_BOUND, "{kind:?}: {relative:e}");
    }
}

#[test]
fn resnet18() {
    check(seeded::RESNET18, 8);
}

#[test]
fn resnet50() {
    check(seeded::RESNET50, 16);
}
