//! rmnet in a browser: the WebAssembly half of the npm package `rmnet`. JavaScript (`js/`) has the public API; this half has what needs
//! Rust, in types that cross the border cheaply: bytes, floats and JSON.
#![cfg(target_arch = "wasm32")]

mod about;
mod error;
mod options;
mod resident;

use about::About;
use error::WebError;
use js_sys::Function;
use options::Options;
use resident::Resident;
use rmnet::{Checkpoint, Device, Gpu, HardwareGpu, ImageView, Model, PixelFormat, Prepared, Session, Size};
use std::cell::OnceCell;
use wasm_bindgen::prelude::*;

/// Reports panics and logs to the console.
#[wasm_bindgen(start)]
pub fn start() {
    console_error_panic_hook::set_once();
    // Only fails if there is a logger, which is then the app's.
    let _ = console_log::init_with_level(log::Level::Warn);
}

/// The bytes of a weight file, written as they arrive, so that they exist only once.
#[wasm_bindgen]
#[derive(Default)]
pub struct Bytes(Vec<u8>);

#[wasm_bindgen]
impl Bytes {
    /// Room for `length` bytes, and for more if more come.
    ///
    /// # Errors
    /// If there is no memory for them.
    #[wasm_bindgen(constructor)]
    pub fn new(length: usize) -> Result<Bytes, JsValue> {
        let mut bytes = Bytes::default();
        bytes.reserve(length)?;
        Ok(bytes)
    }

    /// Appends bytes.
    ///
    /// # Errors
    /// If there is no memory for them.
    pub fn push(&mut self, bytes: &[u8]) -> Result<(), JsValue> {
        self.reserve(bytes.len())?;
        self.0.extend_from_slice(bytes);
        Ok(())
    }

    fn reserve(&mut self, more: usize) -> Result<(), JsValue> {
        let room = self.0.capacity() - self.0.len();
        if more <= room {
            return Ok(());
        }
        // Without a known length the room doubles, as that of a `Vec` does, while there is memory for it.
        let doubled = more.max(self.0.len());
        let reserved = self.0.try_reserve_exact(doubled).or_else(|_| self.0.try_reserve_exact(more));
        reserved.map_err(|_| {
            let found = self.0.len();
            WebError::new("out-of-memory", format!("the file: no memory for {more} bytes beside {found}"))
                .into()
        })
    }
}

/// A network on a device, ready to run.
#[wasm_bindgen]
pub struct Network {
    session: Session,
    about: String,
    resident: OnceCell<Resident>,
}

#[wasm_bindgen]
impl Network {
    /// Loads a network: `weights` are the bytes of a safetensors file or a pickle, `config` and `preprocessor` the texts of its config
    /// files, `options` JSON as in [`Options`]. Calls `at` with the name of each stage that begins: `read`, `plan`, `compile`.
    ///
    /// # Errors
    /// An `Error` with a `code`.
    pub async fn load(
        weights: Bytes,
        config: Option<String>,
        preprocessor: Option<String>,
        options: String,
        at: Function,
    ) -> Result<Network, JsValue> {
        let stage = |name: &str| at.call1(&JsValue::UNDEFINED, &name.into()).map(drop);
        let options = Options::parse(&options)?;
        stage("read")?;
        let mut checkpoint = Checkpoint::from_bytes(weights.0, config.as_deref()).map_err(WebError::from)?;
        if let Some(text) = preprocessor {
            checkpoint = checkpoint.with_preprocessor_config(&text).map_err(WebError::from)?;
        }
        let model = Model::load(&checkpoint, &options.load()?).map_err(WebError::from)?;
        drop(checkpoint);
        let session_options = options.session()?;
        let (gpu, passed_over) = gpu_for(&session_options.device).await?;
        stage("plan")?;
        let prepared = match &gpu {
            Some(gpu) => Prepared::for_gpu(gpu, &model, &session_options),
            None => Prepared::for_cpu(&model, &session_options),
        };
        let prepared = prepared.map_err(WebError::from)?;
        stage("compile")?;
        let session = match &gpu {
            Some(gpu) => Session::from_prepared_with_gpu_async(gpu, &prepared).await,
            None => Session::from_prepared(&prepared),
        };
        let session = session.map_err(WebError::from)?;
        let about = About::of(&model, &prepared, &session, passed_over).json();
        Ok(Network { session, about, resident: OnceCell::new() })
    }

    /// What there is to know of it, as JSON: [`About`].
    #[wasm_bindgen(getter)]
    pub fn about(&self) -> String {
        self.about.clone()
    }

    /// The plan as text, a formula for each dispatch.
    #[wasm_bindgen(getter)]
    pub fn plan(&self) -> String {
        self.session.plan().to_string()
    }

    /// The memory plan as an SVG drawing.
    #[wasm_bindgen(getter)]
    pub fn plan_svg(&self) -> String {
        self.session.plan().to_svg()
    }

    /// Bytes in use, as JSON.
    #[wasm_bindgen(getter)]
    pub fn memory(&self) -> String {
        about::memory(&self.session)
    }

    /// Runs 1 to `batch` images, planar `[images, channels, height, width]`.
    ///
    /// # Errors
    /// An `Error` with a `code`.
    pub async fn run(&self, input: Vec<f32>) -> Result<Vec<f32>, JsValue> {
        Ok(self.session.run_async(&input).await.map_err(WebError::from)?)
    }

    /// Runs the network on zeros, so that drivers which compile at the first run have done so.
    ///
    /// # Errors
    /// An `Error` with a `code`.
    pub async fn warm_up(&self) -> Result<(), JsValue> {
        let zeros = vec![0.0; self.session.input_len()];
        match self.session.run_async(&zeros).await {
            // What the network makes of zeros is no matter.
            Ok(_) | Err(rmnet::Error::NotFinite { .. }) => Ok(()),
            Err(e) => Err(WebError::from(e).into()),
        }
    }

    /// The input for one RGBA image: resized, cropped and normalised as the model says.
    ///
    /// # Errors
    /// An `Error` with a `code`.
    pub fn input_of(&self, rgba: &[u8], width: usize, height: usize) -> Result<Vec<f32>, JsValue> {
        let image = ImageView::new(rgba, Size::new(height, width), PixelFormat::Rgba8);
        Ok(self.session.input_of(&[image]).map_err(WebError::from)?)
    }

    /// The `k` likeliest classes of one image, likeliest first, as JSON.
    ///
    /// # Errors
    /// An `Error` with a `code`.
    pub fn top_k(&self, logits: &[f32], k: usize) -> Result<String, JsValue> {
        let top = self.session.top_k(logits, k).map_err(WebError::from)?;
        Ok(about::predictions(&top))
    }

    /// The `GPUDevice` that it runs on, for an app that lends it buffers; `undefined` on the CPU.
    #[wasm_bindgen(getter)]
    pub fn gpu_device(&self) -> JsValue {
        resident::device(&self.session)
    }

    /// The `GPUBuffer` that [`Network::submit`] reads, `[batch, channels, height, width]` f32.
    ///
    /// # Errors
    /// On the CPU.
    pub fn gpu_input(&self) -> Result<JsValue, JsValue> {
        Ok(self.resident()?.input())
    }

    /// The `GPUBuffer` that [`Network::submit`] writes, `[batch, channels, height, width]` f32.
    ///
    /// # Errors
    /// On the CPU.
    pub fn gpu_output(&self) -> Result<JsValue, JsValue> {
        Ok(self.resident()?.output())
    }

    /// Submits a run from [`Network::gpu_input`] to [`Network::gpu_output`]. Nothing is copied to the host, and nothing is awaited.
    ///
    /// # Errors
    /// An `Error` with a `code`.
    pub fn submit(&self) -> Result<(), JsValue> {
        Ok(self.resident()?.submit(&self.session)?)
    }

    fn resident(&self) -> Result<&Resident, WebError> {
        match self.resident.get() {
            Some(resident) => Ok(resident),
            None => {
                let made = Resident::new(&self.session)?;
                Ok(self.resident.get_or_init(|| made))
            }
        }
    }
}

impl Drop for Network {
    /// wgpu leaves a browser's buffers to the garbage collector; ending the device, which is this network's own, frees them now.
    fn drop(&mut self) {
        if let Some(gpu) = self.session.gpu() {
            gpu.device().destroy();
        }
    }
}

/// The GPU for a device, or none for the CPU, and the adapters passed over: a fallback adapter is slower than the CPU.
async fn gpu_for(device: &Device) -> Result<(Option<Gpu>, Vec<String>), WebError> {
    match device {
        Device::Auto => match Gpu::hardware_async().await? {
            HardwareGpu::Open(gpu) => Ok((Some(*gpu), vec![])),
            HardwareGpu::Absent(passed_over) => {
                Ok((None, passed_over.iter().map(ToString::to_string).collect()))
            }
        },
        Device::Gpu(choice) => Ok((Some(Gpu::new_async(choice).await?), vec![])),
        _ => Ok((None, vec![])),
    }
}
