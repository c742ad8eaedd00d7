//! Consistency checks within one dispatch.

use super::super::{ConvWeights, Dispatch};
use crate::graph::MaxPool;
use crate::kernel::{Add, ConvSpec, Function, KRange, Layout, Operand, Spec};
use std::ops::Range;

/// Whether an operand is an added value that kernels can move across quads, that is, neither overwritten in place nor gated.
pub(super) fn added(spec: &Spec, operand: usize) -> bool {
    let Spec::Conv(c) = spec else { return false };
    let add = operand.checked_sub(c.k_ranges.len());
    add.is_some_and(|i| i >= c.in_place && c.adds.get(i).is_some_and(|a| a.gate.is_none()))
}

/// Checks that kernels can read an operand: strided or pooled, and, in a packed buffer, starting at a multiple of 4 channels unless it is
/// `moved` across quads.
pub(super) fn check_view(operand: &Operand, moved: bool) -> Result<(), String> {
    let packed = operand.shape.layout == Layout::Packed;
    if packed && !moved && !operand.first_channel.is_multiple_of(4) {
        return Err(format!("begins at channel {}, between multiples of 4", operand.first_channel));
    }
    if operand.stride == 0 || operand.avg_pool_2x2 && (operand.stride != 1 || !packed) {
        return Err(format!("has stride {}, means {}", operand.stride, operand.avg_pool_2x2));
    }
    Ok(())
}

/// Checks that executors can run a dispatch. `weighted`: the plan has its weights.
pub(super) fn check_dispatch(d: &Dispatch, weighted: bool) -> Result<(), String> {
    if d.weights.is_some() != (weighted && matches!(d.spec, Spec::Conv(_))) {
        return Err("a convolution without weights, or weights without one".into());
    }
    let whole = |from: &Operand| from.stride == 1 && !from.avg_pool_2x2;
    match &d.spec {
        Spec::Conv(c) => check_conv(c, d.weights.as_ref()),
        Spec::MaxPool(p) => {
            let size = pooled(&p.pool, p.from.size())?;
            let fits = size == Some([p.to.height, p.to.width]) && p.to.channels == p.from.channels;
            match fits && whole(&p.from) {
                true => Ok(()),
                false => Err(format!("pools {:?} to {:?}", p.from, p.to)),
            }
        }
        Spec::Average(a) => {
            let fits = [a.to.height, a.to.width] == [1, 1] && a.to.channels == a.from.channels;
            match fits && whole(&a.from) {
                true => Ok(()),
                false => Err(format!("averages {:?} to {:?}", a.from, a.to)),
            }
        }
    }
}

/// The output size of a valid pooling window.
fn pooled(pool: &MaxPool, size: [usize; 2]) -> Result<Option<[usize; 2]>, String> {
    pool.check().map_err(|(expected, found)| format!("{expected} is expected, not {found}"))?;
    Ok(pool.output_size(size))
}

fn check_conv(c: &ConvSpec, weights: Option<&ConvWeights>) -> Result<(), String> {
    for (i, k) in c.k_ranges.iter().enumerate() {
        check_k_range(c, k).map_err(|what| format!("K range {i} {what}"))?;
        let Some(w) = weights else { continue };
        let shape = [c.out_channels, k.from.channels / k.groups, k.kernel[0], k.kernel[1]];
        let found = w.k_ranges.get(i).map(|k| k.shape);
        if found != Some(shape) {
            return Err(format!("K range {i} needs a weight of {shape:?}, has {found:?}"));
        }
        let found =
            w.prologues.get(i).and_then(|m| m.as_ref()).map(|(scale, shift)| (scale.len(), shift.len()));
        let want = k.prologue.map(|_| (k.from.channels, k.from.channels));
        if found != want {
            return Err(format!("K range {i} needs scales and shifts of {want:?}, has {found:?}"));
        }
    }
    for (i, add) in c.adds.iter().enumerate() {
        check_add(c, add, i < c.in_place).map_err(|what| format!("add {i} {what}"))?;
    }
    let used = |f: Function| c.activation.iter().any(|(r, g)| *g == f && !r.is_empty());
    if c.has_slopes() && (used(Function::Relu6) || used(Function::Sigmoid)) {
        return Err("its activations are PReLU beside ReLU6 or sigmoid".into());
    }
    let slopes = if c.has_slopes() { c.out_channels } else { 0 };
    if let Some(w) = weights {
        if w.slopes.len() != slopes {
            return Err(format!("its activation needs {slopes} slopes, has {}", w.slopes.len()));
        }
        let lengths = [w.bias.len(), w.k_ranges.len(), w.prologues.len()];
        if lengths != [c.out_channels, c.k_ranges.len(), c.k_ranges.len()] {
            return Err("its weights are of another dispatch".into());
        }
    }
    let size = match &c.pool {
        Some(pool) => pooled(pool, c.size)?,
        None => Some(c.size),
    };
    if c.outputs.iter().any(|o| size != Some([o.shape.height, o.shape.width])) {
        return Err(format!("an output is not of the size {size:?}"));
    }
    let partition = |ranges: Vec<&Range<usize>>| {
        let mut ranges = ranges.into_iter();
        ranges.try_fold(0, |next, r| (r.start == next && r.end >= next).then_some(r.end))
            == Some(c.out_channels)
    };
    let whole = partition(c.outputs.iter().map(|o| &o.channels).collect())
        && partition(c.activation.iter().map(|(r, _)| r).collect());
    // A planar buffer may be written from any channel on.
    let aligned = c.outputs.iter().all(|o| {
        let packed = o.shape.layout == Layout::Packed;
        o.channels.start.is_multiple_of(4) && (!packed || o.first_channel.is_multiple_of(4))
    });
    match whole && aligned && c.out_channels > 0 {
        true => Ok(()),
        false => Err("outputs or activations do not cover its channels once, from multiples of 4".into()),
    }
}

fn check_k_range(c: &ConvSpec, k: &KRange) -> Result<(), String> {
    if [k.kernel, k.stride, k.dilation].iter().flatten().any(|n| *n == 0) {
        return Err(format!("has kernel {:?}, stride {:?}, dilation {:?}", k.kernel, k.stride, k.dilation));
    }
    for (axis, length) in k.from.size().into_iter().enumerate() {
        let steps = || {
            let span = k.dilation[axis].checked_mul(k.kernel[axis] - 1)?.checked_add(1)?;
            let padded = length.checked_add(k.padding[axis])?.checked_add(k.padding_end[axis])?;
            Some(padded.checked_sub(span)? / k.stride[axis] + 1)
        };
        let steps = steps();
        if steps != Some(c.size[axis]) {
            return Err(format!("gives {steps:?} along axis {axis}, the sum has {}", c.size[axis]));
        }
    }
    let divides = |n: usize| k.groups > 0 && n.is_multiple_of(k.groups);
    if !divides(k.from.channels) || !divides(c.out_channels) {
        return Err(format!(
            "cuts {} to {} channels in {} groups",
            k.from.channels, c.out_channels, k.groups
        ));
    }
    let depthwise = k.groups == k.from.channels && k.groups == c.out_channels;
    if k.from.avg_pool_2x2 && !(k.is_pointwise() && (k.groups == 1 || depthwise)) {
        return Err("takes means in a window, with a stride or in groups".into());
    }
    let loadable = |f| matches!(f, Function::Identity | Function::Relu | Function::Relu6);
    let packed = k.from.shape.layout == Layout::Packed;
    if k.prologue.is_some_and(|f| !loadable(f) || !packed || k.groups > 1) {
        return Err(format!("maps its operand by {:?} in {} groups", k.prologue, k.groups));
    }
    Ok(())
}

fn check_add(c: &ConvSpec, add: &Add, in_place: bool) -> Result<(), String> {
    let whole = |g: &Operand| g.size() == [1, 1] && g.stride == 1 && g.channels == add.from.channels;
    if add.from.avg_pool_2x2 || add.gate.is_some_and(|g| !whole(&g)) {
        return Err("has a gate that does not fit it, or takes means".into());
    }
    let end = add.first_out.checked_add(add.from.channels);
    let inside = end.is_some_and(|end| end <= c.out_channels);
    let aligned = add.first_out.is_multiple_of(4) || add.gate.is_none() && !in_place;
    if add.from.size() != c.size || !inside || !aligned {
        return Err(format!(
            "of {:?}, {} channels from {} on, does not fit the sum",
            add.from.size(),
            add.from.channels,
            add.first_out
        ));
    }
    Ok(())
}
