//! Memory for packed weights, which every run reads.

use std::ops::{Deref, DerefMut};

/// Bytes of a huge page.
#[cfg(not(target_arch = "wasm32"))]
const HUGE: usize = 2 << 20;

/// Values in memory of their own. Where there are many, they are mapped: in huge pages where the system has some, since a run that reads
/// all weights would else look up a page for every 4 KiB of them, and given back to the system at once, whatever the allocator keeps.
pub(super) struct Pages(Memory);

enum Memory {
    #[cfg(not(target_arch = "wasm32"))]
    Mapped(memmap2::MmapMut),
    Allocated(Vec<f32>),
}

impl Pages {
    /// `len` zeros.
    pub(super) fn zeros(len: usize) -> Pages {
        #[cfg(not(target_arch = "wasm32"))]
        if len >= HUGE / size_of::<f32>()
            && let Ok(map) = memmap2::MmapMut::map_anon(len * size_of::<f32>())
        {
            // Only a matter of speed.
            #[cfg(target_os = "linux")]
            let _ = map.advise(memmap2::Advice::HugePage);
            return Pages(Memory::Mapped(map));
        }
        Pages(Memory::Allocated(vec![0.0; len]))
    }
}

impl Deref for Pages {
    type Target = [f32];

    fn deref(&self) -> &[f32] {
        match &self.0 {
            #[cfg(not(target_arch = "wasm32"))]
            Memory::Mapped(map) => bytemuck::cast_slice(map),
            Memory::Allocated(values) => values,
        }
    }
}

impl DerefMut for Pages {
    fn deref_mut(&mut self) -> &mut [f32] {
        match &mut self.0 {
            #[cfg(not(target_arch = "wasm32"))]
            Memory::Mapped(map) => bytemuck::cast_slice_mut(map),
            Memory::Allocated(values) => values,
        }
    }
}
