// Stores a quad of output 0, which is planar.
fn store_quad_o0(value: vec4<f32>, image: u32, quad: u32, pixel: u32) {
    let at = (image * O0_IMAGE + O0_FIRST + 4u * quad) * O0_PLANE + pixel;
    //# unroll
    for (var c = 0u; c < 4u; c++) {
        //# unless O0_CHANNELS % 4u == 0u
        if 4u * quad + c < O0_CHANNELS {
            out0[at + c * O0_PLANE] = value[c];
        }
    }
}
