// NaN stays NaN, which `max` may drop: it marks what f16 did not hold.
fn relu(value: vec4<f32>) -> vec4<f32> {
    return select(value, vec4<f32>(), value < vec4<f32>());
}
