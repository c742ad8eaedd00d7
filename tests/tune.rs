//! Tuning and kept shaders: what a tuning names runs, what it does not name runs as ever, and files are refused by what is wrong.
#![cfg(feature = "cli")]

mod common;

use common::{devices, difference, fixtures};
use rmnet::gpu::{Gpu, TunedKernel, Tuning};
use rmnet::kernel::{Choice, Spec};
use rmnet::plan::CheckedPlan;
use rmnet::tune::{Progress, tune};
use rmnet::{Device, Options, Session, prepare};
use serde_json::Value;
use std::path::Path;
use std::process::{Command, Output};

const FIXTURE: &str = "tests/fixtures/tv_basic_odd_widths";
/// Of f32 logits, over the largest.
const BOUND: f64 = 1e-5;

fn gpus() -> Vec<(String, Gpu)> {
    let open = |(name, device)| match device {
        Device::Gpu(choice) => Some((name, Gpu::new(&choice).expect("an adapter that was found"))),
        _ => None,
    };
    let gpus: Vec<_> = devices().into_iter().filter_map(open).collect();
    assert!(!gpus.is_empty(), "no Vulkan adapter");
    gpus
}

fn plan(gpu: &Gpu, f: &fixtures::Fixture) -> CheckedPlan {
    let options = Options { batch: f.batch, ..Options::default() };
    prepare(&f.model, &options, gpu.plan_target()).expect("a plan").plan
}

fn session(gpu: &Gpu, f: &fixtures::Fixture, tuning: Tuning) -> Session {
    let options = Options { batch: f.batch, tuning, ..Options::default() };
    pollster::block_on(Session::on(gpu, &f.model, &options)).expect("a session")
}

#[track_caller]
fn logits_are_right(session: &Session, f: &fixtures::Fixture) {
    let logits: Vec<f64> = session.run(&f.input).expect("a run").iter().map(|v| f64::from(*v)).collect();
    let (_, relative) = difference(&logits, &f.logits);
    assert!(relative < BOUND, "{relative:e}");
}

/// The last candidate for every dispatch that has several; with the names of all kernels that must then run.
fn last_candidates(gpu: &Gpu, plan: &CheckedPlan) -> (Tuning, Vec<String>, usize) {
    let (mut tuning, mut named) = (Tuning::default(), 0);
    let kernels = plan.dispatches.iter().enumerate().map(|(i, d)| {
        let kernels = gpu.candidates(plan, i).expect("kernels");
        let last = kernels.last().expect("at least one").choice;
        if kernels.len() > 1 {
            named += 1;
            tuning.set(gpu.adapter(), &d.spec, choice(last));
        }
        last.to_string()
    });
    let kernels = kernels.collect();
    assert!(named > 3, "{named}");
    (tuning, kernels, named)
}

fn choice(kernel: Choice) -> TunedKernel {
    TunedKernel { kernel, time_ns: 1, default: kernel, default_ns: 2 }
}

#[test]
fn what_a_tuning_names_runs() {
    let f = fixtures::load(FIXTURE);
    for (name, gpu) in gpus() {
        let (tuning, kernels, named) = last_candidates(&gpu, &plan(&gpu, &f));
        let plain = session(&gpu, &f, Tuning::default());
        let tuned = session(&gpu, &f, tuning);
        assert_eq!(tuned.kernels(), kernels, "{name}");
        assert_ne!(tuned.kernels(), plain.kernels(), "{name}");
        assert_eq!(tuned.tuned().map(|t| (t.dispatches, t.unknown.len())), Some((named, 0)), "{name}");
        assert_eq!(plain.tuned().map(|t| t.dispatches), Some(0), "{name}");
        logits_are_right(&tuned, &f);
    }
}

#[test]
fn entries_of_another_adapter_or_driver_or_of_kernels_that_are_gone_do_not_run() {
    let f = fixtures::load(FIXTURE);
    let (_, gpu) = gpus().remove(0);
    let (tuning, _, named) = last_candidates(&gpu, &plan(&gpu, &f));
    let plain = session(&gpu, &f, Tuning::default()).kernels();
    let (whole, own) = (tuning.to_json(), gpu.adapter());
    for part in [&own.name, &own.driver, env!("CARGO_PKG_VERSION")] {
        // As JSON has it, with its quotes: a name is part of a driver's on some adapters.
        let foreign = whole.replace(&format!("\"{part}\""), "\"another\"");
        assert_ne!(foreign, whole);
        let foreign = session(&gpu, &f, Tuning::from_json(&foreign).expect("a tuning"));
        assert_eq!(foreign.kernels(), plain, "{part}");
        assert_eq!(foreign.tuned().map(|t| t.dispatches), Some(0), "{part}");
    }
    let nowhere: Choice = STALE.parse().expect("a kernel");
    let mut gone = Tuning::default();
    for d in plan(&gpu, &f).dispatches.iter().filter(|d| tuning.get(own, &d.spec).is_some()) {
        gone.set(own, &d.spec, choice(nowhere));
    }
    let gone = session(&gpu, &f, gone);
    assert_eq!(gone.kernels(), plain);
    let told = gone.tuned().expect("on a GPU");
    assert_eq!((told.dispatches, told.unknown.len()), (0, named));
    assert_eq!(told.unknown[0].1, nowhere);
    // The CPU executor has no kernels and does not read a tuning.
    let options = Options { batch: f.batch, device: Device::Cpu, tuning, ..Options::default() };
    let cpu = Session::new(&f.model, &options).expect("a session");
    assert!(cpu.tuned().is_none());
}

#[test]
fn tuning_measures_every_convolution_with_a_choice_once() {
    let f = fixtures::load(FIXTURE);
    for (name, gpu) in gpus() {
        let plan = plan(&gpu, &f);
        let mut seen = vec![];
        let found = tune(&gpu, &plan, |p: Progress<'_>| {
            assert_eq!(p.done, seen.len());
            seen.push((p.of, p.dispatch.to_string()));
        })
        .unwrap_or_else(|e| panic!("{name}: {e}"));
        assert_eq!(seen.len(), found.choices.len(), "{name}");
        assert!(seen.iter().all(|(of, _)| *of == seen.len()), "{name}");
        let measured: usize = found.choices.iter().map(|c| c.dispatches.len()).sum();
        assert_eq!(measured + found.without_choice, plan.dispatches.len(), "{name}");
        for c in &found.choices {
            let Spec::Conv(_) = &c.spec else { panic!("{name}: no convolution") };
            let first = plan.dispatches.iter().position(|d| d.name == c.dispatches[0]).expect("a dispatch");
            let kernels = gpu.candidates(&plan, first).expect("kernels");
            let choices: Vec<Choice> = kernels.iter().map(|k| k.choice).collect();
            assert_eq!(c.tried.iter().map(|t| t.kernel).collect::<Vec<_>>(), choices, "{name}");
            // Every kernel there is gives the right answer, so every one was timed.
            for t in &c.tried {
                let time = t.outcome.as_ref().unwrap_or_else(|e| panic!("{name} {}: {e}", t.kernel));
                assert!(!time.is_zero(), "{name} {}", t.kernel);
                assert!(c.chosen_time() <= *time || c.chosen == 0, "{name} {}", t.kernel);
            }
        }
        let [default, chosen] = found.totals();
        assert!(chosen <= default, "{name}");
        let tuned = session(&gpu, &f, found.tuning(&gpu));
        assert_eq!(tuned.tuned().map(|t| t.dispatches), Some(measured), "{name}");
        logits_are_right(&tuned, &f);
    }
}

/// An app's device without timestamps: the host's time of repeated dispatches.
#[test]
fn a_device_without_timestamps_is_tuned_by_the_hosts_time() {
    let f = fixtures::load(FIXTURE);
    let app = common::adapters().remove(0);
    let gpu = Gpu::from_device(app.device, app.queue);
    let found = tune(&gpu, &plan(&gpu, &f), |_| {}).expect("measured");
    assert!(!found.gpu_time && found.choices.len() > 3);
    assert!(found.choices.iter().all(|c| !c.default_time().is_zero() && !c.chosen_time().is_zero()));
    logits_are_right(&session(&gpu, &f, found.tuning(&gpu)), &f);
}

#[test]
fn kept_shaders_change_no_logits_and_foreign_ones_are_a_fresh_start() {
    let f = fixtures::load(FIXTURE);
    for (name, gpu) in gpus() {
        assert!(gpu.pipeline_cache().is_none(), "{name}: only where it is asked for");
        let first = with_cache(&gpu, &[]);
        logits_are_right(&session(&first, &f, Tuning::default()), &f);
        let Some(mut bytes) = first.pipeline_cache() else {
            assert!(gpu.pipeline_cache_name().is_none(), "{name}");
            continue;
        };
        let again = with_cache(&gpu, &bytes);
        logits_are_right(&session(&again, &f, Tuning::default()), &f);
        let last = bytes.len() - 1;
        bytes[last] ^= 1;
        for foreign in [&bytes[..], b"not a cache"] {
            let fresh = with_cache(&gpu, foreign);
            logits_are_right(&session(&fresh, &f, Tuning::default()), &f);
        }
    }
}

fn with_cache(gpu: &Gpu, bytes: &[u8]) -> Gpu {
    // SAFETY: what an adapter gave above, or bytes that do not open.
    unsafe { gpu.clone().with_pipeline_cache(bytes) }
}

fn rmnet(cache: &Path, args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_rmnet"))
        .args(args)
        .arg("--json")
        .current_dir(env!("CARGO_MANIFEST_DIR"))
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
