// What all convolutions on software Vulkan bind: the arena, of which the buffers of a network are ranges, and the weights, with the
// sizes of a convolution in front of them. So a shader names neither a buffer nor a size, and computes every convolution of a network:
// there a driver compiles at the first dispatch, one shader at a time, and takes longer to compile a shader than to run it.
//
// llvmpipe makes every load a loop over lanes, of 32 bits at a time or of 64: quads are loaded as 64-bit integers. Half the time of a
// convolution goes to loads, whatever they load from.
@group(0) @binding(0) var<storage, read_write> arena: array<vec2<u64>>;
@group(0) @binding(1) var<storage, read> weights: array<vec4<u64>>;

// Quad `index` of the arena. The first is zero: what lies outside a window is read there.
fn load(index: u32) -> vec4<f32> {
    return quad_of(arena[index]);
}

fn store(index: u32, value: vec4<f32>) {
    arena[index] = raw_of(value);
}

// Pair `index` of quads of the weights.
fn load_pair(index: u32) -> Pair {
    return pair_of(weights[index]);
}

// Two pairs of the weights as 32-bit words, in their order.
struct Words {
    a: vec4<u32>,
    b: vec4<u32>,
    c: vec4<u32>,
    d: vec4<u32>,
}

// The words of pair `at` and of the one behind it. Two lanes load one each, for all: a load costs more than a shuffle by a constant.
fn words(at: u32, lane: u32) -> Words {
    let pair = weights[at + (lane & 1u)];
    let even = vec4<u32>(pair);
    let odd = vec4<u32>(pair >> vec4<u32>(32u));
    let even_0 = subgroupShuffle(even, 0u);
    let odd_0 = subgroupShuffle(odd, 0u);
    let even_1 = subgroupShuffle(even, 1u);
    let odd_1 = subgroupShuffle(odd, 1u);
    return Words(
        vec4<u32>(even_0.x, odd_0.x, even_0.y, odd_0.y),
        vec4<u32>(even_0.z, odd_0.z, even_0.w, odd_0.w),
        vec4<u32>(even_1.x, odd_1.x, even_1.y, odd_1.y),
        vec4<u32>(even_1.z, odd_1.z, even_1.w, odd_1.w),
    );
}
