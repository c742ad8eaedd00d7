// A dense K range of conv.wgsl: a step is one quad of inputs at one tap.
//
// Three taps per step, which share loads, would take as long to compile as twice the output channels; those save as many loads, and help
// a 1x1 as well.

// Pairs of weights per step: each lane of a quad of inputs with every output channel of a tile; and how many of them each lane loads.
const STEP = 4u * TILE_QUADS / 2u;
const OWN_PAIRS = (STEP + LANES - 1u) / LANES;

// Adds a range, whose weights begin at pair `first_weight`, to the sums of a tile; where its weights end.
fn add_range(sums: ptr<function, array<vec4<f32>, SUMS>>, tile: Tile, range: Range, first_weight: u32, lane: u32) -> u32 {
    let first = range.base + tile.image * range.image_size;
    var weight = first_weight;
    for (var ky = 0u; ky < range.window_y; ky++) {
        let in_y = tile.y * range.step_y + ky * range.dilation_y - range.pad_y;
        let row = first + in_y * range.row_size;
        let row_inside = in_y < range.in_height;
        for (var kx = 0u; kx < range.window_x; kx++) {
            let in_x = tile.x * range.step_x + kx * range.dilation_x - range.pad_x;
            //# values
            var column: array<u32, TILE_PIXELS>;
            //# values
            var inside: array<bool, TILE_PIXELS>;
            //# values
            var at: array<u32, TILE_PIXELS>;
            //# unroll
            for (var p = 0u; p < TILE_PIXELS; p++) {
                column[p] = in_x + p * range.step_x;
                inside[p] = row_inside & (column[p] < range.in_width);
                at[p] = row + column[p] * range.element_size;
            }
            var plane = 0u;
            for (var i = 0u; i < range.planes; i++) {
                //# values
                var x: array<vec4<f32>, TILE_PIXELS>;
                //# unroll
                for (var p = 0u; p < TILE_PIXELS; p++) {
                    x[p] = load(select(0u, at[p] + plane, inside[p]));
                }
                // One load per lane, handed round: a load costs more than a shuffle by a constant.
                //# values
                var pair: array<Pair, OWN_PAIRS>;
                //# values
                var own: array<vec4<f32>, 2u * OWN_PAIRS>;
                //# unroll
                for (var n = 0u; n < OWN_PAIRS; n++) {
                    pair[n] = load_pair(weight + lane + n * LANES);
                    own[2u * n] = pair[n].a;
                    own[2u * n + 1u] = pair[n].b;
                }
                //# unroll
                for (var q = 0u; q < TILE_QUADS; q++) {
                    // Quad c * TILE_QUADS + q of the step, for each lane c of the inputs. TILE_QUADS is even.
                    //# values
                    var w: array<vec4<f32>, 4>;
                    //# unroll
                    for (var c = 0u; c < 4u; c++) {
                        w[c] = subgroupShuffle(
                            own[(c * TILE_QUADS + q) / 2u / LANES * 2u + q % 2u],
                            (c * TILE_QUADS + q) / 2u % LANES,
                        );
                    }
                    // One sum at a time, all its products: it stays in a register.
                    //# unroll
                    for (var p = 0u; p < TILE_PIXELS; p++) {
                        (*sums)[p * TILE_QUADS + q] =
                            (*sums)[p * TILE_QUADS + q] + x[p].x * w[0] + x[p].y * w[1] + x[p].z * w[2] + x[p].w * w[3];
                    }
                }
                plane += range.plane_size;
                weight += STEP;
            }
        }
    }
    return weight;
}
