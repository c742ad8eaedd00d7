//! Convolution: positions, loops over pooling, stores. [`conv_body`](super::conv_body) writes the multiplications.

use super::conv_body::{Position, accumulate};
use super::layout::WeightLayout;
use super::source::{LOWEST, Source, planes};
use super::spec::{ConvSpec, Layout, Operand, Pooling};
use super::tile::Tile;
use super::{Arena, Capabilities, Kernel, Packing, Shader, conv_average, epilogue};
use crate::graph::MaxPool;

/// Whether an operand's buffer is in quads.
pub(super) fn is_packed(operand: &Operand) -> bool {
    operand.shape.layout == Layout::Packed
}

/// A spec that touches every pixel on its own sees an image as one row.
pub(super) fn flatten(spec: &ConvSpec) -> ConvSpec {
    let plain = |o: &Operand| o.stride == 1 && !o.mean_pool && o.size() == spec.size;
    let pointwise = spec.k_ranges.iter().all(|r| r.is_pointwise() && plain(&r.from));
    let mut flat = spec.clone();
    if pointwise && spec.adds.iter().all(|a| plain(&a.from)) && spec.max_pool().is_none() {
        let row = [1, spec.size[0] * spec.size[1]];
        flat.size = row;
        let ranges = flat.k_ranges.iter_mut().map(|r| &mut r.from.shape);
        let adds = flat.adds.iter_mut().map(|a| &mut a.from.shape);
        let outputs = flat.outputs.iter_mut().filter(|_| spec.pooling.is_none()).map(|o| &mut o.shape);
        for shape in ranges.chain(adds).chain(outputs) {
            [shape.height, shape.width] = row;
        }
    }
    flat
}

/// A pool whose windows overlap by one row or none is taken row by row; others tap by tap.
fn by_rows(pool: &MaxPool) -> bool {
    let overlap = pool.kernel[0].checked_sub(pool.stride[0]);
    matches!(overlap, Some(0 | 1)) && pool.kernel[0] > 1 && pool.kernel[1] <= 4
}

/// Rows of output an invocation makes.
fn rows_per_invocation(spec: &ConvSpec, tile: &Tile) -> usize {
    match spec.max_pool() {
        Some(pool) if by_rows(&pool) => tile.strip,
        _ => 1,
    }
}

/// Tiles of output channels that a workgroup has, of which each has so many invocations: several where there are too few pixels to
/// fill it, as many as leave the smallest part of whole workgroups idle. Not where invocations hand weights of one tile round.
pub(super) fn parts(tile: &Tile, layout: &WeightLayout, caps: &Capabilities, invocations: usize) -> usize {
    let usual = tile.workgroup as usize;
    let most = (2 * usual).min(caps.max_workgroup_invocations as usize) / invocations;
    if tile.lanes.is_some() || invocations >= usual {
        return 1;
    }
    let used =
        |parts: usize| (parts * invocations) as f64 / (parts * invocations).next_multiple_of(usual) as f64;
    (1..=most.min(layout.tiles)).rev().max_by(|&a, &b| used(a).total_cmp(&used(b))).unwrap_or(1)
}

/// The kernel for a flattened spec and a tile.
pub(super) fn kernel(spec: &ConvSpec, tile: &Tile, caps: &Capabilities, arena: Option<&Arena>) -> Kernel {
    if spec.pooling == Some(Pooling::Average) {
        return conv_average::kernel(spec, tile, caps, arena);
    }
    let layout = WeightLayout::new(spec, tile);
    let out = spec.outputs[0].shape;
    let across = out.width.div_ceil(tile.pixels);
    let down = out.height.div_ceil(rows_per_invocation(spec, tile));
    let invocations = across * down * out.batch;
    let most = tile.workgroup as usize;
    let parts = parts(tile, &layout, caps, invocations);
    let workgroup = if parts > 1 { invocations * parts } else { most };
    let workgroups = invocations.div_ceil(most);
    let fold = workgroups.div_ceil(caps.max_workgroups as usize).max(1);
    let grid = [workgroups.div_ceil(fold) as u32, layout.tiles.div_ceil(parts) as u32, fold as u32];
    let mut s = Source::new(caps.wide_loads(), arena);
    let apart = tile.pixels * spec.max_pool().map_or(1, |pool| pool.stride[1]);
    s.octets = caps.wide_loads() && super::conv_loads::octets(spec, &layout, apart);
    let constants = [
        ("INVOCATIONS", invocations),
        ("INVOCATIONS_ACROSS", across),
        ("INVOCATIONS_DOWN", down),
        ("GRID_X", grid[0] as usize),
        ("WORKGROUP", workgroup),
    ];
    begin(&mut s, spec, tile, &layout, &constants);
    if parts > 1 {
        s.line("let index = local % INVOCATIONS;");
        s.line(format!("let own_tile = group.y * {parts}u + local / INVOCATIONS;"));
        s.line(format!("let live = own_tile < {}u;", layout.tiles));
        s.line(format!("let tile = min(own_tile, {}u);", layout.tiles - 1));
    } else {
        s.line("let invocation = (group.x + group.z * GRID_X) * WORKGROUP + local;");
        s.line("let live = invocation < INVOCATIONS;");
        s.line("let index = min(invocation, INVOCATIONS - 1u);");
        s.line("let tile = group.y;");
    }
    s.line("let across = index % INVOCATIONS_ACROSS;");
    s.line("let down = index / INVOCATIONS_ACROSS % INVOCATIONS_DOWN;");
    s.line("let image = index / (INVOCATIONS_ACROSS * INVOCATIONS_DOWN);");
    s.line("let first_quad = tile * TILE_QUADS;");
    s.line("let first_weight = tile * TILE_WEIGHTS;");
    s.line("let out_x = across * TILE_PIXELS;");
    let body = Body { spec, tile, layout: &layout, looped: caps.software, across, down };
    match spec.max_pool() {
        None => body.direct(&mut s),
        Some(pool) if by_rows(&pool) => body.pooled_by_rows(&mut s, &pool),
        Some(pool) => body.pooled_by_taps(&mut s, &pool),
    }
    let pool = if spec.pooling.is_some() { "_max_pool" } else { "" };
    end(s, tile, layout, grid, &format!("conv2d{pool}"), "")
}

/// Begins the text of a register tile's shader: up to the opening brace of its entry point.
pub(super) fn begin(
    s: &mut Source,
    spec: &ConvSpec,
    tile: &Tile,
    layout: &WeightLayout,
    constants: &[(&str, usize)],
) {
    let own = [("TILE_PIXELS", tile.pixels), ("TILE_QUADS", tile.quads), ("TILE_WEIGHTS", layout.block)];
    epilogue::prelude(s, spec, &[constants, &own].concat(), layout.slopes);
    for (r, range) in spec.k_ranges.iter().enumerate() {
        s.constant(&format!("R{r}_PLANE"), range.from.shape.height * range.from.shape.width);
        s.constant(&format!("R{r}_IMAGE"), planes(&range.from.shape));
    }
    super::conv_body::fetches(s, spec, layout);
    s.line("@compute @workgroup_size(WORKGROUP)");
    let lane = if tile.lanes.is_some() { ", @builtin(subgroup_invocation_id) lane: u32" } else { "" };
    s.line(format!(
        "fn conv2d(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) local: u32{lane}) {{"
    ));
}

/// The kernel of a text that [`begin`] began, closed here. Its name: `what`, the tile, `how` it goes on.
pub(super) fn end(
    mut s: Source,
    tile: &Tile,
    layout: WeightLayout,
    grid: [u32; 3],
    what: &str,
    how: &str,
) -> Kernel {
    s.line("}");
    let (subgroup, int64) = (tile.lanes.is_some(), s.wide());
    let (wgsl, bindings) = s.finish();
    let weights = if subgroup { "shuffle" } else { "plain" };
    let shader = Shader { wgsl, entry: "conv2d", bindings, grid, subgroup, int64, matrices: false };
    Kernel::one(
        format!("{what} {weights} {}px x {}oc{how}", tile.pixels, tile.quads * 4),
        shader,
        Packing::Conv(layout),
    )
}

struct Body<'a> {
    spec: &'a ConvSpec,
    tile: &'a Tile,
    layout: &'a WeightLayout,
    /// Whether the tile is stored in a loop.
    looped: bool,
    across: usize,
    down: usize,
}

impl Body<'_> {
    fn accumulators(&self) -> impl Iterator<Item = (usize, usize)> + use<> {
        let (pixels, quads) = (self.tile.pixels, self.tile.quads);
        (0..pixels).flat_map(move |p| (0..quads).map(move |q| (p, q)))
    }

    fn direct(&self, s: &mut Source) {
        let position = Position {
            pixels: self.tile.pixels,
            step: 1,
            x: [0, ((self.across - 1) * self.tile.pixels) as isize],
            y: [0, self.spec.size[0] as isize - 1],
        };
        s.line("let y = down;");
        s.line("let x = out_x;");
        accumulate(s, self.spec, self.tile, self.layout, &position);
        self.store_tile(s, "y", "a", |r, q, p| format!("finish({r}, image, first_quad + {q}u, y, x + {p})"));
    }

    /// Stores `value(register, quad, pixel)` of the whole tile, registers `{name}{pixel}_{quad}`, in output row `row`, guarded
    /// where some of it lies outside.
    fn store_tile(&self, s: &mut Source, row: &str, name: &str, value: impl Fn(&str, usize, &str) -> String) {
        let out = self.spec.outputs[0].shape;
        let check_x = !out.width.is_multiple_of(self.tile.pixels);
        let check_quads = !self.spec.out_channels.div_ceil(4).is_multiple_of(self.tile.quads);
        let store = |s: &mut Source, register: &str, q: usize, pixel: &str| {
            let value = value(register, q, pixel);
            let store = format!("store({value}, image, first_quad + {q}u, {row}, out_x + {pixel});");
            if check_quads && q > 0 {
                s.line(format!("if first_quad + {q}u < OUT_QUADS {{"));
                s.line(store);
                s.line("}");
            } else {
                s.line(store);
            }
        };
        s.line("if live {");
        if self.looped {
            // Registers move down past one place that stores: it is stores that take long to compile.
            s.line(format!("let stored = min(TILE_PIXELS, {}u - out_x);", out.width));
            s.line("for (var p = 0u; p < stored; p++) {");
            for q in 0..self.tile.quads {
                store(s, &format!("{name}0_{q}"), q, "p");
            }
            for p in 1..self.tile.pixels {
                for q in 0..self.tile.quads {
                    s.line(format!("{name}{}_{q} = {name}{p}_{q};", p - 1));
                }
            }
            s.line("}");
        } else {
            for p in 0..self.tile.pixels {
                if check_x && p > 0 {
                    s.line(format!("if out_x + {p}u < {}u {{", out.width));
                }
                for q in 0..self.tile.quads {
                    store(s, &format!("{name}{p}_{q}"), q, &format!("{p}u"));
                }
                if check_x && p > 0 {
                    s.line("}");
                }
            }
        }
        s.line("}");
    }

    /// Every conv pixel of every window on its own.
    fn pooled_by_taps(&self, s: &mut Source, pool: &MaxPool) {
        for (p, q) in self.accumulators() {
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
                s.line(format!(
                    "m{p}_{q} = {larger}(m{p}_{q}, select({LOWEST}, finish(a{p}_{q}, image, first_quad + {q}u, y, x{p}), y < CONV_HEIGHT && x{p} < CONV_WIDTH));"
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
        for (p, q) in self.accumulators() {
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
                s.line(format!(
                    "let v{p}_{q} = select({LOWEST}, finish(a{p}_{q}, image, first_quad + {q}u, y, x + {p}u), in{p}_inside);"
                ));
            }
        }
        for (p, q) in self.accumulators() {
            let window = (1..window_x).fold(format!("v{}_{q}", p * step_x), |all, i| {
                format!("{larger}({all}, v{}_{q})", p * step_x + i)
            });
            s.line(format!("let h{p}_{q} = {window};"));
        }
        for (p, q) in self.accumulators() {
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
        for (p, q) in self.accumulators() {
            s.line(format!("var s{p}_{q} = full{p}_{q};"));
        }
        self.store_tile(s, "row", "s", |r, _, _| r.into());
        s.line("}");
        let first = if overlap == 1 { format!("i % {step_y}u == 0u") } else { "false".into() };
        for (p, q) in self.accumulators() {
            let reset = if overlap == 1 { format!("h{p}_{q}") } else { LOWEST.into() };
            let when = if overlap == 1 { &first } else { &last };
            s.line(format!("m{p}_{q} = select(full{p}_{q}, {reset}, {when});"));
        }
        s.line("}");
    }
}
