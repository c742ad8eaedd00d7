// Stores a quad of output 0. Lanes past the last channel of the dispatch are set to zero.
fn store_quad_o0(value: vec4<f32>, image: u32, quad: u32, pixel: u32) {
    let at = (image * O0_IMAGE + O0_FIRST + quad) * O0_PLANE + pixel;
    //# if
    if OUT_CHANNELS % 4u == 0u {
        store_out0(at, value);
    } else {
        let own = channels_of(quad + O0_FIRST_QUAD) < vec4<u32>(OUT_CHANNELS);
        store_out0(at, select(vec4<f32>(), value, own));
    }
}
