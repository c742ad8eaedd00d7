//! Compiled shaders, and what they bind.

use super::{Gpu, GpuError};
use crate::kernel::{Binding, Shader};
use wgpu::{
    BindGroup, BindGroupLayout, BindingResource, Buffer, BufferBinding, BufferBindingType, ComputePipeline,
    ShaderStages,
};

/// A pipeline with the layout of its bind group.
pub(super) struct Pipeline {
    pub(super) pipeline: ComputePipeline,
    layout: BindGroupLayout,
}

impl Pipeline {
    /// Binds to every binding of its shader what `resource` gives for it. Where that is nothing, wgpu refuses the group.
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

/// A buffer from a byte on.
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
    // Error scopes belong to threads; each pipeline opens and closes its own where it is made.
    let make = |(name, shader): &(String, Shader)| pollster::block_on(make_pipeline(gpu, name, shader, safe));
    crate::threads::map(sources.len(), |i| make(&sources[i])).into_iter().collect()
}

/// A browser compiles aside by itself.
#[cfg(target_arch = "wasm32")]
pub(super) async fn make_pipelines(
    gpu: &Gpu,
    sources: &[(String, Shader)],
    safe: bool,
) -> Result<Vec<Pipeline>, GpuError> {
    let mut pipelines = vec![];
    for (name, shader) in sources {
        pipelines.push(make_pipeline(gpu, name, shader, safe).await?);
    }
    Ok(pipelines)
}

pub(super) async fn make_pipeline(
    gpu: &Gpu,
    name: &str,
    shader: &Shader,
    safe: bool,
) -> Result<Pipeline, GpuError> {
    let make = || {
        let device = gpu.device();
        let label = Some(name);
        let descriptor =
            wgpu::ShaderModuleDescriptor { label, source: wgpu::ShaderSource::Wgsl(shader.wgsl().into()) };
        let module = if safe {
            device.create_shader_module(descriptor)
        } else {
            // SAFETY: the text comes from `kernel::select` and `kernel::candidates` alone. Its loops count to constants, or to sizes
            // of the spec that come with the weights; its indices stay inside
            // buffers of the shapes of its spec, which are the sizes bound here; it divides by constants and sizes other than 0.
            // Tests run every kernel with the checks on as well and compare.
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
    gpu.scoped("a shader", make).await
}
