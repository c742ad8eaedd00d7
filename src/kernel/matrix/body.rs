//! The shader of a tile.

use super::super::source::{Source, planes, plus, times};
use super::super::spec::ConvSpec;
use super::super::{Capabilities, Kernel, Packing, Shader, epilogue};
use super::{MatrixLayout, SIDE, SUBGROUP, SUMS_ROW, Shape, pixels, quads, steps};

/// The kernel for a flattened spec and a shape that [`shapes`](super::shapes) gives for it.
pub(in super::super) fn kernel(spec: &ConvSpec, shape: &Shape, caps: &Capabilities) -> Kernel {
    let layout = MatrixLayout::new(spec, shape);
    let tiles = pixels(spec).div_ceil(shape.pixels());
    let fold = tiles.div_ceil(caps.max_workgroups as usize).max(1);
    let grid = [tiles.div_ceil(fold) as u32, layout.tiles as u32, fold as u32];
    let constants = [
        ("PIXELS", pixels(spec)),
        ("GRID_X", grid[0] as usize),
        ("WORKGROUP", shape.workgroup()),
        ("TILE_PIXELS", shape.pixels()),
        ("TILE_QUADS", shape.channels() / 4),
        ("TILE_WEIGHTS", layout.block),
        ("DEPTH", shape.depth),
        ("LANES", shape.lanes()),
        ("ROW", shape.row()),
        ("STAGED", shape.staged()),
        ("STAGED_PIXELS", shape.pixels() * shape.row()),
        ("SUMS_ROW", SUMS_ROW),
        ("SUMS", SIDE * SUMS_ROW),
    ];
    let mut s = Source::matrices();
    epilogue::prelude(&mut s, spec, &constants, layout.slopes);
    s.line(format!("var<workgroup> staged: array<vec4<f16>, {}>;", shape.slices * shape.staged()));
    s.line(format!("var<workgroup> sums: array<vec4<f32>, {}>;", shape.sums()));
    Body { spec, shape, layout: &layout }.emit(&mut s);
    let (wgsl, bindings) = s.finish();
    let split = if shape.slices > 1 { format!(" in {}", shape.slices) } else { String::new() };
    let name =
        format!("conv2d matrix {}px x {}oc x {}{split}", shape.pixels(), shape.channels(), 4 * shape.depth);
    let shader =
        Shader { subgroup: true, int64: false, matrices: true, ..Shader::from_wgsl(wgsl, "conv2d", bindings, grid) };
    Kernel::one(name, shader, Packing::Matrix(layout))
}

struct Body<'a> {
    spec: &'a ConvSpec,
    shape: &'a Shape,
    layout: &'a MatrixLayout,
}

impl Body<'_> {
    fn sums(&self) -> impl Iterator<Item = (usize, usize)> + use<> {
        let [channels, pixels] = self.shape.fragments;
        (0..channels).flat_map(move |c| (0..pixels).map(move |p| (c, p)))
    }

    /// Planes that a slice's invocations stage at a time, one pixel each.
    fn planes_at_once(&self) -> usize {
        self.shape.lanes() / self.shape.pixels()
    }

    /// vec4 that an invocation stages in a step: of pixels, of weights.
    fn own(&self) -> [usize; 2] {
        let shape = self.shape;
        [shape.depth.div_ceil(self.planes_at_once()), shape.channels() * shape.depth / shape.lanes()]
    }

    fn emit(&self, s: &mut Source) {
        let shape = self.shape;
        s.line("@compute @workgroup_size(WORKGROUP)");
        s.line("fn conv2d(");
        s.line("@builtin(workgroup_id) group: vec3<u32>,");
        s.line("@builtin(local_invocation_index) local: u32,");
        s.line("@builtin(subgroup_id) subgroup: u32,");
        s.line("@builtin(subgroup_invocation_id) lane_of_subgroup: u32,");
        s.line(") {");
        s.line("let lane = local % LANES;");
        s.line("let slice = local / LANES;");
        s.line("let first_pixel = (group.x + group.z * GRID_X) * TILE_PIXELS;");
        s.line("let first_weight = group.y * TILE_WEIGHTS;");
        // Two neighbours stage two planes of a pixel where they can: rows of 16 bytes are written without conflicts.
        if self.planes_at_once() > 1 {
            s.line("let own_pixel = lane / 2u % TILE_PIXELS;");
            s.line("let own_plane = lane % 2u + lane / (2u * TILE_PIXELS) * 2u;");
        } else {
            s.line("let own_pixel = lane;");
            s.line("let own_plane = 0u;");
        }
        s.line("let pixel = min(first_pixel + own_pixel, PIXELS - 1u);");
        s.line("let image = pixel / (CONV_WIDTH * CONV_HEIGHT);");
        s.line("let row = pixel / CONV_WIDTH % CONV_HEIGHT;");
        s.line("let column = pixel % CONV_WIDTH;");
        s.line("let stage_pixel = slice * STAGED + own_pixel * ROW + own_plane;");
        s.line("let stage_weight = slice * STAGED + STAGED_PIXELS + lane / DEPTH * ROW + lane % DEPTH;");
        let [down, across] = shape.subgroups;
        let [channels, pixels] = shape.fragments;
        s.line(format!("let part = subgroup % {}u;", down * across));
        s.line(format!("let of_slice = subgroup / {}u * STAGED;", down * across));
        s.line(format!("let first_row = part % {down}u * {}u;", channels * SIDE));
        s.line(format!("let first_column = part / {down}u * {}u;", pixels * SIDE));
        s.line("let pixels_at = of_slice + first_column * ROW;");
        s.line("let weights_at = of_slice + STAGED_PIXELS + first_row * ROW;");
        for (c, p) in self.sums() {
            s.line(format!("var c{c}_{p} = coop_mat16x16<f32, C>();"));
        }
        for r in 0..self.spec.k_ranges.len() {
            self.range(s, r);
        }
        self.store(s);
        s.line("}");
    }

    /// All steps of a K range. While one is multiplied the next is on its way.
    fn range(&self, s: &mut Source, r: usize) {
        let shape = self.shape;
        let range = &self.spec.k_ranges[r];
        let all = steps(range, shape.depth);
        let rounds = all.div_ceil(shape.slices);
        let from = &range.from;
        let plane = from.shape.height * from.shape.width;
        let image = planes(&from.shape);
        s.line("{");
        s.line(format!("let base = (image * {image}u + {}u) * {plane}u;", from.first_channel / 4));
        for (axis, (name, place)) in [("top", "row"), ("left", "column")].into_iter().enumerate() {
            let from = plus(&times(place, range.stride[axis]), -(range.padding[axis] as isize));
            s.line(format!("let {name} = {from};"));
        }
        s.line("var step = slice;");
        self.fetch(s, r, "var ");
        s.line(format!("for (var round = 0u; round < {rounds}u; round++) {{"));
        let [pixels, weights] = self.own();
        for i in 0..pixels {
            let planes = i * self.planes_at_once();
            s.line(format!("staged[stage_pixel + {planes}u] = pixel{i};"));
        }
        for i in 0..weights {
            let rows = i * shape.lanes() / shape.depth;
            s.line(format!("staged[stage_weight + {rows}u * ROW] = weight{i};"));
        }
        s.line("workgroupBarrier();");
        if rounds > 1 {
            s.line(format!("step += {}u;", shape.slices));
            s.line(format!("if round + 1u < {rounds}u {{"));
            self.fetch(s, r, "");
            s.line("}");
        }
        self.multiply(s);
        s.line("workgroupBarrier();");
        s.line("}");
        s.line(format!("}} // K range {r}"));
    }

    /// What this invocation stages of a step, into `pixel{i}` and `weight{i}`.
    fn fetch(&self, s: &mut Source, r: usize, declare: &str) {
        let shape = self.shape;
        let range = &self.spec.k_ranges[r];
        let (from, view) = (&range.from, range.from.size());
        let plane = from.shape.height * from.shape.width;
        let of_tap = quads(range).div_ceil(shape.depth);
        let all = steps(range, shape.depth);
        let mut inside: Vec<String> = vec![];
        let at_step = if all.is_multiple_of(shape.slices) {
            "step".to_string()
        } else {
            s.line(format!("let last = min(step, {}u);", all - 1));
            inside.push(format!("step < {all}u"));
            "last".to_string()
        };
        let taps = range.kernel[0] * range.kernel[1];
        let (tap, first) = match (taps, of_tap) {
            (1, _) => ("0u".to_string(), format!("{at_step} * DEPTH")),
            (_, 1) => (at_step.clone(), "0u".to_string()),
            _ => (format!("{at_step} / {of_tap}u"), format!("{at_step} % {of_tap}u * DEPTH")),
        };
        s.line(format!("let tap = {tap};"));
        s.line(format!("let first = {first};"));
        for (axis, (name, start, tap)) in [
            ("y", "top", format!("tap / {}u", range.kernel[1])),
            ("x", "left", format!("tap % {}u", range.kernel[1])),
        ]
        .into_iter()
        .enumerate()
        {
            let offset = match range.kernel[axis] {
                1 => String::new(),
                _ => format!(" + {}", times(&format!("({tap})"), range.dilation[axis])),
            };
            s.line(format!("let {name} = {start}{offset};"));
            let reach = (self.spec.size[axis] - 1) * range.stride[axis]
                + (range.kernel[axis] - 1) * range.dilation[axis];
            if range.padding[axis] > 0 || reach >= view[axis] + range.padding[axis] {
                inside.push(format!("{name} < {}u", view[axis]));
                let clamped = format!("min({name}, {}u)", view[axis] - 1);
                s.line(format!("let in_{name} = {};", times(&clamped, from.stride)));
            } else {
                s.line(format!("let in_{name} = {};", times(name, from.stride)));
            }
        }
        s.line(format!("let at = base + in_y * {}u + in_x;", from.shape.width));
        let [pixels, weights] = self.own();
        let count = quads(range);
        let ragged = !count.is_multiple_of(shape.depth);
        for i in 0..pixels {
            let offset = i * self.planes_at_once();
            let at_plane = format!("(first + own_plane + {offset}u)");
            let mut inside = inside.clone();
            let clamped = if ragged {
                inside.push(format!("{at_plane} < {count}u"));
                format!("min({at_plane}, {}u)", count - 1)
            } else {
                at_plane
            };
            let load = format!("in{}[at + {clamped} * {plane}u]", from.buffer);
            let value = match inside.as_slice() {
                [] => load,
                all => format!("select(vec4<f16>(), {load}, {})", all.join(" && ")),
            };
            s.line(format!("{declare}pixel{i} = {value};"));
        }
        let first = self.layout.ranges[r];
        let run = shape.channels() * shape.depth;
        for i in 0..weights {
            let element = format!("{at_step} * {run}u + lane + {}u", i * shape.lanes());
            s.line(format!("{declare}weight{i} = matrices[first_weight + {first}u + {element}];"));
        }
    }

    fn multiply(&self, s: &mut Source) {
        let [channels, pixels] = self.shape.fragments;
        for k in 0..self.shape.depth * 4 / SIDE {
            let offset = k * SIDE / 4;
            for p in 0..pixels {
                s.line(format!(
                    "let b{k}_{p} = coopLoad<coop_mat16x16<f16, B>>(&staged[pixels_at + {}u * ROW + {offset}u], ROW);",
                    p * SIDE
                ));
            }
            for c in 0..channels {
                s.line(format!(
                    "let a{k}_{c} = coopLoadT<coop_mat16x16<f16, A>>(&staged[weights_at + {}u * ROW + {offset}u], ROW);",
                    c * SIDE
                ));
                for p in 0..pixels {
                    s.line(format!("c{c}_{p} = coopMultiplyAdd(a{k}_{c}, b{k}_{p}, c{c}_{p});"));
                }
            }
        }
    }

    /// Fragment after fragment goes through workgroup memory, where its elements have places.
    fn store(&self, s: &mut Source) {
        let [channels, pixels] = self.shape.fragments;
        for p in 0..pixels {
            s.line("{");
            s.line(format!(
                "let pixel = first_pixel + first_column + {}u + lane_of_subgroup % {SIDE}u;",
                p * SIDE
            ));
            // What is outside is computed like its neighbour, and not stored: of a value that another invocation adds to in place
            // it may read the one before or the one after.
            s.line("let line = min(pixel, PIXELS - 1u) / CONV_WIDTH;");
            s.line("let y = line % CONV_HEIGHT;");
            s.line("let x = min(pixel, PIXELS - 1u) % CONV_WIDTH;");
            s.line("let n = line / CONV_HEIGHT;");
            s.line(format!("let own_sums = lane_of_subgroup % {SIDE}u * SUMS_ROW;"));
            for c in 0..channels {
                s.line(format!("coopStore(c{c}_{p}, &sums[subgroup * SUMS], SUMS_ROW);"));
                s.line("workgroupBarrier();");
                s.line("{");
                self.store_fragment(s, c);
                s.line("}");
                s.line("workgroupBarrier();");
            }
            s.line("}");
        }
    }

    /// The elements of a fragment that are this invocation's: of its pixel every so many quads. All are on their way before the
    /// first is stored, since what is added to them comes from far.
    fn store_fragment(&self, s: &mut Source, c: usize) {
        let shape = self.shape;
        let parts = shape.subgroups[0] * shape.subgroups[1];
        // Slices share what their subgroups of one part summed; of many, some have nothing left to do.
        let apart = SUBGROUP / SIDE * shape.slices;
        let own = (SIDE / 4).div_ceil(apart);
        s.line(format!(
            "let quad_of_fragment = lane_of_subgroup / {SIDE}u + subgroup / {parts}u * {}u;",
            SUBGROUP / SIDE
        ));
        for e in 0..own {
            let all = shape.slices == 1 || apart * (e + 1) <= SIDE / 4;
            let of_fragment = match all {
                true => format!("quad_of_fragment + {}u", e * apart),
                false => format!("min(quad_of_fragment + {}u, {}u)", e * apart, SIDE / 4 - 1),
            };
            s.line(format!("let at{e} = {of_fragment};"));
            s.line(format!("let quad_of_tile{e} = first_row / 4u + {}u + at{e};", c * SIDE / 4));
            s.line(format!("let quad{e} = min(group.y * TILE_QUADS + quad_of_tile{e}, OUT_QUADS - 1u);"));
            s.line(format!("var sum{e} = sums[part * SUMS + own_sums + at{e}];"));
            for other in 1..shape.slices {
                s.line(format!("sum{e} += sums[(part + {}u) * SUMS + own_sums + at{e}];", other * parts));
            }
            s.line(format!("sum{e} += load_parameters(first_weight + PARAMETER * quad_of_tile{e});"));
            s.line(format!("let value{e} = finish(sum{e}, n, quad{e}, y, x);"));
        }
        for e in 0..own {
            s.line(format!(
                "if pixel < PIXELS && quad_of_fragment + {}u < {}u && group.y * TILE_QUADS + quad_of_tile{e} < OUT_QUADS {{",
                e * apart,
                SIDE / 4
            ));
            s.line(format!("store(value{e}, n, quad{e}, y, x);"));
            s.line("}");
        }
    }
}
