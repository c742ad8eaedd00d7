// Winograd F(2, 3) in one dimension: two outputs of a three-tap filter from four inputs, with four products. The matrices use the points
// 0, 1, -1 and infinity.
const_assert TILE_PIXELS == 2u;

// B' d.
fn input_transform(d: array<vec4<f32>, TILE_INPUTS>) -> array<vec4<f32>, TILE_INPUTS> {
    return array<vec4<f32>, TILE_INPUTS>(d[0] - d[2], d[1] + d[2], d[2] - d[1], d[1] - d[3]);
}

// A' m.
fn output_transform(m: array<vec4<f32>, TILE_INPUTS>) -> array<vec4<f32>, TILE_PIXELS> {
    return array<vec4<f32>, TILE_PIXELS>(m[0] + m[1] + m[2], m[1] - m[2] - m[3]);
}
