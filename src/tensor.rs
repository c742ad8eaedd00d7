//! Host tensors: a shape, a dtype and bytes that may be borrowed from a memory-mapped file.

use std::fmt;
use std::ops::Range;
use std::sync::Arc;

/// Element types of a checkpoint that can be computed with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Dtype {
    /// IEEE 754 binary16.
    F16,
    /// bfloat16: the upper half of a binary32.
    BF16,
    /// IEEE 754 binary32.
    F32,
    /// IEEE 754 binary64.
    F64,
}

impl Dtype {
    /// Bytes per element.
    pub fn size(self) -> usize {
        match self {
            Dtype::F16 | Dtype::BF16 => 2,
            Dtype::F32 => 4,
            Dtype::F64 => 8,
        }
    }
}

impl fmt::Display for Dtype {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Dtype::F16 => "F16",
            Dtype::BF16 => "BF16",
            Dtype::F32 => "F32",
            Dtype::F64 => "F64",
        })
    }
}

/// Bytes of one or many tensors: a mapped file, or any `AsRef<[u8]>`, such as a byte vector, static data or an app's own memory map.
pub trait Bytes: Send + Sync {
    /// All bytes.
    fn bytes(&self) -> &[u8];

    /// Number of bytes, without creating bytes that are only produced when read.
    fn size(&self) -> usize {
        self.bytes().len()
    }

    /// Hints that a range will not be read soon: a mapped file releases its memory, and is read again when needed.
    fn release(&self, range: Range<usize>) {
        let _ = range;
    }
}

impl<T: AsRef<[u8]> + Send + Sync> Bytes for T {
    fn bytes(&self) -> &[u8] {
        self.as_ref()
    }
}

/// Owner of the bytes of one or many tensors.
pub type Owner = Arc<dyn Bytes>;

/// A dense row-major tensor on the host. Cloning shares the bytes.
#[derive(Clone)]
pub struct Tensor {
    shape: Vec<usize>,
    dtype: Dtype,
    owner: Owner,
    bytes: Range<usize>,
}

impl fmt::Debug for Tensor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Tensor({} {:?})", self.dtype, self.shape)
    }
}

/// Bytes that do not match the given shape.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
#[error("a {dtype} tensor of shape {shape:?} takes {expected} bytes, found {found}")]
pub struct SizeError {
    /// The requested element type.
    pub dtype: Dtype,
    /// The requested shape.
    pub shape: Vec<usize>,
    /// Bytes such a tensor takes.
    pub expected: usize,
    /// Bytes given.
    pub found: usize,
}

impl Tensor {
    /// A tensor over `bytes` of `owner`, little-endian, row-major. Nothing is copied, and no alignment is required.
    ///
    /// # Errors
    /// [`SizeError`] when the range is not inside the owner or does not hold exactly `shape` elements of `dtype`.
    pub fn from_owner(
        shape: Vec<usize>,
        dtype: Dtype,
        owner: Owner,
        bytes: Range<usize>,
    ) -> Result<Tensor, SizeError> {
        let elements = shape.iter().try_fold(1usize, |n, &d| n.checked_mul(d));
        let expected = elements.and_then(|n| n.checked_mul(dtype.size())).unwrap_or(usize::MAX);
        let inside = bytes.start <= bytes.end && bytes.end <= owner.size();
        let found = if inside { bytes.len() } else { 0 };
        if !inside || found != expected {
            return Err(SizeError { dtype, shape, expected, found });
        }
        Ok(Tensor { shape, dtype, owner, bytes })
    }

    /// An F32 tensor that owns `values`.
    ///
    /// # Panics
    /// When `values` does not hold exactly `shape` elements.
    pub fn from_f32(shape: Vec<usize>, values: Vec<f32>) -> Tensor {
        assert_eq!(shape.iter().product::<usize>(), values.len(), "values must fill the shape {shape:?}");
        let bytes: Vec<u8> = values.iter().flat_map(|v| v.to_le_bytes()).collect();
        let range = 0..bytes.len();
        Tensor { shape, dtype: Dtype::F32, owner: Arc::new(bytes), bytes: range }
    }

    /// An F64 tensor that owns `values`.
    ///
    /// # Panics
    /// When `values` does not hold exactly `shape` elements.
    pub fn from_f64(shape: Vec<usize>, values: Vec<f64>) -> Tensor {
        assert_eq!(shape.iter().product::<usize>(), values.len(), "values must fill the shape {shape:?}");
        let bytes: Vec<u8> = values.iter().flat_map(|v| v.to_le_bytes()).collect();
        let range = 0..bytes.len();
        Tensor { shape, dtype: Dtype::F64, owner: Arc::new(bytes), bytes: range }
    }

    /// The dimensions, outermost first. Convolution weights are `[out, in / groups, height, width]` (OIHW).
    pub fn shape(&self) -> &[usize] {
        &self.shape
    }

    /// The element type.
    pub fn dtype(&self) -> Dtype {
        self.dtype
    }

    /// Number of elements.
    pub fn len(&self) -> usize {
        self.bytes.len() / self.dtype.size()
    }

    /// Whether the tensor has no element.
    pub fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// The location of its bytes. Tensors with equal locations share the same bytes.
    pub(crate) fn place(&self) -> (usize, Range<usize>) {
        (Arc::as_ptr(&self.owner).cast::<()>() as usize, self.bytes.clone())
    }

    /// The little-endian bytes.
    pub fn bytes(&self) -> &[u8] {
        &self.owner.bytes()[self.bytes.clone()]
    }

    /// Hints that the elements will not be read soon: see [`Bytes::release`].
    pub fn release(&self) {
        self.owner.release(self.bytes.clone());
    }

    /// The same bytes under another shape.
    ///
    /// # Panics
    /// When the number of elements differs.
    pub fn reshaped(&self, shape: Vec<usize>) -> Tensor {
        assert_eq!(shape.iter().product::<usize>(), self.len(), "reshape {:?} to {shape:?}", self.shape);
        Tensor { shape, ..self.clone() }
    }

    /// The elements of a range in row-major order, widened to f64 (exact for every [`Dtype`]).
    pub fn range_f64(&self, range: Range<usize>) -> impl Iterator<Item = f64> + '_ {
        let size = self.dtype.size();
        let dtype = self.dtype;
        self.bytes()[range.start * size..range.end * size].chunks_exact(size).map(move |b| match dtype {
            Dtype::F16 => half::f16::from_le_bytes([b[0], b[1]]).to_f64(),
            Dtype::BF16 => half::bf16::from_le_bytes([b[0], b[1]]).to_f64(),
            Dtype::F32 => f64::from(f32::from_le_bytes([b[0], b[1], b[2], b[3]])),
            Dtype::F64 => f64::from_le_bytes([b[0], b[1], b[2], b[3], b[4], b[5], b[6], b[7]]),
        })
    }

    /// Writes the elements of a range times `scale` to `to`, multiplied in f64 and rounded once to f32.
    ///
    /// # Panics
    /// When `to` is not as long as the range.
    pub fn scaled_f32(&self, range: Range<usize>, scale: f64, to: &mut [f32]) {
        assert_eq!(range.len(), to.len(), "one value per element");
        fn fill<const N: usize>(bytes: &[u8], scale: f64, to: &mut [f32], widen: impl Fn([u8; N]) -> f64) {
            for (v, b) in to.iter_mut().zip(bytes.as_chunks::<N>().0) {
                *v = (widen(*b) * scale) as f32;
            }
        }
        let size = self.dtype.size();
        let bytes = &self.bytes()[range.start * size..range.end * size];
        match self.dtype {
            Dtype::F16 => fill(bytes, scale, to, |b| half::f16::from_le_bytes(b).to_f64()),
            Dtype::BF16 => fill(bytes, scale, to, |b| half::bf16::from_le_bytes(b).to_f64()),
            Dtype::F32 => fill(bytes, scale, to, |b| f64::from(f32::from_le_bytes(b))),
            Dtype::F64 => fill(bytes, scale, to, f64::from_le_bytes),
        }
    }

    /// All elements as f64.
    pub fn to_f64(&self) -> Vec<f64> {
        self.range_f64(0..self.len()).collect()
    }

    /// All elements as f32; F64 is rounded to nearest.
    pub fn to_f32(&self) -> Vec<f32> {
        self.range_f64(0..self.len()).map(|v| v as f32).collect()
    }
}

/// Whether no value is NaN or infinite. Without an early exit, so that it vectorises.
pub(crate) fn all_finite(values: &[f32]) -> bool {
    values.iter().fold(true, |finite, v| finite & v.is_finite())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_dtype_widens_exactly() {
        let cases: [(Dtype, Vec<u8>); 4] = [
            (Dtype::F16, half::f16::from_f32(-1.5).to_le_bytes().to_vec()),
            (Dtype::BF16, half::bf16::from_f32(-1.5).to_le_bytes().to_vec()),
            (Dtype::F32, (-1.5f32).to_le_bytes().to_vec()),
            (Dtype::F64, (-1.5f64).to_le_bytes().to_vec()),
        ];
        for (dtype, bytes) in cases {
            // One stray byte in front: borrowed tensors need no alignment.
            let mut padded = vec![0u8];
            padded.extend(bytes);
            let end = padded.len();
            let t = Tensor::from_owner(vec![1], dtype, Arc::new(padded), 1..end).unwrap();
            assert_eq!(t.to_f64(), [-1.5], "{dtype}");
        }
    }

    #[test]
    fn bytes_must_fill_the_shape() {
        let owner: Owner = Arc::new(vec![0u8; 12]);
        let short = Tensor::from_owner(vec![2, 2], Dtype::F32, owner.clone(), 0..12).unwrap_err();
        assert_eq!((short.expected, short.found), (16, 12));
        assert!(Tensor::from_owner(vec![3], Dtype::F32, owner.clone(), 4..16).is_err());
        assert!(Tensor::from_owner(vec![usize::MAX, 2], Dtype::F32, owner, 0..12).is_err());
    }
}
