//! What `rmnet run` takes as input: folders, pipes, standard input, tensors of any size, images that cannot be read.

#[path = "common/root.rs"]
mod root;

use root::at_root;
use safetensors::SafeTensors;
use safetensors::tensor::{Dtype, TensorView, serialize};
use serde_json::Value;
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

const DIGITS: &str = "assets/digits";
const SEVEN: &str = "assets/digits/images/0374_7.png";
const RESNET: &str = "tests/fixtures/tv_basic_odd_widths";

/// Runs the program with something on its standard input.
fn rmnet(args: &[&str], stdin: &[u8]) -> Output {
    let mut child = Command::new(env!("CARGO_BIN_EXE_rmnet"))
        .args(args)
        .args(["--adapter", "cpu"])
        .current_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/.."))
        .env("RMNET_CACHE_DIR", "none")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the program runs");
    // It may end without reading all.
    let _ = child.stdin.take().expect("a pipe").write_all(stdin);
    child.wait_with_output().expect("it ends")
}

/// Its exit code, its lines of JSON, and what it says on standard error.
fn lines(args: &[&str], stdin: &[u8]) -> (i32, Vec<Value>, String) {
    let output = rmnet(args, stdin);
    let text = String::from_utf8(output.stdout).expect("text");
    let values = text.lines().map(|l| serde_json::from_str(l).expect("a JSON object")).collect();
    (output.status.code().expect("a code"), values, String::from_utf8_lossy(&output.stderr).into())
}

fn text(path: &Path) -> &str {
    path.to_str().expect("a path of text")
}

fn label(line: &Value) -> &str {
    line["top"][0]["label"].as_str().expect("a label")
}

/// A `.safetensors` with a tensor `input` of zeros and ones.
fn tensor(dtype: Dtype, shape: &[usize], one: &[u8]) -> Vec<u8> {
    let bytes: Vec<u8> = (0..shape.iter().product())
        .flat_map(|i: usize| if i.is_multiple_of(3) { one.to_vec() } else { vec![0; one.len()] })
        .collect();
    serialize([("input", TensorView::new(dtype, shape.to_vec(), &bytes).unwrap())], None).unwrap()
}

fn logits(path: &Path) -> (Vec<usize>, Vec<f32>) {
    let bytes = fs::read(path).expect("a file");
    let file = SafeTensors::deserialize(&bytes).expect("safetensors");
    let logits = file.tensor("logits").expect("logits");
    let values = logits.data().chunks(4).map(|b| f32::from_le_bytes(b.try_into().expect("4 bytes")));
    (logits.shape().to_vec(), values.collect())
}

#[test]
fn a_folder_is_all_its_images_by_name() {
    let folder = tempfile::tempdir().expect("a folder");
    let seven = fs::read(at_root(SEVEN)).expect("an image");
    for name in ["b.png", "a.png", "no-extension", ".hidden.png"] {
        fs::write(folder.path().join(name), &seven).expect("a file");
    }
    fs::write(folder.path().join("notes.txt"), "no image").expect("a file");
    fs::create_dir(folder.path().join("more")).expect("a folder");
    let (code, found, said) = lines(&["run", DIGITS, text(folder.path()), "--jsonl"], b"");
    assert_eq!((code, found.len()), (0, 3), "{said}");
    let names: Vec<PathBuf> = found.iter().map(|l| l["input"].as_str().unwrap().into()).collect();
    let expected = ["a.png", "b.png", "no-extension"].map(|n| folder.path().join(n));
    assert_eq!(names, expected);
    assert!(found.iter().all(|l| label(l) == "7" && l["schema_version"] == 1));
    assert!(said.contains("3 files that are no PNG or JPEG image"), "{said}");

    // Shares are disjoint, and all of it together; one of nothing is no mistake.
    let mut shared = vec![];
    for shard in ["1/4", "2/4", "3/4", "4/4"] {
        let (code, found, said) =
            lines(&["run", DIGITS, text(folder.path()), "--jsonl", "--shard", shard], b"");
        assert_eq!(code, 0, "{said}");
        shared.extend(found.iter().map(|l| PathBuf::from(l["input"].as_str().unwrap())));
    }
    assert_eq!(shared, expected);
    // Every second image, not the first half.
    let (_, found, _) = lines(&["run", DIGITS, text(folder.path()), "--jsonl", "--shard", "1/2"], b"");
    let names: Vec<PathBuf> = found.iter().map(|l| l["input"].as_str().unwrap().into()).collect();
    assert_eq!(names, [expected[0].clone(), expected[2].clone()]);
    for shard in ["0/4", "5/4", "1", "a/b"] {
        assert_eq!(lines(&["run", DIGITS, SEVEN, "--shard", shard], b"").0, 2, "{shard}");
    }

    let empty = folder.path().join("more");
    let (code, _, said) = lines(&["run", DIGITS, text(&empty), "--jsonl"], b"");
    assert!(code == 3 && said.contains("found no PNG or JPEG image"), "{said}");
}

#[test]
fn one_bad_image_does_not_end_the_rest() {
    let folder = tempfile::tempdir().expect("a folder");
    let seven = fs::read(at_root(SEVEN)).expect("an image");
    for i in 0..20 {
        // The first of a batch, one within it, a whole batch.
        let bad = [0, 5].contains(&i) || (8..16).contains(&i);
        let bytes = if bad { &seven[..seven.len() / 2] } else { &seven[..] };
        fs::write(folder.path().join(format!("{i:02}.png")), bytes).expect("a file");
    }
    let out = folder.path().join("out.logits");
    let args = ["run", DIGITS, text(folder.path()), "--batch", "4", "--logits", text(&out)];
    let (code, found, said) = lines(&[&args[..], &["--jsonl"]].concat(), b"");
    assert_eq!((code, found.len()), (3, 20), "{said}");
    for (i, line) in found.iter().enumerate() {
        let bad = [0, 5].contains(&i) || (8..16).contains(&i);
        assert_eq!(line["error"].is_string(), bad, "{i}: {line}");
        assert!(bad || label(line) == "7", "{i}: {line}");
    }
    assert!(said.contains("05.png: a PNG image that is damaged or cut short"), "{said}");
    assert!(said.contains("10 of 20 inputs could not be read"), "{said}");
    // Rows are those that could be read, and named.
    let (shape, values) = logits(&out);
    assert_eq!(shape, [10, 10]);
    assert!(values.chunks(10).all(|row| row == &values[..10]));
    let (_, metadata) = SafeTensors::read_metadata(&fs::read(&out).expect("a file")).expect("a header");
    let names: Vec<String> =
        serde_json::from_str(&metadata.metadata().as_ref().expect("metadata")["inputs"]).expect("a list");
    assert!(names.len() == 10 && names[0].ends_with("01.png") && names[9].ends_with("19.png"), "{names:?}");

    // The same as one object.
    let (code, found, _) = lines(&[&args[..], &["--json"]].concat(), b"");
    assert_eq!((code, found.len()), (3, 1));
    assert_eq!(found[0]["images"].as_array().map(Vec::len), Some(20));
    assert!(found[0]["error"].as_str().is_some_and(|e| e.contains("10 of 20")));
}

#[test]
fn standard_input() {
    let seven = fs::read(at_root(SEVEN)).expect("an image");
    let (code, found, said) = lines(&["run", DIGITS, "-", "--jsonl"], &seven);
    assert_eq!((code, found.len()), (0, 1), "{said}");
    assert_eq!((found[0]["input"].as_str(), label(&found[0])), (Some("-"), "7"));
    let input = tensor(Dtype::F32, &[2, 3, 32, 32], &1f32.to_le_bytes());
    let (code, found, said) = lines(&["run", DIGITS, "-", "--jsonl"], &input);
    assert_eq!((code, found.len()), (0, 2), "{said}");
    assert_eq!(found[1]["input"], "-[1]");
    for junk in [&b""[..], b"hello, this is no image", &[0; 4096]] {
        let (code, _, said) = lines(&["run", DIGITS, "-"], junk);
        assert!(code == 3 && said.contains("-: expected a PNG or JPEG image"), "{said}");
    }
    assert_eq!(lines(&["run", DIGITS, "-", "-"], &seven).0, 2);
    #[cfg(unix)]
    {
        // Endless, and no file; standard input has a name of its own.
        for device in ["/dev/zero", "/dev/stdin"] {
            let (code, _, said) = lines(&["run", DIGITS, device], &seven);
            let expected = format!("{device}: expected a regular file or a folder");
            assert!(code == 3 && said.contains(&expected) && said.contains("`-`"), "{said}");
        }
    }
}

#[test]
fn a_tensor_runs_at_its_own_size() {
    let folder = tempfile::tempdir().expect("a folder");
    let (own, said_so) = (folder.path().join("own"), folder.path().join("said"));
    let input = format!("{RESNET}/expected.safetensors");
    for (out, size) in [(&own, &[][..]), (&said_so, &["--size", "45x37"])] {
        let args = ["run", RESNET, &input, "--logits", text(out)];
        let (code, _, said) = lines(&[&args[..], size, &["--jsonl"]].concat(), b"");
        assert_eq!(code, 0, "{said}");
    }
    assert_eq!(logits(&own), logits(&said_so));
    // Other types of element give the same values where they hold the same numbers.
    let types = [
        (Dtype::F32, 1f32.to_le_bytes().to_vec()),
        (Dtype::F64, 1f64.to_le_bytes().to_vec()),
        (Dtype::F16, vec![0, 0x3c]),
        (Dtype::BF16, vec![0x80, 0x3f]),
    ];
    let mut all = vec![];
    for (dtype, one) in types {
        let path = folder.path().join(format!("{dtype:?}.safetensors"));
        fs::write(&path, tensor(dtype, &[1, 3, 20, 24], &one)).expect("a file");
        let (code, _, said) = lines(&["run", RESNET, text(&path), "--logits", text(&own), "--jsonl"], b"");
        assert_eq!(code, 0, "{dtype:?}: {said}");
        all.push(logits(&own));
    }
    assert!(all.iter().all(|l| *l == all[0]));
    let nan = folder.path().join("nan.safetensors");
    fs::write(&nan, tensor(Dtype::F64, &[1, 3, 20, 24], &1e300f64.to_le_bytes())).expect("a file");
    let (code, _, said) = lines(&["run", RESNET, text(&nan)], b"");
    assert!(code == 3 && said.contains("at element 0"), "{said}");
    let four = folder.path().join("four.safetensors");
    fs::write(&four, tensor(Dtype::F32, &[1, 4, 20, 24], &1f32.to_le_bytes())).expect("a file");
    let (code, _, said) = lines(&["run", RESNET, text(&four)], b"");
    assert!(code == 3 && said.contains("[N, 3, 20, 24]") && said.contains("[1, 4, 20, 24]"), "{said}");
}

#[test]
fn exif_is_applied_unless_ignored() {
    // Seven on its side, and what says so.
    let bytes = fs::read(at_root("tests/fixtures/images/cases.safetensors")).expect("the fixture");
    let cases = SafeTensors::deserialize(&bytes).expect("safetensors");
    let folder = tempfile::tempdir().expect("a folder");
    let write = |name: &str| {
        let path = folder.path().join(name);
        fs::write(&path, cases.tensor(&format!("file/{name}")).expect("a case").data()).expect("a file");
        path
    };
    let (turned, plain) = (write("exif6.png"), write("exif1.png"));
    let run = |path: &Path, exif: &str| {
        let out = folder.path().join("out");
        let args = ["run", DIGITS, text(path), "--jsonl", "--exif", exif, "--logits", text(&out)];
        let (code, _, said) = lines(&args, b"");
        assert_eq!(code, 0, "{said}");
        logits(&out)
    };
    assert_eq!(run(&turned, "ignore"), run(&plain, "apply"));
    assert_ne!(run(&turned, "apply"), run(&plain, "apply"));
}

#[test]
fn labels_as_editors_write_them() {
    let folder = tempfile::tempdir().expect("a folder");
    let labels = folder.path().join("labels.txt");
    let names: Vec<String> = (0..10).map(|i| format!("digit {i}")).collect();
    fs::write(&labels, format!("\u{feff}{}\r\n", names.join("\r\n"))).expect("a file");
    let args = ["run", DIGITS, SEVEN, "--labels", text(&labels), "--jsonl", "--top", "10"];
    let (code, found, said) = lines(&args, b"");
    assert_eq!(code, 0, "{said}");
    let top = found[0]["top"].as_array().expect("classes");
    assert!(
        top.iter().all(|t| t["label"] == names[t["class"].as_u64().unwrap() as usize].as_str()),
        "{top:?}"
    );
}
