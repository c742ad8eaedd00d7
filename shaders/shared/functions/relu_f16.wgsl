// Keeps NaN, which marks an f16 overflow; `max` may drop it.
fn relu(value: vec4<f32>) -> vec4<f32> {
    return select(value, vec4<f32>(), value < vec4<f32>());
}
