// Winograd F(4, 3) in one dimension: four outputs of a three-tap filter from six inputs, with six products. The matrices use the points
// 0, +-1/sqrt(2), +-sqrt(2) and infinity: with +-1 and +-2 the rounding error would be three times as large.
const_assert TILE_PIXELS == 4u;
const SQRT_HALF = 0.7071067811865476;
const SQRT_TWO = 1.4142135623730951;

// B' d. Rows of the inner points +-1/sqrt(2) differ in the sign of their odd half, and so do those of the outer points +-sqrt(2).
fn input_transform(d: array<vec4<f32>, TILE_INPUTS>) -> array<vec4<f32>, TILE_INPUTS> {
    var row: array<vec4<f32>, TILE_INPUTS>;
    row[0] = d[0] - 2.5 * d[2] + d[4];
    let inner = d[4] - 2.0 * d[2];
    let inner_odd = SQRT_HALF * d[3] - SQRT_TWO * d[1];
    row[1] = inner + inner_odd;
    row[2] = inner - inner_odd;
    let outer = d[4] - 0.5 * d[2];
    let outer_odd = SQRT_TWO * d[3] - SQRT_HALF * d[1];
    row[3] = outer + outer_odd;
    row[4] = outer - outer_odd;
    row[5] = d[1] - 2.5 * d[3] + d[5];
    return row;
}

// A' m.
fn output_transform(m: array<vec4<f32>, TILE_INPUTS>) -> array<vec4<f32>, TILE_PIXELS> {
    let inner = m[1] + m[2];
    let inner_odd = m[1] - m[2];
    let outer = m[3] + m[4];
    let outer_odd = m[3] - m[4];
    return array<vec4<f32>, TILE_PIXELS>(
        m[0] + inner + outer,
        SQRT_HALF * inner_odd + SQRT_TWO * outer_odd,
        0.5 * inner + 2.0 * outer,
        0.5 * SQRT_HALF * inner_odd + 2.0 * SQRT_TWO * outer_odd + m[5],
    );
}
