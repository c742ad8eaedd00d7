//! Working memory of threads.

/// Working memory of one thread.
#[derive(Default)]
pub(super) struct Scratch {
    /// Where the inputs of a block of tiles are.
    pub(super) rows: Pointers,
    /// Inputs that were copied.
    pub(super) copies: Vec<f32>,
    /// Inputs outside of the image.
    pub(super) zeros: Vec<f32>,
    /// Rows of a map that are pooled.
    pub(super) map: Vec<f32>,
}

/// Pointers that are valid only while the block of tiles is computed for which they were written.
#[derive(Default)]
pub(super) struct Pointers(pub(super) Vec<*const f32>);

// SAFETY: whoever takes the pointers over does not follow them before it has written its own.
unsafe impl Send for Pointers {}

impl Scratch {
    /// Makes room for a block of tiles.
    pub(super) fn reserve(&mut self, rows: usize, copies: usize, zeros: usize) {
        self.rows.0.resize(self.rows.0.len().max(rows), std::ptr::null());
        self.copies.resize(self.copies.len().max(copies), 0.0);
        self.zeros.resize(self.zeros.len().max(zeros), 0.0);
    }

    /// Bytes allocated so far.
    pub(super) fn bytes(&self) -> usize {
        let values = self.copies.capacity() + self.zeros.capacity() + self.map.capacity();
        4 * values + size_of::<*const f32>() * self.rows.0.capacity()
    }
}
