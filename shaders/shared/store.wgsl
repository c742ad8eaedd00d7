// Stores output quad `quad` at a pixel, in the output buffer that contains the quad.
fn store(value: vec4<f32>, image: u32, quad: u32, y: u32, x: u32) {
    //# for o in OUTPUTS
    //# unless OUTPUTS == 1u
    if quad >= O0_FIRST_QUAD && quad < O0_END_QUAD {
        store_quad_o0(value, image, quad - O0_FIRST_QUAD, y * O0_WIDTH + x);
    }
    //# end
}
