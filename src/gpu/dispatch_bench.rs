//! Runs candidate kernels of one dispatch on separate buffers, to compare their results and times.

use super::clock::durations;
use super::pipeline::{Pipeline, make_pipeline, whole_from};
use super::program::scratch;
use super::upload::Uploader;
use super::wait::{read_back, wait};
use super::{Gpu, GpuError};
use crate::kernel::{Arena, Kernel, Role, Shader};
use crate::plan::CheckedPlan;
use std::ops::Range;
use std::time::{Duration, Instant};
use wgpu::{BindGroup, Buffer, BufferDescriptor, BufferUsages, CommandEncoder, QuerySet};

/// The buffers of a dispatch.
pub(crate) struct DispatchBench<'a> {
    gpu: &'a Gpu,
    reads: Vec<Buffer>,
    /// `[initial content, buffer]` of each written buffer.
    writes: Vec<[Buffer; 2]>,
    /// `[initial content, buffer]` of the arena.
    arena: Option<[Buffer; 2]>,
    /// Where the buffers are in the arena.
    places: Option<Arena>,
    /// The buffer and byte range of each result.
    results: Vec<(Buffer, Range<u64>)>,
    /// A query set and the buffer its two timestamps are resolved to; `None` if the device has no timestamps.
    clock: Option<(QuerySet, Buffer)>,
}

/// A kernel compiled for a [`DispatchBench`], with its weights.
pub(crate) struct CompiledCandidate {
    /// Pipeline, bind group and grid of each shader.
    shaders: Vec<(Pipeline, BindGroup, [u32; 3])>,
}

impl<'a> DispatchBench<'a> {
    /// Creates the buffers of a dispatch of a plan. Its read buffers hold `reads`; its written buffers hold `writes` before each run, as
    /// words: f32, or pairs of f16. Blocks.
    ///
    /// # Errors
    /// [`GpuError::OutOfMemory`], [`GpuError::DeviceLost`], [`GpuError::Refused`].
    pub(crate) fn new(
        gpu: &'a Gpu,
        plan: &CheckedPlan,
        dispatch: usize,
        reads: &[Vec<u32>],
        writes: &[Vec<u32>],
    ) -> Result<DispatchBench<'a>, GpuError> {
        let places = gpu.arena(plan, dispatch);
        let read_at = |n: usize| word(&places.as_ref()?.reads, n);
        let written_at = |n: usize| word(&places.as_ref()?.writes, n);

        let mut uploader = Uploader::new(gpu);
        let mut upload =
            |values: &[u32], usage| pollster::block_on(uploader.buffer_for("trial", values, usage));
        let both = BufferUsages::STORAGE | BufferUsages::COPY_SRC | BufferUsages::COPY_DST;
        let before = BufferUsages::COPY_SRC | BufferUsages::COPY_DST;
        let mut pair = |values: &[u32]| Ok([upload(values, before)?, upload(values, both)?]);
        let content = arena_content(&places, reads, writes);
        let in_arena = match content.is_empty() {
            true => None,
            false => Some(pair(&content)?),
        };
        let mut own_writes = vec![];
        let mut results = vec![];
        for (n, values) in writes.iter().enumerate() {
            let bytes = size_of_val(values.as_slice()) as u64;
            match (written_at(n), &in_arena) {
                (Some(start), Some([_, arena])) => {
                    results.push((arena.clone(), 4 * start as u64..4 * start as u64 + bytes));
                    // Not bound: the kernels access it in the arena.
                    own_writes.push([arena.clone(), arena.clone()]);
                }
                _ => {
                    let buffers: [Buffer; 2] = pair(values)?;
                    results.push((buffers[1].clone(), 0..bytes));
                    own_writes.push(buffers);
                }
            }
        }
        let mut own_reads = vec![];
        for (n, values) in reads.iter().enumerate() {
            own_reads.push(match (read_at(n), &in_arena) {
                (Some(_), Some([_, arena])) => arena.clone(),
                _ => upload(values, BufferUsages::STORAGE | BufferUsages::COPY_DST)?,
            });
        }
        let (reads, writes, arena) = (own_reads, own_writes, in_arena);
        pollster::block_on(uploader.finish())?;
        let clock = pollster::block_on(gpu.scoped("a trial", || clock(gpu)))?;
        Ok(DispatchBench { gpu, reads, writes, arena, places, results, clock })
    }

    /// Compiles a kernel of this dispatch's spec and uploads its packed weights. Blocks.
    ///
    /// # Errors
    /// As [`DispatchBench::new`]; [`GpuError::Refused`] if the driver rejects the shader.
    pub(crate) fn compile(&self, kernel: &Kernel, weights: &[u32]) -> Result<CompiledCandidate, GpuError> {
        let name = kernel.choice.to_string();
        let make = |shader| pollster::block_on(make_pipeline(self.gpu, &name, shader, false));
        self.bind(kernel, weights, kernel.shaders.iter().map(make).collect::<Result<_, GpuError>>()?)
    }

    /// [`DispatchBench::compile`] of a kernel whose shaders are compiled already, one pipeline each.
    ///
    /// # Errors
    /// As [`DispatchBench::new`].
    pub(super) fn bind(
        &self,
        kernel: &Kernel,
        weights: &[u32],
        pipelines: Vec<Pipeline>,
    ) -> Result<CompiledCandidate, GpuError> {
        let mut uploader = Uploader::new(self.gpu);
        let weights = match weights.is_empty() {
            true => None,
            false => {
                Some(pollster::block_on(uploader.buffer_for("weights", weights, BufferUsages::STORAGE))?)
            }
        };
        pollster::block_on(uploader.finish())?;
        let scratch = pollster::block_on(scratch(self.gpu, kernel.scratch))?;
        let name = kernel.choice.to_string();
        let bound = |(shader, pipeline): (&Shader, Pipeline)| {
            let resource = |role| {
                Some(match role {
                    Role::Read(r) => self.reads[r].as_entire_binding(),
                    Role::Write(w) => self.writes[w][1].as_entire_binding(),
                    Role::Weights(from) => whole_from(weights.as_ref()?, from),
                    Role::Arena => self.arena.as_ref()?[1].as_entire_binding(),
                    Role::Scratch => scratch.as_ref()?.as_entire_binding(),
                })
            };
            let bind = || pipeline.bind(self.gpu, &name, shader, |b| resource(b.role));
            let group = pollster::block_on(self.gpu.scoped("a trial", bind))?;
            Ok((pipeline, group, shader.grid))
        };
        let shaders = kernel.shaders.iter().zip(pipelines).map(bound).collect::<Result<_, GpuError>>()?;
        Ok(CompiledCandidate { shaders })
    }

    /// Replaces the content of the read buffers, and the initial content of the written ones, by values of the same sizes.
    ///
    /// # Errors
    /// As [`DispatchBench::new`].
    pub(super) fn refill(&mut self, reads: &[Vec<u32>], writes: &[Vec<u32>]) -> Result<(), GpuError> {
        let content = arena_content(&self.places, reads, writes);
        let own_reads = self.reads.iter().zip(reads).filter(|(buffer, _)| !self.is_arena(buffer));
        let own_writes = self.writes.iter().map(|[before, _]| before).zip(writes);
        let own_writes = own_writes.filter(|(buffer, _)| !self.is_arena(buffer));
        let fill = || {
            for (buffer, values) in own_reads.chain(own_writes) {
                self.gpu.queue().write_buffer(buffer, 0, bytemuck::cast_slice(values));
            }
            if let Some([before, _]) = &self.arena {
                self.gpu.queue().write_buffer(before, 0, bytemuck::cast_slice(&content));
            }
        };
        pollster::block_on(self.gpu.scoped("a trial", fill))
    }

    fn is_arena(&self, buffer: &Buffer) -> bool {
        self.arena.as_ref().is_some_and(|[_, arena]| arena == buffer)
    }

    /// Runs one dispatch and returns the words of the written buffers. Blocks.
    ///
    /// # Errors
    /// As [`DispatchBench::new`].
    pub(crate) fn answer(&self, candidate: &CompiledCandidate) -> Result<Vec<Vec<u32>>, GpuError> {
        let submit = || {
            let mut encoder = self.restored();
            candidate.record(&mut encoder, 1, None);
            let staging: Vec<Buffer> = self
                .results
                .iter()
                .map(|(buffer, bytes)| staged(self.gpu, &mut encoder, buffer, bytes.clone()))
                .collect();
            (self.gpu.queue().submit([encoder.finish()]), staging)
        };
        let (index, staging) = pollster::block_on(self.gpu.scoped("a trial", submit))?;
        let read = |staging| read_back(self.gpu, index.clone(), staging, "a trial");
        staging.iter().map(read).collect()
    }

    /// Mean time of one dispatch over `dispatches` successive ones: GPU time, or without timestamps host time from submission to
    /// completion. Blocks.
    ///
    /// # Errors
    /// As [`DispatchBench::new`]; [`GpuError::Timestamps`].
    pub(crate) fn time(&self, candidate: &CompiledCandidate, dispatches: u32) -> Result<Duration, GpuError> {
        let record = || {
            let mut encoder = self.restored();
            let set = self.clock.as_ref().map(|(set, _)| set);
            candidate.record(&mut encoder, dispatches, set);
            let staging = self.clock.as_ref().map(|(set, times)| {
                encoder.resolve_query_set(set, 0..2, times, 0);
                staged(self.gpu, &mut encoder, times, 0..times.size())
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
                let ticks: Vec<u64> = read_back(self.gpu, index, &staging, doing)?;
                let [begin, end] = durations(self.gpu, &ticks)?[0];
                end.saturating_sub(begin)
            }
            None => {
                wait(self.gpu, "a trial", index)?;
                start.elapsed()
            }
        };
        Ok(whole / dispatches.max(1))
    }

    /// An encoder whose first commands restore the initial content of the written buffers.
    fn restored(&self) -> CommandEncoder {
        let mut encoder = self.gpu.device().create_command_encoder(&Default::default());
        for [before, written] in self.writes.iter().chain(&self.arena).filter(|[a, b]| a != b) {
            encoder.copy_buffer_to_buffer(before, 0, written, 0, before.size());
        }
        encoder
    }
}

impl CompiledCandidate {
    fn record(&self, encoder: &mut CommandEncoder, dispatches: u32, times: Option<&QuerySet>) {
        let mut pass = encoder.begin_compute_pass(&wgpu::ComputePassDescriptor {
            label: Some("trial"),
            timestamp_writes: times.map(|query_set| wgpu::ComputePassTimestampWrites {
                query_set,
                beginning_of_pass_write_index: Some(0),
                end_of_pass_write_index: Some(1),
            }),
        });
        for _ in 0..dispatches {
            for (pipeline, group, [x, y, z]) in &self.shaders {
                pass.set_pipeline(&pipeline.pipeline);
                pass.set_bind_group(0, group, &[]);
                pass.dispatch_workgroups(*x, *y, *z);
            }
        }
    }
}

/// The first word of buffer `n` in an arena; `None` if it has a buffer of its own.
fn word(starts: &[Option<u32>], n: usize) -> Option<usize> {
    starts.get(n).copied().flatten().map(|quad| 4 * quad as usize)
}

/// The words of an arena with each value at its start, and zeros between; empty without an arena.
fn arena_content(places: &Option<Arena>, reads: &[Vec<u32>], writes: &[Vec<u32>]) -> Vec<u32> {
    let Some(places) = places else { return vec![] };
    let read = reads.iter().enumerate().map(|(n, values)| (word(&places.reads, n), values));
    let written = writes.iter().enumerate().map(|(n, values)| (word(&places.writes, n), values));
    let mut content: Vec<u32> = vec![];
    for (start, values) in read.chain(written) {
        let Some(start) = start else { continue };
        content.resize(content.len().max(start + values.len()), 0);
        content[start..start + values.len()].copy_from_slice(values);
    }
    content
}

/// A set of two timestamp queries and the buffer they are resolved to; `None` if the device has no timestamps.
fn clock(gpu: &Gpu) -> Option<(QuerySet, Buffer)> {
    let device = gpu.device();
    device.features().contains(wgpu::Features::TIMESTAMP_QUERY).then(|| {
        let descriptor =
            wgpu::QuerySetDescriptor { label: Some("trial"), ty: wgpu::QueryType::Timestamp, count: 2 };
        let usage = BufferUsages::QUERY_RESOLVE | BufferUsages::COPY_SRC;
        (device.create_query_set(&descriptor), buffer(gpu, 16, usage))
    })
}

fn buffer(gpu: &Gpu, size: u64, usage: BufferUsages) -> Buffer {
    let descriptor = BufferDescriptor { label: Some("trial"), size, usage, mapped_at_creation: false };
    gpu.device().create_buffer(&descriptor)
}

/// Creates a staging buffer and records the copy of a byte range into it.
fn staged(gpu: &Gpu, encoder: &mut CommandEncoder, from: &Buffer, bytes: Range<u64>) -> Buffer {
    let size = bytes.end - bytes.start;
    let staging = buffer(gpu, size, BufferUsages::MAP_READ | BufferUsages::COPY_DST);
    encoder.copy_buffer_to_buffer(from, bytes.start, &staging, 0, size);
    staging
}
