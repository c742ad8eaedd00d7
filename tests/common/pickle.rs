//! Writes pickles and zip archives opcode by opcode and field by field, right and wrong ones.

/// A state dict of one tensor `w` of two F32 in storage `0`, without PROTO and STOP.
pub fn one_tensor() -> Vec<u8> {
    dict(&[("w", tensor("FloatStorage", "0", 2, 0, &[2], &[1]))])
}

/// A dictionary of text keys.
pub fn dict(entries: &[(&str, Vec<u8>)]) -> Vec<u8> {
    let mut ops = b"}(".to_vec();
    for (key, value) in entries {
        ops.extend(text(key));
        ops.extend(value);
    }
    ops.push(b'u');
    ops
}

pub fn text(text: &str) -> Vec<u8> {
    [b"X", (text.len() as u32).to_le_bytes().as_slice(), text.as_bytes()].concat()
}

pub fn int(value: i64) -> Vec<u8> {
    [b"\x8a\x08", value.to_le_bytes().as_slice()].concat()
}

pub fn global(module: &str, name: &str) -> Vec<u8> {
    format!("c{module}\n{name}\n").into_bytes()
}

pub fn tuple(items: &[Vec<u8>]) -> Vec<u8> {
    [b"(".as_slice(), &items.concat(), b"t"].concat()
}

pub fn call(function: &[u8], arguments: &[Vec<u8>]) -> Vec<u8> {
    [function, &tuple(arguments), b"R"].concat()
}

pub fn storage(class: &str, key: &str, elements: i64) -> Vec<u8> {
    let id = [text("storage"), global("torch", class), text(key), text("cpu"), int(elements)];
    [tuple(&id), b"Q".to_vec()].concat()
}

pub fn tensor(class: &str, key: &str, elements: i64, offset: i64, shape: &[i64], strides: &[i64]) -> Vec<u8> {
    let ints = |list: &[i64]| tuple(&list.iter().map(|i| int(*i)).collect::<Vec<_>>());
    let hooks = call(&global("collections", "OrderedDict"), &[]);
    let arguments =
        [storage(class, key, elements), int(offset), ints(shape), ints(strides), b"\x89".to_vec(), hooks];
    call(&global("torch._utils", "_rebuild_tensor_v2"), &arguments)
}

/// A whole pickle of protocol 2.
pub fn pickle(ops: &[u8]) -> Vec<u8> {
    [b"\x80\x02", ops, b"."].concat()
}

/// An entry of a zip archive, and what its headers say of it.
#[derive(Clone)]
pub struct Entry {
    pub name: Vec<u8>,
    pub data: Vec<u8>,
    pub method: u16,
    pub flags: u16,
    /// Sizes in the headers: stored, whole.
    pub sizes: (u32, u32),
    /// The place of the local header in the directory, where it is not the true one.
    pub offset: Option<u32>,
    pub local_name: Option<Vec<u8>>,
}

impl Entry {
    pub fn new(name: &str, data: &[u8]) -> Entry {
        let size = data.len() as u32;
        let name = format!("archive/{name}").into_bytes();
        Entry {
            name,
            data: data.to_vec(),
            method: 0,
            flags: 0,
            sizes: (size, size),
            offset: None,
            local_name: None,
        }
    }
}

/// A zip archive.
pub fn zip(entries: &[Entry]) -> Vec<u8> {
    let (mut file, mut directory) = (vec![], vec![]);
    for e in entries {
        let place = e.offset.unwrap_or(file.len() as u32);
        let local_name = e.local_name.as_ref().unwrap_or(&e.name);
        let fields = |name: &[u8]| {
            let mut fields = vec![20, 0];
            fields.extend(e.flags.to_le_bytes());
            fields.extend(e.method.to_le_bytes());
            fields.extend([0; 8]);
            fields.extend(e.sizes.0.to_le_bytes());
            fields.extend(e.sizes.1.to_le_bytes());
            fields.extend((name.len() as u16).to_le_bytes());
            fields.extend([0; 2]);
            fields
        };
        file.extend(b"PK\x03\x04");
        file.extend(fields(local_name));
        file.extend(local_name);
        file.extend(&e.data);
        directory.extend(b"PK\x01\x02\x14\0");
        directory.extend(fields(&e.name));
        directory.extend([0; 10]);
        directory.extend(place.to_le_bytes());
        directory.extend(&e.name);
    }
    let start = file.len() as u32;
    file.extend(&directory);
    file.extend(b"PK\x05\x06\0\0\0\0");
    file.extend((entries.len() as u16).to_le_bytes().repeat(2));
    file.extend((directory.len() as u32).to_le_bytes());
    file.extend(start.to_le_bytes());
    file.extend([0; 2]);
    file
}

/// A zip checkpoint of a pickle, with storage `0` of two F32.
pub fn archive(ops: &[u8]) -> Vec<u8> {
    zip(&[Entry::new("data.pkl", &pickle(ops)), Entry::new("data/0", &two_floats())])
}

/// 1.0 and -2.0.
pub fn two_floats() -> Vec<u8> {
    [1.0f32, -2.0].iter().flat_map(|v| v.to_le_bytes()).collect()
}

/// A legacy checkpoint: the pickles before the object, the object, the keys of its storages, and those as count and values.
pub fn legacy(ops: &[u8], storages: &[(&str, i64, Vec<u8>)]) -> Vec<u8> {
    let mut file = pickle(b"\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19");
    file.extend(pickle(b"M\xe9\x03"));
    file.extend(pickle(b"}"));
    file.extend(pickle(ops));
    let keys: Vec<u8> = storages.iter().flat_map(|(key, ..)| text(key)).collect();
    file.extend(pickle(&[b"](".as_slice(), &keys, b"e"].concat()));
    for (_, count, values) in storages {
        file.extend(count.to_le_bytes());
        file.extend(values);
    }
    file
}
