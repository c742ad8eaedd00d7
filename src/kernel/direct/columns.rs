//! Which rows and columns of an operand's view a register tile reads, and which of them may lie outside.

use super::super::layout::RangeLayout;
use super::super::prelude::{Reach, ShaderSource};
use super::super::spec::{ConvSpec, KRange};
use std::collections::BTreeMap;

/// The conv pixels of one invocation: `pixels` of them in row `y`, at columns `x`, `x + apart`, `x + 2 * apart`, ..
pub(super) struct ConvPixels {
    pub(super) pixels: usize,
    pub(super) apart: usize,
    /// Least and largest value of `x`.
    pub(super) x: [isize; 2],
    /// Least and largest value of `y`.
    pub(super) y: [isize; 2],
}

/// An input column, identified by its offset from the first column of a tap's row.
#[derive(Clone, Copy, Default)]
struct Column {
    /// Some pixel reads it, and it lies inside the view for some invocation.
    read: bool,
    /// Reads as zero where it lies outside.
    masked: bool,
    /// Clamped to the last column where it lies outside.
    clamped: bool,
}

impl ConvPixels {
    /// Bounds handling of the rows of a K range. Rows read for stored outputs are masked; rows read for discarded ones are only clamped
    /// into bounds.
    pub(super) fn rows(&self, spec: &ConvSpec, range: &KRange) -> Reach {
        let [height, _] = range.from.size();
        let (stride, pad) = (range.stride[0] as isize, range.padding[0] as isize);
        let reach = ((range.kernel[0] - 1) * range.dilation[0]) as isize;
        let last = |y: isize| y * stride + reach - pad;
        let clamp = self.y[0] * stride - pad < 0 || last(self.y[1]) >= height as isize;
        let mask = pad > 0 || last(spec.size[0] as isize - 1) >= height as isize;
        Reach { mask: [mask, false], clamp: [clamp, false] }
    }

    /// The constants of the columns of K range `r`.
    pub(super) fn columns(
        &self,
        s: &mut ShaderSource,
        spec: &ConvSpec,
        r: usize,
        range: &KRange,
        layout: &RangeLayout,
        octets: bool,
    ) {
        let [_, width] = range.from.size();
        let (stride, pad) = (range.stride[1] as isize, range.padding[1] as isize);
        let whole = ((range.kernel[1] - 1) * range.dilation[1]) as isize;
        let (taps, reach) = if layout.unroll_x { (range.kernel[1], 0) } else { (1, whole) };
        let last = (spec.size[1] as isize - 1) * stride - pad + whole;
        // Keyed by offset; only columns that some pixel and tap read, as strides and dilations skip many.
        let mut columns: BTreeMap<usize, Column> = BTreeMap::new();
        let mut read = vec![];
        for p in 0..self.pixels {
            for k in 0..taps {
                let j = p * self.apart * range.stride[1] + k * range.dilation[1];
                read.push(j);
                let offset = j as isize - pad;
                let (low, high) = (self.x[0] * stride + offset, self.x[1] * stride + offset + reach);
                // Every invocation reads the same column.
                let single = low == high;
                let column = Column {
                    read: !single || (0..width as isize).contains(&low),
                    masked: !single
                        && (pad > 0 && low < 0 || high >= width as isize && last >= width as isize),
                    clamped: !single && (low < 0 || high >= width as isize),
                };
                columns.insert(j, column);
            }
        }
        let offsets: Vec<usize> = columns.keys().copied().collect();
        let position = |j: &usize| offsets.binary_search(j).unwrap_or(0);
        s.constant(format!("R{r}_OFFSETS"), offsets.clone());
        s.constant(format!("R{r}_COLUMN"), read.iter().map(position).collect::<Vec<usize>>());
        let list = |of: fn(&Column) -> bool| columns.values().map(of).collect::<Vec<bool>>();
        s.constant(format!("R{r}_COLUMNS"), columns.len());
        s.constant(format!("R{r}_READS"), list(|c| c.read));
        s.constant(format!("R{r}_MASKS"), list(|c| c.masked));
        s.constant(format!("R{r}_CLAMPS"), list(|c| c.clamped));
        s.constant(format!("R{r}_TAPS"), taps);
        s.constant(format!("R{r}_STEPS_X"), range.kernel[1] / taps);
        // Offset of the first column within an octet, the same for every invocation.
        let phase = (self.x[0] * stride - pad).rem_euclid(8) as usize;
        s.constant(format!("R{r}_PHASE"), phase);
        s.constant(format!("R{r}_OCTETS"), if octets { octets_to(&offsets, phase) } else { 0 });
    }
}

/// Number of octets that cover all columns, where the first column is at offset `phase` of an octet.
fn octets_to(offsets: &[usize], phase: usize) -> usize {
    offsets.last().map_or(0, |last| (last + 1 + phase).div_ceil(8))
}
