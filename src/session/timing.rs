//! Where the time of a session goes.

use super::{Executor, Session, SessionError};
use crate::gpu::Phases;
use crate::plan::Values;
use std::time::{Duration, Instant};

impl Session {
    /// [`Session::run`], and where its time went on the host. On the CPU all of it is waiting.
    ///
    /// # Errors
    /// As [`Session::run`].
    pub fn run_timed(&self, input: &[f32]) -> Result<(Vec<f32>, Phases), SessionError> {
        self.check(input)?;
        let (output, phases) = match &self.executor {
            Executor::Gpu(gpu) => gpu.run_timed(input)?,
            Executor::Cpu(cpu) => {
                let start = Instant::now();
                let output = cpu.run(input)?;
                (output, Phases { wait: start.elapsed(), ..Phases::default() })
            }
        };
        Ok((self.finite(Values { output, ..Values::default() })?.output, phases))
    }

    /// The GPU's own time for one run; `None` on the CPU, and where the adapter has no timestamps.
    ///
    /// # Errors
    /// As [`Session::run`]; timestamps that cannot be times.
    pub fn gpu_time(&self, input: &[f32]) -> Result<Option<Duration>, SessionError> {
        match &self.executor {
            Executor::Gpu(gpu) => Ok(gpu.gpu_time(input)?),
            Executor::Cpu(_) => Ok(None),
        }
    }

    /// Begin and end of every dispatch of one run, from the begin of the first: in GPU time, each a pass of its own; in the
    /// host's on the CPU. `None` where the adapter has no timestamps.
    ///
    /// # Errors
    /// As [`Session::gpu_time`].
    pub fn dispatch_times(&self, input: &[f32]) -> Result<Option<Vec<[Duration; 2]>>, SessionError> {
        match &self.executor {
            Executor::Gpu(gpu) => Ok(gpu.dispatch_times(input)?),
            Executor::Cpu(cpu) => Ok(Some(cpu.dispatch_times(input)?)),
        }
    }

    /// Measures what the device can do: f32 multiplications and additions per second, bytes copied (read and written) per
    /// second. About half a second.
    ///
    /// # Errors
    /// As [`Session::run`].
    pub fn peak(&self) -> Result<(f64, f64), SessionError> {
        match &self.executor {
            Executor::Gpu(gpu) => Ok(gpu.gpu().peak()?),
            Executor::Cpu(cpu) => Ok(cpu.peak()),
        }
    }

    /// Bytes of packed weights of every dispatch of the plan.
    pub fn weight_bytes_by_dispatch(&self) -> Vec<usize> {
        match &self.executor {
            Executor::Gpu(gpu) => gpu.weight_bytes_by_dispatch(),
            Executor::Cpu(cpu) => cpu.weight_bytes_by_dispatch(),
        }
    }

    /// Name of the kernel of every dispatch of the plan.
    pub fn kernels(&self) -> Vec<String> {
        match &self.executor {
            Executor::Gpu(gpu) => gpu.kernels().iter().map(ToString::to_string).collect(),
            Executor::Cpu(_) => vec!["cpu".into(); self.plan().dispatches.len()],
        }
    }

    /// Time to pack and upload the weights, and to compile the shaders; on the CPU nothing is uploaded or compiled.
    pub fn startup(&self) -> Option<(Duration, Duration)> {
        match &self.executor {
            Executor::Gpu(gpu) => Some(gpu.startup()),
            Executor::Cpu(_) => None,
        }
    }

    /// The driver and its version; `None` on the CPU.
    pub fn driver(&self) -> Option<&str> {
        match &self.executor {
            Executor::Gpu(gpu) => Some(&gpu.gpu().adapter().driver),
            Executor::Cpu(_) => None,
        }
    }

    /// Whether it runs through wgpu.
    pub fn is_on_gpu(&self) -> bool {
        matches!(self.executor, Executor::Gpu(_))
    }
}
