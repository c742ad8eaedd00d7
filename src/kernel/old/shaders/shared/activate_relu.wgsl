// Activation of output channels 4 * quad .. 4 * quad + 3: all of them rectified.
fn activate(value: vec4<f32>, quad: u32) -> vec4<f32> {
    return max(value, vec4<f32>());
}
