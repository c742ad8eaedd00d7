//! A compute shader as a value: what is bound, how many workgroups run, and its text, printed when it is asked for.

use super::prelude::Source;

/// What a binding is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Role {
    /// The dispatch's n-th read buffer.
    Read(usize),
    /// The dispatch's n-th written buffer.
    Write(usize),
    /// Packed weights and biases of the dispatch, from this byte on: a multiple of 256.
    Weights(u64),
    /// The one buffer that the dispatch's buffers are ranges of ([`Arena`]).
    Arena,
    /// What the shaders of a kernel hand on to one another.
    Scratch,
}

/// A storage buffer of a shader, in bind group 0 at the position it has in [`Shader::bindings`].
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Binding {
    /// Its name in the WGSL.
    pub name: String,
    /// What is bound there.
    pub role: Role,
    /// `read_write` rather than `read`.
    pub writable: bool,
}

/// One buffer that holds those of several dispatches, so that a shader need not say which of them it reads. Its first 16 bytes
/// are zero. Where each of a dispatch's buffers starts in it, in quads of f32; `None` for one that is bound on its own.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Arena {
    /// Of the buffers read.
    pub reads: Vec<Option<u32>>,
    /// Of those written.
    pub writes: Vec<Option<u32>>,
}

/// A compute shader: everything baked in, nothing but buffers to bind.
#[derive(Clone, Debug)]
pub struct Shader {
    text: Text,
    /// Entry point.
    pub entry: &'static str,
    /// Bind group 0, in order.
    pub bindings: Vec<Binding>,
    /// Workgroups in x, y, z.
    pub grid: [u32; 3],
    /// Whether it needs the feature `SUBGROUP`.
    pub subgroup: bool,
    /// Whether it needs the feature `SHADER_INT64`.
    pub int64: bool,
    /// Whether it needs the features of [`Features::matrix_units`](super::Features::matrix_units).
    pub matrices: bool,
}

#[derive(Clone, Debug)]
enum Text {
    /// Constants and files, not joined yet.
    Source(Source),
    Written(String),
}

impl Shader {
    pub(super) fn new(source: Source, entry: &'static str, grid: [u32; 3]) -> Shader {
        Shader {
            entry,
            bindings: source.bindings(),
            grid,
            subgroup: source.needs_subgroup(),
            int64: source.needs_int64(),
            matrices: source.needs_matrices(),
            text: Text::Source(source),
        }
    }

    /// A shader of a text that is written already, which needs no more of an adapter than WebGPU has.
    pub fn from_wgsl(wgsl: String, entry: &'static str, bindings: Vec<Binding>, grid: [u32; 3]) -> Shader {
        Shader {
            text: Text::Written(wgsl),
            entry,
            bindings,
            grid,
            subgroup: false,
            int64: false,
            matrices: false,
        }
    }

    /// All of its text.
    pub fn wgsl(&self) -> String {
        match &self.text {
            Text::Source(source) => source.wgsl(),
            Text::Written(text) => text.clone(),
        }
    }

    /// What its text is printed from.
    #[cfg(test)]
    pub(super) fn source(&self) -> Option<&Source> {
        match &self.text {
            Text::Source(source) => Some(source),
            Text::Written(_) => None,
        }
    }

    /// All of its text, which it has no more: what is bound, and how, stays.
    pub(crate) fn take_wgsl(&mut self) -> String {
        let text = self.wgsl();
        self.text = Text::Written(String::new());
        text
    }
}
