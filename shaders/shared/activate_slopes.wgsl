// The activation of output quad `quad`: negative values times the slope of their channel. Identity is slope 1, ReLU slope 0.
fn activate(value: vec4<f32>, quad: u32) -> vec4<f32> {
    let slope = load_parameters(SLOPES + PARAMETER * min(quad, OUT_QUADS - 1u));
    return select(value * slope, value, value >= vec4<f32>());
}
