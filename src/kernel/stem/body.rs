//! The shader of a rectangle.

use super::super::layout::WeightLayout;
use super::super::source::{LOWEST, Source, planes, plus, times};
use super::super::spec::ConvSpec;
use super::super::{Arena, Capabilities, Kernel, Packing, Shader, epilogue};
use super::Shape;
use crate::graph::MaxPool;

/// Elements that an invocation has on their way at a time while it stages: the first read of them waits for memory.
const IN_FLIGHT: usize = 16;

/// The kernel for a spec and a shape that [`shapes`](super::shapes) gives for it.
pub(in super::super) fn kernel(
    spec: &ConvSpec,
    shape: &Shape,
    caps: &Capabilities,
    arena: Option<&Arena>,
) -> Kernel {
    let layout = shape.layout(spec);
    let [down, across] = shape.rectangles(spec);
    let rectangles = down * across * spec.outputs[0].shape.batch;
    let fold = rectangles.div_ceil(caps.max_workgroups as usize).max(1);
    let grid = [rectangles.div_ceil(fold) as u32, layout.tiles as u32, fold as u32];
    let int64 = caps.wide_loads();
    let [patch_height, patch_width] = shape.patch(spec);
    let patch = patch_height * patch_width;
    let constants = [
        ("RECTANGLES", rectangles),
        ("RECTANGLES_DOWN", down),
        ("RECTANGLES_ACROSS", across),
        ("GRID_X", grid[0] as usize),
        ("WORKGROUP", shape.workgroup()),
        ("LANES", shape.lanes()),
        ("STRIPS_ACROSS", shape.across),
        ("STRIP", shape.strip),
        ("TILE_QUADS", shape.quads()),
        ("TILE_WEIGHTS", layout.block),
        ("PATCH_WIDTH", patch_width),
        ("PATCH_TURNS", patch_height / spec.k_ranges[0].stride[0]),
        ("PATCH", patch),
        ("STAGED", patch * spec.k_ranges[0].from.channels),
    ];
    let mut s = Source::new(int64, arena);
    epilogue::prelude(&mut s, spec, &constants, layout.slopes);
    s.line(format!("var<workgroup> staged: array<f32, {}>;", shape.memory(spec)));
    input(&mut s, spec);
    Body { spec, shape, layout: &layout }.emit(&mut s);
    let (wgsl, bindings) = s.finish();
    let pool = if spec.pool.is_some() { "_max_pool" } else { "" };
    let [rows, columns] = shape.conv();
    let shader = Shader { subgroup: false, int64, matrices: false, ..Shader::from_wgsl(wgsl, "conv2d", bindings, grid) };
    Kernel::one(
        format!("conv2d{pool} stem {rows}x{columns}px x {}oc", shape.quads() * 4),
        shader,
        Packing::Conv(layout),
    )
}

/// The function `input`: element `i` of what is staged, for a rectangle whose first window begins at row `y`, column `x` of the
/// view. Zero outside, where `y` and `x` may have wrapped below zero.
///
/// Of each plane the rows that windows begin at come first, then those below them, and so on: windows one below the other are
/// a row of the memory apart, an odd number of elements, and so are in different banks.
fn input(s: &mut Source, spec: &ConvSpec) {
    let from = &spec.k_ranges[0].from;
    let [height, width] = from.size();
    let (plane, row) = (from.shape.height * from.shape.width, from.shape.width);
    s.line("fn input(i: u32, image: u32, y: u32, x: u32) -> f32 {");
    s.line(format!("let channel = min(i / PATCH, {}u);", from.channels - 1));
    s.line("let row = i % PATCH / PATCH_WIDTH;");
    let turn = times("row % PATCH_TURNS", spec.k_ranges[0].stride[0]);
    s.line(format!("let in_y = y + {turn} + row / PATCH_TURNS;"));
    s.line("let in_x = x + i % PATCH % PATCH_WIDTH;");
    let first = plus("channel", from.first_channel as isize);
    let y = times(&format!("min(in_y, {}u)", height - 1), from.stride * row);
    let x = times(&format!("min(in_x, {}u)", width - 1), from.stride);
    s.line(format!("let at = (image * {}u + {first}) * {plane}u + {y} + {x};", planes(&from.shape)));
    s.line(format!("return select(0.0, in{}[at], in_y < {height}u && in_x < {width}u);", from.buffer));
    s.line("}");
}

struct Body<'a> {
    spec: &'a ConvSpec,
    shape: &'a Shape,
    layout: &'a WeightLayout,
}

impl Body<'_> {
    fn accumulators(&self) -> impl Iterator<Item = (usize, usize)> + use<> {
        let (pixels, quads) = (self.shape.strip, self.shape.own_quads);
        (0..pixels).flat_map(move |p| (0..quads).map(move |q| (p, q)))
    }

    fn emit(&self, s: &mut Source) {
        let (shape, range) = (self.shape, &self.spec.k_ranges[0]);
        s.line("@compute @workgroup_size(WORKGROUP)");
        s.line(
            "fn conv2d(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) local: u32) {",
        );
        s.line("let rectangle = group.x + group.z * GRID_X;");
        s.line("let live = rectangle < RECTANGLES;");
        s.line("let index = min(rectangle, RECTANGLES - 1u);");
        s.line("let image = index / (RECTANGLES_ACROSS * RECTANGLES_DOWN);");
        // Neighbours have neighbouring strips of the same channels: they read one weight.
        s.line("let lane = local % LANES;");
        s.line("let part = local / LANES;");
        s.line("let strip_y = lane / STRIPS_ACROSS;");
        s.line("let strip_x = lane % STRIPS_ACROSS * STRIP;");
        let place = ["index / RECTANGLES_ACROSS % RECTANGLES_DOWN", "index % RECTANGLES_ACROSS"];
        let stored = shape.stored(self.spec);
        for (axis, name) in ["y", "x"].into_iter().enumerate() {
            s.line(format!("let out_{name} = {} * {}u;", place[axis], stored[axis]));
            // A window of the pool may begin before the first conv pixel, one of the convolution before the first element.
            let conv = match self.spec.pool {
                Some(pool) => {
                    plus(&times(&format!("out_{name}"), pool.stride[axis]), -(pool.padding[axis] as isize))
                }
                None => format!("out_{name}"),
            };
            s.line(format!("let conv_{name} = {conv};"));
            let first = times(&format!("conv_{name}"), range.stride[axis]);
            s.line(format!("let in_{name} = {};", plus(&first, -(range.padding[axis] as isize))));
        }
        self.stage(s);
        s.line(format!("let first_quad = group.y * TILE_QUADS + part * {}u;", shape.own_quads));
        s.line("let first_weight = group.y * TILE_WEIGHTS;");
        for q in 0..shape.own_quads {
            s.line(format!(
                "let bias{q} = load_parameters(first_weight + (part * {}u + {q}u) * PARAMETER);",
                shape.own_quads
            ));
        }
        for (p, q) in self.accumulators() {
            s.line(format!("var a{p}_{q} = bias{q};"));
        }
        self.multiply(s);
        match self.spec.pool {
            None => self.store(s),
            Some(pool) => self.store_pooled(s, &pool),
        }
        s.line("}");
    }

    /// Every element that the rectangle reads, to `staged`, plane by plane and row by row.
    fn stage(&self, s: &mut Source) {
        let [height, width] = self.shape.patch(self.spec);
        let each = (self.spec.k_ranges[0].from.channels * height * width).div_ceil(self.shape.workgroup());
        let rounds = each.div_ceil(IN_FLIGHT);
        let each = each.div_ceil(rounds);
        s.line(format!("for (var round = 0u; round < {rounds}u; round++) {{"));
        s.line(format!("let first = round * {each}u * WORKGROUP + local;"));
        for i in 0..each {
            s.line(format!("let e{i} = input(first + {i}u * WORKGROUP, image, in_y, in_x);"));
        }
        for i in 0..each {
            s.line(format!("if first + {i}u * WORKGROUP < STAGED {{"));
            s.line(format!("staged[first + {i}u * WORKGROUP] = e{i};"));
            s.line("}");
        }
        s.line("}");
        s.line("workgroupBarrier();");
    }

    /// The sums of the strip.
    fn multiply(&self, s: &mut Source) {
        let (shape, range, layout) = (self.shape, &self.spec.k_ranges[0], &self.layout.ranges[0]);
        // Strips below the last row that is needed repeat it.
        let rows = shape.rows(self.spec);
        let row = if rows < shape.down { format!("min(strip_y, {}u)", rows - 1) } else { "strip_y".into() };
        s.line(format!("var weight = first_weight + {}u + part * {}u;", layout.offset, shape.own_quads));
        s.line(format!("let first = {row} * PATCH_WIDTH + {};", times("strip_x", range.stride[1])));
        s.line(format!("for (var ky = 0u; ky < {}u; ky++) {{", range.kernel[0]));
        s.line(format!("let tap = {};", times("ky", range.dilation[0])));
        let stride = range.stride[0];
        s.line(format!("var at = first + (tap % {stride}u * PATCH_TURNS + tap / {stride}u) * PATCH_WIDTH;"));
        s.line(format!("for (var channel = 0u; channel < {}u; channel++) {{", range.from.channels));
        let column = |p: usize, k: usize| p * range.stride[1] + k * range.dilation[1];
        let mut columns: Vec<usize> =
            (0..shape.strip).flat_map(|p| (0..range.kernel[1]).map(move |k| column(p, k))).collect();
        columns.sort_unstable();
        columns.dedup();
        for j in columns {
            s.line(format!("let x{j} = staged[at + {j}u];"));
        }
        for k in 0..range.kernel[1] {
            for q in 0..shape.own_quads {
                s.line(format!("let w{k}_{q} = load_weights(weight + {}u);", k * shape.quads() + q));
            }
            for (p, q) in self.accumulators() {
                let x = column(p, k);
                s.line(format!("a{p}_{q} = fma(vec4<f32>(x{x}), w{k}_{q}, a{p}_{q});"));
            }
        }
        s.line("at += PATCH;");
        s.line(format!("weight += {}u;", layout.step));
        s.line("}");
        s.line("}");
    }

    /// Every invocation stores what it summed.
    fn store(&self, s: &mut Source) {
        s.line("let y = conv_y + strip_y;");
        for p in 0..self.shape.strip {
            s.line(format!("let x{p} = conv_x + strip_x + {p}u;"));
            s.line(format!("if live && y < CONV_HEIGHT && x{p} < CONV_WIDTH {{"));
            for q in 0..self.shape.own_quads {
                s.line(format!("if first_quad + {q}u < OUT_QUADS {{"));
                let quad = format!("first_quad + {q}u");
                s.line(format!("store(finish(a{p}_{q}, image, {quad}, y, x{p}), image, {quad}, y, x{p});"));
                s.line("}");
            }
            s.line("}");
        }
    }

    /// Conv values take the place of what was staged, lane by lane of a quad and pixel by pixel of a strip, a quad of every
    /// invocation at a time; all share the windows.
    fn store_pooled(&self, s: &mut Source, pool: &MaxPool) {
        let (shape, out) = (self.shape, self.spec.outputs[0].shape);
        let [rows, columns] = shape.stored(self.spec);
        let plane = shape.strip * shape.lanes();
        let larger = s.larger();
        s.line("let y = conv_y + strip_y;");
        s.line("let x = conv_x + strip_x;");
        for q in 0..shape.own_quads {
            s.line("workgroupBarrier();");
            for p in 0..shape.strip {
                s.line(format!(
                    "let v{p}_{q} = select({LOWEST}, finish(a{p}_{q}, image, first_quad + {q}u, y, x + {p}u), y < CONV_HEIGHT && x + {p}u < CONV_WIDTH);"
                ));
                for (c, lane) in ["x", "y", "z", "w"].into_iter().enumerate() {
                    let at = format!("part * {}u + {}u", 4 * plane, c * plane + p * shape.lanes());
                    s.line(format!("staged[{at} + lane] = v{p}_{q}.{lane};"));
                }
            }
            s.line("workgroupBarrier();");
            s.line(format!("for (var i = local; i < {}u; i += WORKGROUP) {{", rows * columns * shape.parts));
            s.line(format!("let column = i % {columns}u;"));
            s.line(format!("let row = i / {columns}u % {rows}u;"));
            s.line(format!("let part = i / {}u;", rows * columns));
            s.line(format!("let quad = group.y * TILE_QUADS + part * {}u + {q}u;", shape.own_quads));
            s.line(format!(
                "if live && quad < OUT_QUADS && out_y + row < {}u && out_x + column < {}u {{",
                out.height, out.width
            ));
            s.line(format!("var best = {LOWEST};"));
            s.line(format!("for (var tap_y = 0u; tap_y < {}u; tap_y++) {{", pool.kernel[0]));
            s.line(format!("for (var tap_x = 0u; tap_x < {}u; tap_x++) {{", pool.kernel[1]));
            s.line(format!("let x = {} + tap_x;", times("column", pool.stride[1])));
            s.line(format!(
                "let strip = ({} + tap_y) * STRIPS_ACROSS + x / STRIP;",
                times("row", pool.stride[0])
            ));
            s.line(format!("let at = part * {}u + x % STRIP * LANES + strip;", 4 * plane));
            let value = (0..4).map(|c| format!("staged[at + {}u]", c * plane)).collect::<Vec<_>>().join(", ");
            s.line(format!("best = {larger}(best, vec4<f32>({value}));"));
            s.line("}");
            s.line("}");
            s.line("store(best, image, quad, out_y + row, out_x + column);");
            s.line("}");
            s.line("}");
        }
    }
}
