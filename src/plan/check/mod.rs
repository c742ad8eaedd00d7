//! Replays a finished plan and proves that every read sees the value it is meant to.
//!
//! The checker uses only the plan: places, reads, writes and shapes of each dispatch. It shares no code with the planner and does not see
//! the graph: `verify` proves that the computed values are the right ones.

mod channels;
mod parts;

use super::{BufferId, Dispatch, Place, Plan};
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
    let slots = vec![Content::default(); plan.slots.len()];
    let mut replay = Replay { plan, slots, output: Content::default() };
    for (t, d) in plan.dispatches.iter().enumerate() {
        let fail = |what: String| CheckError { dispatch: t, name: d.name.clone(), what };
        replay.dispatch(d, weighted).map_err(fail)?;
    }
    let end = |what: String| CheckError { dispatch: plan.dispatches.len(), name: "the end".into(), what };
    replay.check_output().and_then(|()| replay.check_kept()).map_err(end)
}

/// A plan, and what its buffers hold after the dispatches replayed so far.
struct Replay<'p> {
    plan: &'p Plan,
    slots: Vec<Content>,
    output: Content,
}

impl Replay<'_> {
    /// Checks one dispatch and replays its writes.
    fn dispatch(&mut self, d: &Dispatch, weighted: bool) -> Result<(), String> {
        let buffers = self.plan.buffers.len();
        for b in d.reads.iter().chain(&d.writes).chain(&d.in_place) {
            if b.0 >= buffers {
                return Err(format!("names buffer {}, the plan has {buffers}", b.0));
            }
        }
        self.check_reads(d)?;
        parts::check_dispatch(d, weighted)?;
        self.check_in_place(d)?;
        self.write(d)
    }

    /// Checks that every operand lies in its buffer and sees its value.
    fn check_reads(&self, d: &Dispatch) -> Result<(), String> {
        let in_place = in_place_operands(&d.spec);
        let places: HashSet<Place> = d.writes.iter().map(|w| self.plan.buffer(*w).place).collect();
        for (i, operand) in d.spec.operands().into_iter().enumerate() {
            let overwritten = in_place.contains(&i);
            let id = match (overwritten, d.in_place) {
                (true, Some(id)) => id,
                _ => match d.reads.get(operand.buffer) {
                    Some(id) => *id,
                    None => return Err(format!("operand {i} names read {}", operand.buffer)),
                },
            };
            let buffer = self.plan.buffer(id);
            let channels = range(operand.first_channel, operand.channels, &buffer.shape);
            let Some(channels) = channels.filter(|_| operand.shape == buffer.shape) else {
                return Err(format!("operand {i} does not fit {}", buffer.name));
            };
            parts::check_view(operand, parts::added(&d.spec, i))
                .map_err(|what| format!("operand {i} {what}"))?;
            self.check_value(id, &channels)?;
            if !overwritten && places.contains(&buffer.place) {
                return Err(format!("reads {} from the slot it writes", buffer.name));
            }
        }
        Ok(())
    }

    /// Checks that these channels of a buffer were written and not overwritten since.
    fn check_value(&self, id: BufferId, channels: &Range<usize>) -> Result<(), String> {
        let buffer = self.plan.buffer(id);
        match buffer.place {
            Place::Input => Ok(()),
            Place::Output => Err(format!("reads the output {}", buffer.name)),
            Place::Slot(s) if self.slots[s].holds(id, channels) => Ok(()),
            Place::Slot(s) => {
                let found = self.slots[s].buffer.map_or("nothing", |b| &self.plan.buffer(b).name);
                Err(format!(
                    "reads channels {channels:?} of {} from slot {s}, which holds {found}",
                    buffer.name
                ))
            }
        }
    }

    /// Checks that a dispatch in place overwrites its buffer element by element.
    fn check_in_place(&self, d: &Dispatch) -> Result<(), String> {
        let Some(old) = d.in_place else {
            return match in_place_operands(&d.spec).is_empty() {
                true => Ok(()),
                false => Err("is in place but overwrites no buffer".into()),
            };
        };
        let Spec::Conv(c) = &d.spec else { return Err("only a sum can be in place".into()) };
        let old = self.plan.buffer(old);
        let same = match d.writes.as_slice() {
            [new] => {
                let new = self.plan.buffer(*new);
                new.place == old.place && new.shape == old.shape
            }
            _ => false,
        };
        let (own, _) = c.adds.split_at_checked(c.in_place).unwrap_or_default();
        // Sorted and disjoint, so that no element is added to itself twice.
        let apart = own.windows(2).all(|w| w[0].first_out + w[0].from.channels <= w[1].first_out);
        let in_position = own
            .iter()
            .all(|a| a.from.stride == 1 && !a.from.avg_pool_2x2 && a.first_out == a.from.first_channel);
        let first = c.outputs.first().is_some_and(|o| o.first_channel == 0);
        match same && apart && in_position && first && !own.is_empty() && c.pool.is_none() {
            true => Ok(()),
            false => Err(format!("{} is not overwritten element by element", old.name)),
        }
    }

    /// Checks the writes of a dispatch and notes what its buffers hold after it.
    fn write(&mut self, d: &Dispatch) -> Result<(), String> {
        let shapes = d.spec.outputs();
        if shapes.len() != d.writes.len() {
            return Err(format!("writes {} buffers, names {}", shapes.len(), d.writes.len()));
        }
        let mut taken = HashSet::new();
        for (i, (&id, shape)) in d.writes.iter().zip(shapes).enumerate() {
            let buffer = self.plan.buffer(id);
            if shape != buffer.shape {
                return Err(format!("{} has another shape than the dispatch writes", buffer.name));
            }
            if !taken.insert(buffer.place) {
                return Err(format!("writes {} into a slot it writes already", buffer.name));
            }
            let (first, channels) = match &d.spec {
                Spec::Conv(c) => (c.outputs[i].first_channel, c.outputs[i].channels.len()),
                _ => (0, shape.channels),
            };
            let Some(written) = range(first, channels, &shape) else {
                return Err(format!("writes {channels} channels from {first} on of {}", buffer.name));
            };
            let content = match buffer.place {
                Place::Input => return Err("writes the input".into()),
                Place::Output => &mut self.output,
                Place::Slot(s) => &mut self.slots[s],
            };
            if content.buffer != Some(id) {
                *content = Content { buffer: Some(id), written: Channels::default() };
            }
            if !content.written.add(&written) {
                return Err(format!("writes channels {written:?} of {} again", buffer.name));
            }
        }
        Ok(())
    }

    /// Whether a buffer holds these channels now.
    fn holds(&self, id: BufferId, channels: &Range<usize>) -> bool {
        match self.plan.buffer(id).place {
            Place::Slot(s) => self.slots[s].holds(id, channels),
            Place::Input => true,
            Place::Output => self.output.holds(id, channels),
        }
    }

    /// Checks that the output is complete after the last dispatch.
    fn check_output(&self) -> Result<(), String> {
        let outputs = self.plan.buffers.iter().enumerate().filter(|(_, b)| b.place == Place::Output);
        for (id, buffer) in outputs {
            if !self.holds(BufferId(id), &(0..buffer.shape.channels)) {
                return Err("the output is not written whole".into());
            }
        }
        Ok(())
    }

    /// Checks that kept values fit their buffers and are intact after the last dispatch.
    fn check_kept(&self) -> Result<(), String> {
        for kept in &self.plan.kept {
            let mut size = None;
            for part in &kept.parts {
                let Some(buffer) = self.plan.buffers.get(part.buffer.0) else {
                    return Err(format!("the kept value {} is in buffer {}", kept.name, part.buffer.0));
                };
                let shape = &buffer.shape;
                let Some(channels) =
                    range(part.first_channel, part.channels, shape).filter(|_| part.stride > 0)
                else {
                    return Err(format!("the kept value {} does not fit {}", kept.name, buffer.name));
                };
                let seen = [shape.height, shape.width].map(|n| n.div_ceil(part.stride));
                if *size.get_or_insert(seen) != seen {
                    return Err(format!("the kept value {} has parts of several sizes", kept.name));
                }
                if !self.holds(part.buffer, &channels) {
                    return Err(format!("the kept value {} is gone", kept.name));
                }
            }
        }
        Ok(())
    }
}

/// The operands of a spec that are overwritten in place.
fn in_place_operands(spec: &Spec) -> Range<usize> {
    match spec {
        Spec::Conv(c) => c.k_ranges.len()..c.k_ranges.len().saturating_add(c.in_place),
        _ => 0..0,
    }
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
