//! `--precision f16`: what is planned, how far logits and layers are off, and overflows that are named and never printed.
#![cfg(feature = "cli")]

mod common;

use common::{devices, difference, fixtures, spoil::File};
use rmnet::checkpoint::Checkpoint;
use rmnet::cpu::CpuError;
use rmnet::models::Model;
use rmnet::plan::{self, PlanError};
use rmnet::rewrite::{self, Mode};
use rmnet::{Device, Options, Precision, Session, SessionError, verify};
use std::path::Path;
use std::process::Command;

/// One of each kind of kernel: grouped, depthwise, mapped, gated, pooled, merged K ranges, PReLU.
const FIXTURES: &[&str] = &[
    "tv_basic_odd_widths",
    "tv_resnext_odd_groups",
    "tv_mobilenet_v2_odd_widths",
    "timm_resnetv2_18",
    "timm_resnet18d",
    "timm_seresnet18",
    "iresnet_odd",
];

fn wide(values: &[f32]) -> Vec<f64> {
    values.iter().map(|v| f64::from(*v)).collect()
}

fn half(batch: usize, device: &Device) -> Options {
    Options { batch, device: device.clone(), precision: Precision::F16, ..Options::default() }
}

#[test]
fn an_f16_plan_takes_half() {
    for name in fixtures::names() {
        let f = fixtures::load(&name);
        let graph = rewrite::for_mode(&f.model.graph, Mode::Structured).unwrap().graph;
        let [single, half] = [Precision::F32, Precision::F16].map(|precision| {
            let plan = plan::compile(&graph, &plan::Options { precision, ..Default::default() }).unwrap();
            plan::check(&plan).unwrap();
            assert_eq!(plan.precision(), precision);
            plan
        });
        assert_eq!(2 * half.activation_bytes(), single.activation_bytes(), "{name}");
        assert_eq!(2 * half.lower_bound, single.lower_bound, "{name}");
        assert_eq!(half.dispatches.len(), single.dispatches.len(), "{name}");
        assert_eq!(half.input().shape, single.input().shape, "{name}");
        assert_eq!(half.output().shape, single.output().shape, "{name}");
        assert!(half.to_string().ends_with(", f16"));
    }
}

#[test]
fn logits_and_layers_stay_within_their_bounds() {
    for name in FIXTURES {
        let f = fixtures::load(&format!("tests/fixtures/{name}"));
        let graph = rewrite::for_mode(&f.model.graph, Mode::Structured).unwrap().graph;
        let bound = verify::bound_logits(&graph, &wide(&f.input), f.batch, Precision::F16);
        // A bound of the size of the logits would prove nothing.
        assert!(bound.bound < 0.2, "{name}: {bound:?}");
        let keep: Vec<String> = graph.nodes()[1..].iter().map(|n| n.name.clone()).collect();
        for (device_name, device) in devices() {
            let options = half(f.batch, &device);
            let session = Session::new(&f.model, &options).unwrap();
            let (_, relative) = difference(&wide(&session.run(&f.input).unwrap()), &f.logits);
            println!("{device_name:<40} {name:<36} {relative:.1e} {bound:?}");
            assert!(relative < bound.bound, "{device_name} {name}: {relative:e}, {bound:?}");
            // Rounding shows: no f32 in disguise.
            assert!(relative > rmnet::verify::F32_LOGITS_BOUND, "{device_name} {name}: {relative:e}");

            let session = Session::new(&f.model, &Options { keep: keep.clone(), ..options }).unwrap();
            let values = session.run_keeping(&f.input).unwrap().kept.into_iter().collect();
            for layer in verify::check_layers(&graph, &f.input, f.batch, &values, Precision::F16, |n| {
                session.rounding(n)
            }) {
                assert!(layer.passed(), "{device_name} {name} {}: {:.2}", layer.layer, layer.of_bound);
            }
        }
    }
}

/// A torchvision fixture with batch norms scaled.
fn scaled(scales: &[(&str, f32)]) -> File {
    let path = fixtures::root().join("tests/fixtures/tv_basic_odd_widths/model.safetensors");
    let checkpoint = Checkpoint::open(path).unwrap();
    let mut file = File::default();
    for (name, tensor) in checkpoint.tensors() {
        let scale = scales.iter().find(|(norm, _)| {
            name.strip_prefix(norm).is_some_and(|rest| rest == ".weight" || rest == ".bias")
        });
        let values = tensor.to_f32().into_iter().map(|v| v * scale.map_or(1.0, |s| s.1)).collect();
        file.tensors.insert(name.into(), (tensor.shape().to_vec(), values));
    }
    file
}

/// Weights fit, values do not: the second convolution gives them.
fn overflowing() -> File {
    scaled(&[("bn1", 2000.0), ("layer1.0.bn1", 500.0)])
}

fn input(model: &Model) -> Vec<f32> {
    let len = model.graph.input_shape().len();
    (0..len).map(|i| ((i * 37) % 101) as f32 / 50.5 - 1.0).collect()
}

#[test]
fn an_overflow_is_an_error_and_named() {
    let model = overflowing().load().unwrap();
    let input = input(&model);
    let graph = rewrite::for_mode(&model.graph, Mode::Structured).unwrap().graph;
    let ranges = verify::ranges(&graph, &wide(&input), 1);
    let over = ranges.iter().find(|r| !r.fits(Precision::F16)).expect("an overflow");
    assert_eq!(over.layer, "layer1.0.conv1");
    assert!(ranges.iter().all(|r| r.fits(Precision::F32)));
    for (name, device) in devices() {
        let single =
            Session::new(&model, &Options { precision: Precision::F32, ..half(1, &device) }).unwrap();
        assert!(single.run(&input).unwrap().iter().all(|v| v.is_finite()), "{name}");
        let session = Session::new(&model, &half(1, &device)).unwrap();
        let error = session.run(&input).unwrap_err();
        assert!(error.to_string().contains("`rmnet verify --precision f16"), "{name}: {error}");
        match (device, error) {
            (Device::Cpu, SessionError::Cpu(CpuError::Overflow { layer })) => {
                assert_eq!(layer, "layer1.0.conv1")
            }
            (_, SessionError::NotFinite { .. }) => {}
            (_, error) => panic!("{name}: {error}"),
        }
    }
}

#[test]
fn weights_that_do_not_fit_are_named() {
    for (scale, what) in [(1e7, "beyond the range of f16"), (1e-12, "all become 0 in f16")] {
        let model = scaled(&[("bn1", scale)]).load().unwrap();
        let error = Session::new(&model, &half(1, &Device::Cpu)).err().expect("refused");
        let SessionError::Plan(PlanError::Weights { layer, what: found }) = &error else { panic!("{error}") };
        assert_eq!(layer, "conv1");
        assert!(found.contains(what), "{found}");
        // In f32 they fit.
        Session::new(&model, &Options { device: Device::Cpu, ..Options::default() }).unwrap();
    }
}

fn rmnet(args: &[&str]) -> (Option<i32>, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_rmnet"))
        .args(args)
        .current_dir(fixtures::root())
        .env("RUST_LOG", "off")
        .output()
        .expect("the program runs");
    let text = [output.stdout, output.stderr].map(|t| String::from_utf8_lossy(&t).into_owned()).concat();
    (output.status.code(), text)
}

#[test]
fn the_program_says_so() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model.safetensors");
    let save = |file: &File, path: &Path| std::fs::write(path, file.to_bytes()).unwrap();
    save(&overflowing(), &path);
    let model = path.to_str().unwrap();
    let (code, text) = rmnet(&["verify", model, "--precision", "f16", "--adapter", "cpu"]);
    assert_eq!(code, Some(5), "{text}");
    assert!(text.contains("layer1.0.conv1: values up to"), "{text}");
    let (code, text) = rmnet(&["verify", model, "--adapter", "cpu"]);
    assert_eq!(code, Some(0), "{text}");

    let fixture = "tests/fixtures/tv_basic_odd_widths";
    let input = format!("{fixture}/expected.safetensors");
    let f16 = ["--size", "45x37", "--precision", "f16", "--adapter", "cpu"];
    let (code, text) = rmnet(&[&["run", model, &input], &f16[..]].concat());
    assert_eq!(code, Some(3), "{text}");
    assert!(text.contains("layer1.0.conv1") && text.contains("verify --precision f16"), "{text}");
    assert!(!text.contains("NaN") && !text.contains("class "), "{text}");

    let (code, text) = rmnet(&[&["verify", fixture, &input], &f16[..]].concat());
    assert_eq!(code, Some(0), "{text}");
    assert!(text.contains("cpu") && text.contains(", f16") && text.contains("batch"), "{text}");
    for verb in ["plan", "wgsl"] {
        let (code, text) = rmnet(&[verb, fixture, "--precision", "f16"]);
        assert_eq!(code, Some(0), "{text}");
        assert!(text.contains(if verb == "plan" { ", f16" } else { "to_half(value)" }), "{text}");
    }
}
