//! What the program says of a network that overflows f16.

mod common;

use common::fixtures;
use common::spoil::{File, overflowing};
use std::path::Path;
use std::process::Command;

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
