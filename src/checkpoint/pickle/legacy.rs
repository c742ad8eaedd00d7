//! The format of `torch.save` before PyTorch 1.6, which it still writes on request: five pickles in sequence (magic number,
//! version, system, object, storage keys), then every storage as its number of elements and its values.
//!
//! Values and counts are little-endian on every system, since PyTorch swaps them when it writes. The third pickle, which states
//! the system's byte order, is therefore ignored.

use super::Refusal;
use super::value::{Object, Pickle, Value};
use super::{machine, refuse, shown};
use std::collections::BTreeMap;
use std::ops::Range;

/// The first pickle, 0x1950a86a20f9469cfc6c: in little-endian bytes, or in decimal digits for protocol 1.
const MAGIC: [&[u8]; 2] = [b"\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19", b"119547037146038801333356L"];

/// The second pickle.
const VERSION: i64 = 1001;

/// The object of a legacy file, and the byte ranges of its storages.
pub(super) struct Legacy<'a> {
    pub pickle: Pickle<'a>,
    storages: BTreeMap<&'a [u8], Range<usize>>,
}

impl<'a> Legacy<'a> {
    pub fn open(bytes: &'a [u8]) -> Result<Legacy<'a>, Refusal> {
        let mut at = 0;
        let mut next = || -> Result<Pickle<'a>, Refusal> {
            let pickle = machine::run(&bytes[at..])?;
            at += pickle.length;
            Ok(pickle)
        };
        match next()?.root {
            Value::Long(magic) if MAGIC.contains(&magic) => {}
            _ => {
                return refuse(
                    "a pickle that torch.save did not write: load it in Python and save its tensors with torch.save".into(),
                );
            }
        }
        match next()?.root {
            Value::Int(VERSION) => {}
            Value::Int(other) => return refuse(format!("version {other} of the format, expected {VERSION}")),
            _ => return refuse(format!("a version of the format that is no number, expected {VERSION}")),
        }
        next()?;
        let pickle = next()?;
        let keys = next()?;
        let storages = locate(bytes, at, &pickle, &keys)?;
        Ok(Legacy { pickle, storages })
    }

    /// The byte range of a storage in the file.
    pub fn storage(&self, key: &[u8]) -> Option<Range<usize>> {
        self.storages.get(key).cloned()
    }
}

/// Locates the storages that follow the pickles, in the order of `keys`.
fn locate<'a>(
    bytes: &'a [u8],
    mut at: usize,
    pickle: &Pickle<'a>,
    keys: &Pickle<'a>,
) -> Result<BTreeMap<&'a [u8], Range<usize>>, Refusal> {
    // What the object states about each storage. PyTorch uses the first mention.
    let mut declared = BTreeMap::new();
    for object in &pickle.objects {
        if let Object::Storage(storage) = object {
            declared.entry(storage.key).or_insert((storage.elements, storage.element.size));
        }
    }
    let Some(Object::List(keys)) = keys.object(keys.root) else {
        return refuse("no list of storages after the pickled object".into());
    };
    let mut storages = BTreeMap::new();
    for key in keys {
        let Value::Str(key) = *key else { return refuse("a storage whose key is no text".into()) };
        let name = || shown(key);
        let Some(&(elements, size)) = declared.get(key) else {
            return refuse(format!("storage `{}` belongs to no tensor", name()));
        };
        let Some(count) = bytes[at..].first_chunk() else {
            return refuse(format!("cut short: the length of storage `{}` is missing", name()));
        };
        let count = i64::from_le_bytes(*count);
        if usize::try_from(count) != Ok(elements) {
            return refuse(format!("storage `{}`: {count} elements, {elements} expected", name()));
        }
        let start = at + size_of::<i64>();
        let end = elements.checked_mul(size).and_then(|n| n.checked_add(start)).filter(|e| *e <= bytes.len());
        let Some(end) = end else {
            let left = bytes.len() - start;
            return refuse(format!(
                "storage `{}`: {elements} elements of {size} bytes, {left} bytes left",
                name()
            ));
        };
        if storages.insert(key, start..end).is_some() {
            return refuse(format!("storage `{}` is listed twice", name()));
        }
        at = end;
    }
    match bytes.len() - at {
        0 => Ok(storages),
        rest => refuse(format!("{rest} trailing bytes after the storages")),
    }
}
