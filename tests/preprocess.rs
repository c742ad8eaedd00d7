//! Pixels equal to Pillow's, and whole pipelines equal to those of torchvision, timm and Hugging Face.

use rmnet::checkpoint::Checkpoint;
use rmnet::images::{Mode, Orientation, Pixels};
use rmnet::preprocess::{CropRule, ImageView, Interpolation, Preprocess, PreprocessError, Resize};
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
    rmnet::images::decode(&fs::read(path).unwrap(), Mode::Rgb, Orientation::Apply).unwrap()
}

fn apply(preprocess: &Preprocess, image: &Pixels) -> Vec<f32> {
    preprocess.apply(&image.data, image.width, image.height).unwrap()
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
            size: [height, width],
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
                Preprocess { size: [side; 2], resize, ..Preprocess::imagenet() }
            }
        };
        let expected = expected.tensor(key).unwrap();
        assert_eq!(expected.shape(), [3, preprocess.size[0], preprocess.size[1]], "{key}");
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
            assert_eq!(expected.shape(), [3, preprocess.size[0], preprocess.size[1]], "{key}: {config}");
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
    assert_eq!((mobile.size, mobile.resize), ([24, 24], Resize::Shortest(28)));
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
        (vit("resample", json!(7)), "resample"),
        (vit("do_resize", json!(1)), "do_resize"),
        (timm("interpolation", json!("random")), "interpolation"),
        (timm("crop_mode", json!("border")), "crop_mode"),
    ];
    for (preprocess, key) in cases {
        match preprocess.apply(&[0; 3 * 64], 8, 8) {
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
    ];
    for (config, key) in cases {
        match Preprocess::from_hugging_face(&config) {
            Err(PreprocessError::Config { key: found, .. }) => assert_eq!(found, key, "{config}"),
            other => panic!("{config}: {other:?}"),
        }
    }
}

#[test]
fn one_channel_and_four() {
    let plain = Preprocess { mean: vec![0.0], std: vec![1.0], rescale: 1.0, ..Preprocess::imagenet() };
    let two = Preprocess { size: [1, 2], resize: Resize::None, ..plain.clone() };
    let view = |pixels, channels| ImageView { pixels, width: 2, height: 1, channels };
    assert_eq!(two.apply_view(view(&[3, 4], 1)).unwrap(), [3.0, 4.0]);
    assert_eq!(
        two.apply_view(view(&[1, 2, 3, 4, 5, 6, 7, 8], 4)).unwrap(),
        [1.0, 5.0, 2.0, 6.0, 3.0, 7.0, 4.0, 8.0]
    );
    // Pillow resizes RGBA with premultiplied alpha: a clear pixel's colour does not bleed.
    let one = Preprocess { size: [1, 1], resize: Resize::Exact([1, 1]), ..plain };
    let pixels = [200, 100, 50, 255, 0, 0, 0, 0];
    assert_eq!(one.apply_view(view(&pixels, 4)).unwrap(), [199.0, 99.0, 49.0, 128.0]);

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
