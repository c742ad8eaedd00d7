//! The memory of several sessions on the CPU: in a process of its own, as it is that of the process which is looked at.
#![cfg(target_os = "linux")]

mod common;

use common::seeded::{self, RESNET18};
use rmnet::{Checkpoint, Device, LoadOptions, Model, Options, Session};

fn cpu() -> Options {
    Options::default().device(Device::Cpu)
}

fn values(len: usize, seed: usize) -> Vec<f32> {
    (0..len).map(|i| ((i * 37 + seed * 11) % 101) as f32 / 50.5 - 1.0).collect()
}

/// Kilobytes of memory that the process has.
fn resident() -> usize {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

/// ResNet-18, 45 MB of weights, at two batches and two sizes: packed once.
#[test]
fn sessions_on_the_cpu_have_one_copy_of_the_weights() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model.safetensors");
    std::fs::write(&path, seeded::checkpoint(RESNET18, 3)).unwrap();
    // SAFETY: nobody else knows the file.
    let checkpoint = unsafe { Checkpoint::open_mapped(&path) }.unwrap();
    let model = |side| Model::load(&checkpoint, &LoadOptions::default().size([side, side])).unwrap();
    let first = Session::new(&model(64), &cpu()).unwrap();
    let weights = first.memory().weights / 1024;
    assert!(weights > 40_000, "{weights}");
    let before = resident();
    let others = [Session::new(&model(64), &cpu().batch(2)), Session::new(&model(96), &cpu())];
    let grown = resident().saturating_sub(before);
    assert!(grown < weights / 2, "{grown} KiB more for two more sessions, {weights} KiB of weights");
    let input = values(first.input_len(), 1);
    let expected = first.run(&input).unwrap();
    // Those that are left have them still.
    drop(first);
    let [batch, size] = others.map(Result::unwrap);
    let found = batch.run(&input).unwrap();
    assert_eq!(found.len(), expected.len());
    let close =
        |(a, b): (&f32, &f32)| (a - b).abs() <= 1e-5 * expected.iter().fold(0.0f32, |m, v| m.max(v.abs()));
    assert!(found.iter().zip(&expected).all(close));
    assert_eq!(size.run(&values(size.input_len(), 2)).unwrap().len(), 1000);
}
