//! Measures GPU time with timestamp queries, per run or per dispatch.

use super::clock::durations;
use super::{GpuError, GpuExecutor};
use std::ops::Range;
use std::time::Duration;
use wgpu::BufferUsages;

/// Maximum queries per set in WebGPU.
const MAX_QUERIES: usize = 4096;

impl GpuExecutor {
    /// GPU time of one run, from the beginning to the end of its compute pass. `None` if the device was opened without `TIMESTAMP_QUERY`.
    /// Blocks.
    ///
    /// # Errors
    /// As [`GpuExecutor::run`]; [`GpuError::Timestamps`] if the driver's timestamps are invalid.
    pub fn gpu_time(&self, input: &[f32]) -> Result<Option<Duration>, GpuError> {
        let all = 0..self.plan.dispatches.len();
        let spans = pollster::block_on(self.time_passes(input, std::slice::from_ref(&all)))?;
        Ok(spans.and_then(|s| s.first().map(span)))
    }

    /// Begin and end of every dispatch of one run in GPU time, relative to the begin of the first. Every dispatch is a separate pass, so
    /// that the sum exceeds the time of a run. `None` as for [`GpuExecutor::gpu_time`]. Blocks.
    ///
    /// # Errors
    /// As [`GpuExecutor::gpu_time`].
    pub fn dispatch_times(&self, input: &[f32]) -> Result<Option<Vec<[Duration; 2]>>, GpuError> {
        let each: Vec<Range<usize>> = (0..self.plan.dispatches.len()).map(|i| i..i + 1).collect();
        pollster::block_on(self.time_passes(input, &each))
    }

    /// Runs once, with one compute pass per range of dispatches; returns begin and end of each.
    async fn time_passes(
        &self,
        input: &[f32],
        passes: &[Range<usize>],
    ) -> Result<Option<Vec<[Duration; 2]>>, GpuError> {
        let expected = self.plan.input().shape.elements();
        if input.len() != expected {
            return Err(GpuError::InputLength { expected, found: input.len() });
        }
        if !self.gpu.device().features().contains(wgpu::Features::TIMESTAMP_QUERY)
            || 2 * passes.len() > MAX_QUERIES
        {
            return Ok(None);
        }
        self.gpu.check_lost()?;
        let (device, queue) = (self.gpu.device(), self.gpu.queue());
        let count = 2 * passes.len() as u32;
        let bytes = u64::from(count) * 8;
        let submit = || {
            let internal_io = self.internal_io();
            queue.write_buffer(&internal_io.input, 0, bytemuck::cast_slice(input));
            let set = device.create_query_set(&wgpu::QuerySetDescriptor {
                label: Some("times"),
                ty: wgpu::QueryType::Timestamp,
                count,
            });
            let buffer = |usage| {
                let descriptor = wgpu::BufferDescriptor {
                    label: Some("times"),
                    size: bytes,
                    usage,
                    mapped_at_creation: false,
                };
                device.create_buffer(&descriptor)
            };
            let resolved = buffer(BufferUsages::QUERY_RESOLVE | BufferUsages::COPY_SRC);
            let staging = buffer(BufferUsages::MAP_READ | BufferUsages::COPY_DST);
            let mut encoder = device.create_command_encoder(&Default::default());
            for (i, dispatches) in passes.iter().enumerate() {
                let mut pass = encoder.begin_compute_pass(&wgpu::ComputePassDescriptor {
                    label: Some("rmnet"),
                    timestamp_writes: Some(wgpu::ComputePassTimestampWrites {
                        query_set: &set,
                        beginning_of_pass_write_index: Some(2 * i as u32),
                        end_of_pass_write_index: Some(2 * i as u32 + 1),
                    }),
                });
                self.program.record(&mut pass, &internal_io.io_bind_groups, dispatches.clone());
            }
            encoder.resolve_query_set(&set, 0..count, &resolved, 0);
            encoder.copy_buffer_to_buffer(&resolved, 0, &staging, 0, bytes);
            let index = queue.submit([encoder.finish()]);
            (index, staging)
        };
        let (index, staging) = self.gpu.scoped("timing a run", submit).await?;
        let ticks: Vec<u64> = super::wait::read_back(&self.gpu, index, &staging, "timing a run")?;
        durations(&self.gpu, &ticks).map(Some)
    }
}

fn span([begin, end]: &[Duration; 2]) -> Duration {
    end.saturating_sub(*begin)
}
