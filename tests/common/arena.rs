//! The buffers of a dispatch as ranges of one.
#![allow(dead_code, reason = "each test binary uses its part")]

use rmnet::kernel::{Arena, BufferShape, Layout, Precision, Spec};

/// f32 words of the zeros in front of an arena, and of the least distance of its buffers.
pub const ZEROS: usize = 64;
pub const ARENA_WORDS: usize = 4 * ZEROS;

/// An arena with every buffer of a dispatch that can be in one: quads of f32.
pub fn arena(spec: &Spec) -> Arena {
    let mut next = ZEROS / 4;
    let mut place = |shape: &BufferShape| {
        let fits = shape.layout == Layout::Packed && shape.precision == Precision::F32;
        fits.then(|| {
            let start = next;
            next += (shape.elements() + 1).next_multiple_of(ZEROS) / 4;
            start as u32
        })
    };
    let added = match spec {
        Spec::Conv(conv) => conv.k_ranges.len()..conv.k_ranges.len() + conv.in_place,
        _ => 0..0,
    };
    let mut reads: Vec<Option<u32>> = vec![];
    let operands = spec.operands();
    for (_, operand) in operands.iter().enumerate().filter(|(i, _)| !added.contains(i)) {
        reads.resize(reads.len().max(operand.buffer + 1), None);
        if reads[operand.buffer].is_none() {
            reads[operand.buffer] = place(&operand.shape);
        }
    }
    let writes = spec.outputs().iter().map(place).collect();
    Arena { reads, writes }
}
