//! Bytes of `.pth` files, zip and legacy: refused, or tensors of the lengths they say.

use crate::common::pickle::{
    self, Entry, archive, call, dict, global, int, legacy, tensor, text, tuple, zip,
};
use crate::source::Source;
use rmnet::checkpoint::Checkpoint;

/// Elements of the tensors that are read.
const MAX_ELEMENTS: usize = 1 << 20;

/// A first byte below 100: the rest as it is. Else a file around opcodes: the rest as they are, or any that are chosen.
pub fn pickle(data: &[u8]) {
    let Some((first, rest)) = data.split_first() else { return };
    match *first {
        0..100 => open(rest.to_vec()),
        100..120 => open(archive(rest)),
        120..140 => open(legacy(rest, &[("0", 2, pickle::two_floats())])),
        _ => open(file(&mut Source::new(rest))),
    }
}

fn open(bytes: Vec<u8>) {
    let length = bytes.len();
    let checkpoint = match Checkpoint::from_bytes(bytes, None) {
        Ok(checkpoint) => checkpoint,
        Err(e) => return drop(e.to_string()),
    };
    assert_eq!(checkpoint.file_size(), length);
    for (name, tensor) in checkpoint.tensors() {
        let elements = tensor.shape().iter().try_fold(1usize, |n, side| n.checked_mul(*side));
        assert_eq!(Some(tensor.len()), elements, "{name}");
        if tensor.len() <= MAX_ELEMENTS {
            assert_eq!(tensor.to_f32().len(), tensor.len(), "{name}");
            assert_eq!(tensor.to_f64().len(), tensor.len(), "{name}");
        }
    }
    for (name, dtype, shape) in checkpoint.others() {
        let _ = (name.len(), dtype.len(), shape.len());
    }
}

fn file(s: &mut Source) -> Vec<u8> {
    let mut ops = value(s, 0);
    for _ in 0..s.within(0, 3) {
        let at = s.below(ops.len() + 1);
        let more = opcode(s);
        ops.splice(at..at, more);
    }
    if s.one_in(6) && !ops.is_empty() {
        let at = s.below(ops.len());
        ops[at] ^= 1 << s.below(8);
    }
    let storage = s.bytes(64).to_vec();
    let count = storage.len() as i64 / 4;
    match s.below(3) {
        0 => {
            let count = if s.one_in(4) { number(s) } else { count };
            legacy(&ops, &[("0", count, storage)])
        }
        1 => archive(&ops),
        _ => {
            let mut entries =
                vec![Entry::new("data.pkl", &pickle::pickle(&ops)), Entry::new("data/0", &storage)];
            if s.one_in(3) {
                entries.push(Entry::new("byteorder", *s.pick::<&[u8]>(&[b"little", b"big", b"odd"])));
            }
            if s.one_in(3) {
                let entry = &mut entries[s.below(2)];
                match s.below(6) {
                    0 => entry.method = 8,
                    1 => entry.flags = s.seed() as u16,
                    2 => entry.sizes.0 = s.seed() as u32,
                    3 => entry.sizes.1 = s.seed() as u32,
                    4 => entry.offset = Some(s.within(0, 600) as u32),
                    _ => entry.local_name = Some(s.bytes(20).to_vec()),
                }
            }
            zip(&entries)
        }
    }
}

fn number(s: &mut Source) -> i64 {
    match s.below(6) {
        0..3 => s.within(0, 8) as i64,
        3 => -1,
        4 => s.seed() as i64,
        _ => *s.pick(&[i64::MAX, i64::MIN, 1 << 32, 1 << 62]),
    }
}

fn value(s: &mut Source, depth: usize) -> Vec<u8> {
    if depth > 4 {
        return int(number(s));
    }
    let key = |s: &mut Source| {
        let names = ["conv1.weight", "state_dict", "w", "", "bn1.running_mean", "model"];
        if s.one_in(4) { s.text(12) } else { (*s.pick(&names)).to_string() }
    };
    match s.below(9) {
        0..3 => {
            let entries: Vec<(String, Vec<u8>)> =
                (0..s.within(0, 4)).map(|_| (key(s), value(s, depth + 1))).collect();
            let entries: Vec<(&str, Vec<u8>)> =
                entries.iter().map(|(k, v)| (k.as_str(), v.clone())).collect();
            dict(&entries)
        }
        3..6 => {
            let classes = [
                "FloatStorage",
                "HalfStorage",
                "BFloat16Storage",
                "DoubleStorage",
                "LongStorage",
                "ByteStorage",
                "BoolStorage",
                "UntypedStorage",
                "ComplexFloatStorage",
                "NoStorage",
            ];
            let storage = if s.one_in(8) { "1" } else { "0" };
            let class = if s.one_in(3) { s.pick(&classes) } else { "FloatStorage" };
            let rank = s.within(0, 5);
            let usual = s.one_in(2);
            let list = |s: &mut Source| -> Vec<i64> {
                (0..rank).map(|_| if usual { s.within(1, 3) as i64 } else { number(s) }).collect()
            };
            let (shape, strides) = (list(s), list(s));
            let (elements, offset) = (number(s), if s.one_in(2) { number(s) } else { 0 });
            tensor(class, storage, elements, offset, &shape, &strides)
        }
        6 => tuple(&(0..s.within(0, 3)).map(|_| value(s, depth + 1)).collect::<Vec<_>>()),
        7 => {
            let (module, name) = *s.pick(&[
                ("torch._utils", "_rebuild_parameter"),
                ("torch._utils", "_rebuild_tensor_v2"),
                ("collections", "OrderedDict"),
                ("torch", "Size"),
                ("builtins", "set"),
                ("os", "system"),
                ("torch.nn.modules.conv", "Conv2d"),
                ("argparse", "Namespace"),
                ("numpy", "dtype"),
                ("_codecs", "encode"),
                ("torch", "device"),
                ("torch.serialization", "_get_layout"),
            ]);
            let arguments: Vec<_> = (0..s.within(0, 4)).map(|_| value(s, depth + 1)).collect();
            call(&global(module, name), &arguments)
        }
        _ => opcode(s),
    }
}

/// One opcode with an argument of its own form.
fn opcode(s: &mut Source) -> Vec<u8> {
    let ops = b"(.012FIJKLMNPQRSTUVX]abcdeghijlopqrstu}\x80\x81\x82\x83\x84\x85\x86\x87\x88\x89\x8a\x8b\x8c\x8d\x8e\x8f\x90\x91\x92\x93\x94\x95\x96\x97\x98BC";
    let op = *s.pick(ops);
    let n = s.within(0, 9);
    let mut bytes = vec![op];
    match op {
        b'F' | b'I' | b'L' | b'P' | b'S' | b'V' | b'g' | b'p' => {
            bytes.extend(format!("{}\n", number(s)).bytes());
        }
        b'c' | b'i' => bytes.extend(global(&s.text(8), &s.text(8)).into_iter().skip(1)),
        b'J' | b'T' | b'X' | b'B' | b'j' | b'r' => bytes.extend((n as u32).to_le_bytes()),
        b'K' | b'U' | b'C' | b'h' | b'q' | 0x80 | 0x82 | 0x8a | 0x8c => bytes.push(n as u8),
        b'M' | 0x83 => bytes.extend((n as u16).to_le_bytes()),
        0x8d | 0x8e | 0x95 | 0x96 => {
            bytes.extend((if s.one_in(4) { s.seed() } else { n as u64 }).to_le_bytes())
        }
        _ => {}
    }
    if s.one_in(2) {
        bytes.extend(text("k").into_iter().take(n));
    }
    bytes
}
