// A 1x1 convolution of one pixel: matrix times vector. An invocation has one quad of output channels and every
// SLICES-th quad of input channels; neighbours load neighbouring weights.
// Before it: size constants, `quad_v0(image, quad, pixel)`, `load_weights(element)`, `load_parameters(element)`, `finish`, `store`, and `reduce` over slices.
const_assert WORKGROUP == GROUP_QUADS * SLICES;

@compute @workgroup_size(WORKGROUP)
fn gemv(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) local: u32) {
    let image = group.y;
    let lane = local % GROUP_QUADS;
    let slice = local / GROUP_QUADS;
    let quad = group.x * GROUP_QUADS + lane;
    let first = PARAMETER * OUT_QUADS + group.x * 4u * IN_QUADS * GROUP_QUADS + lane;
    var sum = vec4<f32>();
    for (var k = slice; k < IN_QUADS; k += SLICES) {
        let x = quad_v0(image, k, 0u);
        let at = first + 4u * k * GROUP_QUADS;
        sum += x.x * load_weights(at);
        sum += x.y * load_weights(at + GROUP_QUADS);
        sum += x.z * load_weights(at + 2u * GROUP_QUADS);
        sum += x.w * load_weights(at + 3u * GROUP_QUADS);
    }
    sum = reduce(sum, lane, slice);
    if slice == 0u && quad < OUT_QUADS {
        store(finish(sum + load_parameters(PARAMETER * quad), image, quad, 0u, 0u), image, quad, 0u, 0u);
    }
}
