// A plain copy, to measure peak memory bandwidth.
@group(0) @binding(0) var<storage, read_write> values: array<Element>;

@compute @workgroup_size(WORKGROUP)
fn peak_copy(@builtin(global_invocation_id) id: vec3<u32>) {
    values[id.x + ELEMENTS] = values[id.x];
}
