//! `rmnet convert` writes what the library writes.

mod common;

use common::fixtures;
use rmnet::models::saved::About;
use rmnet::onnx;
use rmnet::rewrite::{self, Mode};
use std::process::Command;

#[test]
fn the_program_writes_the_same_file() {
    let folder = tempfile::tempdir().unwrap();
    let (path, expected) = (folder.path().join("program.onnx"), folder.path().join("library.onnx"));
    let run = Command::new(env!("CARGO_BIN_EXE_rmnet"))
        .args(["convert", "assets/digits", "--format", "onnx", "--json", "-o"])
        .arg(&path)
        .current_dir(fixtures::root())
        .output()
        .unwrap();
    let report: serde_json::Value = serde_json::from_slice(&run.stdout).unwrap();
    assert_eq!((&report["format"], &report["form"]), (&"onnx".into(), &"literal".into()), "{report}");
    let model = rmnet::models::Model::open(fixtures::root().join("assets/digits")).unwrap();
    let about = About::model(&model);
    let chain = rewrite::for_mode(&model.graph, Mode::Literal).unwrap();
    onnx::write(&expected, &chain.graph, &about).unwrap();
    assert!(std::fs::read(&path).unwrap() == std::fs::read(&expected).unwrap());
}
