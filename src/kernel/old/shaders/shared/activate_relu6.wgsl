// Activation of output channels 4 * quad .. 4 * quad + 3: all of them rectified and clipped at 6.
fn activate(value: vec4<f32>, quad: u32) -> vec4<f32> {
    return clamp(value, vec4<f32>(), vec4<f32>(6.0));
}
