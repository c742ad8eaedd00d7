//! A small wgpu harness and a naive oracle for single dispatches.

use super::arena::{ARENA_WORDS, ZEROS};
use super::parallel::{worker, workers};
use rmnet::kernel::{
    Arena, BufferShape, Capabilities, Class, ConvParameters, ConvSpec, Features, Kernel, Limits, Precision,
    Role, Shader, Spec,
};
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

    /// Compiles a kernel and uploads its buffers, [`encoded`] where they are f16. `safe`: with wgpu's runtime checks.
    pub fn prepare(
        &self,
        kernel: &Kernel,
        reads: &[Vec<f32>],
        writes: &[Vec<f32>],
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
        reads: &[Vec<f32>],
        writes: &[Vec<f32>],
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
        let mut all = vec![f32::NAN; ARENA_WORDS];
        all[..ZEROS].fill(0.0);
        let starts =
            |starts: &[Option<u32>], n: usize| starts.get(n).copied().flatten().map(|s| 4 * s as usize);
        let placed = reads.iter().enumerate().map(|(n, r)| (starts(&arena.reads, n), r));
        let placed = placed.chain(writes.iter().enumerate().map(|(n, w)| (starts(&arena.writes, n), w)));
        for (start, values) in placed.filter_map(|(start, values)| Some((start?, values))) {
            all.resize(all.len().max(start + values.len() + ZEROS), f32::NAN);
            all[start..start + values.len()].copy_from_slice(values);
        }
        let arena_buffer = self.buffer(&all);
        let whole = |values: &Vec<f32>| (self.buffer(values), 0..4 * values.len() as u64);
        let output = |(n, values): (usize, &Vec<f32>)| match starts(&arena.writes, n) {
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
    pub fn outputs(&self, prepared: &Prepared) -> Vec<Vec<f32>> {
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
            bytemuck::cast_slice::<u8, f32>(&view).to_vec()
        };
        prepared.outputs.iter().map(read).collect()
    }
}

/// Buffers and weights for one dispatch.
pub struct Data {
    pub reads: Vec<Vec<f32>>,
    pub writes: Vec<Vec<f32>>,
    pub weights: Vec<Vec<f32>>,
    pub bias: Vec<f32>,
    pub slopes: Vec<f32>,
    pub prologues: Vec<Option<(Vec<f32>, Vec<f32>)>>,
}

impl Data {
    /// The weights in a kernel's order.
    pub fn pack(&self, kernel: &Kernel, spec: &ConvSpec) -> Vec<u32> {
        let k_ranges: Vec<&[f32]> = self.weights.iter().map(|w| &w[..]).collect();
        let (bias, slopes, prologues) = (&self.bias[..], &self.slopes[..], &self.prologues[..]);
        kernel.pack(spec, &ConvParameters { k_ranges: &k_ranges, bias, slopes, prologues })
    }

    /// Buffers read and written as they lie on the device: two elements of f16 in the place of one of f32.
    pub fn encoded(&self, spec: &Spec) -> [Vec<Vec<f32>>; 2] {
        let of_read = |i: usize| {
            let read = spec.operands().into_iter().find(|o| o.buffer == i);
            read.map_or(Precision::F32, |o| o.shape.precision)
        };
        let reads = self.reads.iter().enumerate().map(|(i, values)| encoded(of_read(i), values));
        let shapes = spec.outputs();
        let writes = self.writes.iter().zip(shapes).map(|(values, shape)| encoded(shape.precision, values));
        [reads.collect(), writes.collect()]
    }
}

/// Values as a buffer of that precision holds them.
fn encoded(precision: Precision, values: &[f32]) -> Vec<f32> {
    match precision {
        Precision::F32 => values.to_vec(),
        _ => {
            let bits = |v: &f32| u32::from(half::f16::from_f32(*v).to_bits());
            values.chunks(2).map(|v| f32::from_bits(bits(&v[0]) | bits(&v[1]) << 16)).collect()
        }
    }
}

/// The reverse of [`encoded`], of what a dispatch wrote.
pub fn decoded(spec: &Spec, written: Vec<Vec<f32>>) -> Vec<Vec<f32>> {
    let values = |(words, shape): (Vec<f32>, BufferShape)| match shape.precision {
        Precision::F32 => words,
        _ => {
            let half = |bits: u32| half::f16::from_bits(bits as u16).to_f32();
            words.iter().map(|w| w.to_bits()).flat_map(|w| [half(w), half(w >> 16)]).collect()
        }
    };
    written.into_iter().zip(spec.outputs()).map(values).collect()
}

/// Deterministic values in -1..1.
pub fn noise(seed: u64) -> impl FnMut() -> f32 {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    move || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 40) as f32 / (1u32 << 23) as f32 - 1.0
    }
}

/// Fills a buffer of that shape; padded lanes are zero.
pub fn fill(shape: &BufferShape, next: &mut impl FnMut() -> f32) -> Vec<f32> {
    let mut data = vec![0.0; shape.elements()];
    for n in 0..shape.batch {
        for c in 0..shape.channels {
            for y in 0..shape.height {
                for x in 0..shape.width {
                    data[shape.index(n, c, y, x)] = next();
                }
            }
        }
    }
    data
}

/// Inputs for a spec, of values that its precision has. What is written starts as NaN, padded lanes included, unless it is added in place.
pub fn data(spec: &Spec, seed: u64) -> Data {
    let mut next = noise(seed + 1);
    let mut in_place = 0;
    let (mut weights, mut bias, mut slopes, mut prologues, mut read) =
        (vec![], vec![], vec![], vec![], spec.operands());
    if let Spec::Conv(conv) = spec {
        in_place = conv.in_place;
        read.drain(conv.k_ranges.len()..conv.k_ranges.len() + in_place);
        for range in &conv.k_ranges {
            let depth = range.from.channels / range.groups;
            let len = conv.out_channels * depth * range.kernel[0] * range.kernel[1];
            weights.push((0..len).map(|_| next()).collect());
        }
        bias = (0..conv.out_channels).map(|_| next()).collect();
        for range in &conv.k_ranges {
            let mut values = || (0..range.from.channels).map(|_| next()).collect();
            prologues.push(range.prologue.map(|_| (values(), values())));
        }
        if conv.has_slopes() {
            slopes = (0..conv.out_channels).map(|_| next()).collect();
        }
    }
    let count = read.iter().map(|o| o.buffer + 1).max().unwrap_or(0);
    let mut reads = vec![vec![]; count];
    for operand in read {
        if reads[operand.buffer].is_empty() {
            reads[operand.buffer] = fill(&operand.shape, &mut next);
        }
    }
    let mut writes: Vec<Vec<f32>> = spec
        .outputs()
        .iter()
        .map(|shape| if in_place > 0 { fill(shape, &mut next) } else { vec![f32::NAN; shape.elements()] })
        .collect();
    let stored = |shape: &BufferShape, values: &mut Vec<f32>| shape.precision.store(values);
    for operand in spec.operands() {
        if let Some(values) = reads.get_mut(operand.buffer) {
            stored(&operand.shape, values);
        }
    }
    spec.outputs().iter().zip(&mut writes).for_each(|(shape, values)| stored(shape, values));
    weights.iter_mut().for_each(|w: &mut Vec<f32>| spec.precision().store(w));
    Data { reads, writes, weights, bias, slopes, prologues }
}
