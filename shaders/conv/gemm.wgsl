// Implicit GEMM in tiles staged in workgroup memory, for discrete GPUs.
//
// The GEMM is [pixels of all images] x [output channels]. Its K axis is the concatenation of the K ranges, each ordered by tap, then quad
// of input channels. A workgroup computes TILE_PIXELS pixels x TILE_QUADS quads of output channels, an invocation OWN_PIXELS x OWN_QUADS
// of them. A step stages DEPTH quads of K, each element once. Where tiles are few, SPLIT_K parts of the workgroup take the steps in turn,
// and their partial sums are added at the end.
const LANES_X = TILE_PIXELS / OWN_PIXELS;
const LANES_Y = TILE_QUADS / OWN_QUADS;
const LANES = LANES_X * LANES_Y;
const WORKGROUP = LANES * SPLIT_K;
// Quads staged per part and step: pixels, weights, both; and the share of one invocation.
const STAGED_PIXELS = DEPTH * TILE_PIXELS;
const STAGED_WEIGHTS = DEPTH * 4u * TILE_QUADS;
const STAGED = STAGED_PIXELS + STAGED_WEIGHTS;
const OWN_STAGED_PIXELS = STAGED_PIXELS / LANES;
const OWN_STAGED_WEIGHTS = STAGED_WEIGHTS / LANES;
// Weights per quad of K: a row of the tile's output channels for each of the four input channels.
const RUN = 4u * TILE_QUADS;
const SUMS = select(0u, SPLIT_K * TILE_PIXELS * TILE_QUADS, SPLIT_K > 1u);

// Two steps of every part (double buffering); later the partial sums.
var<workgroup> staged: array<vec4<f32>, max(2u * SPLIT_K * STAGED, SUMS)>;

// Column, row and image of a pixel of the GEMM.
fn pixel_position(pixel: u32) -> vec3<u32> {
    let row = pixel / CONV_WIDTH;
    return vec3<u32>(pixel % CONV_WIDTH, row % CONV_HEIGHT, row / CONV_HEIGHT);
}

//# for r in K_RANGES
// K range 0: quads of K per tap, quads of K, steps, and whether the last step is partial.
const R0_QUADS = (R0_CHANNELS + 3u) / 4u;
const R0_DEPTH = R0_KERNEL_Y * R0_KERNEL_X * R0_QUADS;
const R0_STEPS = (R0_DEPTH + SPLIT_K * DEPTH - 1u) / (SPLIT_K * DEPTH);
const R0_RAGGED = R0_DEPTH % (SPLIT_K * DEPTH) != 0u;
// Whether every step of a part lies within one tap; then its address is computed once for all its quads.
const R0_TAP_BY_STEP = R0_QUADS % DEPTH == 0u;

// Address of quad k of K for an output pixel.
struct Origin_r0 {
    at: u32,
    row: u32,
    column: u32,
    quad: u32,
    inside: bool,
}

fn origin_r0(pixel: vec3<u32>, k: u32) -> Origin_r0 {
    // Past the end any quad may be read; it counts as zero.
    let quad = (k % R0_DEPTH) % R0_QUADS;
    let tap = (k % R0_DEPTH) / R0_QUADS;
    let y = pixel.y * R0_STRIDE_Y + tap / R0_KERNEL_X * R0_DILATION_Y - R0_PAD_Y;
    let x = pixel.x * R0_STRIDE_X + tap % R0_KERNEL_X * R0_DILATION_X - R0_PAD_X;
    var inside = inside_r0(y, x);
    //# if
    if R0_RAGGED {
        inside = inside & (k < R0_DEPTH);
    }
    let row = row_r0(y);
    let column = column_r0(x);
    let at = (pixel.z * R0_IMAGE + R0_FIRST + quad) * R0_PLANE + row + column;
    return Origin_r0(at, row, column, quad, inside);
}

// The quad of K `quads` after the origin, in the same tap; zero outside.
fn behind_r0(origin: Origin_r0, quads: u32) -> vec4<f32> {
    let prologue = prologue_r0(origin.quad + quads);
    let value = load_r0(origin.at + quads * R0_PLANE, origin.row, origin.column, prologue);
    return select(vec4<f32>(), value, origin.inside);
}

// Index of weight `at` of the step that begins at quad k of K.
fn weight_r0(k: u32, at: u32) -> u32 {
    //# if
    if R0_RAGGED {
        return R0_WEIGHTS + min(k + at / RUN, R0_DEPTH - 1u) * RUN + at % RUN;
    } else {
        return R0_WEIGHTS + k * RUN + at;
    }
}

//# end
@compute @workgroup_size(WORKGROUP)
fn conv2d(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) local: u32) {
    let k_part = local / LANES;
    let lane = local % LANES;
    // Each group of eight invocations reads neighbouring pixels, and the next eight the same pixels with other weights: 32 invocations
    // read few distinct addresses, without bank conflicts.
    let wide = LANES_X > 8u;
    let across = select(lane % LANES_X, lane % 8u + lane / 32u % max(LANES_X / 8u, 1u) * 8u, wide);
    let down = select(lane / LANES_X, lane / 8u % 4u + lane / (4u * LANES_X) * 4u, wide);
    let first_pixel = (group.x + group.z * GRID_X) * TILE_PIXELS;
    let first_quad = group.y * TILE_QUADS;
    let first_weight = group.y * TILE_WEIGHTS;
    let staging = pixel_position(min(first_pixel + lane % TILE_PIXELS, PIXELS - 1u));
    let staged_quad = lane / TILE_PIXELS;
    //# registers
    var sums: array<vec4<f32>, OWN_PIXELS * OWN_QUADS>;
    var step_at = k_part * STAGED;
    //# for r in K_RANGES
    {
        var k = k_part * DEPTH;
        //# registers
        var pixels: array<vec4<f32>, OWN_STAGED_PIXELS>;
        //# registers
        var weights_of: array<vec4<f32>, OWN_STAGED_WEIGHTS>;
        // Prefetch: each step is loaded while the previous one is multiplied.
        //# if
        if R0_TAP_BY_STEP {
            let origin = origin_r0(staging, k + staged_quad);
            //# unroll
            for (var i = 0u; i < OWN_STAGED_PIXELS; i++) {
                pixels[i] = behind_r0(origin, i * LANES / TILE_PIXELS);
            }
        } else {
            //# unroll
            for (var i = 0u; i < OWN_STAGED_PIXELS; i++) {
                pixels[i] = behind_r0(origin_r0(staging, k + staged_quad + i * LANES / TILE_PIXELS), 0u);
            }
        }
        //# unroll
        for (var i = 0u; i < OWN_STAGED_WEIGHTS; i++) {
            weights_of[i] = load_weights(first_weight + weight_r0(k, lane + i * LANES));
        }
        for (var step = 0u; step < R0_STEPS; step++) {
            //# unroll
            for (var i = 0u; i < OWN_STAGED_PIXELS; i++) {
                staged[step_at + lane + i * LANES] = pixels[i];
            }
            //# unroll
            for (var i = 0u; i < OWN_STAGED_WEIGHTS; i++) {
                staged[step_at + STAGED_PIXELS + lane + i * LANES] = weights_of[i];
            }
            // One barrier per step suffices: a buffer is written only after the barrier that follows its last read.
            workgroupBarrier();
            //# if
            if R0_STEPS > 1u {
                k += SPLIT_K * DEPTH;
                if step + 1u < R0_STEPS {
                    //# if
                    if R0_TAP_BY_STEP {
                        let origin = origin_r0(staging, k + staged_quad);
                        //# unroll
                        for (var i = 0u; i < OWN_STAGED_PIXELS; i++) {
                            pixels[i] = behind_r0(origin, i * LANES / TILE_PIXELS);
                        }
                    } else {
                        //# unroll
                        for (var i = 0u; i < OWN_STAGED_PIXELS; i++) {
                            pixels[i] = behind_r0(origin_r0(staging, k + staged_quad + i * LANES / TILE_PIXELS), 0u);
                        }
                    }
                    //# unroll
                    for (var i = 0u; i < OWN_STAGED_WEIGHTS; i++) {
                        weights_of[i] = load_weights(first_weight + weight_r0(k, lane + i * LANES));
                    }
                }
            }
            for (var quad = 0u; quad < DEPTH; quad++) {
                let pixels_at = step_at + quad * TILE_PIXELS + across;
                let weights_at = step_at + STAGED_PIXELS + quad * RUN + down;
                //# values
                var x: array<vec4<f32>, OWN_PIXELS>;
                //# unroll
                for (var p = 0u; p < OWN_PIXELS; p++) {
                    x[p] = staged[pixels_at + p * LANES_X];
                }
                //# unroll
                for (var c = 0u; c < 4u; c++) {
                    //# values
                    var w: array<vec4<f32>, OWN_QUADS>;
                    //# unroll
                    for (var q = 0u; q < OWN_QUADS; q++) {
                        w[q] = staged[weights_at + c * TILE_QUADS + q * LANES_Y];
                    }
                    //# unroll
                    for (var p = 0u; p < OWN_PIXELS; p++) {
                        //# unroll
                        for (var q = 0u; q < OWN_QUADS; q++) {
                            sums[p * OWN_QUADS + q] = fma(vec4<f32>(x[p][c]), w[q], sums[p * OWN_QUADS + q]);
                        }
                    }
                }
            }
            step_at = 2u * k_part * STAGED + SPLIT_K * STAGED - step_at;
        }
    }
    //# end
    //# if
    if SPLIT_K == 1u {
        //# values
        var bias: array<vec4<f32>, OWN_QUADS>;
        //# unroll
        for (var q = 0u; q < OWN_QUADS; q++) {
            bias[q] = load_parameters(first_weight + PARAMETER * (down + q * LANES_Y));
        }
        //# unroll
        for (var p = 0u; p < OWN_PIXELS; p++) {
            let pixel = first_pixel + across + p * LANES_X;
            if pixel < PIXELS {
                let at = pixel_position(pixel);
                //# unroll
                for (var q = 0u; q < OWN_QUADS; q++) {
                    let quad = first_quad + down + q * LANES_Y;
                    if quad < OUT_QUADS {
                        let value = epilogue(sums[p * OWN_QUADS + q] + bias[q], at.z, quad, at.y, at.x);
                        store(value, at.z, quad, at.y, at.x);
                    }
                }
            }
        }
    } else {
        // Partial sums are exchanged through workgroup memory; all invocations share the reduction and the epilogue.
        workgroupBarrier();
        //# unroll
        for (var p = 0u; p < OWN_PIXELS; p++) {
            //# unroll
            for (var q = 0u; q < OWN_QUADS; q++) {
                let row = (k_part * TILE_QUADS + down + q * LANES_Y) * TILE_PIXELS;
                staged[row + across + p * LANES_X] = sums[p * OWN_QUADS + q];
            }
        }
        workgroupBarrier();
        for (var i = local; i < TILE_PIXELS * TILE_QUADS; i += WORKGROUP) {
            let pixel = first_pixel + i % TILE_PIXELS;
            let quad = first_quad + i / TILE_PIXELS;
            if pixel < PIXELS && quad < OUT_QUADS {
                var sum = staged[i];
                for (var other = 1u; other < SPLIT_K; other++) {
                    sum += staged[i + other * TILE_PIXELS * TILE_QUADS];
                }
                let at = pixel_position(pixel);
                sum += load_parameters(first_weight + PARAMETER * (i / TILE_PIXELS));
                store(epilogue(sum, at.z, quad, at.y, at.x), at.z, quad, at.y, at.x);
            }
        }
    }
}
