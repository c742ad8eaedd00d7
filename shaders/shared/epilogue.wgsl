// The epilogue of output quad `quad` at a pixel of the convolution: activation(sum + adds).
fn epilogue(sum: vec4<f32>, image: u32, quad: u32, y: u32, x: u32) -> vec4<f32> {
    var value = sum;
    //# for a in ADDS
    //# unless A0_ALL_QUADS
    if quad >= A0_FIRST_QUAD && quad < A0_END_QUAD {
        value += added_a0(image, quad, y, x);
    }
    //# end
    return activate(value, quad);
}
