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
        if self.rows.0.len() < rows {
            self.rows.0 = vec![std::ptr::null(); rows];
        }
        grow(&mut self.copies, copies);
        grow(&mut self.zeros, zeros);
    }

    /// Rows of a map of `values` values. They are to be put back as [`Scratch::map`].
    pub(super) fn take_map(&mut self, values: usize) -> Vec<f32> {
        grow(&mut self.map, values);
        std::mem::take(&mut self.map)
    }

    /// Bytes allocated so far.
    pub(super) fn bytes(&self) -> usize {
        let values = self.copies.capacity() + self.zeros.capacity() + self.map.capacity();
        4 * values + size_of::<*const f32>() * self.rows.0.capacity()
    }
}

/// Makes room for exactly `len` values, if there are fewer. The old values are not kept: all of them are zeros or of no more use.
fn grow(values: &mut Vec<f32>, len: usize) {
    if values.len() < len {
        *values = vec![];
        *values = vec![0.0; len];
    }
}
