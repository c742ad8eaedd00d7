//! The public face: a checkpoint in, logits out.

mod convert;
mod error;
mod executor;
mod images;
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
/// It is `Send + Sync` (in a browser wgpu's types are neither): one session may be shared by threads, and runs from several threads
/// are in flight at once.
pub struct Session {
    executor: Box<dyn Executor>,
    about: About,
    blocks: Vec<BlockReport>,
    /// Of every name to keep the node that makes the value.
    kept: BTreeMap<String, String>,
    check_input: bool,
    #[cfg(feature = "gpu")]
    passed_over: Vec<crate::gpu::PassedOver>,
}

/// What a checkpoint says beside the weights.
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
    /// Runs 1 to [`Options::batch`] images, planar `[images, channels, height, width]` f32 ([`Session::input_shape`]), and gives the
    /// output, planar `[images, channels, height, width]` as [`Session::output_shape`] has it: logits are `[images, classes]`. Fewer
    /// images than the batch take the time of a whole one. Blocks. May be called from any thread, several at a time, those of the app's
    /// own pools too.
    ///
    /// It refuses an input that holds NaN or infinities, unless [`Options::check_input`] is off, and fails if the output holds any. On the
    /// CPU a NaN inside the network always reaches the output. On a GPU in f32 it may not: `max(NaN, 0)` may give 0.
    ///
    /// # Errors
    /// [`Error::InputLength`]; [`Error::InputNotFinite`]; [`Error::Gpu`] for a device lost, or one that gives no answer
    /// ([`Gpu::with_timeout`](crate::Gpu::with_timeout)); [`Error::NotFinite`] where a layer overflows its precision, in f16 on
    /// the CPU [`Error::Cpu`] with the layer's name.
    #[cfg(not(target_arch = "wasm32"))]
    pub fn run(&self, input: &[f32]) -> Result<Vec<f32>, Error> {
        let images = self.images(input)?;
        Ok(self.run_values(input, images, false)?.output)
    }

    /// [`Session::run`], its output copied into a slice of the app's, `[images, channels, height, width]`.
    ///
    /// # Errors
    /// As [`Session::run`]; [`Error::OutputLength`] where `output` is of another length, before anything runs.
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

    /// [`Session::run`] that awaits the GPU. It needs no runtime: outside a browser a thread waits for the device, one for all runs. On the
    /// CPU it runs at once, on the thread that polls it. A future that is dropped leaves its run to the device.
    ///
    /// # Errors
    /// As [`Session::run`].
    pub async fn run_async(&self, input: &[f32]) -> Result<Vec<f32>, Error> {
        Ok(self.run_values_async(input, false).await?.output)
    }

    /// [`Session::run`], with the values named in [`Options::keep`]: those of this very run, whatever else runs meanwhile. They are not
    /// looked through for NaN and infinities, only the output is.
    ///
    /// # Errors
    /// As [`Session::run`].
    #[cfg(not(target_arch = "wasm32"))]
    pub fn run_keeping(&self, input: &[f32]) -> Result<Values, Error> {
        let images = self.images(input)?;
        self.run_values(input, images, true)
    }

    /// [`Session::run_keeping`] that awaits the GPU, as [`Session::run_async`] does.
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

    /// How many images an input holds. Refuses one that is no whole number of them, or is NaN or infinite somewhere.
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

    /// The input, with images of zeros where it has fewer than a batch.
    fn whole_batch<'a>(&self, input: &'a [f32]) -> Cow<'a, [f32]> {
        if input.len() == self.input_len() {
            return Cow::Borrowed(input);
        }
        let mut whole = input.to_vec();
        whole.resize(self.input_len(), 0.0);
        Cow::Owned(whole)
    }

    /// What a run gave for its images: finite, and kept values under the names they were asked for by.
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
        let values = Values { kept: named.collect(), output };
        let Some(at) = values.output.iter().position(|v| !v.is_finite()) else { return Ok(values) };
        let shape = self.output_shape();
        let value = values.output[at];
        let precision = self.plan().precision();
        Err(Error::NotFinite { precision, at: position(at, shape), shape, value, values })
    }

    /// Records a run of a whole batch into the app's own command buffer: nothing is submitted, copied or read back.
    ///
    /// `input` holds planar `[batch, channels, height, width]` f32, `output` gets planar f32 of [`Session::output_shape`]; both with
    /// usage `STORAGE`, on the session's device. Runs of one session share its memory: submit what is recorded to the queue of this
    /// device, in order. A value that left the range of f16 makes the output NaN, which nobody looks for here.
    ///
    /// # Errors
    /// [`Error::NotOnGpu`] on the CPU; [`Error::Gpu`] for a buffer too small, without the usage, given as both, destroyed or of another
    /// device. A buffer of another `wgpu::Instance` cannot always be told from one of this instance: do not mix them.
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

    /// The GPU it runs on, with the timeout of [`Options::timeout`], to share with other sessions and the rest of the app; `None` on the CPU.
    #[cfg(feature = "gpu")]
    pub fn gpu(&self) -> Option<&crate::gpu::Gpu> {
        self.executor.gpu().map(|gpu| gpu.gpu())
    }

    /// How far a kept value may be from the exact one, by the kernels that make it.
    #[doc(hidden)]
    pub fn rounding(&self, name: &str) -> Rounding {
        self.executor.rounding(self.kept.get(name).map_or(name, |node| node))
    }

    /// The plan that runs, without its weights.
    pub fn plan(&self) -> &Plan {
        self.executor.plan()
    }

    /// What became of every residual block, in order. Empty in [`Mode::Residual`](crate::Mode::Residual), which removes none.
    pub fn blocks(&self) -> &[BlockReport] {
        &self.blocks
    }

    /// The network, for people, such as `torchvision ResNet, BasicBlock [2, 2, 2, 2]`.
    pub fn family(&self) -> &str {
        &self.about.family
    }

    /// How an image becomes the input.
    pub fn preprocess(&self) -> &Preprocess {
        &self.about.preprocess
    }

    /// Class names in the order of the logits, where the checkpoint's config files have names.
    pub fn labels(&self) -> Option<&[String]> {
        self.about.labels.as_deref()
    }

    /// What the network rests on and no tensor or config file shows, by key.
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

    /// f32 values of the input of a whole batch.
    pub fn input_len(&self) -> usize {
        self.input_shape().iter().product()
    }

    /// `[batch, channels, height, width]` of the output. Logits and features have height and width 1, channels are the classes.
    pub fn output_shape(&self) -> [usize; 4] {
        let s = self.plan().output().shape;
        [s.batch, s.channels, s.height, s.width]
    }

    fn image_output_len(&self) -> usize {
        self.output_shape()[1..].iter().product()
    }

    /// The adapter, or `cpu` with the number of threads, for people.
    pub fn device_name(&self) -> String {
        self.executor.device_name()
    }

    /// The adapters that [`Device::Auto`] left alone when it found no hardware GPU and took the CPU: software GPUs, and what
    /// cannot run shaders. Empty where the device was asked for, is a GPU, or nothing else is there.
    #[cfg(feature = "gpu")]
    pub fn passed_over(&self) -> &[crate::gpu::PassedOver] {
        &self.passed_over
    }

    /// What became of [`Options::tuning`]; `None` on the CPU, which has no kernels to choose from.
    #[cfg(feature = "gpu")]
    pub fn tuned(&self) -> Option<&crate::gpu::Tuned> {
        self.executor.gpu().map(|gpu| gpu.tuned())
    }

    /// Bytes held on the device by now: what the first run that needs it makes is not there before. Weights that several sessions
    /// share are counted in each. What drivers and allocators set aside beside is not counted.
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

/// Image, channel, row and column of a value of a planar tensor.
fn position(at: usize, [_, channels, height, width]: [usize; 4]) -> [usize; 4] {
    [at / (channels * height * width), at / (height * width) % channels, at / width % height, at % width]
}
