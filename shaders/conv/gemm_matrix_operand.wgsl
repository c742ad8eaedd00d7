// Element `at` of the buffer in0 of K range 0, as f16: matrix units multiply f16, so the conversions of load_r0 would be wasted. The
// ranges of these kernels have no prologue and no average pooling, so an element of the view is an element of the buffer.
fn stored_r0(at: u32) -> vec4<f16> {
    return in0[at];
}
