//! The WGSL of the universal convolution.

use super::super::layout::Kind;
use super::super::source::Source;
use super::{RANGE_SIZES, SIZES, step};

pub(super) const PRELUDE: &str = include_str!("../old/shaders/universal.wgsl");

/// The n-th of the 16 words that two lanes loaded as `{name}_low` and `{name}_high`.
fn word(name: &str, n: usize) -> String {
    let half = if n.is_multiple_of(2) { "low" } else { "high" };
    format!("subgroupShuffle({name}_{half}.{}, {}u)", ["x", "y", "z", "w"][n % 8 / 2], n / 8)
}

/// Loads 16 words from element `at` of the weights and names them.
pub(super) fn words(s: &mut Source, prefix: &str, at: &str, names: &[&str]) {
    s.line(format!("let {prefix} = weights[{at} + (lane & 1u)];"));
    s.line(format!("let {prefix}_low = vec4<u32>({prefix});"));
    s.line(format!("let {prefix}_high = vec4<u32>({prefix} >> vec4<u32>(32u));"));
    for (n, name) in names.iter().enumerate() {
        s.line(format!("let {name} = {};", word(prefix, n)));
    }
}

/// The shader for a tile of so many pixels and quads of output channels on subgroups of so many lanes.
pub(super) fn text(kind: Kind, (pixels, quads): (usize, usize), lanes: usize) -> String {
    let mut s = Source::new(true, None);
    s.fragment(PRELUDE);
    s.line(format!("@compute @workgroup_size({lanes})"));
    s.line("fn conv2d(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) local: u32, @builtin(subgroup_invocation_id) lane: u32) {");
    let sizes = [
        "invocations",
        "tiles_across",
        "height",
        "width",
        "out_quads",
        "first_block",
        "block",
        "ranges",
        "outputs",
        "adds",
        "low",
        "high",
        "grid_x",
        "tile_pixels",
    ];
    words(&mut s, "sizes", "0u", &sizes);
    s.line(format!("let invocation = (group.x + group.z * grid_x) * {lanes}u + local;"));
    s.line("let live = invocation < invocations;");
    s.line("let index = min(invocation, invocations - 1u);");
    s.line(format!("let x = index % tiles_across * {pixels}u;"));
    s.line("let y = index / tiles_across % height;");
    s.line("let image = index / (tiles_across * height);");
    s.line(format!("let first_quad = group.y * {quads}u;"));
    s.line("var weight = first_block + group.y * block;");
    for i in 0..quads / 2 {
        s.line(format!("let bias{i} = load_pair(weight + {i}u);"));
    }
    for (p, q) in (0..pixels).flat_map(|p| (0..quads).map(move |q| (p, q))) {
        s.line(format!("var a{p}_{q} = bias{}.{};", q / 2, half(q)));
    }
    s.line(format!("weight += {}u;", quads / 2));
    s.line("for (var r = 0u; r < ranges; r++) {");
    let sizes = [
        "base",
        "plane_size",
        "image_size",
        "planes",
        "window_y",
        "window_x",
        "row_size",
        "element_size",
        "in_height",
        "in_width",
        "pad_y",
        "pad_x",
        "step_y",
        "step_x",
        "dilation_y",
        "dilation_x",
    ];
    words(&mut s, "range", "weight", &sizes);
    s.line(format!("weight += {RANGE_SIZES}u;"));
    s.line("let first = base + image * image_size;");
    match kind {
        Kind::Depthwise => depthwise_range(&mut s, pixels),
        _ => dense_range(&mut s, pixels, quads, lanes),
    }
    s.line("}");
    epilogue(&mut s, pixels, quads);
    s.line("}");
    s.finish().0
}

fn half(n: usize) -> &'static str {
    if n.is_multiple_of(2) { "a" } else { "b" }
}

/// The beginning of a loop over the rows of a range's window.
fn rows(s: &mut Source) {
    s.line("for (var ky = 0u; ky < window_y; ky++) {");
    s.line("let in_y = y * step_y + ky * dilation_y - pad_y;");
    s.line("let row = first + in_y * row_size;");
    s.line("let row_inside = in_y < in_height;");
}

/// The input columns of `taps` taps from `in_x` on, of which `pixels` neighbours need the most at stride 1.
fn columns(s: &mut Source, pixels: usize, taps: usize) -> usize {
    let columns = pixels + taps - 1;
    for j in 0..columns {
        let step = if taps == 1 { " * step_x" } else { "" };
        s.line(format!("let column{j} = in_x + {j}u{step};"));
        s.line(format!("let inside{j} = row_inside && column{j} < in_width;"));
        s.line(format!("let at{j} = row + column{j} * element_size;"));
    }
    columns
}

/// A range of all inputs against all outputs, tap by tap.
fn dense_range(s: &mut Source, pixels: usize, quads: usize, lanes: usize) {
    rows(s);
    s.line("for (var kx = 0u; kx < window_x; kx++) {");
    s.line("let in_x = x * step_x + kx * dilation_x - pad_x;");
    columns(s, pixels, 1);
    s.line("var plane = 0u;");
    s.line("for (var i = 0u; i < planes; i++) {");
    for p in 0..pixels {
        s.line(format!("let x{p} = load(select(0u, at{p} + plane, inside{p}));"));
    }
    // One load per lane, handed round: a load costs more than a shuffle by a constant.
    for i in 0..step(quads).div_ceil(lanes) {
        s.line(format!("let pair{i} = load_pair(weight + lane + {}u);", i * lanes));
    }
    for q in 0..quads {
        for l in 0..4 {
            let n = l * quads + q;
            let (load, lane) = (n / 2 / lanes, n / 2 % lanes);
            s.line(format!("let w{q}_{l} = subgroupShuffle(pair{load}.{}, {lane}u);", half(n)));
        }
        // One accumulator at a time, all its products: it stays in a register.
        for p in 0..pixels {
            let products = ["x", "y", "z", "w"].iter().enumerate();
            let sum: String = products.map(|(l, lane)| format!(" + x{p}.{lane} * w{q}_{l}")).collect();
            s.line(format!("a{p}_{q} = a{p}_{q}{sum};"));
        }
    }
    s.line("plane += plane_size;");
    s.line(format!("weight += {}u;", step(quads)));
    s.line("}");
    s.line("}");
    s.line("}");
}

/// A range of inputs each against its own output, for a pair of quads: three taps that share loads where they can, else tap by tap.
fn depthwise_range(s: &mut Source, pixels: usize) {
    for q in 0..2 {
        s.line(format!("let plane{q} = min(first_quad + {q}u, planes - 1u) * plane_size;"));
    }
    rows(s);
    s.line("if window_x == 3u && step_x == 1u && dilation_x == 1u {");
    s.line("let in_x = x - pad_x;");
    depthwise_taps(s, pixels, 3);
    s.line("} else {");
    s.line("for (var kx = 0u; kx < window_x; kx++) {");
    s.line("let in_x = x * step_x + kx * dilation_x - pad_x;");
    depthwise_taps(s, pixels, 1);
    s.line("}");
    s.line("}");
    s.line("}");
}

fn depthwise_taps(s: &mut Source, pixels: usize, taps: usize) {
    let columns = columns(s, pixels, taps);
    for k in 0..taps {
        s.line(format!("let pair{k} = load_pair(weight + {k}u);"));
    }
    for q in 0..2 {
        for j in 0..columns {
            s.line(format!("let x{j}_{q} = load(select(0u, at{j} + plane{q}, inside{j}));"));
        }
        for p in 0..pixels {
            let products = (0..taps).map(|k| format!(" + x{}_{q} * pair{k}.{}", p + k, half(q)));
            s.line(format!("a{p}_{q} = a{p}_{q}{};", products.collect::<String>()));
        }
    }
    s.line(format!("weight += {taps}u;"));
}

/// Adds, clamps and stores, quad by quad and pixel by pixel: registers move through one place each that loads and stores,
/// since it is those that take long to compile.
fn epilogue(s: &mut Source, pixels: usize, tile_quads: usize) {
    s.line("if !live {");
    s.line("return;");
    s.line("}");
    s.line("let pixels = min(tile_pixels, width - x);");
    first_rows(s, SIZES);
    s.line(format!("let quads = min({tile_quads}u, out_quads - first_quad);"));
    s.line("for (var q = 0u; q < quads; q++) {");
    s.line("let quad = first_quad + q;");
    for p in 0..pixels {
        s.line(format!("var b{p} = a{p}_0;"));
    }
    finish(s, pixels, SIZES);
    for p in 0..pixels {
        for q in 1..tile_quads {
            s.line(format!("a{p}_{} = a{p}_{q};", q - 1));
        }
    }
    s.line("}");
}

/// Reads the first row of each table, which mostly is the only one, before the loops. The tables begin at pair `tables` of the weights.
pub(super) fn first_rows(s: &mut Source, tables: usize) {
    s.line(format!("let first_output = weights[{tables}u];"));
    s.line(format!("let first_add = weights[{tables}u + outputs];"));
}

/// Adds to `b0`, `b1`, .., which are neighbours in row `y` from column `x` on of `quad` and `image`, clamps and stores the first
/// `pixels` of them. After [`first_rows`].
pub(super) fn finish(s: &mut Source, registers: usize, tables: usize) {
    let rotate = |s: &mut Source, last: &str| {
        for p in 1..registers {
            s.line(format!("b{} = b{p};", p - 1));
        }
        if !last.is_empty() {
            s.line(format!("b{} = {last};", registers - 1));
        }
    };
    s.line("for (var i = 0u; i < adds; i++) {");
    s.line("var row = first_add;");
    s.line("if i > 0u {");
    s.line(format!("row = weights[{tables}u + outputs + i];"));
    s.line("}");
    s.line("let add = part(row, image, quad, y, x);");
    s.line("if add.covers {");
    // A count that is no constant: the driver would unroll the loop.
    s.line("for (var p = 0u; p < tile_pixels; p++) {");
    s.line("let value = load(select(0u, add.at + p * add.step, p < pixels));");
    s.line("let sum = b0 + select(vec4<f32>(), value, add.lanes);");
    rotate(s, "sum");
    s.line("}");
    s.line("}");
    s.line("}");
    s.line("for (var i = 0u; i < outputs; i++) {");
    s.line("var row = first_output;");
    s.line("if i > 0u {");
    s.line(format!("row = weights[{tables}u + i];"));
    s.line("}");
    s.line("let output = part(row, image, quad, y, x);");
    s.line("if output.covers {");
    s.line("for (var p = 0u; p < pixels; p++) {");
    s.line("let value = max(b0, vec4<f32>(bitcast<f32>(low)));");
    s.line("store(output.at + p, min(value, vec4<f32>(bitcast<f32>(high))));");
    rotate(s, "");
    s.line("}");
    s.line("}");
    s.line("}");
}
