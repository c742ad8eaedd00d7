//! Keeps compiled pipelines across program starts, with wgpu's `PIPELINE_CACHE` (currently Vulkan only).

use super::Gpu;
use wgpu::{Features, PipelineCacheDescriptor};

/// Magic number of [`Gpu::pipeline_cache`] data.
const MAGIC: &[u8; 8] = b"rmnetpc1";

impl Gpu {
    /// Loads a pipeline cache from `data`, which an earlier [`Gpu::pipeline_cache`] returned, and collects newly compiled pipelines in
    /// it. Data of another adapter, driver or version of this crate, damaged data and empty data give an empty cache. Applies to
    /// executors made from this value and its clones. Does nothing if the device lacks `PIPELINE_CACHE`.
    ///
    /// # Safety
    /// Drivers trust their cache. The data must come from [`Gpu::pipeline_cache`] and must not have been modified by others: the checksum
    /// detects accidents, not forgeries. Store it where only the user's own programs can write.
    pub unsafe fn with_pipeline_cache(mut self, data: &[u8]) -> Gpu {
        if self.has_pipeline_cache() {
            let data = open(data, &self.identity());
            let descriptor = PipelineCacheDescriptor { label: Some("rmnet"), data, fallback: true };
            // SAFETY: the caller guarantees that the data came from `Gpu::pipeline_cache`, and so from `PipelineCache::get_data`. `open`
            // refuses damaged data, and data of an adapter with another name, ids, driver or backend or of another version of the crate.
            self.cache = Some(unsafe { self.device().create_pipeline_cache(&descriptor) });
        }
        self
    }

    /// The pipelines compiled so far, for [`Gpu::with_pipeline_cache`] at the next start. `None` without a cache.
    pub fn pipeline_cache(&self) -> Option<Vec<u8>> {
        Some(seal(&self.cache.as_ref()?.get_data()?, &self.identity()))
    }

    /// Writes [`Gpu::pipeline_cache`] to a file atomically; does nothing without a cache.
    ///
    /// # Errors
    /// Errors of the file system.
    #[cfg(not(target_arch = "wasm32"))]
    pub fn write_pipeline_cache(&self, path: impl AsRef<std::path::Path>) -> std::io::Result<()> {
        let Some(bytes) = self.pipeline_cache() else { return Ok(()) };
        crate::output::write_whole(path.as_ref(), |partial| std::fs::write(partial, bytes))
    }

    /// A file name for the cache of this adapter; `None` if the device lacks `PIPELINE_CACHE`.
    pub fn pipeline_cache_name(&self) -> Option<String> {
        let key = wgpu::util::pipeline_cache_key(&self.device().adapter_info());
        key.filter(|_| self.has_pipeline_cache())
    }

    fn has_pipeline_cache(&self) -> bool {
        self.device().features().contains(Features::PIPELINE_CACHE)
    }

    /// The crate version, adapter and driver that the data is valid for.
    fn identity(&self) -> String {
        let (info, report) = (self.device().adapter_info(), self.adapter());
        let ids = format!("{:08x} {:08x}", info.vendor, info.device);
        let version = env!("CARGO_PKG_VERSION");
        format!("{version}\n{}\n{}\n{}\n{ids}", report.name, report.driver, report.backend)
    }
}

/// `MAGIC`, checksum of all that follows, length of the identity, identity, data.
fn seal(data: &[u8], identity: &str) -> Vec<u8> {
    let length = (identity.len() as u64).to_le_bytes();
    let rest = [&length, identity.as_bytes(), data].concat();
    [MAGIC.as_slice(), &checksum(&rest).to_le_bytes(), &rest].concat()
}

/// The data of sealed bytes; `None` if they are damaged or of another identity.
fn open<'a>(sealed: &'a [u8], identity: &str) -> Option<&'a [u8]> {
    let (sum, rest) = sealed.strip_prefix(MAGIC)?.split_first_chunk::<8>()?;
    if u64::from_le_bytes(*sum) != checksum(rest) {
        return None;
    }
    let (length, rest) = rest.split_first_chunk::<8>()?;
    let length = usize::try_from(u64::from_le_bytes(*length)).ok()?;
    let (found, data) = rest.split_at_checked(length)?;
    (found == identity.as_bytes()).then_some(data)
}

/// FNV-1a, 64 bits.
fn checksum(bytes: &[u8]) -> u64 {
    bytes
        .iter()
        .fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x100_0000_01b3))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_sealed_opens_for_its_own_adapter_alone() {
        let data: Vec<u8> = (0..200).collect();
        let sealed = seal(&data, "an adapter");
        assert_eq!(open(&sealed, "an adapter"), Some(data.as_slice()));
        assert_eq!(open(&sealed, "another adapter"), None);
        assert_eq!(open(&seal(&[], "an adapter"), "an adapter"), Some([].as_slice()));
    }

    #[test]
    fn damaged_bytes_do_not_open() {
        let sealed = seal(&[7; 40], "a");
        for length in 0..sealed.len() {
            assert_eq!(open(&sealed[..length], "a"), None, "cut to {length}");
        }
        assert_eq!(open(&[sealed.as_slice(), &[0]].concat(), "a"), None);
        for at in 0..sealed.len() {
            let mut spoilt = sealed.clone();
            spoilt[at] ^= 0x10;
            assert_eq!(open(&spoilt, "a"), None, "byte {at}");
        }
    }
}
