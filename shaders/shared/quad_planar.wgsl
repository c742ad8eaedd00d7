// Quad `quad` of the channels of view 0, a channel range of the planar buffer in0, at element `pixel` of each plane. Lanes past the last
// channel are zero.
fn quad_v0(image: u32, quad: u32, pixel: u32) -> vec4<f32> {
    let first = (image * V0_IMAGE + V0_FIRST) * V0_PLANE + pixel;
    let channel = min(channels_of(quad), vec4<u32>(V0_CHANNELS - 1u)) * V0_PLANE + first;
    let value = vec4<f32>(in0[channel.x], in0[channel.y], in0[channel.z], in0[channel.w]);
    //# if
    if V0_CHANNELS % 4u == 0u {
        return value;
    } else {
        return select(vec4<f32>(), value, channels_of(quad) < vec4<u32>(V0_CHANNELS));
    }
}
