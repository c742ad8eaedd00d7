// The first convolution of a network on a GPU, with its max pool: few planar input channels, and a large window with small stride.
//
// A workgroup computes a rectangle of one image for TILE_QUADS quads of output channels: STRIPS_DOWN x STRIPS_ACROSS strips of STRIP conv
// pixels in a row. PARTS invocations share a strip, each with OWN_QUADS quads. The rectangle's input is staged once, in f32; every
// invocation then slides the window along its strip, so that a staged element serves several taps and a weight several pixels. With
// POOLED, conv values are exchanged through the same memory, and only conv pixels shared by two rectangles are computed twice; without,
// the pooling window is one pixel.
const LANES = STRIPS_ACROSS * STRIPS_DOWN;
const WORKGROUP = LANES * PARTS;
const TILE_QUADS = PARTS * OWN_QUADS;
// Conv rows needed by the stored windows; columns of the input row under a strip's windows.
const ROWS = (STORED_HEIGHT - 1u) * POOL_STEP_Y + WINDOW_Y;
const COLUMNS = (STRIP - 1u) * R0_STRIDE_X + (R0_KERNEL_X - 1u) * R0_DILATION_X + 1u;
// Staged elements per plane, of all planes, and per invocation. An invocation has at most IN_FLIGHT loads outstanding.
const IN_FLIGHT = 16u;
const PATCH = PATCH_HEIGHT * PATCH_WIDTH;
const STAGED = PATCH * R0_CHANNELS;
const OWN_STAGED = (STAGED + WORKGROUP - 1u) / WORKGROUP;
const ROUNDS = (OWN_STAGED + IN_FLIGHT - 1u) / IN_FLIGHT;
const ROUND_STAGED = (OWN_STAGED + ROUNDS - 1u) / ROUNDS;
// Staged rows are grouped by their phase modulo R0_STRIDE_Y, PATCH_TURNS rows per phase.
const PATCH_TURNS = PATCH_HEIGHT / R0_STRIDE_Y;
const_assert PATCH_HEIGHT % R0_STRIDE_Y == 0u;
// Conv values per part and lane of a quad.
const VALUES = STRIP * LANES;

// The rectangle's input; with POOLED, later one quad of every conv pixel per invocation.
var<workgroup> staged: array<f32, max(STAGED, select(0u, 4u * VALUES * PARTS, POOLED))>;

// Staged element `i` for a rectangle whose first window begins at row y, column x of the view. Zero outside; y and x may have wrapped
// below zero.
//
// Rows of a plane are ordered by phase: first the rows at which windows begin, then the rows below those, and so on. Vertically
// neighbouring windows are then one row of memory apart, an odd number of elements, which avoids bank conflicts.
fn input(i: u32, image: u32, y: u32, x: u32) -> f32 {
    let channel = min(i / PATCH, R0_CHANNELS - 1u);
    let patch_row = i % PATCH / PATCH_WIDTH;
    let in_y = y + patch_row % PATCH_TURNS * R0_STRIDE_Y + patch_row / PATCH_TURNS;
    let in_x = x + i % PATCH % PATCH_WIDTH;
    let row = row_r0(in_y);
    let column = column_r0(in_x);
    let at = (image * R0_IMAGE + R0_FIRST + channel) * R0_PLANE + row + column;
    let value = load_r0(at, row, column, prologue_r0(channel));
    return select(0.0, value.x, inside_r0(in_y, in_x));
}

@compute @workgroup_size(WORKGROUP)
fn conv2d(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) local: u32) {
    let rectangle = group.x + group.z * GRID_X;
    let live = rectangle < RECTANGLES;
    let index = min(rectangle, RECTANGLES - 1u);
    let image = index / (RECTANGLES_ACROSS * RECTANGLES_DOWN);
    // Neighbouring invocations have neighbouring strips of the same channels, so they read the same weight.
    let lane = local % LANES;
    let part = local / LANES;
    let strip_y = lane / STRIPS_ACROSS;
    let strip_x = lane % STRIPS_ACROSS * STRIP;
    let out_y = index / RECTANGLES_ACROSS % RECTANGLES_DOWN * STORED_HEIGHT;
    let out_x = index % RECTANGLES_ACROSS * STORED_WIDTH;
    // Pooling windows may begin before the first conv pixel, convolution windows before the first element.
    let conv_y = out_y * POOL_STEP_Y - POOL_PAD_Y;
    let conv_x = out_x * POOL_STEP_X - POOL_PAD_X;
    let in_y = conv_y * R0_STRIDE_Y - R0_PAD_Y;
    let in_x = conv_x * R0_STRIDE_X - R0_PAD_X;

    for (var round = 0u; round < ROUNDS; round++) {
        let first = round * ROUND_STAGED * WORKGROUP + local;
        //# values
        var loaded: array<f32, ROUND_STAGED>;
        //# unroll
        for (var i = 0u; i < ROUND_STAGED; i++) {
            loaded[i] = input(first + i * WORKGROUP, image, in_y, in_x);
        }
        //# unroll
        for (var i = 0u; i < ROUND_STAGED; i++) {
            if first + i * WORKGROUP < STAGED {
                staged[first + i * WORKGROUP] = loaded[i];
            }
        }
    }
    workgroupBarrier();

    let first_quad = group.y * TILE_QUADS + part * OWN_QUADS;
    let first_weight = group.y * TILE_WEIGHTS;
    //# values
    var bias: array<vec4<f32>, OWN_QUADS>;
    //# unroll
    for (var q = 0u; q < OWN_QUADS; q++) {
        bias[q] = load_parameters(first_weight + (part * OWN_QUADS + q) * PARAMETER);
    }
    //# registers
    var sums: array<vec4<f32>, STRIP * OWN_QUADS>;
    //# unroll
    for (var p = 0u; p < STRIP; p++) {
        //# unroll
        for (var q = 0u; q < OWN_QUADS; q++) {
            sums[p * OWN_QUADS + q] = bias[q];
        }
    }
    var weight = first_weight + R0_WEIGHTS + part * OWN_QUADS;
    // Strips below the last needed row repeat that row.
    let first = min(strip_y, ROWS - 1u) * PATCH_WIDTH + strip_x * R0_STRIDE_X;
    for (var ky = 0u; ky < R0_KERNEL_Y; ky++) {
        let tap = ky * R0_DILATION_Y;
        var at = first + (tap % R0_STRIDE_Y * PATCH_TURNS + tap / R0_STRIDE_Y) * PATCH_WIDTH;
        for (var channel = 0u; channel < R0_CHANNELS; channel++) {
            //# values
            var elements: array<f32, COLUMNS>;
            //# unroll
            for (var j = 0u; j < COLUMNS; j++) {
                // Skip columns that strides leave out.
                //# if
                if COLUMN_READ[j] {
                    elements[j] = staged[at + j];
                }
            }
            //# unroll
            for (var kx = 0u; kx < R0_KERNEL_X; kx++) {
                //# values
                var weights_of: array<vec4<f32>, OWN_QUADS>;
                //# unroll
                for (var q = 0u; q < OWN_QUADS; q++) {
                    weights_of[q] = load_weights(weight + kx * TILE_QUADS + q);
                }
                //# unroll
                for (var p = 0u; p < STRIP; p++) {
                    let element = vec4<f32>(elements[p * R0_STRIDE_X + kx * R0_DILATION_X]);
                    //# unroll
                    for (var q = 0u; q < OWN_QUADS; q++) {
                        sums[p * OWN_QUADS + q] = fma(element, weights_of[q], sums[p * OWN_QUADS + q]);
                    }
                }
            }
            at += PATCH;
            weight += R0_KERNEL_X * TILE_QUADS;
        }
    }

    let y = conv_y + strip_y;
    let first_x = conv_x + strip_x;
    //# if
    if POOLED {
        // Conv values replace the staged input, one quad per invocation at a time, ordered by lane of the quad, then pixel of the strip;
        // all invocations share the pooling windows.
        //# unroll
        for (var q = 0u; q < OWN_QUADS; q++) {
            workgroupBarrier();
            //# unroll
            for (var p = 0u; p < STRIP; p++) {
                let x = first_x + p;
                let own = epilogue(sums[p * OWN_QUADS + q], image, first_quad + q, y, x);
                let value = select(lowest(), own, (y < CONV_HEIGHT) & (x < CONV_WIDTH));
                //# unroll
                for (var c = 0u; c < 4u; c++) {
                    staged[(4u * part + c) * VALUES + p * LANES + lane] = value[c];
                }
            }
            workgroupBarrier();
            for (var i = local; i < STORED_HEIGHT * STORED_WIDTH * PARTS; i += WORKGROUP) {
                let column = i % STORED_WIDTH;
                let row = i / STORED_WIDTH % STORED_HEIGHT;
                let other = i / (STORED_HEIGHT * STORED_WIDTH);
                let quad = group.y * TILE_QUADS + other * OWN_QUADS + q;
                if live & (quad < OUT_QUADS) & (out_y + row < OUT_HEIGHT) & (out_x + column < OUT_WIDTH) {
                    var best = lowest();
                    for (var tap_y = 0u; tap_y < WINDOW_Y; tap_y++) {
                        for (var tap_x = 0u; tap_x < WINDOW_X; tap_x++) {
                            let x = column * POOL_STEP_X + tap_x;
                            let strip = (row * POOL_STEP_Y + tap_y) * STRIPS_ACROSS + x / STRIP;
                            let at = 4u * other * VALUES + x % STRIP * LANES + strip;
                            var value: vec4<f32>;
                            //# unroll
                            for (var c = 0u; c < 4u; c++) {
                                value[c] = staged[at + c * VALUES];
                            }
                            best = larger(best, value);
                        }
                    }
                    store(best, image, quad, out_y + row, out_x + column);
                }
            }
        }
    } else {
        // Every invocation stores its own sums.
        //# unroll
        for (var p = 0u; p < STRIP; p++) {
            let x = first_x + p;
            if live & (y < CONV_HEIGHT) & (x < CONV_WIDTH) {
                //# unroll
                for (var q = 0u; q < OWN_QUADS; q++) {
                    let quad = first_quad + q;
                    if quad < OUT_QUADS {
                        store(epilogue(sums[p * OWN_QUADS + q], image, quad, y, x), image, quad, y, x);
                    }
                }
            }
        }
    }
}
