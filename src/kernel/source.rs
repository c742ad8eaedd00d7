//! Text of a shader while it is written: constants, bindings, fragments, indented bodies.

use super::{Binding, Role};
use crate::graph::Activation;
use crate::kernel::spec::{BufferShape, Layout, Operand};
use std::fmt::Write;
use std::ops::Range;

const ACTIVATE_IDENTITY: &str = include_str!("../../shaders/shared/activate_identity.wgsl");
const ACTIVATE_RELU: &str = include_str!("../../shaders/shared/activate_relu.wgsl");
const ACTIVATE_RANGES: &str = include_str!("../../shaders/shared/activate_ranges.wgsl");

/// Below every value a convolution can give: what padding of a max pool counts as. WGSL has no infinity.
pub(super) const LOWEST: &str = "vec4<f32>(-3.4028234663852886e38)";

/// A shader being written.
#[derive(Default)]
pub(super) struct Source {
    text: String,
    indent: usize,
    bindings: Vec<Binding>,
    /// Quads are read as two 64-bit integers, which software Vulkan loads faster than four floats.
    wide_loads: bool,
}

impl Source {
    /// An empty shader; `wide_loads` as the capability of that name.
    pub(super) fn new(wide_loads: bool) -> Source {
        Source { wide_loads, ..Source::default() }
    }

    /// One line, indented. A line that ends in `{` opens a block, one that starts with `}` closes it.
    pub(super) fn line(&mut self, line: impl AsRef<str>) {
        let line = line.as_ref();
        if line.starts_with('}') {
            self.indent -= 1;
        }
        for _ in 0..self.indent {
            self.text.push_str("    ");
        }
        self.text.push_str(line);
        self.text.push('\n');
        if line.ends_with('{') {
            self.indent += 1;
        }
    }

    /// A `u32` constant.
    pub(super) fn constant(&mut self, name: &str, value: usize) {
        self.line(format!("const {name} = {value}u;"));
    }

    /// A whole fragment file.
    pub(super) fn fragment(&mut self, text: &str) {
        self.text.push_str(text);
    }

    /// Declares the next storage buffer of bind group 0.
    pub(super) fn bind(&mut self, name: String, role: Role, writable: bool, element: &str) {
        let access = if writable { "read_write" } else { "read" };
        let position = self.bindings.len();
        self.line(format!("@group(0) @binding({position}) var<storage, {access}> {name}: array<{element}>;"));
        self.bindings.push(Binding { name, role, writable });
    }

    /// Declares the distinct read buffers among `operands`, by index.
    pub(super) fn bind_reads<'a>(&mut self, operands: impl Iterator<Item = &'a Operand>) {
        let mut reads: Vec<_> = operands.map(|o| (o.buffer, o.shape.layout)).collect();
        reads.sort_by_key(|&(buffer, _)| buffer);
        reads.dedup();
        for (buffer, layout) in reads {
            self.bind_read(format!("in{buffer}"), Role::Read(buffer), layout);
        }
    }

    /// Declares a buffer only read, and for quads the function `load_{name}`.
    pub(super) fn bind_read(&mut self, name: String, role: Role, layout: Layout) {
        let wide = self.wide_loads && layout == Layout::Packed;
        self.bind(name.clone(), role, false, if wide { "vec2<u64>" } else { element(layout) });
        if layout == Layout::Packed {
            self.line(format!("fn load_{name}(index: u32) -> vec4<f32> {{"));
            if wide {
                self.line(format!("let raw = {name}[index];"));
                self.line("let low = vec2<u32>(u32(raw.x), u32(raw.y));");
                self.line("let high = vec2<u32>(u32(raw.x >> 32u), u32(raw.y >> 32u));");
                self.line("return bitcast<vec4<f32>>(vec4<u32>(low.x, high.x, low.y, high.y));");
            } else {
                self.line(format!("return {name}[index];"));
            }
            self.line("}");
        }
    }

    /// The function `activate` for a partition of the output channels.
    pub(super) fn activation(&mut self, partition: &[(Range<usize>, Activation)]) {
        let relu: Vec<_> = partition
            .iter()
            .filter(|(range, activation)| *activation == Activation::Relu && !range.is_empty())
            .collect();
        let relu_all = partition.iter().all(|(r, a)| *a == Activation::Relu || r.is_empty());
        if relu.is_empty() {
            self.fragment(ACTIVATE_IDENTITY);
        } else if relu_all {
            self.fragment(ACTIVATE_RELU);
        } else {
            let mut list = String::new();
            for (range, _) in &relu {
                write!(list, "vec2<u32>({}u, {}u), ", range.start, range.end).expect("writing to a string");
            }
            self.constant("RELU_RANGE_COUNT", relu.len());
            self.line(format!("const RELU_RANGES = array<vec2<u32>, {}>({list});", relu.len()));
            self.fragment(ACTIVATE_RANGES);
        }
    }

    /// The text and its bindings.
    pub(super) fn finish(self) -> (String, Vec<Binding>) {
        debug_assert_eq!(self.indent, 0, "unbalanced braces:\n{}", self.text);
        (self.text, self.bindings)
    }
}

/// The WGSL element of a buffer.
pub(super) fn element(layout: Layout) -> &'static str {
    match layout {
        Layout::Packed => "vec4<f32>",
        Layout::Planar => "f32",
    }
}

/// Planes of one image in a buffer: quads of channels, or channels.
pub(super) fn planes(shape: &BufferShape) -> usize {
    match shape.layout {
        Layout::Packed => shape.channels.div_ceil(4),
        Layout::Planar => shape.channels,
    }
}

/// `name + offset` in u32 arithmetic that wraps where the offset is negative.
pub(super) fn plus(name: &str, offset: isize) -> String {
    match offset {
        0 => name.to_string(),
        1.. => format!("{name} + {offset}u"),
        _ => format!("{name} - {}u", -offset),
    }
}

/// `name * factor`.
pub(super) fn times(name: &str, factor: usize) -> String {
    if factor == 1 { name.to_string() } else { format!("{name} * {factor}u") }
}
