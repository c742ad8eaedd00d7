//! Where the tiles of a convolution read their inputs: a pointer per pixel and segment into the source itself, and copies only at borders
//! and of values that have to be computed first.

use super::function::{relu, relu6};
use crate::kernel::{Function, KRange};
use std::ops::Range;

/// Scales and shifts of a K range with a prologue.
pub(super) type Prologue = Option<(Vec<f32>, Vec<f32>)>;

/// How a K range is read. A segment is a run of consecutive values for each pixel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Reading {
    /// One segment, the pixel of the same number.
    Direct,
    /// One segment per tap.
    Taps,
    /// One segment per row of the window, whose taps lie side by side. Windows across the left or right border are copied.
    Rows,
    /// One segment, a copy of the patch: values with a prologue, means of 2x2 windows.
    Copies,
}

/// Reads one K range.
pub(super) struct Inputs<'a> {
    k: &'a KRange,
    map: &'a Prologue,
    source: &'a [f32],
    /// `[height, width]` of the output.
    size: [usize; 2],
    reading: Reading,
    /// Per column of the window, the output columns for which it is inside.
    inside: Vec<Range<usize>>,
}

/// Consecutive output pixels of one row.
#[derive(Clone, Copy)]
struct Run {
    image: usize,
    y: usize,
    x: usize,
    len: usize,
}

/// Cuts output pixels, numbered row by row through the batch, where rows end.
fn runs(pixels: Range<usize>, [height, width]: [usize; 2]) -> impl Iterator<Item = Run> {
    let mut next = pixels.start;
    std::iter::from_fn(move || {
        let (row, x) = (next / width, next % width);
        let run = Run { image: row / height, y: row % height, x, len: (width - x).min(pixels.end - next) };
        next += run.len;
        (run.len > 0).then_some(run)
    })
}

/// Memory for copied segments, handed out from the front.
pub(super) struct Copies<'a>(pub(super) &'a mut [f32]);

impl<'a> Copies<'a> {
    fn take(&mut self, n: usize) -> &'a mut [f32] {
        let (front, back) = std::mem::take(&mut self.0).split_at_mut(n);
        self.0 = back;
        front
    }
}

/// Segments, and the values of each, of a K range: `[segments, depth]` of one group, `depth` 1 for a depthwise K range.
pub(super) fn segments(k: &KRange, depthwise: bool) -> [usize; 2] {
    let per_group = if depthwise { 1 } else { k.from.channels / k.groups };
    match reading(k) {
        Reading::Direct => [1, per_group],
        Reading::Taps => [k.kernel[0].saturating_mul(k.kernel[1]), per_group],
        Reading::Rows => [k.kernel[0], k.kernel[1].saturating_mul(per_group)],
        Reading::Copies => [1, k.kernel[0].saturating_mul(k.kernel[1]).saturating_mul(per_group)],
    }
}

/// Values from one group's begin to the next one's in a segment.
pub(super) fn group_step(k: &KRange) -> usize {
    let per_group = k.from.channels / k.groups;
    match reading(k) {
        Reading::Copies => k.kernel[0] * k.kernel[1] * per_group,
        _ => per_group,
    }
}

fn reading(k: &KRange) -> Reading {
    let from = &k.from;
    if from.avg_pool_2x2 || k.prologue.is_some() {
        return Reading::Copies;
    }
    let side_by_side =
        k.groups == 1 && from.channels == from.shape.channels && from.stride == 1 && k.dilation[1] == 1;
    match () {
        () if k.is_pointwise() && from.stride == 1 => Reading::Direct,
        () if side_by_side && k.kernel[1] > 1 => Reading::Rows,
        () => Reading::Taps,
    }
}

/// The output columns for which column `kx` of the window is inside.
fn columns_inside(k: &KRange, kx: usize) -> Range<usize> {
    let from = |column: usize| column.saturating_sub(kx.saturating_mul(k.dilation[1])).div_ceil(k.stride[1]);
    from(k.padding[1])..from(k.from.size()[1].saturating_add(k.padding[1]))
}

/// Most values that are copied for `pixels` pixels in a row, of an output of `width` columns.
pub(super) fn copied_values(k: &KRange, width: usize, pixels: usize) -> usize {
    let patch = k.kernel[0].saturating_mul(k.kernel[1]).saturating_mul(k.from.channels);
    let copies = match reading(k) {
        Reading::Direct | Reading::Taps => 0,
        Reading::Rows => {
            let inside = columns_inside(k, 0).start..columns_inside(k, k.kernel[1] - 1).end;
            let border = width - inside.end.min(width).saturating_sub(inside.start);
            let rows = pixels / width.max(1) + 2;
            border.saturating_mul(rows).min(pixels)
        }
        Reading::Copies => pixels,
    };
    patch.saturating_mul(copies)
}

impl<'a> Inputs<'a> {
    /// `source` holds the K range's buffer, NHWC; `size` is `[height, width]` of the output.
    pub(super) fn new(k: &'a KRange, map: &'a Prologue, source: &'a [f32], size: [usize; 2]) -> Inputs<'a> {
        let inside = |kx: usize| {
            let from =
                |column: usize| column.saturating_sub(kx.saturating_mul(k.dilation[1])).div_ceil(k.stride[1]);
            from(k.padding[1])..from(k.from.size()[1].saturating_add(k.padding[1]))
        };
        let inside = (0..k.kernel[1]).map(inside).collect();
        Inputs { k, map, source, size, reading: reading(k), inside }
    }

    /// Writes the rows of output pixels `pixels`, numbered row by row through the batch, to `rows`: `[segments][pixels]`. They point into
    /// the source, into `copies` and at `zeros`.
    pub(super) fn point(
        &self,
        pixels: Range<usize>,
        rows: &mut [*const f32],
        copies: &mut Copies<'_>,
        zeros: &[f32],
    ) {
        let n = pixels.len();
        if self.reading == Reading::Direct {
            let (step, from) = (self.k.from.shape.channels, &self.k.from);
            for (p, row) in pixels.zip(rows) {
                *row = self.source[p * step + from.first_channel..][..from.channels].as_ptr();
            }
            return;
        }
        let mut first = 0;
        for run in runs(pixels, self.size) {
            match self.reading {
                Reading::Rows => self.rows(run, &mut rows[first..], n, copies, zeros),
                Reading::Copies => {
                    for (i, row) in rows[first..][..run.len].iter_mut().enumerate() {
                        let patch = copies.take(self.k.kernel[0] * self.k.kernel[1] * self.k.from.channels);
                        self.patch(run.image, [run.y, run.x + i], patch);
                        *row = patch.as_ptr();
                    }
                }
                Reading::Taps | Reading::Direct => self.taps(run, &mut rows[first..], n, zeros),
            }
            first += run.len;
        }
    }

    /// First element of row `ky` of the window at output row `y`, in the view's column 0; `None` outside.
    fn line(&self, image: usize, y: usize, ky: usize) -> Option<usize> {
        let (k, shape) = (self.k, &self.k.from.shape);
        let y = (y * k.stride[0] + ky * k.dilation[0]).wrapping_sub(k.padding[0]);
        let inside = y < k.from.size()[0];
        inside.then(|| (image * shape.height + y * k.from.stride) * shape.width * shape.channels)
    }

    /// The pixels of `run`, as indices into it, whose window's columns `first..=last` are inside.
    fn inside(&self, run: Run, first: usize, last: usize) -> Range<usize> {
        let lo = self.inside[first].start.saturating_sub(run.x).min(run.len);
        lo..self.inside[last].end.saturating_sub(run.x).clamp(lo, run.len)
    }

    /// `rows` begins at the run's first pixel, `n` pixels are between segments.
    fn taps(&self, run: Run, rows: &mut [*const f32], n: usize, zeros: &[f32]) {
        let (k, from) = (self.k, &self.k.from);
        let zeros = zeros[..from.channels].as_ptr();
        // A stride may be any number where there is only one column.
        let step = from.stride.saturating_mul(from.shape.channels);
        let next = k.stride[1].saturating_mul(step);
        for ky in 0..k.kernel[0] {
            let line = self.line(run.image, run.y, ky);
            for kx in 0..k.kernel[1] {
                let rows = &mut rows[(ky * k.kernel[1] + kx) * n..][..run.len];
                let inside = if line.is_some() { self.inside(run, kx, kx) } else { 0..0 };
                rows[..inside.start].fill(zeros);
                rows[inside.end..].fill(zeros);
                let rows = &mut rows[inside.clone()];
                let (Some(line), [_, ..]) = (line, &*rows) else { continue };
                let column = (run.x + inside.start) * k.stride[1] + kx * k.dilation[1] - k.padding[1];
                let first = line + column * step + from.first_channel;
                // All of them are inside of the source.
                let values = &self.source[first..][..(rows.len() - 1) * next + from.channels];
                for (i, row) in rows.iter_mut().enumerate() {
                    *row = values[i * next..].as_ptr();
                }
            }
        }
    }

    /// As [`Inputs::taps`], for whole rows of the window.
    fn rows(&self, run: Run, rows: &mut [*const f32], n: usize, copies: &mut Copies<'_>, zeros: &[f32]) {
        let (k, channels) = (self.k, self.k.from.channels);
        let (len, step) = (k.kernel[1] * channels, k.stride[1].saturating_mul(channels));
        let inside = self.inside(run, 0, k.kernel[1] - 1);
        for ky in 0..k.kernel[0] {
            let rows = &mut rows[ky * n..][..run.len];
            let Some(line) = self.line(run.image, run.y, ky) else {
                rows.fill(zeros[..len].as_ptr());
                continue;
            };
            for i in (0..inside.start).chain(inside.end..run.len) {
                rows[i] = self.border(line, run.x + i, copies.take(len));
            }
            let rows = &mut rows[inside.clone()];
            if rows.is_empty() {
                continue;
            }
            let first = line + ((run.x + inside.start) * k.stride[1] - k.padding[1]) * channels;
            // All of them are inside of the source.
            let values = &self.source[first..][..(rows.len() - 1) * step + len];
            for (i, row) in rows.iter_mut().enumerate() {
                *row = values[i * step..].as_ptr();
            }
        }
    }

    /// Copies a row of the window at output column `x`, parts of which are outside.
    fn border(&self, line: usize, x: usize, copy: &mut [f32]) -> *const f32 {
        let (k, channels) = (self.k, self.k.from.channels);
        // Taps lo..hi are inside; column of tap kx is x0 + kx - padding.
        let x0 = x * k.stride[1];
        let lo = k.padding[1].saturating_sub(x0).min(k.kernel[1]);
        let hi = (k.from.size()[1] + k.padding[1]).saturating_sub(x0).min(k.kernel[1]).max(lo);
        copy.fill(0.0);
        if lo < hi {
            let inside = &self.source[line + (x0 + lo - k.padding[1]) * channels..][..(hi - lo) * channels];
            copy[lo * channels..hi * channels].copy_from_slice(inside);
        }
        copy.as_ptr()
    }

    /// One pixel's patch, `[groups][kernel_h][kernel_w][channels / groups]`.
    fn patch(&self, image: usize, [row, column]: [usize; 2], patch: &mut [f32]) {
        let (k, from) = (self.k, &self.k.from);
        if from.avg_pool_2x2 {
            // A 1x1 window without padding.
            return self.mean(image, [row * k.stride[0], column * k.stride[1]], patch);
        }
        let (width, per_group) = (from.size()[1], from.channels / k.groups);
        let mut taps = patch.chunks_exact_mut(per_group);
        for group in 0..k.groups {
            for ky in 0..k.kernel[0] {
                let line = self.line(image, row, ky);
                for kx in 0..k.kernel[1] {
                    let Some(tap) = taps.next() else { return };
                    let x = (column * k.stride[1] + kx * k.dilation[1]).wrapping_sub(k.padding[1]);
                    match line {
                        Some(line) if x < width => {
                            let first = line
                                + x * from.stride * from.shape.channels
                                + from.first_channel
                                + group * per_group;
                            tap.copy_from_slice(&self.source[first..][..per_group]);
                            self.apply(tap);
                        }
                        _ => tap.fill(0.0),
                    }
                }
            }
        }
    }

    /// `function(scale * x + shift)` of a pixel of a K range that is not grouped.
    fn apply(&self, pixel: &mut [f32]) {
        for (c, v) in pixel.iter_mut().enumerate() {
            *v = self.prologue(c, *v);
        }
    }

    fn prologue(&self, channel: usize, v: f32) -> f32 {
        let (Some(function), Some((scale, shift))) = (self.k.prologue, self.map) else { return v };
        let x = v * scale[channel] + shift[channel];
        match function {
            Function::Relu => relu(x),
            Function::Relu6 => relu6(x),
            _ => x,
        }
    }

    /// The mean of the elements of a 2x2 window inside the buffer, after the prologue.
    fn mean(&self, image: usize, [y, x]: [usize; 2], to: &mut [f32]) {
        let shape = self.k.from.shape;
        let rows = 2 * y..(2 * y + 2).min(shape.height);
        let columns = 2 * x..(2 * x + 2).min(shape.width);
        let scale = 1.0 / (rows.len() * columns.len()) as f32;
        to.fill(0.0);
        for y in rows {
            for x in columns.clone() {
                let from = ((image * shape.height + y) * shape.width + x) * shape.channels
                    + self.k.from.first_channel;
                for (c, (to, v)) in to.iter_mut().zip(&self.source[from..]).enumerate() {
                    *to += self.prologue(c, *v);
                }
            }
        }
        to.iter_mut().for_each(|t| *t *= scale);
    }
}
