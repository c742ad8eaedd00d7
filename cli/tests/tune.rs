//! `rmnet tune`, and the tunings that other verbs use.

mod common;

use common::{difference, fixtures};
use rmnet::gpu::Tuning;
use serde_json::Value;
use std::path::Path;
use std::process::{Command, Output};

const FIXTURE: &str = "tests/fixtures/tv_basic_odd_widths";
/// Of f32 logits, over the largest.
const BOUND: f64 = 1e-5;

fn rmnet(cache: &Path, args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_rmnet"))
        .args(args)
        .arg("--json")
        .current_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/.."))
        .env("RMNET_CACHE_DIR", cache)
        .env("RUST_LOG", "off")
        .output()
        .expect("the program runs")
}

/// The object that a command prints, and its standard error.
#[track_caller]
fn json(cache: &Path, args: &[&str], code: i32) -> (Value, String) {
    let output = rmnet(cache, args);
    let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(code), "{args:?}: {}, {stderr}", output.status);
    (serde_json::from_slice(&output.stdout).expect("one JSON object"), stderr)
}

#[test]
fn the_program_keeps_a_tuning_and_uses_it() {
    let folder = tempfile::tempdir().expect("a folder");
    let cache = folder.path().join("deep/cache");
    let input = format!("{FIXTURE}/expected.safetensors");
    let run = ["run", FIXTURE, &input, "--size", "45x37", "--batch", "1", "--adapter", "vulkan"];
    let logits = |args: &[&str], to: &str| {
        let to = folder.path().join(to);
        let args = [&run, args, &["--logits", to.to_str().expect("text")]].concat();
        let (report, stderr) = json(&cache, &args, 0);
        let file = rmnet::checkpoint::Checkpoint::open(&to).expect("logits");
        (report, stderr, file.tensor("logits").expect("a tensor `logits`").to_f64())
    };
    let expected = fixtures::load(FIXTURE).logits;
    let right = |logits: &[f64]| assert!(difference(logits, &expected).1 < BOUND);

    let (before, _, values) = logits(&[], "before");
    assert_eq!(before["tuning"], Value::Null);
    right(&values);
    assert!(!cache.join("tuning.json").exists(), "nothing is tuned unasked");

    let tuned = json(&cache, &["tune", FIXTURE, "--size", "45x37", "--adapter", "vulkan"], 0).0;
    let choices = tuned["choices"].as_array().expect("choices");
    let count: usize = choices.iter().map(|c| c["dispatches"].as_array().map_or(0, Vec::len)).sum();
    let stored = cache.join("tuning.json");
    assert_eq!(tuned["file"].as_str(), stored.to_str());
    let whole = std::fs::read_to_string(&stored).expect("the file");
    assert_eq!(Tuning::from_json(&whole).expect("a tuning").len(), choices.len());

    let (after, _, values) = logits(&[], "after");
    assert_eq!(after["tuning"]["dispatches"].as_u64(), Some(count as u64));
    assert_eq!(after["tuning"]["file"].as_str(), stored.to_str());
    right(&values);
    let verified = ["verify", FIXTURE, "--size", "45x37", "--adapter", "vulkan"];
    assert_eq!(json(&cache, &verified, 0).0["tuning"]["dispatches"].as_u64(), Some(count as u64));
    for off in [["--tuning", "none"], ["--cache", "none"]] {
        assert_eq!(logits(&off, "off").0["tuning"], Value::Null, "{off:?}");
    }

    // A file that names other kernels changes the kernels; one that names none there are is refused, but kept it is a warning.
    let chosen = |c: &Value| c["tried"].as_array().and_then(|t| t.last()).map(|t| t["kernel"].clone());
    let mut other: Value = serde_json::from_str(&whole).expect("JSON");
    for c in choices {
        let spec = c["spec"].as_str().expect("a spec");
        other["adapters"][0]["kernels"][spec]["kernel"] = chosen(c).expect("a kernel");
    }
    let file = folder.path().join("other.json");
    let path = file.to_str().expect("text");
    std::fs::write(&file, other.to_string()).expect("a file");
    let wgsl = ["wgsl", FIXTURE, "--size", "45x37", "--adapter", "vulkan", "--tuning"];
    let kernels = |report: &Value| -> Vec<String> {
        let shaders = report["shaders"].as_array().expect("shaders");
        shaders.iter().map(|s| s["kernel"].as_str().expect("a name").into()).collect()
    };
    let with = json(&cache, &[&wgsl[..], &[path]].concat(), 0).0;
    let without = json(&cache, &[&wgsl[..], &["none"]].concat(), 0).0;
    assert_ne!(kernels(&with), kernels(&without));
    assert_eq!(with["tuning"]["dispatches"].as_u64(), Some(count as u64));
    right(&logits(&["--tuning", path], "other").2);

    let gone = stale(&whole).to_string();
    std::fs::write(&file, &gone).expect("a file");
    let (error, _) = json(&cache, &[&run[..], &["--tuning", path]].concat(), 3);
    assert!(error["error"].as_str().is_some_and(|e| e.contains(STALE) && e.contains(path)), "{error}");
    std::fs::write(&stored, &gone).expect("a file");
    let (report, stderr, values) = logits(&[], "gone");
    assert!(stderr.contains("warning") && stderr.contains(STALE), "{stderr}");
    assert_eq!(report["tuning"]["dispatches"].as_u64(), Some(0));
    right(&values);
}

/// A kernel that no adapter is offered.
const STALE: &str = "stem 1px x 4oc";

/// A tuning file all of whose entries name it.
fn stale(text: &str) -> Value {
    let mut file: Value = serde_json::from_str(text).expect("JSON");
    for adapter in file["adapters"].as_array_mut().expect("adapters") {
        for entry in adapter["kernels"].as_object_mut().expect("kernels").values_mut() {
            entry["kernel"] = STALE.into();
        }
    }
    file
}

#[test]
fn tuning_again_replaces_its_own_entries_alone() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("shipped.json");
    let path = file.to_str().expect("text");
    let tune = ["tune", FIXTURE, "--size", "45x37", "--adapter", "vulkan", "-o", path];
    json(folder.path(), &tune, 0);
    let first = std::fs::read_to_string(&file).expect("a file");
    let count = Tuning::from_json(&first).expect("a tuning").len();
    // The same of another driver, beside an own entry of another spec and stale own ones.
    let mut foreign: Value = serde_json::from_str(&first).expect("JSON");
    foreign["adapters"][0]["driver"] = "another".into();
    let mut merged = stale(&first);
    merged["adapters"].as_array_mut().expect("adapters").push(foreign["adapters"][0].clone());
    let any = merged["adapters"][0]["kernels"].as_object().and_then(|k| k.values().next()).cloned();
    merged["adapters"][0]["kernels"]["another spec"] = any.expect("an entry");
    std::fs::write(&file, merged.to_string()).expect("a file");
    json(folder.path(), &tune, 0);
    let again: Value = serde_json::from_slice(&std::fs::read(&file).expect("a file")).expect("JSON");
    let kernels = again["adapters"][0]["kernels"].as_object().expect("kernels");
    assert_eq!(kernels.len(), count + 1);
    for (spec, entry) in kernels {
        assert_eq!(entry["kernel"] == STALE, spec == "another spec", "{spec}");
    }
    assert_eq!(again["adapters"][1], foreign["adapters"][0]);
    assert!(!folder.path().join("tuning.json").exists(), "-o writes that file alone");
}

#[test]
fn files_and_uses_that_make_no_sense_are_refused() {
    let folder = tempfile::tempdir().expect("a folder");
    let cache = folder.path();
    let refused = |args: &[&str], code: i32, words: &[&str]| {
        let (report, _) = json(cache, args, code);
        let error = report["error"].as_str().unwrap_or_else(|| panic!("{args:?}: {report}"));
        words.iter().for_each(|w| assert!(error.contains(w), "{args:?}: expected {w:?} in {error:?}"));
    };
    let tune = ["tune", FIXTURE, "--size", "45x37", "--adapter"];
    let with = |args: &[&'static str], more: &[&'static str]| [args, more].concat();
    refused(&with(&tune, &["cpu"]), 2, &["--adapter cpu", "nothing to tune"]);
    refused(&with(&tune, &["no such card"]), 4, &["no such card"]);
    refused(&with(&tune, &["vulkan", "--cache", "none"]), 2, &["-o FILE"]);
    refused(&with(&tune, &["vulkan", "-o", "tests"]), 2, &["tests"]);
    refused(&with(&tune, &["vulkan", "-o", "README.md"]), 3, &["README.md", "tuning file"]);
    refused(&["wgsl", FIXTURE, "--tuning", "x.json"], 2, &["--adapter"]);

    let input = format!("{FIXTURE}/expected.safetensors");
    let damaged = cache.join("damaged.json");
    let path = damaged.to_str().expect("text");
    let run = |adapter| ["run", FIXTURE, &input, "--size", "45x37", "--adapter", adapter, "--tuning", path];
    refused(&run("vulkan"), 3, &[path]);
    for (text, word) in
        [("{ \"schema_version\": 2, ", "EOF"), ("{ \"schema_version\": 1 }", "schema_version 1")]
    {
        std::fs::write(&damaged, text).expect("a file");
        refused(&run("vulkan"), 3, &[path, word]);
        refused(&run("cpu"), 2, &["--tuning", "CPU executor"]);
        // Where it is the program's own file, the run goes on without it.
        std::fs::write(cache.join("tuning.json"), text).expect("a file");
        let (report, stderr) = json(cache, &run("vulkan")[..7], 0);
        assert!(stderr.contains("warning") && stderr.contains(word), "{stderr}");
        assert_eq!(report["tuning"], Value::Null);
    }
}
