fn relu6(value: vec4<f32>) -> vec4<f32> {
    return clamp(value, vec4<f32>(), vec4<f32>(6.0));
}
