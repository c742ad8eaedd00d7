// The activation of output quad `quad`: of all channels relu, or whichever function stands there.
fn activate(value: vec4<f32>, quad: u32) -> vec4<f32> {
    return relu(value);
}
