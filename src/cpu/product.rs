//! Products of matrices, by the GEMM library.

use gemm::Parallelism;

/// `left [pixels, depth] * right [depth, channels]`, each with its own distance between rows.
pub(super) struct Product<'a> {
    pub(super) pixels: usize,
    pub(super) depth: usize,
    pub(super) channels: usize,
    pub(super) left: &'a [f32],
    pub(super) left_row: usize,
    pub(super) right: &'a [f32],
    pub(super) right_row: usize,
}

/// Adds the product of square matrices to `out`, on this thread, to measure the GEMM library's peak.
pub(super) fn multiply(side: usize, left: &[f32], right: &[f32], out: &mut [f32]) {
    let product =
        Product { pixels: side, channels: side, depth: side, left, left_row: side, right, right_row: side };
    product.add_to(out, side, Parallelism::None);
}

impl Product<'_> {
    /// Adds the product to `out`, whose rows are `out_row` apart.
    pub(super) fn add_to(&self, out: &mut [f32], out_row: usize, parallelism: Parallelism) {
        let (m, n, k) = (self.pixels, self.channels, self.depth);
        if m == 0 || n == 0 || k == 0 {
            return;
        }
        let span = |rows: usize, row: usize, len: usize| (rows - 1) * row + len;
        assert!(span(m, out_row, n) <= out.len(), "the output holds every row");
        assert!(span(m, self.left_row, k) <= self.left.len(), "the patches hold every row");
        assert!(span(k, self.right_row, n) <= self.right.len(), "the weights hold every row");
        assert!(out_row >= n, "rows of the output do not overlap");
        let (out_row, left_row, right_row) =
            (out_row as isize, self.left_row as isize, self.right_row as isize);
        // SAFETY: the three matrices lie inside their slices (asserted), `out` is borrowed mutably and so overlaps
        // neither of the others, and all values are initialised f32.
        unsafe {
            gemm::gemm(
                m,
                n,
                k,
                out.as_mut_ptr(),
                1,
                out_row,
                true,
                self.left.as_ptr(),
                1,
                left_row,
                self.right.as_ptr(),
                1,
                right_row,
                1.0,
                1.0,
                false,
                false,
                false,
                parallelism,
            );
        }
    }
}
