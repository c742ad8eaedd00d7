//! Memory of a plan's slots: a buffer each, or on software adapters ranges of one, for kernels that are told at run time where
//! their buffers are.

use super::{Gpu, GpuError};
use crate::kernel::{Arena, Capabilities, Layout, Precision};
use crate::plan::{BufferId, Dispatch, Place, Plan};
use wgpu::{Buffer, BufferDescriptor, BufferUsages};

/// Offsets in a bound buffer are multiples of this on every adapter.
const ALIGNMENT: u64 = 256;
/// Bytes of a quad of f32.
const QUAD: u64 = 16;

/// The slots on a device.
pub(super) struct Slots {
    /// Where each is: a buffer and an offset in it.
    parts: Vec<(Buffer, u64)>,
    arena: Option<Buffer>,
}

/// Where the slots start in an arena, in bytes, and its size.
pub(super) struct Starts {
    starts: Vec<u64>,
    size: u64,
}

impl Starts {
    /// Where kernels of an adapter gain from an arena: `None` where they do not, or where it would pass the binding limit.
    pub(super) fn new(plan: &Plan, caps: &Capabilities) -> Option<Starts> {
        let quads =
            |b: &crate::plan::Buffer| b.shape.layout == Layout::Packed && b.shape.precision == Precision::F32;
        let inner = |b: &&crate::plan::Buffer| matches!(b.place, Place::Slot(_));
        if !caps.shares_buffers() || !plan.buffers.iter().filter(inner).all(quads) {
            return None;
        }
        // What lies outside a window is read from the start, which stays zero.
        let mut size = ALIGNMENT;
        let mut starts = vec![];
        for bytes in &plan.slots {
            starts.push(size);
            size += (*bytes as u64).next_multiple_of(ALIGNMENT);
        }
        (size <= caps.limits.max_binding_bytes).then_some(Starts { starts, size })
    }

    /// Where the buffers of a dispatch are.
    pub(super) fn arena(&self, plan: &Plan, dispatch: &Dispatch) -> Arena {
        let start = |id: &BufferId| match plan.buffer(*id).place {
            Place::Slot(slot) => Some((self.starts[slot] / QUAD) as u32),
            Place::Input | Place::Output => None,
        };
        Arena {
            reads: dispatch.reads.iter().map(start).collect(),
            writes: dispatch.writes.iter().map(start).collect(),
        }
    }
}

impl Slots {
    /// Allocates the slots of a plan.
    pub(super) async fn new(gpu: &Gpu, plan: &Plan, starts: Option<&Starts>) -> Result<Slots, GpuError> {
        let buffer = |label: &str, size: u64| {
            let usage = BufferUsages::STORAGE | BufferUsages::COPY_SRC;
            let descriptor = BufferDescriptor { label: Some(label), size, usage, mapped_at_creation: false };
            gpu.device().create_buffer(&descriptor)
        };
        let allocate = || match starts {
            Some(starts) => {
                let arena = buffer("arena", starts.size);
                let parts = starts.starts.iter().map(|start| (arena.clone(), *start)).collect();
                Slots { parts, arena: Some(arena) }
            }
            None => {
                let parts = plan.slots.iter().map(|bytes| (buffer("slot", *bytes as u64), 0)).collect();
                Slots { parts, arena: None }
            }
        };
        gpu.scoped("the activations", allocate).await
    }

    /// The buffer a slot is in, and where in it.
    pub(super) fn part(&self, slot: usize) -> (&Buffer, u64) {
        let (buffer, start) = &self.parts[slot];
        (buffer, *start)
    }

    /// Bytes of all buffers.
    pub(super) fn bytes(&self) -> usize {
        let bytes = |buffer: &Buffer| buffer.size() as usize;
        self.arena.as_ref().map_or_else(|| self.parts.iter().map(|(buffer, _)| bytes(buffer)).sum(), bytes)
    }

    /// The buffer that all slots are in, where there is one.
    pub(super) fn arena(&self) -> Option<&Buffer> {
        self.arena.as_ref()
    }
}
