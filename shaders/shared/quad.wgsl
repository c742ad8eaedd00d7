// Quad `quad` of the channels of view 0, a channel range of the buffer in0, at element `pixel` of a plane. Lanes past the last
// channel are zero.
fn quad_v0(image: u32, quad: u32, pixel: u32) -> vec4<f32> {
    let value = load_in0((image * V0_IMAGE + V0_FIRST + quad) * V0_PLANE + pixel);
    //# if
    if V0_CHANNELS % 4u == 0u {
        return value;
    } else {
        return select(vec4<f32>(), value, channels_of(quad) < vec4<u32>(V0_CHANNELS));
    }
}
