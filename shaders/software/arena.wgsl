// The universal convolution: sizes come with the weights, so that one shader computes every convolution of a network.
// Before it: `quad_of`, `raw_of`, `pair_of`.
@group(0) @binding(0) var<storage, read_write> arena: array<vec2<u64>>;
@group(0) @binding(1) var<storage, read> weights: array<vec4<u64>>;

fn load_pair(index: u32) -> Pair {
    return pair_of(weights[index]);
}

fn load(index: u32) -> vec4<f32> {
    return quad_of(arena[index]);
}

fn store(index: u32, value: vec4<f32>) {
    arena[index] = raw_of(value);
}

// Where a quad of output channels is, in a buffer that holds some of them.
struct Part {
    covers: bool,
    at: u32,
    step: u32,
    // Lanes of the quad that are among them; the buffer may hold others beside.
    lanes: vec4<bool>,
}

// From a row of a table: first quad and the one past the last, first element, elements of an image, of a quad's plane, of a row,
// from pixel to pixel, channels.
fn part(row: vec4<u64>, image: u32, quad: u32, y: u32, x: u32) -> Part {
    let low = vec4<u32>(row);
    let high = vec4<u32>(row >> vec4<u32>(32u));
    let n = quad - low.x;
    let at = low.y + image * high.y + n * low.z + y * high.z + x * low.w;
    let lanes = vec4<u32>(4u * n) + vec4<u32>(0u, 1u, 2u, 3u) < vec4<u32>(high.w);
    return Part(quad >= low.x && quad < high.x, at, low.w, lanes);
}
