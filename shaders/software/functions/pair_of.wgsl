// Two quads of f32 from 64-bit integers.
struct Pair {
    a: vec4<f32>,
    b: vec4<f32>,
}

fn pair_of(raw: vec4<u64>) -> Pair {
    return Pair(quad_of(raw.xy), quad_of(raw.zw));
}
