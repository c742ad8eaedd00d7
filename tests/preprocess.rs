//! Pixels equal to Pillow's, and whole pipelines equal to those of torchvision, timm and Hugging Face.

use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use rmnet::checkpoint::Checkpoint;
use rmnet::images::{ColorMode, Orientation, Pixels};
use rmnet::preprocess::{
    CropRule, ImageView, Interpolation, MAX_VALUE, PixelFormat, Preprocess, PreprocessError, Resize, Size,
};
use safetensors::SafeTensors;
use serde_json::{Value, json};
use std::fs;
use std::path::{Path, PathBuf};

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/pil")
}

fn cases(kind: &str) -> Vec<Value> {
    let all: Value = serde_json::from_slice(&fs::read(folder().join("cases.json")).unwrap()).unwrap();
    all[kind].as_array().unwrap().clone()
}

fn image(case: &Value) -> Pixels {
    let path = folder().join(format!("{}.png", case["image"].as_str().unwrap()));
    rmnet::images::decode(&fs::read(path).unwrap(), ColorMode::Rgb, Orientation::Apply).unwrap()
}

/// An image of 1, 3 or 4 channels.
fn view(pixels: &[u8], size: Size, channels: usize) -> ImageView<'_> {
    let format = [PixelFormat::Gray8, PixelFormat::Rgb8, PixelFormat::Rgba8];
    let format = format.into_iter().find(|f| f.bytes() == channels).expect("such a format");
    ImageView::new(pixels, size, format)
}

fn apply(preprocess: &Preprocess, image: &Pixels) -> Vec<f32> {
    preprocess.apply(image.into(), 3).unwrap()
}

#[test]
fn pixels_equal_pillows() {
    let bytes = fs::read(folder().join("pixels.safetensors")).unwrap();
    let expected = SafeTensors::deserialize(&bytes).unwrap();
    let cases = cases("pixels");
    assert!(cases.len() > 50);
    for case in cases {
        let key = case["key"].as_str().unwrap();
        let expected = expected.tensor(key).unwrap();
        let &[height, width, 3] = expected.shape() else { panic!("{key}") };
        let number = |key: &str| case[key].as_u64().map(|v| v as usize);
        let plain = Preprocess {
            size: Size::new(height, width),
            resize: number("resize").map_or(Resize::None, Resize::Shortest),
            interpolation: match case["interpolation"].as_str() {
                Some("bicubic") => Interpolation::Bicubic,
                Some("lanczos") => Interpolation::Lanczos,
                Some("nearest") => Interpolation::Nearest,
                _ => Interpolation::Bilinear,
            },
            crop_rule: match case["crop_rule"].as_str() {
                Some("hugging_face") => CropRule::HuggingFace,
                _ => CropRule::Torchvision,
            },
            crop_pct: 1.0,
            rescale: 1.0,
            mean: vec![0.0],
            std: vec![1.0],
            ..Preprocess::imagenet()
        };
        let found = apply(&plain, &image(&case));
        let plane = height * width;
        for (i, &e) in expected.data().iter().enumerate() {
            let (at, c) = (i / 3, i % 3);
            let f = found[c * plane + at];
            assert_eq!(f, f32::from(e), "{key}: row {}, column {}, channel {c}", at / width, at % width);
        }
    }
}

#[test]
fn pipelines_equal_their_libraries() {
    let expected = Checkpoint::open(folder().join("normalised.safetensors")).unwrap();
    for case in cases("normalised") {
        let key = case["key"].as_str().unwrap();
        let config = &case["config"];
        let preprocess = match case["library"].as_str().unwrap() {
            "timm" => Preprocess::from_timm(config).unwrap(),
            library if library.starts_with("hugging_face") => Preprocess::from_hugging_face(config).unwrap(),
            _ => {
                let side = config["crop_size"].as_u64().unwrap() as usize;
                let resize = Resize::Shortest(config["resize_size"].as_u64().unwrap() as usize);
                Preprocess { size: Size::new(side, side), resize, ..Preprocess::imagenet() }
            }
        };
        let expected = expected.tensor(key).unwrap();
        assert_eq!(expected.shape(), [3, preprocess.size.height, preprocess.size.width], "{key}");
        let found = apply(&preprocess, &image(&case));
        assert_eq!(found, expected.to_f32(), "{key}");
    }
}

/// Every processor that is known, under several options, with all keys written out and with as few as can be.
#[test]
fn processors_equal_transformers() {
    let expected = Checkpoint::open(folder().join("processors.safetensors")).unwrap();
    let cases: Value = serde_json::from_slice(&fs::read(folder().join("processors.json")).unwrap()).unwrap();
    let cases = cases.as_array().unwrap();
    assert!(cases.len() > 60);
    for case in cases {
        let key = case["key"].as_str().unwrap();
        let expected = expected.tensor(key).unwrap();
        for config in case["configs"].as_array().unwrap() {
            let preprocess = match case["library"].as_str().unwrap() {
                "timm" => Preprocess::from_timm(config).unwrap(),
                _ => Preprocess::from_hugging_face(config).unwrap(),
            };
            assert_eq!(preprocess.unsupported, None, "{key}: {config}");
            assert_eq!(
                expected.shape(),
                [3, preprocess.size.height, preprocess.size.width],
                "{key}: {config}"
            );
            assert_eq!(apply(&preprocess, &image(case)), expected.to_f32(), "{key}: {config}");
            // As a saved model keeps it.
            let kept = serde_json::to_string(&preprocess).unwrap();
            assert_eq!(serde_json::from_str::<Preprocess>(&kept).unwrap(), preprocess, "{key}");
        }
    }
}

#[test]
fn the_names_and_places_of_a_processor() {
    let config = |class: &str| json!({ "image_processor_type": class, "size": { "shortest_edge": 28 } });
    let plain = Preprocess::from_hugging_face(&config("ConvNextImageProcessor")).unwrap();
    for class in ["ConvNextImageProcessorFast", "ConvNextImageProcessorPil", "ConvNextFeatureExtractor"] {
        assert_eq!(Preprocess::from_hugging_face(&config(class)).unwrap(), plain, "{class}");
    }
    let inner = json!({ "processor_class": "X", "image_processor": config("ConvNextImageProcessor") });
    assert_eq!(Preprocess::from_hugging_face(&inner).unwrap(), plain);
    // A file that names no class is that of the network's processor.
    let bare = json!({ "size": { "shortest_edge": 28 }, "crop_size": 24 });
    let mobile = Preprocess::from_hugging_face_as(&bare, "MobileNetV2ImageProcessor").unwrap();
    assert_eq!((mobile.size, mobile.resize), (Size::new(24, 24), Resize::Shortest(28)));
    let absent = Preprocess::from_hugging_face(&json!({ "size": 28 })).unwrap();
    assert_eq!(absent, plain);
}

/// Keys that are not understood are kept, and named once an image is given.
#[test]
fn keys_that_are_not_understood_refuse_images() {
    let vit = |key: &str, value: Value| {
        let mut config = json!({ "image_processor_type": "ViTImageProcessor", "size": 8 });
        config[key] = value;
        Preprocess::from_hugging_face(&config).unwrap()
    };
    let timm = |key: &str, value: Value| Preprocess::from_timm(&json!({ key: value })).unwrap();
    let cases = [
        (vit("do_flip_channel_order", json!(true)), "do_flip_channel_order"),
        (vit("rescale_offset", json!(true)), "rescale_offset"),
        (vit("do_pad", json!(true)), "do_pad"),
        (vit("size_divisor", json!(32)), "size_divisor"),
        (vit("do_thumbnail", json!(true)), "do_thumbnail"),
        (vit("image_processor_type", json!("SamImageProcessor")), "image_processor_type"),
        (vit("size", json!("large")), "size"),
        (vit("size", json!({ "shortest_edge": 8 })), "size"),
        (vit("size", json!({ "shortest_edge": 8, "longest_edge": 9 })), "size"),
        (vit("resample", json!("bilinear")), "resample"),
        (vit("do_resize", json!(1)), "do_resize"),
        (timm("interpolation", json!("random")), "interpolation"),
        (timm("crop_mode", json!("border")), "crop_mode"),
    ];
    for (preprocess, key) in cases {
        match preprocess.apply(ImageView::new(&[0; 3 * 64], Size::new(8, 8), PixelFormat::Rgb8), 3) {
            Err(PreprocessError::Config { key: found, .. }) => assert_eq!(found, key),
            other => panic!("{key}: {other:?}"),
        }
        assert!(preprocess.check(3).is_err(), "{key}");
    }
    // Keys that are off, or change no pixel.
    for (key, value) in [
        ("do_pad", json!(false)),
        ("size_divisor", Value::Null),
        ("do_reduce_labels", json!(true)),
        ("_valid_processor_keys", json!(["images"])),
        ("processor_class", json!("X")),
        ("do_flip_channel_order", json!(false)),
    ] {
        assert_eq!(vit(key, value).unsupported, None, "{key}");
    }
}

#[test]
fn numbers_that_cannot_be_are_named_at_once() {
    let cases = [
        (json!({ "image_std": [0.5, 0.0, 0.5] }), "image_std"),
        (json!({ "image_std": [0.5, -1.0, 0.5] }), "image_std"),
        (json!({ "image_std": 1e-50 }), "image_std"),
        (json!({ "image_std": 1e-40 }), "image_std"),
        (json!({ "image_std": [] }), "image_std"),
        (json!({ "image_mean": [1e39, 0, 0] }), "image_mean"),
        (json!({ "image_mean": [0.1, 0.2], "image_std": [1, 1, 1] }), "image_std"),
        (json!({ "rescale_factor": 1e38 }), "rescale_factor"),
        (json!({ "rescale_factor": "x" }), "rescale_factor"),
        (json!({ "crop_pct": 0 }), "crop_pct"),
        (json!({ "crop_pct": -1 }), "crop_pct"),
        (json!({ "size": 70000 }), "size"),
        (json!({ "size": 0 }), "size"),
        (json!({ "size": -1 }), "size"),
        (json!({ "size": 1e9 }), "size"),
        (json!({ "size": 224.5 }), "size"),
        (json!({ "crop_size": 1e30 }), "size"),
        (json!({ "size": { "height": 0, "width": 8 } }), "height"),
        (json!({ "size": { "height": 8, "width": -8 } }), "width"),
        (json!({ "size": { "shortest_edge": "NaN" } }), "size.shortest_edge"),
        (json!({ "resample": 7 }), "resample"),
        (json!({ "resample": -1 }), "resample"),
        (json!({ "resample": 2.5 }), "resample"),
        (json!({ "image_std": "NaN" }), "image_std"),
        (json!({ "image_std": ["Infinity", 1, 1] }), "image_std"),
        (json!({ "image_mean": ["-Infinity", 1, 1] }), "image_mean"),
        (json!({ "image_mean": true }), "image_mean"),
        (json!({ "rescale_factor": 0 }), "rescale_factor"),
        (json!({ "rescale_factor": -1 }), "rescale_factor"),
        // Also where it is not used.
        (json!({ "do_rescale": false, "rescale_factor": 1e300 }), "rescale_factor"),
        (json!({ "do_normalize": false, "image_std": 0 }), "image_std"),
        (json!({ "crop_pct": 1e-300 }), "crop_pct"),
        (json!({ "crop_pct": "0.9" }), "crop_pct"),
        // Each in its range, and together beyond what an input may be.
        (json!({ "rescale_factor": 1e5, "image_std": 1e-5 }), "rescale_factor, image_mean, image_std"),
    ];
    for (config, key) in cases {
        match Preprocess::from_hugging_face(&config) {
            Err(PreprocessError::Config { key: found, .. }) => assert_eq!(found, key, "{config}"),
            other => panic!("{config}: {other:?}"),
        }
    }
}

/// Numbers as files have them: common ones, those at the ends of ranges, and absurd ones, also as words.
fn number() -> impl Strategy<Value = Value> {
    let fixed = [
        0.0,
        -0.0,
        1.0,
        -1.0,
        0.5,
        2.0,
        3.0,
        7.0,
        8.0,
        32.0,
        224.0,
        0.229,
        0.485,
        1.0 / 255.0,
        1e-6,
        1e6,
        1e-45,
        1e38,
    ]
    .into_iter()
    .chain([1e39, -1e39, 1e300, f64::MIN_POSITIVE, 65536.0, 65537.0, 1e9, 2.5, 100.0, 0.01]);
    let fixed: Vec<Value> = fixed.map(Value::from).collect();
    let words = ["NaN", "Infinity", "-Infinity", "", "1"].map(Value::from).to_vec();
    prop_oneof![
        6 => proptest::sample::select(fixed),
        3 => any::<f64>().prop_map(|v| if v.is_finite() { v.into() } else { Value::Null }),
        2 => (-20i64..300).prop_map(Value::from),
        1 => proptest::sample::select(words),
        1 => Just(Value::Null),
    ]
}

/// Mostly one of these, else any, or a list of any.
fn mostly<T: Into<Value>>(sane: impl IntoIterator<Item = T>) -> BoxedStrategy<Value> {
    let sane: Vec<Value> = sane.into_iter().map(Into::into).collect();
    let any =
        prop_oneof![3 => number(), 1 => proptest::collection::vec(number(), 0..5).prop_map(Value::from)];
    prop_oneof![8 => proptest::sample::select(sane), 1 => any].boxed()
}

fn side() -> BoxedStrategy<Value> {
    mostly([1, 7, 8, 32, 224])
}

/// One for all channels, or one each.
fn each(sane: &'static [f64]) -> BoxedStrategy<Value> {
    let one = mostly(sane.iter().copied());
    prop_oneof![one.clone(), proptest::collection::vec(one, 3).prop_map(Value::from)].boxed()
}

const MEANS: &[f64] = &[0.0, 0.485, -1.0, 127.5, 1e6];
const STDS: &[f64] = &[1.0, 0.229, 58.0, 1e-2, 1e6];
const RESCALES: [f64; 5] = [1.0 / 255.0, 1.0, 1.0 / 127.5, 1e-6, 100.0];

fn hugging_face_config() -> impl Strategy<Value = Value> {
    let classes = ["ConvNext", "ViT", "EfficientNet", "MobileViT", "CLIP", "PoolFormer", "Levit"];
    let class = proptest::sample::select(classes.to_vec());
    let size = prop_oneof![
        side(),
        side().prop_map(|s| json!({ "shortest_edge": s })),
        (side(), side()).prop_map(|(h, w)| json!({ "height": h, "width": w })),
    ];
    let numbers = (mostly(RESCALES), mostly([0.875, 1.0, 0.5]), mostly([0, 2, 3, 5]));
    let flags = (any::<[bool; 5]>(), side());
    (class, size, each(MEANS), each(STDS), numbers, flags).prop_map(
        |(class, size, mean, std, (rescale, pct, resample), (flags, crop))| {
            json!({
                "image_processor_type": format!("{class}ImageProcessor"), "size": size, "image_mean": mean,
                "image_std": std, "rescale_factor": rescale, "crop_pct": pct, "resample": resample,
                "do_rescale": flags[0], "do_normalize": flags[1], "do_resize": flags[2], "do_center_crop": flags[3],
                "rescale_offset": flags[4], "crop_size": crop,
            })
        },
    )
}

fn timm_config() -> impl Strategy<Value = Value> {
    let size = proptest::collection::vec(side(), 3);
    (size, mostly([0.875, 1.0]), each(MEANS), each(STDS)).prop_map(
        |(size, pct, mean, std)| json!({ "input_size": size, "crop_pct": pct, "mean": mean, "std": std }),
    )
}

/// As a saved file has it.
fn saved() -> impl Strategy<Value = Value> {
    let resize = prop_oneof![
        Just(json!("none")),
        side().prop_map(|s| json!({ "shortest": s })),
        (side(), side()).prop_map(|(h, w)| json!({ "exact": [h, w] })),
        (side(), side()).prop_map(|(h, w)| json!({ "cover": [h, w] })),
    ];
    let numbers = (mostly([0.875, 1.0]), mostly(RESCALES), mostly([0.0, 1.0]));
    (resize, side(), side(), numbers, each(MEANS), each(STDS), any::<bool>()).prop_map(
        |(resize, h, w, (pct, rescale, offset), mean, std, twice)| {
            json!({
                "size": [h, w], "resize": resize, "interpolation": "bilinear", "crop_rule": "torchvision", "crop_pct": pct,
                "rescale": rescale, "offset": offset, "mean": mean, "std": std, "divide_twice": twice,
            })
        },
    )
}

/// Refused, or finite and in bounds for every 8-bit value.
fn refused_or_bounded(preprocess: Result<Preprocess, impl std::fmt::Display>) -> Result<bool, TestCaseError> {
    let Ok(preprocess) = preprocess else { return Ok(false) };
    // What is asked for may be too large for memory; how large is of no interest here.
    let small = Preprocess {
        size: Size::new(preprocess.size.height.min(40), preprocess.size.width.min(40)),
        ..preprocess
    };
    let mut applied = false;
    for (width, height) in [(16, 16), (1, 256), (40, 7)] {
        for channels in [1, 3, 4] {
            let pixels: Vec<u8> = (0..width * height * channels).map(|i| (i / channels) as u8).collect();
            if let Ok(values) = small.apply(view(&pixels, Size::new(height, width), channels), channels) {
                let bounded = |v: &f32| v.abs() <= MAX_VALUE;
                prop_assert!(
                    values.iter().all(bounded),
                    "{small:?}: {:?}",
                    values.iter().find(|v| !bounded(v))
                );
                applied = true;
            }
        }
    }
    Ok(applied)
}

/// Random configs of every kind; enough of them are accepted for that to say something.
#[test]
fn any_config_is_refused_or_gives_finite_values() {
    let mut runner = TestRunner::new(Config { cases: 3000, failure_persistence: None, ..Config::default() });
    let accepted = std::cell::Cell::new([0; 3]);
    let count = |kind: usize, applied: bool| {
        let mut now = accepted.get();
        now[kind] += usize::from(applied);
        accepted.set(now);
    };
    let all = (hugging_face_config(), timm_config(), saved());
    runner
        .run(&all, |(hugging_face, timm, saved)| {
            count(0, refused_or_bounded(Preprocess::from_hugging_face(&hugging_face))?);
            count(1, refused_or_bounded(Preprocess::from_timm(&timm))?);
            count(2, refused_or_bounded(serde_json::from_value(saved))?);
            Ok(())
        })
        .unwrap_or_else(|e| panic!("{e}"));
    let accepted = accepted.get();
    assert!(accepted.iter().all(|n| *n > 100), "accepted of each kind: {accepted:?}");
}

/// A saved file is refused when it is loaded, by the name of the number.
#[test]
fn a_saved_file_is_refused_by_its_numbers() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("assets/digits");
    let model = rmnet::models::Model::open(path).unwrap();
    let graph = rmnet::rewrite::for_mode(&model.graph, rmnet::Mode::Structured).unwrap().graph;
    let about = rmnet::models::saved::About::model(&model);
    let plain = || about.preprocess.clone();
    let cases = [
        (Preprocess { std: vec![0.0], ..plain() }, "`std`"),
        (Preprocess { std: vec![1.0, -1.0, 1.0], ..plain() }, "`std`"),
        (Preprocess { std: vec![1e-45], ..plain() }, "`std`"),
        (Preprocess { mean: vec![1e39], ..plain() }, "`mean`"),
        (Preprocess { mean: vec![], ..plain() }, "`mean`"),
        (Preprocess { rescale: 1e38, ..plain() }, "`rescale`"),
        (Preprocess { rescale: -1.0, ..plain() }, "`rescale`"),
        (Preprocess { offset: 1e7, ..plain() }, "`offset`"),
        (Preprocess { crop_pct: 0.0, ..plain() }, "`crop_pct`"),
        (Preprocess { crop_pct: -0.5, ..plain() }, "`crop_pct`"),
        (Preprocess { resize: Resize::Shortest(0), ..plain() }, "`resize`"),
        (Preprocess { resize: Resize::Exact(Size::new(1 << 40, 1)), ..plain() }, "`resize`"),
        (Preprocess { rescale: 1e6, std: vec![1e-6], ..plain() }, "`rescale, mean, std`"),
    ];
    let folder = tempfile::tempdir().unwrap();
    for (preprocess, key) in cases {
        let file = folder.path().join("model.safetensors");
        let about = rmnet::models::saved::About { preprocess, ..about.clone() };
        rmnet::models::saved::save(&file, &graph, &about).unwrap();
        let error = rmnet::models::Model::open(&file).unwrap_err().to_string();
        assert!(error.contains(key) && error.contains("metadata `rmnet`"), "{key}: {error}");
        assert!(error.contains("expected") && error.contains("found"), "{error}");
    }
}

/// The file is named, and numbers that no JSON has.
#[test]
fn the_file_of_a_number_is_named() {
    let weights = Path::new(env!("CARGO_MANIFEST_DIR")).join("assets/digits/model.safetensors");
    let cases = [
        ("config.json", r#"{"pretrained_cfg": {"std": [0, 0, 0]}}"#, "`std`"),
        ("config.json", r#"{"pretrained_cfg": {"input_size": [0, 8, 8]}}"#, "`input_size`"),
        ("config.json", r#"{"pretrained_cfg": {"crop_pct": NaN}}"#, "config.json"),
        ("preprocessor_config.json", r#"{"rescale_factor": 1e38}"#, "`rescale_factor`"),
        ("preprocessor_config.json", r#"{"image_std": Infinity}"#, "JSON"),
        ("preprocessor_config.json", r#"{"image_mean": 1e999}"#, "JSON"),
        ("processor_config.json", r#"{"image_processor": {"image_std": 1e-45}}"#, "`image_std`"),
    ];
    for (name, text, word) in cases {
        let folder = tempfile::tempdir().unwrap();
        fs::copy(&weights, folder.path().join("model.safetensors")).unwrap();
        fs::write(folder.path().join(name), text).unwrap();
        let error = rmnet::models::Model::open(folder.path()).unwrap_err().to_string();
        assert!(error.contains(name) && error.contains(word), "{name}: {error}");
    }
}

#[test]
fn one_channel_and_four() {
    let plain = Preprocess { mean: vec![0.0], std: vec![1.0], rescale: 1.0, ..Preprocess::imagenet() };
    let two = Preprocess { size: Size::new(1, 2), resize: Resize::None, ..plain.clone() };
    let apply = |preprocess: &Preprocess, pixels: &[u8], channels| {
        preprocess.apply(view(pixels, Size::new(1, 2), channels), channels).unwrap()
    };
    assert_eq!(apply(&two, &[3, 4], 1), [3.0, 4.0]);
    assert_eq!(apply(&two, &[1, 2, 3, 4, 5, 6, 7, 8], 4), [1.0, 5.0, 2.0, 6.0, 3.0, 7.0, 4.0, 8.0]);
    // Pillow resizes RGBA with premultiplied alpha: a clear pixel's colour does not bleed.
    let one = Preprocess { size: Size::new(1, 1), resize: Resize::Exact(Size::new(1, 1)), ..plain };
    let pixels = [200, 100, 50, 255, 0, 0, 0, 0];
    assert_eq!(apply(&one, &pixels, 4), [199.0, 99.0, 49.0, 128.0]);

    // Three numbers do not say what one channel's are; a network without a config has the means of its kind's.
    let three = Preprocess::imagenet();
    assert!(three.check(1).unwrap_err().to_string().contains("`mean`"));
    let gray = three.clone().for_channels(1);
    assert!((gray.mean[0] - 0.449).abs() < 1e-12 && (gray.std[0] - 0.226).abs() < 1e-12);
    assert!(gray.check(1).is_ok() && three.check(4).is_err() && gray.check(4).is_ok());
    // Saved files have arrays of three, configs also a number.
    let mut saved = serde_json::to_value(&three).unwrap();
    assert_eq!(saved["mean"], json!([0.485, 0.456, 0.406]));
    saved["std"] = json!(0.25);
    assert_eq!(serde_json::from_value::<Preprocess>(saved).unwrap().std, [0.25]);
}
