//! Memory of a plan's slots: one buffer each, or ranges of an arena ([`ArenaRanges`]).

use super::software::ArenaRanges;
use super::{Gpu, GpuError};
use crate::plan::Plan;
use wgpu::{Buffer, BufferDescriptor, BufferUsages};

/// The slots on a device.
pub(super) struct Slots {
    /// The buffer of each slot, and the offset in it.
    parts: Vec<(Buffer, u64)>,
    arena: Option<Buffer>,
}

impl Slots {
    /// Allocates the slots of a plan.
    pub(super) async fn new(gpu: &Gpu, plan: &Plan, arena: Option<&ArenaRanges>) -> Result<Slots, GpuError> {
        let buffer = |label: &str, size: u64| {
            let usage = BufferUsages::STORAGE | BufferUsages::COPY_SRC;
            let descriptor = BufferDescriptor { label: Some(label), size, usage, mapped_at_creation: false };
            gpu.device().create_buffer(&descriptor)
        };
        let allocate = || match arena {
            Some(ranges) => {
                let arena = buffer("arena", ranges.size);
                let parts = ranges.starts.iter().map(|start| (arena.clone(), *start)).collect();
                Slots { parts, arena: Some(arena) }
            }
            None => {
                let parts = plan.slots.iter().map(|bytes| (buffer("slot", *bytes as u64), 0)).collect();
                Slots { parts, arena: None }
            }
        };
        gpu.scoped("the activations", allocate).await
    }

    /// The buffer that holds a slot, and the slot's offset.
    pub(super) fn part(&self, slot: usize) -> (&Buffer, u64) {
        let (buffer, start) = &self.parts[slot];
        (buffer, *start)
    }

    /// Bytes of all buffers.
    pub(super) fn bytes(&self) -> usize {
        let bytes = |buffer: &Buffer| buffer.size() as usize;
        self.arena.as_ref().map_or_else(|| self.parts.iter().map(|(buffer, _)| bytes(buffer)).sum(), bytes)
    }

    /// The arena, if the slots are in one.
    pub(super) fn arena(&self) -> Option<&Buffer> {
        self.arena.as_ref()
    }
}
