//! Trials of kernels: random data for one dispatch, and what a kernel must make of it.
//!
//! [`TrialData`] holds the buffers and parameters of a [`Spec`]; [`check_samples`] compares what a kernel wrote with plain loops in f64,
//! within the kernel's own rounding bound. The self-test of a GPU and the tests of kernels use both.

mod oracle;

pub use oracle::{check_sample, check_samples};

use crate::kernel::{BufferShape, ConvParameters, ConvSpec, Kernel, Operand, Precision, Spec};

/// Buffers and parameters of one dispatch, as f32 values that its precision can store.
#[derive(Clone, Debug)]
pub struct TrialData {
    /// The buffers read, in their layouts.
    pub reads: Vec<Vec<f32>>,
    /// The written buffers before the dispatch: NaN, padded lanes included, or values where the dispatch adds in place.
    pub writes: Vec<Vec<f32>>,
    /// Per K range, dense `[out_channels, channels / groups, kernel_h, kernel_w]`.
    pub weights: Vec<Vec<f32>>,
    /// One per output channel.
    pub bias: Vec<f32>,
    /// One per output channel if the activation has slopes; else empty.
    pub slopes: Vec<f32>,
    /// Per K range, scales and shifts of its prologue.
    pub prologues: Vec<Option<(Vec<f32>, Vec<f32>)>>,
}

impl TrialData {
    /// Pseudorandom values in -1..1, the same for the same seed.
    pub fn new(spec: &Spec, seed: u64) -> TrialData {
        let mut next = noise(seed + 1);
        let (mut weights, mut bias, mut slopes, mut prologues) = (vec![], vec![], vec![], vec![]);
        if let Spec::Conv(conv) = spec {
            for range in &conv.k_ranges {
                let depth = range.from.channels / range.groups;
                let len = conv.out_channels * depth * range.kernel[0] * range.kernel[1];
                weights.push((0..len).map(|_| next()).collect());
            }
            bias = (0..conv.out_channels).map(|_| next()).collect();
            for range in &conv.k_ranges {
                let mut values = || (0..range.from.channels).map(|_| next()).collect();
                prologues.push(range.prologue.map(|_| (values(), values())));
            }
            if conv.has_slopes() {
                slopes = (0..conv.out_channels).map(|_| next()).collect();
            }
        }
        let (reads, writes) = buffers(spec, &mut next);
        let precision = spec.precision();
        weights.iter_mut().for_each(|w: &mut Vec<f32>| precision.store(w));
        TrialData { reads, writes, weights, bias, slopes, prologues }
    }

    /// Other content for the buffers read and written: [`TrialData::reads`] and [`TrialData::writes`] of another seed.
    pub fn buffers(spec: &Spec, seed: u64) -> (Vec<Vec<f32>>, Vec<Vec<f32>>) {
        buffers(spec, &mut noise(seed + 1))
    }

    /// The parameters in a kernel's order.
    ///
    /// # Panics
    /// Where the kernel is not of the spec that the data is for.
    pub fn pack(&self, kernel: &Kernel, spec: &ConvSpec) -> Vec<u32> {
        let k_ranges: Vec<&[f32]> = self.weights.iter().map(|w| &w[..]).collect();
        let (bias, slopes, prologues) = (&self.bias[..], &self.slopes[..], &self.prologues[..]);
        kernel.pack(spec, &ConvParameters { k_ranges: &k_ranges, bias, slopes, prologues })
    }

    /// The words of the buffers read and of those written, as they are on the device: f32, or pairs of f16.
    pub fn encoded(&self, spec: &Spec) -> [Vec<Vec<u32>>; 2] {
        let operands = read_operands(spec);
        let of_read = |i: usize| {
            let read = operands.iter().find(|o| o.buffer == i);
            read.map_or(Precision::F32, |o| o.shape.precision)
        };
        let reads = self.reads.iter().enumerate().map(|(i, values)| encoded(of_read(i), values));
        let shapes = spec.outputs();
        let writes = self.writes.iter().zip(shapes).map(|(values, shape)| encoded(shape.precision, values));
        [reads.collect(), writes.collect()]
    }
}

/// The operands that have buffers of their own: in-place adds read the output.
fn read_operands(spec: &Spec) -> Vec<&Operand> {
    let mut operands = spec.operands();
    if let Spec::Conv(conv) = spec {
        operands.drain(conv.k_ranges.len()..conv.k_ranges.len() + conv.in_place);
    }
    operands
}

/// The content of the buffers read and written.
fn buffers(spec: &Spec, next: &mut impl FnMut() -> f32) -> (Vec<Vec<f32>>, Vec<Vec<f32>>) {
    let operands = read_operands(spec);
    let count = operands.iter().map(|o| o.buffer + 1).max().unwrap_or(0);
    let mut reads = vec![vec![]; count];
    let mut stored = |shape: &BufferShape| {
        let mut values = fill(shape, &mut *next);
        shape.precision.store(&mut values);
        values
    };
    for operand in operands {
        if reads[operand.buffer].is_empty() {
            reads[operand.buffer] = stored(&operand.shape);
        }
    }
    let in_place = matches!(spec, Spec::Conv(conv) if conv.in_place > 0);
    let written =
        |shape: &BufferShape| if in_place { stored(shape) } else { vec![f32::NAN; shape.elements()] };
    let writes = spec.outputs().iter().map(written).collect();
    (reads, writes)
}

/// Values as the words of a buffer of that precision.
pub(crate) fn encoded(precision: Precision, values: &[f32]) -> Vec<u32> {
    match precision {
        Precision::F32 => values.iter().map(|v| v.to_bits()).collect(),
        Precision::F16 => {
            let bits = |v: f32| u32::from(half::f16::from_f32(v).to_bits());
            let pair = |v: &[f32]| bits(v[0]) | v.get(1).map_or(0, |v| bits(*v)) << 16;
            values.chunks(2).map(pair).collect()
        }
    }
}

/// The values that the words of the written buffers encode.
pub fn decoded(spec: &Spec, written: Vec<Vec<u32>>) -> Vec<Vec<f32>> {
    let half = |bits: u32| half::f16::from_bits(bits as u16).to_f32();
    let values = |(words, shape): (Vec<u32>, BufferShape)| match shape.precision {
        Precision::F32 => words.into_iter().map(f32::from_bits).collect(),
        Precision::F16 => words.into_iter().flat_map(|w| [half(w & 0xffff), half(w >> 16)]).collect(),
    };
    written.into_iter().zip(spec.outputs()).map(values).collect()
}

/// Pseudorandom values in -1..1 (xorshift64).
fn noise(seed: u64) -> impl FnMut() -> f32 {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    move || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 40) as f32 / (1u32 << 23) as f32 - 1.0
    }
}

/// A buffer's values; padded lanes are zero.
pub(crate) fn fill(shape: &BufferShape, mut next: impl FnMut() -> f32) -> Vec<f32> {
    let mut values = vec![0.0; shape.elements()];
    for n in 0..shape.batch {
        for c in 0..shape.channels {
            for y in 0..shape.height {
                for x in 0..shape.width {
                    values[shape.index(n, c, y, x)] = next();
                }
            }
        }
    }
    values
}
