//! Where tiles are stored, what their sums begin with, and the activations.

use super::function::sigmoid;
use super::panels::{Initial, PackedConv, Panel};
use crate::kernel::{Add, ConvSpec, Function};
use rmnet_simd::Kernels;
use std::ops::Range;

/// A buffer that pixels are stored in, NHWC. Several threads write to it, each its own pixels or channels.
#[derive(Clone, Copy)]
pub(super) struct Target {
    values: *mut f32,
    len: usize,
    /// Values of a pixel.
    pub(super) step: usize,
    /// Number of its first pixel.
    origin: usize,
    /// What is added to an output channel's number for its place in a pixel; wraps around.
    shift: usize,
}

// SAFETY: tasks write through the pointer only where `at` says, and no two tasks of a pass have pixels and channels in common.
unsafe impl Send for Target {}
// SAFETY: as above.
unsafe impl Sync for Target {}

impl Target {
    pub(super) fn new(values: &mut [f32], step: usize, origin: usize, shift: usize) -> Target {
        Target { values: values.as_mut_ptr(), len: values.len(), step, origin, shift }
    }

    /// The first value of `channels` in the first of `pixels`; all of them are inside.
    pub(super) fn at(&self, pixels: &Range<usize>, channels: &Range<usize>) -> *mut f32 {
        let first = channels.start.wrapping_add(self.shift);
        let last = (pixels.end - 1 - self.origin) * self.step + first + channels.len();
        assert!(last <= self.len && first + channels.len() <= self.step, "the tile is inside its buffer");
        self.values.wrapping_add((pixels.start - self.origin) * self.step + first)
    }
}

/// The parts of a dispatch shared by its tiles.
pub(super) struct Conv<'a> {
    pub(super) spec: &'a ConvSpec,
    pub(super) packed: &'a PackedConv,
    pub(super) kernels: &'a Kernels,
    pub(super) reads: &'a [&'a [f32]],
}

/// A part of the output: pixels of a panel.
pub(super) struct Part {
    /// The first pixel's first channel.
    pub(super) out: *mut f32,
    /// What is added to the first pixel; null if nothing is.
    pub(super) initial: *const f32,
    /// Values from one pixel to the next there.
    pub(super) initial_step: usize,
}

impl Conv<'_> {
    /// Begins the sums of `pixels`. The values of [`Part::initial`] are to be added to them.
    pub(super) fn begin(&self, panel: &Panel, pixels: Range<usize>, target: &Target) -> Part {
        let out = target.at(&pixels, &panel.channels);
        let (initial, initial_step) = match panel.initial {
            Initial::Nothing => (std::ptr::null(), 0),
            Initial::Add(i) => self.added(&self.spec.adds[i], panel, &pixels),
            Initial::Output => (out.cast_const(), target.step),
            Initial::Written => {
                self.write_adds(panel, pixels, out, target.step);
                (out.cast_const(), target.step)
            }
        };
        Part { out, initial, initial_step }
    }

    /// The first pixel's values of an add that covers the panel, at the output's own pixels.
    fn added(&self, add: &Add, panel: &Panel, pixels: &Range<usize>) -> (*const f32, usize) {
        let step = add.from.shape.channels;
        let first = add.from.first_channel + panel.channels.start - add.first_out;
        let values = &self.reads[add.from.buffer][pixels.start * step + first..];
        assert!(
            (pixels.len() - 1) * step + panel.channels.len() <= values.len(),
            "the operand holds the tile"
        );
        (values.as_ptr(), step)
    }

    /// Writes the sums of all adds to a tile.
    fn write_adds(&self, panel: &Panel, pixels: Range<usize>, out: *mut f32, step: usize) {
        for (i, p) in pixels.enumerate() {
            // SAFETY: `Target::at` has checked the tile, which no other task has.
            let out = unsafe { std::slice::from_raw_parts_mut(out.add(i * step), panel.channels.len()) };
            self.write_pixel(panel, p, out);
        }
    }

    /// Writes the sum of all adds of pixel `p` to `out`, the panel's channels.
    fn write_pixel(&self, panel: &Panel, p: usize, out: &mut [f32]) {
        let [height, width] = self.spec.size;
        let (image, y, x) = (p / (height * width), p / width % height, p % width);
        // The factors of an added value from output channel `lo` on.
        let gate = |add: &Add, lo: usize| {
            let gate = add.gate.as_ref()?;
            let at = image * gate.shape.channels + gate.first_channel + lo - add.first_out;
            Some(&self.reads[gate.buffer][at..])
        };
        // Channels of an add in this panel.
        let own = |add: &Add| {
            let lo = panel.channels.start.max(add.first_out);
            let hi = panel.channels.end.min(add.first_out + add.from.channels);
            (lo < hi).then_some(lo..hi)
        };
        let (in_place, adds) = self.spec.adds.split_at(self.spec.in_place);
        // In-place channels keep their values as the start of the sum; others are overwritten.
        let mut done = 0;
        for add in in_place {
            let Some(own) = own(add) else { continue };
            let [lo, hi] = [own.start, own.end].map(|c| c - panel.channels.start);
            out[done..lo].fill(0.0);
            if let Some(factors) = gate(add, own.start) {
                out[lo..hi].iter_mut().zip(factors).for_each(|(o, f)| *o *= f);
            }
            done = hi;
        }
        out[done..].fill(0.0);
        for add in adds {
            let (from, Some(own)) = (&add.from, own(add)) else { continue };
            let line = (image * from.shape.height + y * from.stride) * from.shape.width;
            let at = (line + x * from.stride) * from.shape.channels + from.first_channel + own.start
                - add.first_out;
            let values = &self.reads[from.buffer][at..][..own.len()];
            let out = out[own.start - panel.channels.start..].iter_mut().zip(values);
            match gate(add, own.start) {
                None => out.for_each(|(o, v)| *o += v),
                Some(factors) => out.zip(factors).for_each(|((o, v), f)| *o += v * f),
            }
        }
    }

    /// Applies the activations that the kernel does not have.
    pub(super) fn finish(&self, panel: &Panel, pixels: usize, out: *mut f32, step: usize) {
        if !matches!(panel.function, Function::Sigmoid | Function::PRelu) {
            return;
        }
        for i in 0..pixels {
            // SAFETY: `Target::at` has checked the tile, which no other task has.
            let out = unsafe { std::slice::from_raw_parts_mut(out.add(i * step), panel.channels.len()) };
            match panel.function {
                Function::PRelu => {
                    for (v, slope) in out.iter_mut().zip(&self.packed.slopes[panel.channels.clone()]) {
                        *v = if *v < 0.0 { *v * slope } else { *v };
                    }
                }
                _ => out.iter_mut().for_each(|v| *v = sigmoid(*v)),
            }
        }
    }
}

/// The activation as bounds: the least and the largest value. Those that are none are applied by [`Conv::finish`].
pub(super) fn bounds(function: Function) -> (f32, f32) {
    match function {
        Function::Relu => (0.0, f32::INFINITY),
        Function::Relu6 => (0.0, 6.0),
        _ => (f32::NEG_INFINITY, f32::INFINITY),
    }
}
