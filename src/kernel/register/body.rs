//! The multiplications of a convolution: loops over rows of the window and input planes around an unrolled register tile.

use super::super::layout::{Kind, RangeLayout, WeightLayout, planes_of_group};
use super::super::source::{Source, times};
use super::super::spec::{ConvSpec, KRange};
use super::Tile;
use super::loads::{Column, condition};

/// Which conv pixels an invocation computes: row `y`, columns `x`, `x + step`, ... (WGSL variables, wrapping below zero).
pub(super) struct Position {
    pub(super) pixels: usize,
    pub(super) step: usize,
    /// Least and largest value of `x`.
    pub(super) x: [isize; 2],
    /// Least and largest value of `y`.
    pub(super) y: [isize; 2],
}

/// Functions that read single channels, for ranges that need them.
pub(super) fn fetches(s: &mut Source, spec: &ConvSpec, layout: &WeightLayout) {
    for (r, (range, l)) in spec.k_ranges.iter().zip(&layout.ranges).enumerate() {
        if l.kind == Kind::Scattered {
            let buffer = range.from.buffer;
            s.line(format!("fn fetch{r}(image: u32, channel: u32, pixel: u32) -> f32 {{"));
            s.line(if range.from.is_packed() {
                format!(
                    "return load_in{buffer}((image * R{r}_IMAGE + channel / 4u) * R{r}_PLANE + pixel)[channel % 4u];"
                )
            } else {
                format!("return in{buffer}[(image * R{r}_IMAGE + channel) * R{r}_PLANE + pixel];")
            });
            s.line("}");
        }
    }
}

/// Declares `a{pixel}_{quad}` and leaves the sum of bias and K ranges in them; of the part of K that the invocation's `slice` has, and
/// without bias, where a tile has several.
pub(super) fn accumulate(
    s: &mut Source,
    spec: &ConvSpec,
    tile: &Tile,
    layout: &WeightLayout,
    position: &Position,
) {
    // Parts of K get the bias where their sums meet.
    let split = tile.slices > 1;
    for q in (0..tile.quads).filter(|_| !split) {
        s.line(format!("let bias{q} = load_parameters(first_weight + {}u);", q * layout.parameter));
    }
    for p in 0..position.pixels {
        for q in 0..tile.quads {
            let first = if split { "vec4<f32>()".into() } else { format!("bias{q}") };
            s.line(format!("var a{p}_{q} = {first};"));
        }
    }
    if spec.k_ranges.is_empty() {
        return;
    }
    s.line("var weight = first_weight + TILE_QUADS * PARAMETER;");
    for (r, (range, l)) in spec.k_ranges.iter().zip(&layout.ranges).enumerate() {
        Range { spec, tile, position, range, layout: l, r }.emit(s);
    }
}

/// A K range, at the pixels of an invocation.
pub(super) struct Range<'a> {
    pub(super) spec: &'a ConvSpec,
    pub(super) tile: &'a Tile,
    pub(super) position: &'a Position,
    pub(super) range: &'a KRange,
    pub(super) layout: &'a RangeLayout,
    pub(super) r: usize,
}

impl Range<'_> {
    fn emit(&self, s: &mut Source) {
        let Range { range, r, .. } = *self;
        s.line("{");
        self.planes(s);
        let columns = if self.layout.unroll_x { self.columns(s, range.kernel[1]) } else { vec![] };
        let loop_y = range.kernel[0] > 1;
        if loop_y {
            s.line(format!("for (var ky = 0u; ky < {}u; ky++) {{", range.kernel[0]));
        }
        let row_inside = self.row(s, loop_y);
        if self.layout.unroll_x {
            self.steps(s, &columns, row_inside);
        } else {
            s.line(format!("for (var kx = 0u; kx < {}u; kx++) {{", range.kernel[1]));
            let columns = self.columns(s, 1);
            self.steps(s, &columns, row_inside);
            s.line("}");
        }
        if loop_y {
            s.line("}");
        }
        s.line(format!("}} // K range {r}"));
    }

    /// Distance in the buffer of neighbouring elements of the operand's view.
    pub(super) fn step(&self) -> usize {
        if self.range.from.mean_pool { 2 } else { self.range.from.stride }
    }

    /// Where the first plane starts (`base`), in elements.
    fn planes(&self, s: &mut Source) {
        let Range { spec, range, r, .. } = *self;
        let first =
            if range.from.is_packed() { range.from.first_channel / 4 } else { range.from.first_channel };
        let outputs = spec.out_channels / range.groups;
        let inputs = range.from.channels / range.groups;
        match self.layout.kind {
            Kind::Dense => {
                let group = if range.groups == 1 {
                    String::new()
                } else {
                    let planes = planes_of_group(range, Kind::Dense, self.layout.depth);
                    format!(" + min(first_quad, OUT_QUADS - 1u) / {}u * {planes}u", outputs / 4)
                };
                s.line(format!("let base = (image * R{r}_IMAGE + {first}u{group}) * R{r}_PLANE;"));
            }
            Kind::Depthwise => {
                for q in 0..self.tile.quads {
                    s.line(format!(
                        "let base{q} = (image * R{r}_IMAGE + {first}u + min(first_quad + {q}u, OUT_QUADS - 1u)) * R{r}_PLANE;"
                    ));
                }
            }
            Kind::Scattered => {
                for q in 0..self.tile.quads {
                    s.line(format!(
                        "let channel{q} = min(vec4<u32>(4u * (first_quad + {q}u)) + vec4<u32>(0u, 1u, 2u, 3u), vec4<u32>({}u)) / {outputs}u * {inputs}u + {}u;",
                        spec.out_channels - 1,
                        range.from.first_channel,
                    ));
                }
            }
        }
    }

    /// The loop over input planes.
    fn steps(&self, s: &mut Source, columns: &[Option<Column>], row_inside: bool) {
        let Range { range, layout, r, .. } = *self;
        let planes = planes_of_group(range, layout.kind, layout.depth);
        match layout.kind {
            Kind::Dense => {
                // Slices take the planes in turn.
                let slices = self.tile.slices;
                let looped = planes > 1 || slices > 1;
                let first = if slices > 1 { "slice" } else { "0u" };
                if slices > 1 {
                    s.line(format!("var at = base + row + slice * R{r}_PLANE;"));
                    s.line(format!("let next_row = weight + {}u;", planes * layout.step));
                    s.line(format!("weight += slice * {}u;", layout.step));
                } else {
                    s.line("var at = base + row;");
                }
                if looped {
                    s.line(format!("for (var plane = {first}; plane < {planes}u; plane += {slices}u) {{"));
                }
                let zero = if layout.depth == 4 { "vec4<f32>()" } else { "0.0" };
                if range.map.is_some() {
                    let plane = if looped { "plane" } else { "0u" };
                    let [scale, shift] = [layout.map, layout.map + layout.parameter];
                    s.line(format!("let scale = load_parameters({scale}u + 2u * PARAMETER * {plane});"));
                    s.line(format!("let shift = load_parameters({shift}u + 2u * PARAMETER * {plane});"));
                }
                self.loads(s, columns, "x", "at", row_inside, zero);
                self.weights_and_sums(s, columns);
                if looped {
                    s.line(format!("at += {};", times(&format!("R{r}_PLANE"), slices)));
                }
                s.line(format!("weight += {}u;", slices * layout.step));
                if looped {
                    s.line("}");
                }
                if slices > 1 {
                    s.line("weight = next_row;");
                }
            }
            Kind::Depthwise => {
                for q in 0..self.tile.quads {
                    s.line(format!("let at{q}_row = base{q} + row;"));
                    self.loads(
                        s,
                        columns,
                        &format!("x{q}_"),
                        &format!("at{q}_row"),
                        row_inside,
                        "vec4<f32>()",
                    );
                    for k in 0..self.taps() {
                        s.line(format!(
                            "let w{q}_{k} = load_weights(weight + {}u);",
                            k * self.tile.quads + q
                        ));
                    }
                    for (p, k, j) in self.terms(columns) {
                        s.line(format!("a{p}_{q} += x{q}_{j} * w{q}_{k};"));
                        let _ = p;
                    }
                }
                s.line(format!("weight += {}u;", layout.step));
            }
            Kind::Scattered => self.scattered(s, columns, row_inside, planes),
        }
    }

    fn scattered(&self, s: &mut Source, columns: &[Option<Column>], row_inside: bool, planes: usize) {
        let Range { range, layout, r, .. } = *self;
        // The weights' order has the channel outermost, the loops have it innermost.
        let [height, width] = range.kernel;
        let ky = if height > 1 { "ky" } else { "0u" };
        s.line(format!("for (var i = 0u; i < {planes}u; i++) {{"));
        s.line(format!("let step = weight + ((i * {height}u + {ky}) * {width}u + kx) * {}u;", layout.step));
        for (p, _, j) in self.terms(columns) {
            let Some(Column::At { at, inside, .. }) = &columns[j] else { continue };
            let condition = condition(row_inside, inside);
            for q in 0..self.tile.quads {
                let lanes: Vec<_> = ["x", "y", "z", "w"]
                    .iter()
                    .map(|c| format!("fetch{r}(image, channel{q}.{c} + i, row + {at})"))
                    .collect();
                let value = format!("vec4<f32>({})", lanes.join(", "));
                let value = match &condition {
                    Some(inside) => format!("select(vec4<f32>(), {value}, {inside})"),
                    None => value,
                };
                s.line(format!("a{p}_{q} += {value} * load_weights(step + {q}u);"));
            }
        }
        s.line("}");
        // After the last tap, go on behind the range.
        let end = planes * height * width * layout.step;
        let last = if height > 1 {
            format!("ky == {}u && kx == {}u", height - 1, width - 1)
        } else {
            format!("kx == {}u", width - 1)
        };
        s.line(format!("weight += select(0u, {end}u, {last});"));
    }

    fn taps(&self) -> usize {
        if self.layout.unroll_x { self.range.kernel[1] } else { 1 }
    }

    /// (pixel, tap, column) of every product that is not zero for all invocations.
    fn terms(&self, columns: &[Option<Column>]) -> Vec<(usize, usize, usize)> {
        let mut terms = Vec::new();
        for p in 0..self.position.pixels {
            for k in 0..self.taps() {
                let j = p * self.position.step * self.range.stride[1] + k * self.range.dilation[1];
                if matches!(columns[j], Some(Column::At { .. })) {
                    terms.push((p, k, j));
                }
            }
        }
        terms
    }

    fn weights_and_sums(&self, s: &mut Source, columns: &[Option<Column>]) {
        let (depth, quads) = (self.layout.depth, self.tile.quads);
        let vectors = self.taps() * depth * quads;
        let lanes = self.tile.lanes.map(|n| n as usize);
        if let Some(lanes) = lanes {
            for i in 0..vectors.div_ceil(lanes) {
                s.line(format!("let lane_weights{i} = load_weights(weight + lane + {}u);", i * lanes));
            }
        }
        let terms = self.terms(columns);
        for q in 0..quads {
            for k in 0..self.taps() {
                for l in 0..depth {
                    let n = (k * depth + l) * quads + q;
                    let value = match lanes {
                        Some(lanes) => format!("subgroupShuffle(lane_weights{}, {}u)", n / lanes, n % lanes),
                        None => format!("load_weights(weight + {n}u)"),
                    };
                    s.line(format!("let w{q}_{k}_{l} = {value};"));
                }
            }
            // One accumulator at a time, all its products: it stays in a register.
            for p in 0..self.position.pixels {
                let products = terms.iter().filter(|t| t.0 == p).flat_map(|&(_, k, j)| {
                    (0..depth).map(move |l| {
                        let x = if depth == 1 {
                            format!("x{j}")
                        } else {
                            format!("x{j}.{}", ["x", "y", "z", "w"][l])
                        };
                        format!(" + {x} * w{q}_{k}_{l}")
                    })
                });
                let sum: String = products.collect();
                if !sum.is_empty() {
                    s.line(format!("a{p}_{q} = a{p}_{q}{sum};"));
                }
            }
        }
    }
}
