//! One dispatch on buffers of its own, to try kernels on: what each gives, and how long it takes.

use super::program::{Pipeline, make_pipeline};
use super::timing::durations;
use super::turn::read_back;
use super::upload::Uploader;
use super::{Gpu, GpuError};
use crate::kernel::{Kernel, Role};
use std::time::{Duration, Instant};
use wgpu::{BindGroup, Buffer, BufferDescriptor, BufferUsages, CommandEncoder, QuerySet};

/// The buffers of a dispatch.
pub struct Trial<'a> {
    gpu: &'a Gpu,
    reads: Vec<Buffer>,
    /// What each written buffer holds before a dispatch, and the buffer.
    writes: Vec<[Buffer; 2]>,
    /// A query set with the buffer its two times go to; `None` where the device has no timestamps.
    clock: Option<(QuerySet, Buffer)>,
}

/// A kernel compiled for a [`Trial`], with its weights.
pub struct Attempt {
    pipeline: Pipeline,
    group: BindGroup,
    grid: [u32; 3],
}

impl<'a> Trial<'a> {
    /// Buffers that hold `reads`, and `writes` before a dispatch. Blocks.
    ///
    /// # Errors
    /// [`GpuError::OutOfMemory`], [`GpuError::DeviceLost`], [`GpuError::Refused`].
    pub fn new(gpu: &'a Gpu, reads: &[Vec<f32>], writes: &[Vec<f32>]) -> Result<Trial<'a>, GpuError> {
        let mut uploader = Uploader::new(gpu);
        let mut upload = |values, usage| pollster::block_on(uploader.buffer_for("trial", values, usage));
        let reads = reads.iter().map(|r| upload(r, BufferUsages::STORAGE)).collect::<Result<_, _>>()?;
        let writes = writes
            .iter()
            .map(|w| {
                let both = BufferUsages::STORAGE | BufferUsages::COPY_SRC;
                Ok([upload(w, BufferUsages::COPY_SRC)?, upload(w, both)?])
            })
            .collect::<Result<_, GpuError>>()?;
        pollster::block_on(uploader.finish())?;
        let clock = || {
            let device = gpu.device();
            device.features().contains(wgpu::Features::TIMESTAMP_QUERY).then(|| {
                let descriptor = wgpu::QuerySetDescriptor {
                    label: Some("trial"),
                    ty: wgpu::QueryType::Timestamp,
                    count: 2,
                };
                let usage = BufferUsages::QUERY_RESOLVE | BufferUsages::COPY_SRC;
                (device.create_query_set(&descriptor), buffer(gpu, 16, usage))
            })
        };
        let clock = pollster::block_on(gpu.scoped("a trial", clock))?;
        Ok(Trial { gpu, reads, writes, clock })
    }

    /// Compiles a kernel, made for the spec whose buffers these are, and uploads its packed weights. Blocks.
    ///
    /// # Errors
    /// As [`Trial::new`]; [`GpuError::Refused`] where the driver does not take the shader.
    pub fn attempt(&self, kernel: &Kernel, weights: &[u32]) -> Result<Attempt, GpuError> {
        let mut uploader = Uploader::new(self.gpu);
        let weights = match weights.is_empty() {
            true => None,
            false => Some(pollster::block_on(uploader.buffer("weights", weights))?),
        };
        pollster::block_on(uploader.finish())?;
        let pipeline = pollster::block_on(make_pipeline(self.gpu, kernel, &kernel.wgsl, false))?;
        let bind = || {
            let entries: Vec<_> = kernel
                .bindings
                .iter()
                .enumerate()
                .filter_map(|(n, binding)| {
                    let buffer = match binding.role {
                        Role::Read(r) => &self.reads[r],
                        Role::Write(w) => &self.writes[w][1],
                        Role::Weights => weights.as_ref()?,
                    };
                    Some(wgpu::BindGroupEntry { binding: n as u32, resource: buffer.as_entire_binding() })
                })
                .collect();
            self.gpu.device().create_bind_group(&wgpu::BindGroupDescriptor {
                label: Some(&kernel.name),
                layout: &pipeline.layout,
                entries: &entries,
            })
        };
        let group = pollster::block_on(self.gpu.scoped("a trial", bind))?;
        Ok(Attempt { pipeline, group, grid: kernel.grid })
    }

    /// The written buffers after one dispatch. Blocks.
    ///
    /// # Errors
    /// As [`Trial::new`].
    pub fn answer(&self, attempt: &Attempt) -> Result<Vec<Vec<f32>>, GpuError> {
        let submit = || {
            let mut encoder = self.restored();
            attempt.record(&mut encoder, 1, None);
            let staging: Vec<Buffer> =
                self.writes.iter().map(|[_, written]| staged(self.gpu, &mut encoder, written)).collect();
            (self.gpu.queue().submit([encoder.finish()]), staging)
        };
        let (index, staging) = pollster::block_on(self.gpu.scoped("a trial", submit))?;
        let read = |staging| pollster::block_on(read_back(self.gpu, index.clone(), staging, "a trial"));
        staging.iter().map(read).collect()
    }

    /// Time of one dispatch, the mean of so many one after the other: the GPU's own, or where it has no timestamps the host's
    /// from submission to completion. Blocks.
    ///
    /// # Errors
    /// As [`Trial::new`]; [`GpuError::Timestamps`].
    pub fn time(&self, attempt: &Attempt, dispatches: u32) -> Result<Duration, GpuError> {
        let record = || {
            let mut encoder = self.restored();
            let set = self.clock.as_ref().map(|(set, _)| set);
            attempt.record(&mut encoder, dispatches, set);
            let staging = self.clock.as_ref().map(|(set, times)| {
                encoder.resolve_query_set(set, 0..2, times, 0);
                staged(self.gpu, &mut encoder, times)
            });
            (encoder.finish(), staging)
        };
        let (commands, staging) = pollster::block_on(self.gpu.scoped("timing a trial", record))?;
        let start = Instant::now();
        let submit = || self.gpu.queue().submit([commands]);
        let index = pollster::block_on(self.gpu.scoped("timing a trial", submit))?;
        let whole = match staging {
            Some(staging) => {
                let doing = "timing a trial";
                let ticks: Vec<u64> = pollster::block_on(read_back(self.gpu, index, &staging, doing))?;
                let [begin, end] = durations(self.gpu, &ticks)?[0];
                end.saturating_sub(begin)
            }
            None => {
                let wait = wgpu::PollType::Wait { submission_index: Some(index), timeout: None };
                self.gpu.device().poll(wait).map_err(|e| self.gpu.failed("timing a trial", e))?;
                start.elapsed()
            }
        };
        Ok(whole / dispatches.max(1))
    }

    /// Commands that begin by giving the written buffers their first content.
    fn restored(&self) -> CommandEncoder {
        let mut encoder = self.gpu.device().create_command_encoder(&Default::default());
        for [before, written] in &self.writes {
            encoder.copy_buffer_to_buffer(before, 0, written, 0, before.size());
        }
        encoder
    }
}

impl Attempt {
    fn record(&self, encoder: &mut CommandEncoder, dispatches: u32, times: Option<&QuerySet>) {
        let mut pass = encoder.begin_compute_pass(&wgpu::ComputePassDescriptor {
            label: Some("trial"),
            timestamp_writes: times.map(|query_set| wgpu::ComputePassTimestampWrites {
                query_set,
                beginning_of_pass_write_index: Some(0),
                end_of_pass_write_index: Some(1),
            }),
        });
        pass.set_pipeline(&self.pipeline.pipeline);
        pass.set_bind_group(0, &self.group, &[]);
        let [x, y, z] = self.grid;
        (0..dispatches).for_each(|_| pass.dispatch_workgroups(x, y, z));
    }
}

fn buffer(gpu: &Gpu, size: u64, usage: BufferUsages) -> Buffer {
    let descriptor = BufferDescriptor { label: Some("trial"), size, usage, mapped_at_creation: false };
    gpu.device().create_buffer(&descriptor)
}

/// A buffer to read, and the command that copies another there.
fn staged(gpu: &Gpu, encoder: &mut CommandEncoder, from: &Buffer) -> Buffer {
    let staging = buffer(gpu, from.size(), BufferUsages::MAP_READ | BufferUsages::COPY_DST);
    encoder.copy_buffer_to_buffer(from, 0, &staging, 0, from.size());
    staging
}
