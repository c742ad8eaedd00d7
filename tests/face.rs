//! The public face as an app uses it: one copy of the weights for several sessions, batches that are not full, images as apps hold
//! them, predictions, and what a session says of itself.

mod common;

use common::fixtures;
use rmnet::{
    AdapterChoice, Checkpoint, Device, Error, Gpu, GpuKind, ImageView, Model, Options, OutputChoice,
    OutputKind, PixelFormat, Prepared, Session, Size,
};

fn digits() -> std::path::PathBuf {
    fixtures::root().join("assets/digits")
}

fn cpu() -> Options {
    Options::default().device(Device::Cpu)
}

/// Every Vulkan adapter, as the integrated GPU that its kernels are then chosen for.
fn gpus() -> Vec<(String, Gpu)> {
    let gpus = common::devices().into_iter().filter_map(|(name, device)| match device {
        Device::Gpu(choice) => Some((name, Gpu::new(&choice).unwrap().with_kernels_for(GpuKind::Integrated))),
        _ => None,
    });
    let gpus: Vec<_> = gpus.collect();
    assert!(!gpus.is_empty());
    gpus
}

fn values(len: usize, seed: usize) -> Vec<f32> {
    (0..len).map(|i| ((i * 37 + seed * 11) % 101) as f32 / 50.5 - 1.0).collect()
}

#[test]
fn types_go_between_threads() {
    fn both<T: Send + Sync + 'static>() {}
    both::<Session>();
    both::<Prepared>();
    both::<Model>();
    both::<Checkpoint>();
    both::<Options>();
    both::<Gpu>();
    both::<Error>();
    fn send<T: Send>(_: &T) {}
    let session = Session::open(digits(), &cpu()).unwrap();
    send(&session.run_async(&[]));
    send(&session.run_keeping_async(&[]));
    send(&Session::open_async(digits(), &cpu()));
}

#[test]
fn sessions_on_a_gpu_have_one_copy_of_the_weights() {
    let fixture = fixtures::load("tests/fixtures/tv_basic_odd_widths");
    for (name, gpu) in gpus() {
        let made = || gpu.shared_weights();
        assert_eq!(made(), (0, 0), "{name}");
        let one = Session::with_gpu(&gpu, &fixture.model, &Options::default()).unwrap();
        let (buffers, bytes) = made();
        assert_eq!(bytes, one.memory().weights, "{name}");
        let other = Session::with_gpu(&gpu.clone(), &fixture.model, &Options::default().batch(3)).unwrap();
        // A kernel of another batch may want other tiles; most are the same.
        let (more, all) = made();
        assert!(all < bytes + bytes / 2 && more < 2 * buffers, "{name}: {bytes}, then {all}");
        let prepared = Prepared::for_gpu(&gpu, &fixture.model, &Options::default()).unwrap();
        let again = Session::from_prepared_with_gpu(&gpu, &prepared).unwrap();
        assert_eq!(made(), (more, all), "{name}: the very same kernels");
        let image = fixture.input.len() / fixture.batch;
        let input = &fixture.input[..image];
        let expected = one.run(input).unwrap();
        drop(one);
        assert_eq!(again.run(input).unwrap(), expected, "{name}");
        let [found, expected] = [other.run(input).unwrap(), expected]
            .map(|v| v.iter().map(|v| f64::from(*v)).collect::<Vec<_>>());
        assert!(common::difference(&found, &expected).1 < 1e-5, "{name}");
        drop((other, again));
        assert_eq!(made(), (0, 0), "{name}");
    }
}

#[test]
fn a_batch_may_be_filled_in_part() {
    let fixture = fixtures::load("tests/fixtures/tv_basic_odd_widths");
    let image = fixture.input.len() / fixture.batch;
    let block = fixture.model.blocks()[0].clone();
    for (name, device) in common::devices() {
        let options = Options::default().device(device).batch(3).keep([block.clone()]);
        let session = Session::new(&fixture.model, &options).unwrap();
        let input = values(3 * image, 5);
        let whole = session.run_keeping(&input).unwrap();
        let classes = session.output_shape()[1];
        for images in 1..=3 {
            let part = &input[..images * image];
            let found = session.run(part).unwrap();
            assert_eq!(found, whole.output[..images * classes], "{name}, {images}");
            assert_eq!(pollster::block_on(session.run_async(part)).unwrap(), found, "{name}, {images}");
            let kept = session.run_keeping(part).unwrap().kept.remove(&block).unwrap();
            let expected = &whole.kept[&block];
            assert_eq!(kept, expected[..expected.len() / 3 * images], "{name}, {images}");
            let mut into = vec![f32::NAN; images * classes];
            session.run_into(part, &mut into).unwrap();
            assert_eq!(into, found, "{name}, {images}");
            let refused = session.run_into(part, &mut vec![0.0; images * classes + 1]).unwrap_err();
            assert!(matches!(refused, Error::OutputLength { .. }), "{name}: {refused}");
        }
        for len in [0, 1, image - 1, image + 1, 4 * image] {
            let refused = session.run(&values(len, 0)).unwrap_err();
            assert!(matches!(refused, Error::InputLength { batch: 3, .. }), "{name}, {len}: {refused}");
            assert!(refused.to_string().contains(&format!("found {len} values")), "{refused}");
        }
    }
}

#[test]
fn images_as_apps_hold_them_give_one_input() {
    let session = Session::open(digits(), &cpu().batch(2)).unwrap();
    let size = Size::new(40, 50);
    let rgb: Vec<u8> = (0..40 * 50 * 3).map(|i| (i * 7 % 251) as u8).collect();
    let expected = session.input_of(&[ImageView::new(&rgb, size, PixelFormat::Rgb8)]).unwrap();
    assert_eq!(
        expected,
        session.preprocess().apply(ImageView::new(&rgb, size, PixelFormat::Rgb8), 3).unwrap()
    );
    // BGRA in rows of 256 bytes, as a texture is read back.
    let mut frame = vec![9; 40 * 256];
    for (row, from) in frame.chunks_mut(256).zip(rgb.chunks(150)) {
        for (to, p) in row.chunks_mut(4).zip(from.chunks(3)) {
            to.copy_from_slice(&[p[2], p[1], p[0], 77]);
        }
    }
    let view = ImageView::new(&frame, size, PixelFormat::Bgra8).with_stride(256);
    assert_eq!(session.input_of(&[view]).unwrap(), expected);
    let two = session.input_of(&[view, view]).unwrap();
    assert_eq!(two, [&expected[..], &expected].concat());
    assert!(matches!(session.input_of(&[view; 3]), Err(Error::Images { batch: 2, found: 3 })));
    assert!(matches!(session.input_of(&[]), Err(Error::Images { .. })));
    let short = ImageView::new(&rgb[1..], size, PixelFormat::Rgb8);
    let refused = session.input_of(&[view, short]).unwrap_err();
    assert!(matches!(refused, Error::Preprocess { index: 1, .. }), "{refused}");
    assert!(refused.to_string().contains("6000 bytes") && refused.to_string().contains("5999"), "{refused}");
    assert!(session.input_into(&[view], &mut [0.0; 7]).is_err());
}

/// Devices by their names in a config file, and back.
#[test]
fn devices_are_read_and_written_as_text() {
    for (text, device) in [
        ("auto", Device::Auto),
        ("cpu", Device::Cpu),
        ("best", Device::Gpu(AdapterChoice::Best)),
        ("1", Device::Gpu(AdapterChoice::Index(1))),
        ("vulkan", Device::Gpu(AdapterChoice::Backend(rmnet::Backend::Vulkan))),
        ("pci:0000:01:00.0", Device::Gpu(AdapterChoice::Pci("0000:01:00.0".into()))),
        ("GeForce", Device::Gpu(AdapterChoice::Name("GeForce".into()))),
    ] {
        assert_eq!(text.parse::<Device>().unwrap(), device);
        assert_eq!(device.to_string(), text);
    }
    assert_eq!("CPU".parse::<Device>().unwrap(), Device::Cpu);
}

#[test]
fn a_session_says_what_it_is() {
    let session = Session::open(digits(), &cpu()).unwrap();
    let model = Model::open(digits()).unwrap();
    assert_eq!(session.labels(), model.labels());
    assert_eq!(session.labels().unwrap().len(), 10);
    assert_eq!(session.preprocess(), model.preprocess());
    assert_eq!((session.output(), session.family()), (OutputKind::Logits, model.family()));
    assert_eq!(session.gpu().is_none(), session.tuned().is_none());
    assert!(format!("{session:?}").contains("cpu"));

    let bytes = std::fs::read(digits().join("images/0374_7.png")).unwrap();
    let pixels = rmnet::images::decode(&bytes, rmnet::images::ColorMode::Rgb, Default::default()).unwrap();
    let logits = session.run(&session.input_of(&[(&pixels).into()]).unwrap()).unwrap();
    let top = session.top_k(&logits, 3).unwrap();
    assert_eq!(top.len(), 3);
    assert_eq!((top[0].class, top[0].label.as_deref()), (7, Some("7")));
    assert_eq!(top[0].logit, logits[7]);
    let probabilities = session.probabilities(&logits).unwrap().unwrap();
    assert_eq!(top[0].probability, Some(probabilities[7]));
    assert!((probabilities.iter().sum::<f64>() - 1.0).abs() < 1e-12);
    assert!(matches!(session.top_k(&logits[1..], 3), Err(Error::LogitsLength { expected: 10, found: 9 })));
    for wrong in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
        let mut logits = logits[..10].to_vec();
        logits[3] = wrong;
        assert!(matches!(session.top_k(&logits, 3), Err(Error::LogitsNotFinite { class: 3, .. })));
        assert!(matches!(session.probabilities(&logits), Err(Error::LogitsNotFinite { class: 3, .. })));
    }

    for output in [OutputChoice::Features, "layer3.2".parse().unwrap()] {
        let features = Session::open(digits(), &cpu().output(output)).unwrap();
        assert_eq!((features.output(), features.labels()), (OutputKind::Features, None));
        let values = features.run(&vec![0.5; features.input_len()]).unwrap();
        assert!(matches!(features.top_k(&values, 1), Err(Error::NotLogits { .. })));
    }
}

/// A stage is its last block's value.
#[test]
fn values_are_kept_by_the_names_of_modules() {
    let session = Session::open(digits(), &cpu().keep(["layer2", "layer2.2"])).unwrap();
    let kept = session.run_keeping(&vec![0.25; session.input_len()]).unwrap().kept;
    assert_eq!(kept["layer2"], kept["layer2.2"]);
    let refused = Session::open(digits(), &cpu().keep(["layer9"])).unwrap_err();
    assert!(matches!(&refused, Error::Keep { name, .. } if name == "layer9"), "{refused}");
}

/// No message of the library tells its user to type something.
#[test]
fn errors_name_no_option_of_a_program() {
    let fixture = fixtures::load("tests/fixtures/tv_basic_odd_widths");
    let open = |options: &Options| Session::new(&fixture.model, options).map(drop);
    let gpu = |choice: &str| Device::Gpu(choice.parse::<AdapterChoice>().unwrap());
    let refused = [
        open(&cpu().batch(0)),
        open(&cpu().batch(usize::MAX)),
        open(&cpu().keep(["no such layer"])),
        open(&cpu().output("no such layer".parse().unwrap())),
        open(&Options::default().device(gpu("no such adapter"))),
        open(&Options::default().device(gpu("pci:ffff:ff:ff.f"))),
        Session::open("no such file", &cpu()).map(drop),
        Session::open(fixtures::root().join("README.md"), &cpu()).map(drop),
    ];
    for error in refused.map(Result::unwrap_err) {
        let text = error.to_string();
        assert!(!text.contains("--") && !text.contains("`rmnet "), "{text}");
    }
}
