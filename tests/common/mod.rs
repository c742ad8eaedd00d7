//! What several test files need.
#![allow(dead_code, unused_imports, reason = "each test file uses its share")]

pub mod fixtures;
pub mod harness;
pub mod oracle;
pub mod random;
pub mod seeded;
pub mod specs;

pub use harness::*;

/// A device with what the kernels may use of it.
pub struct Gpu {
    pub name: String,
    pub device: wgpu::Device,
    pub queue: wgpu::Queue,
    pub caps: Capabilities,
}

/// Every Vulkan adapter present.
pub fn adapters() -> Vec<Gpu> {
    let mut descriptor = wgpu::InstanceDescriptor::new_without_display_handle();
    descriptor.backends = wgpu::Backends::VULKAN;
    let instance = wgpu::Instance::new(descriptor);
    let adapters = pollster::block_on(instance.enumerate_adapters(wgpu::Backends::VULKAN));
    adapters.into_iter().map(open).collect()
}

fn open(adapter: wgpu::Adapter) -> Gpu {
    let info = adapter.get_info();
    let features = adapter.features() & (wgpu::Features::SUBGROUP | wgpu::Features::SHADER_INT64);
    let limits = adapter.limits();
    let (device, queue) = pollster::block_on(adapter.request_device(&wgpu::DeviceDescriptor {
        required_features: features,
        required_limits: limits.clone(),
        ..Default::default()
    }))
    .expect("an adapter gives a device");
    let same = info.subgroup_min_size == info.subgroup_max_size;
    let subgroup = features.contains(wgpu::Features::SUBGROUP) && same;
    let caps = Capabilities {
        subgroup_size: subgroup.then_some(info.subgroup_min_size),
        int64: features.contains(wgpu::Features::SHADER_INT64) && std::env::var_os("NO_INT64").is_none(),
        software: info.device_type == wgpu::DeviceType::Cpu,
        max_workgroup_invocations: limits.max_compute_invocations_per_workgroup,
        max_workgroup_memory: limits.max_compute_workgroup_storage_size,
        max_workgroups: limits.max_compute_workgroups_per_dimension,
        max_binding_bytes: limits.max_storage_buffer_binding_size,
        max_storage_buffers: limits.max_storage_buffers_per_shader_stage,
    };
    Gpu { name: info.name, device, queue, caps }
}

/// A pipeline with its buffers bound.
pub struct Prepared {
    pipeline: wgpu::ComputePipeline,
    group: wgpu::BindGroup,
    grid: [u32; 3],
    outputs: Vec<wgpu::Buffer>,
    /// Seconds it took to make the pipeline.
    pub compile: f64,
}

impl Gpu {
    fn buffer(&self, data: &[f32]) -> wgpu::Buffer {
        let usage = wgpu::BufferUsages::STORAGE | wgpu::BufferUsages::COPY_DST | wgpu::BufferUsages::COPY_SRC;
        let size = (data.len() * 4).max(16) as u64;
        let buffer = self.device.create_buffer(&wgpu::BufferDescriptor {
            label: None,
            size,
            usage,
            mapped_at_creation: false,
        });
        self.queue.write_buffer(&buffer, 0, bytemuck::cast_slice(data));
        buffer
    }

    /// Compiles a kernel and uploads its buffers. `safe`: with wgpu's runtime checks.
    pub fn prepare(
        &self,
        kernel: &Kernel,
        reads: &[Vec<f32>],
        writes: &[Vec<f32>],
        weights: &[f32],
        safe: bool,
    ) -> Prepared {
        let start = Instant::now();
        let source = wgpu::ShaderModuleDescriptor {
            label: Some(&kernel.name),
            source: wgpu::ShaderSource::Wgsl(kernel.wgsl.as_str().into()),
        };
        let module = if safe {
            self.device.create_shader_module(source)
        } else {
            // SAFETY: the kernels clamp every index to its buffer and their loops end; the same shaders run checked too.
            unsafe {
                self.device.create_shader_module_trusted(source, wgpu::ShaderRuntimeChecks::unchecked())
            }
        };
        let pipeline = self.device.create_compute_pipeline(&wgpu::ComputePipelineDescriptor {
            label: Some(&kernel.name),
            layout: None,
            module: &module,
            entry_point: Some(kernel.entry),
            compilation_options: wgpu::PipelineCompilationOptions {
                zero_initialize_workgroup_memory: false,
                ..Default::default()
            },
            cache: None,
        });
        let compile = start.elapsed().as_secs_f64();
        let outputs: Vec<_> = writes.iter().map(|w| self.buffer(w)).collect();
        let inputs: Vec<_> = reads.iter().map(|r| self.buffer(r)).collect();
        let weights = self.buffer(weights);
        let entries: Vec<_> = kernel
            .bindings
            .iter()
            .enumerate()
            .map(|(i, binding)| {
                let buffer = match binding.role {
                    Role::Read(n) => &inputs[n],
                    Role::Write(n) => &outputs[n],
                    Role::Weights => &weights,
                };
                wgpu::BindGroupEntry { binding: i as u32, resource: buffer.as_entire_binding() }
            })
            .collect();
        let group = self.device.create_bind_group(&wgpu::BindGroupDescriptor {
            label: None,
            layout: &pipeline.get_bind_group_layout(0),
            entries: &entries,
        });
        Prepared { pipeline, group, grid: kernel.grid, outputs, compile }
    }

    /// Dispatches `times` times in one pass and waits; seconds.
    pub fn dispatch(&self, prepared: &Prepared, times: usize) -> f64 {
        let mut encoder = self.device.create_command_encoder(&Default::default());
        {
            let mut pass = encoder.begin_compute_pass(&Default::default());
            pass.set_pipeline(&prepared.pipeline);
            pass.set_bind_group(0, &prepared.group, &[]);
            for _ in 0..times {
                let [x, y, z] = prepared.grid;
                pass.dispatch_workgroups(x, y, z);
            }
        }
        let commands = encoder.finish();
        let start = Instant::now();
        self.queue.submit([commands]);
        self.device.poll(wgpu::PollType::wait_indefinitely()).expect("the device finishes");
        start.elapsed().as_secs_f64()
    }

    /// Contents of the written buffers.
    pub fn outputs(&self, prepared: &Prepared) -> Vec<Vec<f32>> {
        let read = |buffer: &wgpu::Buffer| {
            let staging = self.device.create_buffer(&wgpu::BufferDescriptor {
                label: None,
                size: buffer.size(),
                usage: wgpu::BufferUsages::MAP_READ | wgpu::BufferUsages::COPY_DST,
                mapped_at_creation: false,
            });
            let mut encoder = self.device.create_command_encoder(&Default::default());
            encoder.copy_buffer_to_buffer(buffer, 0, &staging, 0, buffer.size());
            self.queue.submit([encoder.finish()]);
            staging.map_async(wgpu::MapMode::Read, .., |result| result.expect("mapping"));
            self.device.poll(wgpu::PollType::wait_indefinitely()).expect("the device finishes");
            let view = staging.get_mapped_range(..).expect("mapped");
            bytemuck::cast_slice::<u8, f32>(&view).to_vec()
        };
        prepared.outputs.iter().map(read).collect()
    }
    (worst, if worst == 0.0 { 0.0 } else { worst / scale })
}
