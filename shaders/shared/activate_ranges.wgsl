// The activation of output quad `quad`, where ranges of channels have different functions; channels outside all ranges stay unchanged.
fn activate(value: vec4<f32>, quad: u32) -> vec4<f32> {
    let channel = channels_of(quad);
    var result = value;
    //# for f in FUNCTIONS
    let own_f0 = (channel >= vec4<u32>(F0_FIRST)) & (channel < vec4<u32>(F0_END));
    result = select(result, function_f0(value), own_f0);
    //# end
    return result;
}
