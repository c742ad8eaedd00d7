//! Lets a sum overwrite a value it adds, element by element, where that is legal.

use super::emit::Emitter;
use super::{BufferId, Dispatch};
use crate::kernel::{Add, BufferShape, ConvSpec, Layout, Spec};
use crate::order::sort_by_key;

/// Selects in-place adds. An output may overwrite an added buffer only if
/// * each of its channels is added, unstrided, to the output channel of the same number, and the output has the same shape;
/// * nothing reads the buffer later, and no other operand of this dispatch reads it, not even a 1x1;
/// * the dispatch has no fused pool, and computes the whole output into one buffer.
///
/// With `widen`, a buffer and the output that overwrites it may have different channel counts; both get the larger one. Returns whether
/// any was widened.
pub(super) fn in_place(lowered: &mut Emitter, widen: bool) -> bool {
    let mut last_use = vec![0; lowered.buffers.len()];
    let mut by_sum = vec![false; lowered.buffers.len()];
    for (t, d) in lowered.dispatches.iter().enumerate() {
        d.reads.iter().for_each(|b| last_use[b.0] = t);
        d.writes.iter().for_each(|b| by_sum[b.0] = matches!(d.spec, Spec::Conv(_)));
    }
    for part in lowered.kept.iter().flat_map(|k| &k.parts) {
        last_use[part.buffer.0] = usize::MAX;
    }
    // The root of each chain of buffers that overwrite one another, and the shapes of the roots.
    let mut group: Vec<usize> = (0..lowered.buffers.len()).collect();
    let mut shapes: Vec<BufferShape> = lowered.buffers.iter().map(|b| b.shape).collect();
    let mut widened = false;
    for (t, d) in lowered.dispatches.iter_mut().enumerate() {
        let Spec::Conv(spec) = &d.spec else { continue };
        let (reads, writes) = (&d.reads, &d.writes);
        let Some(i) = (0..reads.len()).find(|&i| {
            let BufferId(id) = reads[i];
            let fits = || {
                let (old, new) = (shapes[group[id]], lowered.buffers[writes[0].0].shape);
                let quads = (old.channels | new.channels).is_multiple_of(4) && old.layout == Layout::Packed;
                old == new
                    || widen && quads && by_sum[id] && BufferShape { channels: old.channels, ..new } == old
            };
            id != 0 && last_use[id] == t && legal(spec, i) && fits()
        }) else {
            continue;
        };
        let (root, new) = (group[reads[i].0], writes[0].0);
        let channels = shapes[root].channels.max(shapes[new].channels);
        widened |= shapes[root].channels != shapes[new].channels;
        shapes[root].channels = channels;
        group[new] = root;
        by_sum[new] &= by_sum[root];
        overwrite(d, i);
    }
    if widened {
        for (b, buffer) in lowered.buffers.iter_mut().enumerate() {
            buffer.shape = shapes[group[b]];
        }
        lowered.dispatches.iter_mut().for_each(|d| reshape(d, |b| shapes[group[b.0]]));
    }
    widened
}

/// Whether read `i` of a sum is only added, and each channel to the output channel of the same number.
fn legal(spec: &ConvSpec, i: usize) -> bool {
    let [output] = spec.outputs.as_slice() else { return false };
    let adds = || spec.adds.iter().filter(|a| a.from.buffer == i);
    let plain = |a: &Add| a.from.stride == 1 && !a.from.avg_pool_2x2;
    let others = spec.k_ranges.iter().map(|k| k.from.buffer);
    let mut others = others.chain(spec.adds.iter().filter_map(|a| a.gate.as_ref()).map(|g| g.buffer));
    let mut covered: Vec<_> = adds().map(|a| a.first_out..a.first_out + a.from.channels).collect();
    sort_by_key(&mut covered, |r| r.start);
    adds().next().is_some()
        && adds().all(|a| a.is_aligned() && a.first_out == a.from.first_channel && plain(a))
        && covered.windows(2).all(|w| w[0].end <= w[1].start)
        && output.first_channel == 0
        && output.channels.len() == spec.out_channels
        && spec.pool.is_none()
        // A plain copy gains nothing from the slot of its source.
        && !(spec.k_ranges.is_empty() && adds().count() == spec.adds.len())
        && others.all(|b| b != i)
}

/// Removes read `gone` and moves its adds to the front, as in-place adds of the overwritten buffer.
fn overwrite(d: &mut Dispatch, gone: usize) {
    let Spec::Conv(spec) = &mut d.spec else { unreachable!("only sums add") };
    let (mut own, mut others): (Vec<_>, Vec<_>) = spec.adds.drain(..).partition(|a| a.from.buffer == gone);
    sort_by_key(&mut own, |a| a.first_out);
    let id: BufferId = d.reads.remove(gone);
    let renumber = |b: &mut usize| *b -= usize::from(*b > gone);
    spec.k_ranges.iter_mut().for_each(|k| renumber(&mut k.from.buffer));
    others.iter_mut().for_each(|a| renumber(&mut a.from.buffer));
    own.iter_mut().for_each(|a| a.from.buffer = 0);
    spec.in_place = own.len();
    spec.adds = own.into_iter().chain(others).collect();
    spec.adds.iter_mut().filter_map(|a| a.gate.as_mut()).for_each(|g| renumber(&mut g.buffer));
    d.in_place = Some(id);
}

/// Updates the shapes of a dispatch's operands and outputs to those of their buffers.
fn reshape(d: &mut Dispatch, shape: impl Fn(BufferId) -> BufferShape) {
    let of = |i: usize| shape(d.reads[i]);
    match &mut d.spec {
        Spec::Conv(c) => {
            c.k_ranges.iter_mut().for_each(|k| k.from.shape = of(k.from.buffer));
            for (i, add) in c.adds.iter_mut().enumerate() {
                add.from.shape = match d.in_place {
                    Some(id) if i < c.in_place => shape(id),
                    _ => of(add.from.buffer),
                };
                add.gate.iter_mut().for_each(|g| g.shape = of(g.buffer));
            }
            c.outputs.iter_mut().zip(&d.writes).for_each(|(o, w)| o.shape = shape(*w));
        }
        Spec::MaxPool(p) => p.from.shape = of(p.from.buffer),
        Spec::Average(a) => a.from.shape = of(a.from.buffer),
    }
}
