fn function_f0(value: vec4<f32>) -> vec4<f32> {
    return relu(value);
}
