//! Constants of a model. Their elements are computed only while they are written.

use super::proto::{FLOAT, INT64, TensorProto};
use crate::graph::Weight;
use std::io::{self, Write};

/// Elements of a constant.
pub(super) enum ConstantValues {
    Weight(Weight),
    Floats(Vec<f32>),
    Ints(Vec<i64>),
}

/// A named tensor.
pub(super) struct Constant {
    pub name: String,
    pub dims: Vec<usize>,
    pub values: ConstantValues,
}

impl Constant {
    /// The message without the elements.
    pub fn header(&self) -> TensorProto {
        let data_type = if matches!(self.values, ConstantValues::Ints(_)) { INT64 } else { FLOAT };
        let dims = self.dims.iter().map(|d| *d as i64).collect();
        TensorProto { dims, data_type, name: self.name.clone(), raw_data: vec![] }
    }

    /// Bytes of the elements, at most [`usize::MAX`].
    pub fn bytes(&self) -> usize {
        let size = if matches!(self.values, ConstantValues::Ints(_)) { 8 } else { 4 };
        self.dims.iter().fold(size, |bytes: usize, d| bytes.saturating_mul(*d))
    }

    /// Writes the elements, little-endian; a weight is computed one row at a time.
    pub fn write(&self, to: &mut impl Write) -> io::Result<()> {
        fn all<T, const N: usize>(
            to: &mut impl Write,
            values: &[T],
            bytes: fn(&T) -> [u8; N],
        ) -> io::Result<()> {
            let bytes: Vec<u8> = values.iter().flat_map(bytes).collect();
            to.write_all(&bytes)
        }
        match &self.values {
            ConstantValues::Ints(values) => all(to, values, |v| v.to_le_bytes()),
            ConstantValues::Floats(values) => all(to, values, |v| v.to_le_bytes()),
            ConstantValues::Weight(w) => w.each_row_f32(|row| all(to, &row, |v| v.to_le_bytes())),
        }
    }
}
