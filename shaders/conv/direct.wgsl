// Convolution by register tiles: an invocation computes TILE_PIXELS neighbouring pixels of a row x TILE_QUADS quads of output channels.
// For integrated and mobile GPUs, whose caches serve neighbours well. It supports every convolution.
//
// In each step an invocation loads operands once for all products of the tile. A step is a quad of input channels (one channel of a
// planar operand) at a row of taps or, where a row has many, at one tap. On small maps a workgroup covers GROUP_CHANNEL_TILES tiles of
// output channels, or splits K into SPLIT_K parts whose partial sums are added at the end. With a fused max pool conv values stay in
// registers and only maxima are stored. Windows that overlap by at most one row are computed row by row for STRIP pooled rows (BY_ROWS),
// others tap by tap.
//
// Software Vulkan uses other tiles (kernel/software): LANES invocations of a subgroup share loaded weights, planes are read in octets,
// and the tile is stored in a loop. Each of these saves loads or compile time.
const TILE = TILE_PIXELS * TILE_QUADS;
// Elements of a plane read by one load.
const OCTET = 8u;

//# when SPLIT_K > 1u
// Partial sums of all parts of K.
var<workgroup> partial_sums: array<vec4<f32>, WORKGROUP * TILE>;

//# end
@compute @workgroup_size(WORKGROUP)
fn conv2d(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
    //# when LANES > 1u
    @builtin(subgroup_invocation_id) lane: u32,
    //# end
) {
    // local = (channel tile in group * SPLIT_K + k_part) * GROUP_PIXEL_TILES + tile_in_group.
    var tile_in_group = local;
    var k_part = 0u;
    var own_channel_tile = group.y;
    var channel_tile = group.y;
    //# if
    if SPLIT_K * GROUP_CHANNEL_TILES > 1u {
        tile_in_group = local % GROUP_PIXEL_TILES;
        k_part = local / GROUP_PIXEL_TILES % SPLIT_K;
        own_channel_tile = group.y * GROUP_CHANNEL_TILES + local / (GROUP_PIXEL_TILES * SPLIT_K);
        channel_tile = min(own_channel_tile, CHANNEL_TILES - 1u);
    }
    let own_pixel_tile = (group.x + group.z * GRID_X) * GROUP_PIXEL_TILES + tile_in_group;
    // Invocations without a tile compute the last one too, and store nothing.
    let live = (own_pixel_tile < PIXEL_TILES) & (own_channel_tile < CHANNEL_TILES);
    let index = min(own_pixel_tile, PIXEL_TILES - 1u);
    let across = index % TILES_ACROSS;
    let down = index / TILES_ACROSS % TILES_DOWN;
    let image = index / (TILES_ACROSS * TILES_DOWN);
    let first_quad = channel_tile * TILE_QUADS;
    let first_weight = channel_tile * TILE_WEIGHTS;
    let out_x = across * TILE_PIXELS;
    // Values to store; with a max pool, also the maxima so far.
    //# registers
    var values: array<vec4<f32>, select(TILE, 0u, SPLIT_K > 1u)>;
    //# registers
    var best: array<vec4<f32>, select(0u, TILE, POOLED)>;
    //# if
    if POOLED {
        //# unroll
        for (var i = 0u; i < TILE; i++) {
            best[i] = lowest();
        }
    }
    // One step per conv row under the tile (BY_ROWS) or per tap of the pooling window; one step without a pool.
    //# unroll if POOL_STEPS == 1u
    for (var pool_step = 0u; pool_step < POOL_STEPS; pool_step++) {
        // Position of the first conv pixel. It wraps where a pooling window begins before the map.
        var y = down;
        var x = out_x;
        //# if
        if BY_ROWS {
            y = down * (STRIP * POOL_STEP_Y) + pool_step - POOL_PAD_Y;
            x = out_x * POOL_STEP_X - POOL_PAD_X;
        } else if POOLED {
            y = down * POOL_STEP_Y + pool_step / WINDOW_X - POOL_PAD_Y;
            x = out_x * POOL_STEP_X + pool_step % WINDOW_X - POOL_PAD_X;
        }
        // Sums of CONV_PIXELS conv pixels. With split K the bias is added to the total instead.
        //# registers
        var sums: array<vec4<f32>, CONV_PIXELS * TILE_QUADS>;
        //# if
        if SPLIT_K == 1u {
            //# values
            var bias: array<vec4<f32>, TILE_QUADS>;
            //# unroll
            for (var q = 0u; q < TILE_QUADS; q++) {
                bias[q] = load_parameters(first_weight + q * PARAMETER);
            }
            //# unroll
            for (var i = 0u; i < CONV_PIXELS * TILE_QUADS; i++) {
                sums[i] = bias[i % TILE_QUADS];
            }
        }
        var weight = first_weight + TILE_QUADS * PARAMETER;
        //# for r in K_RANGES
        {
            //# unroll if R0_KERNEL_Y == 1u
            for (var ky = 0u; ky < R0_KERNEL_Y; ky++) {
                let in_y = y * R0_STRIDE_Y + ky * R0_DILATION_Y - R0_PAD_Y;
                let row = row_r0(in_y);
                let row_inside = inside_r0(in_y, 0u);
                //# unroll if R0_STEPS_X == 1u
                for (var kx = 0u; kx < R0_STEPS_X; kx++) {
                    // Input columns read by pixels and taps, at R0_OFFSETS from the first. A column outside the view for every invocation
                    // is not loaded; one inside for all is not tested. R0_COLUMN maps (pixel, tap) to a column.
                    let in_x = x * R0_STRIDE_X + kx * R0_DILATION_X - R0_PAD_X;
                    //# values
                    var column: array<u32, R0_COLUMNS>;
                    //# values
                    var inside: array<bool, R0_COLUMNS>;
                    //# unroll
                    for (var j = 0u; j < R0_COLUMNS; j++) {
                        //# if
                        if R0_READS[j] && R0_CLAMPS[j] {
                            column[j] = min(in_x + R0_OFFSETS[j], R0_WIDTH - 1u) * R0_STEP;
                        } else if R0_READS[j] {
                            column[j] = (in_x + R0_OFFSETS[j]) * R0_STEP;
                        }
                        //# if
                        if R0_MASKS[j] {
                            inside[j] = row_inside & (in_x + R0_OFFSETS[j] < R0_WIDTH);
                        } else if R0_READS[j] {
                            inside[j] = row_inside;
                        }
                    }
                    //# if
                    if R0_DENSE {
                        // All input channels of a group with all output channels of the tile. Parts of K take the planes in turn.
                        var first_plane = R0_FIRST;
                        //# if
                        if R0_GROUPED {
                            first_plane += min(first_quad, OUT_QUADS - 1u) / R0_GROUP_QUADS * R0_PLANES;
                        }
                        var at = (image * R0_IMAGE + first_plane + k_part) * R0_PLANE + row;
                        let next_row = weight + R0_PLANES * R0_WEIGHTS;
                        weight += k_part * R0_WEIGHTS;
                        //# unroll if R0_PLANES == 1u && SPLIT_K == 1u
                        for (var plane = k_part; plane < R0_PLANES; plane += SPLIT_K) {
                            let prologue = prologue_r0(plane);
                            //# values
                            var octets: array<Pair, R0_OCTETS>;
                            //# unroll
                            for (var n = 0u; n < R0_OCTETS; n++) {
                                // An octet lies wholly inside or outside its row.
                                octets[n] = octet((at + min(in_x + n * OCTET - R0_PHASE, R0_WIDTH - OCTET)) / OCTET);
                            }
                            //# values
                            var x_of: array<vec4<f32>, R0_COLUMNS>;
                            //# unroll
                            for (var j = 0u; j < R0_COLUMNS; j++) {
                                //# if
                                if R0_READS[j] && R0_OCTETS > 0u {
                                    x_of[j] = select(vec4<f32>(), lane_of(octets[(R0_OFFSETS[j] + R0_PHASE) / OCTET], (R0_OFFSETS[j] + R0_PHASE) % OCTET), inside[j]);
                                } else if R0_READS[j] && (R0_MASK_Y || R0_MASKS[j]) {
                                    x_of[j] = select(vec4<f32>(), load_r0(at + column[j], row, column[j], prologue), inside[j]);
                                } else if R0_READS[j] {
                                    x_of[j] = load_r0(at + column[j], row, column[j], prologue);
                                }
                            }
                            //# values
                            var shared_weights: array<vec4<f32>, R0_SHARED>;
                            //# unroll
                            for (var i = 0u; i < R0_SHARED; i++) {
                                // Each lane loads one quad and the subgroup shares it: a load costs more than a shuffle by a constant.
                                shared_weights[i] = load_weights(weight + lane + i * LANES);
                            }
                            //# unroll
                            for (var q = 0u; q < TILE_QUADS; q++) {
                                //# values
                                var w: array<vec4<f32>, R0_TAPS * R0_DEPTH>;
                                //# unroll
                                for (var k = 0u; k < R0_TAPS * R0_DEPTH; k++) {
                                    //# if
                                    if LANES > 1u {
                                        w[k] = subgroupShuffle(shared_weights[(k * TILE_QUADS + q) / LANES], (k * TILE_QUADS + q) % LANES);
                                    } else {
                                        w[k] = load_weights(weight + k * TILE_QUADS + q);
                                    }
                                }
                                // All products of one sum at a time, so that the sum stays in a register.
                                //# unroll
                                for (var p = 0u; p < CONV_PIXELS; p++) {
                                    //# unroll
                                    for (var k = 0u; k < R0_TAPS; k++) {
                                        //# if
                                        if R0_READS[R0_COLUMN[p * R0_TAPS + k]] {
                                            //# unroll
                                            for (var c = 0u; c < R0_DEPTH; c++) {
                                                sums[p * TILE_QUADS + q] += x_of[R0_COLUMN[p * R0_TAPS + k]][c] * w[k * R0_DEPTH + c];
                                            }
                                        }
                                    }
                                }
                            }
                            at += SPLIT_K * R0_PLANE;
                            weight += SPLIT_K * R0_WEIGHTS;
                        }
                        weight = next_row;
                    } else if R0_DEPTHWISE {
                        // Each input channel with the output channel of the same number.
                        //# unroll
                        for (var q = 0u; q < TILE_QUADS; q++) {
                            let plane = image * R0_IMAGE + R0_FIRST + min(first_quad + q, OUT_QUADS - 1u);
                            let at = plane * R0_PLANE + row;
                            //# values
                            var x_of: array<vec4<f32>, R0_COLUMNS>;
                            //# unroll
                            for (var j = 0u; j < R0_COLUMNS; j++) {
                                //# if
                                if R0_READS[j] && (R0_MASK_Y || R0_MASKS[j]) {
                                    x_of[j] = select(vec4<f32>(), load_r0(at + column[j], row, column[j], Prologue()), inside[j]);
                                } else if R0_READS[j] {
                                    x_of[j] = load_r0(at + column[j], row, column[j], Prologue());
                                }
                            }
                            //# values
                            var w: array<vec4<f32>, R0_TAPS>;
                            //# unroll
                            for (var k = 0u; k < R0_TAPS; k++) {
                                w[k] = load_weights(weight + k * TILE_QUADS + q);
                            }
                            //# unroll
                            for (var p = 0u; p < CONV_PIXELS; p++) {
                                //# unroll
                                for (var k = 0u; k < R0_TAPS; k++) {
                                    //# if
                                    if R0_READS[R0_COLUMN[p * R0_TAPS + k]] {
                                        sums[p * TILE_QUADS + q] += x_of[R0_COLUMN[p * R0_TAPS + k]] * w[k];
                                    }
                                }
                            }
                        }
                        weight += R0_WEIGHTS;
                    } else {
                        // Groups that do not align with quads: every lane reads different input channels.
                        //# values
                        var channel: array<vec4<u32>, TILE_QUADS>;
                        //# unroll
                        for (var q = 0u; q < TILE_QUADS; q++) {
                            channel[q] = R0_FIRST_CHANNEL + min(channels_of(first_quad + q), vec4<u32>(OUT_CHANNELS - 1u)) / R0_GROUP_OUTPUTS * R0_GROUP_INPUTS;
                        }
                        for (var i = 0u; i < R0_GROUP_INPUTS; i++) {
                            // The channel is the outermost index of the weights and the innermost loop here.
                            let step = weight + ((i * R0_KERNEL_Y + ky) * R0_KERNEL_X + kx) * R0_WEIGHTS;
                            //# unroll
                            for (var p = 0u; p < CONV_PIXELS; p++) {
                                //# if
                                if R0_READS[R0_COLUMN[p]] {
                                    let at = row + column[R0_COLUMN[p]];
                                    //# unroll
                                    for (var q = 0u; q < TILE_QUADS; q++) {
                                        let own = channel[q] + vec4<u32>(i);
                                        let low = vec2<f32>(channel_r0(image, own.x, at), channel_r0(image, own.y, at));
                                        let high = vec2<f32>(channel_r0(image, own.z, at), channel_r0(image, own.w, at));
                                        let value = select(vec4<f32>(), vec4<f32>(low, high), inside[R0_COLUMN[p]]);
                                        sums[p * TILE_QUADS + q] += value * load_weights(step + q);
                                    }
                                }
                            }
                        }
                        // After the last tap, skip to the end of the range.
                        let last = (ky == R0_KERNEL_Y - 1u) & (kx == R0_KERNEL_X - 1u);
                        weight += select(0u, R0_GROUP_INPUTS * R0_KERNEL_Y * R0_KERNEL_X * R0_WEIGHTS, last);
                    }
                }
            }
        }
        //# end
        // Set `values`, their output row, and whether they are complete.
        var out_y = y;
        var ready = live;
        //# if
        if BY_ROWS {
            //# registers
            var conv: array<vec4<f32>, CONV_PIXELS * TILE_QUADS>;
            //# unroll
            for (var p = 0u; p < CONV_PIXELS; p++) {
                let inside = (y < CONV_HEIGHT) & (x + p < CONV_WIDTH);
                //# unroll
                for (var q = 0u; q < TILE_QUADS; q++) {
                    // Quads past the last output channel repeat the last one; they are not stored.
                    let quad = min(first_quad + q, OUT_QUADS - 1u);
                    conv[p * TILE_QUADS + q] = select(lowest(), epilogue(sums[p * TILE_QUADS + q], image, quad, y, x + p), inside);
                }
            }
            // Maxima of each window's elements in this row.
            //# registers
            var of_row: array<vec4<f32>, TILE>;
            //# unroll
            for (var p = 0u; p < TILE_PIXELS; p++) {
                //# unroll
                for (var q = 0u; q < TILE_QUADS; q++) {
                    of_row[p * TILE_QUADS + q] = conv[p * POOL_STEP_X * TILE_QUADS + q];
                    //# unroll
                    for (var i = 1u; i < WINDOW_X; i++) {
                        of_row[p * TILE_QUADS + q] = larger(of_row[p * TILE_QUADS + q], conv[(p * POOL_STEP_X + i) * TILE_QUADS + q]);
                    }
                }
            }
            //# unroll
            for (var i = 0u; i < TILE; i++) {
                values[i] = larger(best[i], of_row[i]);
            }
            // Where windows overlap by one row, the row that begins a window completes the one above.
            let ends = pool_step % POOL_STEP_Y == select(POOL_STEP_Y - 1u, 0u, OVERLAP == 1u);
            out_y = down * STRIP + pool_step / POOL_STEP_Y - OVERLAP;
            ready = live & ends & (pool_step >= OVERLAP) & (out_y < OUT_HEIGHT);
            //# unroll
            for (var i = 0u; i < TILE; i++) {
                best[i] = select(values[i], select(lowest(), of_row[i], OVERLAP == 1u), ends);
            }
        } else if POOLED {
            //# unroll
            for (var p = 0u; p < TILE_PIXELS; p++) {
                let conv_x = x + p * POOL_STEP_X;
                let inside = (y < CONV_HEIGHT) & (conv_x < CONV_WIDTH);
                //# unroll
                for (var q = 0u; q < TILE_QUADS; q++) {
                    let quad = min(first_quad + q, OUT_QUADS - 1u);
                    let value = select(lowest(), epilogue(sums[p * TILE_QUADS + q], image, quad, y, conv_x), inside);
                    best[p * TILE_QUADS + q] = larger(best[p * TILE_QUADS + q], value);
                    values[p * TILE_QUADS + q] = best[p * TILE_QUADS + q];
                }
            }
            out_y = down;
            ready = live & (pool_step + 1u == POOL_STEPS);
        } else if SPLIT_K > 1u {
            // The invocations of a tile share the reduction and the epilogue.
            //# unroll
            for (var i = 0u; i < TILE; i++) {
                partial_sums[i * WORKGROUP + local] = sums[i];
            }
            workgroupBarrier();
            for (var i = k_part; i < TILE; i += SPLIT_K) {
                let p = i / TILE_QUADS;
                let q = i % TILE_QUADS;
                let first = i * WORKGROUP + local - k_part * GROUP_PIXEL_TILES;
                var sum = load_parameters(first_weight + q * PARAMETER);
                for (var other = 0u; other < SPLIT_K; other++) {
                    sum += partial_sums[first + other * GROUP_PIXEL_TILES];
                }
                if live && first_quad + q < OUT_QUADS && x + p < CONV_WIDTH {
                    store(epilogue(sum, image, first_quad + q, y, x + p), image, first_quad + q, y, x + p);
                }
            }
        } else {
            //# unroll
            for (var i = 0u; i < TILE; i++) {
                values[i] = sums[i];
            }
        }
        //# if
        if SPLIT_K == 1u {
            if ready {
                //# if
                if LOOPED {
                    // A single store statement, past which values are shifted: every store statement adds compile time.
                    let stored = min(TILE_PIXELS, OUT_WIDTH - out_x);
                    for (var p = 0u; p < stored; p++) {
                        //# unroll
                        for (var q = 0u; q < TILE_QUADS; q++) {
                            //# unless OUT_QUADS % TILE_QUADS == 0u || q == 0u
                            if first_quad + q < OUT_QUADS {
                                store_value(values[q], image, first_quad + q, out_y, out_x + p);
                            }
                        }
                        //# unroll
                        for (var i = TILE_QUADS; i < TILE; i++) {
                            values[i - TILE_QUADS] = values[i];
                        }
                    }
                } else {
                    //# unroll
                    for (var p = 0u; p < TILE_PIXELS; p++) {
                        //# unless OUT_WIDTH % TILE_PIXELS == 0u || p == 0u
                        if out_x + p < OUT_WIDTH {
                            //# unroll
                            for (var q = 0u; q < TILE_QUADS; q++) {
                                //# unless OUT_QUADS % TILE_QUADS == 0u || q == 0u
                                if first_quad + q < OUT_QUADS {
                                    store_value(values[p * TILE_QUADS + q], image, first_quad + q, out_y, out_x + p);
                                }
                            }
                        }
                    }
                }
            }
        }
    }
}

// Stores a value of the tile: a maximum unchanged, a sum after the epilogue.
fn store_value(value: vec4<f32>, image: u32, quad: u32, y: u32, x: u32) {
    //# if
    if POOLED {
        store(value, image, quad, y, x);
    } else {
        store(epilogue(value, image, quad, y, x), image, quad, y, x);
    }
}
