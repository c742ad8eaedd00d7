//! Assigns slots to virtual buffers by live range.
//!
//! A slot is one GPU buffer, shared by buffers whose live ranges do not overlap; an in-place output gets its operand's slot. Finding the
//! smallest set of slots is a hard packing problem, so first fit is tried in many orders: by size, then by sizes jittered with a fixed
//! seed, so that plans are reproducible. Larger plans try fewer orders.

use super::emit::Emitter;
use super::{BufferId, Place, Plan};
use crate::order::ascending;
use std::collections::BTreeMap;
use std::ops::RangeInclusive;

/// A set of buffers that share one slot, from the first write to the last read.
struct LiveRange {
    bytes: usize,
    /// Dispatches during which the bytes must stay.
    span: RangeInclusive<usize>,
}

/// A slot under construction.
struct Slot {
    bytes: usize,
    /// The disjoint live ranges in it: maps start to end.
    lives: BTreeMap<usize, usize>,
}

impl Slot {
    fn is_free(&self, during: &RangeInclusive<usize>) -> bool {
        self.lives.range(..=during.end()).next_back().is_none_or(|(_, end)| end < during.start())
    }
}

/// Gives every buffer that is neither input nor output a slot.
pub(super) fn assign(lowered: Emitter, batch: usize) -> Plan {
    let Emitter { mut buffers, dispatches, kept, .. } = lowered;
    // The buffer whose slot each buffer uses: itself, or the one it overwrites.
    let mut root: Vec<usize> = (0..buffers.len()).collect();
    for d in &dispatches {
        if let Some(BufferId(old)) = d.in_place {
            root[d.writes[0].0] = root[old];
        }
    }
    let mut lives: Vec<Option<LiveRange>> = buffers.iter().map(|_| None).collect();
    let mut touch = |b: BufferId, t: usize| {
        if !matches!(buffers[b.0].place, Place::Slot(_)) {
            return;
        }
        let bytes = buffers[b.0].shape.bytes();
        let life = lives[root[b.0]].get_or_insert(LiveRange { bytes, span: t..=t });
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
    let lives: Vec<LiveRange> = lives.into_iter().flatten().collect();

    let lower_bound = max_live_bytes(&lives, dispatches.len());
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

/// Maximum bytes live at one time, during or after `dispatches` dispatches.
fn max_live_bytes(lives: &[LiveRange], dispatches: usize) -> usize {
    let (mut begin, mut end) = (vec![0usize; dispatches + 2], vec![0usize; dispatches + 2]);
    for life in lives {
        begin[*life.span.start()] = begin[*life.span.start()].saturating_add(life.bytes);
        end[life.span.end() + 1] = end[life.span.end() + 1].saturating_add(life.bytes);
    }
    let (mut alive, mut most) = (0usize, 0);
    for (begin, end) in begin.into_iter().zip(end) {
        alive = alive.saturating_sub(end).saturating_add(begin);
        most = most.max(alive);
    }
    most
}

/// Orders tried after first fit by size.
const RESTARTS: usize = 400;

/// Maximum placements over all orders: beyond about 650 live ranges fewer orders are tried.
const MAX_PLACEMENTS: usize = 1 << 18;

/// Only this many of the latest slots are tried per live range, to bound the search.
const MAX_TRIED: usize = 1024;

fn best_slots(lives: &[LiveRange], lower_bound: usize) -> (Vec<usize>, Vec<usize>) {
    let by_size = |i: usize| (std::cmp::Reverse(lives[i].bytes), *lives[i].span.start());
    let mut best = first_fit(lives, &ascending(lives.len(), &|a, b| by_size(a).cmp(&by_size(b))));
    let total = |slots: &[usize]| slots.iter().fold(0, |sum: usize, bytes| sum.saturating_add(*bytes));
    let restarts = RESTARTS.min(MAX_PLACEMENTS / lives.len().max(1)) as u64;
    for restart in 1..=restarts {
        if total(&best.0) == lower_bound {
            break;
        }
        let jitter = |i: usize| {
            lives[i].bytes as u128 * u128::from(512 + hash(restart * 0x1_0000_0001 + i as u64) % 1024)
        };
        let tried = first_fit(lives, &ascending(lives.len(), &|a, b| jitter(b).cmp(&jitter(a))));
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

/// Places live ranges in the given order, each in the free slot that grows least, then fits closest.
fn first_fit(lives: &[LiveRange], order: &[usize]) -> (Vec<usize>, Vec<usize>) {
    let mut slots: Vec<Slot> = vec![];
    let mut slot_of = vec![0; lives.len()];
    for &i in order {
        let LiveRange { bytes, span } = &lives[i];
        let first = slots.len().saturating_sub(MAX_TRIED);
        let free = (first..slots.len()).filter(|s| slots[*s].is_free(span));
        let chosen =
            free.min_by_key(|s| (bytes.saturating_sub(slots[*s].bytes), slots[*s].bytes.abs_diff(*bytes)));
        let chosen = chosen.unwrap_or_else(|| {
            slots.push(Slot { bytes: 0, lives: BTreeMap::new() });
            slots.len() - 1
        });
        let slot = &mut slots[chosen];
        slot.bytes = slot.bytes.max(*bytes);
        slot.lives.insert(*span.start(), *span.end());
        slot_of[i] = chosen;
    }
    (slots.into_iter().map(|slot| slot.bytes).collect(), slot_of)
}
