//! A shader before it is text: its constants, the buffers it binds, and the files of `shaders/` it is made of.
//!
//! [`Source::wgsl`] prints the constants and bindings, which are the prelude, and the files behind them, expanded by
//! [`template`](super::template). Nothing is printed before: a kernel that is only compared with others has no text.

use super::access::Access;
use super::constants::{Constants, Value};
use super::precision::parameter_elements;
use super::spec::{BufferShape, ConvSpec, Function, KRange, Layout, Operand, Spec};
use super::template::{expand, numbered};
use super::{Binding, Precision, Role, files};
use std::fmt::Write;
use std::sync::Arc;

/// A file of `shaders/`, for one item of a list where the shader has several.
#[derive(Clone, Debug)]
struct Part {
    text: &'static str,
    /// Letter of its list in the file, letter and number of the item.
    item: Option<(char, char, u32)>,
    /// Words of the file that stand for others.
    words: Vec<(&'static str, String)>,
}

/// A buffer as a shader sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Buffer {
    role: Role,
    layout: Layout,
    precision: Precision,
    writable: bool,
}

/// A shader: constants, buffers, files.
#[derive(Clone, Debug)]
pub(super) struct Source {
    /// What it computes, for people.
    about: String,
    constants: Vec<(String, Value)>,
    buffers: Vec<Buffer>,
    parts: Vec<Part>,
    /// f16 buffers that are only read are arrays of `vec4<f16>`, and so are the weights by the name of `matrices`.
    matrices: bool,
    /// Its files have subgroup operations.
    subgroup: bool,
    access: Arc<dyn Access>,
    /// Buffers that its files declare themselves, in place of all others.
    own: Option<Vec<Binding>>,
}

/// Which rows and columns of a K range's view an invocation may ask for.
#[derive(Clone, Copy, Debug)]
pub(super) struct Reach {
    /// Of rows, of columns: some lie outside, and count as zero.
    pub(super) mask: [bool; 2],
    /// Some lie outside, and are read from the last that is inside.
    pub(super) clamp: [bool; 2],
}

impl Reach {
    /// Where the windows of every output pixel are asked for and no other.
    pub(super) fn of_windows(spec: &ConvSpec, range: &KRange) -> Reach {
        let view = range.from.size();
        let outside = [0, 1].map(|i| {
            let last = (spec.size[i] - 1) * range.stride[i] + (range.kernel[i] - 1) * range.dilation[i];
            range.padding[i] > 0 || last >= view[i] + range.padding[i]
        });
        Reach { mask: outside, clamp: outside }
    }

    /// Whatever may be asked for.
    pub(super) const ANY: Reach = Reach { mask: [true; 2], clamp: [true; 2] };
}

impl Source {
    /// An empty shader. `about` is said in its first line.
    pub(super) fn new(about: String, access: &Arc<dyn Access>) -> Source {
        let access = Arc::clone(access);
        Source {
            about,
            constants: vec![],
            buffers: vec![],
            parts: vec![],
            matrices: false,
            subgroup: false,
            access,
            own: None,
        }
    }

    /// An empty shader of a convolution, which is said by its key.
    pub(super) fn of(spec: &ConvSpec, access: &Arc<dyn Access>) -> Source {
        Source::new(Spec::Conv(spec.clone()).key(), access)
    }

    /// The same for matrix units.
    pub(super) fn with_matrices(mut self) -> Source {
        self.matrices = true;
        self
    }

    /// A constant of the prelude.
    pub(super) fn constant(&mut self, name: impl Into<String>, value: impl Into<Value>) {
        self.constants.push((name.into(), value.into()));
    }

    /// Constants of the prelude.
    pub(super) fn constants(&mut self, values: &[(&str, usize)]) {
        values.iter().for_each(|(name, value)| self.constant(*name, *value));
    }

    /// A file as it is.
    pub(super) fn file(&mut self, text: &'static str) {
        self.parts.push(Part { text, item: None, words: vec![] });
    }

    /// A file that is written for item 0 of the list `from`, for the n-th of the list `to`, with words replaced.
    pub(super) fn numbered(
        &mut self,
        text: &'static str,
        from: char,
        (to, n): (char, usize),
        words: Vec<(&'static str, String)>,
    ) {
        self.parts.push(Part { text, item: Some((from, to, n as u32)), words });
    }

    /// Binds the distinct buffers that operands are read from: `in0`, `in1`, .. with `load_in0(element)`; where channels are planes
    /// an element is one value, in the first lane.
    pub(super) fn reads<'a>(&mut self, operands: impl Iterator<Item = &'a Operand>) {
        let mut reads: Vec<Buffer> = operands
            .map(|o| Buffer {
                role: Role::Read(o.buffer),
                layout: o.shape.layout,
                precision: o.shape.precision,
                writable: false,
            })
            .collect();
        reads.sort_by_key(|buffer| match buffer.role {
            Role::Read(n) => n,
            _ => unreachable!("only reads"),
        });
        reads.dedup();
        self.buffers.extend(reads);
    }

    /// Binds the weights: `load_weights(element)` for a quad of them, `load_parameters(element)` for one of what is f32 beside them,
    /// which takes `PARAMETER` elements.
    pub(super) fn weights(&mut self, precision: Precision) {
        self.constant("PARAMETER", parameter_elements(precision));
        let role = Role::Weights(0);
        self.buffers.push(Buffer { role, layout: Layout::Packed, precision, writable: false });
    }

    /// Binds the buffers that are written: `out0`, .. with `load_out0(element)` and `store_out0(element, quad)` where they are quads.
    pub(super) fn writes<'a>(&mut self, shapes: impl Iterator<Item = &'a BufferShape>) {
        for (n, shape) in shapes.enumerate() {
            let (layout, precision) = (shape.layout, shape.precision);
            self.buffers.push(Buffer { role: Role::Write(n), layout, precision, writable: true });
        }
    }

    /// Whether NaN must stay NaN: it marks what f16 did not hold.
    fn half(&self) -> bool {
        self.matrices || self.buffers.iter().any(|b| b.precision == Precision::F16)
    }

    /// The function of a K range's prologue, or of an activation.
    fn function(function: Function) -> &'static str {
        match function {
            Function::Identity | Function::PRelu => "identity",
            Function::Relu => "relu",
            Function::Relu6 => "relu6",
            Function::Sigmoid => "sigmoid",
        }
    }

    /// K range `r`: its constants and `shared/operand.wgsl`. `map` is the element of the weights where its scales and shifts begin.
    pub(super) fn k_range(&mut self, r: usize, range: &KRange, reach: Reach, map: usize) {
        let from = &range.from;
        self.view('R', r, from);
        let [height, width] = from.size();
        let pairs = [
            ("STRIDE", range.stride),
            ("PAD", range.padding),
            ("DILATION", range.dilation),
            ("KERNEL", range.kernel),
        ];
        for (name, [y, x]) in pairs {
            self.constant(format!("R{r}_{name}_Y"), y);
            self.constant(format!("R{r}_{name}_X"), x);
        }
        for (name, value) in [("HEIGHT", height), ("WIDTH", width), ("MAP", map)] {
            self.constant(format!("R{r}_{name}"), value);
        }
        let flags = [
            ("MAPPED", range.map.is_some()),
            ("MEAN", from.mean_pool),
            ("MASK_Y", reach.mask[0]),
            ("MASK_X", reach.mask[1]),
            ("CLAMP_Y", reach.clamp[0]),
            ("CLAMP_X", reach.clamp[1]),
        ];
        for (name, flag) in flags {
            self.constant(format!("R{r}_{name}"), flag);
        }
        if r == 0 {
            self.file(files::PROLOGUE);
        }
        let function = Source::function(range.map.unwrap_or(Function::Identity)).to_string();
        let words = vec![("in0", format!("in{}", from.buffer)), ("relu", function)];
        self.numbered(files::OPERAND, 'r', ('r', r), words);
    }

    /// The constants of a view of a buffer, item `n` of the list `letter`: sizes of the buffer, and what of it is seen.
    fn view(&mut self, letter: char, n: usize, from: &Operand) {
        let first = if from.is_packed() { from.first_channel / 4 } else { from.first_channel };
        let shape = &from.shape;
        for (name, value) in [
            ("PLANE", shape.height * shape.width),
            ("IMAGE", planes(shape)),
            ("FIRST", first),
            ("CHANNELS", from.channels),
            ("STEP", if from.mean_pool { 2 } else { from.stride }),
            ("BUFFER_WIDTH", shape.width),
        ] {
            self.constant(format!("{letter}{n}_{name}"), value);
        }
    }

    /// The function `quad_v0` of a view, item `n` of the list `letter`, in the buffer `name`.
    pub(super) fn quads(&mut self, (letter, n): (char, usize), name: String, from: &Operand) {
        self.view(letter, n, from);
        let file = if from.is_packed() { files::QUAD } else { files::QUAD_PLANAR };
        self.numbered(file, 'v', (letter.to_ascii_lowercase(), n), vec![("in0", name)]);
    }

    /// What every convolution has: sizes, buffers, `finish` and `store`. `slopes` is the element of the weights where the slopes of
    /// PReLU begin.
    pub(super) fn convolution(&mut self, spec: &ConvSpec, slopes: usize) {
        self.constants(&[
            ("OUT_QUADS", spec.out_channels.div_ceil(4)),
            ("CONV_HEIGHT", spec.size[0]),
            ("CONV_WIDTH", spec.size[1]),
            ("K_RANGES", spec.k_ranges.len()),
        ]);
        self.reads(reads(spec));
        self.weights(spec.precision());
        self.writes(spec.outputs.iter().map(|o| &o.shape));
        self.epilogue(spec, slopes);
    }

    /// The functions `finish` and `store` of a convolution, and the lists of what is added and where it is stored. `slopes` is the
    /// element of the weights where the slopes of PReLU begin.
    fn epilogue(&mut self, spec: &ConvSpec, slopes: usize) {
        self.activation(spec, slopes);
        self.constant("POOLED", spec.pool.is_some());
        self.constant("ADDS", spec.adds.len());
        for (n, add) in spec.adds.iter().enumerate() {
            let from = &add.from;
            let name = if n < spec.in_place { "out0".into() } else { format!("in{}", from.buffer) };
            let moved = !add.is_aligned();
            let (first, quads) = (add.first_out / 4, from.channels.div_ceil(4));
            let all = moved || first == 0 && quads == spec.out_channels.div_ceil(4);
            self.constant(format!("A{n}_MOVED"), moved);
            self.constant(format!("A{n}_GATED"), add.gate.is_some());
            self.constant(format!("A{n}_ALL_QUADS"), all);
            self.constant(format!("A{n}_FIRST_QUAD"), first);
            self.constant(format!("A{n}_END_QUAD"), first + quads);
            if moved {
                self.view('A', n, from);
                self.constant(format!("A{n}_FIRST_OUT"), add.first_out);
                self.constant(format!("A{n}_FIRST_CHANNEL"), from.first_channel);
                let file = if from.is_packed() { files::MOVED } else { files::MOVED_PLANAR };
                self.numbered(file, 'v', ('a', n), vec![("in0", name)]);
            } else {
                self.quads(('A', n), name, from);
            }
            if let Some(gate) = &add.gate {
                self.quads(('G', n), format!("in{}", gate.buffer), gate);
            }
            // Its gate has its number.
            self.numbered(files::ADDED, 'a', ('a', n), vec![("quad_g0", format!("quad_g{n}"))]);
        }
        self.file(files::FINISH);
        self.outputs(spec);
    }

    /// The function `store`.
    pub(super) fn outputs(&mut self, spec: &ConvSpec) {
        self.constant("OUT_CHANNELS", spec.out_channels);
        self.constant("OUTPUTS", spec.outputs.len());
        for (n, output) in spec.outputs.iter().enumerate() {
            let shape = &output.shape;
            let packed = shape.layout == Layout::Packed;
            let first = if packed { output.first_channel / 4 } else { output.first_channel };
            for (name, value) in [
                ("FIRST_QUAD", output.channels.start / 4),
                ("END_QUAD", output.channels.end.div_ceil(4)),
                ("CHANNELS", output.channels.len()),
                ("FIRST", first),
                ("IMAGE", planes(shape)),
                ("PLANE", shape.height * shape.width),
                ("WIDTH", shape.width),
            ] {
                self.constant(format!("O{n}_{name}"), value);
            }
            let file = if packed { files::PUT } else { files::PUT_PLANAR };
            self.numbered(file, 'o', ('o', n), vec![("out0", format!("out{n}"))]);
        }
        self.file(files::STORE);
    }

    /// The function `activate`. Where one range has slopes every range is expressed by them.
    fn activation(&mut self, spec: &ConvSpec, slopes: usize) {
        let ranges: Vec<_> = spec.activation.iter().filter(|(range, _)| !range.is_empty()).collect();
        let first = ranges.first().map_or(Function::Identity, |(_, function)| *function);
        if spec.has_slopes() {
            self.constant("SLOPES", slopes);
            return self.file(files::ACTIVATE_SLOPES);
        }
        if ranges.iter().all(|(_, function)| *function == first) {
            let words = vec![("relu", Source::function(first).to_string())];
            return self.parts.push(Part { text: files::ACTIVATE, item: None, words });
        }
        let others: Vec<_> =
            ranges.into_iter().filter(|(_, function)| *function != Function::Identity).collect();
        self.constant("FUNCTIONS", others.len());
        for (n, (range, function)) in others.into_iter().enumerate() {
            self.constant(format!("F{n}_FIRST"), range.start);
            self.constant(format!("F{n}_END"), range.end);
            let words = vec![("relu", Source::function(*function).to_string())];
            self.numbered(files::ACTIVATE_RANGE, 'f', ('f', n), words);
        }
        self.file(files::ACTIVATE_RANGES);
    }

    pub(super) fn needs_int64(&self) -> bool {
        self.access.int64()
    }

    pub(super) fn needs_matrices(&self) -> bool {
        self.matrices
    }

    pub(super) fn needs_subgroup(&self) -> bool {
        self.matrices || self.subgroup
    }

    /// Says that its files have subgroup operations.
    pub(super) fn with_subgroup(mut self) -> Source {
        self.subgroup = true;
        self
    }

    /// Says which buffers its files declare, as they stand there; there are no others.
    pub(super) fn declared(&mut self, bindings: Vec<Binding>) {
        self.own = Some(bindings);
    }

    /// The buffers it binds, in order.
    pub(super) fn bindings(&self) -> Vec<Binding> {
        if let Some(own) = &self.own {
            return own.clone();
        }
        let mut bindings: Vec<Binding> = vec![];
        for buffer in &self.buffers {
            match self.access.start(buffer.role) {
                Some(_) if bindings.iter().any(|b| b.role == Role::Arena) => {}
                Some(_) => bindings.push(Binding { name: "arena".into(), role: Role::Arena, writable: true }),
                None => {
                    if self.matrices && matches!(buffer.role, Role::Weights(_)) {
                        bindings.push(Binding {
                            name: "matrices".into(),
                            role: buffer.role,
                            writable: false,
                        });
                    }
                    bindings.push(Binding {
                        name: buffer.name(),
                        role: buffer.role,
                        writable: buffer.writable,
                    });
                }
            }
        }
        bindings
    }

    /// Its text.
    pub(super) fn wgsl(&self) -> String {
        let mut constants = Constants::default();
        self.constants.iter().for_each(|(name, value)| constants.set(name, value.clone()));
        let parts: String = self.parts.iter().map(Part::text).collect();
        let (mut prelude, mut body) = (self.prelude(), expand(&parts, &constants));
        self.library(&mut prelude, &mut body);
        prelude + &body
    }

    /// The constants and bindings.
    fn prelude(&self) -> String {
        let mut text = String::new();
        if self.matrices {
            text.push_str("enable f16;\nenable wgpu_cooperative_matrix;\n");
        }
        let _ = writeln!(text, "// {}", self.about);
        for (name, value) in &self.constants {
            let _ = writeln!(text, "const {name} = {};", value.wgsl());
        }
        let bindings = if self.own.is_some() { vec![] } else { self.bindings() };
        for (n, binding) in bindings.iter().enumerate() {
            let access = if binding.writable { "read_write" } else { "read" };
            let element = self.element(binding);
            let _ = writeln!(
                text,
                "@group(0) @binding({n}) var<storage, {access}> {}: array<{element}>;",
                binding.name
            );
        }
        self.buffers.iter().for_each(|buffer| self.functions(buffer, &mut text));
        text
    }

    /// Its text with the markers of its files as comments: of every list its first item.
    #[cfg(test)]
    pub(super) fn unexpanded(&self) -> String {
        let first = |part: &&Part| part.item.is_none_or(|(_, _, n)| n == 0);
        let parts: String = self.parts.iter().filter(first).map(Part::text).collect();
        self.prelude() + &parts
    }

    /// The files it is made of.
    #[cfg(test)]
    pub(super) fn files(&self) -> impl Iterator<Item = &'static str> {
        self.parts.iter().map(|part| part.text)
    }

    /// A file for the first item of a list.
    #[cfg(test)]
    pub(super) fn part(text: &'static str, (from, to): (char, char)) -> String {
        Part { text, item: Some((from, to, 0)), words: vec![] }.text()
    }

    /// WGSL type of the elements of a binding.
    fn element(&self, binding: &Binding) -> &'static str {
        match self.buffers.iter().find(|b| b.role == binding.role) {
            None => self.access.arena(),
            Some(_) if binding.name == "matrices" => "vec4<f16>",
            Some(b) if self.matrices && matches!(b.role, Role::Weights(_)) => "vec2<u32>",
            Some(b) if self.matrices && b.precision == Precision::F16 && !b.writable => "vec4<f16>",
            Some(b) => match b.layout {
                Layout::Planar => self.access.planar(b.writable),
                Layout::Packed => self.access.quads(b.precision, b.writable),
            },
        }
    }

    /// The functions that load and store elements of a buffer.
    fn functions(&self, buffer: &Buffer, text: &mut String) {
        let name = buffer.name();
        let weights = matches!(buffer.role, Role::Weights(_));
        let native = self.matrices && buffer.precision == Precision::F16 && !buffer.writable;
        let load = match buffer.layout {
            Layout::Planar if buffer.writable => return,
            Layout::Planar => return text.push_str(&self.access.load_planar(&name)),
            Layout::Packed if native && !weights => format!("vec4<f32>({name}[index])"),
            Layout::Packed => self.access.load(buffer.role, &name, buffer.precision, buffer.writable),
        };
        if !(native && weights) {
            let _ = writeln!(text, "fn load_{name}(index: u32) -> vec4<f32> {{\n    return {load};\n}}");
        }
        if weights {
            let load = self.access.parameters(buffer.precision);
            let _ =
                writeln!(text, "fn load_parameters(element: u32) -> vec4<f32> {{\n    return {load};\n}}");
        }
        if buffer.writable {
            let store = self.access.store(buffer.role, &name, buffer.precision);
            let _ = writeln!(text, "fn store_{name}(index: u32, value: vec4<f32>) {{\n    {store};\n}}");
        }
    }

    /// Adds the functions of `shaders/shared/functions` that are called.
    fn library(&self, prelude: &mut String, body: &mut String) {
        let mut added: Vec<&str> = vec![];
        loop {
            let missing = files::FUNCTIONS.iter().find(|(name, ..)| {
                let called = |text: &str| {
                    text.match_indices(name).any(|(at, _)| {
                        let before = text[..at].chars().next_back();
                        let part = |c: char| c.is_ascii_alphanumeric() || c == '_';
                        text[at + name.len()..].starts_with('(') && !before.is_some_and(part)
                    })
                };
                !added.contains(name) && (called(prelude) || called(body))
            });
            let Some((name, single, half)) = missing else { return };
            body.push_str(if self.half() { half } else { single });
            added.push(name);
        }
    }
}

impl Part {
    fn text(&self) -> String {
        let mut out = String::with_capacity(self.text.len());
        let copy = self.item.is_some_and(|(_, _, n)| n > 0);
        for line in self.text.lines() {
            // What is said of the first item is not said again.
            if copy && (line.starts_with("// ") || line == "//") {
                continue;
            }
            let mut line = match self.item {
                Some((from, to, n)) => numbered(line, from, to, n),
                None => line.to_string(),
            };
            for (word, with) in &self.words {
                line = replaced(&line, word, with);
            }
            out.push_str(&line);
            out.push('\n');
        }
        out.push('\n');
        out
    }
}

/// The line with `word` replaced, also behind `load_` and `store_`.
fn replaced(line: &str, word: &str, with: &str) -> String {
    if word == with {
        return line.to_string();
    }
    let part = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let mut out = String::with_capacity(line.len());
    let mut from = 0;
    for (at, _) in line.match_indices(word) {
        let begins = line[..at].trim_end_matches("load_").trim_end_matches("store_").chars().next_back();
        let ends = line[at + word.len()..].chars().next();
        if !begins.is_some_and(part) && !ends.is_some_and(part) {
            out.push_str(&line[from..at]);
            out.push_str(with);
            from = at + word.len();
        }
    }
    out + &line[from..]
}

impl Buffer {
    fn name(&self) -> String {
        match self.role {
            Role::Read(n) => format!("in{n}"),
            Role::Write(n) => format!("out{n}"),
            Role::Weights(_) => "weights".into(),
            Role::Arena => "arena".into(),
            Role::Scratch => "scratch".into(),
        }
    }
}

/// Planes of one image in a buffer: quads of channels, or channels.
pub(super) fn planes(shape: &BufferShape) -> usize {
    match shape.layout {
        Layout::Packed => shape.channels.div_ceil(4),
        Layout::Planar => shape.channels,
    }
}

/// Every operand a dispatch reads from a buffer that it does not write: K ranges, adds, gates.
fn reads(spec: &ConvSpec) -> impl Iterator<Item = &Operand> {
    let adds = spec.adds.iter().skip(spec.in_place).map(|a| &a.from);
    let gates = spec.adds.iter().filter_map(|a| a.gate.as_ref());
    spec.k_ranges.iter().map(|r| &r.from).chain(adds).chain(gates)
}
