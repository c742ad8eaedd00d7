// Quads of f32 as 64-bit integers, which software Vulkan loads and stores in half the steps of floats.
fn quad_of(raw: vec2<u64>) -> vec4<f32> {
    let low = vec2<u32>(raw);
    let high = vec2<u32>(raw >> vec2<u32>(32u));
    return bitcast<vec4<f32>>(vec4<u32>(low.x, high.x, low.y, high.y));
}

fn raw_of(quad: vec4<f32>) -> vec2<u64> {
    let bits = bitcast<vec4<u32>>(quad);
    return vec2<u64>(bits.xz) | (vec2<u64>(bits.yw) << vec2<u32>(32u));
}

struct Pair {
    a: vec4<f32>,
    b: vec4<f32>,
}

fn pair_of(raw: vec4<u64>) -> Pair {
    return Pair(quad_of(raw.xy), quad_of(raw.zw));
}
