// A depthwise K range of conv.wgsl: row by row of the window, in runs of three taps that share loads where possible, else tap by tap.
const_assert TILE_QUADS == 2u;

// Number of neighbouring taps that share loads, and of the columns they read.
const TAPS = 3u;
const COLUMNS = TILE_PIXELS + TAPS - 1u;

// A row of a window: its address in the first plane, whether it lies inside, and the offsets of the planes of the tile's quads.
struct Row {
    at: u32,
    inside: bool,
    plane: vec2<u32>,
}

// Adds neighbouring taps, the first at column in_x of the view for the first pixel.
fn add_taps(sums: ptr<function, array<vec4<f32>, SUMS>>, range: Range, row: Row, in_x: u32, weight: u32) {
    //# values
    var column: array<u32, COLUMNS>;
    //# values
    var inside: array<bool, COLUMNS>;
    //# values
    var at: array<u32, COLUMNS>;
    //# unroll
    for (var j = 0u; j < COLUMNS; j++) {
        column[j] = in_x + j;
        inside[j] = row.inside & (column[j] < range.in_width);
        at[j] = row.at + column[j] * range.element_size;
    }
    //# values
    var pair: array<Pair, TAPS>;
    //# values
    var w: array<vec4<f32>, TILE_QUADS * TAPS>;
    //# unroll
    for (var k = 0u; k < TAPS; k++) {
        pair[k] = load_pair(weight + k);
        w[k] = pair[k].a;
        w[TAPS + k] = pair[k].b;
    }
    //# unroll
    for (var q = 0u; q < TILE_QUADS; q++) {
        //# values
        var x: array<vec4<f32>, COLUMNS>;
        //# unroll
        for (var j = 0u; j < COLUMNS; j++) {
            x[j] = load(select(0u, at[j] + row.plane[q], inside[j]));
        }
        //# unroll
        for (var p = 0u; p < TILE_PIXELS; p++) {
            (*sums)[p * TILE_QUADS + q] =
                (*sums)[p * TILE_QUADS + q] + x[p] * w[q * TAPS] + x[p + 1u] * w[q * TAPS + 1u] + x[p + 2u] * w[q * TAPS + 2u];
        }
    }
}

// Adds one tap, which is at column in_x of the view for the first pixel.
fn add_tap(sums: ptr<function, array<vec4<f32>, SUMS>>, range: Range, row: Row, in_x: u32, weight: u32) {
    //# values
    var column: array<u32, TILE_PIXELS>;
    //# values
    var inside: array<bool, TILE_PIXELS>;
    //# values
    var at: array<u32, TILE_PIXELS>;
    //# unroll
    for (var p = 0u; p < TILE_PIXELS; p++) {
        column[p] = in_x + p * range.step_x;
        inside[p] = row.inside & (column[p] < range.in_width);
        at[p] = row.at + column[p] * range.element_size;
    }
    let pair = load_pair(weight);
    //# values
    var w: array<vec4<f32>, TILE_QUADS>;
    w[0] = pair.a;
    w[1] = pair.b;
    //# unroll
    for (var q = 0u; q < TILE_QUADS; q++) {
        //# values
        var x: array<vec4<f32>, TILE_PIXELS>;
        //# unroll
        for (var p = 0u; p < TILE_PIXELS; p++) {
            x[p] = load(select(0u, at[p] + row.plane[q], inside[p]));
        }
        //# unroll
        for (var p = 0u; p < TILE_PIXELS; p++) {
            (*sums)[p * TILE_QUADS + q] += x[p] * w[q];
        }
    }
}

// Adds a range, whose weights begin at pair `first_weight`, to the sums of a tile; where its weights end.
fn add_range(sums: ptr<function, array<vec4<f32>, SUMS>>, tile: Tile, range: Range, first_weight: u32, lane: u32) -> u32 {
    let first = range.base + tile.image * range.image_size;
    let plane = min(vec2<u32>(tile.quad, tile.quad + 1u), vec2<u32>(range.planes - 1u)) * range.plane_size;
    var weight = first_weight;
    for (var ky = 0u; ky < range.window_y; ky++) {
        let in_y = tile.y * range.step_y + ky * range.dilation_y - range.pad_y;
        let row = Row(first + in_y * range.row_size, in_y < range.in_height, plane);
        if range.window_x == TAPS && range.step_x == 1u && range.dilation_x == 1u {
            add_taps(sums, range, row, tile.x - range.pad_x, weight);
            weight += TAPS;
        } else {
            for (var kx = 0u; kx < range.window_x; kx++) {
                let in_x = tile.x * range.step_x + kx * range.dilation_x - range.pad_x;
                add_tap(sums, range, row, in_x, weight);
                weight++;
            }
        }
    }
    return weight;
}
