// The element of K range 0 at element `at` of the buffer in0, as f16. Matrix units multiply f16: load_r0 would convert it to f32, only
// to be converted back. Ranges of these kernels have no prologue and no mean, so that an element is what the buffer holds in row
// row_r0(y) and column column_r0(x) of a plane.
fn stored_r0(at: u32) -> vec4<f16> {
    return in0[at];
}
