//! What is done otherwise on software Vulkan: all buffers are ranges of one, shaders are compiled aside, weights are written where they
//! stay, and memory is asked for first, since it is the host's. Its kernels are in `kernel::software`.

#[cfg(not(target_arch = "wasm32"))]
use super::pipeline::Pipeline;
use super::{Gpu, GpuError};
use crate::kernel::{Arena, Capabilities, Class, Layout, Precision};
#[cfg(not(target_arch = "wasm32"))]
use crate::kernel::{Binding, Shader};
use crate::memory;
use crate::plan::{BufferId, Dispatch, Place, Plan};

/// Offsets in a bound buffer are multiples of this on every adapter.
const ALIGNMENT: u64 = 256;
/// Bytes of a quad of f32.
const QUAD: u64 = 16;

/// Whether a device is one.
pub(super) fn is(gpu: &Gpu) -> bool {
    gpu.capabilities().class == Class::Software
}

/// Whether weights are written where they stay, without the queue.
pub(super) fn writes_in_place(gpu: &Gpu) -> bool {
    is(gpu) && gpu.device().features().contains(wgpu::Features::MAPPABLE_PRIMARY_BUFFERS)
}

/// The memory of a software GPU is the host's, and there an allocation that is too large may end the process.
pub(super) fn check_memory(gpu: &Gpu, plan: &Plan) -> Result<(), GpuError> {
    if !is(gpu) {
        return Ok(());
    }
    let weights = plan.dispatches.iter().filter_map(|d| d.weights.as_ref()).map(|w| w.bytes());
    let ends = [plan.input().shape.bytes(), plan.output().shape.bytes()];
    let bytes = plan.slots.iter().copied().chain(weights).chain(ends).fold(0, usize::saturating_add);
    let asked = memory::ask("weights and activations", bytes);
    asked.map_err(|e| GpuError::OutOfMemory { doing: format!("{} of {} bytes", e.what, e.bytes) })
}

/// Where the slots start in an arena, in bytes, and its size.
pub(super) struct ArenaRanges {
    pub(super) starts: Vec<u64>,
    pub(super) size: u64,
}

impl ArenaRanges {
    /// Where kernels of an adapter gain from an arena: `None` where they do not, or where it would pass the binding limit.
    pub(super) fn new(plan: &Plan, caps: &Capabilities) -> Option<ArenaRanges> {
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
        (size <= caps.limits.max_binding_bytes).then_some(ArenaRanges { starts, size })
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

/// Dispatches no workgroup of every shader: a software driver compiles a shader at its first dispatch, and does so on a thread of its
/// own while this one packs weights. Done when the submission is.
#[cfg(not(target_arch = "wasm32"))]
pub(super) fn compile_in_background(
    gpu: &Gpu,
    pipelines: &[Pipeline],
    shaders: &[&Shader],
) -> wgpu::SubmissionIndex {
    let device = gpu.device();
    let buffer = || {
        let usage = wgpu::BufferUsages::STORAGE;
        let descriptor =
            wgpu::BufferDescriptor { label: Some("nothing"), size: 256, usage, mapped_at_creation: false };
        device.create_buffer(&descriptor)
    };
    let (read, written) = (buffer(), buffer());
    let mut encoder = device.create_command_encoder(&Default::default());
    let mut pass = encoder.begin_compute_pass(&Default::default());
    for (pipeline, shader) in pipelines.iter().zip(shaders) {
        let resource = |b: &Binding| Some(if b.writable { &written } else { &read }.as_entire_binding());
        let group = pipeline.bind(gpu, "nothing", shader, resource);
        pass.set_pipeline(&pipeline.pipeline);
        pass.set_bind_group(0, &group, &[]);
        pass.dispatch_workgroups(0, 0, 0);
    }
    drop(pass);
    gpu.queue().submit([encoder.finish()])
}
