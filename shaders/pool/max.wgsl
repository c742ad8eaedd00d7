// Max pooling of one quad of channels at one output pixel per invocation. Padding never wins.
// Needs size constants, `quad_v0(image, quad, pixel)`, `larger(a, b)` and `store(value, image, quad, y, x)`.
const_assert PAD_Y < WINDOW_Y && PAD_X < WINDOW_X;

@compute @workgroup_size(WORKGROUP)
fn max_pool(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) local: u32) {
    let index = (group.x + group.y * GRID_X) * WORKGROUP + local;
    if index >= INVOCATIONS {
        return;
    }
    let out_x = index % OUT_WIDTH;
    let out_y = index / OUT_WIDTH % OUT_HEIGHT;
    let quad = index / (OUT_WIDTH * OUT_HEIGHT) % OUT_QUADS;
    let image = index / (OUT_WIDTH * OUT_HEIGHT * OUT_QUADS);
    var best = lowest();
    for (var tap_y = 0u; tap_y < WINDOW_Y; tap_y++) {
        let y = out_y * STEP_Y + tap_y - PAD_Y;
        for (var tap_x = 0u; tap_x < WINDOW_X; tap_x++) {
            let x = out_x * STEP_X + tap_x - PAD_X;
            let value = quad_v0(image, quad, min(y, IN_HEIGHT - 1u) * IN_WIDTH + min(x, IN_WIDTH - 1u));
            best = select(best, larger(best, value), y < IN_HEIGHT && x < IN_WIDTH);
        }
    }
    store(best, image, quad, out_y, out_x);
}
