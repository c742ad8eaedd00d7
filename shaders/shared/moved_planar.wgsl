// Value that view 0, a channel range of the planar buffer in0, adds to output quad `quad`: channel V0_FIRST_CHANNEL + c is added to
// output channel V0_FIRST_OUT + c.
fn moved_v0(image: u32, quad: u32, pixel: u32) -> vec4<f32> {
    let channel = channels_of(quad);
    let first = vec4<u32>(V0_FIRST_OUT);
    let end = vec4<u32>(V0_FIRST_OUT + V0_CHANNELS);
    // Outside the range any element may be read; it is not used.
    let source = clamp(channel, first, end - 1u) - first + vec4<u32>(V0_FIRST_CHANNEL);
    let at = (image * V0_IMAGE + source) * V0_PLANE + pixel;
    let value = vec4<f32>(in0[at.x], in0[at.y], in0[at.z], in0[at.w]);
    return select(vec4<f32>(), value, (channel >= first) & (channel < end));
}
