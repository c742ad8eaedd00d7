// Sum over slices where there is one.
const_assert SLICES == 1;
fn reduce(value: vec4<f32>, lane: u32, slice: u32) -> vec4<f32> {
    return value;
}
