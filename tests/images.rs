//! Files of many kinds decode to Pillow's pixels or are refused; a file cut anywhere is refused; none makes a decoder panic.

use rmnet::images::{self, ColorMode, ImageError, Orientation, Pixels};
use safetensors::SafeTensors;
use safetensors::tensor::Metadata;
use serde_json::Value;
use std::fs;
use std::path::Path;

fn cases() -> Vec<u8> {
    fs::read(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/images/cases.safetensors")).unwrap()
}

fn names(cases: &SafeTensors<'_>, kind: &str) -> Vec<String> {
    let found = cases.names().into_iter().filter_map(|n| n.strip_prefix(kind)).map(str::to_string);
    let mut found: Vec<String> = found.collect();
    found.sort();
    found
}

/// The files that are refused, with a word of the message.
fn refused(bytes: &[u8]) -> Vec<(String, String)> {
    let (_, metadata): (usize, Metadata) = SafeTensors::read_metadata(bytes).unwrap();
    let list: Value = serde_json::from_str(&metadata.metadata().as_ref().unwrap()["refused"]).unwrap();
    let text = |v: &Value| v.as_str().unwrap().to_string();
    list.as_object().unwrap().iter().map(|(name, word)| (name.clone(), text(word))).collect()
}

#[test]
fn pixels_are_pillows() {
    let bytes = cases();
    let cases = SafeTensors::deserialize(&bytes).unwrap();
    let kinds = [
        ("L/", ColorMode::Gray, Orientation::Apply, 130),
        ("RGB/", ColorMode::Rgb, Orientation::Apply, 130),
        ("RGBA/", ColorMode::Rgba, Orientation::Apply, 15),
        ("stored/", ColorMode::Rgb, Orientation::Ignore, 20),
    ];
    for (kind, mode, orientation, least) in kinds {
        let names = names(&cases, kind);
        assert!(names.len() > least, "{kind}: {} cases", names.len());
        for name in names {
            let file = cases.tensor(&format!("file/{name}")).unwrap();
            let expected = cases.tensor(&format!("{kind}{name}")).unwrap();
            let &[height, width, channels] = expected.shape() else { panic!("{name}") };
            let found = images::decode(file.data(), mode, orientation);
            let Pixels { width: w, height: h, channels: c, data } =
                found.unwrap_or_else(|e| panic!("{kind}{name}: {e}"));
            assert_eq!([h, w, c], [height, width, channels], "{kind}{name}");
            let off = data.iter().zip(expected.data()).position(|(a, b)| a != b);
            assert_eq!(off, None, "{kind}{name}: the first byte that differs");
        }
    }
}

#[test]
fn what_is_not_decoded_is_named() {
    let bytes = cases();
    let cases = SafeTensors::deserialize(&bytes).unwrap();
    let refused = refused(&bytes);
    assert!(refused.len() > 20);
    for (name, word) in refused {
        let file = cases.tensor(&format!("file/{name}")).unwrap();
        let error = images::decode(file.data(), ColorMode::Rgb, Orientation::Apply).unwrap_err();
        assert!(error.to_string().contains(&word), "{name}: expected {word:?} in {error}");
        // A whole file of another kind is not said to be damaged.
        let damaged = matches!(error, ImageError::Damaged { .. });
        assert!(!damaged || !name.starts_with("frame"), "{name}: {error}");
    }
    // Opaque images, for a network of four channels.
    for name in ["gray.jpg", "colour2-depth8.png", "colour0-depth8.png", "colour3-depth8.png"] {
        let file = cases.tensor(&format!("file/{name}")).unwrap();
        let error = images::decode(file.data(), ColorMode::Rgba, Orientation::Apply).unwrap_err();
        assert!(matches!(error, ImageError::NoAlpha { .. }), "{name}: {error}");
    }
}

#[test]
fn every_cut_file_is_refused() {
    let bytes = cases();
    let cases = SafeTensors::deserialize(&bytes).unwrap();
    let mut cuts = 0;
    for name in names(&cases, "RGB/") {
        // What follows the image may be cut.
        if name.starts_with("trailing") || name.ends_with(".mpo") {
            continue;
        }
        let file = cases.tensor(&format!("file/{name}")).unwrap();
        let file = file.data();
        // All of the last bytes, and others in steps that meet every segment of some file.
        for end in (0..file.len()).filter(|end| end.is_multiple_of(13) || file.len() - end < 16) {
            cuts += 1;
            let found = images::decode(&file[..end], ColorMode::Rgb, Orientation::Apply);
            assert!(found.is_err(), "{name}: cut at {end} of {}", file.len());
        }
    }
    assert!(cuts > 5000, "{cuts}");
}

#[test]
fn no_byte_makes_a_decoder_give_up() {
    let bytes = cases();
    let cases = SafeTensors::deserialize(&bytes).unwrap();
    for name in
        ["1x1-sub2-progressive.jpg", "17x23-sub2.jpg", "cmyk.jpg", "colour3-depth4-interlaced-clear.png"]
    {
        let file = cases.tensor(&format!("file/{name}")).unwrap();
        let mut file = file.data().to_vec();
        for at in 0..file.len() {
            let byte = file[at];
            for changed in [0, 255, byte ^ 1, byte ^ 0x80] {
                file[at] = changed;
                // Pixels or an error; what must not come is a panic, which would end this test.
                let _ = images::decode(&file, ColorMode::Rgb, Orientation::Apply);
            }
            file[at] = byte;
        }
    }
}
