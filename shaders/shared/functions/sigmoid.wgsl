// Far below zero exp(-value) is infinite, and the result 0.
fn sigmoid(value: vec4<f32>) -> vec4<f32> {
    return 1.0 / (1.0 + exp(-value));
}
