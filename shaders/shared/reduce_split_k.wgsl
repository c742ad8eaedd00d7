// Sum over the slices of a workgroup, through workgroup memory; the result is whole in slice 0.
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
