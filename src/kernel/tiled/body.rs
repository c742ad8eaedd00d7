//! The shader of a tile.

use super::super::layout::{RangeLayout, WeightLayout};
use super::super::source::{Source, planes, plus, times};
use super::super::spec::{ConvSpec, Function, KRange};
use super::super::{Arena, Capabilities, Kernel, Packing, Precision, Shader, epilogue};
use super::{Shape, depth, pixels};

/// The kernel for a flattened spec and a shape that [`offered`](super::offered) gives for it.
pub(in super::super) fn kernel(
    spec: &ConvSpec,
    shape: &Shape,
    caps: &Capabilities,
    arena: Option<&Arena>,
) -> Kernel {
    let layout = shape.layout(spec);
    let tiles = pixels(spec).div_ceil(shape.pixels);
    let fold = tiles.div_ceil(caps.max_workgroups as usize).max(1);
    let grid = [tiles.div_ceil(fold) as u32, layout.tiles as u32, fold as u32];
    let int64 = caps.wide_loads();
    let [staged_pixels, staged_weights] = shape.staged();
    let constants = [
        ("PIXELS", pixels(spec)),
        ("GRID_X", grid[0] as usize),
        ("WORKGROUP", shape.workgroup()),
        ("TILE_PIXELS", shape.pixels),
        ("TILE_QUADS", shape.quads),
        ("TILE_WEIGHTS", layout.block),
        ("DEPTH", shape.depth),
        ("LANES", shape.lanes()),
        ("STAGED_PIXELS", staged_pixels),
        ("STAGED", staged_pixels + staged_weights),
        ("STEP", shape.slices * (staged_pixels + staged_weights)),
    ];
    let mut s = Source::new(int64, arena);
    epilogue::prelude(&mut s, spec, &constants, layout.slopes);
    place(&mut s);
    for (r, (range, l)) in spec.k_ranges.iter().zip(&layout.ranges).enumerate() {
        input(&mut s, spec, shape, r, range, l);
    }
    s.line(format!("var<workgroup> staged: array<vec4<f32>, {}>;", shape.memory()));
    Body { spec, shape, layout: &layout }.emit(&mut s);
    let (wgsl, bindings) = s.finish();
    let split = if shape.slices > 1 { format!(" in {}", shape.slices) } else { String::new() };
    let shader = Shader { wgsl, entry: "conv2d", bindings, grid, subgroup: false, int64, matrices: false };
    Kernel::one(
        format!("conv2d tiled {}px x {}oc x {}{split}", shape.pixels, shape.quads * 4, shape.depth * 4),
        shader,
        Packing::Conv(layout),
    )
}

/// The function `place`: column, row and image of a pixel of the GEMM.
fn place(s: &mut Source) {
    s.line("fn place(pixel: u32) -> vec3<u32> {");
    s.line("let row = pixel / CONV_WIDTH;");
    s.line("return vec3<u32>(pixel % CONV_WIDTH, row % CONV_HEIGHT, row / CONV_HEIGHT);");
    s.line("}");
}

/// Whether the last step of a K range reaches behind its end.
fn ragged(range: &KRange, shape: &Shape) -> bool {
    !depth(range).is_multiple_of(shape.slices * shape.depth)
}

/// Whether every step of a slice lies within one tap: then where it reads is worked out once for all its planes.
fn tap_by_step(range: &KRange, shape: &Shape) -> bool {
    range.from.channels.div_ceil(4).is_multiple_of(shape.depth)
}

/// The functions `origin{r}` and `input{r}`. The first gives for a quad of a K range's own K and an output pixel's place: where it
/// is in the buffer, its plane, whether it is inside the image, and the distances down and right to the rest of a mean. The second
/// reads so many planes behind it, zero outside and behind the end of K.
fn input(s: &mut Source, spec: &ConvSpec, shape: &Shape, r: usize, range: &KRange, layout: &RangeLayout) {
    let from = &range.from;
    let view = from.size();
    let count = from.channels.div_ceil(4);
    let step = if from.mean_pool { 2 } else { from.stride };
    s.constant(&format!("R{r}_DEPTH"), depth(range));
    s.line(format!("struct Origin{r} {{ at: u32, plane: u32, inside: bool, below: u32, right: u32 }}"));
    s.line(format!("fn origin{r}(place: vec3<u32>, at_k: u32) -> Origin{r} {{"));
    let mut inside = vec![];
    if ragged(range, shape) {
        // Behind the end any step stands in, of which all planes are there.
        s.line(format!("let k = at_k % R{r}_DEPTH;"));
        inside.push(format!("at_k < R{r}_DEPTH"));
    } else {
        s.line("let k = at_k;");
    }
    if range.kernel == [1, 1] {
        s.line("let plane = k;");
    } else {
        s.line(format!("let plane = k % {count}u;"));
        s.line(format!("let tap = k / {count}u;"));
    }
    for (axis, (name, taps)) in
        [("y", format!("tap / {}u", range.kernel[1])), ("x", format!("tap % {}u", range.kernel[1]))]
            .into_iter()
            .enumerate()
    {
        let (stride, pad) = (range.stride[axis], range.padding[axis]);
        let taps = if range.kernel[axis] > 1 {
            format!(" + {}", times(&format!("({taps})"), range.dilation[axis]))
        } else {
            String::new()
        };
        let at = plus(&format!("{}{taps}", times(&format!("place.{name}"), stride)), -(pad as isize));
        s.line(format!("let {name} = {at};"));
        let reach = (spec.size[axis] - 1) * stride + (range.kernel[axis] - 1) * range.dilation[axis];
        if pad > 0 || reach >= view[axis] + pad {
            inside.push(format!("{name} < {}u", view[axis]));
            s.line(format!("let in_{name} = {};", times(&format!("min({name}, {}u)", view[axis] - 1), step)));
        } else {
            s.line(format!("let in_{name} = {};", times(name, step)));
        }
    }
    let shape = from.shape;
    let (plane, image) = (shape.height * shape.width, planes(&shape));
    let first = from.first_channel / 4;
    s.line(format!(
        "let at = (place.z * {image}u + {first}u + plane) * {plane}u + in_y * {}u + in_x;",
        shape.width
    ));
    let always = inside.is_empty();
    let inside = if always { "true".to_string() } else { inside.join(" && ") };
    let window = if from.mean_pool {
        // At an odd edge the last row or column stands for the one behind it: the mean is that of the elements inside.
        format!(
            "select(0u, {}u, in_y + 1u < {}u), select(0u, 1u, in_x + 1u < {}u)",
            shape.width, shape.height, shape.width
        )
    } else {
        "0u, 0u".into()
    };
    s.line(format!("return Origin{r}(at, plane, {inside}, {window});"));
    s.line("}");

    s.line(format!("fn input{r}(origin: Origin{r}, planes: u32) -> vec4<f32> {{"));
    s.line(format!("let at = origin.at + planes * {plane}u;"));
    if range.map.is_some() {
        let at = format!("{}u + {}u * (origin.plane + planes)", layout.map, 2 * layout.parameter);
        s.line(format!("let scale = load_parameters({at});"));
        s.line(format!("let shift = load_parameters({at} + PARAMETER);"));
    }
    let half = spec.precision() == Precision::F16;
    let element = |offset: &str| {
        let load = format!("load_in{}(at{offset})", from.buffer);
        match range.map {
            None => load,
            Some(Function::Relu) if half => format!("rectified({load} * scale + shift)"),
            Some(Function::Relu6) if half => format!("clipped({load} * scale + shift)"),
            Some(Function::Relu) => format!("max({load} * scale + shift, vec4<f32>())"),
            Some(Function::Relu6) => format!("clamp({load} * scale + shift, vec4<f32>(), vec4<f32>(6.0))"),
            Some(_) => format!("({load} * scale + shift)"),
        }
    };
    let value = if from.mean_pool {
        let window =
            ["", " + origin.right", " + origin.below", " + origin.below + origin.right"].map(element);
        format!("0.25 * ({})", window.join(" + "))
    } else {
        element("")
    };
    s.line(if always {
        format!("return {value};")
    } else {
        format!("return select(vec4<f32>(), {value}, origin.inside);")
    });
    s.line("}");
}

struct Body<'a> {
    spec: &'a ConvSpec,
    shape: &'a Shape,
    layout: &'a WeightLayout,
}

impl Body<'_> {
    fn accumulators(&self) -> impl Iterator<Item = (usize, usize)> + use<> {
        let (pixels, quads) = (self.shape.own_pixels, self.shape.own_quads);
        (0..pixels).flat_map(move |p| (0..quads).map(move |q| (p, q)))
    }

    /// Invocations a column apart.
    fn down(&self) -> usize {
        self.shape.quads / self.shape.own_quads
    }

    fn emit(&self, s: &mut Source) {
        let shape = self.shape;
        s.line("@compute @workgroup_size(WORKGROUP)");
        s.line(
            "fn conv2d(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) local: u32) {",
        );
        s.line("let slice = local / LANES;");
        s.line("let lane = local % LANES;");
        // Eight neighbours read neighbouring pixels, the next eight the same with other weights: few distinct addresses in
        // 32 invocations, none of them in one bank.
        if shape.across() > 8 {
            s.line(format!("let across = lane % 8u + lane / 32u % {}u * 8u;", shape.across() / 8));
            s.line(format!("let down = lane / 8u % 4u + lane / {}u * 4u;", 4 * shape.across()));
        } else {
            s.line(format!("let across = lane % {}u;", shape.across()));
            s.line(format!("let down = lane / {}u;", shape.across()));
        }
        s.line("let first_pixel = (group.x + group.z * GRID_X) * TILE_PIXELS;");
        s.line("let first_quad = group.y * TILE_QUADS;");
        s.line("let first_weight = group.y * TILE_WEIGHTS;");
        s.line("let staging = place(min(first_pixel + lane % TILE_PIXELS, PIXELS - 1u));");
        for (p, q) in self.accumulators() {
            s.line(format!("var a{p}_{q} = vec4<f32>();"));
        }
        s.line("var step_at = slice * STAGED;");
        for r in 0..self.spec.k_ranges.len() {
            self.range(s, r);
        }
        if shape.slices > 1 {
            self.store_sums(s)
        } else {
            self.store(s)
        }
        s.line("}");
    }

    /// All steps of a K range. While one step is multiplied the next is on its way; two steps' memory in turn make one barrier
    /// enough: who writes a step's memory has passed the barrier that all reach after their last read of it.
    fn range(&self, s: &mut Source, r: usize) {
        let shape = self.shape;
        let steps = depth(&self.spec.k_ranges[r]).div_ceil(shape.slices * shape.depth);
        s.line("{");
        s.line("var k = slice * DEPTH;");
        self.fetch(s, r, "var ");
        s.line(format!("for (var step = 0u; step < {steps}u; step++) {{"));
        let [pixels, weights] = shape.staged().map(|n| n / shape.lanes());
        for i in 0..pixels {
            s.line(format!("staged[step_at + lane + {}u] = pixel{i};", i * shape.lanes()));
        }
        for i in 0..weights {
            s.line(format!("staged[step_at + STAGED_PIXELS + lane + {}u] = weight{i};", i * shape.lanes()));
        }
        s.line("workgroupBarrier();");
        if steps > 1 {
            s.line(format!("k += {}u;", shape.slices * shape.depth));
            s.line(format!("if step + 1u < {steps}u {{"));
            self.fetch(s, r, "");
            s.line("}");
        }
        self.multiply(s);
        s.line("step_at = 2u * slice * STAGED + STEP - step_at;");
        s.line("}");
        s.line(format!("}} // K range {r}"));
    }

    /// What this invocation stages of step `k`, into `pixel{i}` and `weight{i}`.
    fn fetch(&self, s: &mut Source, r: usize, declare: &str) {
        let shape = self.shape;
        let [pixels, weights] = shape.staged().map(|n| n / shape.lanes());
        let once = tap_by_step(&self.spec.k_ranges[r], shape);
        let own = "k + lane / TILE_PIXELS";
        if once {
            s.line(format!("let origin = origin{r}(staging, {own});"));
        }
        for i in 0..pixels {
            let plane = i * shape.lanes() / shape.pixels;
            let from = match once {
                true => format!("origin, {plane}u"),
                false => format!("origin{r}(staging, {own} + {plane}u), 0u"),
            };
            s.line(format!("{declare}pixel{i} = input{r}({from});"));
        }
        let first = self.layout.ranges[r].offset;
        let run = 4 * shape.quads;
        for i in 0..weights {
            let element = format!("(lane + {}u)", i * shape.lanes());
            let at = if ragged(&self.spec.k_ranges[r], shape) {
                format!("min(k + {element} / {run}u, R{r}_DEPTH - 1u) * {run}u + {element} % {run}u")
            } else {
                format!("k * {run}u + {element}")
            };
            s.line(format!("{declare}weight{i} = load_weights(first_weight + {first}u + {at});"));
        }
    }

    fn multiply(&self, s: &mut Source) {
        let shape = self.shape;
        s.line("for (var plane = 0u; plane < DEPTH; plane++) {");
        s.line("let pixels_at = step_at + plane * TILE_PIXELS + across;");
        s.line("let weights_at = step_at + STAGED_PIXELS + plane * 4u * TILE_QUADS + down;");
        for p in 0..shape.own_pixels {
            s.line(format!("let x{p} = staged[pixels_at + {}u];", p * shape.across()));
        }
        for (l, lane) in ["x", "y", "z", "w"].into_iter().enumerate() {
            for q in 0..shape.own_quads {
                s.line(format!(
                    "let {lane}{q}w = staged[weights_at + {}u];",
                    l * shape.quads + q * self.down()
                ));
            }
            for (p, q) in self.accumulators() {
                s.line(format!("a{p}_{q} = fma(vec4<f32>(x{p}.{lane}), {lane}{q}w, a{p}_{q});"));
            }
        }
        s.line("}");
    }

    /// Every invocation stores what it summed.
    fn store(&self, s: &mut Source) {
        let shape = self.shape;
        for q in 0..shape.own_quads {
            s.line(format!("let quad{q} = first_quad + down + {}u;", q * self.down()));
            s.line(format!(
                "let bias{q} = load_parameters(first_weight + PARAMETER * (down + {}u));",
                q * self.down()
            ));
        }
        for p in 0..shape.own_pixels {
            s.line(format!("let pixel{p} = first_pixel + across + {}u;", p * shape.across()));
            s.line(format!("if pixel{p} < PIXELS {{"));
            s.line(format!("let at = place(pixel{p});"));
            for q in 0..shape.own_quads {
                s.line(format!("if quad{q} < OUT_QUADS {{"));
                s.line(format!(
                    "store(finish(a{p}_{q} + bias{q}, at.z, quad{q}, at.y, at.x), at.z, quad{q}, at.y, at.x);"
                ));
                s.line("}");
            }
            s.line("}");
        }
    }

    /// The slices' sums meet in workgroup memory, and all invocations share what is left to do.
    fn store_sums(&self, s: &mut Source) {
        let shape = self.shape;
        s.line("workgroupBarrier();");
        for (p, q) in self.accumulators() {
            s.line(format!(
                "staged[(slice * TILE_QUADS + down + {}u) * TILE_PIXELS + across + {}u] = a{p}_{q};",
                q * self.down(),
                p * shape.across()
            ));
        }
        s.line("workgroupBarrier();");
        s.line("for (var i = local; i < TILE_PIXELS * TILE_QUADS; i += WORKGROUP) {");
        s.line("let pixel = first_pixel + i % TILE_PIXELS;");
        s.line("let quad = first_quad + i / TILE_PIXELS;");
        s.line("if pixel < PIXELS && quad < OUT_QUADS {");
        s.line("var sum = staged[i];");
        s.line(format!("for (var other = 1u; other < {}u; other++) {{", shape.slices));
        s.line("sum += staged[i + other * TILE_PIXELS * TILE_QUADS];");
        s.line("}");
        s.line("let at = place(pixel);");
        s.line("sum += load_parameters(first_weight + PARAMETER * (i / TILE_PIXELS));");
        s.line("store(finish(sum, at.z, quad, at.y, at.x), at.z, quad, at.y, at.x);");
        s.line("}");
        s.line("}");
    }
}
