//! The record of self-tests in the folder of stored files: kept between runs, written anew where it is damaged, and never in the way.

use serde_json::{Value, json};
use std::fs;
use std::path::Path;
use std::process::Command;

const RUN: [&str; 5] = ["run", "assets/digits", "assets/digits/images/0374_7.png", "--adapter", "vulkan"];

/// A run on a Vulkan adapter with this folder: exit code, standard output, standard error.
fn run(cache: &Path) -> (i32, String, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_rmnet"))
        .args(RUN)
        .current_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/.."))
        .env("RUST_LOG", "off")
        .env("RMNET_CACHE_DIR", cache)
        .output()
        .expect("the program runs");
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (output.status.code().expect("an exit code"), text(&output.stdout), text(&output.stderr))
}

fn is_right((code, out, err): &(i32, String, String)) -> bool {
    *code == 0 && out.contains("0374_7.png") && !err.contains("panicked")
}

#[test]
fn what_was_found_is_kept() {
    if !rmnet::gpu::adapters().iter().any(|a| a.backend == "vulkan" && a.problem.is_none()) {
        assert!(std::env::var_os("RMNET_TEST_ADAPTERS").is_none(), "no adapter");
        return;
    }
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("self-tests.json");
    assert!(is_right(&run(folder.path())));
    let record = fs::read_to_string(&file).expect("a record");
    let mut parsed: Value = serde_json::from_str(&record).expect("JSON");
    let kernels = parsed["drivers"][0]["kernels"].as_array().expect("kernels").clone();
    assert!(kernels.len() > 2 && kernels.iter().all(|k| k.get("wrong").is_none()), "{record}");

    // Nothing is tested again.
    assert!(is_right(&run(folder.path())));
    assert_eq!(fs::read_to_string(&file).expect("a record"), record);

    // What is damaged is written anew.
    for damaged in [&b""[..], b"{", b"[]", b"{\"schema_version\": 99}", b"\xff", &vec![b' '; 5 << 20]] {
        fs::write(&file, damaged).expect("a file");
        let (code, out, err) = run(folder.path());
        assert!(is_right(&(code, out, err.clone())), "{err}");
        assert_eq!(fs::read_to_string(&file).expect("a record"), record, "{} bytes", damaged.len());
    }

    // What is wrong is said and not used; results of kernels that this version does not have are kept.
    let wrong = kernels[0]["kernel"].as_str().expect("a name").to_string();
    parsed["drivers"][0]["kernels"][0]["wrong"] = json!("planted");
    let other =
        json!({ "kernel": "another 7px x 7oc", "precision": "f64", "with": "", "wrong": "planted too" });
    parsed["drivers"][0]["kernels"].as_array_mut().expect("kernels").push(other);
    fs::write(&file, parsed.to_string()).expect("a file");
    let (code, _, err) = run(folder.path());
    let family = wrong.split(' ').next().expect("a family");
    assert!(
        err.contains(&format!("`{family}` kernels wrong in f32")) && err.contains("planted"),
        "{code}: {err}"
    );
    assert!(!err.contains("planted too") && !err.contains("panicked"), "{err}");
    // Where no other kernel is right the error says what can be done.
    match code {
        0 => assert!(err.contains("warning:") && err.contains("delete "), "{err}"),
        4 => assert!(err.contains("--adapter cpu") && err.contains("self-tests.json to have them"), "{err}"),
        _ => panic!("{code}: {err}"),
    }
    let now = fs::read_to_string(&file).expect("a record");
    assert!(now.contains("planted") && now.contains("another 7px x 7oc"), "{now}");

    // A folder in its place is a warning.
    fs::remove_file(&file).expect("a file");
    fs::create_dir(&file).expect("a folder");
    let (code, out, err) = run(folder.path());
    assert!(is_right(&(code, out, err.clone())) && err.contains("kernels are tested again"), "{err}");
}
