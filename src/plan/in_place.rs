//! Lets a sum overwrite the value it adds, element by element, where that is legal.

use super::emit::Emitter;
use super::{BufferId, Dispatch};
use crate::kernel::{Add, ConvSpec, Spec};

/// Decides every in-place add. An output may overwrite an added buffer only if
/// * the add is the whole buffer, plainly viewed, channel for channel, and the output has the same shape;
/// * nothing reads the buffer later, and no other operand of this dispatch reads it, not even a 1x1;
/// * nothing is pooled, and one dispatch computes the whole output into one buffer.
pub(super) fn in_place(lowered: &mut Emitter) {
    let mut last_use = vec![0; lowered.buffers.len()];
    for (t, d) in lowered.dispatches.iter().enumerate() {
        for b in &d.reads {
            last_use[b.0] = t;
        }
    }
    for part in lowered.kept.iter().flat_map(|k| &k.parts) {
        last_use[part.buffer.0] = usize::MAX;
    }
    for (t, d) in lowered.dispatches.iter_mut().enumerate() {
        let Spec::Conv(spec) = &d.spec else { continue };
        let Some(i) = (0..spec.adds.len()).find(|&i| {
            let id = d.reads[spec.adds[i].from.buffer];
            id.0 != 0 && last_use[id.0] == t && legal(spec, &spec.adds[i])
        }) else {
            continue;
        };
        overwrite(d, i);
    }
}

fn legal(spec: &ConvSpec, add: &Add) -> bool {
    let [output] = spec.outputs.as_slice() else { return false };
    let from = &add.from;
    let others = spec.k_ranges.iter().map(|k| k.from.buffer);
    let gates = spec.adds.iter().filter_map(|a| a.gate.as_ref()).map(|g| g.buffer);
    let adds = spec.adds.iter().map(|a| a.from.buffer);
    let readers = others.chain(adds).chain(gates).filter(|b| *b == from.buffer).count();
    let whole = from.first_channel == 0 && from.channels == from.shape.channels && from.stride == 1;
    whole
        && add.first_out == 0
        && from.channels == spec.out_channels
        && output.first_channel == 0
        && output.shape == from.shape
        && spec.max_pool.is_none()
        // A lone copy computes nothing that would need the slot of its source.
        && !(spec.k_ranges.is_empty() && spec.adds.len() == 1)
        && readers == 1
}

/// Takes add `i` out of the reads and puts it first, as the buffer that is overwritten.
fn overwrite(d: &mut Dispatch, i: usize) {
    let Spec::Conv(spec) = &mut d.spec else { unreachable!("only sums add") };
    let add = spec.adds.remove(i);
    let gone = add.from.buffer;
    let id: BufferId = d.reads.remove(gone);
    let renumber = |b: &mut usize| *b -= usize::from(*b > gone);
    spec.k_ranges.iter_mut().for_each(|k| renumber(&mut k.from.buffer));
    spec.adds.iter_mut().for_each(|a| renumber(&mut a.from.buffer));
    spec.adds.iter_mut().filter_map(|a| a.gate.as_mut()).for_each(|g| renumber(&mut g.buffer));
    let mut first = add;
    first.from.buffer = 0;
    first.gate.iter_mut().for_each(|g| renumber(&mut g.buffer));
    spec.adds.insert(0, first);
    spec.in_place = true;
    d.in_place = Some(id);
}
