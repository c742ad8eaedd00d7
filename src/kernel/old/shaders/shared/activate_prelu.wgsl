// Activation of output channels 4 * quad .. 4 * quad + 3: negative values times the slope of their channel.
// Before it: SLOPES, the element of the weights where the slopes begin, OUT_QUADS, PARAMETER and `load_parameters(element)`.
fn activate(value: vec4<f32>, quad: u32) -> vec4<f32> {
    let slope = load_parameters(SLOPES + PARAMETER * min(quad, OUT_QUADS - 1u));
    return select(value * slope, value, value >= vec4<f32>());
}
