// Eight neighbours of a planar buffer: software Vulkan loads them as four 64-bit integers in the time of four floats.
// Before it: `planar`, the buffer.
struct Octet {
    a: vec4<f32>,
    b: vec4<f32>,
}

fn octet(index: u32) -> Octet {
    let raw = planar[index];
    let low = vec4<u32>(raw);
    let high = vec4<u32>(raw >> vec4<u32>(32u));
    let a = vec4<u32>(low.x, high.x, low.y, high.y);
    let b = vec4<u32>(low.z, high.z, low.w, high.w);
    return Octet(bitcast<vec4<f32>>(a), bitcast<vec4<f32>>(b));
}
