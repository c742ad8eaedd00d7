//! The shader of F(2x2, 3x3).

use super::super::source::{Source, planes, times};
use super::super::spec::ConvSpec;
use super::super::{Arena, Capabilities, Kernel, Packing, Shader, epilogue};
use super::{Shape, WORKGROUP, WinogradLayout, all_tiles, tiles};

/// The kernel for a spec and a shape that [`offered`](super::offered) gives for it.
pub(in super::super) fn kernel(
    spec: &ConvSpec,
    shape: &Shape,
    caps: &Capabilities,
    arena: Option<&Arena>,
) -> Kernel {
    let layout = WinogradLayout::new(spec, shape);
    let workgroups = all_tiles(spec).div_ceil(shape.tiles);
    let fold = workgroups.div_ceil(caps.max_workgroups as usize).max(1);
    let grid = [workgroups.div_ceil(fold) as u32, layout.tiles as u32, fold as u32];
    let int64 = caps.wide_loads();
    let [down, across] = tiles(spec);
    let constants = [
        ("TILES", all_tiles(spec)),
        ("TILES_DOWN", down),
        ("TILES_ACROSS", across),
        ("GRID_X", grid[0] as usize),
        ("WORKGROUP", WORKGROUP),
        ("OWN_TILES", shape.tiles),
        ("OWN_QUADS", shape.quads),
        ("OWN_WEIGHTS", layout.block),
        ("STAGED_INPUTS", 16 * shape.tiles),
        ("PLANES", layout.channels.div_ceil(4)),
    ];
    let mut s = Source::new(int64, arena);
    epilogue::prelude(&mut s, spec, &constants, layout.slopes);
    s.line(format!("var<workgroup> staged: array<vec4<f32>, {}>;", shape.memory()));
    place(&mut s);
    input(&mut s, spec);
    output(&mut s);
    emit(&mut s, spec, shape);
    let (wgsl, bindings) = s.finish();
    let shader = Shader { subgroup: false, int64, matrices: false, ..Shader::from_wgsl(wgsl, "conv2d", bindings, grid) };
    Kernel::one(
        format!("conv2d winograd {}px x {}oc", 4 * shape.tiles, 4 * shape.quads),
        shader,
        Packing::Winograd(layout),
    )
}

/// The function `place`: column, row and image of a tile.
fn place(s: &mut Source) {
    s.line("fn place(tile: u32) -> vec3<u32> {");
    s.line("let row = tile / TILES_ACROSS;");
    s.line("return vec3<u32>(tile % TILES_ACROSS, row % TILES_DOWN, row / TILES_DOWN);");
    s.line("}");
}

/// The function `transformed`: one place of `B' d B`, for the plane that starts at `base` and the tile whose first element is
/// at `corner`.
fn input(s: &mut Source, spec: &ConvSpec) {
    let from = &spec.k_ranges[0].from;
    let [height, width] = from.size();
    s.line("fn input(base: u32, y: u32, x: u32) -> vec4<f32> {");
    let row = times(&format!("min(y, {}u)", height - 1), from.stride * from.shape.width);
    let column = times(&format!("min(x, {}u)", width - 1), from.stride);
    s.line(format!("let value = load_in{}(base + {row} + {column});", from.buffer));
    s.line(format!("return select(vec4<f32>(), value, y < {height}u && x < {width}u);"));
    s.line("}");
    // Rows of B': d0 - d2, d1 + d2, d2 - d1, d1 - d3.
    s.line("fn pair(i: u32) -> vec2<u32> {");
    s.line("return vec2<u32>(select(i, 1u, i == 3u), select(2u, select(1u, 3u, i == 3u), i >= 2u));");
    s.line("}");
    s.line("fn sign_of(i: u32) -> f32 {");
    s.line("return select(-1.0, 1.0, i == 1u);");
    s.line("}");
    s.line("fn transformed(base: u32, corner: vec2<u32>, spot: u32) -> vec4<f32> {");
    s.line("let y = vec2<u32>(corner.y) + pair(spot / 4u);");
    s.line("let x = vec2<u32>(corner.x) + pair(spot % 4u);");
    s.line("let sign_x = sign_of(spot % 4u);");
    s.line("let upper = input(base, y.x, x.x) + sign_x * input(base, y.x, x.y);");
    s.line("let lower = input(base, y.y, x.x) + sign_x * input(base, y.y, x.y);");
    s.line("return upper + sign_of(spot / 4u) * lower;");
    s.line("}");
}

/// The function `put`: `A' m A` of 16 tiles and 4 quads whose 16 places are staged, a pixel and quad per invocation.
fn output(s: &mut Source) {
    s.line("fn row_of(i: u32) -> vec4<f32> {");
    s.line("return select(vec4<f32>(1.0, 1.0, 1.0, 0.0), vec4<f32>(0.0, 1.0, -1.0, -1.0), i == 1u);");
    s.line("}");
    s.line("fn put(local: u32, first_tile: u32, first_quad: u32, bias: u32) {");
    // Neighbours have neighbouring pixels of a row.
    s.line("let tile = first_tile + local / 2u % 16u;");
    s.line("let quad = first_quad + local / 64u;");
    s.line("let at = place(tile);");
    s.line("let x = 2u * at.x + local % 2u;");
    s.line("let y = 2u * at.y + local / 32u % 2u;");
    s.line("if tile < TILES && quad < OUT_QUADS && y < CONV_HEIGHT && x < CONV_WIDTH {");
    s.line("let row = row_of(y % 2u);");
    s.line("let column = row_of(x % 2u);");
    s.line("let first = local / 64u * 16u + local / 2u % 16u;");
    s.line("var sum = vec4<f32>();");
    for (i, c) in ["x", "y", "z", "w"].into_iter().enumerate() {
        let terms: Vec<String> = ["x", "y", "z", "w"]
            .into_iter()
            .enumerate()
            .map(|(j, d)| format!("column.{d} * staged[first + {}u]", (4 * i + j) * 64))
            .collect();
        s.line(format!("sum += row.{c} * ({});", terms.join(" + ")));
    }
    s.line("sum += load_weights(bias + local / 64u);");
    s.line("store(finish(sum, at.z, quad, y, x), at.z, quad, y, x);");
    s.line("}");
    s.line("}");
}

fn emit(s: &mut Source, spec: &ConvSpec, shape: &Shape) {
    let range = &spec.k_ranges[0];
    let (own_tiles, own_quads) = (shape.tiles / 4, shape.quads / 4);
    s.line("@compute @workgroup_size(WORKGROUP)");
    s.line(
        "fn conv2d(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) local: u32) {",
    );
    s.line("let spot = local / 16u;");
    s.line("let across = local % 4u;");
    s.line("let down = local / 4u % 4u;");
    s.line("let first_tile = (group.x + group.z * GRID_X) * OWN_TILES;");
    s.line("let first_quad = group.y * OWN_QUADS;");
    s.line("let first_weight = group.y * OWN_WEIGHTS;");
    s.line("let staging = place(min(first_tile + local % OWN_TILES, TILES - 1u));");
    let [pad_y, pad_x] = range.padding;
    s.line(format!("let corner = 2u * staging.xy - vec2<u32>({pad_x}u, {pad_y}u);"));
    let (plane, image) = (range.from.shape.height * range.from.shape.width, planes(&range.from.shape));
    let first = range.from.first_channel / 4;
    s.line(format!("var base = (staging.z * {image}u + {first}u) * {plane}u;"));
    s.line("var weight = first_weight + OWN_QUADS + local;");
    for p in 0..own_tiles {
        for q in 0..own_quads {
            s.line(format!("var a{p}_{q} = vec4<f32>();"));
        }
    }
    fetch(s, shape, "var ");
    s.line("for (var plane = 0u; plane < PLANES; plane++) {");
    // The memory of one step: all have read the last before it is written.
    s.line("workgroupBarrier();");
    for i in 0..shape.tiles / 16 {
        s.line(format!("staged[local + {}u] = input{i};", i * WORKGROUP));
    }
    for i in 0..shape.quads / 4 {
        s.line(format!("staged[STAGED_INPUTS + local + {}u] = weight{i};", i * WORKGROUP));
    }
    s.line("workgroupBarrier();");
    s.line("if plane + 1u < PLANES {");
    s.line(format!("base += {plane}u;"));
    s.line("weight += 64u * OWN_QUADS;");
    fetch(s, shape, "");
    s.line("}");
    for p in 0..own_tiles {
        s.line(format!("let x{p} = staged[spot * OWN_TILES + across + {}u];", 4 * p));
    }
    for (l, lane) in ["x", "y", "z", "w"].into_iter().enumerate() {
        for q in 0..own_quads {
            s.line(format!(
                "let {lane}{q}w = staged[STAGED_INPUTS + (spot * 4u + {l}u) * OWN_QUADS + down + {}u];",
                4 * q
            ));
        }
        for p in 0..own_tiles {
            for q in 0..own_quads {
                s.line(format!("a{p}_{q} += x{p}.{lane} * {lane}{q}w;"));
            }
        }
    }
    s.line("}");
    // What an output needs lies with 16 invocations: it goes through workgroup memory, as much at a time as fits.
    for h in 0..own_tiles / 4 {
        for q in 0..own_quads {
            s.line("workgroupBarrier();");
            for p in 0..4 {
                s.line(format!(
                    "staged[(spot * 4u + down) * 16u + across + {}u] = a{}_{q};",
                    4 * p,
                    4 * h + p
                ));
            }
            s.line("workgroupBarrier();");
            s.line(format!(
                "put(local, first_tile + {}u, first_quad + {}u, first_weight + {}u);",
                16 * h,
                4 * q,
                4 * q
            ));
        }
    }
    s.line("}");
}

/// What this invocation stages of a step, into `input{i}` and `weight{i}`.
fn fetch(s: &mut Source, shape: &Shape, declare: &str) {
    for i in 0..shape.tiles / 16 {
        let spot = format!("local / OWN_TILES + {}u", i * WORKGROUP / shape.tiles);
        s.line(format!("{declare}input{i} = transformed(base, corner, {spot});"));
    }
    for i in 0..shape.quads / 4 {
        s.line(format!("{declare}weight{i} = load_weights(weight + {}u);", i * WORKGROUP));
    }
}
