//! Register tiles under a max pool: conv values stay in registers, and every invocation stores maxima.

use super::super::source::{LOWEST, Source};
use super::super::spec::ConvSpec;
use super::body::{Position, accumulate};
use super::{Body, Tile, readable_quad};
use crate::graph::MaxPool;

/// A pool whose windows overlap by one row or none is taken row by row; others tap by tap.
fn by_rows(pool: &MaxPool) -> bool {
    let overlap = pool.kernel[0].checked_sub(pool.stride[0]);
    matches!(overlap, Some(0 | 1)) && pool.kernel[0] > 1 && pool.kernel[1] <= 4
}

/// Rows of output an invocation makes.
pub(super) fn rows_per_invocation(spec: &ConvSpec, tile: &Tile) -> usize {
    match spec.pool {
        Some(pool) if by_rows(&pool) => tile.strip,
        _ => 1,
    }
}

impl Body<'_> {
    pub(super) fn pooled(&self, s: &mut Source, pool: &MaxPool) {
        if by_rows(pool) { self.pooled_by_rows(s, pool) } else { self.pooled_by_taps(s, pool) }
    }

    /// Every conv pixel of every window on its own.
    fn pooled_by_taps(&self, s: &mut Source, pool: &MaxPool) {
        for (p, q) in self.tile.accumulators() {
            s.line(format!("var m{p}_{q} = {LOWEST};"));
        }
        let [pad_y, pad_x] = pool.padding.map(|p| p as isize);
        let larger = s.larger();
        s.line(format!("for (var tap_y = 0u; tap_y < {}u; tap_y++) {{", pool.kernel[0]));
        s.line(format!("for (var tap_x = 0u; tap_x < {}u; tap_x++) {{", pool.kernel[1]));
        s.line(format!("let y = down * {}u + tap_y - {pad_y}u;", pool.stride[0]));
        s.line(format!("let x = out_x * {}u + tap_x - {pad_x}u;", pool.stride[1]));
        let last_x = (self.across - 1) * self.tile.pixels * pool.stride[1] + pool.kernel[1] - 1;
        let last_y = (self.down - 1) * pool.stride[0] + pool.kernel[0] - 1;
        let position = Position {
            pixels: self.tile.pixels,
            step: pool.stride[1],
            x: [-pad_x, last_x as isize - pad_x],
            y: [-pad_y, last_y as isize - pad_y],
        };
        accumulate(s, self.spec, self.tile, self.layout, &position);
        for p in 0..self.tile.pixels {
            s.line(format!("let x{p} = x + {}u;", p * pool.stride[1]));
            for q in 0..self.tile.quads {
                let quad = readable_quad(self.spec, self.tile, q);
                s.line(format!(
                    "m{p}_{q} = {larger}(m{p}_{q}, select({LOWEST}, finish(a{p}_{q}, image, {quad}, y, x{p}), y < CONV_HEIGHT && x{p} < CONV_WIDTH));"
                ));
            }
        }
        s.line("}");
        s.line("}");
        self.store_tile(s, "down", "m", |r, _, _| r.into());
    }

    /// Walks down a strip, row by row of the convolution, keeping the maximum of the window above.
    fn pooled_by_rows(&self, s: &mut Source, pool: &MaxPool) {
        let (tile, out) = (self.tile, self.spec.outputs[0].shape);
        let [window_y, window_x] = pool.kernel;
        let [step_y, step_x] = pool.stride;
        let [pad_y, pad_x] = pool.padding.map(|p| p as isize);
        let overlap = window_y - step_y;
        let larger = s.larger();
        let pixels = (tile.pixels - 1) * step_x + window_x;
        for (p, q) in self.tile.accumulators() {
            s.line(format!("var m{p}_{q} = {LOWEST};"));
        }
        s.line(format!("let x = out_x * {step_x}u - {pad_x}u;"));
        s.line(format!("let first_row = down * {}u;", tile.strip));
        let rows = tile.strip * step_y + overlap;
        s.line(format!("for (var i = 0u; i < {rows}u; i++) {{"));
        s.line(format!("let y = first_row * {step_y}u + i - {pad_y}u;"));
        let last_x = (self.across - 1) * tile.pixels * step_x;
        let last_y = (self.down - 1) * tile.strip * step_y + rows - 1;
        let position = Position {
            pixels,
            step: 1,
            x: [-pad_x, last_x as isize - pad_x],
            y: [-pad_y, last_y as isize - pad_y],
        };
        accumulate(s, self.spec, tile, self.layout, &position);
        for p in 0..pixels {
            s.line(format!("let in{p}_inside = y < CONV_HEIGHT && x + {p}u < CONV_WIDTH;"));
            for q in 0..tile.quads {
                let quad = readable_quad(self.spec, self.tile, q);
                s.line(format!(
                    "let v{p}_{q} = select({LOWEST}, finish(a{p}_{q}, image, {quad}, y, x + {p}u), in{p}_inside);"
                ));
            }
        }
        for (p, q) in self.tile.accumulators() {
            let window = (1..window_x).fold(format!("v{}_{q}", p * step_x), |all, i| {
                format!("{larger}({all}, v{}_{q})", p * step_x + i)
            });
            s.line(format!("let h{p}_{q} = {window};"));
        }
        for (p, q) in self.tile.accumulators() {
            // The first row of a window starts anew; with an overlap it also ends the window above.
            s.line(format!("let full{p}_{q} = {larger}(m{p}_{q}, h{p}_{q});"));
        }
        let (last, row) = if overlap == 1 {
            (format!("i % {step_y}u == 0u && i > 0u"), format!("first_row + i / {step_y}u - 1u"))
        } else {
            (format!("i % {step_y}u == {}u", step_y - 1), format!("first_row + i / {step_y}u"))
        };
        s.line(format!("let row = {row};"));
        s.line(format!("if {last} && row < {}u {{", out.height));
        for (p, q) in self.tile.accumulators() {
            s.line(format!("var s{p}_{q} = full{p}_{q};"));
        }
        self.store_tile(s, "row", "s", |r, _, _| r.into());
        s.line("}");
        let first = if overlap == 1 { format!("i % {step_y}u == 0u") } else { "false".into() };
        for (p, q) in self.tile.accumulators() {
            let reset = if overlap == 1 { format!("h{p}_{q}") } else { LOWEST.into() };
            let when = if overlap == 1 { &first } else { &last };
            s.line(format!("m{p}_{q} = select(full{p}_{q}, {reset}, {when});"));
        }
        s.line("}");
    }
}
