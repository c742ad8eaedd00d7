//! Which rows and columns of an operand's view the invocations of a register tile ask for, and which of them lie outside.

use super::super::layout::RangeLayout;
use super::super::prelude::{Reach, ShaderSource};
use super::super::spec::{ConvSpec, KRange};
use std::collections::BTreeMap;

/// The conv pixels of an invocation: a row of them, `apart` columns from one another, from column `x` of row `y` on.
pub(super) struct ConvPixels {
    pub(super) pixels: usize,
    pub(super) apart: usize,
    /// Least and largest value of `x`.
    pub(super) x: [isize; 2],
    /// Least and largest value of `y`.
    pub(super) y: [isize; 2],
}

/// An input column, by its distance from the first of a tap's row.
#[derive(Clone, Copy, Default)]
struct Column {
    /// Some pixel reads it, and it is inside for some invocation.
    read: bool,
    /// It counts as zero where it lies outside.
    masked: bool,
    /// The last column stands for it where it lies outside.
    clamped: bool,
}

impl ConvPixels {
    /// The rows of a K range: those of outputs that are stored are masked; others only must not be read out of bounds.
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
        // By distance from the first: only those that some pixel and tap read, since a stride or a dilation leaves most out.
        let mut columns: BTreeMap<usize, Column> = BTreeMap::new();
        let mut read = vec![];
        for p in 0..self.pixels {
            for k in 0..taps {
                let j = p * self.apart * range.stride[1] + k * range.dilation[1];
                read.push(j);
                let offset = j as isize - pad;
                let (low, high) = (self.x[0] * stride + offset, self.x[1] * stride + offset + reach);
                // The same one for every invocation.
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
        // Distance of the first column from the beginning of an octet, the same for every invocation.
        let phase = (self.x[0] * stride - pad).rem_euclid(8) as usize;
        s.constant(format!("R{r}_PHASE"), phase);
        s.constant(format!("R{r}_OCTETS"), if octets { octets_to(&offsets, phase) } else { 0 });
    }
}

/// Octets that hold every column, the first of which lies so far from the beginning of one.
fn octets_to(offsets: &[usize], phase: usize) -> usize {
    offsets.last().map_or(0, |last| (last + 1 + phase).div_ceil(8))
}
