//! Pixels equal to Pillow's, and whole pipelines equal to those of torchvision, timm and Hugging Face.

use rmnet::checkpoint::Checkpoint;
use rmnet::preprocess::{CropRule, Interpolation, Preprocess, Resize};
use safetensors::SafeTensors;
use serde_json::Value;
use std::fs;
use std::path::{Path, PathBuf};

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/pil")
}

fn cases(kind: &str) -> Vec<Value> {
    let all: Value = serde_json::from_slice(&fs::read(folder().join("cases.json")).unwrap()).unwrap();
    all[kind].as_array().unwrap().clone()
}

fn image(case: &Value) -> image::RgbImage {
    let path = folder().join(format!("{}.png", case["image"].as_str().unwrap()));
    image::ImageReader::open(path).unwrap().decode().unwrap().to_rgb8()
}

fn apply(preprocess: &Preprocess, image: &image::RgbImage) -> Vec<f32> {
    preprocess.apply(image, image.width() as usize, image.height() as usize).unwrap()
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
