// The larger of two quads, lane by lane. NaN counts as the largest, so that it stays visible.
fn larger(a: vec4<f32>, b: vec4<f32>) -> vec4<f32> {
    return select(select(b, a, a > b), a, a != a);
}
