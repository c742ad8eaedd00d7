// The bindings of all convolutions on software Vulkan: the arena, of which the buffers of a network are ranges, and the weights, with the
// sizes of a convolution in a header. Shaders therefore depend on neither buffers nor sizes, and one shader computes every convolution of
// a network. Software drivers compile at the first dispatch, one shader at a time, and take longer to compile a shader than to run it.
//
// llvmpipe compiles every load to a loop over lanes, 32 or 64 bits at a time, so quads are loaded as 64-bit integers. Loads take half the
// time of a convolution, whether cached or not.
@group(0) @binding(0) var<storage, read_write> arena: array<vec2<u64>>;
@group(0) @binding(1) var<storage, read> weights: array<vec4<u64>>;

// Quad `index` of the arena. Quad 0 is zero and is read in place of elements outside a window.
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

// The words of pairs `at` and `at + 1`. Two lanes load one pair each and share them: a load costs more than a shuffle by a constant.
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
