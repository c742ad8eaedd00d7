//! Compiled shaders and their bind groups.

use super::{Gpu, GpuError};
use crate::kernel::{Binding, Shader};
use wgpu::{
    BindGroup, BindGroupLayout, BindingResource, Buffer, BufferBinding, BufferBindingType, ComputePipeline,
    ShaderStages,
};

/// A pipeline with the layout of its bind group. Clones share it.
#[derive(Clone)]
pub(super) struct Pipeline {
    pub(super) pipeline: ComputePipeline,
    layout: BindGroupLayout,
}

impl Pipeline {
    /// Creates a bind group with the resource that `resource` returns for each binding of the shader. wgpu refuses the group if one is
    /// `None`.
    pub(super) fn bind<'a>(
        &self,
        gpu: &Gpu,
        label: &str,
        shader: &Shader,
        resource: impl Fn(&Binding) -> Option<BindingResource<'a>>,
    ) -> BindGroup {
        let bindings = shader.bindings.iter().enumerate();
        let entry = |(n, b)| Some(wgpu::BindGroupEntry { binding: n as u32, resource: resource(b)? });
        let entries: Vec<_> = bindings.filter_map(entry).collect();
        gpu.device().create_bind_group(&wgpu::BindGroupDescriptor {
            label: Some(label),
            layout: &self.layout,
            entries: &entries,
        })
    }
}

/// A buffer from byte `offset` on.
pub(super) fn whole_from(buffer: &Buffer, offset: u64) -> BindingResource<'_> {
    BindingResource::Buffer(BufferBinding { buffer, offset, size: None })
}

/// Compiles on all cores.
#[cfg(not(target_arch = "wasm32"))]
pub(super) async fn make_pipelines(
    gpu: &Gpu,
    sources: &[(String, Shader)],
    safe: bool,
) -> Result<Vec<Pipeline>, GpuError> {
    // Error scopes are per thread: each pipeline is created within its own.
    let make = |(name, shader): &(String, Shader)| pollster::block_on(make_pipeline(gpu, name, shader, safe));
    crate::threads::map(sources.len(), |i| make(&sources[i])).into_iter().collect()
}

/// Browsers compile in the background: all are requested before the first is awaited.
#[cfg(target_arch = "wasm32")]
pub(super) async fn make_pipelines(
    gpu: &Gpu,
    sources: &[(String, Shader)],
    safe: bool,
) -> Result<Vec<Pipeline>, GpuError> {
    let requested: Vec<_> =
        sources.iter().map(|(name, shader)| make_pipeline(gpu, name, shader, safe)).collect();
    let mut pipelines = vec![];
    for pipeline in requested {
        pipelines.push(pipeline.await?);
    }
    Ok(pipelines)
}

/// Requests a pipeline; the future returns it, or the browser's or driver's refusal.
pub(super) fn make_pipeline(
    gpu: &Gpu,
    name: &str,
    shader: &Shader,
    safe: bool,
) -> impl Future<Output = Result<Pipeline, GpuError>> {
    let make = move || {
        let device = gpu.device();
        let label = Some(name);
        let descriptor =
            wgpu::ShaderModuleDescriptor { label, source: wgpu::ShaderSource::Wgsl(shader.wgsl().into()) };
        let module = if safe {
            device.create_shader_module(descriptor)
        } else {
            // SAFETY: the text comes only from `kernel::select` and `kernel::candidates`. Loops are bounded by constants or by sizes
            // stored with the weights; indices stay inside buffers of the spec's shapes, which are the bound sizes; divisors are nonzero
            // constants and sizes. Tests also run every kernel with checks enabled and compare.
            unsafe { device.create_shader_module_trusted(descriptor, wgpu::ShaderRuntimeChecks::unchecked()) }
        };
        let entries: Vec<_> = shader
            .bindings
            .iter()
            .enumerate()
            .map(|(n, binding)| wgpu::BindGroupLayoutEntry {
                binding: n as u32,
                visibility: ShaderStages::COMPUTE,
                ty: wgpu::BindingType::Buffer {
                    ty: BufferBindingType::Storage { read_only: !binding.writable },
                    has_dynamic_offset: false,
                    min_binding_size: None,
                },
                count: None,
            })
            .collect();
        let layout =
            device.create_bind_group_layout(&wgpu::BindGroupLayoutDescriptor { label, entries: &entries });
        let pipeline_layout = device.create_pipeline_layout(&wgpu::PipelineLayoutDescriptor {
            label,
            bind_group_layouts: &[Some(&layout)],
            immediate_size: 0,
        });
        let pipeline = device.create_compute_pipeline(&wgpu::ComputePipelineDescriptor {
            label,
            layout: Some(&pipeline_layout),
            module: &module,
            entry_point: Some(shader.entry),
            compilation_options: wgpu::PipelineCompilationOptions {
                zero_initialize_workgroup_memory: safe,
                ..Default::default()
            },
            cache: gpu.cache.as_ref(),
        });
        Pipeline { pipeline, layout }
    };
    gpu.scoped("a shader", make)
}
