fn relu(value: vec4<f32>) -> vec4<f32> {
    return max(value, vec4<f32>());
}
