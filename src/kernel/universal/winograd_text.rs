//! The WGSL of the transforms around the universal convolution.

use super::super::source::Source;
use super::super::winograd::Minimal;
use super::text::{PRELUDE, finish, first_rows, words};
use super::winograd::{RANGES, SIZES, TABLES};

const SCRATCH: &str = "@group(0) @binding(2) var<storage, read_write> scratch: array<vec2<u64>>;";

/// What both transforms are told.
const NAMES: [&str; 15] = [
    "tiles",
    "tiles_across",
    "tiles_down",
    "tile_row",
    "place_in",
    "place_out",
    "sums",
    "out_height",
    "width",
    "biases",
    "outputs",
    "adds",
    "low",
    "high",
    "tile_pixels",
];

fn begin(lanes: usize, entry: &str) -> Source {
    let mut s = Source::new(true, None);
    s.fragment(PRELUDE);
    s.line(SCRATCH);
    s.line(format!("@compute @workgroup_size({lanes})"));
    s.line(format!("fn {entry}(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) local: u32, @builtin(subgroup_invocation_id) lane: u32) {{"));
    words(&mut s, "sizes", &format!("{SIZES}u"), &NAMES);
    s.line(format!("let own = group.x * {lanes}u + local;"));
    s.line("let tile = min(own, tiles - 1u);");
    s.line("let tile_x = tile % tiles_across;");
    s.line("let tile_y = tile / tiles_across % tiles_down;");
    s.line("let image = tile / (tiles_across * tiles_down);");
    s
}

/// Moves registers `{name}{i}_{j}` down by one in `i`, the last to `last`.
fn shift_rows(s: &mut Source, name: &str, rows: usize, columns: usize, last: Option<&str>) {
    for j in 0..columns {
        for i in 1..rows {
            s.line(format!("{name}{}_{j} = {name}{i}_{j};", i - 1));
        }
        if let Some(last) = last {
            s.line(format!("{name}{}_{j} = {last}{j};", rows - 1));
        }
    }
}

/// The same by one in `j`.
fn shift_columns(s: &mut Source, name: &str, rows: usize, columns: usize, last: Option<&str>) {
    for i in 0..rows {
        for j in 1..columns {
            s.line(format!("{name}{i}_{} = {name}{i}_{j};", j - 1));
        }
        if let Some(last) = last {
            s.line(format!("{name}{i}_{} = {last}{i};", columns - 1));
        }
    }
}

fn names(name: impl Fn(usize) -> String, count: usize) -> Vec<String> {
    (0..count).map(name).collect()
}

/// `B' d B`: a tile and a quad of channels per invocation, the places of the tile one plane after the other in the scratch buffer.
/// Registers move through one place each that loads and stores, since it is those that take long to compile.
pub(super) fn input(minimal: Minimal, lanes: usize) -> String {
    let n = minimal.inputs();
    let mut s = begin(lanes, "transform_input");
    let range = [
        "first_plane",
        "base",
        "plane_size",
        "image_size",
        "planes",
        "row_size",
        "element_size",
        "in_height",
        "in_width",
        "pad_y",
        "pad_x",
    ];
    words(&mut s, "range", &format!("{RANGES}u + 2u * group.z"), &range);
    s.line("if group.y >= planes {");
    s.line("return;");
    s.line("}");
    s.line("let first = base + image * image_size + group.y * plane_size;");
    s.line("let first_y = tile_y * tile_pixels - pad_y;");
    s.line("let first_x = tile_x * tile_pixels - pad_x;");
    for i in 0..n {
        for j in 0..n {
            s.line(format!("var r{i}_{j} = vec4<f32>();"));
        }
    }
    s.line("for (var i = 0u; i < tile_pixels + 2u; i++) {");
    s.line("let in_y = first_y + i;");
    s.line("let row = first + in_y * row_size;");
    for j in 0..n {
        s.line(format!("let x{j} = first_x + {j}u;"));
        s.line(format!(
            "let d{j} = load(select(0u, row + x{j} * element_size, in_y < in_height && x{j} < in_width));"
        ));
    }
    minimal.emit_input(&mut s, "t", &names(|j| format!("d{j}"), n));
    shift_rows(&mut s, "r", n, n, Some("t"));
    s.line("}");
    s.line("var to = (first_plane + group.y) * tile_row + own;");
    s.line("for (var j = 0u; j < tile_pixels + 2u; j++) {");
    minimal.emit_input(&mut s, "v", &names(|i| format!("r{i}_0"), n));
    for i in 0..n {
        s.line(format!("scratch[to + {}u * place_in] = raw_of(v{i});", i * n));
    }
    s.line("to += place_in;");
    shift_columns(&mut s, "r", n, n, None);
    s.line("}");
    s.line("}");
    s.finish().0
}

/// `A' m A`: a tile and a quad of output channels per invocation.
pub(super) fn output(minimal: Minimal, lanes: usize) -> String {
    let (n, m) = (minimal.inputs(), minimal.outputs());
    let mut s = begin(lanes, "transform_output");
    s.line("let quad = group.y;");
    s.line("var at = sums + quad * tile_row + tile;");
    for i in 0..m {
        for j in 0..n {
            s.line(format!("var c{i}_{j} = vec4<f32>();"));
        }
    }
    s.line("for (var j = 0u; j < tile_pixels + 2u; j++) {");
    for i in 0..n {
        s.line(format!("let m{i} = quad_of(scratch[at + {}u * place_out]);", i * n));
    }
    minimal.emit_output(&mut s, "t", &names(|i| format!("m{i}"), n));
    shift_columns(&mut s, "c", m, n, Some("t"));
    s.line("at += place_out;");
    s.line("}");
    s.line("let biases_of_two = load_pair(biases + quad / 2u);");
    s.line("let bias = select(biases_of_two.a, biases_of_two.b, quad % 2u == 1u);");
    s.line("let x = tile_x * tile_pixels;");
    s.line("let pixels = min(tile_pixels, width - x);");
    s.line("let rows = min(tile_pixels, out_height - tile_y * tile_pixels);");
    s.line("if own >= tiles {");
    s.line("return;");
    s.line("}");
    first_rows(&mut s, TABLES);
    s.line("for (var i = 0u; i < rows; i++) {");
    s.line("let y = tile_y * tile_pixels + i;");
    minimal.emit_output(&mut s, "h", &names(|j| format!("c0_{j}"), n));
    for j in 0..m {
        s.line(format!("var b{j} = bias + h{j};"));
    }
    finish(&mut s, m, TABLES);
    shift_rows(&mut s, "c", m, n, None);
    s.line("}");
    s.line("}");
    s.finish().0
}
