// What is added to output quad `quad` by view 0, a channel range of the buffer in0 that does not begin with a quad, or does not meet
// one: output channel V0_FIRST_OUT + c gets channel V0_FIRST_CHANNEL + c.
fn moved_v0(image: u32, quad: u32, pixel: u32) -> vec4<f32> {
    let channel = channels_of(quad);
    let first = vec4<u32>(V0_FIRST_OUT);
    let end = vec4<u32>(V0_FIRST_OUT + V0_CHANNELS);
    // Outside the range any element will do: it is not taken.
    let found = clamp(channel, first, end - 1u) - first + vec4<u32>(V0_FIRST_CHANNEL);
    // Four neighbours lie in two quads.
    let low = load_in0((image * V0_IMAGE + found.x / 4u) * V0_PLANE + pixel);
    let high = load_in0((image * V0_IMAGE + found.w / 4u) * V0_PLANE + pixel);
    var value: vec4<f32>;
    //# unroll
    for (var c = 0u; c < 4u; c++) {
        value[c] = select(high, low, found[c] / 4u == found.x / 4u)[found[c] % 4u];
    }
    return select(vec4<f32>(), value, (channel >= first) & (channel < end));
}
