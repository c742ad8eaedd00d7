// The convolution of software Vulkan: one shader for any shape, with the sizes in a header in front of the weights.
//
// An invocation computes TILE_PIXELS neighbouring pixels of a row x TILE_QUADS quads of output channels. The tile size is limited by
// compile time: llvmpipe takes 0.2 to 0.5 s for an unrolled tile. Constant sizes would not make a 3x3 faster: the products dominate. With
// few input channels, storing takes as long as multiplying.
//
// `add_range` adds a K range, in dense.wgsl and depthwise.wgsl.
const SUMS = TILE_PIXELS * TILE_QUADS;

// Header in front of the weights.
struct Sizes {
    // Tiles of pixels, of all images; of a row.
    invocations: u32,
    tiles_across: u32,
    // Of the convolution's result.
    height: u32,
    width: u32,
    out_quads: u32,
    // Offset of the weights of the first tile of output channels, and the distance between tiles, in pairs.
    first_block: u32,
    block: u32,
    // K ranges.
    ranges: u32,
    outputs: u32,
    adds: u32,
    // Bounds of the activation, as bits of f32.
    low: u32,
    high: u32,
    // Workgroups in x.
    grid_x: u32,
    tile_pixels: u32,
}

fn sizes_of(lane: u32) -> Sizes {
    let w = words(0u, lane);
    return Sizes(w.a.x, w.a.y, w.a.z, w.a.w, w.b.x, w.b.y, w.b.z, w.b.w, w.c.x, w.c.y, w.c.z, w.c.w, w.d.x, w.d.y);
}

// Header in front of the weights of a K range.
struct Range {
    // First element of its view; elements of a plane and of an image of the buffer; planes that are read.
    base: u32,
    plane_size: u32,
    image_size: u32,
    planes: u32,
    window_y: u32,
    window_x: u32,
    // Elements from row to row of the view, and from column to column.
    row_size: u32,
    element_size: u32,
    in_height: u32,
    in_width: u32,
    pad_y: u32,
    pad_x: u32,
    step_y: u32,
    step_x: u32,
    dilation_y: u32,
    dilation_x: u32,
}

fn range_at(at: u32, lane: u32) -> Range {
    let w = words(at, lane);
    return Range(
        w.a.x, w.a.y, w.a.z, w.a.w, w.b.x, w.b.y, w.b.z, w.b.w, w.c.x, w.c.y, w.c.z, w.c.w, w.d.x, w.d.y, w.d.z, w.d.w
    );
}

// Position of an invocation's tile: its first pixel and first quad.
struct Tile {
    image: u32,
    y: u32,
    x: u32,
    quad: u32,
}

@compute @workgroup_size(LANES)
fn conv2d(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
    @builtin(subgroup_invocation_id) lane: u32,
) {
    let sizes = sizes_of(lane);
    let invocation = (group.x + group.z * sizes.grid_x) * LANES + local;
    // Idle invocations still take part in loading weights.
    let index = min(invocation, sizes.invocations - 1u);
    let tile = Tile(
        index / (sizes.tiles_across * sizes.height),
        index / sizes.tiles_across % sizes.height,
        index % sizes.tiles_across * TILE_PIXELS,
        group.y * TILE_QUADS,
    );
    var weight = sizes.first_block + group.y * sizes.block;
    //# values
    var bias: array<Pair, TILE_QUADS / 2u>;
    //# unroll
    for (var q = 0u; q < TILE_QUADS / 2u; q++) {
        bias[q] = load_pair(weight + q);
    }
    var sums: array<vec4<f32>, SUMS>;
    //# unroll
    for (var p = 0u; p < TILE_PIXELS; p++) {
        //# unroll
        for (var q = 0u; q < TILE_QUADS / 2u; q++) {
            sums[p * TILE_QUADS + 2u * q] = bias[q].a;
            sums[p * TILE_QUADS + 2u * q + 1u] = bias[q].b;
        }
    }
    weight += TILE_QUADS / 2u;
    for (var r = 0u; r < sizes.ranges; r++) {
        let range = range_at(weight, lane);
        weight = add_range(&sums, tile, range, weight + RANGE_SIZES, lane);
    }
    if invocation >= sizes.invocations {
        return;
    }
    let tables = tables_of(sizes.outputs, sizes.adds, sizes.low, sizes.high, sizes.tile_pixels);
    let pixels = min(sizes.tile_pixels, sizes.width - tile.x);
    let quads = min(TILE_QUADS, sizes.out_quads - tile.quad);
    // One quad at a time; the others are shifted down.
    for (var q = 0u; q < quads; q++) {
        var row: array<vec4<f32>, TILE_PIXELS>;
        //# unroll
        for (var p = 0u; p < TILE_PIXELS; p++) {
            row[p] = sums[p * TILE_QUADS];
        }
        epilogue(&row, tables, tile.image, tile.quad + q, tile.y, tile.x, pixels);
        //# unroll
        for (var p = 0u; p < TILE_PIXELS; p++) {
            //# unroll
            for (var i = 1u; i < TILE_QUADS; i++) {
                sums[p * TILE_QUADS + i - 1u] = sums[p * TILE_QUADS + i];
            }
        }
    }
}
