//! A small wgpu harness for single dispatches.

use super::arena::{ARENA_WORDS, ZEROS};
use super::parallel::{worker, workers};
use rmnet::kernel::{Arena, Capabilities, Class, Features, Kernel, Limits, Role, Shader, Spec};
pub use rmnet::trial::{TrialData as Data, decoded};
use std::ops::Range;
use std::time::Instant;

/// A device with what the kernels may use of it.
pub struct Gpu {
    pub name: String,
    pub caps: Capabilities,
    /// One, or of a software adapter one for each thread of `in_parallel`: llvmpipe compiles on the queue's own thread.
    devices: Vec<(wgpu::Device, wgpu::Queue)>,
}

/// Every Vulkan adapter present.
pub fn adapters() -> Vec<Gpu> {
    let mut descriptor = wgpu::InstanceDescriptor::new_without_display_handle();
    descriptor.backends = wgpu::Backends::VULKAN;
    let instance = wgpu::Instance::new(descriptor);
    let adapters = pollster::block_on(instance.enumerate_adapters(wgpu::Backends::VULKAN));
    adapters.into_iter().map(open).collect()
}

/// The adapters that share buffers: of those in CI llvmpipe; SwiftShader has no 64-bit integers.
pub fn sharing() -> Vec<Gpu> {
    let sharing: Vec<Gpu> = adapters().into_iter().filter(|g| g.caps.shares_buffers()).collect();
    assert!(!sharing.is_empty(), "no adapter that shares buffers");
    sharing
}

/// Each case with each adapter, for `in_parallel`: while one driver compiles a case the other has its own.
pub fn on_each<'a, T>(gpus: &'a [Gpu], cases: &'a [T]) -> Vec<(&'a Gpu, usize, &'a T)> {
    cases.iter().enumerate().flat_map(|(i, case)| gpus.iter().map(move |gpu| (gpu, i, case))).collect()
}

/// Each case with one of the adapters, in turn.
pub fn in_turn<'a, T>(gpus: &'a [Gpu], cases: &'a [T]) -> Vec<(&'a Gpu, usize, &'a T)> {
    cases.iter().enumerate().map(|(i, case)| (&gpus[i % gpus.len()], i, case)).collect()
}

fn open(adapter: wgpu::Adapter) -> Gpu {
    let info = adapter.get_info();
    let matrices = wgpu::Features::EXPERIMENTAL_COOPERATIVE_MATRIX | wgpu::Features::SHADER_F16;
    let wanted = wgpu::Features::SUBGROUP | wgpu::Features::SHADER_INT64 | matrices;
    let features = adapter.features() & wanted;
    let limits = adapter.limits();
    let device = |_| {
        pollster::block_on(adapter.request_device(&wgpu::DeviceDescriptor {
            required_features: features,
            required_limits: limits.clone(),
            // SAFETY: for kernels on matrix units, which the tests are about.
            experimental_features: unsafe { wgpu::ExperimentalFeatures::enabled() },
            ..Default::default()
        }))
        .expect("an adapter gives a device")
    };
    let software = info.device_type == wgpu::DeviceType::Cpu;
    let devices = (0..if software { workers() } else { 1 }).map(device).collect();
    let same = info.subgroup_min_size == info.subgroup_max_size;
    let subgroup = features.contains(wgpu::Features::SUBGROUP) && same;
    let caps = Capabilities {
        class: match info.device_type {
            wgpu::DeviceType::Cpu => Class::Software,
            wgpu::DeviceType::DiscreteGpu => Class::Discrete,
            _ => Class::Integrated,
        },
        features: Features {
            subgroup_size: subgroup.then_some(info.subgroup_min_size),
            int64: features.contains(wgpu::Features::SHADER_INT64) && std::env::var_os("NO_INT64").is_none(),
            matrix_units: features.contains(matrices) && subgroup && has_matrices(&adapter),
        },
        limits: Limits {
            max_workgroup_invocations: limits.max_compute_invocations_per_workgroup,
            max_workgroup_memory: limits.max_compute_workgroup_storage_size,
            max_workgroups: limits.max_compute_workgroups_per_dimension,
            max_binding_bytes: limits.max_storage_buffer_binding_size,
            max_storage_buffers: limits.max_storage_buffers_per_shader_stage,
        },
    };
    Gpu { name: info.name, caps, devices }
}

/// Whether an adapter has the matrices that kernels multiply, by subgroups of 32.
fn has_matrices(adapter: &wgpu::Adapter) -> bool {
    use wgpu::CooperativeScalarType::{F16, F32};
    let fits = |p: &wgpu::CooperativeMatrixProperties| {
        (p.m_size, p.n_size, p.k_size, p.ab_type, p.cr_type) == (16, 16, 16, F16, F32)
    };
    adapter.get_info().subgroup_min_size == 32 && adapter.cooperative_matrix_properties().iter().any(fits)
}

/// A pipeline with its buffers bound.
pub struct Prepared {
    /// Of each shader of the kernel, with its grid.
    shaders: Vec<(wgpu::ComputePipeline, wgpu::BindGroup, [u32; 3])>,
    /// Each with the bytes of it that are the output.
    outputs: Vec<(wgpu::Buffer, Range<u64>)>,
    /// Seconds it took to make the pipeline.
    pub compile: f64,
}

impl Gpu {
    /// The device of this thread. What is made with it is used with it.
    pub fn device(&self) -> &wgpu::Device {
        &self.devices[worker() % self.devices.len()].0
    }

    fn queue(&self) -> &wgpu::Queue {
        &self.devices[worker() % self.devices.len()].1
    }

    /// One device with its queue.
    pub fn into_device(mut self) -> (wgpu::Device, wgpu::Queue) {
        self.devices.swap_remove(0)
    }

    fn buffer<T: bytemuck::NoUninit>(&self, data: &[T]) -> wgpu::Buffer {
        let usage = wgpu::BufferUsages::STORAGE | wgpu::BufferUsages::COPY_DST | wgpu::BufferUsages::COPY_SRC;
        let size = size_of_val(data).max(16) as u64;
        let buffer = self.device().create_buffer(&wgpu::BufferDescriptor {
            label: None,
            size,
            usage,
            mapped_at_creation: false,
        });
        self.queue().write_buffer(&buffer, 0, bytemuck::cast_slice(data));
        buffer
    }

    /// Compiles a kernel and uploads its buffers, as [`Data::encoded`] gives them. `safe`: with wgpu's runtime checks.
    pub fn prepare(
        &self,
        kernel: &Kernel,
        reads: &[Vec<u32>],
        writes: &[Vec<u32>],
        weights: &[u32],
        safe: bool,
    ) -> Prepared {
        self.prepare_in(kernel, &Arena::default(), reads, writes, weights, safe)
    }

    /// [`Gpu::prepare`] for a kernel whose buffers are in an arena.
    pub fn prepare_in(
        &self,
        kernel: &Kernel,
        arena: &Arena,
        reads: &[Vec<u32>],
        writes: &[Vec<u32>],
        weights: &[u32],
        safe: bool,
    ) -> Prepared {
        let start = Instant::now();
        let make = |shader: &Shader| {
            let source = wgpu::ShaderModuleDescriptor {
                label: Some("kernel"),
                source: wgpu::ShaderSource::Wgsl(shader.wgsl().into()),
            };
            let module = if safe {
                self.device().create_shader_module(source)
            } else {
                // SAFETY: the kernels clamp every index to its buffer and their loops end; the same shaders run checked too.
                unsafe {
                    self.device().create_shader_module_trusted(source, wgpu::ShaderRuntimeChecks::unchecked())
                }
            };
            self.device().create_compute_pipeline(&wgpu::ComputePipelineDescriptor {
                label: Some("kernel"),
                layout: None,
                module: &module,
                entry_point: Some(shader.entry),
                compilation_options: wgpu::PipelineCompilationOptions {
                    zero_initialize_workgroup_memory: false,
                    ..Default::default()
                },
                cache: None,
            })
        };
        let pipelines: Vec<_> = kernel.shaders.iter().map(make).collect();
        let compile = start.elapsed().as_secs_f64();
        // What lies between the buffers is read by mistake only.
        let nan = f32::NAN.to_bits();
        let mut all = vec![nan; ARENA_WORDS];
        all[..ZEROS].fill(0);
        let starts =
            |starts: &[Option<u32>], n: usize| starts.get(n).copied().flatten().map(|s| 4 * s as usize);
        let placed = reads.iter().enumerate().map(|(n, r)| (starts(&arena.reads, n), r));
        let placed = placed.chain(writes.iter().enumerate().map(|(n, w)| (starts(&arena.writes, n), w)));
        for (start, values) in placed.filter_map(|(start, values)| Some((start?, values))) {
            all.resize(all.len().max(start + values.len() + ZEROS), nan);
            all[start..start + values.len()].copy_from_slice(values);
        }
        let arena_buffer = self.buffer(&all);
        let whole = |values: &Vec<u32>| (self.buffer(values), 0..4 * values.len() as u64);
        let output = |(n, values): (usize, &Vec<u32>)| match starts(&arena.writes, n) {
            Some(start) => (arena_buffer.clone(), 4 * start as u64..4 * (start + values.len()) as u64),
            None => whole(values),
        };
        let outputs: Vec<_> = writes.iter().enumerate().map(output).collect();
        let inputs: Vec<_> = reads.iter().map(|r| self.buffer(r)).collect();
        let weights = self.buffer(weights);
        // Nothing may count on what is there before.
        let scratch = self.buffer(&vec![f32::NAN; kernel.scratch as usize / 4]);
        let bind = |(pipeline, shader): (wgpu::ComputePipeline, &Shader)| {
            let entries: Vec<_> = shader
                .bindings
                .iter()
                .enumerate()
                .map(|(i, binding)| {
                    let buffer = match binding.role {
                        Role::Read(n) => &inputs[n],
                        Role::Write(n) => &outputs[n].0,
                        Role::Weights(_) => &weights,
                        Role::Arena => &arena_buffer,
                        Role::Scratch => &scratch,
                    };
                    let offset = if let Role::Weights(from) = binding.role { from } else { 0 };
                    let resource =
                        wgpu::BindingResource::Buffer(wgpu::BufferBinding { buffer, offset, size: None });
                    wgpu::BindGroupEntry { binding: i as u32, resource }
                })
                .collect();
            let group = self.device().create_bind_group(&wgpu::BindGroupDescriptor {
                label: None,
                layout: &pipeline.get_bind_group_layout(0),
                entries: &entries,
            });
            (pipeline, group, shader.grid)
        };
        let shaders = pipelines.into_iter().zip(&kernel.shaders).map(bind).collect();
        Prepared { shaders, outputs, compile }
    }

    /// Dispatches `times` times in one pass and waits; seconds.
    pub fn dispatch(&self, prepared: &Prepared, times: usize) -> f64 {
        let mut encoder = self.device().create_command_encoder(&Default::default());
        {
            let mut pass = encoder.begin_compute_pass(&Default::default());
            for _ in 0..times {
                for (pipeline, group, [x, y, z]) in &prepared.shaders {
                    pass.set_pipeline(pipeline);
                    pass.set_bind_group(0, group, &[]);
                    pass.dispatch_workgroups(*x, *y, *z);
                }
            }
        }
        let commands = encoder.finish();
        let start = Instant::now();
        self.queue().submit([commands]);
        self.device().poll(wgpu::PollType::wait_indefinitely()).expect("the device finishes");
        start.elapsed().as_secs_f64()
    }

    /// Contents of the written buffers; see [`decoded`].
    pub fn outputs(&self, prepared: &Prepared) -> Vec<Vec<u32>> {
        let read = |(buffer, bytes): &(wgpu::Buffer, Range<u64>)| {
            let size = bytes.end - bytes.start;
            let staging = self.device().create_buffer(&wgpu::BufferDescriptor {
                label: None,
                size,
                usage: wgpu::BufferUsages::MAP_READ | wgpu::BufferUsages::COPY_DST,
                mapped_at_creation: false,
            });
            let mut encoder = self.device().create_command_encoder(&Default::default());
            encoder.copy_buffer_to_buffer(buffer, bytes.start, &staging, 0, size);
            self.queue().submit([encoder.finish()]);
            staging.map_async(wgpu::MapMode::Read, .., |result| result.expect("mapping"));
            self.device().poll(wgpu::PollType::wait_indefinitely()).expect("the device finishes");
            let view = staging.get_mapped_range(..).expect("mapped");
            bytemuck::pod_collect_to_vec(&view)
        };
        prepared.outputs.iter().map(read).collect()
    }
}

/// Inputs for a spec.
pub fn data(spec: &Spec, seed: u64) -> Data {
    Data::new(spec, seed)
}
