// Global average pooling. SPLIT_K neighbouring invocations share one quad of channels of one image and take its pixels in turn. Needs
// size constants, `quad_v0(image, quad, pixel)`, `store(value, image, quad, y, x)`, and `reduce` over the parts.
const_assert PIXELS > 0 && WORKGROUP == GROUP_QUADS * SPLIT_K;

@compute @workgroup_size(WORKGROUP)
fn average(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) local: u32) {
    let k_part = local % SPLIT_K;
    let lane = local / SPLIT_K;
    let index = (group.x + group.y * GRID_X) * GROUP_QUADS + lane;
    let means = min(index, MEANS - 1u);
    let quad = means % OUT_QUADS;
    let image = means / OUT_QUADS;
    var sum = vec4<f32>();
    for (var pixel = k_part; pixel < PIXELS; pixel += SPLIT_K) {
        sum += quad_v0(image, quad, pixel);
    }
    sum = reduce(sum, lane, k_part);
    if k_part == 0u && index < MEANS {
        store(sum / f32(PIXELS), image, quad, 0u, 0u);
    }
}
