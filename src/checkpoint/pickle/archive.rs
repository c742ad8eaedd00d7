//! The zip archive that `torch.save` has written since PyTorch 1.6: `data.pkl` and one uncompressed entry per storage.
//!
//! Entries are used in place, so they must be uncompressed. `torch.save` never compresses; an archive that was repacked with
//! compression is refused rather than inflated into memory. Checksums are not verified, as in PyTorch: that would read the whole
//! file when it is opened.

use super::{Refusal, refuse, shown};
use crate::order::sort_by_key;
use rawzip::{CompressionMethod, ZipArchive, ZipFileHeaderRecord, ZipSliceArchive};
use std::collections::BTreeMap;
use std::ops::Range;

/// Maximum entries of an archive: one per storage, and a few more.
const MAX_ENTRIES: usize = 1 << 20;

/// Bytes of an entry's header in the central directory, before its name.
const DIRECTORY_HEADER: usize = 46;

/// An opened archive.
pub(super) struct Archive<'a> {
    /// Byte ranges in the file by entry name, without the folder that prefixes all names.
    entries: BTreeMap<&'a [u8], Range<usize>>,
    bytes: &'a [u8],
}

impl<'a> Archive<'a> {
    pub fn open(bytes: &'a [u8]) -> Result<Archive<'a>, Refusal> {
        let damaged =
            |e: rawzip::Error| Refusal::Reason(format!("a zip archive that is cut short or damaged: {e}"));
        let archive = ZipArchive::from_slice(bytes).map_err(damaged)?;
        if archive.end_offset() != bytes.len() as u64 {
            let rest = bytes.len() as u64 - archive.end_offset();
            return refuse(format!("{rest} trailing bytes after the zip archive"));
        }
        let mut all: Vec<(&[u8], Range<usize>)> = vec![];
        // Ranges including the local headers; they may not overlap.
        let mut taken: Vec<Range<u64>> = vec![];
        // Reported only after the archive is known to be a checkpoint.
        let mut compressed = None;
        for entry in archive.entries() {
            let entry = entry.map_err(damaged)?;
            // The name must outlive the entry, which borrows the archive.
            let path = entry.file_path();
            let length = AsRef::<[u8]>::as_ref(&path).len();
            let name_at = entry.central_directory_offset() as usize + DIRECTORY_HEADER;
            let Some(central_name) = bytes.get(name_at..name_at + length) else {
                return refuse("a zip archive whose directory is cut short".into());
            };
            let name = || shown(central_name);
            if all.len() == MAX_ENTRIES {
                return refuse(format!("a zip archive of more than {MAX_ENTRIES} entries"));
            }
            if entry.flags().is_encrypted() {
                return refuse(format!("entry `{}` is encrypted", name()));
            }
            if entry.compression_method() != CompressionMethod::STORE {
                compressed.get_or_insert_with(name);
                all.push((central_name, 0..0));
                continue;
            }
            let range = stored_range(&archive, &entry, central_name)?;
            taken.push(entry.local_header_offset()..range.end);
            all.push((central_name, range.start as usize..range.end as usize));
        }
        sort_by_key(&mut taken, |r| (r.start, r.end));
        if let Some(pair) = taken.windows(2).find(|pair| pair[0].end > pair[1].start) {
            return refuse(format!("two entries of the zip archive overlap at byte {}", pair[1].start));
        }
        let archive = Self::rooted(all, bytes)?;
        match compressed {
            None => Ok(archive),
            Some(name) => refuse(format!(
                "entry `{name}` is compressed, which torch.save does not do: load it in PyTorch and save it again"
            )),
        }
    }

    /// The entries of the one folder that holds `data.pkl`.
    fn rooted(all: Vec<(&'a [u8], Range<usize>)>, bytes: &'a [u8]) -> Result<Archive<'a>, Refusal> {
        let root_of = |name: &'a [u8]| {
            name.strip_suffix(b"data.pkl").filter(|root| root.is_empty() || root.ends_with(b"/"))
        };
        let mut roots = all.iter().filter_map(|(name, _)| root_of(name));
        let Some(root) = roots.next() else {
            return refuse(without_pickle(&all));
        };
        if roots.next().is_some() {
            return refuse("a zip archive with more than one `data.pkl`".into());
        }
        let mut entries = BTreeMap::new();
        for (name, range) in all {
            let Some(inner) = name.strip_prefix(root) else { continue };
            if entries.insert(inner, range).is_some() {
                return refuse(format!("two entries of the zip archive are called `{}`", shown(name)));
            }
        }
        let is_script = |name: &&&[u8]| **name == b"constants.pkl" || name.starts_with(b"code/");
        if entries.keys().any(|name| is_script(&name)) {
            return refuse(
                "a TorchScript archive, which holds a program; save its weights in Python: \
                 torch.save(torch.jit.load(path).state_dict(), new_path)"
                    .into(),
            );
        }
        Ok(Archive { entries, bytes })
    }

    /// The byte range of an entry in the file.
    pub fn range(&self, name: &[u8]) -> Option<Range<usize>> {
        self.entries.get(name).cloned()
    }

    /// The bytes of an entry.
    pub fn entry(&self, name: &str) -> Option<&'a [u8]> {
        Some(&self.bytes[self.range(name.as_bytes())?])
    }

    /// The byte range of a storage in the file.
    pub fn storage(&self, key: &[u8]) -> Option<Range<usize>> {
        self.range(&[b"data/", key].concat())
    }

    /// Whether the values of storages are big-endian.
    pub fn is_big_endian(&self) -> Result<bool, Refusal> {
        match self.entry("byteorder") {
            None | Some(b"little") => Ok(false),
            Some(b"big") => Ok(true),
            Some(other) => refuse(format!("byte order `{}`, expected `little` or `big`", shown(other))),
        }
    }
}

/// The byte range of an uncompressed entry, whose local header must have the same name as the directory.
fn stored_range(
    archive: &ZipSliceArchive<&[u8]>,
    entry: &ZipFileHeaderRecord<'_>,
    central_name: &[u8],
) -> Result<Range<u64>, Refusal> {
    let name = || shown(central_name);
    let (stored, size) = (entry.compressed_size_hint(), entry.uncompressed_size_hint());
    if stored != size {
        return refuse(format!("entry `{}`: {stored} bytes stored, {size} expected", name()));
    }
    let placed = archive.get_entry(entry.wayfinder());
    let placed = placed.map_err(|e| Refusal::Reason(format!("entry `{}`: {e}", name())))?;
    let (start, end) = placed.compressed_data_range();
    let path = placed.local_header().file_path();
    let local_name: &[u8] = path.as_ref();
    if local_name != central_name {
        return refuse(format!("entry `{}` is called `{}` at its place", name(), shown(local_name)));
    }
    if end > archive.directory_offset() {
        return refuse(format!("entry `{}` ends beyond the directory of the archive", name()));
    }
    Ok(start..end)
}

/// Describes a zip archive without `data.pkl`.
fn without_pickle(all: &[(&[u8], Range<usize>)]) -> String {
    let any = |end: &[u8]| all.iter().any(|(name, _)| name.ends_with(end));
    let what = if any(b".npy") {
        "a NumPy archive (.npz)"
    } else if any(b".weights.h5") {
        "a Keras archive"
    } else if any(b"serialized_exported_program.json") || any(b"archive_format") {
        "a program of torch.export"
    } else {
        "a zip archive without `data.pkl`"
    };
    format!("{what}; expected a state dict as torch.save writes it")
}
