//! Tensors over the storages of a file: views if the values are contiguous, else copies made at the first read.

use super::shown;
use super::value::{Data, Storage, TensorRecord};
use crate::tensor::{Bytes, Dtype, Owner, Tensor};
use std::ops::Range;
use std::sync::{Arc, OnceLock};

/// Bytes that copies may take beyond the length of the file: an expanded tensor has more values than are stored.
const SPARE: usize = 64 << 20;

/// Locates a file's storages and states how to read their values.
pub(super) struct Source<'s> {
    pub owner: &'s Owner,
    pub storage: &'s dyn Fn(&[u8]) -> Option<Range<usize>>,
    pub big_endian: bool,
    /// Bytes that copies may still take.
    pub budget: usize,
}

impl<'s> Source<'s> {
    pub fn new(
        owner: &'s Owner,
        storage: &'s dyn Fn(&[u8]) -> Option<Range<usize>>,
        big_endian: bool,
    ) -> Source<'s> {
        Source { owner, storage, big_endian, budget: owner.size().saturating_add(SPARE) }
    }
}

/// The result for one tensor.
pub(super) enum Placed {
    Tensor(Tensor),
    /// A tensor that cannot be computed with; the text names its type or form.
    Other(String),
}

impl Source<'_> {
    /// Looks a tensor's storage up and checks that all of its values are in it.
    pub fn place(&mut self, record: &TensorRecord) -> Result<Placed, String> {
        let (element, shape) = (record.element, &record.shape);
        let (storage, offset, strides) = match &record.data {
            Data::Strided { storage, offset, strides } => (storage, *offset, strides),
            Data::Unreadable(form) => return Ok(Placed::Other((*form).into())),
        };
        let range = self.storage_range(storage)?;
        let elements = elements_within(range.len() / element.size, shape, offset, strides)?;
        let Some(dtype) = element.dtype else { return Ok(Placed::Other(element.name.into())) };
        let misfit = |e: crate::tensor::SizeError| e.to_string();
        let start = if elements > 0 { range.start + offset * element.size } else { range.start };
        if elements == 0 || (is_dense(shape, strides) && !self.big_endian) {
            let end = start + elements * element.size;
            return Tensor::from_owner(shape.clone(), dtype, self.owner.clone(), start..end)
                .map(Placed::Tensor)
                .map_err(misfit);
        }
        let copied = elements.checked_mul(element.size).filter(|n| *n <= self.budget);
        let Some(copied) = copied else { return Ok(Placed::Other(format!("{dtype}, expanded"))) };
        self.budget -= copied;
        let copy = Strided {
            owner: self.owner.clone(),
            start,
            range,
            dims: shape.iter().copied().zip(strides.iter().copied()).collect(),
            dtype,
            swap: self.big_endian,
            size: copied,
            values: OnceLock::new(),
        };
        Tensor::from_owner(shape.clone(), dtype, Arc::new(copy), 0..copied)
            .map(Placed::Tensor)
            .map_err(misfit)
    }

    /// The byte range of a storage, or of its part, in the file.
    fn storage_range(&self, storage: &Storage<'_>) -> Result<Range<usize>, String> {
        let key = || shown(storage.key);
        let range = (self.storage)(storage.key);
        let range = range.ok_or_else(|| format!("its storage `{}` is not in the file", key()))?;
        let size = storage.element.size;
        let bytes = storage.elements.checked_mul(size);
        if bytes.is_none_or(|n| n > range.len() || range.len() - n >= size) {
            let (n, found) = (storage.elements, range.len());
            return Err(format!(
                "storage `{}`: expected {n} elements of {size} bytes, found {found} bytes",
                key()
            ));
        }
        let Some((first, elements)) = storage.part else { return Ok(range) };
        let end = first.checked_add(elements).filter(|end| *end <= storage.elements);
        let end = end.ok_or_else(|| format!("a part of storage `{}` ends beyond it", key()))?;
        Ok(range.start + first * size..range.start + end * size)
    }
}

/// The number of elements of a view of a storage; all must be within the storage's `room` elements.
fn elements_within(room: usize, shape: &[usize], offset: usize, strides: &[usize]) -> Result<usize, String> {
    let beyond =
        || format!("shape {shape:?}, strides {strides:?} and offset {offset} reach beyond {room} elements");
    let elements = shape.iter().try_fold(1usize, |n, d| n.checked_mul(*d)).ok_or_else(beyond)?;
    if elements > 0 {
        let reach =
            shape.iter().zip(strides).try_fold(offset, |at, (d, s)| at.checked_add((d - 1).checked_mul(*s)?));
        reach.filter(|last| *last < room).ok_or_else(beyond)?;
    }
    Ok(elements)
}

/// Whether values are contiguous in row-major order. The stride of a dimension of size 1 is ignored.
fn is_dense(shape: &[usize], strides: &[usize]) -> bool {
    let mut expected = 1;
    shape.iter().zip(strides).rev().all(|(&d, &s)| {
        let fits = d == 1 || s == expected;
        expected *= d;
        fits
    })
}

/// Values of a storage that are not in row-major little-endian order (transposed, `channels_last`, expanded, big-endian). They
/// are reordered at the first read, so an optimizer's state, which no network reads, takes no memory.
struct Strided {
    owner: Owner,
    /// Offset of the first value in bytes.
    start: usize,
    /// Byte range of the storage.
    range: Range<usize>,
    /// Sizes and strides, outermost first.
    dims: Vec<(usize, usize)>,
    dtype: Dtype,
    swap: bool,
    /// Bytes of all values.
    size: usize,
    values: OnceLock<Vec<u8>>,
}

impl Bytes for Strided {
    fn bytes(&self) -> &[u8] {
        self.values.get_or_init(|| {
            let mut values = Vec::with_capacity(self.size);
            self.gather(&mut values);
            self.owner.release(self.range.clone());
            values
        })
    }

    fn size(&self) -> usize {
        self.size
    }
}

impl Strided {
    fn gather(&self, to: &mut Vec<u8>) {
        let from = self.owner.bytes();
        let size = self.dtype.size();
        let (inner, outer) = match self.dims.split_last() {
            Some((inner, outer)) => (*inner, outer),
            None => ((1, 0), &[][..]),
        };
        let mut index = vec![0; outer.len()];
        loop {
            let offset: usize = index.iter().zip(outer).map(|(i, (_, stride))| i * stride).sum();
            for i in 0..inner.0 {
                let at = self.start + (offset + i * inner.1) * size;
                to.extend_from_slice(&from[at..at + size]);
                if self.swap {
                    let value = to.len() - size;
                    to[value..].reverse();
                }
            }
            // Advances the index, innermost dimension first; `None` after the last.
            let step = index.iter_mut().zip(outer).rev().find_map(|(i, (n, _))| {
                *i += 1;
                if *i < *n {
                    return Some(());
                }
                *i = 0;
                None
            });
            if step.is_none() {
                return;
            }
        }
    }
}
