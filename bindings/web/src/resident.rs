//! Buffers on the GPU, lent to JavaScript: runs without a copy to the host.

use crate::error::WebError;
use rmnet::{Error, Gpu, Session, wgpu};
use wasm_bindgen::JsValue;

/// The input and the output of a network on its GPU.
pub struct Resident {
    gpu: Gpu,
    input: wgpu::Buffer,
    output: wgpu::Buffer,
}

impl Resident {
    pub fn new(session: &Session) -> Result<Resident, WebError> {
        let gpu = session.gpu().ok_or(Error::NotOnGpu)?.clone();
        let buffer = |label, values: usize, usage| {
            gpu.device().create_buffer(&wgpu::BufferDescriptor {
                label: Some(label),
                size: 4 * values as u64,
                usage: usage | wgpu::BufferUsages::STORAGE,
                mapped_at_creation: false,
            })
        };
        let values = session.output_shape().iter().product();
        let input = buffer("input", session.input_len(), wgpu::BufferUsages::COPY_DST);
        let output = buffer("output", values, wgpu::BufferUsages::COPY_SRC);
        Ok(Resident { input, output, gpu })
    }

    pub fn input(&self) -> JsValue {
        as_js(self.input.as_webgpu())
    }

    pub fn output(&self) -> JsValue {
        as_js(self.output.as_webgpu())
    }

    pub fn submit(&self, session: &Session) -> Result<(), WebError> {
        let mut encoder = self.gpu.device().create_command_encoder(&Default::default());
        session.encode(&mut encoder, &self.input, &self.output)?;
        self.gpu.queue().submit([encoder.finish()]);
        Ok(())
    }
}

/// The `GPUDevice` of a session; `undefined` on the CPU.
pub fn device(session: &Session) -> JsValue {
    as_js(session.gpu().and_then(|gpu| gpu.device().as_webgpu()))
}

fn as_js(object: Option<&impl AsRef<JsValue>>) -> JsValue {
    object.map_or(JsValue::UNDEFINED, |o| o.as_ref().clone())
}
