//! Differences on software Vulkan: buffers are ranges of an arena, shaders are compiled in the background, weights are written in place,
//! and available memory is checked first, since it is the host's. The kernels are in `kernel::software`.

#[cfg(not(target_arch = "wasm32"))]
use super::pipeline::Pipeline;
use super::{Gpu, GpuError};
use crate::kernel::{Arena, Capabilities, Class, Layout, Precision};
#[cfg(not(target_arch = "wasm32"))]
use crate::kernel::{Binding, Shader};
use crate::memory;
use crate::plan::{BufferId, Dispatch, Place, Plan};

/// Alignment of binding offsets that every adapter accepts.
const ALIGNMENT: u64 = 256;
/// Bytes of a quad of f32.
const QUAD: u64 = 16;

/// Whether a device is software Vulkan.
pub(super) fn is(gpu: &Gpu) -> bool {
    gpu.capabilities().class == Class::Software
}

/// Whether weights are written in place, without the queue.
pub(super) fn writes_in_place(gpu: &Gpu) -> bool {
    is(gpu) && gpu.device().features().contains(wgpu::Features::MAPPABLE_PRIMARY_BUFFERS)
}

/// Checks that memory is available: a software GPU uses the host's, where a too large allocation may abort the process.
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

/// Byte offsets of the slots in an arena, and its size.
pub(super) struct ArenaRanges {
    pub(super) starts: Vec<u64>,
    pub(super) size: u64,
}

impl ArenaRanges {
    /// The layout of an arena; `None` if the adapter's kernels do not use one, or if it would exceed the binding limit.
    pub(super) fn new(plan: &Plan, caps: &Capabilities) -> Option<ArenaRanges> {
        let quads =
            |b: &crate::plan::Buffer| b.shape.layout == Layout::Packed && b.shape.precision == Precision::F32;
        let inner = |b: &&crate::plan::Buffer| matches!(b.place, Place::Slot(_));
        if !caps.shares_buffers() || !plan.buffers.iter().filter(inner).all(quads) {
            return None;
        }
        // The first bytes stay zero: elements outside a window are read there.
        let mut size = ALIGNMENT;
        let mut starts = vec![];
        for bytes in &plan.slots {
            starts.push(size);
            size += (*bytes as u64).next_multiple_of(ALIGNMENT);
        }
        (size <= caps.limits.max_binding_bytes).then_some(ArenaRanges { starts, size })
    }

    /// Arena offsets of a dispatch's buffers.
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

/// Dispatches zero workgroups of every shader. A software driver compiles a shader at its first dispatch, on its own thread, so
/// compilation overlaps with packing weights. Compilation is finished when the submission is.
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
