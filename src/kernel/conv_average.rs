//! A convolution and the global average of its result in one dispatch: the register tile, whose invocations add up what they
//! computed instead of storing it.
//!
//! A workgroup has all pixels of an image, of a few tiles of output channels. Invocations take the tiles of pixels in turn, as
//! many at a time as there are slices; their sums meet in workgroup memory. Where an image has as many tiles as slices, which
//! the last map of a network has, every product has the invocation that it has where the map is stored.

use super::conv::{begin, end, parts};
use super::conv_body::{Position, accumulate};
use super::layout::WeightLayout;
use super::source::Source;
use super::spec::ConvSpec;
use super::tile::Tile;
use super::{Arena, Capabilities, Kernel};

/// How a workgroup shares out its images and channels.
struct Share {
    /// Tiles of pixels side by side, and rows of them.
    across: usize,
    down: usize,
    /// Invocations that have the same output channels, and tiles of pixels in turn.
    slices: usize,
    /// Tiles of output channels, which have slices of their own.
    parts: usize,
}

impl Share {
    fn new(spec: &ConvSpec, tile: &Tile, layout: &WeightLayout, caps: &Capabilities) -> Share {
        let [down, width] = spec.size;
        let across = width.div_ceil(tile.pixels);
        let most = tile.workgroup as usize;
        // A subgroup that hands weights round is of one tile of output channels.
        let slices = if tile.lanes.is_some() { most } else { most.min(across * down) };
        Share { across, down, slices, parts: parts(tile, layout, caps, slices) }
    }

    /// Tiles of pixels of an image.
    fn places(&self) -> usize {
        self.across * self.down
    }
}

/// The kernel for a flattened spec that averages, and a tile.
pub(super) fn kernel(spec: &ConvSpec, tile: &Tile, caps: &Capabilities, arena: Option<&Arena>) -> Kernel {
    let layout = WeightLayout::new(spec, tile);
    let share = Share::new(spec, tile, &layout, caps);
    let images = spec.outputs[0].shape.batch;
    let fold = images.div_ceil(caps.max_workgroups as usize).max(1);
    let grid = [images.div_ceil(fold) as u32, layout.tiles.div_ceil(share.parts) as u32, fold as u32];
    let mut s = Source::new(caps.wide_loads(), arena);
    let constants = [
        ("IMAGES", images),
        ("PIXELS", spec.size[0] * spec.size[1]),
        ("PLACES", share.places()),
        ("PLACES_ACROSS", share.across),
        ("GRID_X", grid[0] as usize),
        ("SLICES", share.slices),
        ("PARTS", share.parts),
        ("TILES", layout.tiles),
        ("WORKGROUP", share.slices * share.parts),
    ];
    let sums = share.slices * share.parts * tile.quads;
    s.line(format!("var<workgroup> sums: array<vec4<f32>, {sums}>;"));
    begin(&mut s, spec, tile, &layout, &constants);
    body(&mut s, spec, tile, &layout, &share);
    end(s, tile, layout, grid, "conv2d_average", &format!(" in {}", share.slices))
}

fn body(s: &mut Source, spec: &ConvSpec, tile: &Tile, layout: &WeightLayout, share: &Share) {
    let quads = 0..tile.quads;
    s.line("let slice = local % SLICES;");
    s.line("let image_at = group.x + group.z * GRID_X;");
    s.line("let image = min(image_at, IMAGES - 1u);");
    s.line("let tile = min(group.y * PARTS + local / SLICES, TILES - 1u);");
    s.line("let first_quad = tile * TILE_QUADS;");
    s.line("let first_weight = tile * TILE_WEIGHTS;");
    for q in quads.clone() {
        s.line(format!("var sum{q} = vec4<f32>();"));
    }
    let turns = share.places().div_ceil(share.slices);
    let looped = turns > 1;
    if looped {
        s.line(format!("for (var turn = 0u; turn < {turns}u; turn++) {{"));
        s.line("let place = turn * SLICES + slice;");
    } else {
        s.line("let place = slice;");
    }
    s.line("let index = min(place, PLACES - 1u);");
    s.line("let y = index / PLACES_ACROSS;");
    s.line("let x = index % PLACES_ACROSS * TILE_PIXELS;");
    let last = [share.down - 1, (share.across - 1) * tile.pixels].map(|n| n as isize);
    let position = Position { pixels: tile.pixels, step: 1, x: [0, last[1]], y: [0, last[0]] };
    accumulate(s, spec, tile, layout, &position);
    // Lanes that have no place, and pixels behind the end of a row, add nothing, whatever they computed.
    let idle = !share.places().is_multiple_of(share.slices);
    let ragged = !spec.size[1].is_multiple_of(tile.pixels);
    let counts = |p: usize| {
        let column = (ragged && p > 0).then(|| format!("x + {p}u < CONV_WIDTH"));
        let conditions: Vec<String> =
            idle.then(|| "place < PLACES".into()).into_iter().chain(column).collect();
        (!conditions.is_empty()).then(|| conditions.join(" && "))
    };
    let padded = !spec.out_channels.div_ceil(4).is_multiple_of(tile.quads);
    for q in quads.clone() {
        // Nothing is read for channels that are not there.
        let guarded = padded && q > 0;
        if guarded {
            s.line(format!("if first_quad + {q}u < OUT_QUADS {{"));
        }
        for p in 0..tile.pixels {
            let value = format!("finish(a{p}_{q}, image, first_quad + {q}u, y, x + {p}u)");
            s.line(match counts(p) {
                Some(counts) => format!("sum{q} += select(vec4<f32>(), {value}, {counts});"),
                None => format!("sum{q} += {value};"),
            });
        }
        if guarded {
            s.line("}");
        }
    }
    if looped {
        s.line("}");
    }
    for q in quads {
        s.line(format!("sums[{q}u * WORKGROUP + local] = sum{q};"));
    }
    s.line("workgroupBarrier();");
    s.line("for (var i = local; i < PARTS * TILE_QUADS; i += WORKGROUP) {");
    s.line("let part = i / TILE_QUADS;");
    s.line("let quad = (group.y * PARTS + part) * TILE_QUADS + i % TILE_QUADS;");
    s.line("if image_at < IMAGES && quad < OUT_QUADS {");
    s.line("let first = i % TILE_QUADS * WORKGROUP + part * SLICES;");
    s.line("var sum = sums[first];");
    s.line("for (var other = 1u; other < SLICES; other++) {");
    s.line("sum += sums[first + other];");
    s.line("}");
    s.line("store(sum / f32(PIXELS), image_at, quad, 0u, 0u);");
    s.line("}");
    s.line("}");
}
