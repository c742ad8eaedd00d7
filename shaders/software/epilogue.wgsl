// The epilogue of convolutions on software Vulkan: values are added to sums, the activation clamps them, and they are stored.
//
// It processes TILE_PIXELS neighbouring pixels of a row at a time. They are shifted past a single load and a single store statement,
// since every load and store statement adds compile time.

// Parameters of the epilogue, and the first row of each table, usually the only one. The tables begin at pair TABLES of the weights: one
// pair per written buffer, then one per added value.
struct Tables {
    outputs: u32,
    adds: u32,
    // Bounds of the activation.
    low: f32,
    high: f32,
    // TILE_PIXELS as a variable, so that drivers do not unroll the loops.
    tile_pixels: u32,
    first_output: vec4<u64>,
    first_add: vec4<u64>,
}

fn tables_of(outputs: u32, adds: u32, low: u32, high: u32, tile_pixels: u32) -> Tables {
    let first_output = weights[TABLES];
    let first_add = weights[TABLES + outputs];
    return Tables(outputs, adds, bitcast<f32>(low), bitcast<f32>(high), tile_pixels, first_output, first_add);
}

// Address of a quad of output channels in a buffer that may contain it.
struct Part {
    covers: bool,
    at: u32,
    step: u32,
    // Lanes of the quad that belong to the channel range; the buffer may hold other channels in the rest.
    lanes: vec4<bool>,
}

// Decodes a table row: first quad, end quad, first element, elements per image, per plane of a quad, per row, per pixel, and channels.
fn part(row: vec4<u64>, image: u32, quad: u32, y: u32, x: u32) -> Part {
    let low = vec4<u32>(row);
    let high = vec4<u32>(row >> vec4<u32>(32u));
    let n = quad - low.x;
    let at = low.y + image * high.y + n * low.z + y * high.z + x * low.w;
    let lanes = channels_of(n) < vec4<u32>(high.w);
    return Part(quad >= low.x && quad < high.x, at, low.w, lanes);
}

// Moves sums down by one; the last stays.
fn shift(sums: ptr<function, array<vec4<f32>, TILE_PIXELS>>) {
    //# unroll
    for (var p = 1u; p < TILE_PIXELS; p++) {
        (*sums)[p - 1u] = (*sums)[p];
    }
}

// Applies the epilogue to the sums of `quad` at `pixels` pixels of row y from column x on, and stores them.
fn epilogue(
    sums: ptr<function, array<vec4<f32>, TILE_PIXELS>>,
    tables: Tables,
    image: u32,
    quad: u32,
    y: u32,
    x: u32,
    pixels: u32,
) {
    for (var i = 0u; i < tables.adds; i++) {
        var row = tables.first_add;
        if i > 0u {
            row = weights[TABLES + tables.outputs + i];
        }
        let add = part(row, image, quad, y, x);
        if add.covers {
            for (var p = 0u; p < tables.tile_pixels; p++) {
                let value = load(select(0u, add.at + p * add.step, p < pixels));
                let sum = (*sums)[0] + select(vec4<f32>(), value, add.lanes);
                shift(sums);
                (*sums)[TILE_PIXELS - 1u] = sum;
            }
        }
    }
    for (var i = 0u; i < tables.outputs; i++) {
        var row = tables.first_output;
        if i > 0u {
            row = weights[TABLES + i];
        }
        let output = part(row, image, quad, y, x);
        if output.covers {
            for (var p = 0u; p < pixels; p++) {
                let value = max((*sums)[0], vec4<f32>(tables.low));
                store(output.at + p, min(value, vec4<f32>(tables.high)));
                shift(sums);
            }
        }
    }
}
