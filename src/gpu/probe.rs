//! Runs the [`Probe`]s that measure a device's peak throughput.

use super::clock::Stopwatch;
use super::wait::wait;
use super::{Gpu, GpuError};
use crate::kernel::Probe;
use std::time::Duration;
use wgpu::BufferUsages;

/// Minimum duration of a measurement, so that submission overhead is negligible.
const MIN_DURATION: Duration = Duration::from_millis(40);
/// Number of measurements; the shortest counts.
const MEASUREMENTS: usize = 5;

impl Gpu {
    /// Measures the device: f32 multiplications and additions per second, and bytes copied (read and written) per second.
    ///
    /// # Errors
    /// [`GpuError::Refused`], [`GpuError::OutOfMemory`], [`GpuError::DeviceLost`].
    #[doc(hidden)]
    pub fn peak(&self) -> Result<(f64, f64), GpuError> {
        let copy = Probe::copy(self.capabilities());
        let mut flops: f64 = 0.0;
        for multiply in Probe::multiply(self.capabilities()) {
            flops = flops.max(multiply.flops as f64 / pollster::block_on(self.time_probe(&multiply))?);
        }
        let bytes = copy.bytes as f64 / pollster::block_on(self.time_probe(&copy))?;
        Ok((flops, bytes))
    }

    /// Shortest time of one dispatch, in seconds.
    async fn time_probe(&self, probe: &Probe) -> Result<f64, GpuError> {
        let device = self.device();
        let make = || {
            let descriptor = wgpu::ShaderModuleDescriptor {
                label: Some(probe.entry),
                source: wgpu::ShaderSource::Wgsl(probe.wgsl.as_str().into()),
            };
            // SAFETY: the loop bound is constant, and the buffer below covers all indices. With checks, a loop this tight would measure
            // the checks.
            let module = unsafe {
                device.create_shader_module_trusted(descriptor, wgpu::ShaderRuntimeChecks::unchecked())
            };
            let pipeline = device.create_compute_pipeline(&wgpu::ComputePipelineDescriptor {
                label: Some(probe.entry),
                layout: None,
                module: &module,
                entry_point: Some(probe.entry),
                compilation_options: Default::default(),
                cache: None,
            });
            let buffer = device.create_buffer(&wgpu::BufferDescriptor {
                label: Some(probe.entry),
                size: probe.buffer_bytes,
                usage: BufferUsages::STORAGE,
                mapped_at_creation: false,
            });
            let group = device.create_bind_group(&wgpu::BindGroupDescriptor {
                label: Some(probe.entry),
                layout: &pipeline.get_bind_group_layout(0),
                entries: &[wgpu::BindGroupEntry { binding: 0, resource: buffer.as_entire_binding() }],
            });
            (pipeline, group)
        };
        let (pipeline, group) = self.scoped("a measurement of the device", make).await?;
        let run = |dispatches: usize| -> Result<Duration, GpuError> {
            let mut encoder = device.create_command_encoder(&Default::default());
            {
                let mut pass = encoder.begin_compute_pass(&Default::default());
                pass.set_pipeline(&pipeline);
                pass.set_bind_group(0, &group, &[]);
                (0..dispatches).for_each(|_| pass.dispatch_workgroups(probe.grid, 1, 1));
            }
            let commands = encoder.finish();
            let stopwatch = Stopwatch::start();
            let index = self.queue().submit([commands]);
            wait(self, "a measurement of the device", index)?;
            Ok(stopwatch.elapsed())
        };
        run(1)?;
        let mut dispatches = 1;
        while run(dispatches)? < MIN_DURATION && dispatches < 1 << 16 {
            dispatches *= 2;
        }
        let mut best = Duration::MAX;
        for _ in 0..MEASUREMENTS {
            best = best.min(run(dispatches)?);
        }
        Ok(best.as_secs_f64() / dispatches as f64)
    }
}
