// Activation of output channels 4 * quad .. 4 * quad + 3: those in RELU_RANGES (half-open) are rectified.
fn activate(value: vec4<f32>, quad: u32) -> vec4<f32> {
    let channel = vec4<u32>(4u * quad) + vec4<u32>(0u, 1u, 2u, 3u);
    var ranges = RELU_RANGES;
    var result = value;
    for (var i = 0u; i < RELU_RANGE_COUNT; i++) {
        let inside = (channel >= vec4<u32>(ranges[i].x)) & (channel < vec4<u32>(ranges[i].y));
        result = select(result, max(value, vec4<f32>()), inside);
    }
    return result;
}
