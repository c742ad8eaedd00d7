//! Times of runs, dispatches and start-up.

use super::{Error, Session};
use crate::plan::Phases;
use std::time::Duration;

impl Session {
    /// [`Session::run`], with the host time of each phase. On the CPU all of it is counted as waiting.
    ///
    /// # Errors
    /// As [`Session::run`].
    pub fn run_timed(&self, input: &[f32]) -> Result<(Vec<f32>, Phases), Error> {
        let images = self.images(input)?;
        let (output, phases) = self.executor.run_timed(&self.whole_batch(input))?;
        let values = crate::plan::Values { output, ..Default::default() };
        Ok((self.given(values, images)?.output, phases))
    }

    /// GPU time of one run; `None` on the CPU, or if the adapter has no timestamps.
    ///
    /// # Errors
    /// As [`Session::run`]; an error if the timestamps are invalid.
    #[cfg(feature = "gpu")]
    pub fn gpu_time(&self, input: &[f32]) -> Result<Option<Duration>, Error> {
        match self.executor.gpu() {
            Some(gpu) => {
                self.images(input)?;
                Ok(gpu.gpu_time(&self.whole_batch(input))?)
            }
            None => Ok(None),
        }
    }

    /// Begin and end of every dispatch of one run, relative to the begin of the first: in GPU time, with a separate pass per dispatch, or
    /// in host time on the CPU. `None` if the adapter has no timestamps.
    ///
    /// # Errors
    /// As [`Session::run`]; an error if the timestamps are invalid.
    pub fn dispatch_times(&self, input: &[f32]) -> Result<Option<Vec<[Duration; 2]>>, Error> {
        self.images(input)?;
        self.executor.dispatch_times(&self.whole_batch(input))
    }

    /// Measures the device's peak: f32 multiplications and additions per second, and bytes copied (read and written) per second. Takes
    /// about half a second.
    ///
    /// # Errors
    /// As [`Session::run`].
    #[doc(hidden)]
    pub fn peak(&self) -> Result<(f64, f64), Error> {
        self.executor.peak()
    }

    /// Bytes of packed weights of every dispatch of the plan.
    pub fn weight_bytes_by_dispatch(&self) -> Vec<usize> {
        self.executor.weight_bytes_by_dispatch()
    }

    /// Name of the kernel of every dispatch of the plan.
    pub fn kernels(&self) -> Vec<String> {
        self.executor.kernels()
    }

    /// Time to pack and upload the weights, and time to compile the shaders; `None` on the CPU.
    #[cfg(feature = "gpu")]
    pub fn startup(&self) -> Option<(Duration, Duration)> {
        self.executor.gpu().map(|gpu| gpu.startup())
    }

    /// The driver and its version; `None` on the CPU.
    #[cfg(feature = "gpu")]
    #[doc(hidden)]
    pub fn driver(&self) -> Option<&str> {
        self.executor.gpu().map(|gpu| gpu.gpu().adapter().driver.as_str())
    }
}
