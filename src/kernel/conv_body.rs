//! The multiplications of a convolution: loops over rows of the window and input planes around an unrolled register tile.

use super::Precision;
use super::conv::is_packed;
use super::layout::{Kind, RangeLayout, WeightLayout, planes_of_group};
use super::source::{Source, plus, times};
use super::spec::{ConvSpec, Function, KRange};
use super::tile::Tile;

/// Which conv pixels an invocation computes: row `y`, columns `x`, `x + step`, ... (WGSL variables, wrapping below zero).
pub(super) struct Position {
    pub(super) pixels: usize,
    pub(super) step: usize,
    /// Least and largest value of `x`.
    pub(super) x: [isize; 2],
    /// Least and largest value of `y`.
    pub(super) y: [isize; 2],
}

/// An input column, as seen from an invocation.
enum Column {
    /// Outside for every invocation.
    Outside,
    At {
        /// Offset in elements.
        at: String,
        /// The condition under which it is inside, where that is not always so.
        inside: Option<String>,
        /// Of a 2x2 mean: distance of the element to the right.
        right: String,
    },
}

/// Whether eight columns can be loaded at once: of the only operand, planar, in rows of whole octets, where every invocation has
/// its columns at the same distance from an octet. `apart`: distance of conv pixels from invocation to invocation.
pub(super) fn octets(spec: &ConvSpec, layout: &WeightLayout, apart: usize) -> bool {
    let [range] = &spec.k_ranges[..] else { return false };
    let (from, layout) = (&range.from, &layout.ranges[0]);
    !is_packed(from)
        && from.stride == 1
        && from.shape.width.is_multiple_of(8)
        && (apart * range.stride[1]).is_multiple_of(8)
        && spec.adds.is_empty()
        && layout.kind == Kind::Dense
        && layout.unroll_x
}

/// Functions that read single channels, for ranges that need them.
pub(super) fn fetches(s: &mut Source, spec: &ConvSpec, layout: &WeightLayout) {
    for (r, (range, l)) in spec.k_ranges.iter().zip(&layout.ranges).enumerate() {
        if l.kind == Kind::Scattered {
            let buffer = range.from.buffer;
            s.line(format!("fn fetch{r}(image: u32, channel: u32, pixel: u32) -> f32 {{"));
            s.line(if is_packed(&range.from) {
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

/// Declares `a{pixel}_{quad}` and leaves the sum of bias and K ranges in them.
pub(super) fn accumulate(
    s: &mut Source,
    spec: &ConvSpec,
    tile: &Tile,
    layout: &WeightLayout,
    position: &Position,
) {
    for q in 0..tile.quads {
        s.line(format!("let bias{q} = load_parameters(first_weight + {}u);", q * layout.parameter));
    }
    for p in 0..position.pixels {
        for q in 0..tile.quads {
            s.line(format!("var a{p}_{q} = bias{q};"));
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

struct Range<'a> {
    spec: &'a ConvSpec,
    tile: &'a Tile,
    position: &'a Position,
    range: &'a KRange,
    layout: &'a RangeLayout,
    r: usize,
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
    fn step(&self) -> usize {
        if self.range.from.mean_pool { 2 } else { self.range.from.stride }
    }

    /// Where the first plane starts (`base`), in elements.
    fn planes(&self, s: &mut Source) {
        let Range { spec, range, r, .. } = *self;
        let first =
            if is_packed(&range.from) { range.from.first_channel / 4 } else { range.from.first_channel };
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

    /// Defines `row`, the offset of the input row in elements; returns whether `row_inside` is needed.
    fn row(&self, s: &mut Source, loop_y: bool) -> bool {
        let Range { range, .. } = *self;
        let [height, _] = range.from.size();
        let (stride, pad) = (range.stride[0], range.padding[0] as isize);
        let reach = if loop_y { (range.kernel[0] - 1) * range.dilation[0] } else { 0 };
        let last = |y: isize| y * stride as isize + reach as isize - pad;
        let low = self.position.y[0] * (stride as isize) - pad < 0;
        let clamp = low || last(self.position.y[1]) >= height as isize;
        // Rows of outputs that are stored matter; others only must not be read out of bounds.
        let mask = pad > 0 || last(self.spec.size[0] as isize - 1) >= height as isize;
        let tap = if loop_y { format!(" + {}", times("ky", range.dilation[0])) } else { String::new() };
        s.line(format!("let in_y = {};", plus(&format!("{}{tap}", times("y", stride)), -pad)));
        let scale = self.step() * range.from.shape.width;
        if mask {
            s.line(format!("let row_inside = in_y < {height}u;"));
        }
        if clamp {
            s.line(format!("let row = min(in_y, {}u) * {scale}u;", height - 1));
        } else {
            s.line(format!("let row = in_y * {scale}u;"));
        }
        if range.from.mean_pool {
            // At an odd edge the last row stands for the one below it: the mean is that of the elements inside.
            let (rows, width) = (range.from.shape.height, range.from.shape.width);
            s.line(format!("let below = select(0u, {width}u, row + {width}u < {}u);", rows * width));
        }
        mask
    }

    /// Defines the input columns of `taps` unrolled taps, by distance from the first.
    fn columns(&self, s: &mut Source, taps: usize) -> Vec<Option<Column>> {
        let Range { range, position, .. } = *self;
        let [_, width] = range.from.size();
        let (stride, pad) = (range.stride[1] as isize, range.padding[1] as isize);
        let reach = if taps > 1 { 0 } else { (range.kernel[1] - 1) * range.dilation[1] } as isize;
        let looped = !self.layout.unroll_x;
        let tap = if looped { format!(" + {}", times("kx", range.dilation[1])) } else { String::new() };
        let reach = if looped { reach } else { 0 };
        s.line(format!("let in_x = {}{tap};", times("x", range.stride[1])));
        let mut columns = Vec::new();
        for p in 0..position.pixels {
            for k in 0..taps {
                let j = p * position.step * range.stride[1] + k * range.dilation[1];
                if columns.len() <= j {
                    columns.resize_with(j + 1, || None);
                }
                if columns[j].is_some() {
                    continue;
                }
                let offset = j as isize - pad;
                let (low, high) = (position.x[0] * stride + offset, position.x[1] * stride + offset + reach);
                if low == high {
                    let inside = (0..width as isize).contains(&low);
                    let x = low.max(0) as usize * self.step();
                    let right = format!("{}u", usize::from(x + 1 < range.from.shape.width));
                    columns[j] = Some(match inside {
                        true => Column::At { at: format!("{x}u"), inside: None, right },
                        false => Column::Outside,
                    });
                    continue;
                }
                let last = (self.spec.size[1] as isize - 1) * stride - pad
                    + ((range.kernel[1] - 1) * range.dilation[1]) as isize;
                let mask = pad > 0 && low < 0 || high >= width as isize && last >= width as isize;
                let clamp = low < 0 || high >= width as isize;
                s.line(format!("let column{j} = {};", plus("in_x", offset)));
                if mask {
                    s.line(format!("let inside{j} = column{j} < {width}u;"));
                }
                let at = if clamp { format!("min(column{j}, {}u)", width - 1) } else { format!("column{j}") };
                s.line(format!("let at{j} = {};", times(&at, self.step())));
                if range.from.mean_pool {
                    s.line(format!(
                        "let right{j} = select(0u, 1u, at{j} + 1u < {}u);",
                        range.from.shape.width
                    ));
                }
                let inside = mask.then(|| format!("inside{j}"));
                columns[j] = Some(Column::At { at: format!("at{j}"), inside, right: format!("right{j}") });
            }
        }
        columns
    }

    /// The loop over input planes.
    fn steps(&self, s: &mut Source, columns: &[Option<Column>], row_inside: bool) {
        let Range { range, layout, r, .. } = *self;
        let planes = planes_of_group(range, layout.kind, layout.depth);
        match layout.kind {
            Kind::Dense => {
                s.line("var at = base + row;");
                if planes > 1 {
                    s.line(format!("for (var plane = 0u; plane < {planes}u; plane++) {{"));
                }
                let zero = if layout.depth == 4 { "vec4<f32>()" } else { "0.0" };
                if range.map.is_some() {
                    let plane = if planes > 1 { "plane" } else { "0u" };
                    let [scale, shift] = [layout.map, layout.map + layout.parameter];
                    s.line(format!("let scale = load_parameters({scale}u + 2u * PARAMETER * {plane});"));
                    s.line(format!("let shift = load_parameters({shift}u + 2u * PARAMETER * {plane});"));
                }
                self.loads(s, columns, "x", "at", row_inside, zero);
                self.weights_and_sums(s, columns);
                if planes > 1 {
                    s.line(format!("at += R{r}_PLANE;"));
                }
                s.line(format!("weight += {}u;", layout.step));
                if planes > 1 {
                    s.line("}");
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

    /// Loads every column once as `{name}{column}`, zero where it lies outside.
    fn loads(
        &self,
        s: &mut Source,
        columns: &[Option<Column>],
        name: &str,
        at: &str,
        row_inside: bool,
        zero: &str,
    ) {
        let buffer = self.range.from.buffer;
        if s.octets {
            return self.octets(s, columns, name, at, row_inside);
        }
        for (j, column) in columns.iter().enumerate() {
            let Some(Column::At { at: offset, inside, right }) = column else { continue };
            let element = |offset: &str| {
                let load = match is_packed(&self.range.from) {
                    true => format!("load_in{buffer}({at} + {offset})"),
                    false => format!("in{buffer}[{at} + {offset}]"),
                };
                let half = self.range.from.shape.precision == Precision::F16;
                match self.range.map {
                    None => load,
                    // `max` would hide an overflow.
                    Some(Function::Relu) if half => format!("rectified({load} * scale + shift)"),
                    Some(Function::Relu6) if half => format!("clipped({load} * scale + shift)"),
                    Some(Function::Relu) => format!("max({load} * scale + shift, {zero})"),
                    Some(Function::Relu6) => format!("clamp({load} * scale + shift, {zero}, vec4<f32>(6.0))"),
                    Some(_) => format!("({load} * scale + shift)"),
                }
            };
            let load = if self.range.from.mean_pool {
                let window = [
                    offset.clone(),
                    format!("{offset} + {right}"),
                    format!("{offset} + below"),
                    format!("{offset} + below + {right}"),
                ];
                format!("0.25 * ({})", window.map(|o| element(&o)).join(" + "))
            } else {
                element(offset)
            };
            match condition(row_inside, inside) {
                Some(inside) => s.line(format!("let {name}{j} = select({zero}, {load}, {inside});")),
                None => s.line(format!("let {name}{j} = {load};")),
            }
        }
    }

    /// [`Range::loads`], eight columns at a time.
    fn octets(&self, s: &mut Source, columns: &[Option<Column>], name: &str, at: &str, row_inside: bool) {
        let Range { range, position, .. } = *self;
        let (pad, width) = (range.padding[1] as isize, range.from.shape.width);
        let phase = (position.x[0] * range.stride[1] as isize - pad).rem_euclid(8) as usize;
        let start = plus("in_x", -pad - phase as isize);
        // An octet lies inside its row, or outside as a whole.
        for n in 0..(columns.len() + phase).div_ceil(8) {
            let column = format!("min({start} + {}u, {}u)", 8 * n, width - 8);
            s.line(format!("let octet{n} = octet(({at} + {column}) / 8u);"));
        }
        for (j, column) in columns.iter().enumerate() {
            let Some(Column::At { inside, .. }) = column else { continue };
            let n = j + phase;
            let load = format!("octet{}.{}.{}", n / 8, ["a", "b"][n % 8 / 4], ["x", "y", "z", "w"][n % 4]);
            match condition(row_inside, inside) {
                Some(inside) => s.line(format!("let {name}{j} = select(0.0, {load}, {inside});")),
                None => s.line(format!("let {name}{j} = {load};")),
            }
        }
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

/// Both conditions under which an input element is inside.
fn condition(row_inside: bool, column_inside: &Option<String>) -> Option<String> {
    match (row_inside, column_inside) {
        (true, Some(column)) => Some(format!("row_inside && {column}")),
        (true, None) => Some("row_inside".into()),
        (false, Some(column)) => Some(column.clone()),
        (false, None) => None,
    }
}
