//! A config and an image: refused, or an input that is finite and of the length its size says.

use crate::common::random::Rng;
use crate::file::{change_json, fixtures};
use crate::source::Source;
use rmnet::preprocess::{ImageView, PixelFormat, Preprocess, Size};
use serde_json::{Value, json};

/// Pixels of the largest input and of the largest image that are made here.
const MAX_PIXELS: usize = 1 << 16;

pub fn preprocess(data: &[u8]) {
    let s = &mut Source::new(data);
    let Some(preprocess) = chosen(s) else { return };
    let _ = preprocess.to_string();
    let size = match s.below(3) {
        0 => preprocess.size,
        _ => Size::new(s.within(1, 64), s.within(1, 64)),
    };
    let preprocess = if s.one_in(2) { preprocess.with_size(size) } else { preprocess };
    let channels = *s.pick(&[3, 1, 4, 2, 0]);
    let checked = preprocess.check(channels);
    let Size { height, width } = preprocess.size;
    let (w, h) = (s.within(1, 80), s.within(1, 80));
    // An image is stretched before it is cropped; what that may cost is refused by others.
    let large = |size: Size| size.height.saturating_mul(size.width) > MAX_PIXELS;
    if large(preprocess.size) || large(preprocess.resize.output_size(Size::new(h, w))) {
        return;
    }
    let mut rng = Rng(s.seed());
    let noise = *s.pick(&[1, 255, 2]);
    let formats =
        [PixelFormat::Rgb8, PixelFormat::Gray8, PixelFormat::Rgba8, PixelFormat::Bgra8, PixelFormat::Bgr8];
    let format = *s.pick(&formats);
    let stride = w * format.bytes() + *s.pick(&[0, 1, 7]);
    let pixels: Vec<u8> = (0..stride * h).map(|_| (rng.next() % noise) as u8).collect();
    let image = ImageView::new(&pixels, Size::new(h, w), format).with_stride(stride);
    match preprocess.apply(image, channels) {
        Ok(values) => {
            assert_eq!(values.len(), channels * height * width, "{preprocess}");
            assert!(values.iter().all(|v| v.is_finite()), "{preprocess}");
            assert_eq!(checked, Ok(()), "{preprocess}");
        }
        Err(e) => drop(e.to_string()),
    }
}

fn chosen(s: &mut Source) -> Option<Preprocess> {
    let configs = fixtures().iter().flat_map(|f| [&f.config, &f.preprocessor]).flatten();
    let mut starts: Vec<Value> = configs.map(|c| c.get("pretrained_cfg").unwrap_or(c).clone()).collect();
    starts.push(json!({ "input_size": [3, 224, 224], "mean": [0.5, 0.4, 0.3], "std": [0.2, 0.2, 0.2],
        "interpolation": "bicubic", "crop_pct": 0.875 }));
    starts.push(json!({ "size": { "shortest_edge": 40 }, "crop_size": 32, "image_mean": [0.5, 0.5, 0.5],
        "image_std": [0.5, 0.5, 0.5], "resample": 3, "do_normalize": true, "rescale_factor": 0.00392 }));
    let mut value = s.pick(&starts).clone();
    for _ in 0..s.within(0, 5) {
        change_json(&mut value, s);
    }
    let read = match s.below(3) {
        0 => Preprocess::from_timm(&value),
        1 => Preprocess::from_hugging_face(&value),
        _ => {
            let class =
                *s.pick(&["ConvNextImageProcessor", "MobileNetV2ImageProcessor", "ViTImageProcessor"]);
            Preprocess::from_hugging_face_as(&value, class)
        }
    };
    read.map_err(|e| e.to_string()).ok()
}
