//! Register tiles: an invocation computes a tile of pixels and output channels on its own, or with the others that have a part of K
//! for it.
//!
//! [`body`] writes the multiplications, [`loads`] what they read; [`Share`] says what the invocations of a workgroup have. Where a map
//! is small, a workgroup has several tiles of output channels, and parts of K have invocations of their own.

mod body;
mod loads;
mod pooled;
mod share;
mod tile;

pub(super) use tile::{Tile, tiles};

use super::layout::WeightLayout;
use super::source::{Source, planes};
use super::spec::ConvSpec;
use super::{Arena, Capabilities, Kernel, Packing, Shader, epilogue};
use body::{Position, accumulate};
use share::Share;

/// The kernel for a flattened spec and a tile.
pub(super) fn kernel(spec: &ConvSpec, tile: &Tile, caps: &Capabilities, arena: Option<&Arena>) -> Kernel {
    let layout = WeightLayout::new(spec, &tile.order());
    let out = spec.outputs[0].shape;
    let across = out.width.div_ceil(tile.pixels);
    let down = out.height.div_ceil(pooled::rows_per_invocation(spec, tile));
    let tiles = across * down * out.batch;
    let share = Share::new(tile, &layout, caps, tiles);
    let workgroups = tiles.div_ceil(share.slots);
    let fold = workgroups.div_ceil(caps.max_workgroups as usize).max(1);
    let grid = [workgroups.div_ceil(fold) as u32, layout.tiles.div_ceil(share.parts) as u32, fold as u32];
    let mut s = Source::new(caps.wide_loads(), arena);
    let apart = tile.pixels * spec.pool.map_or(1, |pool| pool.stride[1]);
    s.octets = caps.wide_loads() && loads::octets(spec, &layout, apart);
    let sizes = [
        ("PIXEL_TILES", tiles),
        ("TILES_ACROSS", across),
        ("TILES_DOWN", down),
        ("GRID_X", grid[0] as usize),
    ];
    if share.slices > 1 {
        let quads = share.workgroup() * tile.pixels * tile.quads;
        s.line(format!("var<workgroup> sums: array<vec4<f32>, {quads}>;"));
    }
    begin(&mut s, spec, tile, &layout, &[&sizes[..], &share.constants(&layout)].concat());
    share.place(&mut s);
    s.line("let own = (group.x + group.z * GRID_X) * SLOTS + slot;");
    s.line("let live = own < PIXEL_TILES && own_tile < TILES;");
    s.line("let index = min(own, PIXEL_TILES - 1u);");
    s.line("let across = index % TILES_ACROSS;");
    s.line("let down = index / TILES_ACROSS % TILES_DOWN;");
    s.line("let image = index / (TILES_ACROSS * TILES_DOWN);");
    s.line("let first_quad = tile * TILE_QUADS;");
    s.line("let first_weight = tile * TILE_WEIGHTS;");
    s.line("let out_x = across * TILE_PIXELS;");
    let body = Body { spec, tile, layout: &layout, share: &share, looped: caps.software, across, down };
    match spec.pool {
        None => body.direct(&mut s),
        Some(pool) => body.pooled(&mut s, &pool),
    }
    let pool = if spec.pool.is_some() { "_max_pool" } else { "" };
    end(s, tile, layout, grid, &format!("conv2d{pool}"))
}

/// The most bytes of packed weights over all tiles, on any adapter.
pub(super) fn packed_weight_bytes(spec: &ConvSpec) -> u64 {
    [(None, false), (None, true), (Some(4), true), (Some(8), true)]
        .into_iter()
        .flat_map(|(subgroup_size, software)| {
            tiles(spec, &Capabilities { subgroup_size, software, ..Capabilities::WEBGPU })
        })
        .map(|tile| WeightLayout::new(spec, &tile.order()).bytes())
        .max()
        .unwrap_or(0)
}

/// Quad `q` of a tile or, where there are no such channels, the last that there is: what is added to them must not be read behind
/// its buffer, though nothing of it is stored.
fn readable_quad(spec: &ConvSpec, tile: &Tile, q: usize) -> String {
    match q > 0 && !spec.out_channels.div_ceil(4).is_multiple_of(tile.quads) {
        true => format!("min(first_quad + {q}u, OUT_QUADS - 1u)"),
        false => format!("first_quad + {q}u"),
    }
}

/// Begins the text of a register tile's shader: up to the opening brace of its entry point.
fn begin(s: &mut Source, spec: &ConvSpec, tile: &Tile, layout: &WeightLayout, constants: &[(&str, usize)]) {
    let own = [("TILE_PIXELS", tile.pixels), ("TILE_QUADS", tile.quads), ("TILE_WEIGHTS", layout.block)];
    epilogue::prelude(s, spec, &[constants, &own].concat(), layout.slopes);
    for (r, range) in spec.k_ranges.iter().enumerate() {
        s.constant(&format!("R{r}_PLANE"), range.from.shape.height * range.from.shape.width);
        s.constant(&format!("R{r}_IMAGE"), planes(&range.from.shape));
    }
    body::fetches(s, spec, layout);
    s.line("@compute @workgroup_size(WORKGROUP)");
    let lane = if tile.lanes.is_some() { ", @builtin(subgroup_invocation_id) lane: u32" } else { "" };
    s.line(format!(
        "fn conv2d(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) local: u32{lane}) {{"
    ));
}

/// The kernel of a text that [`begin`] began, closed here. Its name: `what`, and the tile.
fn end(mut s: Source, tile: &Tile, layout: WeightLayout, grid: [u32; 3], what: &str) -> Kernel {
    s.line("}");
    let (subgroup, int64) = (tile.lanes.is_some(), s.wide());
    let (wgsl, bindings) = s.finish();
    let weights = if subgroup { "shuffle" } else { "plain" };
    let shader = Shader { subgroup, int64, matrices: false, ..Shader::written(wgsl, "conv2d", bindings, grid) };
    let split = if tile.slices > 1 { format!(" in {}", tile.slices) } else { String::new() };
    Kernel::one(
        format!("{what} {weights} {}px x {}oc{split}", tile.pixels, tile.quads * 4),
        shader,
        Packing::Conv(layout),
    )
}

struct Body<'a> {
    spec: &'a ConvSpec,
    tile: &'a Tile,
    layout: &'a WeightLayout,
    share: &'a Share,
    /// Whether the tile is stored in a loop.
    looped: bool,
    across: usize,
    down: usize,
}

impl Body<'_> {
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
        if self.share.slices > 1 {
            return self.share.gather(s, self.tile, |s| {
                s.line(format!(
                    "if live && first_quad + q < OUT_QUADS && out_x + p < {}u {{",
                    self.spec.size[1]
                ));
                s.line("let value = finish(sum, image, first_quad + q, y, out_x + p);");
                s.line("store(value, image, first_quad + q, y, out_x + p);");
                s.line("}");
            });
        }
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
}
