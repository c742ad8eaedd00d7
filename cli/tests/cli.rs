//! The command line as scripts use it: exit codes, JSON, files written. Runs on the CPU executor, which is everywhere.

mod common;

#[path = "common/root.rs"]
mod root;

use common::spoil;
use rmnet::checkpoint::Checkpoint;
use root::at_root;
use serde_json::Value;
use std::path::Path;
use std::process::{Command, Output};

const RESNET: &str = "tests/fixtures/tv_basic_odd_widths";
const DIGITS: &str = "assets/digits";

fn rmnet(args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_rmnet"))
        .args(args)
        .current_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/.."))
        .env("RUST_LOG", "off")
        // Not what someone tuned on this machine.
        .env("RMNET_CACHE_DIR", "none")
        .output()
        .expect("the program runs")
}

/// The object printed by a command that succeeds.
#[track_caller]
fn json(args: &[&str]) -> Value {
    let output = rmnet(&[args, &["--json"]].concat());
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(0), "{args:?}: {stderr}");
    let value: Value = serde_json::from_slice(&output.stdout).expect("one JSON object");
    assert_eq!(value["schema_version"], 1, "{args:?}");
    value
}

/// A command that fails: its exit code, and words of the message on standard error and in the JSON object.
#[track_caller]
fn fails(args: &[&str], code: i32, words: &[&str]) {
    let output = rmnet(&[args, &["--json"]].concat());
    let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(code), "{args:?}: {stderr}");
    let value: Value = serde_json::from_slice(&output.stdout).expect("one JSON object");
    let error = value["error"].as_str().unwrap_or_else(|| panic!("{args:?}: no error in {value}"));
    for word in words {
        assert!(stderr.contains(word), "{args:?}: expected {word:?} in {stderr:?}");
        assert!(error.contains(word), "{args:?}: expected {word:?} in {error:?}");
    }
}

fn text(path: &Path) -> &str {
    path.to_str().expect("a path of text")
}

#[test]
fn the_demo_classifies_its_images() {
    let demo = json(&["demo", "--adapter", "cpu"]);
    assert_eq!((demo["right"].as_u64(), demo["images"].as_array().map(Vec::len)), (Some(14), Some(14)));
    assert!(demo["modes"]["structured"]["time_ns"].as_u64().is_some_and(|t| t > 0));
    let output = rmnet(&["demo", "--adapter", "cpu"]);
    let printed = String::from_utf8_lossy(&output.stdout);
    assert!(printed.contains("14 of 14 as they should be") && printed.contains("device: cpu"), "{printed}");
}

#[test]
fn inspect_tells_of_every_block() {
    let inspect = json(&["inspect", RESNET]);
    assert_eq!(inspect["family"], "torchvision ResNet, BasicBlock [2, 1, 2, 1]");
    let blocks = inspect["blocks"].as_array().expect("blocks");
    assert!(blocks.len() == 6 && blocks.iter().all(|b| b["outcome"] == "removed"), "{blocks:?}");
    assert!(inspect["macs"].as_u64() == inspect["macs_after_removal"].as_u64());
    let one = json(&["inspect", RESNET, "--pass", "literal"]);
    assert!(one["graphs"].as_object().is_some_and(|g| g.len() == 1 && g.contains_key("literal")));
    let svg = rmnet(&["inspect", RESNET, "--svg"]).stdout;
    assert!(String::from_utf8_lossy(&svg).starts_with("<svg"));
}

#[test]
fn plan_compares_the_forms() {
    let plan = json(&["plan", RESNET, "--batch", "2"]);
    let modes = &plan["modes"];
    let dispatches = |mode: &str| modes[mode]["dispatches"].as_u64().expect("a number");
    assert_eq!(plan["dispatches"].as_array().map(|d| d.len() as u64), Some(dispatches("structured")));
    assert!(dispatches("structured") < dispatches("residual"));
    assert!(modes["literal"]["macs"].as_u64() > modes["structured"]["macs"].as_u64());
    assert!(plan["activation_bytes"].as_u64() >= plan["lower_bound_bytes"].as_u64());
}

#[test]
fn what_is_converted_runs_as_the_original() {
    let folder = tempfile::tempdir().expect("a folder");
    let at = |name: &str| folder.path().join(name);
    let input = format!("{RESNET}/expected.safetensors");
    let logits = |checkpoint: &str, to: &Path| {
        json(&["run", checkpoint, &input, "--size", "45x37", "--adapter", "cpu", "--logits", text(to)]);
        let file = Checkpoint::open(to).expect("a file of logits");
        let tensor = file.tensor("logits").expect("a tensor `logits`");
        assert_eq!(tensor.shape(), [2, 7]);
        tensor.to_f64()
    };
    let original = logits(RESNET, &at("original.safetensors"));
    let largest = original.iter().fold(0.0f64, |m, v| m.max(v.abs()));
    for form in [&[] as &[&str], &["--literal"]] {
        let to = at("converted.safetensors");
        let report = json(&[&["convert", RESNET, "--size", "45x37", "-o", text(&to)], form].concat());
        assert_eq!((report["removed"].as_u64(), report["blocks"].as_u64()), (Some(6), Some(6)));
        let converted = logits(text(&to), &at("logits.safetensors"));
        let off = original.iter().zip(&converted).fold(0.0f64, |m, (a, b)| m.max((a - b).abs()));
        assert!(off <= 1e-5 * largest, "{form:?}: {off:e} of {largest:e}");
        std::fs::remove_file(&to).expect("the file was written");
    }
}

#[test]
fn verify_writes_a_certificate() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("certificate.json");
    let options = ["--adapter", "cpu", "--size", "45x37", "--bisect", "--certificate", text(&path)];
    let verified = json(&[&["verify", RESNET] as &[&str], &options].concat());
    let written: Value = serde_json::from_slice(&std::fs::read(&path).expect("a file")).expect("JSON");
    assert_eq!(verified["blocks"].as_array().map(Vec::len), Some(6));
    assert_eq!(written["blocks"], verified["blocks"]);
}

#[test]
fn images_are_classified_with_labels() {
    let image = format!("{DIGITS}/images/0374_7.png");
    let run = json(&["run", DIGITS, &image, "--adapter", "cpu", "--top", "2"]);
    let top = run["images"][0]["top"].as_array().expect("classes");
    assert_eq!((top.len(), top[0]["label"].as_str()), (2, Some("7")));
}

#[test]
fn wrong_use_exits_with_2() {
    fails(&["plan", RESNET, "--batch", "0"], 2, &["--batch", "0"]);
    fails(&["plan", RESNET, "--size", "12xy"], 2, &["--size", "12xy"]);
    fails(&["plan", RESNET, "--merge", "auto"], 2, &["--merge auto"]);
    fails(&["run", RESNET], 2, &["<INPUTS>"]);
    fails(&["run", RESNET, "x.png", "--precision", "f8"], 2, &["--precision", "f8"]);
    fails(&["verify", RESNET, "--no-device", "--bisect"], 2, &["--bisect"]);
    fails(&["no-such-verb"], 2, &["no-such-verb"]);
    // The file to write is one that is read.
    let input = format!("{RESNET}/expected.safetensors");
    fails(&["run", RESNET, &input, "--logits", &input], 2, &["expected.safetensors"]);
}

#[test]
fn bad_files_exit_with_3() {
    let folder = tempfile::tempdir().expect("a folder");
    let cut = folder.path().join("cut.safetensors");
    let whole = std::fs::read(at_root(format!("{RESNET}/model.safetensors"))).expect("the fixture");
    std::fs::write(&cut, &whole[..1000]).expect("a file");
    fails(&["inspect", text(&cut)], 3, &["cut.safetensors", "1000"]);
    fails(&["plan", "no/such/file.safetensors"], 3, &["no/such/file.safetensors"]);
    fails(&["inspect", "README.md"], 3, &["README.md"]);
    fails(&["run", RESNET, "no-such.png", "--adapter", "cpu"], 3, &["no-such.png"]);
    let labels = folder.path().join("labels.txt");
    std::fs::write(&labels, "one\ntwo\n").expect("a file");
    let input = format!("{RESNET}/expected.safetensors");
    let own = ["run", RESNET, &input, "--adapter", "cpu"];
    fails(&[&own as &[&str], &["--labels", text(&labels)]].concat(), 3, &["7 labels", "found 2"]);
    fails(
        &["run", RESNET, &input, "--size", "64x48", "--adapter", "cpu"],
        3,
        &["its own size", "45x37", "--size 64x48"],
    );
}

#[test]
fn adapters_that_are_not_there_exit_with_4() {
    let input = format!("{RESNET}/expected.safetensors");
    let sized = ["run", RESNET, &input, "--size", "45x37", "--adapter"];
    fails(&[&sized as &[&str], &["no such card"]].concat(), 4, &["no such card"]);
    fails(&["verify", RESNET, "--adapter", "999"], 4, &["999"]);
}

#[test]
fn a_batch_beyond_memory_is_refused_with_its_bytes() {
    for verb in ["bench", "profile"] {
        let of = |batch| [verb, DIGITS, "--adapter", "cpu", "--batch", batch];
        fails(&of("16000000"), 6, &["out of memory", "bytes"]);
        // More than can be counted.
        fails(&of("4294967295"), 2, &["at most", "found 4294967295"]);
    }
}

#[test]
fn help_names_every_verb_and_the_exit_codes() {
    let help = String::from_utf8(rmnet(&["--help"]).stdout).expect("text");
    for word in [
        "demo",
        "inspect",
        "convert",
        "plan",
        "run",
        "verify",
        "tune",
        "devices",
        "doctor",
        "Exit codes: 0 done",
    ] {
        assert!(help.contains(word), "{word}");
    }
    assert!(rmnet(&["devices"]).status.success() && rmnet(&["--version"]).status.success());
}

#[test]
fn networks_that_overflow_exit_with_3() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("model.safetensors");
    let input = "tests/fixtures/tv_resnet18/expected.safetensors";
    std::fs::write(&file, spoil::scaled("tv_resnet18", "layer3.0.conv1.weight", 1e38)).expect("a file");
    let [height, width] =
        Checkpoint::open(at_root(input)).expect("the fixture").tensor("input").expect("an input").shape()
            [2..]
    else {
        panic!("an input of rank 4")
    };
    let size = format!("{height}x{width}");
    let sized = [text(&file), "--size", &size, "--adapter", "cpu"];
    fails(&[&["run", sized[0], input], &sized[1..]].concat(), 3, &["overflows f32", "rmnet verify"]);
    fails(&[&["bench"], &sized as &[&str]].concat(), 3, &["overflows f32"]);
    let verified = rmnet(&[&["verify"], &sized as &[&str]].concat());
    let stderr = String::from_utf8_lossy(&verified.stderr);
    // Values of 1e38: their sums overflow in the transforms of this block's second convolution.
    assert!(verified.status.code() == Some(5) && stderr.contains("layer3.0: the first block"), "{stderr}");
}

#[test]
fn the_file_s_name_says_its_format() {
    let folder = tempfile::tempdir().expect("a folder");
    let at = |name: &str| folder.path().join(name);
    let (onnx, plain, image) = (at("x.onnx"), at("x.safetensors"), at("x.png"));
    fn convert<'a>(to: &'a Path, format: &[&'a str]) -> Vec<&'a str> {
        [&["convert", RESNET, "-o", text(to)], format].concat()
    }
    for (to, format) in [(&onnx, "onnx"), (&plain, "safetensors")] {
        // Also over the one just written.
        for _ in 0..2 {
            let to = text(to);
            assert_eq!(json(&["convert", RESNET, "-o", to])["format"], format, "{to}");
        }
    }
    fails(&convert(&onnx, &["--format", "safetensors"]), 2, &["x.onnx", "--format safetensors"]);
    fails(&convert(&plain, &["--format", "onnx"]), 2, &["x.safetensors", "--format onnx"]);
    fails(&["prune", RESNET, "-o", text(&onnx), "--ratio", "0.2"], 2, &["x.onnx", "safetensors"]);
    std::fs::write(&image, b"\x89PNG\r\n\x1a\nand more").expect("a file");
    fails(&convert(&image, &[]), 2, &["x.png", "not overwritten"]);
    fails(&convert(&image, &["--format", "onnx"]), 2, &["x.png", "no onnx model"]);
    fails(&["prune", RESNET, "-o", text(&image), "--ratio", "0.2"], 2, &["x.png", "not overwritten"]);
    std::fs::copy(&onnx, &image).expect("a copy");
    fails(&convert(&image, &[]), 2, &["no safetensors model"]);
    assert!(
        std::fs::read(&image).expect("a file") == std::fs::read(&onnx).expect("a file"),
        "it is as it was"
    );
}

#[test]
fn plans_stay_inside_the_limits_asked_for() {
    let plan = ["plan", "tests/fixtures/tv_resnet18", "--size", "8192"];
    fails(&plan, 4, &["WebGPU's default limits", "--adapter", "cpu has none"]);
    assert!(
        json(&[&plan as &[&str], &["--adapter", "cpu"]].concat())["activation_bytes"].as_u64()
            > Some(128 << 20)
    );
}

#[test]
fn messages_say_what_to_do() {
    let folder = tempfile::tempdir().expect("a folder");
    let at = |name: &str, bytes: &[u8]| {
        let path = folder.path().join(name);
        std::fs::write(&path, bytes).expect("a file");
        path
    };
    let run = |path: &Path, words: &[&str]| fails(&["run", DIGITS, text(path), "--adapter", "cpu"], 3, words);
    run(&at("a.bmp", b"BM and more"), &["a.bmp", "PNG or JPEG", "BMP"]);
    run(&at("a.md", b"# text"), &["a.md", "PNG or JPEG", "no image"]);
    let image = std::fs::read(at_root(format!("{DIGITS}/images/0374_7.png"))).expect("an image");
    run(&at("cut.png", &image[..image.len() / 2]), &["cut.png", "PNG image", "cut short"]);
    // A header of 30000 x 30000 pixels of 3 bytes, and no more.
    let mut large = image[..33].to_vec();
    large[16..24].copy_from_slice(&[0, 0, 0x75, 0x30, 0, 0, 0x75, 0x30]);
    large[24..26].copy_from_slice(&[8, 2]);
    let crc = crc32(&large[12..29]);
    large[29..33].copy_from_slice(&crc.to_be_bytes());
    large.extend(&image[33..]);
    run(&at("large.png", &large), &["large.png", "512 MiB", "30000x30000"]);
    let model = format!("{RESNET}/model.safetensors");
    fails(&["run", RESNET, &model, "--adapter", "cpu"], 3, &["`bn1.bias`, `bn1.running_mean`", ", ..."]);
    fails(
        &["bench", DIGITS, "--adapter", "cpu", "--seconds", "nan"],
        2,
        &["--seconds", "from 0 to 3600", "`nan`"],
    );
    fails(&["run", DIGITS, "x.png", "--adapter", "no such card"], 3, &["x.png"]);
    let image = format!("{DIGITS}/images/0374_7.png");
    let output = rmnet(&["run", DIGITS, &image, "--adapter", "no such card"]);
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(stderr.contains("needs no adapter; `--adapter cpu`"), "{stderr}");
    // A driver is to be installed only where there is no adapter at all.
    assert_eq!(stderr.contains("found: none"), stderr.contains("nstall"), "{stderr}");
}

/// As PNG has it.
fn crc32(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(!0u32, |crc, byte| {
        (0..8).fold(crc ^ u32::from(*byte), |c, _| if c & 1 == 1 { c >> 1 ^ 0xEDB8_8320 } else { c >> 1 })
    })
}

/// `--output` gives the same values of a checkpoint, of its converted files and of files that end there.
#[test]
fn outputs_other_than_the_logits() {
    let folder = tempfile::tempdir().expect("a folder");
    let at = |name: &str| folder.path().join(name);
    let input = format!("{RESNET}/expected.safetensors");
    let (converted, cut, values) =
        (at("converted.safetensors"), at("cut.safetensors"), at("values.safetensors"));
    json(&["convert", RESNET, "--size", "45x37", "--out", text(&converted)]);
    let run = |checkpoint: &str, more: &[&str]| {
        let run =
            ["run", checkpoint, &input, "--size", "45x37", "--adapter", "cpu", "--logits", text(&values)];
        let report = json(&[&run, more].concat());
        assert!(report["images"][0]["top"].is_null() && report["images"][0]["norm"].is_f64(), "{report}");
        let file = Checkpoint::open(&values).expect("a file of values");
        let mut tensors = file.tensors();
        let (name, tensor) = tensors.next().expect("a tensor");
        let expected = more.last().unwrap_or(&"features");
        assert_eq!((name, tensors.count()), (*expected, 0));
        (report["output_shape"].clone(), tensor.shape().to_vec(), tensor.to_f64())
    };
    let close = |a: &[f64], b: &[f64]| {
        let largest = a.iter().fold(0.0f64, |m, v| m.max(v.abs()));
        let off = a.iter().zip(b).fold(0.0f64, |m, (a, b)| m.max((a - b).abs()));
        assert!(a.len() == b.len() && off <= 1e-5 * largest, "{off:e} of {largest:e}");
    };
    for output in ["features", "layer3.1"] {
        let (shape, of_tensor, expected) = run(RESNET, &["--output", output]);
        let dims: Vec<u64> = shape.as_array().expect("a shape").iter().filter_map(Value::as_u64).collect();
        match output {
            "features" => assert_eq!(of_tensor, [2, dims[0] as usize]),
            _ => assert!(
                of_tensor.len() == 4
                    && dims[1] > 1
                    && of_tensor[1..] == [dims[0], dims[1], dims[2]].map(|d| d as usize)
            ),
        }
        close(&expected, &run(text(&converted), &["--output", output]).2);
        json(&["convert", RESNET, "--size", "45x37", "--output", output, "-o", text(&cut)]);
        let (same, _, found) = run(text(&cut), &[]);
        assert_eq!(same, shape);
        close(&expected, &found);
    }
    for verb in [&["plan"] as &[&str], &["verify", "--no-device"], &["inspect"], &["wgsl"]] {
        json(&[verb, &[RESNET, "--output", "layer3.1"]].concat());
    }
    fails(&["run", RESNET, &input, "--output", "layer7"], 2, &["output `layer7`", "layer1.0", "features"]);
    fails(
        &["run", text(&converted), &input, "--output", "layer1.0.conv1"],
        2,
        &["converted file", "layer1.0"],
    );
    fails(&["convert", RESNET, "--output", "x.safetensors"], 2, &["--out"]);
}
