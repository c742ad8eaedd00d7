//! The program on PyTorch files: what it writes is what it writes for the safetensors of the same weights, and a hostile file is
//! exit 3.

#[path = "../../tests/common/pickle.rs"]
mod pickle;

use pickle::*;
use rmnet::checkpoint::Checkpoint;
use std::fs;
use std::path::Path;
use std::process::{Command, Output};

fn fixtures() -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/fixtures")
}

fn rmnet(arguments: &[&Path]) -> Output {
    let program = env!("CARGO_BIN_EXE_rmnet");
    Command::new(program).args(arguments).env("RMNET_CACHE_DIR", "none").output().expect("the program runs")
}

/// Key, number of elements, bytes.
type Stored = (String, i64, Vec<u8>);

/// The state dict of a checkpoint: the opcodes that make it, and its storages, one for each tensor.
fn state_dict(from: &Checkpoint) -> (Vec<u8>, Vec<Stored>) {
    let mut entries = vec![];
    let mut storages = vec![];
    for (i, (name, values)) in from.tensors().enumerate() {
        assert_eq!(values.dtype(), rmnet::tensor::Dtype::F32);
        let (key, n) = (i.to_string(), values.len() as i64);
        let shape: Vec<i64> = values.shape().iter().map(|d| *d as i64).collect();
        let mut strides = vec![1; shape.len()];
        for d in (1..shape.len()).rev() {
            strides[d - 1] = strides[d] * shape[d];
        }
        entries.push((name, tensor("FloatStorage", &key, n, 0, &shape, &strides)));
        storages.push((key, n, values.bytes().to_vec()));
    }
    (dict(&entries), storages)
}

#[test]
fn a_pickle_converts_to_what_its_safetensors_converts_to() {
    let model = fixtures().join("tv_basic_odd_widths");
    let checkpoint = Checkpoint::open(&model).unwrap();
    let (ops, storages) = state_dict(&checkpoint);
    let mut entries = vec![Entry::new("data.pkl", &pickle(&ops))];
    entries.extend(storages.iter().map(|(key, _, bytes)| Entry::new(&format!("data/{key}"), bytes)));
    let listed: Vec<(&str, i64, Vec<u8>)> =
        storages.iter().map(|(k, n, b)| (k.as_str(), *n, b.clone())).collect();

    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str| folder.path().join(name);
    fs::write(file("zip.pth"), zip(&entries)).unwrap();
    fs::write(file("old.pth.tar"), legacy(&ops, &listed)).unwrap();
    fs::create_dir(file("hub")).unwrap();
    fs::write(file("hub/pytorch_model.bin"), zip(&entries)).unwrap();
    let convert = |from: &Path, to: &str| {
        let output =
            rmnet(&["convert".as_ref(), from, "--size".as_ref(), "64".as_ref(), "-o".as_ref(), &file(to)]);
        assert!(output.status.success(), "{}: {}", from.display(), String::from_utf8_lossy(&output.stderr));
        fs::read(file(to)).unwrap()
    };
    let expected = convert(&model.join("model.safetensors"), "expected.safetensors");
    for from in ["zip.pth", "old.pth.tar", "hub"] {
        assert!(convert(&file(from), "found.safetensors") == expected, "{from}");
    }
}

#[test]
fn hostile_files_are_exit_3() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("hostile.pth");
    let system = call(&global("os", "system"), &[text("echo pwned")]);
    let bomb = {
        let mut ops = b"]q\x00".to_vec();
        for i in 0..60u8 {
            ops.extend([b'0', b']', b'(', b'h', i, b'h', i, b'e', b'q', i + 1]);
        }
        ops
    };
    let long = dict(&[("w", tensor("FloatStorage", "0", 1 << 40, 0, &[1 << 40], &[1]))]);
    let good = archive(&one_tensor());
    let cases: [(Vec<u8>, &str); 6] = [
        (archive(&system), "`os.system`"),
        (legacy(&system, &[]), "`os.system`"),
        (archive(&bomb), "once unfolded"),
        (archive(&long), "storage `0`"),
        (good[..good.len() / 2].to_vec(), "cut short or damaged"),
        (b"<!DOCTYPE html>".to_vec(), "web page"),
    ];
    for (bytes, expected) in cases {
        fs::write(&file, bytes).unwrap();
        let output = rmnet(&["inspect".as_ref(), &file]);
        let error = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(3), "{error}");
        assert!(
            error.contains(expected) && !error.contains("panicked"),
            "expected {expected:?} in {error:?}"
        );
        assert!(output.stdout.is_empty());
    }
}
