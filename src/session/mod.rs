//! The public interface: opens a checkpoint and computes logits.

mod convert;
mod error;
mod executor;
mod images;
mod kind;
#[cfg(not(target_arch = "wasm32"))]
mod measure;
mod open;
mod options;
mod output;
mod predict;
mod prepare;
mod prune;
#[cfg(not(target_arch = "wasm32"))]
mod timing;

pub use convert::converted;
pub use error::Error;
pub use kind::ErrorKind;
#[cfg(not(target_arch = "wasm32"))]
pub use measure::{MergeBenchmark, benchmark_merge};
pub use options::{Device, Options};
pub use output::{OutputChoice, OutputError, preserved_layers};
pub use predict::{Prediction, top};
pub use prepare::{Prepared, prepare};
pub use prune::{Judge, PrunedModel, prune_model};

use crate::kernel::Rounding;
use crate::models::{Assumption, Model, OutputKind, Scores};
use crate::plan::{Memory, Plan, Values};
use crate::preprocess::Preprocess;
use crate::rewrite::BlockReport;
use crate::tensor::all_finite;
use executor::Executor;
use std::borrow::Cow;
use std::collections::BTreeMap;

/// A network on a device, ready to run.
///
/// It is `Send + Sync` (except in a browser, where wgpu's types are neither). Threads may share one session, and their runs can be in
/// flight at the same time.
pub struct Session {
    executor: Box<dyn Executor>,
    about: About,
    blocks: Vec<BlockReport>,
    /// Maps each name of [`Options::keep`] to the node that computes the value.
    kept: BTreeMap<String, String>,
    check_input: bool,
    #[cfg(feature = "gpu")]
    passed_over: Vec<crate::gpu::PassedOver>,
}

/// The metadata of a checkpoint.
struct About {
    family: String,
    preprocess: Preprocess,
    labels: Option<Vec<String>>,
    output: OutputKind,
    scores: Scores,
    assumed: Vec<Assumption>,
}

impl About {
    fn of(model: &Model) -> About {
        let Model { family, preprocess, labels, output, scores, assumed, .. } = model;
        About {
            family: family.clone(),
            preprocess: preprocess.clone(),
            labels: labels.clone(),
            output: *output,
            scores: *scores,
            assumed: assumed.clone(),
        }
    }
}

impl Session {
    /// Runs 1 to [`Options::batch`] images, planar `[images, channels, height, width]` f32 ([`Session::input_shape`]). Returns the output,
    /// planar `[images, channels, height, width]` ([`Session::output_shape`]): logits are `[images, classes]`. A smaller number of images
    /// takes as long as a full batch. Blocks. May be called from several threads at once, including threads of the app's own pools.
    ///
    /// An input that contains NaN or infinity is refused, unless [`Options::check_input`] is off. A run whose output contains NaN or
    /// infinity fails. On the CPU a NaN inside the network always reaches the output. On a GPU in f32 it may not: `max(NaN, 0)` may give 0.
    ///
    /// # Errors
    /// [`Error::InputLength`]; [`Error::InputNotFinite`]; [`Error::Gpu`] if the device is lost or does not respond
    /// ([`Gpu::with_timeout`](crate::Gpu::with_timeout)); [`Error::NotFinite`] if a layer overflows its precision, except in f16 on the
    /// CPU: there it is [`Error::Cpu`] with the layer's name.
    #[cfg(not(target_arch = "wasm32"))]
    pub fn run(&self, input: &[f32]) -> Result<Vec<f32>, Error> {
        let images = self.images(input)?;
        Ok(self.run_values(input, images, false)?.output)
    }

    /// [`Session::run`], with the output copied into a slice of the app, `[images, channels, height, width]`.
    ///
    /// # Errors
    /// As [`Session::run`]; [`Error::OutputLength`] if `output` has another length, before anything runs.
    #[cfg(not(target_arch = "wasm32"))]
    pub fn run_into(&self, input: &[f32], output: &mut [f32]) -> Result<(), Error> {
        let images = self.images(input)?;
        let expected = images * self.image_output_len();
        if output.len() != expected {
            return Err(Error::OutputLength { expected, found: output.len() });
        }
        output.copy_from_slice(&self.run_values(input, images, false)?.output);
        Ok(())
    }

    /// [`Session::run`] without blocking. It works with any async runtime: outside a browser one background thread waits for all runs of
    /// the device. On the CPU the first poll blocks until the run is done. Dropping the future does not cancel a run that was submitted.
    ///
    /// # Errors
    /// As [`Session::run`].
    pub async fn run_async(&self, input: &[f32]) -> Result<Vec<f32>, Error> {
        Ok(self.run_values_async(input, false).await?.output)
    }

    /// [`Session::run`], with the values named in [`Options::keep`]. They belong to this run, even if other runs are in flight. Only the
    /// output is checked for NaN and infinity, not the kept values.
    ///
    /// # Errors
    /// As [`Session::run`].
    #[cfg(not(target_arch = "wasm32"))]
    pub fn run_keeping(&self, input: &[f32]) -> Result<Values, Error> {
        let images = self.images(input)?;
        self.run_values(input, images, true)
    }

    /// [`Session::run_keeping`] without blocking, as [`Session::run_async`].
    ///
    /// # Errors
    /// As [`Session::run`].
    pub async fn run_keeping_async(&self, input: &[f32]) -> Result<Values, Error> {
        self.run_values_async(input, true).await
    }

    #[cfg(not(target_arch = "wasm32"))]
    fn run_values(&self, input: &[f32], images: usize, keep: bool) -> Result<Values, Error> {
        self.given(self.executor.run(&self.whole_batch(input), keep)?, images)
    }

    async fn run_values_async(&self, input: &[f32], keep: bool) -> Result<Values, Error> {
        let images = self.images(input)?;
        self.given(self.executor.run_async(&self.whole_batch(input), keep).await?, images)
    }

    /// The number of images in an input. Refuses an input that is not a whole number of images, or that contains NaN or infinity.
    fn images(&self, input: &[f32]) -> Result<usize, Error> {
        let [batch, channels, height, width] = self.input_shape();
        let image = channels * height * width;
        let images = input.len() / image;
        if !input.len().is_multiple_of(image) || !(1..=batch).contains(&images) {
            return Err(Error::InputLength { image, batch, found: input.len() });
        }
        if self.check_input && !all_finite(input) {
            let at = input.iter().position(|v| !v.is_finite()).unwrap_or_default();
            return Err(Error::InputNotFinite { at: position(at, self.input_shape()), value: input[at] });
        }
        Ok(images)
    }

    /// The input, padded with zeros to a full batch.
    fn whole_batch<'a>(&self, input: &'a [f32]) -> Cow<'a, [f32]> {
        if input.len() == self.input_len() {
            return Cow::Borrowed(input);
        }
        let mut whole = input.to_vec();
        whole.resize(self.input_len(), 0.0);
        Cow::Owned(whole)
    }

    /// The results of a run for its `images`, with the kept values under their requested names. Refuses an output that is not finite.
    fn given(&self, values: Values, images: usize) -> Result<Values, Error> {
        let Values { mut output, kept } = values;
        let batch = self.plan().batch;
        let of_images = |values: &mut Vec<f32>| values.truncate(values.len() / batch * images);
        of_images(&mut output);
        let named = self.kept.iter().filter_map(|(name, node)| {
            let mut value = kept.get(node)?.clone();
            of_images(&mut value);
            Some((name.clone(), value))
        });
        let mut values = Values { kept: BTreeMap::new(), output };
        values.kept.extend(named);
        let Some(at) = values.output.iter().position(|v| !v.is_finite()) else { return Ok(values) };
        let shape = self.output_shape();
        let value = values.output[at];
        let precision = self.plan().precision();
        Err(Error::NotFinite { precision, at: position(at, shape), shape, value, values })
    }

    /// Records a run of a whole batch into the app's own command buffer: nothing is submitted, copied or read back.
    ///
    /// `input` holds planar `[batch, channels, height, width]` f32, `output` gets planar f32 of [`Session::output_shape`]; both need the
    /// usage `STORAGE` and belong to the session's device. Runs of one session share its memory: submit the recorded commands to this
    /// device's queue, in order. A value that overflows f16 makes the output NaN, and this function cannot check for it.
    ///
    /// # Errors
    /// [`Error::NotOnGpu`] on the CPU; [`Error::Gpu`] if a buffer is too small, lacks the usage, is given as both, is destroyed or belongs
    /// to another device. Do not mix buffers of several `wgpu::Instance`s: they cannot always be told apart.
    #[cfg(feature = "gpu")]
    pub fn encode(
        &self,
        encoder: &mut wgpu::CommandEncoder,
        input: &wgpu::Buffer,
        output: &wgpu::Buffer,
    ) -> Result<(), Error> {
        let gpu = self.executor.gpu().ok_or(Error::NotOnGpu)?;
        Ok(gpu.encode(encoder, input, output)?)
    }

    /// The session's GPU, with the timeout of [`Options::timeout`], to share with other sessions and the rest of the app; `None` on the
    /// CPU.
    #[cfg(feature = "gpu")]
    pub fn gpu(&self) -> Option<&crate::gpu::Gpu> {
        self.executor.gpu().map(|gpu| gpu.gpu())
    }

    /// Whether the session runs on a GPU.
    pub fn is_on_gpu(&self) -> bool {
        #[cfg(feature = "gpu")]
        return self.executor.gpu().is_some();
        #[cfg(not(feature = "gpu"))]
        return false;
    }

    /// Rounding bound of a kept value, from the kernels that compute it.
    #[doc(hidden)]
    pub fn rounding(&self, name: &str) -> Rounding {
        self.executor.rounding(self.kept.get(name).map_or(name, |node| node))
    }

    /// The session's plan, without its weights.
    pub fn plan(&self) -> &Plan {
        self.executor.plan()
    }

    /// How every residual block was rewritten, in order. Empty in [`Mode::Residual`](crate::Mode::Residual), which removes none.
    pub fn blocks(&self) -> &[BlockReport] {
        &self.blocks
    }

    /// The network as readable text, such as `torchvision ResNet, BasicBlock [2, 2, 2, 2]`.
    pub fn family(&self) -> &str {
        &self.about.family
    }

    /// How an image becomes the input.
    pub fn preprocess(&self) -> &Preprocess {
        &self.about.preprocess
    }

    /// Class names in the order of the logits, if the checkpoint's config files have names.
    pub fn labels(&self) -> Option<&[String]> {
        self.about.labels.as_deref()
    }

    /// The properties of the network that were assumed, since no tensor or config file states them, by key.
    pub fn assumed(&self) -> &[Assumption] {
        &self.about.assumed
    }

    /// What the output is: logits, an embedding, or features.
    pub fn output(&self) -> OutputKind {
        self.about.output
    }

    /// `[batch, channels, height, width]` of the input.
    pub fn input_shape(&self) -> [usize; 4] {
        let s = self.plan().input().shape;
        [s.batch, s.channels, s.height, s.width]
    }

    /// Number of f32 values in the input of a full batch.
    pub fn input_len(&self) -> usize {
        self.input_shape().iter().product()
    }

    /// `[batch, channels, height, width]` of the output. Logits and pooled features have height and width 1; the channels of logits are the
    /// classes.
    pub fn output_shape(&self) -> [usize; 4] {
        let s = self.plan().output().shape;
        [s.batch, s.channels, s.height, s.width]
    }

    fn image_output_len(&self) -> usize {
        self.output_shape()[1..].iter().product()
    }

    /// The adapter, or `cpu` with the number of threads, as readable text.
    pub fn device_name(&self) -> String {
        self.executor.device_name()
    }

    /// The adapters that [`Device::Auto`] skipped when it found no hardware GPU and took the CPU: software GPUs, and adapters that lack a
    /// required feature. Empty if the device was chosen explicitly, if it is a GPU, or if there are no adapters.
    #[cfg(feature = "gpu")]
    pub fn passed_over(&self) -> &[crate::gpu::PassedOver] {
        &self.passed_over
    }

    /// How [`Options::tuning`] was applied; `None` on the CPU, which has no kernels to choose from.
    #[cfg(feature = "gpu")]
    pub fn tuned(&self) -> Option<&crate::gpu::Tuned> {
        self.executor.gpu().map(|gpu| gpu.tuned())
    }

    /// The kernel families that this session would use, but does without, because the GPU's driver computes them wrong
    /// ([`SelfTests`](crate::SelfTests)). Empty on the CPU, and where [`Options::self_test`] is off.
    #[cfg(feature = "gpu")]
    pub fn quarantined(&self) -> &[crate::gpu::Quarantined] {
        self.executor.gpu().map_or(&[], |gpu| gpu.quarantined())
    }

    /// Bytes currently allocated on the device. Some buffers are only created by the first run that needs them. Weights shared by several
    /// sessions are counted in each. Memory reserved by drivers and allocators is not counted.
    pub fn memory(&self) -> Memory {
        self.executor.memory()
    }
}

impl std::fmt::Debug for Session {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Session")
            .field("family", &self.about.family)
            .field("device", &self.device_name())
            .field("input", &self.input_shape())
            .field("output", &self.output_shape())
            .finish_non_exhaustive()
    }
}

/// Image, channel, row and column of the value at index `at` of a planar tensor.
fn position(at: usize, [_, channels, height, width]: [usize; 4]) -> [usize; 4] {
    [at / (channels * height * width), at / (height * width) % channels, at / width % height, at % width]
}
