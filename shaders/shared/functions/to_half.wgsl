// Converts a quad to 16-bit floats, rounding to nearest even explicitly, since WGSL lets a driver truncate. Values out of range become
// NaN, which later operations keep.
fn to_half(value: vec4<f32>) -> vec2<u32> {
    let bits = bitcast<vec4<u32>>(value);
    let size = bits & vec4<u32>(0x7fffffffu);
    // Round away the low 13 bits, to nearest even. Below 2^-14 fewer bits are dropped: left to pack2x16float.
    let even = (bits + vec4<u32>(0xfffu) + ((bits >> vec4<u32>(13u)) & vec4<u32>(1u))) & vec4<u32>(0xffffe000u);
    let rounded = bitcast<vec4<f32>>(select(bits, even, size >= vec4<u32>(0x38800000u)));
    let raw = vec2<u32>(pack2x16float(rounded.xy), pack2x16float(rounded.zw));
    // From 65520 on the value is out of range.
    let over = select(vec4<u32>(), vec4<u32>(0x7e00u, 0x7e000000u, 0x7e00u, 0x7e000000u), size >= vec4<u32>(0x477ff000u));
    return raw | (over.xz | over.yw);
}
