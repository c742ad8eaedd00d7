// A quad of f32 from 64-bit integers, which software Vulkan loads in half the steps of floats.
fn quad_of(raw: vec2<u64>) -> vec4<f32> {
    let low = vec2<u32>(raw);
    let high = vec2<u32>(raw >> vec2<u32>(32u));
    return bitcast<vec4<f32>>(vec4<u32>(low.x, high.x, low.y, high.y));
}
