//! Live ranges of virtual buffers, and slots for them.
//!
//! A slot is one GPU buffer. Buffers whose lives do not overlap take turns in it; an in-place output has its operand's slot.
//! Finding the smallest set of slots is a hard packing problem, so many orders are tried: first fit by size, then by
//! sizes jittered with a fixed seed, so that a plan is the same every time.

use super::emit::Emitter;
use super::{BufferId, Place, Plan};
use std::ops::RangeInclusive;

/// A set of buffers that share one place from the first write to the last read.
struct Life {
    bytes: usize,
    /// Dispatches during which the bytes must stay.
    span: RangeInclusive<usize>,
}

impl Life {
    fn overlaps(&self, other: &Life) -> bool {
        self.span.start() <= other.span.end() && other.span.start() <= self.span.end()
    }
}

/// Gives every buffer that is neither input nor output a slot.
pub(super) fn assign(lowered: Emitter, batch: usize) -> Plan {
    let Emitter { mut buffers, dispatches, kept, .. } = lowered;
    // The buffer whose slot each buffer has: itself, or what it overwrites.
    let mut root: Vec<usize> = (0..buffers.len()).collect();
    for d in &dispatches {
        if let Some(BufferId(old)) = d.in_place {
            root[d.writes[0].0] = root[old];
        }
    }
    let mut lives: Vec<Option<Life>> = buffers.iter().map(|_| None).collect();
    let mut touch = |b: BufferId, t: usize| {
        if !matches!(buffers[b.0].place, Place::Slot(_)) {
            return;
        }
        let bytes = buffers[b.0].shape.bytes();
        let life = lives[root[b.0]].get_or_insert(Life { bytes, span: t..=t });
        life.bytes = life.bytes.max(bytes);
        life.span = *life.span.start().min(&t)..=*life.span.end().max(&t);
    };
    for (t, d) in dispatches.iter().enumerate() {
        d.reads.iter().chain(&d.writes).chain(&d.in_place).for_each(|b| touch(*b, t));
    }
    for part in kept.iter().flat_map(|k| &k.parts) {
        touch(part.buffer, dispatches.len());
    }
    let roots: Vec<usize> = (0..lives.len()).filter(|&b| lives[b].is_some()).collect();
    let lives: Vec<Life> = lives.into_iter().flatten().collect();

    let lower_bound = (0..=dispatches.len())
        .map(|t| lives.iter().filter(|l| l.span.contains(&t)).map(|l| l.bytes).sum())
        .max()
        .unwrap_or(0);
    let (slots, slot_of) = best_slots(&lives, lower_bound);
    for (b, buffer) in buffers.iter_mut().enumerate() {
        if let Place::Slot(slot) = &mut buffer.place
            && let Ok(life) = roots.binary_search(&root[b])
        {
            *slot = slot_of[life];
        }
    }
    Plan { batch, buffers, slots, dispatches, kept, lower_bound }
}

/// Orders tried after first fit by size.
const RESTARTS: u64 = 400;

fn best_slots(lives: &[Life], lower_bound: usize) -> (Vec<usize>, Vec<usize>) {
    let mut order: Vec<usize> = (0..lives.len()).collect();
    order.sort_by_key(|&i| (std::cmp::Reverse(lives[i].bytes), *lives[i].span.start()));
    let mut best = first_fit(lives, &order);
    let total = |slots: &[usize]| slots.iter().sum::<usize>();
    for restart in 1..=RESTARTS {
        if total(&best.0) == lower_bound {
            break;
        }
        let jitter =
            |i: usize| lives[i].bytes as u64 * (512 + hash(restart * 0x1_0000_0001 + i as u64) % 1024);
        order.sort_by_key(|&i| (std::cmp::Reverse(jitter(i)), i));
        let tried = first_fit(lives, &order);
        if total(&tried.0) < total(&best.0) {
            best = tried;
        }
    }
    best
}

/// SplitMix64: a fixed sequence, so that plans repeat.
fn hash(seed: u64) -> u64 {
    let mut z = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15);
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}

/// Puts lives into slots in the given order, each into the free slot that grows least, then fits closest.
fn first_fit(lives: &[Life], order: &[usize]) -> (Vec<usize>, Vec<usize>) {
    let mut slots: Vec<(usize, Vec<usize>)> = vec![];
    let mut slot_of = vec![0; lives.len()];
    for &i in order {
        let bytes = lives[i].bytes;
        let free = (0..slots.len()).filter(|&s| !slots[s].1.iter().any(|&j| lives[i].overlaps(&lives[j])));
        let chosen = free.min_by_key(|&s| (bytes.saturating_sub(slots[s].0), slots[s].0.abs_diff(bytes)));
        match chosen {
            Some(s) => {
                slots[s].0 = slots[s].0.max(bytes);
                slots[s].1.push(i);
                slot_of[i] = s;
            }
            None => {
                slot_of[i] = slots.len();
                slots.push((bytes, vec![i]));
            }
        }
    }
    (slots.into_iter().map(|(bytes, _)| bytes).collect(), slot_of)
}
