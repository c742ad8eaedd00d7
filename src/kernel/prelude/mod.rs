//! A shader before its text is generated: constants, bound buffers, and the files of `shaders/` it consists of.
//!
//! [`ShaderSource::wgsl`] prints the prelude (constants and bindings), then the files, expanded by [`template`](super::template). Text is
//! generated only then, so a kernel that is merely compared with others costs none.

mod convolution;

pub(super) use convolution::{Reach, planes};

use super::access::Access;
use super::constants::{Constants, Value};
use super::precision::parameter_elements;
use super::spec::{BufferShape, Layout, Operand};
use super::template::{expand, numbered};
use super::{Binding, Precision, Role, files};
use crate::order::sort_by_key;
use std::collections::HashSet;
use std::fmt::Write;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;

/// A file of `shaders/`, instantiated for one item of a list where `item` is set.
#[derive(Clone, Debug)]
struct SourceFile {
    text: &'static str,
    /// Letter of the list in the file; letter and number of the item.
    item: Option<(char, char, u32)>,
    /// Placeholder words of the file and their replacements.
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
pub(super) struct ShaderSource {
    /// Description, printed in the first line.
    about: String,
    /// Whether the shader is specific to one spec.
    for_one: bool,
    constants: Vec<(String, Value)>,
    buffers: Vec<Buffer>,
    parts: Vec<SourceFile>,
    /// For matrix units: read-only f16 buffers are arrays of `vec4<f16>`, and the weights are also bound under the name `matrices`.
    matrices: bool,
    /// Whether its files use subgroup operations.
    subgroup: bool,
    access: Arc<dyn Access>,
    /// Bindings declared by the files themselves, instead of `buffers`.
    own: Option<Vec<Binding>>,
}

impl ShaderSource {
    /// An empty shader, with `about` in its first line.
    pub(super) fn new(about: String, access: &Arc<dyn Access>) -> ShaderSource {
        let access = Arc::clone(access);
        ShaderSource {
            about,
            for_one: false,
            constants: vec![],
            buffers: vec![],
            parts: vec![],
            matrices: false,
            subgroup: false,
            access,
            own: None,
        }
    }

    /// An empty shader for one spec, with the spec's key in its first line.
    pub(super) fn of_one(access: &Arc<dyn Access>) -> ShaderSource {
        ShaderSource { for_one: true, ..ShaderSource::new(String::new(), access) }
    }

    /// Sets the description, if the shader is specific to one spec.
    pub(super) fn say(&mut self, key: impl FnOnce() -> String) {
        if self.for_one {
            self.about = key();
        }
    }

    /// Marks the shader as one for matrix units.
    pub(super) fn with_matrices(mut self) -> ShaderSource {
        self.matrices = true;
        self
    }

    /// Adds a constant to the prelude.
    pub(super) fn constant(&mut self, name: impl Into<String>, value: impl Into<Value>) {
        self.constants.push((name.into(), value.into()));
    }

    /// Adds constants to the prelude.
    pub(super) fn constants(&mut self, values: &[(&str, usize)]) {
        values.iter().for_each(|(name, value)| self.constant(*name, *value));
    }

    /// Adds a file unchanged.
    pub(super) fn file(&mut self, text: &'static str) {
        self.worded(text, vec![]);
    }

    /// Adds a file with words replaced.
    fn worded(&mut self, text: &'static str, words: Vec<(&'static str, String)>) {
        self.parts.push(SourceFile { text, item: None, words });
    }

    /// Adds a file written for item 0 of the list `from`, instantiated for item `n` of the list `to`, with words replaced.
    pub(super) fn numbered(
        &mut self,
        text: &'static str,
        from: char,
        (to, n): (char, usize),
        words: Vec<(&'static str, String)>,
    ) {
        self.parts.push(SourceFile { text, item: Some((from, to, n as u32)), words });
    }

    /// Binds the distinct buffers that operands are read from: `in0`, `in1`, .. with `load_in0(element)`. In a planar buffer an element
    /// is one value, in the first lane.
    pub(super) fn reads<'a>(&mut self, operands: impl Iterator<Item = &'a Operand>) {
        let mut reads: Vec<Buffer> = operands
            .map(|o| Buffer {
                role: Role::Read(o.buffer),
                layout: o.shape.layout,
                precision: o.shape.precision,
                writable: false,
            })
            .collect();
        sort_by_key(&mut reads, |buffer| match buffer.role {
            Role::Read(n) => n,
            _ => unreachable!("only reads"),
        });
        reads.dedup();
        self.buffers.extend(reads);
    }

    /// Binds the weights: `load_weights(element)` loads a quad of weights, `load_parameters(element)` a quad of f32 parameters, which
    /// takes `PARAMETER` elements.
    pub(super) fn weights(&mut self, precision: Precision) {
        self.constant("PARAMETER", parameter_elements(precision));
        let role = Role::Weights(0);
        self.buffers.push(Buffer { role, layout: Layout::Packed, precision, writable: false });
    }

    /// Binds the written buffers: `out0`, ..; packed ones with `load_out0(element)` and `store_out0(element, quad)`.
    pub(super) fn writes<'a>(&mut self, shapes: impl Iterator<Item = &'a BufferShape>) {
        for (n, shape) in shapes.enumerate() {
            let (layout, precision) = (shape.layout, shape.precision);
            self.buffers.push(Buffer { role: Role::Write(n), layout, precision, writable: true });
        }
    }

    /// Whether f16 buffers are involved, so that functions must propagate NaN, which marks an f16 overflow.
    fn half(&self) -> bool {
        self.matrices || self.buffers.iter().any(|b| b.precision == Precision::F16)
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

    /// Marks the shader as using subgroup operations.
    pub(super) fn with_subgroup(mut self) -> ShaderSource {
        self.subgroup = true;
        self
    }

    /// Sets the bindings that its files declare; there are no others.
    pub(super) fn declared(&mut self, bindings: Vec<Binding>) {
        self.own = Some(bindings);
    }

    /// Its bindings, in order.
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

    /// Its WGSL text.
    pub(super) fn wgsl(&self) -> String {
        let mut constants = Constants::default();
        self.constants.iter().for_each(|(name, value)| constants.set(name, value.clone()));
        let parts: String = self.parts.iter().map(SourceFile::text).collect();
        let mut body = expand(&parts, &constants);
        body.insert_str(0, &self.functions());
        self.library(&mut body);
        // Only constants that are used: a driver's parser reads each one.
        let named: HashSet<&str> = body.split(|c: char| !c.is_ascii_alphanumeric() && c != '_').collect();
        let about = format!("// {}\n", self.about);
        let prelude = self.prelude(|name| named.contains(name));
        [self.enabled(), &about, &prelude, &body].concat()
    }

    /// A key of its text: the prelude and hashes of the files.
    pub(super) fn key(&self) -> String {
        let mut key = format!("{} {}\n", self.matrices, self.half());
        key += &self.prelude(|_| true);
        key += &self.functions();
        for SourceFile { text, item, words } in &self.parts {
            let mut hasher = DefaultHasher::new();
            text.hash(&mut hasher);
            let _ = write!(key, "{:x} {item:?} {words:?};", hasher.finish());
        }
        key
    }

    /// The `enable` directives.
    fn enabled(&self) -> &'static str {
        if self.matrices { "enable f16;\nenable wgpu_cooperative_matrix;\n" } else { "" }
    }

    /// The functions that load and store elements of its buffers.
    fn functions(&self) -> String {
        let mut text = String::new();
        self.buffers.iter().for_each(|buffer| self.reach(buffer, &mut text));
        text
    }

    /// The constants whose names pass the filter, and the bindings.
    fn prelude(&self, named: impl Fn(&str) -> bool) -> String {
        let mut text = String::new();
        for (name, value) in self.constants.iter().filter(|(name, _)| named(name)) {
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
        text
    }

    /// Its text with markers left as comments, with only the first item of every list.
    #[cfg(test)]
    pub(super) fn unexpanded(&self) -> String {
        let first = |part: &&SourceFile| part.item.is_none_or(|(_, _, n)| n == 0);
        let parts: String = self.parts.iter().filter(first).map(SourceFile::text).collect();
        [self.enabled(), &self.prelude(|_| true), &self.functions(), &parts].concat()
    }

    /// The files it is made of.
    #[cfg(test)]
    pub(super) fn files(&self) -> impl Iterator<Item = &'static str> {
        self.parts.iter().map(|part| part.text)
    }

    /// A file for the first item of a list.
    #[cfg(test)]
    pub(super) fn part(text: &'static str, (from, to): (char, char)) -> String {
        SourceFile { text, item: Some((from, to, 0)), words: vec![] }.text()
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
    fn reach(&self, buffer: &Buffer, text: &mut String) {
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
    fn library(&self, text: &mut String) {
        let mut missing = files::FUNCTIONS.to_vec();
        let mut from = 0;
        while from < text.len() {
            let called = calls(&text[from..]);
            let (now, later): (Vec<_>, Vec<_>) =
                missing.into_iter().partition(|(name, ..)| called.contains(name));
            let added: String =
                now.iter().map(|(_, f32, f16)| if self.half() { *f16 } else { *f32 }).collect();
            (missing, from) = (later, text.len());
            text.push_str(&added);
        }
    }
}

/// The names that precede an opening parenthesis.
fn calls(text: &str) -> HashSet<&str> {
    let name = |(at, _): (usize, &str)| {
        let before =
            text[..at].rfind(|c: char| !c.is_ascii_alphanumeric() && c != '_').map_or(0, |at| at + 1);
        &text[before..at]
    };
    text.match_indices('(').map(name).collect()
}

impl SourceFile {
    fn text(&self) -> String {
        let mut out = String::with_capacity(self.text.len());
        let copy = self.item.is_some_and(|(_, _, n)| n > 0);
        for line in self.text.lines() {
            // Comments are kept for the first item only.
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

/// The line with `word` replaced, also after the prefixes `load_` and `store_`.
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
