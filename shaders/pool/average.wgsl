// Global average pooling, one quad of channels of one image per invocation. Needs size constants, `quad_v0(image, quad, pixel)` and
// `store(value, image, quad, y, x)`.
const_assert PIXELS > 0;

@compute @workgroup_size(WORKGROUP)
fn average(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) local: u32) {
    let index = (group.x + group.y * GRID_X) * WORKGROUP + local;
    if index >= INVOCATIONS {
        return;
    }
    let quad = index % OUT_QUADS;
    let image = index / OUT_QUADS;
    var sum = vec4<f32>();
    for (var pixel = 0u; pixel < PIXELS; pixel++) {
        sum += quad_v0(image, quad, pixel);
    }
    store(sum / f32(PIXELS), image, quad, 0u, 0u);
}
