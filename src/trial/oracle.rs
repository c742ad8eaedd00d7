//! What a dispatch must give: plain loops in f64, with a bound on the rounding of a kernel that computes in f32 and stores in
//! the precision of its buffers.

use super::TrialData;
use crate::graph::MaxPool;
use crate::kernel::{BufferShape, ConvSpec, Function, KRange, Layout, Operand, Rounding, Spec};

/// A value and how far from it an f32 result may be.
type Bounded = (f64, f64);

const ULP: f64 = 1.0 / (1u64 << 24) as f64;

fn read(from: &Operand, data: &[f32], n: usize, c: usize, y: isize, x: isize) -> f64 {
    seen(from, data, n, c, y, x, |v| (v, 0.0)).0
}

/// An element of a view, zero outside: the mapped elements of the buffer that it is the mean of. With the rounding of each.
fn seen(
    from: &Operand,
    data: &[f32],
    n: usize,
    c: usize,
    y: isize,
    x: isize,
    map: impl Fn(f64) -> Bounded,
) -> Bounded {
    let [height, width] = from.size();
    if y < 0 || x < 0 || y >= height as isize || x >= width as isize {
        return (0.0, 0.0);
    }
    let at = |y: usize, x: usize| map(f64::from(data[from.shape.index(n, from.first_channel + c, y, x)]));
    let (y, x) = (y as usize, x as usize);
    if !from.avg_pool_2x2 {
        return at(y * from.stride, x * from.stride);
    }
    let rows = 2 * y..(2 * y + 2).min(from.shape.height);
    let window: Vec<Bounded> = rows
        .flat_map(|y| (2 * x..(2 * x + 2).min(from.shape.width)).map(move |x| (y, x)))
        .map(|(y, x)| at(y, x))
        .collect();
    let count = window.len() as f64;
    let sum = window.iter().fold((0.0, 0.0), |s, v| (s.0 + v.0, s.1 + v.1));
    // Three additions and a product.
    let magnitude: f64 = window.iter().map(|v| v.0.abs()).sum();
    (sum.0 / count, (sum.1 + 4.0 * ULP * magnitude) / count)
}

/// The function, and the rounding of what it gives for an argument known up to `bound`.
fn apply(function: Function, slope: f64, x: f64, bound: f64) -> Bounded {
    match function {
        Function::Identity => (x, bound),
        Function::Relu => (x.max(0.0), bound),
        Function::Relu6 => (x.clamp(0.0, 6.0), bound),
        Function::PRelu if x < 0.0 => (slope * x, bound * slope.abs().max(1.0) + (slope * x).abs() * ULP),
        Function::PRelu => (x, bound * slope.abs().max(1.0)),
        // WGSL gives exp up to (3 + 2 |x|) ulp and a quotient up to 2.5 ulp; the slope of the function is at most 1/4.
        Function::Sigmoid => {
            (1.0 / (1.0 + (-x).exp()), bound / 4.0 + 2.0 * ULP * (0.25 * (3.0 + 2.0 * x.abs()) + 4.0))
        }
    }
}

/// The largest magnitude of a channel within `reach` rows and columns of the centre of the window of an output element.
fn largest(range: &KRange, data: &TrialData, reach: usize, [n, channel, y, x]: [usize; 4]) -> f64 {
    let centre = |axis: usize, at: usize| {
        let middle = range.kernel[axis] / 2 * range.dilation[axis];
        (at * range.stride[axis] + middle) as isize - range.padding[axis] as isize
    };
    let (y, x, reach) = (centre(0, y), centre(1, x), reach as isize);
    let input = &data.reads[range.from.buffer];
    let near = |at: isize| at - reach..=at + reach;
    let rows = near(y).flat_map(|y| near(x).map(move |x| (y, x)));
    rows.map(|(y, x)| read(&range.from, input, n, channel, y, x).abs()).fold(0.0, f64::max)
}

fn conv_at(
    spec: &ConvSpec,
    data: &TrialData,
    kernel: Rounding,
    n: usize,
    c: usize,
    y: usize,
    x: usize,
) -> Bounded {
    let (mut sum, mut size, mut terms) = (f64::from(data.bias[c]), f64::from(data.bias[c]).abs(), 1);
    let mut rounding = 0.0;
    for (r, (range, weight)) in spec.k_ranges.iter().zip(&data.weights).enumerate() {
        let inputs = range.from.channels / range.groups;
        let group = c / (spec.out_channels / range.groups);
        let [height, width] = range.kernel;
        for i in 0..inputs {
            let near = kernel.reach.map(|reach| largest(range, data, reach, [n, group * inputs + i, y, x]));
            for ky in 0..height {
                for kx in 0..width {
                    let in_y =
                        (y * range.stride[0] + ky * range.dilation[0]) as isize - range.padding[0] as isize;
                    let in_x =
                        (x * range.stride[1] + kx * range.dilation[1]) as isize - range.padding[1] as isize;
                    let input = &data.reads[range.from.buffer];
                    let channel = group * inputs + i;
                    let map = |v: f64| match (range.prologue, &data.prologues[r]) {
                        (Some(function), Some((scale, shift))) => {
                            let (scale, shift) = (f64::from(scale[channel]), f64::from(shift[channel]));
                            let size = (v * scale).abs() + shift.abs();
                            apply(function, 0.0, v * scale + shift, 3.0 * ULP * size)
                        }
                        _ => (v, 0.0),
                    };
                    let (v, error) = seen(&range.from, input, n, channel, in_y, in_x, map);
                    let w = f64::from(weight[((c * inputs + i) * height + ky) * width + kx]);
                    sum += v * w;
                    size += near.unwrap_or(v.abs()) * w.abs();
                    rounding += error * w.abs();
                    terms += 1;
                }
            }
        }
    }
    for (i, add) in spec.adds.iter().enumerate() {
        if (add.first_out..add.first_out + add.from.channels).contains(&c) {
            let buffer = if i < spec.in_place { &data.writes[0] } else { &data.reads[add.from.buffer] };
            let mut v = read(&add.from, buffer, n, c - add.first_out, y as isize, x as isize);
            if let Some(gate) = &add.gate {
                v *= read(gate, &data.reads[gate.buffer], n, c - add.first_out, 0, 0);
            }
            sum += v;
            size += v.abs();
            terms += 1;
        }
    }
    let (_, activation) = spec.activation.iter().find(|(r, _)| r.contains(&c)).expect("a partition");
    let bound = kernel.of(terms) * ULP * size + rounding + sum.abs() * ULP;
    let slope = if spec.has_slopes() { f64::from(data.slopes[c]) } else { 0.0 };
    apply(*activation, slope, sum, bound)
}

fn pool_at(
    pool: &MaxPool,
    size: [usize; 2],
    y: usize,
    x: usize,
    value: impl Fn(usize, usize) -> Bounded,
) -> Bounded {
    let mut best = (f64::NEG_INFINITY, 0.0f64);
    for ky in 0..pool.kernel[0] {
        for kx in 0..pool.kernel[1] {
            let (Some(y), Some(x)) = (
                (y * pool.stride[0] + ky).checked_sub(pool.padding[0]),
                (x * pool.stride[1] + kx).checked_sub(pool.padding[1]),
            ) else {
                continue;
            };
            if y < size[0] && x < size[1] {
                let (v, bound) = value(y, x);
                best = (best.0.max(v), best.1.max(bound));
            }
        }
    }
    best
}

/// Of all values of a map: their own bounds, and the roundings of adding them up and dividing.
fn mean([height, width]: [usize; 2], value: impl Fn(usize, usize) -> Bounded) -> Bounded {
    let (mut sum, mut size, mut bounds) = (0.0, 0.0, 0.0);
    for (y, x) in (0..height).flat_map(|y| (0..width).map(move |x| (y, x))) {
        let (v, bound) = value(y, x);
        sum += v;
        size += v.abs() + bound;
        bounds += bound;
    }
    let count = (height * width) as f64;
    (sum / count, ((count + 4.0) * ULP * size + bounds) / count)
}

/// Compares one element of `every` of the written buffers with plain loops, and every padded lane with zero.
///
/// # Errors
/// The first element that differs by more than the kernel's rounding bound, with what was expected and found.
pub fn check_sample(
    spec: &Spec,
    data: &TrialData,
    written: &[Vec<f32>],
    kernel: Rounding,
    every: usize,
) -> Result<(), String> {
    check(spec, data, written, kernel, &|_| every, 0.0)
}

/// Compares at least `samples` elements of every output with plain loops, all where there are fewer, and every padded lane with zero.
/// Every element must have been written. Results below `flushed` may be zero.
///
/// # Errors
/// As [`check_sample`].
pub fn check_samples(
    spec: &Spec,
    data: &TrialData,
    written: &[Vec<f32>],
    kernel: Rounding,
    samples: usize,
    flushed: f64,
) -> Result<(), String> {
    // Odd, so that the columns that are compared differ from row to row where rows are of even length.
    let every = |elements: usize| match elements / samples {
        0 | 1 => 1,
        n => (n - 1) | 1,
    };
    check(spec, data, written, kernel, &every, flushed)
}

fn check(
    spec: &Spec,
    data: &TrialData,
    written: &[Vec<f32>],
    kernel: Rounding,
    every: &dyn Fn(usize) -> usize,
    flushed: f64,
) -> Result<(), String> {
    match spec {
        Spec::Conv(conv) => {
            for (output, written) in conv.outputs.iter().zip(written) {
                let shape = &output.shape;
                let range = output.first_channel..output.first_channel + output.channels.len();
                compare(shape, written, every, flushed, range.clone(), |n, c, y, x| {
                    let c = c - output.first_channel + output.channels.start;
                    let value = |y, x| conv_at(conv, data, kernel, n, c, y, x);
                    match &conv.pool {
                        None => value(y, x),
                        Some(pool) => pool_at(pool, conv.size, y, x, value),
                    }
                })?;
            }
            Ok(())
        }
        Spec::MaxPool(p) => compare(&p.to, &written[0], every, flushed, 0..p.to.channels, |n, c, y, x| {
            pool_at(&p.pool, p.from.size(), y, x, |y, x| {
                (read(&p.from, &data.reads[p.from.buffer], n, c, y as isize, x as isize), 0.0)
            })
        }),
        Spec::Average(a) => compare(&a.to, &written[0], every, flushed, 0..a.to.channels, |n, c, _, _| {
            let buffer = &data.reads[a.from.buffer];
            mean(a.from.size(), |y, x| (read(&a.from, buffer, n, c, y as isize, x as isize), 0.0))
        }),
    }
}

fn compare(
    shape: &BufferShape,
    written: &[f32],
    every: &dyn Fn(usize) -> usize,
    flushed: f64,
    channels: std::ops::Range<usize>,
    expected: impl Fn(usize, usize, usize, usize) -> Bounded,
) -> Result<(), String> {
    let every = every(shape.batch * channels.len() * shape.height * shape.width);
    let mut count = 0;
    for n in 0..shape.batch {
        for c in channels.clone() {
            for y in 0..shape.height {
                for x in 0..shape.width {
                    count += 1;
                    let found = written[shape.index(n, c, y, x)];
                    if count % every != 0 && found.is_finite() {
                        continue;
                    }
                    let (value, bound) = expected(n, c, y, x);
                    let bound = bound + shape.precision.rounding(value.abs() + bound).max(flushed);
                    // Not `>`: a NaN must fail.
                    let off = (f64::from(found) - value).abs();
                    if off.is_nan() || off > bound {
                        return Err(format!(
                            "image {n} channel {c} at {y},{x}: {found}, not {value} +- {bound:e}"
                        ));
                    }
                }
            }
        }
        if shape.layout == Layout::Packed && channels.end == shape.channels {
            for c in shape.channels..shape.channels.next_multiple_of(4) {
                for pixel in 0..shape.height * shape.width {
                    let base = shape.index(n, c / 4 * 4, 0, 0) + pixel * 4 + c % 4;
                    if written[base] != 0.0 {
                        return Err(format!("image {n} padded lane {c} of pixel {pixel}: {}", written[base]));
                    }
                }
            }
        }
    }
    Ok(())
}
