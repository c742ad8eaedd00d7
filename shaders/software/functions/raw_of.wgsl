// A quad of f32 as 64-bit integers.
fn raw_of(quad: vec4<f32>) -> vec2<u64> {
    let bits = bitcast<vec4<u32>>(quad);
    return vec2<u64>(bits.xz) | (vec2<u64>(bits.yw) << vec2<u32>(32u));
}
