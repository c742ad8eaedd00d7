//! Text of a shader while it is written: constants, bindings, fragments, indented bodies.

use super::precision::parameter_elements;
use super::{Arena, Binding, Precision, Role};
use crate::kernel::spec::{BufferShape, Function, Layout, Operand};
use std::ops::Range;

const ACTIVATE_IDENTITY: &str = include_str!("old/shaders/shared/activate_identity.wgsl");
const ACTIVATE_RELU: &str = include_str!("old/shaders/shared/activate_relu.wgsl");
const ACTIVATE_RELU6: &str = include_str!("old/shaders/shared/activate_relu6.wgsl");
const ACTIVATE_PRELU: &str = include_str!("old/shaders/shared/activate_prelu.wgsl");
const ACTIVATE_SIGMOID: &str = include_str!("old/shaders/shared/activate_sigmoid.wgsl");
const HALF: &str = include_str!("old/shaders/shared/half.wgsl");
const WIDE: &str = include_str!("old/shaders/shared/wide.wgsl");

/// A shader being written.
#[derive(Default)]
pub(super) struct Source {
    text: String,
    indent: usize,
    bindings: Vec<Binding>,
    /// Quads are read as 64-bit integers, which software Vulkan loads faster than floats.
    wide_loads: bool,
    /// Some buffer is f16: the functions of `half.wgsl` are needed, and NaN stays NaN.
    half: bool,
    /// Which buffers are ranges of one.
    arena: Option<Arena>,
    /// Planar buffers are read eight elements at a time.
    pub(super) octets: bool,
}

impl Source {
    /// An empty shader; `wide_loads` as the capability of that name.
    pub(super) fn new(wide_loads: bool, arena: Option<&Arena>) -> Source {
        Source { wide_loads, arena: arena.cloned(), ..Source::default() }
    }

    /// Whether it reads quads as 64-bit integers, and needs those.
    pub(super) fn wide(&self) -> bool {
        self.wide_loads
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
    fn bind(&mut self, name: String, role: Role, writable: bool, element: &str) {
        let access = if writable { "read_write" } else { "read" };
        let position = self.bindings.len();
        self.line(format!("@group(0) @binding({position}) var<storage, {access}> {name}: array<{element}>;"));
        self.bindings.push(Binding { name, role, writable });
    }

    /// Declares the distinct read buffers among `operands`, by index.
    pub(super) fn bind_reads<'a>(&mut self, operands: impl Iterator<Item = &'a Operand>) {
        let mut reads: Vec<_> = operands.map(|o| (o.buffer, (o.shape.layout, o.shape.precision))).collect();
        reads.sort_by_key(|&(buffer, _)| buffer);
        reads.dedup();
        for (buffer, (layout, precision)) in reads {
            let (name, role) = (format!("in{buffer}"), Role::Read(buffer));
            if let Some(start) = self.start(|a| &a.reads, buffer) {
                self.arena_load(&name, start);
                continue;
            }
            match layout {
                Layout::Packed => self.bind_quads(name, role, precision),
                Layout::Planar if self.octets => {
                    self.bind(name.clone(), role, false, "vec4<u64>");
                    self.line("fn octet(index: u32) -> Pair {");
                    self.line(format!("return pair_of({name}[index]);"));
                    self.line("}");
                }
                Layout::Planar => self.bind(name, role, false, "f32"),
            }
        }
    }

    /// Declares a buffer of quads that is only read, and the function `load_{name}`.
    fn bind_quads(&mut self, name: String, role: Role, precision: Precision) {
        let element = match (precision, self.wide_loads) {
            (Precision::F32, false) => "vec4<f32>",
            (Precision::F32, true) => "vec2<u64>",
            (Precision::F16, false) => "vec2<u32>",
            (Precision::F16, true) => "u64",
        };
        self.bind(name.clone(), role, false, element);
        self.half |= precision == Precision::F16;
        self.line(format!("fn load_{name}(index: u32) -> vec4<f32> {{"));
        match (precision, self.wide_loads) {
            (Precision::F32, false) => self.line(format!("return {name}[index];")),
            (Precision::F32, true) => self.line(format!("return quad_of({name}[index]);")),
            (Precision::F16, false) => self.line(format!("return from_half({name}[index]);")),
            (Precision::F16, true) => {
                self.line(format!("let raw = {name}[index];"));
                self.line("return from_half(vec2<u32>(u32(raw), u32(raw >> 32u)));");
            }
        }
        self.line("}");
    }

    /// Declares the weights, `load_weights(element)` for a quad of them and `load_parameters(element)` for one of what is f32
    /// beside them, which takes `PARAMETER` elements.
    pub(super) fn bind_weights(&mut self, precision: Precision) {
        self.constant("PARAMETER", parameter_elements(precision));
        self.bind_quads("weights".into(), Role::Weights(0), precision);
        self.line("fn load_parameters(element: u32) -> vec4<f32> {");
        match (precision, self.wide_loads) {
            (Precision::F32, _) => self.line("return load_weights(element);"),
            (Precision::F16, false) => {
                self.line("return bitcast<vec4<f32>>(vec4<u32>(weights[element], weights[element + 1u]));");
            }
            (Precision::F16, true) => {
                self.line("return quad_of(vec2<u64>(weights[element], weights[element + 1u]));");
            }
        }
        self.line("}");
    }

    /// Declares a buffer that is written; for quads the functions `load_out{output}` and `store_out{output}`.
    pub(super) fn bind_write(&mut self, output: usize, shape: &BufferShape) {
        let name = format!("out{output}");
        if let Some(start) = self.start(|a| &a.writes, output) {
            self.arena_load(&name, start);
            self.line(format!("fn store_{name}(index: u32, value: vec4<f32>) {{"));
            self.line(format!("arena[{start}u + index] = raw_of(value);"));
            self.line("}");
            return;
        }
        let (element, load, stored) = match (shape.layout, shape.precision) {
            (Layout::Planar, _) => return self.bind(name, Role::Write(output), true, "f32"),
            (Layout::Packed, Precision::F32) => ("vec4<f32>", format!("{name}[index]"), "value"),
            (Layout::Packed, Precision::F16) => {
                self.half = true;
                ("vec2<u32>", format!("from_half({name}[index])"), "to_half(value)")
            }
        };
        self.bind(name.clone(), Role::Write(output), true, element);
        self.line(format!("fn load_{name}(index: u32) -> vec4<f32> {{"));
        self.line(format!("return {load};"));
        self.line("}");
        self.line(format!("fn store_{name}(index: u32, value: vec4<f32>) {{"));
        self.line(format!("{name}[index] = {stored};"));
        self.line("}");
    }

    /// Where a buffer starts in the arena, if it is there. Declares the arena at first use.
    fn start(&mut self, buffers: impl Fn(&Arena) -> &Vec<Option<u32>>, n: usize) -> Option<u32> {
        let start = buffers(self.arena.as_ref()?).get(n).copied().flatten()?;
        if !self.bindings.iter().any(|b| b.role == Role::Arena) {
            self.bind("arena".into(), Role::Arena, true, "vec2<u64>");
        }
        Some(start)
    }

    /// The function `load_{name}` for a buffer in the arena.
    fn arena_load(&mut self, name: &str, start: u32) {
        self.line(format!("fn load_{name}(index: u32) -> vec4<f32> {{"));
        self.line(format!("return quad_of(arena[{start}u + index]);"));
        self.line("}");
    }

    /// The function `activate` for a partition of the output channels; `slopes` is the element of the weights where those of
    /// PReLU begin. Where one range has slopes every range is expressed by them: identity is slope 1, ReLU slope 0.
    pub(super) fn activation(&mut self, partition: &[(Range<usize>, Function)], slopes: usize) {
        let mut functions: Vec<Function> = vec![];
        for (range, function) in partition {
            if !range.is_empty() && !functions.contains(function) {
                functions.push(*function);
            }
        }
        match functions.as_slice() {
            [] | [Function::Identity] => self.fragment(ACTIVATE_IDENTITY),
            [Function::Relu] if !self.half => self.fragment(ACTIVATE_RELU),
            [Function::Relu6] if !self.half => self.fragment(ACTIVATE_RELU6),
            [Function::Sigmoid] => self.fragment(ACTIVATE_SIGMOID),
            all if all.contains(&Function::PRelu) => {
                self.constant("SLOPES", slopes);
                self.fragment(ACTIVATE_PRELU);
            }
            all => {
                // One test of ranges per kind of function.
                self.line("fn activate(value: vec4<f32>, quad: u32) -> vec4<f32> {");
                self.line("let channel = vec4<u32>(4u * quad) + vec4<u32>(0u, 1u, 2u, 3u);");
                self.line("var result = value;");
                for function in all {
                    let changed = match function {
                        Function::Identity | Function::PRelu => continue,
                        Function::Relu if self.half => "rectified(value)",
                        Function::Relu6 if self.half => "clipped(value)",
                        Function::Relu => "max(value, vec4<f32>())",
                        Function::Relu6 => "clamp(value, vec4<f32>(), vec4<f32>(6.0))",
                        Function::Sigmoid => "1.0 / (1.0 + exp(-value))",
                    };
                    for (range, _) in partition.iter().filter(|(r, f)| f == function && !r.is_empty()) {
                        let (start, end) = (range.start, range.end);
                        self.line(format!(
                            "result = select(result, {changed}, (channel >= vec4<u32>({start}u)) & (channel < vec4<u32>({end}u)));"
                        ));
                    }
                }
                self.line("return result;");
                self.line("}");
            }
        }
    }

    /// The text and its bindings.
    pub(super) fn finish(mut self) -> (String, Vec<Binding>) {
        if self.half {
            self.fragment(HALF);
        }
        if self.wide_loads {
            self.fragment(WIDE);
        }
        debug_assert_eq!(self.indent, 0, "unbalanced braces:\n{}", self.text);
        (self.text, self.bindings)
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
