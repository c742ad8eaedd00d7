// Activation of output channels 4 * quad .. 4 * quad + 3: 1 / (1 + exp(-x)). exp overflows to infinity and the result is 0.
fn activate(value: vec4<f32>, quad: u32) -> vec4<f32> {
    return 1.0 / (1.0 + exp(-value));
}
