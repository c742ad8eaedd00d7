// Convolution by register tiles: an invocation computes TILE_PIXELS neighbouring pixels of a row, of TILE_QUADS quads of output
// channels, on its own. For integrated and mobile GPUs, whose caches serve neighbours well; it computes every convolution there is.
//
// Every operand of a K range is read once per step for all products of the tile. A step is a quad of input channels (one channel where
// they are planes) at a row of taps of the window or, where those are many, at one tap. Where a map is small, invocations have several
// tiles of output channels (PARTS) or SPLIT_K parts of K in a workgroup, whose sums are added at the end. With a max pool the conv values
// stay in registers, and what is stored are their maxima: of windows that overlap by at most a row, row by row for STRIP pooled
// rows (BY_ROWS), of others tap by tap.
//
// Software Vulkan has tiles of its own (kernel/software): LANES invocations of a subgroup load weights for one another, planes are read
// in octets, and the tile is stored in a loop, since each of these saves loads, or time to compile.
const TILE = TILE_PIXELS * TILE_QUADS;
// Elements of a plane that are read at once.
const OCTET = 8u;

//# when SPLIT_K > 1u
// What the slices of all tiles have summed.
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
    // Invocations in order: tiles of pixels, of these again for every part of K, and of all that for every tile of output channels.
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
    // Who has no tile computes the last one along, and stores nothing.
    let live = (own_pixel_tile < PIXEL_TILES) & (own_channel_tile < CHANNEL_TILES);
    let index = min(own_pixel_tile, PIXEL_TILES - 1u);
    let across = index % TILES_ACROSS;
    let down = index / TILES_ACROSS % TILES_DOWN;
    let image = index / (TILES_ACROSS * TILES_DOWN);
    let first_quad = channel_tile * TILE_QUADS;
    let first_weight = channel_tile * TILE_WEIGHTS;
    let out_x = across * TILE_PIXELS;
    // What is stored; under a max pool, the maxima so far beside it.
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
    // Rows of conv pixels under the tile, or taps of the pool's window; one without a pool.
    //# unroll if TURNS == 1u
    for (var pool_step = 0u; pool_step < POOL_STEPS; pool_step++) {
        // The first conv pixel. A window of the pool may begin before the map: then it has wrapped.
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
        // Sums of CONV_PIXELS conv pixels. Parts of K get the bias where their sums meet.
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
                //# unroll if R0_TURNS_X == 1u
                for (var kx = 0u; kx < R0_STEPS_X; kx++) {
                    // Input columns that pixels and taps read, each R0_OFFSETS from the first: none is loaded that is outside for every
                    // invocation, and none is tested that is inside for all. R0_COLUMN says which one a pixel and a tap have.
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
                        // All input channels of a group against all output channels of the tile. Slices take the quads in turn.
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
                                // An octet lies inside its row, or outside as a whole.
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
                                // One load per lane, handed round: a load costs more than a shuffle by a constant.
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
                                // One sum at a time, all its products: it stays in a register.
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
                        // Each input channel against the output channel of its number.
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
                        // Groups that do not fit quads: every output channel reads input channels of its own.
                        //# values
                        var channel: array<vec4<u32>, TILE_QUADS>;
                        //# unroll
                        for (var q = 0u; q < TILE_QUADS; q++) {
                            channel[q] = R0_FIRST_CHANNEL + min(channels_of(first_quad + q), vec4<u32>(OUT_CHANNELS - 1u)) / R0_GROUP_OUTPUTS * R0_GROUP_INPUTS;
                        }
                        for (var i = 0u; i < R0_GROUP_INPUTS; i++) {
                            // Of the weights the channel is outermost, of the loops innermost.
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
                        // After the last tap, on behind the range.
                        let last = (ky == R0_KERNEL_Y - 1u) & (kx == R0_KERNEL_X - 1u);
                        weight += select(0u, R0_GROUP_INPUTS * R0_KERNEL_Y * R0_KERNEL_X * R0_WEIGHTS, last);
                    }
                }
            }
        }
        //# end
        // What the tile holds now, which output row that is, and whether it is to be stored.
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
                    // Where the tile has more channels than there are, the last are added to again: nothing of it is stored.
                    let quad = min(first_quad + q, OUT_QUADS - 1u);
                    conv[p * TILE_QUADS + q] = select(lowest(), epilogue(sums[p * TILE_QUADS + q], image, quad, y, x + p), inside);
                }
            }
            // Maxima of the windows' parts in this row.
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
            // Where windows overlap by a row, the one that begins in it ends the one above.
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
            // The slices of a tile share what is left to do.
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
                    // Values move down past one place that stores: it is stores that take long to compile.
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

// Stores a value of the tile: a maximum as it is, a sum with what is added to it.
fn store_value(value: vec4<f32>, image: u32, quad: u32, y: u32, x: u32) {
    //# if
    if POOLED {
        store(value, image, quad, y, x);
    } else {
        store(epilogue(value, image, quad, y, x), image, quad, y, x);
    }
}
