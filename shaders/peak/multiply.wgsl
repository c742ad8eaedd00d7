// Multiply-adds in registers only, in CHAINS independent chains, to measure peak arithmetic throughput. Each loop iteration has UNROLL
// multiply-adds per chain.
@group(0) @binding(0) var<storage, read_write> values: array<vec4<f32>>;

@compute @workgroup_size(WORKGROUP)
fn peak_multiply(@builtin(global_invocation_id) id: vec3<u32>) {
    let first = values[id.x];
    let a = vec4<f32>(first.x);
    let b = vec4<f32>(first.y);
    //# registers
    var chain: array<vec4<f32>, CHAINS>;
    //# unroll
    for (var c = 0u; c < CHAINS; c++) {
        chain[c] = first + f32(c);
    }
    for (var i = 0u; i < ROUNDS; i++) {
        // Alternate x * a + b and x * b + a, so that values stay finite.
        //# unroll
        for (var step = 0u; step < UNROLL; step++) {
            //# unroll
            for (var c = 0u; c < CHAINS; c++) {
                //# if
                if step % 2u == 0u {
                    chain[c] = fma(chain[c], a, b);
                } else {
                    chain[c] = fma(chain[c], b, a);
                }
            }
        }
    }
    var sum = chain[0];
    //# unroll
    for (var c = 1u; c < CHAINS; c++) {
        sum += chain[c];
    }
    values[id.x] = sum;
}
