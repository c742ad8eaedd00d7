// Value that view 0 adds to output quad `quad`. The view is a channel range of the buffer in0 that is not aligned with quads of the
// buffer or of the output: channel V0_FIRST_CHANNEL + c is added to output channel V0_FIRST_OUT + c.
fn moved_v0(image: u32, quad: u32, pixel: u32) -> vec4<f32> {
    let channel = channels_of(quad);
    let first = vec4<u32>(V0_FIRST_OUT);
    let end = vec4<u32>(V0_FIRST_OUT + V0_CHANNELS);
    // Outside the range any element may be read; it is not used.
    let source = clamp(channel, first, end - 1u) - first + vec4<u32>(V0_FIRST_CHANNEL);
    // Four consecutive channels lie in at most two quads.
    let low = load_in0((image * V0_IMAGE + source.x / 4u) * V0_PLANE + pixel);
    let high = load_in0((image * V0_IMAGE + source.w / 4u) * V0_PLANE + pixel);
    var value: vec4<f32>;
    //# unroll
    for (var c = 0u; c < 4u; c++) {
        value[c] = select(high, low, source[c] / 4u == source.x / 4u)[source[c] % 4u];
    }
    return select(vec4<f32>(), value, (channel >= first) & (channel < end));
}
