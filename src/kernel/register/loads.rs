//! Where the input elements of an invocation are, and how they are loaded.

use super::super::Precision;
use super::super::layout::{Kind, WeightLayout};
use super::super::source::{Source, plus, times};
use super::super::spec::{ConvSpec, Function};
use super::body::Range;

/// An input column, as seen from an invocation.
pub(super) enum Column {
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
    !from.is_packed()
        && from.stride == 1
        && from.shape.width.is_multiple_of(8)
        && (apart * range.stride[1]).is_multiple_of(8)
        && spec.adds.is_empty()
        && layout.kind == Kind::Dense
        && layout.unroll_x
}

impl Range<'_> {
    /// Defines `row`, the offset of the input row in elements; returns whether `row_inside` is needed.
    pub(super) fn row(&self, s: &mut Source, loop_y: bool) -> bool {
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
    pub(super) fn columns(&self, s: &mut Source, taps: usize) -> Vec<Option<Column>> {
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

    /// Loads every column once as `{name}{column}`, zero where it lies outside.
    pub(super) fn loads(
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
                let load = match self.range.from.is_packed() {
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
}

/// Both conditions under which an input element is inside.
pub(super) fn condition(row_inside: bool, column_inside: &Option<String>) -> Option<String> {
    match (row_inside, column_inside) {
        (true, Some(column)) => Some(format!("row_inside && {column}")),
        (true, None) => Some("row_inside".into()),
        (false, Some(column)) => Some(column.clone()),
        (false, None) => None,
    }
}
