//! The trait through which a session uses the GPU and CPU executors.

use super::Error;
use crate::kernel::Rounding;
use crate::plan::{Memory, Phases, Plan, Values};
use std::pin::Pin;
use std::time::Duration;

/// `Send` and `Sync` where the executor's types are: in a browser wgpu's are not.
#[cfg(not(target_arch = "wasm32"))]
pub(super) trait Shared: Send + Sync {}
#[cfg(not(target_arch = "wasm32"))]
impl<T: Send + Sync> Shared for T {}
#[cfg(target_arch = "wasm32")]
pub(super) trait Shared {}
#[cfg(target_arch = "wasm32")]
impl<T> Shared for T {}

/// The future of a run.
#[cfg(not(target_arch = "wasm32"))]
pub(super) type Running<'a> = Pin<Box<dyn Future<Output = Result<Values, Error>> + Send + 'a>>;
#[cfg(target_arch = "wasm32")]
pub(super) type Running<'a> = Pin<Box<dyn Future<Output = Result<Values, Error>> + 'a>>;

/// Runs one plan on one device. Inputs are one whole batch, planar `[batch, channels, height, width]`.
pub(super) trait Executor: Shared {
    /// The plan, without its weights.
    fn plan(&self) -> &Plan;

    /// The name of the device, as readable text.
    fn device_name(&self) -> String;

    /// Bytes currently allocated.
    fn memory(&self) -> Memory;

    /// Runs and awaits the device. Returns the output and, if `keep` is set, the values that the plan keeps.
    fn run_async<'a>(&'a self, input: &'a [f32], keep: bool) -> Running<'a>;

    /// [`Executor::run_async`], blocking.
    #[cfg(not(target_arch = "wasm32"))]
    fn run(&self, input: &[f32], keep: bool) -> Result<Values, Error>;

    /// A run's output, and where its time went on the host.
    #[cfg(not(target_arch = "wasm32"))]
    fn run_timed(&self, input: &[f32]) -> Result<(Vec<f32>, Phases), Error>;

    /// Begin and end of every dispatch of one run; `None` if the device has no timestamps.
    #[cfg(not(target_arch = "wasm32"))]
    fn dispatch_times(&self, input: &[f32]) -> Result<Option<Vec<[Duration; 2]>>, Error>;

    /// Measured peak: f32 multiplications and additions per second, and bytes copied per second.
    #[cfg(not(target_arch = "wasm32"))]
    fn peak(&self) -> Result<(f64, f64), Error>;

    /// Bytes of packed weights of every dispatch.
    fn weight_bytes_by_dispatch(&self) -> Vec<usize>;

    /// Name of the kernel of every dispatch.
    fn kernels(&self) -> Vec<String>;

    /// Rounding bound of a node's value, from the kernels that compute it.
    fn rounding(&self, _node: &str) -> Rounding {
        Rounding::DIRECT
    }

    /// The executor on a GPU, if it is one.
    #[cfg(feature = "gpu")]
    fn gpu(&self) -> Option<&crate::gpu::GpuExecutor> {
        None
    }
}

#[cfg(feature = "gpu")]
impl Executor for crate::gpu::GpuExecutor {
    fn plan(&self) -> &Plan {
        self.plan()
    }

    fn device_name(&self) -> String {
        self.gpu().adapter().to_string()
    }

    fn memory(&self) -> Memory {
        self.memory()
    }

    fn run_async<'a>(&'a self, input: &'a [f32], keep: bool) -> Running<'a> {
        Box::pin(async move {
            Ok(match keep {
                true => self.run_keeping_async(input).await?,
                false => Values { output: self.run_async(input).await?, ..Values::default() },
            })
        })
    }

    #[cfg(not(target_arch = "wasm32"))]
    fn run(&self, input: &[f32], keep: bool) -> Result<Values, Error> {
        Ok(match keep {
            true => self.run_keeping(input)?,
            false => Values { output: self.run(input)?, ..Values::default() },
        })
    }

    #[cfg(not(target_arch = "wasm32"))]
    fn run_timed(&self, input: &[f32]) -> Result<(Vec<f32>, Phases), Error> {
        Ok(self.run_timed(input)?)
    }

    #[cfg(not(target_arch = "wasm32"))]
    fn dispatch_times(&self, input: &[f32]) -> Result<Option<Vec<[Duration; 2]>>, Error> {
        Ok(self.dispatch_times(input)?)
    }

    #[cfg(not(target_arch = "wasm32"))]
    fn peak(&self) -> Result<(f64, f64), Error> {
        Ok(self.gpu().peak()?)
    }

    fn weight_bytes_by_dispatch(&self) -> Vec<usize> {
        self.weight_bytes_by_dispatch()
    }

    fn kernels(&self) -> Vec<String> {
        self.kernels().iter().map(ToString::to_string).collect()
    }

    fn rounding(&self, node: &str) -> Rounding {
        self.rounding(node)
    }

    fn gpu(&self) -> Option<&crate::gpu::GpuExecutor> {
        Some(self)
    }
}

#[cfg(feature = "cpu")]
impl Executor for crate::cpu::CpuExecutor {
    fn plan(&self) -> &Plan {
        self.plan()
    }

    fn device_name(&self) -> String {
        match self.threads().count() {
            1 => "cpu, 1 thread".into(),
            n => format!("cpu, {n} threads"),
        }
    }

    fn memory(&self) -> Memory {
        self.memory()
    }

    /// The first poll blocks until the run is done, since there is no device to await.
    fn run_async<'a>(&'a self, input: &'a [f32], keep: bool) -> Running<'a> {
        Box::pin(async move { on_cpu(self, input, keep) })
    }

    #[cfg(not(target_arch = "wasm32"))]
    fn run(&self, input: &[f32], keep: bool) -> Result<Values, Error> {
        on_cpu(self, input, keep)
    }

    /// All of the time is counted as waiting.
    #[cfg(not(target_arch = "wasm32"))]
    fn run_timed(&self, input: &[f32]) -> Result<(Vec<f32>, Phases), Error> {
        let start = std::time::Instant::now();
        let output = self.run(input)?;
        Ok((output, Phases { wait: start.elapsed(), ..Phases::default() }))
    }

    #[cfg(not(target_arch = "wasm32"))]
    fn dispatch_times(&self, input: &[f32]) -> Result<Option<Vec<[Duration; 2]>>, Error> {
        Ok(Some(self.dispatch_times(input)?))
    }

    #[cfg(not(target_arch = "wasm32"))]
    fn peak(&self) -> Result<(f64, f64), Error> {
        Ok(self.peak())
    }

    fn weight_bytes_by_dispatch(&self) -> Vec<usize> {
        self.weight_bytes_by_dispatch()
    }

    fn kernels(&self) -> Vec<String> {
        self.kernels()
    }

    fn rounding(&self, node: &str) -> Rounding {
        self.rounding(node)
    }
}

#[cfg(feature = "cpu")]
fn on_cpu(cpu: &crate::cpu::CpuExecutor, input: &[f32], keep: bool) -> Result<Values, Error> {
    Ok(match keep {
        true => cpu.run_keeping(input)?,
        false => Values { output: cpu.run(input)?, ..Values::default() },
    })
}
