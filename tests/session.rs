//! The public face on every device there is: logits of other libraries, all forms, foreign buffers, errors.

mod common;

use common::{devices, difference, fixtures, in_parallel, spoil};
use rmnet::checkpoint::Checkpoint;
use rmnet::gpu::{AdapterChoice, Gpu};
use rmnet::kernel::Class;
use rmnet::models::{self, Model};
use rmnet::{Device, Error, Mode, Options, Precision, Session};
use std::collections::{HashMap, HashSet};
use std::sync::Arc;

/// What is asked of f32 logits: their distance from f64 ones over the largest.
const BOUND: f64 = 1e-5;

fn wide(values: &[f32]) -> Vec<f64> {
    values.iter().map(|v| f64::from(*v)).collect()
}

#[test]
fn logits_of_every_fixture_on_every_device() {
    let opened = |(name, device): (String, Device)| {
        let gpu = match &device {
            Device::Gpu(choice) => Some(Gpu::new(choice).unwrap()),
            _ => None,
        };
        (name, device, gpu)
    };
    let devices: Vec<_> = devices().into_iter().map(opened).collect();
    // The fixtures in the outer loop: while one driver compiles another has its own.
    let mut operations = HashSet::new();
    let mut all = vec![];
    let mut names: Vec<_> = fixtures::names().into_iter().map(|name| (fixtures::load(&name), name)).collect();
    names.sort_by_key(|(f, _)| f.model.graph.nodes().len());
    for (f, name) in names {
        let f = Arc::new(f);
        // A software driver that compiles every layer anew has the smallest networks that between them have every operation: each
        // window, stride, dilation, padding and activation.
        let mut new = false;
        for node in f.model.graph.nodes() {
            new |= operations.insert(node.op.to_string().lines().next().unwrap_or_default().to_string());
        }
        for device @ (.., gpu) in &devices {
            let slow = gpu.as_ref().map(Gpu::capabilities);
            let slow = slow.is_some_and(|c| c.class == Class::Software && !c.shares_buffers());
            if new || !slow {
                all.push((name.clone(), f.clone(), device));
            }
        }
    }
    in_parallel(&all, |(name, f, (device_name, device, gpu))| {
        let options = Options::default().batch(f.batch).device(device.clone());
        let session = match gpu {
            Some(gpu) => Session::with_gpu(gpu, &f.model, &options).unwrap(),
            None => Session::new(&f.model, &options).unwrap(),
        };
        let (_, relative) = difference(&wide(&session.run(&f.input).unwrap()), &f.logits);
        println!("{device_name:<40} {name:<44} {relative:.1e}");
        assert!(relative < BOUND, "{device_name} {name}: {relative:e}");
        // A second run on the same slots gives the same bits.
        let again = session.run(&f.input).unwrap();
        let (_, relative) = difference(&wide(&again), &f.logits);
        assert!(relative < BOUND, "{device_name} {name}, second run: {relative:e}");
    });
}

#[test]
fn every_form_gives_the_same_logits() {
    for (device_name, device) in devices() {
        for name in ["tv_bottleneck", "tv_resnext_odd_groups", "hf_downsample_first_stage"] {
            let f = fixtures::load(&format!("tests/fixtures/{name}"));
            for (mode, safe_shaders) in [(Mode::Literal, false), (Mode::Residual, true)] {
                let device = device.clone();
                let options =
                    Options::default().batch(f.batch).mode(mode).device(device).safe_shaders(safe_shaders);
                let session = Session::new(&f.model, &options).unwrap();
                let (_, relative) = difference(&wide(&session.run(&f.input).unwrap()), &f.logits);
                assert!(relative < BOUND, "{device_name} {name} {mode}: {relative:e}");
            }
        }
    }
}

#[test]
fn every_layer_stays_within_its_rounding_bound() {
    for (device_name, device) in devices() {
        for name in ["tv_basic_odd_widths", "hf_bottleneck_stride_first"] {
            let f = fixtures::load(&format!("tests/fixtures/{name}"));
            let graph = rmnet::rewrite::for_mode(&f.model.graph, Mode::Structured).unwrap().graph;
            let keep: Vec<String> = graph.nodes()[1..].iter().map(|n| n.name.clone()).collect();
            let options = Options::default().batch(f.batch).keep(keep.clone()).device(device.clone());
            let session = Session::new(&f.model, &options).unwrap();
            let values: HashMap<String, Vec<f32>> =
                session.run_keeping(&f.input).unwrap().kept.into_iter().collect();
            let rounding = |n: &str| session.rounding(n);
            for layer in
                rmnet::verify::check_layers(&graph, &f.input, f.batch, &values, Precision::F32, rounding)
            {
                assert!(layer.passed(), "{device_name} {name} {}: {:.2}", layer.layer, layer.of_bound);
            }
            // The check can fail: one wrong value is found, and named.
            let mut broken = values.clone();
            let victim = graph.nodes()[graph.nodes().len() / 2].name.clone();
            let largest = broken[&victim].iter().fold(0.0f32, |m, v| m.max(v.abs()));
            broken.get_mut(&victim).unwrap()[3] += 0.01 * largest;
            let checks =
                rmnet::verify::check_layers(&graph, &f.input, f.batch, &broken, Precision::F32, rounding);
            assert_eq!(checks.iter().find(|c| !c.passed()).map(|c| &c.layer), Some(&victim), "{name}");
        }
    }
}

#[test]
fn errors_say_what_was_expected() {
    let f = fixtures::load("tests/fixtures/tv_basic_wide_stem");
    for (device_name, device) in devices() {
        let options = Options::default().device(device);
        let session = Session::new(&f.model, &options).unwrap();
        let message = session.run(&[0.0; 7]).unwrap_err().to_string();
        let expected = session.input_len().to_string();
        assert!(message.contains(&expected) && message.contains('7'), "{device_name}: {message}");
    }
    let absent = Options::default().device(Device::Gpu(AdapterChoice::Name("no such card".into())));
    assert!(matches!(Session::new(&f.model, &absent), Err(Error::Gpu(_))));
    let none = Options::default().batch(0).device(Device::Cpu);
    assert!(matches!(Session::new(&f.model, &none), Err(Error::Plan(_))));
    let keep = Options::default().keep(["nothing"]).device(Device::Cpu);
    let message = Session::new(&f.model, &keep).expect_err("no such node").to_string();
    assert!(message.contains("nothing"), "{message}");
}

#[test]
fn a_session_is_send_and_sync() {
    fn check<T: Send + Sync>() {}
    check::<Session>();
}

fn overflowing(tensor: &str, factor: f32) -> Model {
    let bytes = spoil::scaled("tv_resnet18", tensor, factor);
    models::load(&Checkpoint::from_bytes(bytes, None).unwrap(), None).unwrap()
}

/// Infinities inside meet as NaN, which no ReLU may turn into a number.
#[test]
fn what_overflows_on_the_cpu_is_an_error() {
    let options = Options::default().device(Device::Cpu);
    for tensor in ["layer3.0.conv1.weight", "layer4.1.bn2.weight", "conv1.weight", "fc.weight"] {
        let session = Session::new(&overflowing(tensor, 1e38), &options).unwrap();
        let input: Vec<f32> =
            (0..session.input_len()).map(|i| ((i * 37) % 101) as f32 / 50.5 - 1.0).collect();
        let error = session.run(&input).expect_err(tensor);
        assert!(error.to_string().contains("overflows f32"), "{tensor}: {error}");
        let Error::NotFinite { at: [0, class, 0, 0], shape, value, values, .. } = error else {
            panic!("{tensor}: {error}")
        };
        assert!(!value.is_finite() && shape == [1, 10, 1, 1] && values.output.len() == 10, "{tensor}");
        assert_eq!(values.output[class].to_bits(), value.to_bits(), "{tensor}");
        assert!(session.run_timed(&input).is_err(), "{tensor}");
    }
}

#[test]
fn weights_that_folding_takes_beyond_f32_are_refused_by_layer() {
    let mut bytes = spoil::scaled("tv_resnet18", "layer4.1.bn2.weight", 1e37);
    // A variance of 0 leaves the root of epsilon to divide by.
    let (header, metadata) = safetensors::SafeTensors::read_metadata(&bytes).unwrap();
    let (start, end) = metadata.info("layer4.1.bn2.running_var").unwrap().data_offsets;
    bytes[8 + header..][start..end].fill(0);
    let model = models::load(&Checkpoint::from_bytes(bytes, None).unwrap(), None).unwrap();
    for (device_name, device) in devices() {
        let error = Session::new(&model, &Options::default().device(device)).expect_err(&device_name);
        assert!(error.to_string().starts_with("layer4.1.conv2: a weight or bias"), "{device_name}: {error}");
    }
    let folder = tempfile::tempdir().unwrap();
    let graph = rmnet::rewrite::for_mode(&model.graph, Mode::Structured).unwrap().graph;
    let about = models::saved::About::model(&model);
    let error = models::saved::save(&folder.path().join("saved.safetensors"), &graph, &about).unwrap_err();
    assert!(error.to_string().starts_with("layer4.1.conv2:"), "{error}");
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
}

#[test]
fn a_batch_beyond_memory_is_refused() {
    let model = rmnet::models::Model::open(concat!(env!("CARGO_MANIFEST_DIR"), "/assets/digits")).unwrap();
    let refused = |batch| {
        let options = Options::default().device(Device::Cpu).batch(batch);
        Session::new(&model, &options).expect_err("a batch that is too large").to_string()
    };
    let memory = refused(1 << 23);
    assert!(memory.contains("out of memory") && memory.contains("bytes"), "{memory}");
    for batch in [usize::MAX, usize::MAX / 2] {
        let counted = refused(batch);
        assert!(counted.contains("at most") && counted.contains(&batch.to_string()), "{counted}");
    }
}
