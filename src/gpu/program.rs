//! The executable form of a plan: pipelines and bind groups of every dispatch, in order.

use super::pipeline::{Pipeline, make_pipelines, whole_from};
use super::slots::Slots;
use super::{Gpu, GpuError};
use crate::kernel::{Choice, Kernel, Role, Rounding, Shader};
use crate::plan::{BufferId, Place, Plan};
use std::collections::HashMap;
use std::ops::Range;
use std::sync::Arc;
use wgpu::{BindGroup, Buffer, BufferBinding, ComputePass};

/// One dispatch of a plan, without its bind groups.
struct ProgramStep {
    /// Index of the pipeline of each of the kernel's shaders.
    pipelines: Vec<usize>,
    kernel: Kernel,
}

/// One bind group per shader of a kernel.
type BindGroups = Vec<BindGroup>;

/// All dispatches of a plan with their bindings.
pub(super) struct Program {
    pipelines: Vec<Pipeline>,
    steps: Vec<ProgramStep>,
    slots: Slots,
    /// Shared by all kernels that bind it; as large as the largest needs.
    scratch: Option<Buffer>,
    /// The weights of each dispatch, possibly shared with other sessions.
    weights: Vec<Option<Arc<Buffer>>>,
    /// Bind groups of the dispatches that touch neither input nor output; `None` for those that do.
    internal_bind_groups: Vec<Option<BindGroups>>,
}

/// Bind groups of the dispatches that use the input or the output, for one pair of buffers.
pub(super) type IoBindGroups = Vec<(usize, BindGroups)>;

/// Compiled dispatches, before the weights exist.
pub(super) struct Compiled {
    pipelines: Vec<Pipeline>,
    steps: Vec<ProgramStep>,
    /// The submission after which background compilation is finished.
    #[cfg(not(target_arch = "wasm32"))]
    background: Option<wgpu::SubmissionIndex>,
}

impl Compiled {
    /// Creates one pipeline per distinct shader. `safe` keeps wgpu's run-time checks.
    pub(super) async fn new(gpu: &Gpu, kernels: Vec<Kernel>, safe: bool) -> Result<Compiled, GpuError> {
        let mut sources: Vec<(String, Shader)> = vec![];
        let mut known: HashMap<String, usize> = HashMap::new();
        let mut steps = vec![];
        for mut kernel in kernels {
            let pipelines = kernel.shaders.iter_mut().map(|shader| {
                let pipeline = *known.entry(shader.key()).or_insert_with(|| {
                    sources.push((kernel.choice.to_string(), shader.clone()));
                    sources.len() - 1
                });
                // The text is no longer needed; bindings and grid are.
                shader.forget_text();
                pipeline
            });
            steps.push(ProgramStep { pipelines: pipelines.collect(), kernel });
        }
        drop(known);
        let pipelines = make_pipelines(gpu, &sources, safe).await?;
        #[cfg(not(target_arch = "wasm32"))]
        let background = match super::software::is(gpu) {
            true => {
                let shaders: Vec<&Shader> = sources.iter().map(|(_, shader)| shader).collect();
                let compile = || super::software::compile_in_background(gpu, &pipelines, &shaders);
                Some(gpu.scoped("a shader", compile).await?)
            }
            false => None,
        };
        Ok(Compiled {
            pipelines,
            steps,
            #[cfg(not(target_arch = "wasm32"))]
            background,
        })
    }

    /// Waits for background compilation.
    pub(super) fn finish(&mut self, _gpu: &Gpu) -> Result<(), GpuError> {
        #[cfg(not(target_arch = "wasm32"))]
        if let Some(index) = self.background.take() {
            super::wait::wait(_gpu, "compiling the shaders", index)?;
        }
        Ok(())
    }

    /// The kernels by dispatch, without their text.
    pub(super) fn kernels(&self) -> impl Iterator<Item = &Kernel> {
        self.steps.iter().map(|s| &s.kernel)
    }

    /// The kernel of a dispatch.
    #[cfg(not(target_arch = "wasm32"))]
    pub(super) fn kernel(&self, dispatch: usize) -> &Kernel {
        &self.steps[dispatch].kernel
    }

    /// The pipelines of a dispatch's shaders, in order.
    #[cfg(not(target_arch = "wasm32"))]
    pub(super) fn pipelines_of(&self, dispatch: usize) -> Vec<Pipeline> {
        self.steps[dispatch].pipelines.iter().map(|p| self.pipelines[*p].clone()).collect()
    }
}

impl Program {
    /// Creates the bind groups of a plan's dispatches.
    pub(super) async fn new(
        gpu: &Gpu,
        plan: &Plan,
        compiled: Compiled,
        slots: Slots,
        weights: Vec<Option<Arc<Buffer>>>,
    ) -> Result<Program, GpuError> {
        let Compiled { pipelines, steps, .. } = compiled;
        let bytes = steps.iter().map(|s| s.kernel.scratch).max().unwrap_or(0);
        let scratch = scratch(gpu, bytes).await?;
        let mut program = Program { pipelines, steps, slots, scratch, weights, internal_bind_groups: vec![] };
        let internal_bind_groups = || {
            let touches = |i: usize| program.touches_io(plan, i);
            (0..program.steps.len())
                .map(|i| (!touches(i)).then(|| program.bind(gpu, plan, i, None)))
                .collect::<Vec<_>>()
        };
        program.internal_bind_groups = gpu.scoped("the bind groups", internal_bind_groups).await?;
        Ok(program)
    }

    /// Number of distinct shaders.
    pub(super) fn pipelines(&self) -> usize {
        self.pipelines.len()
    }

    /// Bytes of the slots, including padding in an arena.
    pub(super) fn slot_bytes(&self) -> usize {
        self.slots.bytes()
    }

    /// Bytes of the scratch buffer.
    pub(super) fn scratch_bytes(&self) -> usize {
        self.scratch.as_ref().map_or(0, |s| s.size() as usize)
    }

    /// Bytes of the weights, by dispatch.
    pub(super) fn weight_bytes(&self) -> impl Iterator<Item = usize> {
        self.weights.iter().map(|w| w.as_ref().map_or(0, |w| w.size() as usize))
    }

    /// Names of the kernels, by dispatch.
    pub(super) fn choices(&self) -> impl ExactSizeIterator<Item = Choice> {
        self.steps.iter().map(|s| s.kernel.choice)
    }

    /// Rounding bound of a dispatch's kernel.
    pub(super) fn rounding(&self, dispatch: usize) -> Rounding {
        self.steps[dispatch].kernel.rounding()
    }

    /// Number of dispatches.
    pub(super) fn len(&self) -> usize {
        self.steps.len()
    }

    /// The buffer that holds a slot, and the slot's offset.
    pub(super) fn slot(&self, index: usize) -> (&Buffer, u64) {
        self.slots.part(index)
    }

    /// The bind groups that refer to the input or the output.
    pub(super) fn io_bind_groups(
        &self,
        gpu: &Gpu,
        plan: &Plan,
        input: &Buffer,
        output: &Buffer,
    ) -> IoBindGroups {
        let touching = (0..self.steps.len()).filter(|&i| self.internal_bind_groups[i].is_none());
        touching.map(|i| (i, self.bind(gpu, plan, i, Some((input, output))))).collect()
    }

    /// Records a range of dispatches.
    pub(super) fn record(
        &self,
        pass: &mut ComputePass<'_>,
        io_bind_groups: &IoBindGroups,
        dispatches: Range<usize>,
    ) {
        let mut current = None;
        for i in dispatches {
            let step = &self.steps[i];
            let of_io = || io_bind_groups.iter().find(|(at, _)| *at == i).map(|(_, groups)| groups);
            let groups = self.internal_bind_groups[i].as_ref().or_else(of_io).into_iter().flatten();
            for ((&pipeline, shader), group) in step.pipelines.iter().zip(&step.kernel.shaders).zip(groups) {
                if current != Some(pipeline) {
                    pass.set_pipeline(&self.pipelines[pipeline].pipeline);
                    current = Some(pipeline);
                }
                pass.set_bind_group(0, group, &[]);
                let [x, y, z] = shader.grid;
                pass.dispatch_workgroups(x, y, z);
            }
        }
    }

    fn touches_io(&self, plan: &Plan, index: usize) -> bool {
        let d = &plan.dispatches[index];
        let outer = |id: &BufferId| !matches!(plan.buffer(*id).place, Place::Slot(_));
        d.reads.iter().chain(&d.writes).any(outer)
    }

    fn bind(
        &self,
        gpu: &Gpu,
        plan: &Plan,
        index: usize,
        io_bind_groups: Option<(&Buffer, &Buffer)>,
    ) -> BindGroups {
        let (dispatch, step) = (&plan.dispatches[index], &self.steps[index]);
        let part = |id: BufferId| {
            let buffer = plan.buffer(id);
            let (held, offset) = match (buffer.place, io_bind_groups) {
                (Place::Slot(slot), _) => self.slots.part(slot),
                (Place::Input, Some((input, _))) => (input, 0),
                (Place::Output, Some((_, output))) => (output, 0),
                // `internal_bind_groups` holds no dispatch that touches input or output.
                (_, None) => unreachable!("a dispatch inside the network"),
            };
            let size = wgpu::BufferSize::new(buffer.shape.bytes() as u64);
            wgpu::BindingResource::Buffer(BufferBinding { buffer: held, offset, size })
        };
        let groups = step.kernel.shaders.iter().zip(&step.pipelines).map(|(shader, &pipeline)| {
            let resource = |role| {
                Some(match role {
                    Role::Read(r) => part(dispatch.reads[r]),
                    Role::Write(w) => part(dispatch.writes[w]),
                    Role::Weights(from) => whole_from(self.weights[index].as_ref()?, from),
                    Role::Arena => self.slots.arena()?.as_entire_binding(),
                    Role::Scratch => self.scratch.as_ref()?.as_entire_binding(),
                })
            };
            self.pipelines[pipeline].bind(gpu, &dispatch.name, shader, |b| resource(b.role))
        });
        groups.collect()
    }
}

/// Allocates the scratch buffer; `None` for 0 bytes.
pub(super) async fn scratch(gpu: &Gpu, bytes: u64) -> Result<Option<Buffer>, GpuError> {
    if bytes == 0 {
        return Ok(None);
    }
    let descriptor = wgpu::BufferDescriptor {
        label: Some("scratch"),
        size: bytes,
        usage: wgpu::BufferUsages::STORAGE,
        mapped_at_creation: false,
    };
    gpu.scoped("the activations", || gpu.device().create_buffer(&descriptor)).await.map(Some)
}
