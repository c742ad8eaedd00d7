//! Uploads weights with bounded staging memory; on software adapters they are written in place.

use super::{Gpu, GpuError};
use crate::shared::Key;
use std::sync::Arc;
use wgpu::{Buffer, BufferDescriptor, BufferUsages};

/// Bytes per write, which wgpu stages at a time.
const CHUNK: usize = 4 << 20;
/// Bytes written before waiting for the device, so that staging copies are freed.
const IN_FLIGHT: usize = 16 << 20;

/// Fills buffers with weights.
pub(super) struct Uploader<'a> {
    gpu: &'a Gpu,
    in_flight: usize,
    bytes: usize,
}

impl<'a> Uploader<'a> {
    pub(super) fn new(gpu: &'a Gpu) -> Uploader<'a> {
        Uploader { gpu, in_flight: 0, bytes: 0 }
    }

    /// A read-only storage buffer that holds `values`: an existing one of another session on this device, or a new one.
    pub(super) async fn shared(&mut self, label: &str, values: &[u32]) -> Result<Arc<Buffer>, GpuError> {
        let key = Key::of(bytemuck::cast_slice(values));
        if let Some(buffer) = self.gpu.weights.get(key) {
            self.bytes += buffer.size() as usize;
            return Ok(buffer);
        }
        let buffer = self.buffer_for(label, values, BufferUsages::STORAGE).await?;
        // A session that finds the buffer from now on submits to the same queue, after the buffer's writes.
        Ok(self.gpu.weights.insert(key, buffer))
    }

    /// A buffer with this usage that holds `values`.
    pub(super) async fn buffer_for<T: bytemuck::NoUninit>(
        &mut self,
        label: &str,
        values: &[T],
        usage: BufferUsages,
    ) -> Result<Buffer, GpuError> {
        let bytes: &[u8] = bytemuck::cast_slice(values);
        let device = self.gpu.device();
        let mapped = super::software::writes_in_place(self.gpu);
        let how = if mapped { BufferUsages::MAP_WRITE } else { BufferUsages::COPY_DST };
        let descriptor = BufferDescriptor {
            label: Some(label),
            size: bytes.len() as u64,
            usage: usage | how,
            mapped_at_creation: mapped,
        };
        let buffer = self.gpu.scoped("the weights", || device.create_buffer(&descriptor)).await?;
        if mapped {
            let mut view =
                buffer.get_mapped_range_mut(..).map_err(|e| self.gpu.failed("uploading weights", e))?;
            view.slice(..).copy_from_slice(bytes);
            drop(view);
            buffer.unmap();
            self.bytes += bytes.len();
            return Ok(buffer);
        }
        for (i, chunk) in bytes.chunks(CHUNK).enumerate() {
            let write = || self.gpu.queue().write_buffer(&buffer, (i * CHUNK) as u64, chunk);
            self.gpu.scoped("the weights", write).await?;
            self.in_flight += chunk.len();
            if self.in_flight >= IN_FLIGHT {
                self.flush().await?;
            }
        }
        self.bytes += bytes.len();
        Ok(buffer)
    }

    /// Waits until all data is on the device (not in a browser); returns the bytes of all buffers.
    pub(super) async fn finish(mut self) -> Result<usize, GpuError> {
        self.flush().await?;
        Ok(self.bytes)
    }

    async fn flush(&mut self) -> Result<(), GpuError> {
        if self.in_flight == 0 {
            return Ok(());
        }
        self.in_flight = 0;
        let _index = self.gpu.scoped("the weights", || self.gpu.queue().submit([])).await?;
        #[cfg(not(target_arch = "wasm32"))]
        super::wait::wait(self.gpu, "uploading weights", _index)?;
        Ok(())
    }
}
