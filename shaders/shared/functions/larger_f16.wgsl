// The larger of two quads, lane by lane; NaN is, so that it is seen.
fn larger(a: vec4<f32>, b: vec4<f32>) -> vec4<f32> {
    return select(select(b, a, a > b), a, a != a);
}
