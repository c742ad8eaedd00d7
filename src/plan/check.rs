//! Replays a finished plan and proves that every read sees its value.
//!
//! The checker looks at the result only: places, reads, writes and the shapes of each dispatch. It shares no code with the
//! planner. What it does not see is the graph: that the sums are the right ones is `verify`'s to prove.

use super::{BufferId, ConvWeights, Place, Plan};
use crate::kernel::{ConvSpec, Layout, Precision, Spec};
use std::ops::Range;

/// A plan with a read that does not see its value, or with a dispatch whose parts do not fit each other.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("dispatch {dispatch} ({name}): {what}")]
pub struct CheckError {
    /// Position in the plan; the number of dispatches for what is read after the run.
    pub dispatch: usize,
    /// Its name.
    pub name: String,
    /// What is wrong.
    pub what: String,
}

/// What a slot holds at a moment: a buffer, and which of its channels have been written.
#[derive(Clone, Default)]
struct Content {
    buffer: Option<BufferId>,
    written: Vec<Range<usize>>,
}

impl Content {
    fn holds(&self, buffer: BufferId, channels: Range<usize>) -> bool {
        self.buffer == Some(buffer) && channels.clone().all(|c| self.written.iter().any(|w| w.contains(&c)))
    }
}

/// Proves, dispatch by dispatch, that
/// * every buffer fits its slot, every planar one is f32, and every operand lies inside its buffer;
/// * what is read was written, whole, and nothing has overwritten it since;
/// * no dispatch reads a slot that it writes, but for the element-wise in-place add;
/// * the parts of a convolution fit: sizes, extents of adds, partitions of its channels, shapes of its weights;
/// * the output is written, whole, and kept values are still there at the end.
///
/// # Errors
/// [`CheckError`] names the first dispatch that breaks one of these.
pub fn check(plan: &Plan) -> Result<(), CheckError> {
    let mut slots: Vec<Content> = vec![Content::default(); plan.slots.len()];
    let mut output = Content::default();
    for (t, d) in plan.dispatches.iter().enumerate() {
        let fail = |what: String| Err(CheckError { dispatch: t, name: d.name.clone(), what });
        let name = |b: BufferId| &plan.buffer(b).name;
        for b in d.reads.iter().chain(&d.writes).chain(&d.in_place) {
            if b.0 >= plan.buffers.len() {
                return fail(format!("names buffer {}, the plan has {}", b.0, plan.buffers.len()));
            }
            let shape = plan.buffer(*b).shape;
            if shape.layout == Layout::Planar && shape.precision != Precision::F32 {
                return fail(format!("{} is planar and not f32", name(*b)));
            }
            if let Place::Slot(s) = plan.buffer(*b).place {
                let (bytes, room) = (shape.bytes(), plan.slots.get(s).copied().unwrap_or(0));
                if bytes > room {
                    return fail(format!("{} takes {bytes} bytes, slot {s} has {room}", name(*b)));
                }
            }
        }
        // Reads, with the channels each operand takes.
        let in_place = match &d.spec {
            Spec::Conv(c) => c.k_ranges.len()..c.k_ranges.len() + c.in_place,
            _ => 0..0,
        };
        for (i, operand) in d.spec.operands().into_iter().enumerate() {
            let overwritten = in_place.contains(&i);
            let id = match (overwritten, d.in_place) {
                (true, Some(id)) => id,
                _ => match d.reads.get(operand.buffer) {
                    Some(id) => *id,
                    None => return fail(format!("operand {i} names read {}", operand.buffer)),
                },
            };
            let buffer = plan.buffer(id);
            let channels = operand.first_channel..operand.first_channel + operand.channels;
            if operand.shape != buffer.shape || channels.end > buffer.shape.channels || operand.stride == 0 {
                return fail(format!("operand {i} does not fit {}", buffer.name));
            }
            match buffer.place {
                Place::Input => {}
                Place::Output => return fail(format!("reads the output {}", buffer.name)),
                Place::Slot(s) => {
                    if !slots[s].holds(id, channels.clone()) {
                        let found = slots[s].buffer.map_or("nothing", |b| name(b));
                        return fail(format!(
                            "reads channels {channels:?} of {} from slot {s}, which holds {found}",
                            buffer.name
                        ));
                    }
                }
            }
            if !overwritten && d.writes.iter().any(|w| plan.buffer(*w).place == buffer.place) {
                return fail(format!("reads {} from the slot it writes", buffer.name));
            }
        }
        if let Some(old) = d.in_place {
            let Spec::Conv(c) = &d.spec else { return fail("only a sum can be in place".into()) };
            let same = d.writes.len() == 1
                && plan.buffer(d.writes[0]).place == plan.buffer(old).place
                && plan.buffer(d.writes[0]).shape == plan.buffer(old).shape;
            let (own, _) = c.adds.split_at_checked(c.in_place).unwrap_or_default();
            // In order and apart, so that no element is added to itself twice.
            let apart = own.windows(2).all(|w| w[0].first_out + w[0].from.channels <= w[1].first_out);
            let in_position = own
                .iter()
                .all(|a| a.from.stride == 1 && !a.from.mean_pool && a.first_out == a.from.first_channel);
            let first = c.outputs.first().is_some_and(|o| o.first_channel == 0);
            if !(same && apart && in_position && first && !own.is_empty() && c.max_pool.is_none()) {
                return fail(format!("{} is not overwritten element by element", name(old)));
            }
        } else if !in_place.is_empty() {
            return fail("is in place but overwrites no buffer".into());
        }
        if let Spec::Conv(c) = &d.spec
            && let Err(what) = check_conv(c, d.weights.as_ref())
        {
            return fail(what);
        }
        // Writes.
        let shapes = d.spec.outputs();
        if shapes.len() != d.writes.len() {
            return fail(format!("writes {} buffers, names {}", shapes.len(), d.writes.len()));
        }
        for (i, (&id, shape)) in d.writes.iter().zip(shapes).enumerate() {
            let buffer = plan.buffer(id);
            if shape != buffer.shape {
                return fail(format!("{} has another shape than the dispatch writes", buffer.name));
            }
            if d.writes[..i].iter().any(|w| plan.buffer(*w).place == buffer.place) {
                return fail(format!("writes {} into a slot it writes already", buffer.name));
            }
            let written = match &d.spec {
                Spec::Conv(c) => {
                    let o = &c.outputs[i];
                    o.first_channel..o.first_channel + o.channels.len()
                }
                _ => 0..shape.channels,
            };
            if written.end > shape.channels {
                return fail(format!("writes channels {written:?} of {}", buffer.name));
            }
            let content = match buffer.place {
                Place::Input => return fail("writes the input".into()),
                Place::Output => &mut output,
                Place::Slot(s) => &mut slots[s],
            };
            if content.buffer != Some(id) {
                *content = Content { buffer: Some(id), written: vec![] };
            }
            content.written.push(written);
        }
    }
    let end =
        |what: String| Err(CheckError { dispatch: plan.dispatches.len(), name: "the end".into(), what });
    let Some(id) = plan.buffers.iter().position(|b| b.place == Place::Output) else {
        return end("the plan has no output".into());
    };
    if !output.holds(BufferId(id), 0..plan.buffers[id].shape.channels) {
        return end("the output is not written whole".into());
    }
    for kept in &plan.kept {
        for part in &kept.parts {
            let channels = part.first_channel..part.first_channel + part.channels;
            let there = match plan.buffer(part.buffer).place {
                Place::Slot(s) => slots[s].holds(part.buffer, channels),
                Place::Input => true,
                Place::Output => output.holds(part.buffer, channels),
            };
            if !there {
                return end(format!("the kept value {} is gone", kept.name));
            }
        }
    }
    Ok(())
}

/// Whether the parts of a convolution fit each other.
fn check_conv(c: &ConvSpec, weights: Option<&ConvWeights>) -> Result<(), String> {
    for (i, k) in c.k_ranges.iter().enumerate() {
        let view = k.from.size();
        for (axis, length) in view.into_iter().enumerate() {
            let span = k.dilation[axis] * (k.kernel[axis] - 1) + 1;
            let padded = length + k.padding[axis] + k.padding_end[axis];
            let steps = padded.checked_sub(span).map(|n| n / k.stride[axis] + 1);
            if steps != Some(c.size[axis]) {
                return Err(format!(
                    "K range {i} gives {steps:?} along axis {axis}, the sum has {}",
                    c.size[axis]
                ));
            }
        }
        let shape = [c.out_channels, k.from.channels / k.groups, k.kernel[0], k.kernel[1]];
        let found = weights.map(|w| w.k_ranges.get(i).map(|k| k.shape));
        if found.is_some_and(|f| f != Some(shape)) {
            return Err(format!("K range {i} needs a weight of {shape:?}, has {found:?}"));
        }
    }
    let values = |i: usize| weights.map(|w| w.maps.get(i).and_then(|m| m.as_ref()));
    for (i, k) in c.k_ranges.iter().enumerate() {
        if k.from.mean_pool && !(k.is_pointwise() && k.from.stride == 1) {
            return Err(format!("K range {i} takes means in a window or with a stride"));
        }
        let mapped = values(i).map(|m| m.map(|(scale, shift)| (scale.len(), shift.len())));
        let want = k.map.map(|_| (k.from.channels, k.from.channels));
        if mapped.is_some_and(|m| m != want) || k.map.is_some() && k.groups > 1 {
            return Err(format!("K range {i} needs scales and shifts of {want:?}, has {mapped:?}"));
        }
    }
    let slopes = if c.has_slopes() { c.out_channels } else { 0 };
    if weights.is_some_and(|w| w.slopes.len() != slopes) {
        return Err(format!("its activation needs {slopes} slopes"));
    }
    for (i, add) in c.adds.iter().enumerate() {
        if add.gate.is_some_and(|g| {
            g.size() != [1, 1] || g.channels != add.from.channels || g.first_channel % 4 != 0
        }) || add.from.mean_pool
        {
            return Err(format!("add {i} has a gate that does not fit it"));
        }
        let end = add.first_out + add.from.channels;
        if add.from.size() != c.size || end > c.out_channels || !add.first_out.is_multiple_of(4) {
            return Err(format!("add {i} of {:?} up to channel {end} does not fit the sum", add.from.size()));
        }
    }
    if weights.is_some_and(|w| w.bias.len() != c.out_channels || w.k_ranges.len() != c.k_ranges.len()) {
        return Err("its weights are of another dispatch".into());
    }
    let size = match c.max_pool {
        Some(pool) => pool.output_size(c.size),
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
    let aligned =
        c.outputs.iter().all(|o| o.channels.start.is_multiple_of(4) && o.first_channel.is_multiple_of(4));
    match whole && aligned {
        true => Ok(()),
        false => Err("outputs or activations do not cover its channels once, from multiples of 4".into()),
    }
}
