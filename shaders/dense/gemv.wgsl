// A 1x1 convolution of one pixel: matrix times vector. An invocation sums every SPLIT_K-th quad of input channels for one quad of output
// channels; neighbouring invocations load neighbouring weights. Needs size constants, `quad_v0(image, quad, pixel)`,
// `load_weights(element)`, `load_parameters(element)`, `epilogue`, `store`, and `reduce` over the parts of K.
const_assert WORKGROUP == GROUP_QUADS * SPLIT_K;

@compute @workgroup_size(WORKGROUP)
fn gemv(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) local: u32) {
    let image = group.y;
    let lane = local % GROUP_QUADS;
    let k_part = local / GROUP_QUADS;
    let quad = group.x * GROUP_QUADS + lane;
    let first = PARAMETER * OUT_QUADS + group.x * 4u * IN_QUADS * GROUP_QUADS + lane;
    var sum = vec4<f32>();
    for (var k = k_part; k < IN_QUADS; k += SPLIT_K) {
        let x = quad_v0(image, k, 0u);
        let at = first + 4u * k * GROUP_QUADS;
        sum += x.x * load_weights(at);
        sum += x.y * load_weights(at + GROUP_QUADS);
        sum += x.z * load_weights(at + 2u * GROUP_QUADS);
        sum += x.w * load_weights(at + 3u * GROUP_QUADS);
    }
    sum = reduce(sum, lane, k_part);
    if k_part == 0u && quad < OUT_QUADS {
        store(epilogue(sum + load_parameters(PARAMETER * quad), image, quad, 0u, 0u), image, quad, 0u, 0u);
    }
}
