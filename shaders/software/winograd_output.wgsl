// Output transform A' m A and the epilogue: one tile of a quad of output channels per invocation. Columns and rows are shifted past a
// single load and a single store statement, which keeps compile time low.
@compute @workgroup_size(LANES)
fn transform_output(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
    @builtin(subgroup_invocation_id) lane: u32,
) {
    let sizes = sizes_of(lane);
    let own = group.x * LANES + local;
    let tile = tile_of(sizes, own);
    let quad = group.y;
    let inputs = sizes.tile_pixels + OVERLAP;
    // Columns of A' m.
    //# registers
    var place: array<vec4<f32>, TILE_PIXELS * TILE_INPUTS>;
    var at = sizes.sums + quad * sizes.tile_row + tile.index;
    for (var j = 0u; j < inputs; j++) {
        var m: array<vec4<f32>, TILE_INPUTS>;
        //# unroll
        for (var i = 0u; i < TILE_INPUTS; i++) {
            m[i] = quad_of(scratch[at + i * TILE_INPUTS * sizes.place_out]);
        }
        let last = output_transform(m);
        //# unroll
        for (var i = 0u; i < TILE_PIXELS; i++) {
            //# unroll
            for (var n = 1u; n < TILE_INPUTS; n++) {
                place[i * TILE_INPUTS + n - 1u] = place[i * TILE_INPUTS + n];
            }
            place[i * TILE_INPUTS + TILE_INPUTS - 1u] = last[i];
        }
        at += sizes.place_out;
    }
    let biases = load_pair(sizes.biases + quad / 2u);
    let bias = select(biases.a, biases.b, quad % 2u == 1u);
    if own >= sizes.tiles {
        return;
    }
    let tables = tables_of(sizes.outputs, sizes.adds, sizes.low, sizes.high, sizes.tile_pixels);
    let x = tile.x * sizes.tile_pixels;
    let pixels = min(sizes.tile_pixels, sizes.width - x);
    let rows = min(sizes.tile_pixels, sizes.height - tile.y * sizes.tile_pixels);
    for (var i = 0u; i < rows; i++) {
        var first: array<vec4<f32>, TILE_INPUTS>;
        //# unroll
        for (var j = 0u; j < TILE_INPUTS; j++) {
            first[j] = place[j];
        }
        let transformed = output_transform(first);
        var row: array<vec4<f32>, TILE_PIXELS>;
        //# unroll
        for (var j = 0u; j < TILE_PIXELS; j++) {
            row[j] = bias + transformed[j];
        }
        epilogue(&row, tables, tile.image, quad, tile.y * sizes.tile_pixels + i, x, pixels);
        //# unroll
        for (var n = TILE_INPUTS; n < TILE_PIXELS * TILE_INPUTS; n++) {
            place[n - TILE_INPUTS] = place[n];
        }
    }
}
