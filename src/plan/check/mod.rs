//! Replays a finished plan and proves that every read sees the value it is meant to.
//!
//! The checker uses only the plan: places, reads, writes and shapes of each dispatch. It shares no code with the planner and does not see
//! the graph: `verify` proves that the computed values are the right ones.

mod channels;
mod parts;

use super::{BufferId, Place, Plan};
use crate::kernel::{BufferShape, Layout, Precision, Spec};
use channels::Channels;
use std::collections::HashSet;
use std::ops::Range;

/// A plan with a read that does not see its value, or with an inconsistent dispatch.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
#[error("dispatch {dispatch} ({name}): {what}")]
pub struct CheckError {
    /// Index of the dispatch; the number of dispatches for values read after the run.
    pub dispatch: usize,
    /// Its name.
    pub name: String,
    /// What is wrong.
    pub what: String,
}

/// The current content of a slot: a buffer, and which of its channels have been written.
#[derive(Clone, Default)]
struct Content {
    buffer: Option<BufferId>,
    written: Channels,
}

impl Content {
    fn holds(&self, buffer: BufferId, channels: &Range<usize>) -> bool {
        self.buffer == Some(buffer) && self.written.hold(channels)
    }
}

/// Proves, dispatch by dispatch, that
/// * every buffer fits its slot, holds the plan's batch and has the layout of its place; one is the input, one the output;
///   planar ones are f32;
/// * every operand lies inside its buffer and begins at a multiple of 4 channels, except for added values without a gate;
/// * everything read was written completely and not overwritten since;
/// * no dispatch reads a slot that it writes, except for the element-wise in-place add;
/// * the parts of a dispatch fit: sizes, extents of adds, partitions of its channels, shapes of its weights;
/// * nothing is written twice, the output is written completely, and kept values are intact at the end.
///
/// # Errors
/// [`CheckError`] names the first dispatch that breaks one of these.
pub fn check(plan: &Plan) -> Result<(), CheckError> {
    check_buffers(plan)?;
    let weighted = plan.dispatches.iter().any(|d| d.weights.is_some());
    let mut slots: Vec<Content> = vec![Content::default(); plan.slots.len()];
    let mut output = Content::default();
    for (t, d) in plan.dispatches.iter().enumerate() {
        let fail = |what: String| Err(CheckError { dispatch: t, name: d.name.clone(), what });
        let name = |b: BufferId| &plan.buffer(b).name;
        for b in d.reads.iter().chain(&d.writes).chain(&d.in_place) {
            if b.0 >= plan.buffers.len() {
                return fail(format!("names buffer {}, the plan has {}", b.0, plan.buffers.len()));
            }
        }
        // Reads, with the channels each operand takes.
        let in_place = match &d.spec {
            Spec::Conv(c) => c.k_ranges.len()..c.k_ranges.len().saturating_add(c.in_place),
            _ => 0..0,
        };
        let places: HashSet<Place> = d.writes.iter().map(|w| plan.buffer(*w).place).collect();
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
            let channels = range(operand.first_channel, operand.channels, &buffer.shape);
            let Some(channels) = channels.filter(|_| operand.shape == buffer.shape) else {
                return fail(format!("operand {i} does not fit {}", buffer.name));
            };
            parts::check_view(operand, parts::added(&d.spec, i))
                .or_else(|what| fail(format!("operand {i} {what}")))?;
            match buffer.place {
                Place::Input => {}
                Place::Output => return fail(format!("reads the output {}", buffer.name)),
                Place::Slot(s) => {
                    if !slots[s].holds(id, &channels) {
                        let found = slots[s].buffer.map_or("nothing", |b| name(b));
                        return fail(format!(
                            "reads channels {channels:?} of {} from slot {s}, which holds {found}",
                            buffer.name
                        ));
                    }
                }
            }
            if !overwritten && places.contains(&buffer.place) {
                return fail(format!("reads {} from the slot it writes", buffer.name));
            }
        }
        parts::check_dispatch(d, weighted).or_else(fail)?;
        if let Some(old) = d.in_place {
            let Spec::Conv(c) = &d.spec else { return fail("only a sum can be in place".into()) };
            let same = d.writes.len() == 1
                && plan.buffer(d.writes[0]).place == plan.buffer(old).place
                && plan.buffer(d.writes[0]).shape == plan.buffer(old).shape;
            let (own, _) = c.adds.split_at_checked(c.in_place).unwrap_or_default();
            // Sorted and disjoint, so that no element is added to itself twice.
            let apart = own.windows(2).all(|w| w[0].first_out + w[0].from.channels <= w[1].first_out);
            let in_position = own
                .iter()
                .all(|a| a.from.stride == 1 && !a.from.avg_pool_2x2 && a.first_out == a.from.first_channel);
            let first = c.outputs.first().is_some_and(|o| o.first_channel == 0);
            if !(same && apart && in_position && first && !own.is_empty() && c.pool.is_none()) {
                return fail(format!("{} is not overwritten element by element", name(old)));
            }
        } else if !in_place.is_empty() {
            return fail("is in place but overwrites no buffer".into());
        }
        // Writes.
        let shapes = d.spec.outputs();
        if shapes.len() != d.writes.len() {
            return fail(format!("writes {} buffers, names {}", shapes.len(), d.writes.len()));
        }
        let mut taken = HashSet::new();
        for (i, (&id, shape)) in d.writes.iter().zip(shapes).enumerate() {
            let buffer = plan.buffer(id);
            if shape != buffer.shape {
                return fail(format!("{} has another shape than the dispatch writes", buffer.name));
            }
            if !taken.insert(buffer.place) {
                return fail(format!("writes {} into a slot it writes already", buffer.name));
            }
            let (first, channels) = match &d.spec {
                Spec::Conv(c) => (c.outputs[i].first_channel, c.outputs[i].channels.len()),
                _ => (0, shape.channels),
            };
            let Some(written) = range(first, channels, &shape) else {
                return fail(format!("writes {channels} channels from {first} on of {}", buffer.name));
            };
            let content = match buffer.place {
                Place::Input => return fail("writes the input".into()),
                Place::Output => &mut output,
                Place::Slot(s) => &mut slots[s],
            };
            if content.buffer != Some(id) {
                *content = Content { buffer: Some(id), written: Channels::default() };
            }
            if !content.written.add(&written) {
                return fail(format!("writes channels {written:?} of {} again", buffer.name));
            }
        }
    }
    let end =
        |what: String| Err(CheckError { dispatch: plan.dispatches.len(), name: "the end".into(), what });
    let holds = |id: BufferId, channels: &Range<usize>| match plan.buffer(id).place {
        Place::Slot(s) => slots[s].holds(id, channels),
        Place::Input => true,
        Place::Output => output.holds(id, channels),
    };
    for (id, buffer) in plan.buffers.iter().enumerate().filter(|(_, b)| b.place == Place::Output) {
        if !holds(BufferId(id), &(0..buffer.shape.channels)) {
            return end("the output is not written whole".into());
        }
    }
    for kept in &plan.kept {
        let mut size = None;
        for part in &kept.parts {
            let Some(buffer) = plan.buffers.get(part.buffer.0) else {
                return end(format!("the kept value {} is in buffer {}", kept.name, part.buffer.0));
            };
            let shape = &buffer.shape;
            let Some(channels) = range(part.first_channel, part.channels, shape).filter(|_| part.stride > 0)
            else {
                return end(format!("the kept value {} does not fit {}", kept.name, buffer.name));
            };
            let seen = [shape.height, shape.width].map(|n| n.div_ceil(part.stride));
            if *size.get_or_insert(seen) != seen {
                return end(format!("the kept value {} has parts of several sizes", kept.name));
            }
            if !holds(part.buffer, &channels) {
                return end(format!("the kept value {} is gone", kept.name));
            }
        }
    }
    Ok(())
}

/// A non-empty channel range of a buffer; `None` if it is empty or out of bounds.
fn range(first: usize, channels: usize, of: &BufferShape) -> Option<Range<usize>> {
    let end = first.checked_add(channels)?;
    (channels > 0 && end <= of.channels).then_some(first..end)
}

/// Checks that every buffer fits its place.
fn check_buffers(plan: &Plan) -> Result<(), CheckError> {
    let refuse = |name: &str, what: String| Err(CheckError { dispatch: 0, name: name.into(), what });
    for (i, buffer) in plan.buffers.iter().enumerate() {
        let shape = buffer.shape;
        let factors = [shape.batch, shape.channels, shape.height, shape.width];
        let lanes = shape.channels.checked_next_multiple_of(4).unwrap_or(usize::MAX);
        let bytes = [lanes, shape.height, shape.width, shape.precision.bytes()]
            .iter()
            .try_fold(shape.batch, |n, f| n.checked_mul(*f));
        let Some(bytes) = bytes.filter(|_| !factors.contains(&0) && shape.batch == plan.batch) else {
            return refuse(&buffer.name, format!("{factors:?} is no shape of a batch of {}", plan.batch));
        };
        let planar = shape.layout == Layout::Planar;
        if planar && shape.precision != Precision::F32 {
            return refuse(&buffer.name, "is planar and not f32".into());
        }
        match buffer.place {
            Place::Input if i != 0 || !planar => return refuse(&buffer.name, "is not the input".into()),
            Place::Output if !planar => return refuse(&buffer.name, "an output that is not planar".into()),
            Place::Slot(_) if i == 0 || planar => {
                return refuse(&buffer.name, "an input or an output in a slot".into());
            }
            Place::Slot(s) => match plan.slots.get(s) {
                Some(room) if bytes <= *room => {}
                room => {
                    let what = format!("takes {bytes} bytes, slot {s} has {}", room.unwrap_or(&0));
                    return refuse(&buffer.name, what);
                }
            },
            Place::Input | Place::Output => {}
        }
    }
    let outputs = plan.buffers.iter().filter(|b| b.place == Place::Output).count();
    if outputs != 1 || plan.buffers[0].place != Place::Input {
        return refuse("the plan", format!("has {outputs} outputs, or another first buffer than the input"));
    }
    Ok(())
}
