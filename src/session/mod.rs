//! The public face: a checkpoint in, logits out.
//!
//! ```
//! use rmnet::{Device, Options, Session};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/assets/digits");
//! let options = Options { device: Device::Cpu, ..Options::default() };
//! let session = Session::open(folder, None, &options)?;
//! let image = vec![0.0; session.input_len()]; // planar [1, 3, 32, 32]
//! let logits = session.run(&image)?; // [1, 10]
//! assert_eq!(logits.len(), 10);
//! # Ok(())
//! # }
//! ```

mod error;
#[cfg(not(target_arch = "wasm32"))]
mod measure;
mod options;
mod output;
mod prune;
#[cfg(not(target_arch = "wasm32"))]
mod timing;

pub use error::SessionError;
#[cfg(not(target_arch = "wasm32"))]
pub use measure::{MergeTiming, faster_merged};
pub use options::{Device, Options};
pub use output::{OutputChoice, OutputError, preserved_layers};
pub use prune::{Judge, PrunedModel, pruned};

use crate::checkpoint::Checkpoint;
#[cfg(not(target_arch = "wasm32"))]
use crate::cpu::CpuExecutor;
use crate::gpu::{ExecOptions, Gpu, GpuExecutor, PassedOver, Tuned};
use crate::kernel::Rounding;
use crate::models::{self, Model};
use crate::plan::{self, CheckedPlan, Plan, Target, Values};
use crate::rewrite::{self, BlockReport, Form, Rewritten};
use crate::tensor::all_finite;
#[cfg(not(target_arch = "wasm32"))]
use crate::threads::Threads;
use std::collections::{BTreeMap, BTreeSet};

/// A network taken to the form that runs, and planned: everything short of a device.
#[derive(Clone, Debug)]
pub struct Prepared {
    /// The rewritten graph and the report per block.
    pub rewritten: Rewritten,
    /// Its plan.
    pub plan: CheckedPlan,
    /// Of every name of [`Options::keep`] the node of the rewritten graph that makes the value.
    pub kept: BTreeMap<String, String>,
}

/// Rewrites and plans a model for `target`, and replays the plan. Needs no device.
///
/// # Errors
/// [`SessionError::Output`] and [`SessionError::Keep`] where the model has no such value as [`Options::output`] or [`Options::keep`] names;
/// [`SessionError::Plan`] names the layer that cannot be planned, with the figures.
pub fn prepare(model: &Model, options: &Options, target: Target) -> Result<Prepared, SessionError> {
    let model = options.output.of(model)?;
    let rewritten = rewrite::for_mode(&model.graph, Form { mode: options.mode, merge: options.merge })?;
    let kept = kept(&model, &rewritten, &options.keep)?;
    let nodes: BTreeSet<&String> = kept.values().collect();
    let planned = plan::Options {
        batch: options.batch,
        keep: nodes.into_iter().cloned().collect(),
        target,
        precision: options.precision,
        ..plan::Options::default()
    };
    let plan = CheckedPlan::new(plan::compile(&rewritten.graph, &planned)?)?;
    Ok(Prepared { rewritten, plan, kept })
}

/// The node of each name: of a block, or of a layer of the original that a converted file names, the node that gives its value; else
/// the node itself.
fn kept(
    model: &Model,
    rewritten: &Rewritten,
    names: &[String],
) -> Result<BTreeMap<String, String>, SessionError> {
    let (graph, blocks) = (&rewritten.graph, &rewritten.blocks);
    let node = |name: &String| {
        let block = blocks.iter().find(|b| b.block == *name).map(|b| &b.output);
        let candidates = [block, model.layers.get(name), Some(name)];
        candidates.into_iter().flatten().find(|n| graph.find(n).is_some()).cloned()
    };
    let unknown = |name: &String| {
        let nodes = graph.nodes().iter().map(|n| &n.name);
        let names = blocks.iter().map(|b| &b.block).chain(nodes).cloned().collect();
        SessionError::Keep { name: name.clone(), names }
    };
    names.iter().map(|name| Ok((name.clone(), node(name).ok_or_else(|| unknown(name))?))).collect()
}

/// A network on a device, ready to run. `Send + Sync` where wgpu's types are.
pub struct Session {
    executor: Executor,
    blocks: Vec<BlockReport>,
    /// Of every name to keep the node that makes the value.
    kept: BTreeMap<String, String>,
    check_input: bool,
    passed_over: Vec<PassedOver>,
}

enum Executor {
    Gpu(Box<GpuExecutor>),
    #[cfg(not(target_arch = "wasm32"))]
    Cpu(Box<CpuExecutor>),
}

/// Bytes a session holds on its device.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Memory {
    /// Activations: the plan's slots; on the CPU those of every run that goes on or went on side by side.
    pub activations: usize,
    /// What kernels of several shaders hand on between them; on the CPU what threads gather to multiply.
    pub scratch: usize,
    /// Packed weights and biases.
    pub weights: usize,
    /// Inputs and outputs, and on a GPU the buffers they pass through from and to the host.
    pub transfer: usize,
}

impl Memory {
    /// All of it.
    pub fn total(&self) -> usize {
        self.activations + self.scratch + self.weights + self.transfer
    }
}

impl Session {
    /// Opens a checkpoint, a file or a folder, for inputs of `size` (`[height, width]`; by default the model's own). The file is read into
    /// memory while it loads; see [`Checkpoint::open_mapped`] for the least memory.
    ///
    /// # Errors
    /// [`SessionError`] names the tensor, layer, option or limit, what was expected and what was found.
    #[cfg(not(target_arch = "wasm32"))]
    pub fn open(
        path: impl AsRef<std::path::Path>,
        size: Option<[usize; 2]>,
        options: &Options,
    ) -> Result<Session, SessionError> {
        Session::new(&models::load(&Checkpoint::open(path)?, size)?, options)
    }

    /// The same from the bytes of a file of weights and, where there is one, the text of its `config.json`.
    ///
    /// # Errors
    /// As [`Session::open`].
    pub async fn from_bytes(
        bytes: Vec<u8>,
        config: Option<&str>,
        size: Option<[usize; 2]>,
        options: &Options,
    ) -> Result<Session, SessionError> {
        Session::new_async(&models::load(&Checkpoint::from_bytes(bytes, config)?, size)?, options).await
    }

    /// A session for a loaded model. Blocks until the device is ready.
    ///
    /// # Errors
    /// As [`Session::open`].
    #[cfg(not(target_arch = "wasm32"))]
    pub fn new(model: &Model, options: &Options) -> Result<Session, SessionError> {
        pollster::block_on(Session::new_async(model, options))
    }

    /// [`Session::new`] for where nothing may block, such as a browser.
    ///
    /// # Errors
    /// As [`Session::open`].
    pub async fn new_async(model: &Model, options: &Options) -> Result<Session, SessionError> {
        match &options.device {
            Device::Gpu(choice) => Session::on(&Gpu::new_async(choice).await?, model, options).await,
            #[cfg(not(target_arch = "wasm32"))]
            Device::Cpu => Session::on_cpu(model, options),
            #[cfg(not(target_arch = "wasm32"))]
            Device::Auto => match Gpu::hardware_async().await? {
                crate::gpu::HardwareGpu::Open(gpu) => Session::on(&gpu, model, options).await,
                crate::gpu::HardwareGpu::Absent(passed_over) => {
                    log::info!("no hardware GPU: running on the CPU; passed over: {}", names(&passed_over));
                    Ok(Session { passed_over, ..Session::on_cpu(model, options)? })
                }
            },
            #[cfg(target_arch = "wasm32")]
            Device::Auto => {
                Session::on(&Gpu::new_async(&crate::gpu::AdapterChoice::Best).await?, model, options).await
            }
        }
    }

    /// A session on a GPU that is open already, such as the app's own ([`Gpu::from_device`]).
    ///
    /// # Errors
    /// As [`Session::open`].
    pub async fn on(gpu: &Gpu, model: &Model, options: &Options) -> Result<Session, SessionError> {
        let Prepared { rewritten, plan, kept } = prepare(model, options, gpu.plan_target())?;
        let exec = ExecOptions { safe_shaders: options.safe_shaders, tuning: options.tuning.clone() };
        let executor = GpuExecutor::new_async(gpu, &plan, &exec).await?;
        Ok(Session {
            executor: Executor::Gpu(Box::new(executor)),
            blocks: rewritten.blocks,
            kept,
            check_input: options.check_input,
            passed_over: vec![],
        })
    }

    #[cfg(not(target_arch = "wasm32"))]
    fn on_cpu(model: &Model, options: &Options) -> Result<Session, SessionError> {
        let Prepared { rewritten, plan, kept } = prepare(model, options, Target::CPU)?;
        let threads = options.threads.clone().map_or_else(Threads::shared, Ok)?;
        Ok(Session {
            executor: Executor::Cpu(Box::new(CpuExecutor::on(&threads, &plan)?)),
            blocks: rewritten.blocks,
            kept,
            check_input: options.check_input,
            passed_over: vec![],
        })
    }

    /// Runs one batch, planar `[batch, channels, height, width]` f32, and gives the output, planar as [`Session::output_shape`] says:
    /// logits are `[batch, classes]`. Blocks. May be called from any thread, several at a time, those of the app's own pools too.
    ///
    /// What it gives is finite, and of an input that is finite: both are looked at ([`Options::check_input`]). In between the CPU hands
    /// every NaN on to the output. In f32 a GPU may take the larger of NaN and 0 for 0, so that an overflow before a ReLU need not show
    /// there: [`verify`](crate::verify) finds it.
    ///
    /// # Errors
    /// An input of another length; [`SessionError::InputNotFinite`]; a device lost, or one that gives no answer
    /// ([`Gpu::with_timeout`]); [`SessionError::NotFinite`] where a layer overflows its precision.
    #[cfg(not(target_arch = "wasm32"))]
    pub fn run(&self, input: &[f32]) -> Result<Vec<f32>, SessionError> {
        self.check(input)?;
        let output = match &self.executor {
            Executor::Gpu(gpu) => gpu.run(input)?,
            Executor::Cpu(cpu) => cpu.run(input)?,
        };
        self.finite(Values { output, ..Values::default() }).map(|values| values.output)
    }

    /// [`Session::run`] that awaits the GPU. On the CPU it runs at once.
    ///
    /// # Errors
    /// As [`Session::run`].
    pub async fn run_async(&self, input: &[f32]) -> Result<Vec<f32>, SessionError> {
        self.check(input)?;
        let output = match &self.executor {
            Executor::Gpu(gpu) => gpu.run_async(input).await?,
            #[cfg(not(target_arch = "wasm32"))]
            Executor::Cpu(cpu) => cpu.run(input)?,
        };
        self.finite(Values { output, ..Values::default() }).map(|values| values.output)
    }

    /// [`Session::run`], with the values named in [`Options::keep`]: those of this very run, whatever else runs meanwhile.
    ///
    /// # Errors
    /// As [`Session::run`].
    #[cfg(not(target_arch = "wasm32"))]
    pub fn run_keeping(&self, input: &[f32]) -> Result<Values, SessionError> {
        self.check(input)?;
        self.named(match &self.executor {
            Executor::Gpu(gpu) => gpu.run_keeping(input)?,
            Executor::Cpu(cpu) => cpu.run_keeping(input)?,
        })
    }

    /// [`Session::run_keeping`] that awaits the GPU. On the CPU it runs at once.
    ///
    /// # Errors
    /// As [`Session::run`].
    pub async fn run_keeping_async(&self, input: &[f32]) -> Result<Values, SessionError> {
        self.check(input)?;
        self.named(match &self.executor {
            Executor::Gpu(gpu) => gpu.run_keeping_async(input).await?,
            #[cfg(not(target_arch = "wasm32"))]
            Executor::Cpu(cpu) => cpu.run_keeping(input)?,
        })
    }

    /// Kept values under the names they were asked for by.
    fn named(&self, values: Values) -> Result<Values, SessionError> {
        let Values { output, kept } = values;
        let named = self.kept.iter().filter_map(|(name, node)| Some((name.clone(), kept.get(node)?.clone())));
        self.finite(Values { output, kept: named.collect() })
    }

    /// Refuses an input that is NaN or infinite somewhere, unless told not to look.
    fn check(&self, input: &[f32]) -> Result<(), SessionError> {
        if !self.check_input || all_finite(input) {
            return Ok(());
        }
        let at = input.iter().position(|v| !v.is_finite()).unwrap_or_default();
        Err(SessionError::InputNotFinite { at: position(at, self.input_shape()), value: input[at] })
    }

    /// Refuses an output that is NaN or infinite somewhere.
    fn finite(&self, values: Values) -> Result<Values, SessionError> {
        let Some(at) = values.output.iter().position(|v| !v.is_finite()) else { return Ok(values) };
        let shape = self.output_shape();
        let value = values.output[at];
        let precision = self.plan().precision();
        Err(SessionError::NotFinite { precision, at: position(at, shape), shape, value, values })
    }

    /// Records a run into the app's own command buffer: nothing is submitted, copied or read back.
    ///
    /// `input` holds planar `[batch, channels, height, width]` f32, `output` gets planar f32 of [`Session::output_shape`]; both with
    /// usage `STORAGE`, on the session's device. A value that left the range of f16 makes the output NaN, which nobody looks for here.
    ///
    /// # Errors
    /// [`SessionError::NotOnGpu`] on the CPU; a buffer too small or of another usage.
    pub fn encode(
        &self,
        encoder: &mut wgpu::CommandEncoder,
        input: &wgpu::Buffer,
        output: &wgpu::Buffer,
    ) -> Result<(), SessionError> {
        match &self.executor {
            Executor::Gpu(gpu) => Ok(gpu.encode(encoder, input, output)?),
            #[cfg(not(target_arch = "wasm32"))]
            Executor::Cpu(_) => Err(SessionError::NotOnGpu),
        }
    }

    /// How far a kept value may be from the exact one, by the kernels that make it.
    pub fn rounding(&self, name: &str) -> Rounding {
        match &self.executor {
            Executor::Gpu(gpu) => gpu.rounding(self.kept.get(name).map_or(name, |node| node)),
            #[cfg(not(target_arch = "wasm32"))]
            Executor::Cpu(_) => Rounding::DIRECT,
        }
    }

    /// The plan that runs, without its weights.
    pub fn plan(&self) -> &Plan {
        match &self.executor {
            Executor::Gpu(gpu) => gpu.plan(),
            #[cfg(not(target_arch = "wasm32"))]
            Executor::Cpu(cpu) => cpu.plan(),
        }
    }

    /// What became of every residual block.
    pub fn blocks(&self) -> &[BlockReport] {
        &self.blocks
    }

    /// `[batch, channels, height, width]` of the input.
    pub fn input_shape(&self) -> [usize; 4] {
        let s = self.plan().input().shape;
        [s.batch, s.channels, s.height, s.width]
    }

    /// f32 values of one input.
    pub fn input_len(&self) -> usize {
        self.input_shape().iter().product()
    }

    /// `[batch, channels, height, width]` of the output. Logits and features have height and width 1, channels are the classes.
    pub fn output_shape(&self) -> [usize; 4] {
        let s = self.plan().output().shape;
        [s.batch, s.channels, s.height, s.width]
    }

    /// The adapter, or `cpu` with the number of threads.
    pub fn device_name(&self) -> String {
        match &self.executor {
            Executor::Gpu(gpu) => gpu.gpu().adapter().to_string(),
            #[cfg(not(target_arch = "wasm32"))]
            Executor::Cpu(cpu) => format!("cpu, {} threads", cpu.threads().count()),
        }
    }

    /// The adapters that [`Device::Auto`] left alone when it found no hardware GPU and took the CPU: software GPUs, and what
    /// cannot run shaders. Empty where the device was asked for, is a GPU, or nothing else is there.
    pub fn passed_over(&self) -> &[PassedOver] {
        &self.passed_over
    }

    /// What became of [`Options::tuning`]; `None` on the CPU, which has no kernels to choose from.
    pub fn tuned(&self) -> Option<&Tuned> {
        match &self.executor {
            Executor::Gpu(gpu) => Some(gpu.tuned()),
            #[cfg(not(target_arch = "wasm32"))]
            Executor::Cpu(_) => None,
        }
    }

    /// Bytes held on the device by now: what the first run that needs it makes is not there before. What drivers and allocators set
    /// aside beside is not counted.
    pub fn memory(&self) -> Memory {
        match &self.executor {
            Executor::Gpu(gpu) => {
                let crate::gpu::GpuMemory { activations, scratch, weights, transfer } = gpu.memory();
                Memory { activations, scratch, weights, transfer }
            }
            #[cfg(not(target_arch = "wasm32"))]
            Executor::Cpu(cpu) => {
                let crate::cpu::CpuMemory { activations, scratch, weights, transfer } = cpu.memory();
                Memory { activations, scratch, weights, transfer }
            }
        }
    }
}

/// Image, channel, row and column of a value of a planar tensor.
fn position(at: usize, [_, channels, height, width]: [usize; 4]) -> [usize; 4] {
    [at / (channels * height * width), at / (height * width) % channels, at / width % height, at % width]
}

/// Names of adapters in a sentence.
#[cfg(not(target_arch = "wasm32"))]
fn names(passed_over: &[PassedOver]) -> String {
    match passed_over.iter().map(ToString::to_string).collect::<Vec<_>>() {
        none if none.is_empty() => "nothing".into(),
        names => names.join("; "),
    }
}
