use super::*;
use safetensors::tensor::TensorView;
use std::collections::HashMap;
use std::fs;

/// A file of F32 tensors, each filled with its index.
fn file(names: &[&str]) -> Vec<u8> {
    let data: Vec<Vec<u8>> = (0..names.len()).map(|i| (i as f32).to_le_bytes().repeat(2)).collect();
    let views = names
        .iter()
        .zip(&data)
        .map(|(name, d)| (name.to_string(), TensorView::new(safetensors::Dtype::F32, vec![2], d).unwrap()));
    safetensors::serialize(views, None).unwrap()
}

/// A file with this header and `data` bytes of zeros.
fn raw(header: &str, data: usize) -> Vec<u8> {
    let mut bytes = (header.len() as u64).to_le_bytes().to_vec();
    bytes.extend(header.as_bytes());
    bytes.extend(vec![0; data]);
    bytes
}

fn refusal(bytes: Vec<u8>) -> String {
    Checkpoint::from_bytes(bytes, None).unwrap_err().to_string()
}

#[test]
fn a_file_and_its_folder_open_alike() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model.safetensors");
    fs::write(&path, file(&["a", "b"])).unwrap();
    fs::write(folder.path().join("other.safetensors"), file(&["c"])).unwrap();
    fs::write(folder.path().join("config.json"), r#"{"k": 1}"#).unwrap();
    fs::write(folder.path().join("preprocessor_config.json"), r#"{"p": 1}"#).unwrap();
    for p in [folder.path(), &path] {
        let c = Checkpoint::open(p).unwrap();
        assert_eq!(c.names().collect::<Vec<_>>(), ["a", "b"]);
        assert_eq!(c.tensor("b").unwrap().to_f64(), [1.0, 1.0]);
        assert_eq!(c.config().unwrap()["k"], 1);
        assert_eq!(c.preprocessor_config().unwrap()["p"], 1);
        assert_eq!(c.file_size() as u64, fs::metadata(&path).unwrap().len());
        assert_eq!(c.path(), Some(path.as_path()));
    }
}

#[test]
fn tensors_outlive_their_checkpoint() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("only.safetensors"), file(&["a", "b"])).unwrap();
    let tensor = Checkpoint::open(folder.path()).unwrap().tensor("b").unwrap().clone();
    assert_eq!(tensor.to_f64(), [1.0, 1.0]);
}

#[test]
fn a_file_that_is_cut_later_is_there_all_the_same() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model.safetensors");
    fs::write(&path, file(&["a", "b"])).unwrap();
    let checkpoint = Checkpoint::open(&path).unwrap();
    fs::OpenOptions::new().write(true).open(&path).unwrap().set_len(0).unwrap();
    assert_eq!(checkpoint.tensor("b").unwrap().to_f64(), [1.0, 1.0]);
}

#[test]
fn a_folder_must_hold_one_file() {
    let folder = tempfile::tempdir().unwrap();
    let open = || Checkpoint::open(folder.path()).unwrap_err();
    assert!(matches!(open(), CheckpointError::NoFile { .. }));
    fs::write(folder.path().join("b.safetensors"), file(&["a"])).unwrap();
    fs::write(folder.path().join("a.safetensors"), file(&["a"])).unwrap();
    let CheckpointError::Ambiguous { found, .. } = open() else { panic!("{}", open()) };
    assert_eq!(found, ["a.safetensors", "b.safetensors"]);
    let missing = folder.path().join("none.safetensors");
    let error = Checkpoint::open(&missing).unwrap_err();
    assert!(error.to_string().contains("none.safetensors"), "{error}");
}

#[test]
fn a_file_of_our_own_keeps_its_names_and_metadata() {
    let bytes = 1.0f32.to_le_bytes();
    let view = TensorView::new(safetensors::Dtype::F32, vec![1], &bytes).unwrap();
    let metadata = HashMap::from([(RMNET_METADATA.to_string(), "{}".to_string())]);
    let bytes = safetensors::serialize([("model.a", view)], Some(metadata)).unwrap();
    let c = Checkpoint::from_bytes(bytes, None).unwrap();
    assert_eq!(c.metadata(RMNET_METADATA), Some("{}"));
    assert_eq!(c.metadata_map().len(), 1);
    assert!(c.tensor("model.a").is_some());
}

#[test]
fn tensors_of_other_types_are_kept_apart() {
    let header = r#"{"bn1.num_batches_tracked":{"dtype":"I64","shape":[],"data_offsets":[0,8]}}"#;
    let c = Checkpoint::from_bytes(raw(header, 8), None).unwrap();
    assert_eq!((c.names().len(), c.others().len()), (0, 0));
    let header = r#"{"ids":{"dtype":"I64","shape":[1],"data_offsets":[0,8]},
        "flags":{"dtype":"BOOL","shape":[2,1],"data_offsets":[8,10]},"w":{"dtype":"F16","shape":[1],"data_offsets":[10,12]}}"#;
    let c = Checkpoint::from_bytes(raw(header, 12), None).unwrap();
    assert_eq!(c.names().collect::<Vec<_>>(), ["w"]);
    let others: Vec<_> = c.others().collect();
    assert_eq!(others, [("flags", "BOOL", [2, 1].as_slice()), ("ids", "I64", [1].as_slice())]);
}

#[test]
fn broken_files_are_refused_with_a_reason() {
    let good = file(&["a", "b"]);
    let tensor = |offsets: &str| format!(r#"{{"dtype":"F32","shape":[2],"data_offsets":{offsets}}}"#);
    let two = |a: &str, b: &str| format!(r#"{{"a":{},"b":{}}}"#, tensor(a), tensor(b));
    // Sixteen tensors that fill the address space, so that the end of the file wraps around zero.
    let huge = |i: u64| {
        let n = 1u64 << 60;
        let end = if i == 15 { u64::MAX - 7 } else { (i + 1) * n };
        format!(r#""t{i:02}":{{"dtype":"U8","shape":[{}],"data_offsets":[{},{end}]}}"#, end - i * n, i * n)
    };
    let wrap = format!("{{{}}}", (0..16).map(huge).collect::<Vec<_>>().join(","));
    let cases: Vec<(Vec<u8>, &str)> = vec![
        (vec![], "found 0"),
        (vec![1, 2, 3], "found 3"),
        (vec![0xff; 64], "header of 18446744073709551615 bytes"),
        (good[..40].to_vec(), "header of"),
        (good[..good.len() - 1].to_vec(), "truncated: expected 16 bytes of tensors, found 15"),
        ([good.clone(), vec![0]].concat(), "trailing bytes"),
        (raw("not json", 0), "JSON"),
        (raw("{\"a\": \u{1}", 0), "JSON"),
        (raw(&two("[0,8]", "[4,12]"), 12), "`b`: its data_offsets overlap"),
        (raw(&two("[0,8]", "[12,20]"), 20), "`b`: its data_offsets overlap"),
        (raw(&two("[0,8]", "[8,20]"), 20), "do not fill its data_offsets"),
        (raw(&two("[0,8]", "[16,8]"), 8), ""),
        (raw(&wrap, 0), "truncated"),
    ];
    for (bytes, expected) in cases {
        let error = refusal(bytes);
        assert!(error.starts_with("bytes: not a valid safetensors file"), "{error}");
        assert!(error.contains(expected), "expected {expected:?} in {error:?}");
    }
}

#[test]
fn files_of_other_kinds_are_named() {
    let mut tar = vec![0; 512];
    tar[257..262].copy_from_slice(b"ustar");
    let cases: [(&[u8], &str); 17] = [
        (b"\x08\x0a\x12\x05rmnet and the rest", "ONNX file"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:00", "git lfs pull"),
        (b"<!DOCTYPE html><html>", "web page"),
        (b"\n <!doctype HTML>", "web page"),
        (b"\xef\xbb\xbf<html lang=en>", "web page"),
        (b"<?xml version='1.0'?><Error>", "web page"),
        (b"\x89HDF\r\n\x1a\n", "HDF5"),
        (b"\x93NUMPY\x01\0", "NumPy array"),
        (b"GGUF\x03\0\0\0", "GGUF"),
        (b"\x1c\0\0\0TFL3", "TensorFlow Lite"),
        (b"\x1f\x8b\x08\0", "compressed file"),
        (b"BZh91AY", "compressed file"),
        (b"\x28\xb5\x2f\xfd\0", "compressed file"),
        (b"\x89PNG\r\n\x1a\n", "an image"),
        (b"\xff\xd8\xff\xe0\0\x10JFIF", "an image"),
        (b"{\"weights\": 1}", "JSON text"),
        (&tar, "tar archive"),
    ];
    for (bytes, expected) in cases {
        let error = refusal(bytes.to_vec());
        assert!(
            error.starts_with("bytes: ") && error.contains(expected),
            "expected {expected:?} in {error:?}"
        );
    }
}

/// The length of a header may look like the start of a pickle, a zip archive or an ONNX file.
#[test]
fn a_header_of_any_length_is_a_header() {
    let tensor = r#"{"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}}"#;
    for length in [0x0280, 0x0580, 0x12_0008, 0x12_ff08, 0x04_0380] {
        let header = format!("{tensor}{}", " ".repeat(length - tensor.len()));
        assert_eq!(header.len(), length);
        let c = Checkpoint::from_bytes(raw(&header, 8), None).unwrap();
        assert_eq!((c.format(), c.names().len()), (Format::Safetensors, 1), "{length:#x}");
    }
}

#[test]
#[cfg(not(feature = "pickle"))]
fn without_its_feature_a_pickle_is_refused_by_it() {
    for bytes in [b"PK\x03\x04 and the rest".to_vec(), b"\x80\x02\x8a\x0a".to_vec()] {
        let error = refusal(bytes);
        assert!(error.contains("feature `pickle`") && error.contains("save_file"), "{error}");
    }
}

#[test]
fn every_cut_and_every_flipped_header_byte_is_survived() {
    let good = file(&["a", "b"]);
    for n in 0..good.len() {
        assert!(Checkpoint::from_bytes(good[..n].to_vec(), None).is_err(), "cut at {n}");
    }
    for i in 0..good.len() - 16 {
        for bit in 0..8 {
            let mut bytes = good.clone();
            bytes[i] ^= 1 << bit;
            let _ = Checkpoint::from_bytes(bytes, None);
        }
    }
}

#[test]
fn config_files_must_be_objects() {
    for text in ["", "[1]", "{"] {
        let error = Checkpoint::from_bytes(file(&["a"]), Some(text)).unwrap_err();
        assert!(matches!(error, CheckpointError::Config { .. }), "{error}");
    }
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("model.safetensors"), file(&["a"])).unwrap();
    fs::write(folder.path().join("config.json"), "nonsense").unwrap();
    let error = Checkpoint::open(folder.path()).unwrap_err().to_string();
    assert!(error.contains("config.json"), "{error}");
}

#[test]
#[cfg(target_os = "linux")]
fn what_is_released_leaves_memory_and_is_read_again() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().canonicalize().unwrap().join("model.safetensors");
    let values = 2 << 20;
    let data: Vec<u8> = (0..values).flat_map(|i| (i as f32).to_le_bytes()).collect();
    let view = TensorView::new(safetensors::Dtype::F32, vec![values], &data).unwrap();
    fs::write(&path, safetensors::serialize([("a", view)], None).unwrap()).unwrap();
    // SAFETY: nothing else knows this file.
    let checkpoint = unsafe { Checkpoint::open_mapped(&path) }.unwrap();
    // KiB of the file resident in this process.
    let resident = || {
        let maps = fs::read_to_string("/proc/self/smaps").unwrap();
        let map = maps.split_once(path.to_str().unwrap()).expect("a map of the file").1;
        let size = map.lines().find_map(|l| l.strip_prefix("Rss:")).unwrap();
        size.trim().trim_end_matches(" kB").parse::<usize>().unwrap()
    };
    let tensor = checkpoint.tensor("a").unwrap();
    let before = tensor.to_f32();
    assert!(resident() >= 8 << 10, "read: {} KiB", resident());
    tensor.release();
    assert!(resident() <= 64, "released: {} KiB", resident());
    assert_eq!(tensor.to_f32(), before);
}
