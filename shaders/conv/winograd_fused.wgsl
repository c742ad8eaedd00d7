// Winograd F(2x2, 3x3) in one shader, for discrete cards: 16 products per 2x2 tile of outputs instead of 36.
// src/kernel/winograd/transform.rs has the matrices of out = A' [(G g G') .* (B' d B)] A, and the rounding bound.
//
// A 3x3 convolution of stride 1 is computed as PLACES GEMMs, one per place (element) of the transformed 4x4 tile, each of [tiles of all
// images] x [output channels] over the input channels. A workgroup computes all places of GROUP_TILES tiles x GROUP_QUADS quads of output
// channels; per place LANES_X x LANES_Y invocations have OWN_TILES tiles x OWN_QUADS quads each. A step is one quad of input channels:
// every invocation transforms and stages its share of the inputs, and stages its share of the weights, which are packed as G g G'.

// Outputs and inputs of a tile per dimension.
const OUT_SIDE = 2u;
const IN_SIDE = 4u;
const PLACES = IN_SIDE * IN_SIDE;
const LANES_X = 4u;
const LANES_Y = 4u;
const LANES = LANES_X * LANES_Y;
const WORKGROUP = PLACES * LANES;
const OWN_TILES = GROUP_TILES / LANES_X;
const OWN_QUADS = GROUP_QUADS / LANES_Y;
const IN_QUADS = (R0_CHANNELS + 3u) / 4u;
// Quads staged per step, and the share of one invocation.
const STAGED_INPUTS = PLACES * GROUP_TILES;
const STAGED_WEIGHTS = PLACES * 4u * GROUP_QUADS;
const OWN_INPUTS = STAGED_INPUTS / WORKGROUP;
const OWN_WEIGHTS = STAGED_WEIGHTS / WORKGROUP;
// The sums of a tile are spread over PLACES invocations and exchanged through workgroup memory, as many tiles and quads at a time as give
// every invocation one output pixel of a quad.
const EXCHANGED_QUADS = LANES_Y;
const EXCHANGED_TILES = WORKGROUP / (EXCHANGED_QUADS * OUT_SIDE * OUT_SIDE);
const EXCHANGED = EXCHANGED_TILES * EXCHANGED_QUADS;
const OWN_EXCHANGED = EXCHANGED_TILES / LANES_X;

// Inputs and weights of one step; later sums of every place.
var<workgroup> staged: array<vec4<f32>, max(STAGED_INPUTS + STAGED_WEIGHTS, PLACES * EXCHANGED)>;

// Column, row and image of a tile.
fn tile_position(tile: u32) -> vec3<u32> {
    let row = tile / TILES_ACROSS;
    return vec3<u32>(tile % TILES_ACROSS, row % TILES_DOWN, row / TILES_DOWN);
}

// A quad of the view's plane `plane`, which begins at `base`; zero outside.
fn input(base: u32, plane: u32, y: u32, x: u32) -> vec4<f32> {
    let row = row_r0(y);
    let column = column_r0(x);
    let value = load_r0(base + row + column, row, column, prologue_r0(plane));
    return select(vec4<f32>(), value, inside_r0(y, x));
}

// Row i of B' is d0 - d2, d1 + d2, d2 - d1 or d1 - d3: `pair` gives the two indices, `sign_of` the sign of the second.
fn pair(i: u32) -> vec2<u32> {
    return vec2<u32>(select(i, 1u, i == 3u), select(2u, select(1u, 3u, i == 3u), i >= 2u));
}

fn sign_of(i: u32) -> f32 {
    return select(-1.0, 1.0, i == 1u);
}

// One place of B' d B, of the plane that begins at `base` and the tile whose first element is at `corner`.
fn transformed(base: u32, plane: u32, corner: vec2<u32>, place: u32) -> vec4<f32> {
    let y = vec2<u32>(corner.y) + pair(place / IN_SIDE);
    let x = vec2<u32>(corner.x) + pair(place % IN_SIDE);
    let sign_x = sign_of(place % IN_SIDE);
    let upper = input(base, plane, y.x, x.x) + sign_x * input(base, plane, y.x, x.y);
    let lower = input(base, plane, y.y, x.x) + sign_x * input(base, plane, y.y, x.y);
    return upper + sign_of(place / IN_SIDE) * lower;
}

// Row i of A'.
fn row_of(i: u32) -> vec4<f32> {
    return select(vec4<f32>(1.0, 1.0, 1.0, 0.0), vec4<f32>(0.0, 1.0, -1.0, -1.0), i == 1u);
}

// Stores A' m A of EXCHANGED_TILES tiles x EXCHANGED_QUADS quads whose sums m are staged, one pixel of a quad per invocation.
fn store_pixels(local: u32, first_tile: u32, first_quad: u32, first_bias: u32) {
    // Neighbouring invocations have neighbouring pixels of a row.
    let own_tile = local / OUT_SIDE % EXCHANGED_TILES;
    let own_quad = local / (OUT_SIDE * OUT_SIDE * EXCHANGED_TILES);
    let tile = first_tile + own_tile;
    let quad = first_quad + own_quad;
    let at = tile_position(tile);
    let own_x = local % OUT_SIDE;
    let own_y = local / (OUT_SIDE * EXCHANGED_TILES) % OUT_SIDE;
    let x = OUT_SIDE * at.x + own_x;
    let y = OUT_SIDE * at.y + own_y;
    if (tile < TILES) & (quad < OUT_QUADS) & (y < CONV_HEIGHT) & (x < CONV_WIDTH) {
        let row = row_of(own_y);
        let column = row_of(own_x);
        let first = own_quad * EXCHANGED_TILES + own_tile;
        var sum = vec4<f32>();
        //# unroll
        for (var i = 0u; i < IN_SIDE; i++) {
            let row_at = first + i * IN_SIDE * EXCHANGED;
            let left = column.x * staged[row_at] + column.y * staged[row_at + EXCHANGED];
            sum += row[i] * (left + column.z * staged[row_at + 2u * EXCHANGED] + column.w * staged[row_at + 3u * EXCHANGED]);
        }
        sum += load_parameters(first_bias + PARAMETER * own_quad);
        store(epilogue(sum, at.z, quad, y, x), at.z, quad, y, x);
    }
}

@compute @workgroup_size(WORKGROUP)
fn conv2d(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) local: u32) {
    let place = local / LANES;
    let across = local % LANES_X;
    let down = local / LANES_X % LANES_Y;
    let first_tile = (group.x + group.z * GRID_X) * GROUP_TILES;
    let first_quad = group.y * GROUP_QUADS;
    let first_weight = group.y * GROUP_WEIGHTS;
    let staging = tile_position(min(first_tile + local % GROUP_TILES, TILES - 1u));
    let staged_place = local / GROUP_TILES;
    let corner = OUT_SIDE * staging.xy - vec2<u32>(R0_PAD_X, R0_PAD_Y);
    var base = (staging.z * R0_IMAGE + R0_FIRST) * R0_PLANE;
    var weight = first_weight + PARAMETER * GROUP_QUADS + local;
    //# registers
    var sums: array<vec4<f32>, OWN_TILES * OWN_QUADS>;
    //# registers
    var inputs: array<vec4<f32>, OWN_INPUTS>;
    //# registers
    var weights_of: array<vec4<f32>, OWN_WEIGHTS>;
    // Prefetch: each step is loaded while the previous one is multiplied.
    //# unroll
    for (var i = 0u; i < OWN_INPUTS; i++) {
        inputs[i] = transformed(base, 0u, corner, staged_place + i * WORKGROUP / GROUP_TILES);
    }
    //# unroll
    for (var i = 0u; i < OWN_WEIGHTS; i++) {
        weights_of[i] = load_weights(weight + i * WORKGROUP);
    }
    for (var plane = 0u; plane < IN_QUADS; plane++) {
        // Single buffer: wait until all have read the previous step.
        workgroupBarrier();
        //# unroll
        for (var i = 0u; i < OWN_INPUTS; i++) {
            staged[local + i * WORKGROUP] = inputs[i];
        }
        //# unroll
        for (var i = 0u; i < OWN_WEIGHTS; i++) {
            staged[STAGED_INPUTS + local + i * WORKGROUP] = weights_of[i];
        }
        workgroupBarrier();
        if plane + 1u < IN_QUADS {
            base += R0_PLANE;
            weight += STAGED_WEIGHTS;
            //# unroll
            for (var i = 0u; i < OWN_INPUTS; i++) {
                inputs[i] = transformed(base, plane + 1u, corner, staged_place + i * WORKGROUP / GROUP_TILES);
            }
            //# unroll
            for (var i = 0u; i < OWN_WEIGHTS; i++) {
                weights_of[i] = load_weights(weight + i * WORKGROUP);
            }
        }
        //# values
        var x: array<vec4<f32>, OWN_TILES>;
        //# unroll
        for (var p = 0u; p < OWN_TILES; p++) {
            x[p] = staged[place * GROUP_TILES + across + p * LANES_X];
        }
        //# unroll
        for (var c = 0u; c < 4u; c++) {
            //# values
            var w: array<vec4<f32>, OWN_QUADS>;
            //# unroll
            for (var q = 0u; q < OWN_QUADS; q++) {
                w[q] = staged[STAGED_INPUTS + (place * 4u + c) * GROUP_QUADS + down + q * LANES_Y];
            }
            //# unroll
            for (var p = 0u; p < OWN_TILES; p++) {
                //# unroll
                for (var q = 0u; q < OWN_QUADS; q++) {
                    sums[p * OWN_QUADS + q] += x[p][c] * w[q];
                }
            }
        }
    }
    //# unroll
    for (var h = 0u; h < OWN_TILES / OWN_EXCHANGED; h++) {
        //# unroll
        for (var q = 0u; q < OWN_QUADS; q++) {
            workgroupBarrier();
            let at = (place * EXCHANGED_QUADS + down) * EXCHANGED_TILES + across;
            //# unroll
            for (var p = 0u; p < OWN_EXCHANGED; p++) {
                staged[at + p * LANES_X] = sums[(h * OWN_EXCHANGED + p) * OWN_QUADS + q];
            }
            workgroupBarrier();
            let bias = first_weight + PARAMETER * (q * EXCHANGED_QUADS);
            store_pixels(local, first_tile + h * EXCHANGED_TILES, first_quad + q * EXCHANGED_QUADS, bias);
        }
    }
}
