//! What `Checkpoint::open` finds on disk: the file of a folder, shards and their index, config files.

use rmnet::checkpoint::{Checkpoint, CheckpointError, Format};
use serde_json::{Value, json};
use std::fs;
use std::path::Path;

/// A safetensors file of tensors of one F32.
fn weights(tensors: &[(&str, f32)]) -> Vec<u8> {
    let entries: serde_json::Map<String, Value> = tensors
        .iter()
        .enumerate()
        .map(|(i, (name, _))| {
            (name.to_string(), json!({"dtype": "F32", "shape": [1], "data_offsets": [4 * i, 4 * i + 4]}))
        })
        .collect();
    let header = Value::from(entries).to_string();
    let mut file = (header.len() as u64).to_le_bytes().to_vec();
    file.extend(header.as_bytes());
    file.extend(tensors.iter().flat_map(|(_, value)| value.to_le_bytes()));
    file
}

fn index(map: Value) -> String {
    json!({"metadata": {"total_size": 8}, "weight_map": map}).to_string()
}

fn error(path: &Path) -> String {
    Checkpoint::open(path).unwrap_err().to_string()
}

/// The name of the file that a folder of these files stands for.
fn chosen(names: &[&str]) -> Result<String, CheckpointError> {
    let folder = tempfile::tempdir().unwrap();
    for name in names {
        let content = match name.ends_with(".json") {
            true => index(json!({"w": "shard.safetensors"})).into_bytes(),
            false => weights(&[("w", 1.0)]),
        };
        fs::write(folder.path().join(name), content).unwrap();
    }
    let opened = Checkpoint::open(folder.path())?;
    Ok(opened.path().unwrap().file_name().unwrap().to_str().unwrap().to_string())
}

#[test]
fn a_folder_stands_for_one_file() {
    let (index, bin) = ("model.safetensors.index.json", "pytorch_model.bin");
    let cases: [(&[&str], &str); 13] = [
        (&["model.safetensors", "other.safetensors", bin, index], "model.safetensors"),
        (&["only.safetensors", bin, "training_args.bin", "optimizer.pt"], "only.safetensors"),
        (&["shard.safetensors", index], "shard.safetensors"),
        (&["shard.safetensors", "shard2.safetensors", index, bin], index),
        (&[bin, "training_args.bin", "optimizer.pt"], bin),
        (&["resnet50.pth", "README.md"], "resnet50.pth"),
        (&["last.pt"], "last.pt"),
        (&["epoch=3.ckpt"], "epoch=3.ckpt"),
        (&["best.pth.tar"], "best.pth.tar"),
        (&["weights.bin"], "weights.bin"),
        (&[bin, "a.pth"], bin),
        (&["shard.safetensors", "x.safetensors.index.json"], "shard.safetensors"),
        (&["model.safetensors", "model.pth"], "model.safetensors"),
    ];
    for (names, expected) in cases {
        assert_eq!(chosen(names).unwrap(), expected, "{names:?}");
    }
    let several: [(&[&str], &[&str]); 3] = [
        (&["b.safetensors", "a.safetensors", bin], &["a.safetensors", "b.safetensors"]),
        (&["last.pth", "best.pt", "x.json.txt"], &["best.pt", "last.pth"]),
        (
            &["a.safetensors.index.json", "b.safetensors.index.json"],
            &["a.safetensors.index.json", "b.safetensors.index.json"],
        ),
    ];
    for (names, expected) in several {
        match chosen(names) {
            Err(CheckpointError::Ambiguous { found, .. }) => assert_eq!(found, expected),
            other => panic!("{names:?}: {other:?}"),
        }
    }
    for names in [&["README.md", "config.txt"][..], &[]] {
        assert!(matches!(chosen(names), Err(CheckpointError::NoFile { .. })), "{names:?}");
    }
}

#[test]
fn shards_are_one_checkpoint() {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, content: &[u8]| fs::write(folder.path().join(name), content).unwrap();
    let (one, two) = (weights(&[("a", 1.0), ("b", 2.0)]), weights(&[("c", 3.0)]));
    write("model-00001-of-00002.safetensors", &one);
    write("model-00002-of-00002.safetensors", &two);
    write("config.json", br#"{"k": 1}"#);
    let map = json!({
        "a": "model-00001-of-00002.safetensors",
        "b": "model-00001-of-00002.safetensors",
        "c": "model-00002-of-00002.safetensors",
    });
    let name = folder.path().join("model.safetensors.index.json");
    fs::write(&name, index(map)).unwrap();
    for path in [folder.path(), &name] {
        let opened = Checkpoint::open(path).unwrap();
        let values: Vec<_> = opened.tensors().map(|(name, t)| (name, t.to_f64())).collect();
        assert_eq!(values, [("a", vec![1.0]), ("b", vec![2.0]), ("c", vec![3.0])]);
        assert_eq!(opened.file_size(), one.len() + two.len());
        assert_eq!((opened.path(), opened.format()), (Some(name.as_path()), Format::Safetensors));
        assert_eq!(opened.config().unwrap()["k"], 1);
    }
}

#[cfg(feature = "pickle")]
#[test]
fn shards_may_be_pickles() {
    let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/pickles");
    let folder = tempfile::tempdir().unwrap();
    fs::copy(fixtures.join("zip_parameters.pth"), folder.path().join("one.bin")).unwrap();
    fs::copy(fixtures.join("zip_protocol2.pth"), folder.path().join("two.bin")).unwrap();
    let map = json!({"frozen": "one.bin", "scale": "two.bin", "queue": "two.bin", "bn1.num_batches_tracked": "two.bin"});
    fs::write(folder.path().join("pytorch_model.bin.index.json"), index(map)).unwrap();
    let opened = Checkpoint::open(folder.path()).unwrap();
    assert_eq!(opened.format(), Format::PyTorchZip);
    assert!(opened.tensor("frozen").is_some() && opened.tensor("scale").is_some());
    assert!(opened.others().any(|(name, ..)| name == "queue"));
}

#[test]
fn shards_that_do_not_fit_their_index_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    fs::create_dir(folder.path().join("inside")).unwrap();
    let write =
        |name: &str, content: &[u8]| fs::write(folder.path().join("inside").join(name), content).unwrap();
    write("one.safetensors", &weights(&[("a", 1.0), ("b", 2.0)]));
    write("two.safetensors", &weights(&[("b", 3.0)]));
    write("cut.safetensors", &weights(&[("a", 1.0)])[..20]);
    fs::write(folder.path().join("outside.safetensors"), weights(&[("a", 1.0)])).unwrap();
    let outside = folder.path().join("outside.safetensors");
    let cases = [
        (index(json!({"a": "none.safetensors"})), "shard `none.safetensors` is missing"),
        (
            index(json!({"a": "one.safetensors", "x": "one.safetensors"})),
            "`x` is not in its shard `one.safetensors`",
        ),
        (
            index(json!({"a": "one.safetensors", "b": "two.safetensors"})),
            "`b` is in `two.safetensors` and in a shard before",
        ),
        (index(json!({"a": "../outside.safetensors"})), "is not the name of a file in this folder"),
        (index(json!({"a": outside.to_str().unwrap()})), "is not the name of a file in this folder"),
        (index(json!({"a": "./one.safetensors"})), "is not the name of a file in this folder"),
        (index(json!({"a": "..\\outside.safetensors"})), "is not the name of a file in this folder"),
        (index(json!({"a": ""})), "is not the name of a file in this folder"),
        (index(json!({"a": 1})), "tensor `a`: expected the name of a file"),
        (index(json!({"a\u{1b}[2J": "../x"})), "tensor `a\\u{1b}[2J`"),
        (index(json!({"a": "cut.safetensors"})), "cut.safetensors: not a valid safetensors file"),
        (index(json!({})), "names no tensor"),
        (json!({"metadata": {}}).to_string(), "expected an object `weight_map`"),
        ("[]".into(), "expected a JSON object"),
        ("nonsense".into(), "expected a JSON object"),
    ];
    let path = folder.path().join("inside/model.safetensors.index.json");
    for (index, expected) in cases {
        fs::write(&path, &index).unwrap();
        let error = error(&path);
        assert!(error.contains(expected), "expected {expected:?} in {error:?}");
    }
}

#[test]
fn the_processor_of_images_is_found() {
    let folder = tempfile::tempdir().unwrap();
    let write =
        |name: &str, content: Value| fs::write(folder.path().join(name), content.to_string()).unwrap();
    let found = || Checkpoint::open(folder.path()).unwrap().preprocessor_config().cloned();
    fs::write(folder.path().join("model.safetensors"), weights(&[("a", 1.0)])).unwrap();
    assert_eq!(found(), None);
    write("processor_config.json", json!({"size": 1}));
    assert_eq!(found(), Some(json!({"size": 1})));
    write("processor_config.json", json!({"image_processor": {"size": 2}, "processor_class": "P"}));
    assert_eq!(found(), Some(json!({"size": 2})));
    write("processor_config.json", json!({"image_processor": "P", "size": 3}));
    assert_eq!(found(), Some(json!({"image_processor": "P", "size": 3})));
    write("preprocessor_config.json", json!({"size": 4}));
    assert_eq!(found(), Some(json!({"size": 4})));
}

#[test]
fn config_files_are_regular_and_small() {
    for name in ["config.json", "preprocessor_config.json", "processor_config.json"] {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("model.safetensors"), weights(&[("a", 1.0)])).unwrap();
        let config = folder.path().join(name);
        let padded = |size: usize| [br#"{"k": 1}"#.as_slice(), &vec![b' '; size - 8]].concat();
        fs::write(&config, padded(1 << 20)).unwrap();
        Checkpoint::open(folder.path()).unwrap();
        fs::write(&config, padded((1 << 20) + 1)).unwrap();
        let message = error(folder.path());
        assert!(message.contains(name) && message.contains("1048576 bytes at most"), "{message}");
        fs::remove_file(&config).unwrap();
        fs::create_dir(&config).unwrap();
        let message = error(folder.path());
        assert!(message.contains(name) && message.contains("regular file"), "{message}");
        #[cfg(unix)]
        {
            fs::remove_dir(&config).unwrap();
            let made = std::process::Command::new("mkfifo").arg(&config).status().unwrap();
            assert!(made.success());
            let message = error(folder.path());
            assert!(message.contains(name) && message.contains("regular file"), "{message}");
        }
    }
}
