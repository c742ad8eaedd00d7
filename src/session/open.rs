//! Constructors of sessions.

use super::{About, Device, Error, Options, Prepared, Session};
use crate::checkpoint::Checkpoint;
#[cfg(feature = "gpu")]
use crate::gpu::{ExecOptions, Gpu, GpuExecutor};
use crate::models::{self, Model};

impl Session {
    /// Opens a checkpoint, a file or a folder, at the model's own input size ([`Model::load`] accepts another one). The file is read into
    /// memory while loading; [`Checkpoint::open_mapped`] needs less memory. Blocks until the device is ready.
    ///
    /// ```
    /// use rmnet::{Device, Options, Session};
    ///
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/assets/digits");
    /// let session = Session::open(folder, &Options::default().device(Device::Cpu))?;
    /// let image = vec![0.0; session.input_len()]; // planar [1, 3, 32, 32]
    /// let logits = session.run(&image)?; // [1, 10]
    /// assert_eq!(logits.len(), 10);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`Error`] names the tensor, layer, option or limit, what was expected and what was found.
    #[cfg(not(target_arch = "wasm32"))]
    pub fn open(path: impl AsRef<std::path::Path>, options: &Options) -> Result<Session, Error> {
        pollster::block_on(Session::open_async(path, options))
    }

    /// [`Session::open`], awaiting the device instead of blocking. The file is read before the first await.
    ///
    /// # Errors
    /// As [`Session::open`].
    #[cfg(not(target_arch = "wasm32"))]
    pub async fn open_async(path: impl AsRef<std::path::Path>, options: &Options) -> Result<Session, Error> {
        let model = models::load(&Checkpoint::open(path)?, None)?;
        Session::new_async(&model, options).await
    }

    /// [`Session::open`] for the bytes of a weight file and, if available, the text of its `config.json`.
    ///
    /// # Errors
    /// As [`Session::open`].
    #[cfg(not(target_arch = "wasm32"))]
    pub fn from_bytes(bytes: Vec<u8>, config: Option<&str>, options: &Options) -> Result<Session, Error> {
        pollster::block_on(Session::from_bytes_async(bytes, config, options))
    }

    /// [`Session::from_bytes`] without blocking, for example in a browser.
    ///
    /// # Errors
    /// As [`Session::open`].
    pub async fn from_bytes_async(
        bytes: Vec<u8>,
        config: Option<&str>,
        options: &Options,
    ) -> Result<Session, Error> {
        Session::new_async(&models::load(&Checkpoint::from_bytes(bytes, config)?, None)?, options).await
    }

    /// A session for a loaded model. Blocks until the device is ready. A model can be opened many times. Weights are packed separately for
    /// each device; sessions on one [`Gpu`](crate::Gpu), or on the CPU, share packed weights that are identical.
    ///
    /// # Errors
    /// As [`Session::open`].
    #[cfg(not(target_arch = "wasm32"))]
    pub fn new(model: &Model, options: &Options) -> Result<Session, Error> {
        pollster::block_on(Session::new_async(model, options))
    }

    /// [`Session::new`] without blocking, for example in a browser. Outside a browser only the opening of the device is awaited: the
    /// polling thread plans, packs weights and waits for the shaders.
    ///
    /// # Errors
    /// As [`Session::open`].
    pub async fn new_async(model: &Model, options: &Options) -> Result<Session, Error> {
        match &options.device {
            #[cfg(feature = "gpu")]
            Device::Gpu(choice) => {
                Session::with_gpu_async(&Gpu::new_async(choice).await?, model, options).await
            }
            #[cfg(feature = "cpu")]
            Device::Cpu => Session::from_prepared(&Prepared::for_cpu(model, options)?),
            Device::Auto => Session::on_best(model, options).await,
        }
    }

    #[cfg(all(feature = "gpu", feature = "cpu"))]
    async fn on_best(model: &Model, options: &Options) -> Result<Session, Error> {
        match Gpu::hardware_async().await? {
            crate::gpu::HardwareGpu::Open(gpu) => Session::with_gpu_async(&gpu, model, options).await,
            crate::gpu::HardwareGpu::Absent(passed_over) => {
                let names: Vec<String> = passed_over.iter().map(ToString::to_string).collect();
                let names = if names.is_empty() { "nothing".into() } else { names.join("; ") };
                log::info!("no hardware GPU: running on the CPU; passed over: {names}");
                let session = Session::from_prepared(&Prepared::for_cpu(model, options)?)?;
                Ok(Session { passed_over, ..session })
            }
        }
    }

    #[cfg(all(feature = "gpu", not(feature = "cpu")))]
    async fn on_best(model: &Model, options: &Options) -> Result<Session, Error> {
        Session::with_gpu_async(&Gpu::new_async(&crate::gpu::AdapterChoice::Best).await?, model, options)
            .await
    }

    #[cfg(all(not(feature = "gpu"), feature = "cpu"))]
    async fn on_best(model: &Model, options: &Options) -> Result<Session, Error> {
        Session::from_prepared(&Prepared::for_cpu(model, options)?)
    }

    #[cfg(not(any(feature = "gpu", feature = "cpu")))]
    async fn on_best(_model: &Model, _options: &Options) -> Result<Session, Error> {
        Err(Error::NoExecutor)
    }

    /// A session on a GPU that is already open, such as the app's own ([`Gpu::from_device`](crate::Gpu::from_device)). Sessions on one
    /// [`Gpu`](crate::Gpu) or its clones share identical packed weights, so that a model opened at two batch sizes stores most weights
    /// once. Software GPUs store a copy for each size. [`Options::device`] is ignored. Blocks.
    ///
    /// # Errors
    /// As [`Session::open`].
    #[cfg(all(feature = "gpu", not(target_arch = "wasm32")))]
    pub fn with_gpu(gpu: &Gpu, model: &Model, options: &Options) -> Result<Session, Error> {
        pollster::block_on(Session::with_gpu_async(gpu, model, options))
    }

    /// [`Session::with_gpu`] without blocking, for example in a browser.
    ///
    /// # Errors
    /// As [`Session::open`].
    #[cfg(feature = "gpu")]
    pub async fn with_gpu_async(gpu: &Gpu, model: &Model, options: &Options) -> Result<Session, Error> {
        Session::from_prepared_with_gpu_async(gpu, &Prepared::for_gpu(gpu, model, options)?).await
    }

    /// A session on the CPU, from the result of [`Prepared::for_cpu`].
    ///
    /// # Errors
    /// [`Error::Cpu`] if memory is short or a folded weight overflows f32; [`Error::Threads`] if the threads cannot be started.
    #[cfg(feature = "cpu")]
    pub fn from_prepared(prepared: &Prepared) -> Result<Session, Error> {
        let threads = prepared.options.threads.clone();
        let threads = threads.map_or_else(crate::threads::Threads::shared, Ok)?;
        let executor = crate::cpu::CpuExecutor::with_threads(&threads, &prepared.plan)?;
        Ok(Session::over(Box::new(executor), prepared))
    }

    /// A session from a [`Prepared`] made for this GPU, or for another GPU whose limits are not larger. Blocks.
    ///
    /// # Errors
    /// [`Error::Gpu`] if the plan exceeds this adapter's limits, memory is short, the device is lost, or its driver computes every kernel for
    /// a dispatch wrong.
    #[cfg(all(feature = "gpu", not(target_arch = "wasm32")))]
    pub fn from_prepared_with_gpu(gpu: &Gpu, prepared: &Prepared) -> Result<Session, Error> {
        pollster::block_on(Session::from_prepared_with_gpu_async(gpu, prepared))
    }

    /// [`Session::from_prepared_with_gpu`] without blocking, for example in a browser.
    ///
    /// # Errors
    /// As [`Session::from_prepared_with_gpu`].
    #[cfg(feature = "gpu")]
    pub async fn from_prepared_with_gpu_async(gpu: &Gpu, prepared: &Prepared) -> Result<Session, Error> {
        let Options { safe_shaders, timeout, tuning, self_test, .. } = &prepared.options;
        let exec =
            ExecOptions { safe_shaders: *safe_shaders, tuning: tuning.clone(), skip_self_test: !self_test };
        let gpu = timeout.map_or_else(|| gpu.clone(), |timeout| gpu.clone().with_timeout(timeout));
        let executor = GpuExecutor::new_async(&gpu, &prepared.plan, &exec).await?;
        Ok(Session::over(Box::new(executor), prepared))
    }

    fn over(executor: Box<dyn super::Executor>, prepared: &Prepared) -> Session {
        Session {
            executor,
            about: About::of(&prepared.model),
            blocks: prepared.rewritten.blocks.clone(),
            kept: prepared.kept.clone(),
            check_input: prepared.options.check_input,
            #[cfg(feature = "gpu")]
            passed_over: vec![],
        }
    }
}
