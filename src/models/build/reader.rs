//! Reads tensors by name, checks their shapes and values, and records which were read.

use crate::graph::{BatchNorm, Weight};
use crate::models::assume::{Assume, Assumption, Conventions};
use crate::models::build::state_dict::StateDict;
use crate::models::build::stray::{Stray, judge};
use crate::models::key::Key;
use crate::models::{ModelError, Naming};
use crate::tensor::{Dtype, Tensor};
use std::collections::BTreeSet;

/// An expected dimension; `None`: any.
pub(in crate::models) type Dim = Option<usize>;

/// `[64, any, 7, 7]`
fn text(shape: &[Dim]) -> String {
    let dims: Vec<String> = shape.iter().map(|d| d.map_or("any".into(), |d| d.to_string())).collect();
    format!("[{}]", dims.join(", "))
}

pub(in crate::models) struct TensorReader<'a> {
    dict: StateDict<'a>,
    naming: Naming,
    used: BTreeSet<String>,
    /// The name of the head, once known.
    pub(in crate::models) head: Option<String>,
    /// Properties that no tensor shows.
    pub(in crate::models) conventions: Conventions,
}

/// The assumptions and unread tensors of a built network.
pub(in crate::models) struct Finished {
    pub(in crate::models) assumed: Vec<Assumption>,
    /// Tensors that are not part of the network.
    pub(in crate::models) ignored: Vec<String>,
}

impl<'a> TensorReader<'a> {
    pub(in crate::models) fn new(dict: StateDict<'a>, naming: Naming, stated: Assume) -> TensorReader<'a> {
        TensorReader {
            dict,
            naming,
            used: BTreeSet::new(),
            head: None,
            conventions: Conventions::new(stated),
        }
    }

    pub(in crate::models) fn dict(&self) -> &StateDict<'a> {
        &self.dict
    }

    pub(in crate::models) fn names(&self) -> impl Iterator<Item = &str> {
        self.dict.names()
    }

    /// A value of the file's metadata.
    pub(in crate::models) fn metadata(&self, key: &str) -> Option<&'a str> {
        self.dict.metadata(key)
    }

    /// The shape of a tensor, if it exists.
    pub(in crate::models) fn shape(&self, tensor: &str) -> Option<&'a [usize]> {
        self.dict.shape(tensor)
    }

    /// Whether a tensor was read before.
    pub(in crate::models) fn has_read(&self, tensor: &str) -> bool {
        self.used.contains(tensor)
    }

    /// The name of a tensor in the file.
    fn full(&self, tensor: &str) -> String {
        self.dict.file_name(tensor)
    }

    pub(in crate::models) fn misshapen(&self, tensor: &str, expected: String) -> ModelError {
        let found = self.shape(tensor).unwrap_or_default().to_vec();
        ModelError::Shape { tensor: self.full(tensor), expected, found, naming: self.naming }
    }

    pub(in crate::models) fn unexpected(&self, tensor: &str, why: &'static str) -> ModelError {
        let found = self.shape(tensor).unwrap_or_default().to_vec();
        ModelError::Unexpected { tensor: self.full(tensor), found, why, naming: self.naming }
    }

    /// Reads a tensor of this shape without zero dimensions and with finite values.
    pub(in crate::models) fn tensor(&mut self, name: &str, expected: &[Dim]) -> Result<Tensor, ModelError> {
        let Some(tensor) = self.dict.tensor(name) else {
            let expected = text(expected);
            if let Some((tensor, _, dtype, _)) =
                self.dict.others().find(|(_, inner, ..)| *inner == Some(name))
            {
                return Err(ModelError::Dtype { tensor: tensor.into(), found: dtype.into() });
            }
            return Err(ModelError::Missing { tensor: self.full(name), expected, naming: self.naming });
        };
        let found = tensor.shape();
        let fits = |(f, e): (&usize, &Dim)| *f > 0 && e.is_none_or(|e| e == *f);
        if found.len() != expected.len() || !found.iter().zip(expected).all(fits) {
            return Err(self.misshapen(name, text(expected)));
        }
        if let Some((index, value)) = not_finite(tensor) {
            let tensor = self.full(name);
            return Err(ModelError::Value { tensor, expected: "finite values", index, value });
        }
        self.used.insert(name.into());
        Ok(tensor.clone())
    }

    /// `{layer}.weight` as `[out, per_group, height, width]`.
    pub(in crate::models) fn conv(
        &mut self,
        layer: &str,
        out: Dim,
        per_group: Dim,
        kernel: [usize; 2],
    ) -> Result<Weight, ModelError> {
        let expected = [out, per_group, Some(kernel[0]), Some(kernel[1])];
        self.tensor(&format!("{layer}.weight"), &expected).map(Weight::new)
    }

    /// The four vectors of a batch norm.
    pub(in crate::models) fn norm(&mut self, layer: &str, channels: usize) -> Result<BatchNorm, ModelError> {
        let mut vector = |what: &str| self.tensor(&format!("{layer}.{what}"), &[Some(channels)]);
        let (weight, bias) = (vector("weight")?, vector("bias")?);
        let (mean, variance) = (vector("running_mean")?, vector("running_var")?);
        let name = self.full(&format!("{layer}.running_var"));
        let negative = variance.range_f64(0..variance.len()).enumerate().find(|(_, v)| *v < 0.0);
        if let Some((index, value)) = negative {
            return Err(ModelError::Value {
                tensor: name,
                expected: "a variance of at least 0",
                index,
                value,
            });
        }
        Ok(BatchNorm {
            weight: weight.to_f64(),
            bias: bias.to_f64(),
            mean: mean.to_f64(),
            variance: variance.to_f64(),
            epsilon: self.conventions.number(Key::BatchNormEps, 1e-5),
        })
    }

    /// Returns the assumptions and unread tensors. Refuses an unread tensor under the name of a layer, a tensor outside the network that
    /// may be one of its layers, and an assumption that nothing depends on. `channels` is the number of input channels.
    pub(in crate::models) fn finish(mut self, family: &str, channels: usize) -> Result<Finished, ModelError> {
        // A user who states the prefix knows of the tensors outside it, and one who states the head knows of the other candidates.
        let head = self.conventions.is_stated(Key::Head);
        let prefix = self.conventions.is_stated(Key::Prefix) && !self.dict.prefix().is_empty();
        if self.conventions.is_stated(Key::Prefix) {
            self.conventions.word(Key::Prefix, "");
        }
        let parts = self.parts();
        // Finds for example `stage5` beside `stage1` to `stage4`, or `3` in a chain of numbers.
        let stem = |part: &str| part.trim_end_matches(|c: char| c.is_ascii_digit()).to_string();
        let mut sisters = BTreeSet::new();
        sisters.extend(parts.iter().filter(|part| stem(part) != **part).map(|part| stem(part)));
        let is_part = |name: &str| {
            let part = first(name);
            parts.contains(part) || stem(part) != part && sisters.contains(&stem(part))
        };
        let mut ignored = vec![];
        for name in self.dict.names().filter(|name| !self.used.contains(*name)) {
            let tensor = self.dict.tensor(name).expect("a tensor of that name");
            if is_part(name) {
                return Err(self.unexpected(name, "no layer of the network reads it"));
            }
            match judge(name, tensor, channels, self.head.is_some()) {
                Stray::Layer if !head => return Err(self.beside(&self.full(name), tensor, false)),
                _ => ignored.push(self.full(name)),
            }
        }
        for (name, tensor) in self.dict.beside() {
            match judge(name, tensor, channels, self.head.is_some()) {
                Stray::Layer if !head && !prefix => return Err(self.beside(name, tensor, true)),
                _ => ignored.push(name.into()),
            }
        }
        for (name, inner, _, shape) in self.dict.others() {
            if inner.is_some_and(is_part) {
                let (tensor, found) = (name.into(), shape.to_vec());
                let why = "no layer of the network reads it";
                return Err(ModelError::Unexpected { tensor, found, why, naming: self.naming });
            }
            ignored.push(name.into());
        }
        ignored.extend(self.dict.copies().iter().map(|copy| format!("{copy}* (the same network again)")));
        ignored.sort_unstable();
        Ok(Finished { assumed: self.conventions.finish(family)?, ignored })
    }

    /// The error for an unread tensor, with advice how to leave it out or name it as the head.
    fn beside(&self, name: &str, tensor: &Tensor, outside: bool) -> ModelError {
        let module = name.rsplit_once('.').map_or(name, |(module, _)| module);
        let prefix = self.dict.prefix().trim_end_matches('.');
        let advice = match &self.head {
            Some(_) if outside && !prefix.is_empty() => format!("prefix={prefix}"),
            Some(head) => format!("head={head}"),
            None => format!("head={module}"),
        };
        ModelError::Beside {
            tensor: name.into(),
            found: tensor.shape().to_vec(),
            naming: self.naming,
            advice,
        }
    }

    /// The first segments of the names that were read.
    fn parts(&self) -> BTreeSet<String> {
        let mut parts = BTreeSet::new();
        parts.extend(self.used.iter().map(|name| first(name).to_string()));
        parts
    }

    /// Names in the network whose first segment belongs to no tensor read so far.
    pub(in crate::models) fn unread(&self) -> impl Iterator<Item = &str> {
        let parts = self.parts();
        self.names().filter(move |name| !parts.contains(first(name)))
    }

    /// Moves tensors under a name outside the network into it.
    pub(in crate::models) fn adopt(&mut self, name: &str) {
        self.dict.adopt(name);
    }
}

/// A name up to its first dot.
fn first(name: &str) -> &str {
    name.split('.').next().unwrap_or(name)
}

/// The index and value of the first NaN or infinity. It is searched for only if a faster check finds that there is one.
pub(in crate::models) fn not_finite(tensor: &Tensor) -> Option<(usize, f64)> {
    let values = || tensor.range_f64(0..tensor.len()).enumerate();
    let found = any_not_finite(tensor).then(|| values().find(|(_, v)| !v.is_finite())).flatten();
    // The tensor is read again when the network is packed or written.
    tensor.release();
    found
}

/// Whether any value is NaN or infinite, that is, has all exponent bits set. Limited only by memory bandwidth.
fn any_not_finite(tensor: &Tensor) -> bool {
    fn any<const N: usize>(bytes: &[u8], high: u16) -> bool {
        // No early exit within a run, so that it vectorises.
        bytes.chunks(N * 4096).any(|run| {
            run.as_chunks::<N>().0.iter().fold(false, |bad, b| {
                let top = u16::from_le_bytes([b[N - 2], b[N - 1]]);
                bad | (top & high == high)
            })
        })
    }
    let bytes = tensor.bytes();
    match tensor.dtype() {
        Dtype::F16 => any::<2>(bytes, 0x7c00),
        Dtype::BF16 => any::<2>(bytes, 0x7f80),
        Dtype::F32 => any::<4>(bytes, 0x7f80),
        Dtype::F64 => any::<8>(bytes, 0x7ff0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;

    #[test]
    fn the_quick_look_agrees_with_is_finite() {
        let values = [0.0, -1.5, 60000.0, f64::NAN, f64::INFINITY, f64::NEG_INFINITY];
        for v in values {
            let encoded: [(Dtype, Vec<u8>); 4] = [
                (Dtype::F16, half::f16::from_f64(v).to_le_bytes().into()),
                (Dtype::BF16, half::bf16::from_f64(v).to_le_bytes().into()),
                (Dtype::F32, (v as f32).to_le_bytes().into()),
                (Dtype::F64, v.to_le_bytes().into()),
            ];
            for (dtype, one) in encoded {
                let mut bytes = vec![0u8; 9000 * one.len()];
                bytes.extend(&one);
                let len = bytes.len();
                let t = Tensor::from_owner(vec![9001], dtype, Arc::new(bytes), 0..len).unwrap();
                assert_eq!(not_finite(&t).is_some(), !v.is_finite(), "{dtype} {v}");
            }
        }
    }
}
