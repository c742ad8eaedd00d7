// Channel `channel` of the buffer in0, at element `pixel` of a plane: for K range 0, whose groups do not fit quads.
fn channel_r0(image: u32, channel: u32, pixel: u32) -> f32 {
    return load_in0((image * R0_IMAGE + channel / R0_LANES) * R0_PLANE + pixel)[channel % R0_LANES];
}
