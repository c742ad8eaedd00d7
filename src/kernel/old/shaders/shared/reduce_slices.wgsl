// Sum over the slices of a workgroup, through workgroup memory; the result is whole in slice 0.
const_assert ((SLICES & (SLICES - 1)) == 0);
var<workgroup> sums: array<vec4<f32>, WORKGROUP>;
fn reduce(value: vec4<f32>, lane: u32, slice: u32) -> vec4<f32> {
    sums[slice * GROUP_QUADS + lane] = value;
    workgroupBarrier();
    for (var half = SLICES / 2u; half > 0u; half /= 2u) {
        if slice < half {
            sums[slice * GROUP_QUADS + lane] += sums[(slice + half) * GROUP_QUADS + lane];
        }
        workgroupBarrier();
    }
    return sums[lane];
}
