// NaN stays NaN, which `clamp` may drop: it marks what f16 did not hold.
fn relu6(value: vec4<f32>) -> vec4<f32> {
    let rectified = select(value, vec4<f32>(), value < vec4<f32>());
    return select(rectified, vec4<f32>(6.0), value > vec4<f32>(6.0));
}
