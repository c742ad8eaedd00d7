// Declarations shared by the Winograd transforms on software Vulkan. Between them runs conv.wgsl, as a 1x1 convolution over tiles in
// which every place (element) of a transformed tile is a group of channels.
//
// A tile has TILE_PIXELS x TILE_PIXELS outputs. An invocation transforms a tile of one quad of channels. The scratch buffer holds
// transformed inputs, [place][plane][tile], then sums, [place][quad of outputs][tile].
@group(0) @binding(2) var<storage, read_write> scratch: array<vec2<u64>>;

// Inputs of a tile per dimension: a three-tap window reaches two past the outputs.
const OVERLAP = 2u;
const TILE_INPUTS = TILE_PIXELS + OVERLAP;

// Header, from pair SIZES of the weights on.
struct Sizes {
    // Tiles of all images; of a row and a column of one.
    tiles: u32,
    tiles_across: u32,
    tiles_down: u32,
    // Tiles of all images, padded to whole workgroups: quads per plane of the scratch buffer.
    tile_row: u32,
    // Quads per place of inputs and of sums, and the offset of the sums.
    place_in: u32,
    place_out: u32,
    sums: u32,
    // Of the convolution's result.
    height: u32,
    width: u32,
    // Offset of the biases, in pairs.
    biases: u32,
    outputs: u32,
    adds: u32,
    // Bounds of the activation, as bits of f32.
    low: u32,
    high: u32,
    // TILE_PIXELS as a variable, so that drivers do not unroll the loops.
    tile_pixels: u32,
}

fn sizes_of(lane: u32) -> Sizes {
    let w = words(SIZES, lane);
    return Sizes(w.a.x, w.a.y, w.a.z, w.a.w, w.b.x, w.b.y, w.b.z, w.b.w, w.c.x, w.c.y, w.c.z, w.c.w, w.d.x, w.d.y, w.d.z);
}

// Index of a tile among all, and its column, row (counted in tiles) and image.
struct Tile {
    index: u32,
    x: u32,
    y: u32,
    image: u32,
}

// Idle lanes repeat the last tile.
fn tile_of(sizes: Sizes, own: u32) -> Tile {
    let index = min(own, sizes.tiles - 1u);
    let row = index / sizes.tiles_across;
    return Tile(index, index % sizes.tiles_across, row % sizes.tiles_down, index / (sizes.tiles_across * sizes.tiles_down));
}
