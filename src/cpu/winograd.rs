//! Convolutions 3x3 of stride 1 by Winograd's F(4x4, 3x3): 36 products for 16 outputs, where a direct sum takes 144.
//!
//! A block of tiles at a time: all its inputs are transformed, then multiplied at each of the 36 places as one matrix product, then
//! transformed back.

use super::panels::Pass;
use super::target::{Conv, Target, bounds};
use super::tasks::{Workers, cut};
use super::winograd_weights::{INPUTS, OUTPUTS, PLACES, block_tiles};
use crate::kernel::KRange;
use rmnet_simd::{InputTile, OutputTile, PIXELS, Term, Tile};
use std::ops::Range;

/// A block of tiles: sizes of what is computed for it.
struct Block {
    /// The tiles, numbered row by row through the batch.
    tiles: Range<usize>,
    /// Channels in and out, each in whole vectors.
    depth: usize,
    width: usize,
}

impl Conv<'_> {
    /// Runs a pass whose one K range is computed by Winograd's algorithm.
    pub(super) fn winograd(&self, pass: &Pass, targets: &[Target], workers: &mut Workers<'_>) {
        let lanes = self.kernels.lanes;
        let k = &self.spec.k_ranges[pass.k_ranges[0]];
        let depth = k.from.channels.next_multiple_of(lanes);
        let width = pass.panels.iter().map(|p| p.vectors * lanes).sum();
        let [height, columns] = self.spec.size.map(|n| n.div_ceil(OUTPUTS));
        let tiles = k.from.shape.batch * height * columns;
        let blocks = tiles.div_ceil(block_tiles(depth + width)).next_multiple_of(workers.count());
        // A block has tiles enough for a whole one of the matrix product.
        let blocks = blocks.min(tiles.div_ceil(self.kernels.pixels()));
        let tasks: Vec<Block> = cut(0..tiles, blocks).map(|tiles| Block { tiles, depth, width }).collect();
        workers.each(tasks, |block, scratch| {
            let n = PLACES * block.tiles.len();
            scratch.reserve(0, n * (depth + width), k.from.channels);
            let (inputs, products) = scratch.copies.split_at_mut(n * depth);
            self.transform_inputs(k, &block, inputs, &scratch.zeros);
            self.multiply(pass, k.from.channels, &block, inputs, products);
            self.transform_outputs(pass, &block, products, targets);
        });
    }

    /// Image, first row and first column of a tile.
    fn position(&self, tile: usize) -> [usize; 3] {
        let [height, width] = self.spec.size.map(|n| n.div_ceil(OUTPUTS));
        [tile / (height * width), tile / width % height * OUTPUTS, tile % width * OUTPUTS]
    }

    /// Writes the transformed inputs, `[places][tiles][depth]`.
    fn transform_inputs(&self, k: &KRange, block: &Block, to: &mut [f32], zeros: &[f32]) {
        let (source, shape) = (self.reads[k.from.buffer], &k.from.shape);
        let step = block.tiles.len() * block.depth;
        assert!(PLACES * step <= to.len(), "there is room for every tile");
        for (i, tile) in block.tiles.clone().enumerate() {
            let [image, row, column] = self.position(tile);
            let pixels: [*const f32; PLACES] = std::array::from_fn(|place| {
                let y = (row + place / INPUTS).wrapping_sub(k.padding[0]);
                let x = (column + place % INPUTS).wrapping_sub(k.padding[1]);
                match y < shape.height && x < shape.width {
                    true => {
                        let pixel = (image * shape.height + y) * shape.width + x;
                        source[pixel * shape.channels + k.from.first_channel..][..k.from.channels].as_ptr()
                    }
                    false => zeros[..k.from.channels].as_ptr(),
                }
            });
            let out = to[i * block.depth..].as_mut_ptr();
            let tile = InputTile { pixels: &pixels, channels: k.from.channels, out, step };
            // SAFETY: the instructions were found on this processor; the pixels' slices hold the channels, and `to` all places.
            unsafe { (self.kernels.input)(&tile) };
        }
    }

    /// Multiplies at each place: `inputs` `[places][tiles][depth]` to `products` `[places][tiles][width]`.
    fn multiply(&self, pass: &Pass, channels: usize, block: &Block, inputs: &[f32], products: &mut [f32]) {
        let n = block.tiles.len();
        let mut weights = &pass.weights[block.width..];
        for (inputs, products) in
            inputs.chunks_exact(n * block.depth).zip(products.chunks_exact_mut(n * block.width))
        {
            let mut first = 0;
            for panel in &pass.panels {
                let width = panel.vectors * self.kernels.lanes;
                let own;
                (own, weights) = weights.split_at(width * channels);
                for rows in cut(0..n, n.div_ceil(self.kernels.pixels())) {
                    let mut pointers = [std::ptr::null(); PIXELS];
                    for (pointer, r) in pointers.iter_mut().zip(rows.clone()) {
                        *pointer = inputs[r * block.depth..][..channels].as_ptr();
                    }
                    let out = &mut products[rows.start * block.width + first..];
                    assert!(
                        (rows.len() - 1) * block.width + width <= out.len(),
                        "the products hold the tile"
                    );
                    let tile = Tile {
                        terms: &[Term { first: 0, segments: 1, depth: channels, offset: 0 }],
                        rows: pointers.as_ptr(),
                        weights: own.as_ptr(),
                        bias: std::ptr::null(),
                        next: weights.as_ptr(),
                        channels: width,
                        initial: std::ptr::null(),
                        initial_step: 0,
                        out: out.as_mut_ptr(),
                        out_step: block.width,
                        low: f32::NEG_INFINITY,
                        high: f32::INFINITY,
                    };
                    // SAFETY: the instructions were found on this processor; rows, weights and products hold the tile.
                    unsafe { self.kernels.dense(rows.len(), panel.vectors)(&tile) };
                }
                first += width;
            }
        }
    }

    fn transform_outputs(&self, pass: &Pass, block: &Block, products: &[f32], targets: &[Target]) {
        let [height, width] = self.spec.size;
        let step = block.tiles.len() * block.width;
        assert!(PLACES * step <= products.len(), "there are products of every tile");
        for panel in &pass.panels {
            let (low, high) = bounds(panel.function);
            let target = &targets[panel.output];
            for (i, tile) in block.tiles.clone().enumerate() {
                let [image, row, column] = self.position(tile);
                let columns = OUTPUTS.min(width - column);
                let mut steps = [target.step, 0];
                let mut rows = [(std::ptr::null_mut(), std::ptr::null()); OUTPUTS];
                let rows = &mut rows[..OUTPUTS.min(height - row)];
                for (y, place) in rows.iter_mut().enumerate() {
                    let first = (image * height + row + y) * width + column;
                    let part = self.begin(panel, first..first + columns, target);
                    steps[1] = part.initial_step;
                    *place = (part.out, part.initial);
                }
                let tile = OutputTile {
                    from: products[i * block.width + panel.weights..].as_ptr(),
                    step,
                    channels: panel.channels.len(),
                    bias: pass.weights[panel.weights..].as_ptr(),
                    rows,
                    columns,
                    steps,
                    low,
                    high,
                };
                // SAFETY: the instructions were found on this processor; the products hold all places, and `begin` checked the rows.
                unsafe { (self.kernels.output)(&tile) };
                rows.iter().for_each(|(out, _)| self.finish(panel, columns, *out, target.step));
            }
        }
    }
}
