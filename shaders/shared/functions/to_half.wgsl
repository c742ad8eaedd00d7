// A quad in 16-bit floats, rounded here, since WGSL lets a driver truncate.
// The nearest value, of two the even one. What f16 does not hold becomes NaN, which nothing after it turns into a number.
fn to_half(value: vec4<f32>) -> vec2<u32> {
    let bits = bitcast<vec4<u32>>(value);
    let size = bits & vec4<u32>(0x7fffffffu);
    // The last of 13 bits that go rounds up from just above the half. Below 2^-14 fewer bits go: that is left to packing.
    let even = (bits + vec4<u32>(0xfffu) + ((bits >> vec4<u32>(13u)) & vec4<u32>(1u))) & vec4<u32>(0xffffe000u);
    let rounded = bitcast<vec4<f32>>(select(bits, even, size >= vec4<u32>(0x38800000u)));
    let raw = vec2<u32>(pack2x16float(rounded.xy), pack2x16float(rounded.zw));
    // From 65520 on the nearest value is none.
    let over = select(vec4<u32>(), vec4<u32>(0x7e00u, 0x7e000000u, 0x7e00u, 0x7e000000u), size >= vec4<u32>(0x477ff000u));
    return raw | (over.xz | over.yw);
}
