// The larger of two quads, lane by lane.
fn larger(a: vec4<f32>, b: vec4<f32>) -> vec4<f32> {
    return max(a, b);
}
