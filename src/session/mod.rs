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
use crate::plan::{self, Plan, Target};
use crate::rewrite::{self, BlockReport, Form, Rewritten};

/// A network taken to the form that runs, and planned: everything short of a device.
#[derive(Clone, Debug)]
pub struct Prepared {
    /// The rewritten graph and the report per block.
    pub rewritten: Rewritten,
    /// Its plan, checked.
    pub plan: Plan,
}

/// Rewrites and plans a model for `target`, and replays the plan. Needs no device.
///
/// # Errors
/// [`SessionError::Output`] where the model has no such value as [`Options::output`] names; [`SessionError::Plan`] names the layer that
/// cannot be planned, with the figures.
pub fn prepare(model: &Model, options: &Options, target: Target) -> Result<Prepared, SessionError> {
    let model = options.output.of(model)?;
    let rewritten = rewrite::for_mode(&model.graph, Form { mode: options.mode, merge: options.merge })?;
    let planned = plan::Options {
        batch: options.batch,
        keep: options.keep.clone(),
        target,
        precision: options.precision,
        ..plan::Options::default()
    };
    let plan = plan::compile(&rewritten.graph, &planned)?;
    plan::check(&plan)?;
    Ok(Prepared { rewritten, plan })
}

/// A network on a device, ready to run. `Send + Sync` where wgpu's types are.
pub struct Session {
    executor: Executor,
    blocks: Vec<BlockReport>,
    passed_over: Vec<PassedOver>,
}

enum Executor {
    Gpu(Box<GpuExecutor>),
    #[cfg(not(target_arch = "wasm32"))]
    Cpu(Box<CpuExecutor>),
}

/// Bytes a session holds on its device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Memory {
    /// Activations: the plan's slots.
    pub activations: usize,
    /// What kernels of several shaders hand on between them: transformed tiles of Winograd's, on software adapters.
    pub scratch: usize,
    /// Packed weights and biases.
    pub weights: usize,
}

impl Session {
    /// Opens a checkpoint, a file or a folder, for inputs of `size` (`[height, width]`; by default the model's own).
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
        let Prepared { rewritten, plan } = prepare(model, options, gpu.plan_target())?;
        let exec = ExecOptions { safe_shaders: options.safe_shaders, tuning: options.tuning.clone() };
        let executor = GpuExecutor::new_async(gpu, &plan, &exec).await?;
        Ok(Session {
            executor: Executor::Gpu(Box::new(executor)),
            blocks: rewritten.blocks,
            passed_over: vec![],
        })
    }

    #[cfg(not(target_arch = "wasm32"))]
    fn on_cpu(model: &Model, options: &Options) -> Result<Session, SessionError> {
        let Prepared { rewritten, plan } = prepare(model, options, Target::CPU)?;
        let executor = Executor::Cpu(Box::new(CpuExecutor::try_new(&plan)?));
        Ok(Session { executor, blocks: rewritten.blocks, passed_over: vec![] })
    }

    /// Runs one batch, planar `[batch, channels, height, width]` f32, and gives the output, planar as [`Session::output_shape`] says:
    /// logits are `[batch, classes]`. Blocks.
    ///
    /// Values of the input are to be finite, which is not looked at: a GPU may take the larger of NaN and 0 for 0, and hide one.
    ///
    /// # Errors
    /// An input of another length; a device lost; [`SessionError::NotFinite`] where a layer overflows its precision. The CPU hands
    /// every NaN on to the output. In f32 a GPU may take the larger of NaN and 0 for 0, so that an overflow before a ReLU need not
    /// show there: [`verify`](crate::verify) finds it.
    #[cfg(not(target_arch = "wasm32"))]
    pub fn run(&self, input: &[f32]) -> Result<Vec<f32>, SessionError> {
        self.finite(match &self.executor {
            Executor::Gpu(gpu) => gpu.run(input)?,
            Executor::Cpu(cpu) => cpu.run(input)?,
        })
    }

    /// Refuses an output that is NaN or infinite somewhere.
    fn finite(&self, output: Vec<f32>) -> Result<Vec<f32>, SessionError> {
        let Some(at) = output.iter().position(|v| !v.is_finite()) else { return Ok(output) };
        let shape @ [_, channels, height, width] = self.output_shape();
        let value = output[at];
        let at = [
            at / (channels * height * width),
            at / (height * width) % channels,
            at / width % height,
            at % width,
        ];
        let precision = self.plan().precision();
        Err(SessionError::NotFinite { precision, at, shape, value, output })
    }

    /// [`Session::run`] that awaits the GPU. On the CPU it runs at once.
    ///
    /// # Errors
    /// As [`Session::run`].
    pub async fn run_async(&self, input: &[f32]) -> Result<Vec<f32>, SessionError> {
        self.finite(match &self.executor {
            Executor::Gpu(gpu) => gpu.run_async(input).await?,
            #[cfg(not(target_arch = "wasm32"))]
            Executor::Cpu(cpu) => cpu.run(input)?,
        })
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

    /// A value named in [`Options::keep`], of the last run: planar `[batch, channels, height, width]`.
    ///
    /// # Errors
    /// When no value of that name was kept.
    #[cfg(not(target_arch = "wasm32"))]
    pub fn read_kept(&self, name: &str) -> Result<Vec<f32>, SessionError> {
        Ok(match &self.executor {
            Executor::Gpu(gpu) => gpu.read_kept(name)?,
            Executor::Cpu(cpu) => cpu.read_kept(name)?,
        })
    }

    /// How far a kept value may be from the exact one, by the kernels that make it.
    pub fn rounding(&self, name: &str) -> Rounding {
        match &self.executor {
            Executor::Gpu(gpu) => gpu.rounding(name),
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
            Executor::Cpu(_) => format!("cpu, {} threads", rayon::current_num_threads()),
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

    /// Bytes held on the device.
    pub fn memory(&self) -> Memory {
        match &self.executor {
            Executor::Gpu(gpu) => {
                let memory = gpu.memory();
                Memory { activations: memory.activations, scratch: memory.scratch, weights: memory.weights }
            }
            #[cfg(not(target_arch = "wasm32"))]
            Executor::Cpu(cpu) => {
                Memory { activations: cpu.activation_bytes(), scratch: 0, weights: cpu.weight_bytes() }
            }
        }
    }
}

/// Names of adapters in a sentence.
#[cfg(not(target_arch = "wasm32"))]
fn names(passed_over: &[PassedOver]) -> String {
    match passed_over.iter().map(ToString::to_string).collect::<Vec<_>>() {
        none if none.is_empty() => "nothing".into(),
        names => names.join("; "),
    }
}
