// The epilogue of convolutions on software Vulkan: values are added to sums, the activation clamps them, and they are stored.
//
// It takes TILE_PIXELS neighbours of a row at a time. They move through one place that loads and one that stores, by being shifted,
// since it is loads and stores that take long to compile.

// What the epilogue is told, and the first row of each table, which mostly is the only one. The tables begin at pair TABLES of the
// weights, a pair for every buffer that is written and then one for every value that is added.
struct Tables {
    outputs: u32,
    adds: u32,
    // Bounds of the activation.
    low: f32,
    high: f32,
    // TILE_PIXELS, as no constant: a driver would unroll the loops.
    tile_pixels: u32,
    first_output: vec4<u64>,
    first_add: vec4<u64>,
}

fn tables_of(outputs: u32, adds: u32, low: u32, high: u32, tile_pixels: u32) -> Tables {
    let first_output = weights[TABLES];
    let first_add = weights[TABLES + outputs];
    return Tables(outputs, adds, bitcast<f32>(low), bitcast<f32>(high), tile_pixels, first_output, first_add);
}

// Where a quad of output channels is, in a buffer that holds some of them.
struct Part {
    covers: bool,
    at: u32,
    step: u32,
    // Lanes of the quad that are among them; the buffer may hold others beside.
    lanes: vec4<bool>,
}

// From a row of a table: first quad and the one past the last, first element, elements of an image, of a quad's plane, of a row,
// from pixel to pixel, channels.
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

// Finishes the sums of `quad` at the first `pixels` places in row y from column x on.
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
