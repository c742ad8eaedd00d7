// Implicit GEMM on matrix units, in tiles staged in workgroup memory: f16 operands, f32 sums. For cards with SIDE x SIDE matrices and
// subgroups of SUBGROUP invocations.
//
// The GEMM is [output channels] x [pixels of all images]. Its K axis is the concatenation of the K ranges, each ordered by tap, then quad
// of input channels; every tap is padded to whole steps of DEPTH quads, so that a step lies within one tap. A workgroup computes
// TILE_CHANNELS output channels x TILE_PIXELS pixels; each subgroup computes FRAGMENTS_Y x FRAGMENTS_X fragments of SIDE channels x SIDE
// pixels. Steps are staged as f16, without conversion. Where tiles are few, SPLIT_K parts of the workgroup take the steps in turn, and
// their partial sums are added at the end.
//
// The kernel relies on two properties of drivers: workgroups consist of full subgroups, which holds on Vulkan drivers with a single
// subgroup size; and workgroupBarrier orders the reads of matrix loads, for which naga declares the Vulkan memory model without marking
// the accesses.
const TILE_CHANNELS = SIDE * FRAGMENTS_Y * SUBGROUPS_Y;
const TILE_PIXELS = SIDE * FRAGMENTS_X * SUBGROUPS_X;
const TILE_QUADS = TILE_CHANNELS / 4u;
// Subgroups and invocations per part of K.
const PARTS = SUBGROUPS_Y * SUBGROUPS_X;
const LANES = SUBGROUP * PARTS;
const WORKGROUP = LANES * SPLIT_K;
// Planes staged at a time per part, one pixel per invocation.
const PLANES = LANES / TILE_PIXELS;
// Quads staged per invocation and step: pixels, weights.
const OWN_PIXELS = DEPTH / PLANES;
const OWN_WEIGHTS = TILE_CHANNELS * DEPTH / LANES;
// Quads of workgroup memory per part: pixels, then output channels, at a row pitch of ROW quads. Rows are padded to avoid bank conflicts.
const STAGED_PIXELS = TILE_PIXELS * ROW;
const STAGED = STAGED_PIXELS + TILE_CHANNELS * ROW;
// Quads of weights in a step.
const RUN = TILE_CHANNELS * DEPTH;
// Epilogue: a fragment has SIDE_QUADS quads of output channels per pixel. Each invocation of the parts that share the fragment takes
// every EPILOGUE_STRIDE-th quad; with many parts, some take none.
const SIDE_QUADS = SIDE / 4u;
const EPILOGUE_STRIDE = SUBGROUP / SIDE * SPLIT_K;
const OWN_EPILOGUE_QUADS = max(SIDE_QUADS / EPILOGUE_STRIDE, 1u);
const SOME_IDLE_IN_EPILOGUE = EPILOGUE_STRIDE > SIDE_QUADS;
// vec4 of workgroup memory for the sums of a fragment, at a padded row pitch of SUMS_ROW per pixel.
const SUMS = SIDE * SUMS_ROW;

// One step of every part of K.
var<workgroup> staged: array<vec4<f16>, SPLIT_K * STAGED>;
// The sums of a fragment of every subgroup.
var<workgroup> sums: array<vec4<f32>, WORKGROUP / SUBGROUP * SUMS>;

// Column, row and image of a pixel of the GEMM.
fn pixel_position(pixel: u32) -> vec3<u32> {
    let row = pixel / CONV_WIDTH;
    return vec3<u32>(pixel % CONV_WIDTH, row % CONV_HEIGHT, row / CONV_HEIGHT);
}

// Address of a pixel in a step: its element in the first plane of the view, and whether it lies inside. Outside, and in steps past the
// last, zeros are staged.
struct Origin {
    at: u32,
    inside: bool,
}

//# for r in K_RANGES
// K range 0: planes, taps, steps, and rounds, in each of which every part takes a step. R0_RAGGED: the last step of a tap is partial.
// R0_UNEVEN: in the last round some parts have no step.
const R0_PLANES = (R0_CHANNELS + 3u) / 4u;
const R0_TAPS = R0_KERNEL_Y * R0_KERNEL_X;
const R0_STEPS_OF_TAP = (R0_PLANES + DEPTH - 1u) / DEPTH;
const R0_STEPS = R0_TAPS * R0_STEPS_OF_TAP;
const R0_ROUNDS = (R0_STEPS + SPLIT_K - 1u) / SPLIT_K;
const R0_RAGGED = R0_PLANES % DEPTH != 0u;
const R0_UNEVEN = R0_STEPS % SPLIT_K != 0u;

// `step` clamped to the last one, whose pixels are then not used.
fn step_r0(step: u32) -> u32 {
    //# if
    if R0_UNEVEN {
        return min(step, R0_STEPS - 1u);
    } else {
        return step;
    }
}

// The tap of a step; constant where there is only one.
fn tap_r0(step: u32) -> u32 {
    return select(step_r0(step) / R0_STEPS_OF_TAP, 0u, R0_TAPS == 1u);
}

// The first plane of a step; constant where each tap has one step.
fn plane_r0(step: u32) -> u32 {
    return select((step_r0(step) - tap_r0(step) * R0_STEPS_OF_TAP) * DEPTH, 0u, R0_STEPS_OF_TAP == 1u);
}

// Address of a step for an output pixel.
fn origin_r0(pixel: vec3<u32>, step: u32) -> Origin {
    let tap = tap_r0(step);
    let y = pixel.y * R0_STRIDE_Y - R0_PAD_Y + tap / R0_KERNEL_X * R0_DILATION_Y;
    let x = pixel.x * R0_STRIDE_X - R0_PAD_X + tap % R0_KERNEL_X * R0_DILATION_X;
    let at = (pixel.z * R0_IMAGE + R0_FIRST) * R0_PLANE + row_r0(y) + column_r0(x);
    var inside = inside_r0(y, x);
    //# if
    if R0_UNEVEN {
        inside = inside & (step < R0_STEPS);
    }
    return Origin(at, inside);
}

// The quad in a plane of the view; zero outside and past the last plane.
fn quad_r0(origin: Origin, plane: u32) -> vec4<f16> {
    //# if
    if R0_RAGGED {
        let value = stored_r0(origin.at + min(plane, R0_PLANES - 1u) * R0_PLANE);
        // Where this is known at compile time the load is removed.
        return select(vec4<f16>(), value, select(false, origin.inside, plane < R0_PLANES));
    } else {
        return select(vec4<f16>(), stored_r0(origin.at + plane * R0_PLANE), origin.inside);
    }
}

//# end
@compute @workgroup_size(WORKGROUP)
fn conv2d(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
    @builtin(subgroup_id) subgroup: u32,
    @builtin(subgroup_invocation_id) lane_of_subgroup: u32,
) {
    let lane = local % LANES;
    let k_part = local / LANES;
    let first_pixel = (group.x + group.z * GRID_X) * TILE_PIXELS;
    let first_quad = group.y * TILE_QUADS;
    let first_weight = group.y * TILE_WEIGHTS;
    // Where possible, two neighbouring invocations stage two planes of one pixel: 16-byte writes without bank conflicts.
    let paired = PLANES > 1u;
    let own_pixel = select(lane, lane / 2u % TILE_PIXELS, paired);
    let own_plane = select(0u, lane % 2u + lane / (2u * TILE_PIXELS) * 2u, paired);
    let staging = pixel_position(min(first_pixel + own_pixel, PIXELS - 1u));
    let stage_pixel = k_part * STAGED + own_pixel * ROW + own_plane;
    let stage_weight = k_part * STAGED + STAGED_PIXELS + lane / DEPTH * ROW + lane % DEPTH;
    // The subgroup's rows and columns of the tile, and their addresses in staging memory.
    let part = subgroup % PARTS;
    let first_row = part % SUBGROUPS_Y * (FRAGMENTS_Y * SIDE);
    let first_column = part / SUBGROUPS_Y * (FRAGMENTS_X * SIDE);
    let pixels_at = subgroup / PARTS * STAGED + first_column * ROW;
    let weights_at = subgroup / PARTS * STAGED + STAGED_PIXELS + first_row * ROW;
    //# registers
    var sums_of: array<coop_mat16x16<f32, C>, FRAGMENTS_Y * FRAGMENTS_X>;
    //# for r in K_RANGES
    {
        var step = k_part;
        //# registers
        var pixels: array<vec4<f16>, OWN_PIXELS>;
        //# registers
        var weights_of: array<vec4<f16>, OWN_WEIGHTS>;
        // Prefetch: each step is loaded while the previous one is multiplied.
        {
            let origin = origin_r0(staging, step);
            let plane = plane_r0(step) + own_plane;
            let weight = first_weight + R0_WEIGHTS + step_r0(step) * RUN + lane;
            //# unroll
            for (var i = 0u; i < OWN_PIXELS; i++) {
                pixels[i] = quad_r0(origin, plane + i * PLANES);
            }
            //# unroll
            for (var i = 0u; i < OWN_WEIGHTS; i++) {
                weights_of[i] = matrices[weight + i * LANES];
            }
        }
        for (var round = 0u; round < R0_ROUNDS; round++) {
            //# unroll
            for (var i = 0u; i < OWN_PIXELS; i++) {
                staged[stage_pixel + i * PLANES] = pixels[i];
            }
            //# unroll
            for (var i = 0u; i < OWN_WEIGHTS; i++) {
                staged[stage_weight + i * LANES / DEPTH * ROW] = weights_of[i];
            }
            workgroupBarrier();
            //# if
            if R0_ROUNDS > 1u {
                step += SPLIT_K;
                if round + 1u < R0_ROUNDS {
                    let origin = origin_r0(staging, step);
                    let plane = plane_r0(step) + own_plane;
                    let weight = first_weight + R0_WEIGHTS + step_r0(step) * RUN + lane;
                    //# unroll
                    for (var i = 0u; i < OWN_PIXELS; i++) {
                        pixels[i] = quad_r0(origin, plane + i * PLANES);
                    }
                    //# unroll
                    for (var i = 0u; i < OWN_WEIGHTS; i++) {
                        weights_of[i] = matrices[weight + i * LANES];
                    }
                }
            }
            //# unroll
            for (var k = 0u; k < DEPTH; k += SIDE_QUADS) {
                //# values
                var b: array<coop_mat16x16<f16, B>, FRAGMENTS_X>;
                //# unroll
                for (var p = 0u; p < FRAGMENTS_X; p++) {
                    b[p] = coopLoad<coop_mat16x16<f16, B>>(&staged[pixels_at + p * SIDE * ROW + k], ROW);
                }
                //# unroll
                for (var c = 0u; c < FRAGMENTS_Y; c++) {
                    let a = coopLoadT<coop_mat16x16<f16, A>>(&staged[weights_at + c * SIDE * ROW + k], ROW);
                    //# unroll
                    for (var p = 0u; p < FRAGMENTS_X; p++) {
                        sums_of[c * FRAGMENTS_X + p] = coopMultiplyAdd(a, b[p], sums_of[c * FRAGMENTS_X + p]);
                    }
                }
            }
            workgroupBarrier();
        }
    }
    //# end
    // Epilogue: one fragment at a time is stored to workgroup memory. Its invocations then add up the partial sums for some quads of one
    // pixel each, and store the results.
    let own_quad = lane_of_subgroup / SIDE + subgroup / PARTS * (SUBGROUP / SIDE);
    let own_sums = part * SUMS + lane_of_subgroup % SIDE * SUMS_ROW;
    //# unroll
    for (var p = 0u; p < FRAGMENTS_X; p++) {
        let pixel = first_pixel + first_column + p * SIDE + lane_of_subgroup % SIDE;
        // Pixels past the end repeat the last one and are not stored. With an in-place add they may read its value before or after
        // another invocation's store.
        let at = pixel_position(min(pixel, PIXELS - 1u));
        //# unroll
        for (var c = 0u; c < FRAGMENTS_Y; c++) {
            coopStore(sums_of[c * FRAGMENTS_X + p], &sums[subgroup * SUMS], SUMS_ROW);
            workgroupBarrier();
            // Compute all values before storing the first, to overlap the latency of loading added values.
            let first_of_tile = first_row / 4u + c * SIDE_QUADS;
            //# registers
            var values: array<vec4<f32>, OWN_EPILOGUE_QUADS>;
            //# unroll
            for (var i = 0u; i < OWN_EPILOGUE_QUADS; i++) {
                let quad = own_quad + i * EPILOGUE_STRIDE;
                let of_fragment = select(quad, min(quad, SIDE_QUADS - 1u), SOME_IDLE_IN_EPILOGUE);
                let of_tile = first_of_tile + of_fragment;
                var sum = sums[own_sums + of_fragment];
                //# unroll
                for (var other = 1u; other < SPLIT_K; other++) {
                    sum += sums[own_sums + other * PARTS * SUMS + of_fragment];
                }
                sum += load_parameters(first_weight + PARAMETER * of_tile);
                values[i] = epilogue(sum, at.z, min(first_quad + of_tile, OUT_QUADS - 1u), at.y, at.x);
            }
            //# unroll
            for (var i = 0u; i < OWN_EPILOGUE_QUADS; i++) {
                let of_fragment = own_quad + i * EPILOGUE_STRIDE;
                let quad = first_quad + first_of_tile + of_fragment;
                if (pixel < PIXELS) & (of_fragment < SIDE_QUADS) & (quad < OUT_QUADS) {
                    store(values[i], at.z, quad, at.y, at.x);
                }
            }
            workgroupBarrier();
        }
    }
}
