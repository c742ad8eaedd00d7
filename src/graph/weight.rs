//! Weights of a convolution, computed only when read.

use super::{BlockWeight, Conv2d};
use crate::tensor::Tensor;
use std::ops::Range;
use std::sync::Arc;

/// A stored convolution weight times a factor per output channel, from a folded batch norm.
///
/// Rows are computed in f64 whenever they are read. Folding a batch norm or multiplying blocks out therefore copies nothing, and
/// a checkpoint can stay memory-mapped until it is uploaded or written.
#[derive(Clone, Debug)]
pub struct Weight {
    shape: [usize; 4],
    source: WeightSource,
    row_scale: Option<Arc<[f64]>>,
}

#[derive(Clone, Debug)]
enum WeightSource {
    Tensor(Tensor),
    Flattened(Arc<Conv2d>),
    /// One tap of every kernel.
    Tap {
        weight: Arc<Weight>,
        tap: usize,
    },
    /// A block-diagonal kernel without its zero blocks.
    Grouped {
        weight: Arc<Weight>,
        groups: usize,
    },
    Selected {
        weight: Arc<Weight>,
        rows: Arc<[usize]>,
        inputs: Arc<[usize]>,
    },
}

impl Weight {
    /// The tensor unchanged, `[out, in / groups, height, width]`.
    ///
    /// # Panics
    /// When the tensor is not of rank 4.
    pub fn new(tensor: Tensor) -> Weight {
        let &[o, i, h, w] = tensor.shape() else {
            panic!("a convolution weight is OIHW, found {:?}", tensor.shape());
        };
        Weight { shape: [o, i, h, w], source: WeightSource::Tensor(tensor), row_scale: None }
    }

    /// All blocks of a convolution, including Dirac blocks and zeros, multiplied out into one kernel of `groups` groups.
    ///
    /// # Panics
    /// When a block reads an input channel outside the group of its output channel.
    pub fn flattened(conv: &Conv2d, groups: usize) -> Weight {
        let shape = [conv.out_channels, conv.in_channels / groups, conv.kernel[0], conv.kernel[1]];
        Weight { shape, source: WeightSource::Flattened(Arc::new(conv.clone())), row_scale: None }
    }

    /// The given output channels and inputs of a group, in the given order: `[rows.len(), inputs.len(), height, width]`.
    ///
    /// # Panics
    /// When an index is outside the weight.
    pub fn selected(&self, rows: &[usize], inputs: &[usize]) -> Weight {
        let [o, i, h, w] = self.shape;
        assert!(rows.iter().all(|r| *r < o) && inputs.iter().all(|c| *c < i), "a part of the weight");
        let source = WeightSource::Selected {
            weight: Arc::new(self.clone()),
            rows: rows.into(),
            inputs: inputs.into(),
        };
        Weight { shape: [rows.len(), inputs.len(), h, w], source, row_scale: None }
    }

    /// One tap of the window, counted row by row: `[out, in / groups, 1, 1]`.
    ///
    /// # Panics
    /// When the window has no such tap.
    pub fn at_tap(&self, tap: usize) -> Weight {
        let [o, i, h, w] = self.shape;
        assert!(tap < h * w, "a tap of the window");
        Weight {
            shape: [o, i, 1, 1],
            source: WeightSource::Tap { weight: Arc::new(self.clone()), tap },
            row_scale: None,
        }
    }

    /// A kernel of one group as a kernel of `groups` groups: each row keeps the inputs of its own group.
    ///
    /// # Panics
    /// When `groups` does not divide the number of rows or of inputs.
    pub fn grouped(&self, groups: usize) -> Weight {
        if groups == 1 {
            return self.clone();
        }
        let [o, i, h, w] = self.shape;
        assert!(o.is_multiple_of(groups) && i.is_multiple_of(groups), "{groups} groups of {o} x {i}");
        let source = WeightSource::Grouped { weight: Arc::new(self.clone()), groups };
        Weight { shape: [o, i / groups, h, w], source, row_scale: None }
    }

    /// The same weight with row `o` multiplied by `scale[o]`.
    ///
    /// # Panics
    /// When `scale` does not have one factor per output channel.
    pub fn scaled(&self, scale: &[f64]) -> Weight {
        assert_eq!(scale.len(), self.shape[0], "one factor per output channel");
        let row_scale = match &self.row_scale {
            None => scale.into(),
            Some(old) => old.iter().zip(scale).map(|(a, b)| a * b).collect(),
        };
        Weight { row_scale: Some(row_scale), ..self.clone() }
    }

    /// `[out, in / groups, height, width]`.
    pub fn shape(&self) -> [usize; 4] {
        self.shape
    }

    /// One output channel in f64: `[in / groups, height, width]`, row-major.
    pub fn row(&self, out: usize) -> Vec<f64> {
        let n: usize = self.shape[1..].iter().product();
        let mut row = match &self.source {
            WeightSource::Tensor(tensor) => tensor.range_f64(out * n..(out + 1) * n).collect(),
            WeightSource::Flattened(conv) => flat_row(conv, out, self.shape),
            WeightSource::Tap { weight, tap } => {
                let [_, _, h, w] = weight.shape;
                weight.row(out).into_iter().skip(*tap).step_by(h * w).collect()
            }
            WeightSource::Grouped { weight, groups } => {
                let group = out / (self.shape[0] / groups);
                weight.row(out)[group * n..(group + 1) * n].to_vec()
            }
            WeightSource::Selected { weight, rows, inputs } => {
                let row = weight.row(rows[out]);
                let taps = self.shape[2] * self.shape[3];
                inputs.iter().flat_map(|i| &row[i * taps..(i + 1) * taps]).copied().collect()
            }
        };
        if let Some(scale) = &self.row_scale {
            row.iter_mut().for_each(|v| *v *= scale[out]);
        }
        row
    }

    /// Output channels `rows` rounded once to f32, OIHW.
    pub fn rows_f32(&self, rows: Range<usize>) -> Vec<f32> {
        let n: usize = self.shape[1..].iter().product();
        let mut values = vec![0.0; rows.len() * n];
        for (row, to) in rows.zip(values.chunks_exact_mut(n.max(1))) {
            match &self.source {
                WeightSource::Tensor(tensor) => {
                    let scale = self.row_scale.as_ref().map_or(1.0, |s| s[row]);
                    tensor.scaled_f32(row * n..(row + 1) * n, scale, to);
                }
                _ => {
                    to.iter_mut().zip(self.row(row)).for_each(|(to, v)| *to = v as f32);
                }
            }
        }
        values
    }

    /// Passes every output channel, rounded once to f32, to `then` until one fails; then releases the source tensors.
    pub(crate) fn each_row_f32<E>(&self, then: impl FnMut(Vec<f32>) -> Result<(), E>) -> Result<(), E> {
        let result = (0..self.shape[0]).map(|o| self.rows_f32(o..o + 1)).try_for_each(then);
        self.release();
        result
    }

    /// Hints that the source tensors will not be read soon: see [`Bytes::release`](crate::tensor::Bytes::release).
    pub(crate) fn release(&self) {
        match &self.source {
            WeightSource::Tensor(tensor) => tensor.release(),
            WeightSource::Flattened(conv) => conv.blocks.iter().for_each(|b| match &b.weight {
                BlockWeight::Pointwise(weight) | BlockWeight::Dense { weight, .. } => weight.release(),
                BlockWeight::Dirac | BlockWeight::Diagonal(_) | BlockWeight::AvgPool2x2 => (),
            }),
            WeightSource::Tap { weight, .. }
            | WeightSource::Grouped { weight, .. }
            | WeightSource::Selected { weight, .. } => {
                weight.release();
            }
        }
    }

    /// Calls `see` with every tensor that the weight is computed from.
    pub(super) fn stored(&self, see: &mut impl FnMut(&Tensor)) {
        match &self.source {
            WeightSource::Tensor(tensor) => see(tensor),
            WeightSource::Flattened(conv) => conv.stored(see),
            WeightSource::Tap { weight, .. }
            | WeightSource::Grouped { weight, .. }
            | WeightSource::Selected { weight, .. } => {
                weight.stored(see);
            }
        }
    }

    /// All rows in f64, OIHW.
    pub fn to_f64(&self) -> Vec<f64> {
        (0..self.shape[0]).flat_map(|o| self.row(o)).collect()
    }
}

impl Conv2d {
    /// Calls `see` with every tensor that the convolution's weight is computed from.
    pub(super) fn stored(&self, see: &mut impl FnMut(&Tensor)) {
        for block in &self.blocks {
            if let BlockWeight::Pointwise(weight) | BlockWeight::Dense { weight, .. } = &block.weight {
                weight.stored(see);
            }
        }
    }
}

/// Row `out` of a convolution's blocks as one kernel over the group's input channels: the sum of all blocks.
fn flat_row(conv: &Conv2d, out: usize, [rows, cols, kh, kw]: [usize; 4]) -> Vec<f64> {
    let taps = kh * kw;
    let groups = conv.in_channels / cols;
    let first = out / (rows / groups) * cols;
    let centre = conv.centre().map_or(0, |[y, x]| y * kw + x);
    let mut flat = vec![0.0; cols * taps];
    for block in conv.blocks.iter().filter(|b| b.out.contains(&out)) {
        let r = out - block.out.start;
        match &block.weight {
            BlockWeight::Dirac => flat[(block.input.start + r - first) * taps + centre] += 1.0,
            BlockWeight::Diagonal(scale) => {
                flat[(block.input.start + r - first) * taps + centre] += scale[r];
            }
            BlockWeight::AvgPool2x2 => {
                // Rows 2y and 2y + 1 are the centre and the tap after it.
                for tap in [centre, centre + 1, centre + kw, centre + kw + 1] {
                    flat[(block.input.start + r - first) * taps + tap] += 0.25;
                }
            }
            BlockWeight::Pointwise(w) => {
                for (c, v) in w.row(r).into_iter().enumerate() {
                    flat[(block.input.start + c - first) * taps + centre] += v;
                }
            }
            BlockWeight::Dense { weight, groups } => {
                let width = block.input.len() / groups;
                let start = block.input.start + r / (block.out.len() / groups) * width - first;
                for (f, v) in flat[start * taps..].iter_mut().zip(weight.row(r)) {
                    *f += v;
                }
            }
        }
    }
    flat
}
