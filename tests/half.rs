//! `--precision f16`: what is planned, how far logits and layers are off, and overflows that are named and never printed.

mod common;

use common::spoil::{norms_scaled, overflowing};
use common::{devices, difference, fixtures, in_parallel};
use rmnet::cpu::CpuError;
use rmnet::models::Model;
use rmnet::plan::{self, PlanError};
use rmnet::rewrite::{self, Mode};
use rmnet::{Device, Error, Options, Precision, Session, verify};

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
    Options::default().batch(batch).device(device.clone()).precision(Precision::F16)
}

#[test]
fn an_f16_plan_takes_half() {
    for name in fixtures::names() {
        let f = fixtures::load(&name);
        let graph = rewrite::for_mode(&f.model.graph, Mode::Structured).unwrap().graph;
        let [single, half] = [Precision::F32, Precision::F16].map(|precision| {
            let plan = plan::compile(&graph, &plan::PlanOptions { precision, ..Default::default() }).unwrap();
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
    in_parallel(FIXTURES, |name| {
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

            let session = Session::new(&f.model, &options.keep(keep.clone())).unwrap();
            let values = session.run_keeping(&f.input).unwrap().kept.into_iter().collect();
            for layer in verify::check_layers(&graph, &f.input, f.batch, &values, Precision::F16, |n| {
                session.rounding(n)
            }) {
                assert!(layer.passed(), "{device_name} {name} {}: {:.2}", layer.layer, layer.of_bound);
            }
        }
    });
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
        let single = Session::new(&model, &half(1, &device).precision(Precision::F32)).unwrap();
        assert!(single.run(&input).unwrap().iter().all(|v| v.is_finite()), "{name}");
        let session = Session::new(&model, &half(1, &device)).unwrap();
        let error = session.run(&input).unwrap_err();
        assert!(!error.to_string().contains("--"), "{name}: {error}");
        match (device, error) {
            (Device::Cpu, Error::Cpu(CpuError::Overflow { layer })) => {
                assert_eq!(layer, "layer1.0.conv1")
            }
            (_, Error::NotFinite { .. }) => {}
            (_, error) => panic!("{name}: {error}"),
        }
    }
}

#[test]
fn weights_that_do_not_fit_are_named() {
    for (scale, what) in [(1e7, "beyond the range of f16"), (1e-12, "all become 0 in f16")] {
        let model = norms_scaled(&[("bn1", scale)]).load().unwrap();
        let error = Session::new(&model, &half(1, &Device::Cpu)).expect_err("refused");
        let Error::Plan(PlanError::Weights { layer, what: found }) = &error else { panic!("{error}") };
        assert_eq!(layer, "conv1");
        assert!(found.contains(what), "{found}");
        // In f32 they fit.
        Session::new(&model, &Options::default().device(Device::Cpu)).unwrap();
    }
}
