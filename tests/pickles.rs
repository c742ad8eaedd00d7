//! Files of `torch.save`: real ones are read to the bit, hostile and damaged ones are refused in little memory.
#![cfg(feature = "pickle")]

#[path = "common/pickle.rs"]
mod pickle;

use pickle::*;
use rmnet::checkpoint::{Checkpoint, CheckpointError, Format};
use serde_json::Value;
use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::path::{Path, PathBuf};

fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/pickles")
}

/// Counts what the thread of a test holds, and the most it held.
struct Counting;

thread_local! {
    static HELD: Cell<isize> = const { Cell::new(0) };
    static MOST: Cell<isize> = const { Cell::new(0) };
}

fn count(bytes: isize) {
    let held = HELD.get() + bytes;
    HELD.set(held);
    MOST.set(MOST.get().max(held));
}

// SAFETY: every call is handed on to the system's allocator as it came.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(layout.size() as isize);
        // SAFETY: as the caller promised.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        count(-(layout.size() as isize));
        // SAFETY: as the caller promised.
        unsafe { System.dealloc(at, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// The bytes that opening a file took beside the file itself, and what came of it.
fn open(file: &[u8]) -> (usize, Result<Checkpoint, CheckpointError>) {
    let file = file.to_vec();
    let before = HELD.get();
    MOST.set(before);
    let opened = Checkpoint::from_bytes(file, None);
    ((MOST.get() - before) as usize, opened)
}

fn refusal(file: &[u8]) -> String {
    open(file).1.expect_err("a refusal").to_string()
}

#[test]
fn what_torch_writes_is_read_to_the_bit() {
    let cases = std::fs::read_to_string(fixtures().join("cases.json")).unwrap();
    let cases: Value = serde_json::from_str(&cases).unwrap();
    let cases = cases.as_object().unwrap();
    assert!(cases.len() > 15);
    for (name, case) in cases {
        let found = Checkpoint::open(fixtures().join(format!("{name}.pth"))).unwrap();
        let expected = Checkpoint::open(fixtures().join(format!("{name}.safetensors"))).unwrap();
        assert_eq!(found.format().to_string(), case["format"].as_str().unwrap(), "{name}");
        assert_eq!(found.names().collect::<Vec<_>>(), expected.names().collect::<Vec<_>>(), "{name}");
        for (tensor, values) in found.tensors() {
            let wanted = expected.tensor(tensor).unwrap();
            assert_eq!(values.shape(), wanted.shape(), "{name}: {tensor}");
            assert_eq!(values.to_f64(), wanted.to_f64(), "{name}: {tensor}");
            assert_eq!(
                values.dtype().to_string(),
                case["dtypes"][tensor].as_str().unwrap(),
                "{name}: {tensor}"
            );
        }
        let others: Vec<Value> = found.others().map(|other| serde_json::json!(other)).collect();
        assert_eq!(Value::from(others), case["others"], "{name}");
    }
}

#[test]
fn a_file_from_memory_is_read_as_from_disk() {
    let (_, checkpoint) = open(&archive(&one_tensor()));
    let checkpoint = checkpoint.unwrap();
    assert_eq!(checkpoint.format(), Format::PyTorchZip);
    assert_eq!(checkpoint.tensor("w").unwrap().to_f64(), [1.0, -2.0]);
    let file = legacy(&one_tensor(), &[("0", 2, two_floats())]);
    let (_, checkpoint) = open(&file);
    let checkpoint = checkpoint.unwrap();
    assert_eq!((checkpoint.format(), checkpoint.file_size()), (Format::PyTorchLegacy, file.len()));
    assert_eq!(checkpoint.tensor("w").unwrap().to_f64(), [1.0, -2.0]);
}

/// What Python 2 and early versions wrote: an `OrderedDict` of pairs, keys of bytes, `_rebuild_tensor`, parts of storages.
#[test]
fn old_spellings_are_read() {
    let bytes = |text: &str| [b"U", [text.len() as u8].as_slice(), text.as_bytes()].concat();
    let id = [
        bytes("storage"),
        global("torch", "FloatStorage"),
        bytes("94"),
        bytes("cuda:0"),
        int(4),
        tuple(&[bytes("95"), int(1), int(2)]),
    ];
    let storage = [tuple(&id), b"Q".to_vec()].concat();
    let two = tuple(&[int(2)]);
    let one = tuple(&[int(1)]);
    let tensor = call(&global("torch._utils", "_rebuild_tensor"), &[storage, int(0), two, one]);
    let pair = [b"](".as_slice(), &bytes("w"), &tensor, b"e"].concat();
    let pairs = [b"](".as_slice(), &pair, b"e"].concat();
    let dict = call(&global("collections", "OrderedDict"), &[pairs]);
    let values: Vec<u8> = [9.0f32, 1.0, -2.0, 9.0].iter().flat_map(|v| v.to_le_bytes()).collect();
    let (_, checkpoint) = open(&legacy(&dict, &[("94", 4, values)]));
    assert_eq!(checkpoint.unwrap().tensor("w").unwrap().to_f64(), [1.0, -2.0]);
}

#[test]
fn names_that_are_no_tensors_are_refused() {
    let cases = [
        ("os", "system"),
        ("posix", "system"),
        ("nt", "system"),
        ("builtins", "eval"),
        ("builtins", "exec"),
        ("__builtin__", "getattr"),
        ("builtins", "__import__"),
        ("subprocess", "Popen"),
        ("torch", "load"),
        ("torch", "hub.load"),
        ("torch.storage", "_load_from_bytes"),
        ("torch._utils", "_rebuild_tensor_v2.__globals__"),
        ("torch.serialization", "load"),
        ("torch.jit", "load"),
        ("torchvision.models.resnet", "ResNet"),
        ("__main__", "Net"),
        ("functools", "partial"),
        ("operator", "attrgetter"),
        ("numpy", "load"),
        ("numpy.f2py", "run_main"),
        ("runpy", "run_path"),
        ("", ""),
        ("o\x1bs", "sys\x07tem"),
    ];
    for (module, name) in cases {
        let called = call(&global(module, name), &[text("echo")]);
        let short = [text(module), text(name), b"\x93".to_vec()].concat();
        let new = [global(module, name), b")\x81".to_vec()].concat();
        for value in [called, global(module, name), short, new] {
            // Beside a good tensor, before it, and as a key.
            let before = [b"}(".as_slice(), &text("a"), &value, &text("b"), &one_tensor(), b"u"].concat();
            let after = dict(&[("a", one_tensor()), ("b", value.clone())]);
            let key = [b"}(".as_slice(), &value, &one_tensor(), b"u"].concat();
            for ops in [value.clone(), before, after, key] {
                for file in [archive(&ops), legacy(&ops, &[("0", 2, two_floats())])] {
                    let error = open(&file).1.unwrap_err();
                    assert!(matches!(error, CheckpointError::Global { .. }), "{module}.{name}: {error}");
                    let error = error.to_string();
                    let shown = format!("`{module}.{name}`").escape_debug().to_string();
                    assert!(error.contains(&shown), "{error}");
                    assert!(error.contains("torch.save(model.state_dict(), path)"), "{error}");
                    assert!(!error.contains(|c: char| c.is_control()), "{error:?}");
                }
            }
        }
    }
}

#[test]
fn whole_modules_and_programs_are_refused_by_name() {
    let open = |name: &str| Checkpoint::open(fixtures().join("refused").join(name)).unwrap_err().to_string();
    for name in ["module.pth", "module_legacy.pth"] {
        let error = open(name);
        assert!(error.contains("`torch.nn.modules.container.Sequential`"), "{error}");
        assert!(error.contains("torch.save(model.state_dict(), path)"), "{error}");
    }
    assert!(open("script.pt").contains("TorchScript"), "{}", open("script.pt"));
}

/// The most memory that a refusal may take beside the file: what `MAX_VALUES` values take, as vectors grow.
const BOUND: usize = 128 << 20;

#[test]
fn bombs_are_refused_in_little_memory() {
    // Lists that hold the list before twice: 2^60 once unfolded.
    let doubled = |bottom: &[u8]| {
        let mut ops = [bottom, b"q\x00"].concat();
        for i in 0..60u8 {
            ops.extend([b'0', b']', b'(', b'h', i, b'h', i, b'e', b'q', i + 1]);
        }
        ops
    };
    // The same, by dictionaries.
    let keyed = |bottom: &[u8]| {
        let mut ops = [bottom, b"q\x00"].concat();
        for i in 0..60u8 {
            ops.extend([b'0', b'}', b'(', b'K', 0, b'h', i, b'K', 1, b'h', i, b'u', b'q', i + 1]);
        }
        ops
    };
    let floats = tensor("FloatStorage", "0", 2, 0, &[2], &[1]);
    let into_itself = [b"]q\x00".as_slice(), b"h\x00a"].concat();
    let deep = [vec![b']'; 100_000], vec![b'a'; 99_999]].concat();
    let big = 3 << 20;
    // A long key that leads to many tensors.
    let long = "k".repeat(1 << 20);
    let mut named = [b"](".as_slice(), &floats, b"q\x01"].concat();
    named.extend(b"h\x01".repeat(1000));
    named.push(b'e');
    // A long list of pairs, made into a dictionary again and again.
    let pair = [text("k").as_slice(), b"N\x86q\x02"].concat();
    let mut copies = [b"](".as_slice(), &pair, &b"h\x02".repeat(1 << 16), b"eq\x01"].concat();
    copies.extend([global("collections", "OrderedDict"), b"q\x030".to_vec()].concat());
    copies.extend(b"h\x03h\x01\x85R0".repeat(1 << 12));
    let cases: Vec<(&str, Vec<u8>, &str)> = vec![
        ("lists twice in a list", doubled(&floats), "names of tensors"),
        ("lists without a tensor", doubled(b"]"), "once unfolded"),
        ("beside a state dict", dict(&[("a", one_tensor()), ("b", doubled(b"]"))]), "once unfolded"),
        ("dictionaries twice in one", keyed(&floats), "names of tensors"),
        ("a list in itself", into_itself, "holds itself"),
        ("lists in lists", deep, "nested over 64 deep"),
        ("values on the stack", vec![b'N'; big], "values on the stack"),
        ("lists on the stack", vec![b']'; big], "more than 1048576 values"),
        ("marks", vec![b'('; big], "more than 1048576 values"),
        ("tops doubled", [b"]".to_vec(), vec![b'2'; big]].concat(), "values on the stack"),
        ("a memo of everything", [b"]".to_vec(), vec![b'\x94'; big]].concat(), "more than 1048576 values"),
        (
            "a list of nothing",
            [b"](".to_vec(), vec![b'N'; big], b"e".to_vec()].concat(),
            "values on the stack",
        ),
        ("appended one by one", [b"]".to_vec(), b"Na".repeat(big)].concat(), "more than 1048576 values"),
        ("copies of a long list", copies, "more than 1048576 values"),
        ("a long name for many", dict(&[(&long, named)]), "a key of 1048576 bytes, expected at most 4096"),
    ];
    for (case, ops, expected) in cases {
        let (took, opened) = open(&archive(&ops));
        let error = opened.err().unwrap_or_else(|| panic!("{case}: not refused")).to_string();
        assert!(error.contains(expected), "{case}: expected {expected:?} in {error:?}");
        assert!(took < BOUND, "{case}: took {took} bytes");
        println!("{case}: {} KiB: {error}", took >> 10);
    }
}

#[test]
fn sizes_are_checked_before_they_are_used() {
    let max = i64::MAX;
    let one = |elements, offset, shape: &[i64], strides: &[i64]| {
        dict(&[("w", tensor("FloatStorage", "0", elements, offset, shape, strides))])
    };
    let cases: Vec<(&str, Vec<u8>, &str)> = vec![
        (
            "a storage beyond the file",
            one(1 << 40, 0, &[1 << 40], &[1]),
            "`w`: storage `0`: expected 1099511627776",
        ),
        ("a storage that overflows", one(max, 0, &[max], &[1]), "`w`: storage `0`: expected"),
        ("a negative storage", one(-1, 0, &[2], &[1]), "a storage's length of -1"),
        ("a shorter storage", one(1, 0, &[1], &[1]), "expected 1 elements"),
        ("a shape beyond its storage", one(2, 0, &[3], &[1]), "reach beyond 2 elements"),
        ("an offset beyond it", one(2, 1, &[2], &[1]), "reach beyond 2 elements"),
        ("an offset far beyond it", one(2, max, &[1], &[1]), "reach beyond 2 elements"),
        ("a stride beyond it", one(2, 0, &[2], &[2]), "reach beyond 2 elements"),
        ("strides that overflow", one(2, 0, &[2, 2, 2], &[max, max, max]), "reach beyond 2 elements"),
        ("a shape that overflows", one(2, 0, &[max, max], &[0, 0]), "reach beyond 2 elements"),
        ("a negative dimension", one(2, 0, &[-2], &[1]), "a dimension of -2"),
        ("a negative stride", one(2, 1, &[2], &[-1]), "a stride of -1"),
        ("a negative offset", one(2, -1, &[2], &[1]), "a storage offset of -1"),
        ("more strides than dimensions", one(2, 0, &[2], &[1, 1]), "1 dimensions and 2 strides"),
        ("too many dimensions", one(2, 0, &[1; 65], &[1; 65]), "65 dimensions"),
        (
            "no such storage",
            dict(&[("w", tensor("FloatStorage", "1", 2, 0, &[2], &[1]))]),
            "`1` is not in the file",
        ),
        (
            "another type",
            dict(&[("w", tensor("DoubleStorage", "0", 2, 0, &[2], &[1]))]),
            "expected 2 elements of 8",
        ),
    ];
    for (case, ops, expected) in cases {
        let (took, opened) = open(&archive(&ops));
        let error = opened.err().unwrap_or_else(|| panic!("{case}: not refused")).to_string();
        assert!(error.contains(expected), "{case}: expected {expected:?} in {error:?}");
        assert!(took < 1 << 20, "{case}: took {took} bytes");
    }
    // An empty tensor has no place.
    let (_, opened) = open(&archive(&one(2, max, &[0, max, max], &[1, 1, 1])));
    assert!(opened.is_err() || opened.unwrap().tensor("w").unwrap().is_empty());
}

/// Values repeated by a stride of 0 take nothing until they are read, and beyond a bound they cannot be.
#[test]
fn expanded_tensors_take_no_memory() {
    let tera = 1 << 40;
    let many = |n: i64| {
        let entries: Vec<(String, Vec<u8>)> = (0..n)
            .map(|i| (format!("w{i:03}"), tensor("FloatStorage", "0", 2, 0, &[1 << 22], &[0])))
            .collect();
        dict(&entries.iter().map(|(name, ops)| (name.as_str(), ops.clone())).collect::<Vec<_>>())
    };
    let (took, opened) = open(&archive(&dict(&[("w", tensor("FloatStorage", "0", 2, 0, &[tera], &[0]))])));
    let opened = opened.unwrap();
    assert_eq!(opened.others().collect::<Vec<_>>(), [("w", "F32, expanded", [tera as usize].as_slice())]);
    assert!(took < 1 << 20, "{took}");
    let (took, opened) = open(&archive(&many(100)));
    let opened = opened.unwrap();
    // 64 MiB beyond the file is four tensors of 16 MiB.
    assert_eq!((opened.names().len(), opened.others().len()), (4, 96));
    assert!(took < 1 << 20, "{took}");
    assert_eq!(opened.tensor("w000").unwrap().to_f32(), vec![1.0; 1 << 22]);
}

#[test]
fn broken_pickles_are_refused() {
    let floats = tensor("FloatStorage", "0", 2, 0, &[2], &[1]);
    let twice = dict(&[("w", floats.clone()), ("w", floats.clone())]);
    let apart = dict(&[("a.b", floats.clone()), ("a", dict(&[("b", floats.clone())]))]);
    let cases: Vec<(&str, Vec<u8>, &str)> = vec![
        ("nothing on the stack", vec![], "the stack is empty"),
        ("two values at the end", [one_tensor(), one_tensor()].concat(), "left on the stack"),
        ("a mark at the end", [b"(".to_vec(), one_tensor()].concat(), "the stack"),
        ("the same key twice", twice, "two tensors called `w`"),
        ("keys that join alike", apart, "two tensors called `a.b`"),
        ("no tensor", dict(&[("w", b"N".to_vec())]), "no tensor in it"),
        ("a memo that was never set", b"h\x05".to_vec(), "memo 5"),
        ("a text longer than the pickle", b"X\xff\xff\xff\xffab".to_vec(), "4294967295 bytes expected"),
        (
            "bytes longer than the address space",
            b"\x8e\xff\xff\xff\xff\xff\xff\xff\xffab".to_vec(),
            "bytes expected",
        ),
        ("an integer longer than the pickle", b"\x8b\xff\xff\xff\x7f".to_vec(), "bytes expected"),
        ("a frame longer than the pickle", b"\x95\xff\xff\xff\xff\xff\xff\xff\xff".to_vec(), "a frame of"),
        ("a line without an end", b"cos".to_vec(), "a line without an end"),
        ("protocol 6", b"\x80\x06".to_vec(), "protocol 6"),
        ("an extension", b"\x82\x01".to_vec(), "opcode 0x82"),
        ("an instance by mark", b"(ios\nsystem\n".to_vec(), "opcode 0x69"),
        ("an out-of-band buffer", b"\x97".to_vec(), "opcode 0x97"),
        ("a persistent id of text", b"Pstorage\n".to_vec(), "opcode 0x50"),
        ("calling a list", b"])R".to_vec(), "calls what is no class"),
        ("arguments that are no tuple", [global("torch", "Size"), b"]R".to_vec()].concat(), "no tuple"),
        (
            "a tensor of nothing",
            call(&global("torch._utils", "_rebuild_tensor_v2"), &[]),
            "without a storage",
        ),
        ("a parameter of nothing", call(&global("torch._utils", "_rebuild_parameter"), &[]), "no tensor"),
        ("a state for a tensor", [floats.clone(), b"]b".to_vec()].concat(), "sets the state of a tensor"),
        ("a storage made in place", call(&global("torch", "FloatStorage"), &[int(4)]), "not in a storage"),
        ("items of a tensor", [floats.clone(), b"NNs".to_vec()].concat(), "no dictionary"),
        ("items of a number", b"K\x01NNs".to_vec(), "no container"),
        ("a key without a value", b"}(Nu".to_vec(), "a key without a value"),
    ];
    for (case, ops, expected) in cases {
        let error = refusal(&archive(&ops));
        assert!(error.starts_with("bytes: not a PyTorch checkpoint that can be read"), "{case}: {error}");
        assert!(error.contains(expected), "{case}: expected {expected:?} in {error:?}");
    }
    let data = [pickle(&one_tensor()), b"more".to_vec()].concat();
    let file = zip(&[Entry::new("data.pkl", &data), Entry::new("data/0", &two_floats())]);
    assert!(refusal(&file).contains("4 bytes after the end"), "{}", refusal(&file));
}

#[test]
fn broken_archives_are_refused() {
    let data = Entry::new("data.pkl", &pickle(&one_tensor()));
    let zero = Entry::new("data/0", &two_floats());
    let with = |change: &dyn Fn(&mut Entry)| {
        let mut entry = zero.clone();
        change(&mut entry);
        zip(&[data.clone(), entry])
    };
    let good = zip(&[data.clone(), zero.clone()]);
    let again = |name: &str| zip(&[data.clone(), zero.clone(), Entry::new(name, b"")]);
    let none = |name: &str| zip(&[Entry::new(name, b"")]);
    // One pickle, and storages that all are the same bytes of the file.
    let mut shared = zero.clone();
    shared.name = b"archive/data/1".to_vec();
    shared.offset = Some(zip(std::slice::from_ref(&data)).len() as u32 - 22 - 46 - data.name.len() as u32);
    shared.local_name = Some(zero.name.clone());
    // An entry whose header and bytes are among the bytes of another.
    let inner = zip(std::slice::from_ref(&zero));
    let outer = Entry::new("data/1", &inner[..30 + zero.name.len() + zero.data.len()]);
    let mut within = zero.clone();
    let before = zip(std::slice::from_ref(&data)).len() - 22 - 46 - data.name.len();
    within.offset = Some((before + 30 + outer.name.len()) as u32);
    let cases: Vec<(&str, Vec<u8>, &str)> = vec![
        ("one within another", zip(&[data.clone(), outer, within]), "overlap at byte"),
        ("compressed", with(&|e| e.method = 8), "`archive/data/0` is compressed"),
        ("compressed a thousandfold", with(&|e| (e.method, e.sizes) = (8, (8, 8 << 20))), "is compressed"),
        ("larger than stored", with(&|e| e.sizes.1 = 1 << 30), "8 bytes stored, 1073741824 expected"),
        ("longer than the file", with(&|e| e.sizes = (1 << 30, 1 << 30)), "`archive/data/0`"),
        ("64-bit sizes that are missing", with(&|e| e.sizes = (u32::MAX, u32::MAX)), "`archive/data/0`"),
        ("reaching into the directory", with(&|e| e.sizes = (60, 60)), "ends beyond the directory"),
        ("encrypted", with(&|e| e.flags = 1), "is encrypted"),
        ("placed beyond the file", with(&|e| e.offset = Some(1 << 30)), "`archive/data/0`"),
        (
            "placed on another entry",
            with(&|e| e.offset = Some(0)),
            "is called `archive/data.pkl` at its place",
        ),
        (
            "another name at its place",
            with(&|e| e.local_name = Some(b"archive/data/1".to_vec())),
            "at its place",
        ),
        ("one place for two", zip(&[data.clone(), zero.clone(), shared]), "at its place"),
        ("two of a name", again("data/0"), "two entries of the zip archive are called `archive/data/0`"),
        ("two pickles", again("more/data.pkl"), "more than one `data.pkl`"),
        ("TorchScript", again("constants.pkl"), "TorchScript"),
        ("TorchScript by its code", again("code/__torch__.py"), "TorchScript"),
        ("an odd byte order", zip(&[data.clone(), Entry::new("byteorder", b"odd")]), "byte order `odd`"),
        ("NumPy", none("arr_0.npy"), "NumPy archive"),
        ("Keras", none("model.weights.h5"), "Keras archive"),
        ("another zip", none("readme.txt"), "without `data.pkl`"),
        ("an empty zip", zip(&[]), "without `data.pkl`"),
        ("trailing bytes", [good.clone(), b"more".to_vec()].concat(), "4 trailing bytes"),
        ("no directory", good[..good.len() - 22].to_vec(), "cut short or damaged"),
    ];
    for (case, file, expected) in cases {
        let (took, opened) = open(&file);
        let error = opened.err().unwrap_or_else(|| panic!("{case}: not refused")).to_string();
        assert!(error.contains(expected), "{case}: expected {expected:?} in {error:?}");
        assert!(took < 1 << 20, "{case}: took {took} bytes");
    }
}

#[test]
fn broken_legacy_files_are_refused() {
    let ops = one_tensor();
    let good = legacy(&ops, &[("0", 2, two_floats())]);
    let cases: Vec<(&str, Vec<u8>, &str)> = vec![
        ("a length beyond the file", legacy(&ops, &[("0", 1 << 60, two_floats())]), "2 expected"),
        ("a negative length", legacy(&ops, &[("0", -1, two_floats())]), "-1 elements, 2 expected"),
        ("a storage cut short", legacy(&ops, &[("0", 2, vec![0; 7])]), "7 bytes left"),
        ("no storage", legacy(&ops, &[]), "`w`: its storage `0` is not in the file"),
        ("a storage of no tensor", legacy(&ops, &[("1", 2, two_floats())]), "`1` belongs to no tensor"),
        ("a storage twice", legacy(&ops, &[("0", 2, two_floats()), ("0", 2, two_floats())]), "listed twice"),
        ("trailing bytes", [good.clone(), vec![0]].concat(), "1 trailing bytes"),
        ("a pickle of Python alone", pickle(b"}"), "torch.save did not write"),
        ("another version", [&good[..15], pickle(b"K\x01").as_slice()].concat(), "expected 1001"),
    ];
    for (case, file, expected) in cases {
        let error = refusal(&file);
        assert!(error.contains(expected), "{case}: expected {expected:?} in {error:?}");
    }
}

/// No prefix of a file is a file, and no damage ends in a panic, in much memory or in a tensor outside the file.
#[test]
fn cuts_and_flipped_bits_are_survived() {
    for name in ["zip_protocol2", "zip_protocol4", "legacy_protocol2"] {
        let good = std::fs::read(fixtures().join(format!("{name}.pth"))).unwrap();
        for n in 0..good.len() {
            assert!(open(&good[..n]).1.is_err(), "{name}: cut at {n}");
        }
        for i in 0..good.len() {
            for bit in [i % 8, 7 - i % 8] {
                let mut bytes = good.clone();
                bytes[i] ^= 1 << bit;
                let (took, opened) = open(&bytes);
                assert!(took < 8 << 20, "{name}: bit {bit} of byte {i}: {took} bytes");
                let Ok(opened) = opened else { continue };
                for (tensor, values) in opened.tensors() {
                    assert_eq!(
                        values.bytes().len(),
                        values.len() * values.dtype().size(),
                        "{name}: {tensor}"
                    );
                }
            }
        }
    }
}
