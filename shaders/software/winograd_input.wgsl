// Input transform B' d B: one tile of a quad of channels per invocation. Rows and columns are shifted past a single load and a single
// store statement, which keeps compile time low.
//
// A 1x1 summed into the same outputs is treated as the centre tap of a 3x3.

// A K range, from pair RANGES on.
struct Range {
    // First plane of transformed inputs.
    first_plane: u32,
    // First element of its view; elements of a plane and of an image of the buffer; planes that are read.
    base: u32,
    plane_size: u32,
    image_size: u32,
    planes: u32,
    // Elements from row to row of the view, and from column to column.
    row_size: u32,
    element_size: u32,
    in_height: u32,
    in_width: u32,
    pad_y: u32,
    pad_x: u32,
}

fn range_at(at: u32, lane: u32) -> Range {
    let w = words(at, lane);
    return Range(w.a.x, w.a.y, w.a.z, w.a.w, w.b.x, w.b.y, w.b.z, w.b.w, w.c.x, w.c.y, w.c.z);
}

@compute @workgroup_size(LANES)
fn transform_input(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
    @builtin(subgroup_invocation_id) lane: u32,
) {
    let sizes = sizes_of(lane);
    let own = group.x * LANES + local;
    let tile = tile_of(sizes, own);
    let range = range_at(RANGES + RANGE_SIZES * group.z, lane);
    if group.y >= range.planes {
        return;
    }
    let inputs = sizes.tile_pixels + OVERLAP;
    let first = range.base + tile.image * range.image_size + group.y * range.plane_size;
    let first_y = tile.y * sizes.tile_pixels - range.pad_y;
    let first_x = tile.x * sizes.tile_pixels - range.pad_x;
    // Rows of d B.
    //# registers
    var place: array<vec4<f32>, TILE_INPUTS * TILE_INPUTS>;
    for (var i = 0u; i < inputs; i++) {
        let in_y = first_y + i;
        let row = first + in_y * range.row_size;
        let row_inside = in_y < range.in_height;
        var d: array<vec4<f32>, TILE_INPUTS>;
        //# unroll
        for (var j = 0u; j < TILE_INPUTS; j++) {
            let in_x = first_x + j;
            d[j] = load(select(0u, row + in_x * range.element_size, row_inside & (in_x < range.in_width)));
        }
        let last = input_transform(d);
        //# unroll
        for (var n = TILE_INPUTS; n < TILE_INPUTS * TILE_INPUTS; n++) {
            place[n - TILE_INPUTS] = place[n];
        }
        //# unroll
        for (var j = 0u; j < TILE_INPUTS; j++) {
            place[(TILE_INPUTS - 1u) * TILE_INPUTS + j] = last[j];
        }
    }
    var to = (range.first_plane + group.y) * sizes.tile_row + own;
    for (var j = 0u; j < inputs; j++) {
        var column: array<vec4<f32>, TILE_INPUTS>;
        //# unroll
        for (var i = 0u; i < TILE_INPUTS; i++) {
            column[i] = place[i * TILE_INPUTS];
        }
        let transformed = input_transform(column);
        //# unroll
        for (var i = 0u; i < TILE_INPUTS; i++) {
            scratch[to + i * TILE_INPUTS * sizes.place_in] = raw_of(transformed[i]);
        }
        to += sizes.place_in;
        //# unroll
        for (var i = 0u; i < TILE_INPUTS; i++) {
            //# unroll
            for (var n = 1u; n < TILE_INPUTS; n++) {
                place[i * TILE_INPUTS + n - 1u] = place[i * TILE_INPUTS + n];
            }
        }
    }
}
