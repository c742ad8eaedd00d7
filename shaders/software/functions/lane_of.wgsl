// Lane n of two quads, as the first of one.
fn lane_of(pair: Pair, n: u32) -> vec4<f32> {
    return vec4<f32>(select(pair.a, pair.b, n >= 4u)[n % 4u], 0.0, 0.0, 0.0);
}
