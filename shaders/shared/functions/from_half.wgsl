// Converts a quad of 16-bit floats to f32.
fn from_half(raw: vec2<u32>) -> vec4<f32> {
    return vec4<f32>(unpack2x16float(raw.x), unpack2x16float(raw.y));
}
