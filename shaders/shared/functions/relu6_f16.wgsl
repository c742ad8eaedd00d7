// Keeps NaN, which marks an f16 overflow; `clamp` may drop it.
fn relu6(value: vec4<f32>) -> vec4<f32> {
    let rectified = select(value, vec4<f32>(), value < vec4<f32>());
    return select(rectified, vec4<f32>(6.0), value > vec4<f32>(6.0));
}
