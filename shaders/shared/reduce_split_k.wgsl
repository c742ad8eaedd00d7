// Sum over the parts of K of a workgroup, through workgroup memory; the total is valid in part 0.
const_assert ((SPLIT_K & (SPLIT_K - 1)) == 0);
var<workgroup> sums: array<vec4<f32>, WORKGROUP>;
fn reduce(value: vec4<f32>, lane: u32, k_part: u32) -> vec4<f32> {
    sums[k_part * GROUP_QUADS + lane] = value;
    workgroupBarrier();
    for (var half = SPLIT_K / 2u; half > 0u; half /= 2u) {
        if k_part < half {
            sums[k_part * GROUP_QUADS + lane] += sums[(k_part + half) * GROUP_QUADS + lane];
        }
        workgroupBarrier();
    }
    return sums[lane];
}
