// Value of add 0 for output quad `quad` at a pixel of the convolution.
fn added_a0(image: u32, quad: u32, y: u32, x: u32) -> vec4<f32> {
    // Pooling windows reach over the edge: clamp to the last row or column; values outside are not used.
    let own_y = select(y, min(y, CONV_HEIGHT - 1u), POOLED);
    let own_x = select(x, min(x, CONV_WIDTH - 1u), POOLED);
    let pixel = own_y * (A0_STEP * A0_BUFFER_WIDTH) + own_x * A0_STEP;
    //# if
    if A0_MOVED {
        return moved_a0(image, quad, pixel);
    } else if A0_GATED {
        return quad_a0(image, quad - A0_FIRST_QUAD, pixel) * quad_g0(image, quad - A0_FIRST_QUAD, 0u);
    } else {
        return quad_a0(image, quad - A0_FIRST_QUAD, pixel);
    }
}
