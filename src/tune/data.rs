//! Test data for the kernels of a convolution, and the bound within which two correct results may differ.

use crate::kernel::{ConvParameters, ConvSpec, Function, Kernel, Precision};
use crate::trial::{encoded, fill};

/// Half an ulp of 1 in f32.
const HALF_ULP: f64 = 1.0 / (1u64 << 24) as f64;

/// Buffers and weights for one convolution. Operands, adds, gates, the sum of scale and shift, and slopes have magnitudes of at
/// most 1.
pub(super) struct Data {
    /// Words of the buffers read.
    pub(super) reads: Vec<Vec<u32>>,
    /// Initial content of the written buffers: NaN, which reveals elements not written, or values for in-place adds.
    pub(super) writes: Vec<Vec<u32>>,
    weights: Vec<Vec<f32>>,
    bias: Vec<f32>,
    slopes: Vec<f32>,
    prologues: Vec<Option<(Vec<f32>, Vec<f32>)>>,
}

impl Data {
    pub(super) fn new(spec: &ConvSpec) -> Data {
        let mut next = noise();
        let (adds, ranges) = (&spec.adds, &spec.k_ranges);
        let mut operands: Vec<_> = ranges.iter().map(|r| &r.from).collect();
        operands.extend(adds[spec.in_place..].iter().map(|a| &a.from));
        operands.extend(adds.iter().filter_map(|a| a.gate.as_ref()));
        let count = operands.iter().map(|o| o.buffer + 1).max().unwrap_or(0);
        let mut reads = vec![vec![]; count];
        for o in operands {
            if reads[o.buffer].is_empty() {
                // Magnitudes of at least 0.5, so that the bound, which assumes magnitude 1, is at most twice too wide.
                let values = fill(&o.shape, || {
                    let v = next();
                    (0.5 + 0.5 * v.abs()).copysign(v)
                });
                reads[o.buffer] = encoded(o.shape.precision, &values);
            }
        }
        let writes = spec.outputs.iter().map(|o| {
            let before = match spec.in_place {
                0 => vec![f32::NAN; o.shape.elements()],
                _ => fill(&o.shape, &mut next),
            };
            encoded(o.shape.precision, &before)
        });
        let writes = writes.collect();
        let (terms, precision) = (terms(spec), spec.precision());
        let weight = |len: usize, next: &mut dyn FnMut() -> f32| -> Vec<f32> {
            // Scaled for sums of about unit variance, so that every part of an activation is reached. Rounded to storable values,
            // so that no kernel rounds them again.
            (0..len).map(|_| precision.stored(next() * 2.0 / (terms as f32).sqrt())).collect()
        };
        let weights = ranges.iter().map(|r| weight(spec.out_channels * per_channel(r), &mut next)).collect();
        let mut values = |len: usize, scale: f32| (0..len).map(|_| scale * next()).collect::<Vec<f32>>();
        let bias = values(spec.out_channels, 1.0);
        let prologues = ranges
            .iter()
            .map(|r| r.prologue.map(|_| (values(r.from.channels, 0.5), values(r.from.channels, 0.5))))
            .collect();
        let slopes = if spec.has_slopes() { values(spec.out_channels, 1.0) } else { vec![] };
        Data { reads, writes, weights, bias, slopes, prologues }
    }

    pub(super) fn pack(&self, kernel: &Kernel, spec: &ConvSpec) -> Vec<u32> {
        let k_ranges: Vec<&[f32]> = self.weights.iter().map(Vec::as_slice).collect();
        let (bias, slopes, prologues) = (&self.bias[..], &self.slopes[..], &self.prologues[..]);
        kernel.pack(spec, &ConvParameters { k_ranges: &k_ranges, bias, slopes, prologues })
    }

    /// Per output channel, how far a correct sum may be from the exact one: `(K + 2) * 2^-24 * sum |w||x|`, with five more
    /// roundings for operands with a prologue or average pooling. Activations do not widen it, except for the rounding of a
    /// sigmoid.
    pub(super) fn bounds(&self, spec: &ConvSpec) -> Vec<f64> {
        let roundings = (terms(spec) + 2 + 5) as f64;
        (0..spec.out_channels)
            .map(|c| {
                let weights = spec.k_ranges.iter().zip(&self.weights).flat_map(|(range, w)| {
                    let len = per_channel(range);
                    &w[c * len..][..len]
                });
                let sum: f64 = weights.map(|w| f64::from(w.abs())).sum();
                let sum = sum + f64::from(self.bias[c].abs()) + spec.adds.len() as f64;
                let bound = roundings * HALF_ULP * sum;
                match spec.activation.iter().find(|(range, _)| range.contains(&c)) {
                    // WGSL gives exp up to (3 + 2 |x|) ulp and a quotient up to 2.5 ulp; the slope is at most 1/4.
                    Some((_, Function::Sigmoid)) => {
                        bound / 4.0 + 2.0 * HALF_ULP * (0.25 * (3.0 + 2.0 * sum) + 4.0)
                    }
                    _ => bound,
                }
            })
            .collect()
    }
}

/// The values that the words of the written buffers encode.
pub(super) fn values(spec: &ConvSpec, words: &[Vec<u32>]) -> Vec<Vec<f32>> {
    let half = |bits: u32| half::f16::from_bits(bits as u16).to_f32();
    let of = |words: &[u32], precision| match precision {
        Precision::F32 => words.iter().map(|w| f32::from_bits(*w)).collect(),
        Precision::F16 => words.iter().flat_map(|w| [half(w & 0xffff), half(w >> 16)]).collect(),
    };
    spec.outputs.iter().zip(words).map(|(o, w)| of(w, o.shape.precision)).collect()
}

/// Compares the written channels element by element and reports the first difference. `expected` must be finite. `factor` is the
/// sum of both kernels' rounding bounds, relative to the bound of a plain sum.
pub(super) fn compare(
    spec: &ConvSpec,
    bounds: &[f64],
    factor: f64,
    expected: &[Vec<f32>],
    found: &[Vec<f32>],
) -> Result<(), String> {
    for ((output, expected), found) in spec.outputs.iter().zip(expected).zip(found) {
        let s = &output.shape;
        for n in 0..s.batch {
            for (i, c) in output.channels.clone().enumerate() {
                for pixel in 0..s.height * s.width {
                    let at = s.index(n, output.first_channel + i, pixel / s.width, pixel % s.width);
                    let (e, f) = (f64::from(expected[at]), f64::from(found[at]));
                    // Both results may be off by the bound, and each was rounded when it was stored. A NaN is never within it.
                    let bound = factor * bounds[c];
                    let off = bound + 2.0 * s.precision.rounding(e.abs() + bound);
                    let within = (e - f).abs() <= off;
                    if !within {
                        let (y, x) = (pixel / s.width, pixel % s.width);
                        return Err(format!(
                            "image {n}, channel {c}, row {y}, column {x}: expected {e} within {off:.1e}, found {f}"
                        ));
                    }
                }
            }
        }
    }
    Ok(())
}

/// Number of terms of the longest sum.
pub(super) fn terms(spec: &ConvSpec) -> usize {
    1 + spec.adds.len() + spec.k_ranges.iter().map(per_channel).sum::<usize>()
}

/// Number of weights of one output channel.
fn per_channel(range: &crate::kernel::KRange) -> usize {
    range.from.channels / range.groups * range.kernel[0] * range.kernel[1]
}

/// Pseudorandom values in -1..1, the same every time (SplitMix64).
fn noise() -> impl FnMut() -> f32 {
    let mut state = 1u64;
    move || {
        state = state.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = state;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        ((z ^ (z >> 31)) >> 40) as f32 / (1u32 << 23) as f32 - 1.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernel::{BufferShape, KRange, Layout, Operand, Output, Precision};

    fn spec(function: Function) -> ConvSpec {
        let shape = BufferShape {
            batch: 2,
            channels: 6,
            height: 3,
            width: 2,
            layout: Layout::Packed,
            precision: Precision::F32,
        };
        let from =
            Operand { buffer: 0, shape, first_channel: 0, channels: 6, stride: 1, avg_pool_2x2: false };
        let range = KRange {
            from,
            prologue: None,
            kernel: [1, 1],
            stride: [1, 1],
            padding: [0, 0],
            padding_end: [0, 0],
            dilation: [1, 1],
            groups: 1,
        };
        ConvSpec {
            k_ranges: vec![range],
            adds: vec![],
            in_place: 0,
            out_channels: 6,
            size: [3, 2],
            activation: vec![(0..6, function)],
            pool: None,
            outputs: vec![Output { channels: 0..6, shape, first_channel: 0 }],
        }
    }

    /// The sum in f32 and in f64.
    fn answers(spec: &ConvSpec, data: &Data) -> [Vec<f32>; 2] {
        let shape = spec.outputs[0].shape;
        let mut answers = [vec![0.0f32; shape.elements()], vec![0.0f32; shape.elements()]];
        for (n, c, pixel) in (0..2).flat_map(|n| (0..6).flat_map(move |c| (0..6).map(move |p| (n, c, p)))) {
            let (mut narrow, mut wide) = (data.bias[c], f64::from(data.bias[c]));
            for i in 0..6 {
                let x = f32::from_bits(data.reads[0][shape.index(n, i, pixel / 2, pixel % 2)]);
                narrow += data.weights[0][c * 6 + i] * x;
                wide += f64::from(data.weights[0][c * 6 + i]) * f64::from(x);
            }
            let at = shape.index(n, c, pixel / 2, pixel % 2);
            answers[0][at] = narrow;
            answers[1][at] = wide as f32;
        }
        answers
    }

    #[test]
    fn right_answers_pass_and_wrong_ones_do_not() {
        let spec = spec(Function::Identity);
        let data = Data::new(&spec);
        let bounds = data.bounds(&spec);
        let [narrow, wide] = answers(&spec, &data).map(|a| vec![a]);
        assert_eq!(compare(&spec, &bounds, 2.0, &narrow, &wide), Ok(()));
        let shape = spec.outputs[0].shape;
        let at = shape.index(1, 5, 2, 0);
        for value in [narrow[0][at] + 3.0 * bounds[5] as f32, f32::NAN, f32::INFINITY] {
            let mut wrong = narrow.clone();
            wrong[0][at] = value;
            let message = compare(&spec, &bounds, 2.0, &narrow, &wrong).unwrap_err();
            assert!(message.contains("image 1, channel 5, row 2, column 0"), "{message}");
        }
        // Padded lanes are not compared.
        let mut padded = narrow.clone();
        padded[0][shape.index(0, 4, 0, 0) + 2] = f32::NAN;
        assert_eq!(compare(&spec, &bounds, 2.0, &narrow, &padded), Ok(()));
    }

    #[test]
    fn bounds_are_small_against_the_values() {
        for function in [Function::Relu, Function::Relu6, Function::PRelu, Function::Sigmoid] {
            let spec = spec(function);
            let data = Data::new(&spec);
            assert_eq!(data.slopes.len(), if function == Function::PRelu { 6 } else { 0 });
            assert!(data.bounds(&spec).iter().all(|b| *b > 0.0 && *b < 1e-5), "{function}");
            let [narrow, _] = answers(&spec, &data);
            let size = narrow.iter().map(|v| v.abs()).sum::<f32>() / narrow.len() as f32;
            assert!(size > 0.1, "{function}: {size}");
        }
    }
}
