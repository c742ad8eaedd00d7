// Multiplications and additions in registers and nothing else: what the device can do at most. Eight chains of vec4 that do
// not wait for one another.
@group(0) @binding(0) var<storage, read_write> values: array<vec4<f32>>;

@compute @workgroup_size(WORKGROUP)
fn peak_multiply(@builtin(global_invocation_id) id: vec3<u32>) {
    let a = values[id.x];
    let b = a * 0.5;
    var s0 = a;
    var s1 = a + 1.0;
    var s2 = a + 2.0;
    var s3 = a + 3.0;
    var s4 = a + 4.0;
    var s5 = a + 5.0;
    var s6 = a + 6.0;
    var s7 = a + 7.0;
    for (var i = 0u; i < ROUNDS; i++) {
        s0 = fma(s0, a, b);
        s1 = fma(s1, a, b);
        s2 = fma(s2, a, b);
        s3 = fma(s3, a, b);
        s4 = fma(s4, a, b);
        s5 = fma(s5, a, b);
        s6 = fma(s6, a, b);
        s7 = fma(s7, a, b);
        s0 = fma(s0, b, a);
        s1 = fma(s1, b, a);
        s2 = fma(s2, b, a);
        s3 = fma(s3, b, a);
        s4 = fma(s4, b, a);
        s5 = fma(s5, b, a);
        s6 = fma(s6, b, a);
        s7 = fma(s7, b, a);
    }
    values[id.x] = s0 + s1 + s2 + s3 + s4 + s5 + s6 + s7;
}
