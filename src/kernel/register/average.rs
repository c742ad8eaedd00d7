//! The global average of a convolution in the same dispatch: invocations add up what they would have stored.
//!
//! A workgroup has all pixels of an image, of its tiles of output channels. Invocations take the tiles of pixels in turn, as many at
//! a time as there are slots; their sums meet in workgroup memory. The last map of a network has no more of them than that, and then
//! every product has the invocation that it has where the map is stored.

use super::super::layout::WeightLayout;
use super::super::source::Source;
use super::super::spec::ConvSpec;
use super::super::{Arena, Capabilities, Kernel};
use super::Tile;
use super::body::{Position, accumulate};
use super::{Share, begin, declare_sums, end, readable_quad};

/// The kernel for a flattened spec that averages, and a tile.
pub(super) fn kernel(spec: &ConvSpec, tile: &Tile, caps: &Capabilities, arena: Option<&Arena>) -> Kernel {
    let layout = WeightLayout::new(spec, &tile.order());
    let across = spec.size[1].div_ceil(tile.pixels);
    let places = across * spec.size[0];
    let share = Share::new(tile, &layout, caps, places);
    let images = spec.outputs[0].shape.batch;
    let fold = images.div_ceil(caps.max_workgroups as usize).max(1);
    let grid = [images.div_ceil(fold) as u32, layout.tiles.div_ceil(share.parts) as u32, fold as u32];
    let average = Average { spec, tile, layout: &layout, share: &share, across, places };
    let mut s = Source::new(caps.wide_loads(), arena);
    declare_sums(&mut s, share.workgroup() * average.kept() * tile.quads);
    let sizes = [
        ("IMAGES", images),
        ("PIXELS", spec.size[0] * spec.size[1]),
        ("PLACES", places),
        ("PLACES_ACROSS", across),
        ("KEPT", average.kept()),
        ("GRID_X", grid[0] as usize),
    ];
    begin(&mut s, spec, tile, &layout, &[&sizes[..], &share.constants(&layout)].concat());
    average.emit(&mut s);
    end(s, tile, layout, grid, "conv2d_average")
}

struct Average<'a> {
    spec: &'a ConvSpec,
    tile: &'a Tile,
    layout: &'a WeightLayout,
    share: &'a Share,
    /// Tiles of pixels side by side.
    across: usize,
    /// Tiles of pixels of an image.
    places: usize,
}

impl Average<'_> {
    /// Values that an invocation leaves of each of its quads: the sum of its pixels or, where their parts of K meet first, every one.
    fn kept(&self) -> usize {
        if self.share.slices > 1 { self.tile.pixels } else { 1 }
    }

    fn emit(&self, s: &mut Source) {
        self.share.place(s);
        s.line("let own_image = group.x + group.z * GRID_X;");
        s.line("let image = min(own_image, IMAGES - 1u);");
        s.line("let first_quad = tile * TILE_QUADS;");
        s.line("let first_weight = tile * TILE_WEIGHTS;");
        if self.share.slices > 1 {
            self.gathered(s);
        } else {
            self.summed(s);
        }
        s.line("workgroupBarrier();");
        s.line("for (var i = local; i < PARTS * TILE_QUADS; i += WORKGROUP) {");
        s.line("let part = i / TILE_QUADS;");
        s.line("let q = i % TILE_QUADS;");
        s.line("let quad = (group.y * PARTS + part) * TILE_QUADS + q;");
        s.line("if own_image < IMAGES && quad < OUT_QUADS {");
        s.line("var total = vec4<f32>();");
        s.line("for (var p = 0u; p < KEPT; p++) {");
        s.line("let first = (p * TILE_QUADS + q) * WORKGROUP + part * SLOTS * SLICES;");
        s.line("for (var other = 0u; other < SLOTS; other++) {");
        s.line("total += sums[first + other];");
        s.line("}");
        s.line("}");
        s.line("store(total / f32(PIXELS), image, quad, 0u, 0u);");
        s.line("}");
        s.line("}");
    }

    /// Defines where the tile of pixels `place` begins, and computes it.
    fn compute(&self, s: &mut Source) {
        s.line("let index = min(place, PLACES - 1u);");
        s.line("let y = index / PLACES_ACROSS;");
        s.line("let x = index % PLACES_ACROSS * TILE_PIXELS;");
        let pixels = self.tile.pixels;
        let x = [0, ((self.across - 1) * pixels) as isize];
        let position = Position { pixels, step: 1, x, y: [0, self.spec.size[0] as isize - 1] };
        accumulate(s, self.spec, self.tile, self.layout, &position);
    }

    /// Every invocation leaves the sums of its pixels.
    fn summed(&self, s: &mut Source) {
        let (spec, tile, slots) = (self.spec, self.tile, self.share.slots);
        for q in 0..tile.quads {
            s.line(format!("var total{q} = vec4<f32>();"));
        }
        let turns = self.places.div_ceil(slots);
        if turns > 1 {
            s.line(format!("for (var turn = 0u; turn < {turns}u; turn++) {{"));
            s.line("let place = turn * SLOTS + slot;");
        } else {
            s.line("let place = slot;");
        }
        self.compute(s);
        // Slots that have no place, and pixels behind the end of a row, add nothing, whatever they computed.
        let idle = !self.places.is_multiple_of(slots);
        let ragged = !spec.size[1].is_multiple_of(tile.pixels);
        let counts = |p: usize| {
            let column = (ragged && p > 0).then(|| format!("x + {p}u < CONV_WIDTH"));
            let conditions: Vec<String> =
                idle.then(|| "place < PLACES".into()).into_iter().chain(column).collect();
            (!conditions.is_empty()).then(|| conditions.join(" && "))
        };
        for q in 0..tile.quads {
            let quad = readable_quad(spec, tile, q);
            for p in 0..tile.pixels {
                let value = format!("finish(a{p}_{q}, image, {quad}, y, x + {p}u)");
                s.line(match counts(p) {
                    Some(counts) => format!("total{q} += select(vec4<f32>(), {value}, {counts});"),
                    None => format!("total{q} += {value};"),
                });
            }
        }
        if turns > 1 {
            s.line("}");
        }
        for q in 0..tile.quads {
            s.line(format!("sums[{q}u * WORKGROUP + local] = total{q};"));
        }
    }

    /// Parts of K meet, and every pixel's value takes the place of its first part.
    fn gathered(&self, s: &mut Source) {
        s.line("let place = slot;");
        self.compute(s);
        self.share.gather(s, self.tile, |s| {
            s.line("var value = vec4<f32>();");
            s.line("if first_quad + q < OUT_QUADS && x + p < CONV_WIDTH {");
            s.line("value = finish(sum, image, first_quad + q, y, x + p);");
            s.line("}");
            s.line("sums[first] = value;");
        });
    }
}
