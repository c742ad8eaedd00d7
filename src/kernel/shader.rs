//! Kernels and their shaders as values: what is bound, how many workgroups run, and the text, printed when it is asked for.

use super::choice::Choice;
use super::prelude::ShaderSource;
use super::spec::ConvSpec;
use super::weights::{ConvParameters, Weights};
use super::{Binding, Rounding};
use std::sync::Arc;

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
    Source(ShaderSource),
    Written(String),
}

impl Shader {
    pub(super) fn new(source: ShaderSource, entry: &'static str, grid: [u32; 3]) -> Shader {
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
    pub(super) fn source(&self) -> Option<&ShaderSource> {
        match &self.text {
            Text::Source(source) => Some(source),
            Text::Written(_) => None,
        }
    }

    /// Says which spec it is for, where it is for one.
    pub(super) fn say(&mut self, key: impl FnOnce() -> String) {
        if let Text::Source(source) = &mut self.text {
            source.say(key);
        }
    }

    /// What its text depends on: shorter to print than the text, and equal where that is.
    pub(crate) fn key(&self) -> String {
        match &self.text {
            Text::Source(source) => source.key(),
            Text::Written(text) => text.clone(),
        }
    }

    /// Drops what its text is made of: what is bound, and how, stays.
    pub(crate) fn forget_text(&mut self) {
        self.text = Text::Written(String::new());
    }
}

/// What computes one [`Spec`](super::Spec): a shader, or several one after the other that hand on what they make in a buffer of their own.
#[derive(Clone, Debug)]
pub struct Kernel {
    /// Its family and tile.
    pub choice: Choice,
    /// In the order they run.
    pub shaders: Vec<Shader>,
    /// Bytes of the buffer for [`Role::Scratch`](super::Role::Scratch), 0 where no shader binds one. What it holds before does not matter.
    pub scratch: u64,
    pub(super) weights: Option<Arc<dyn Weights>>,
}

impl Kernel {
    /// One shader, whose weights are laid out so.
    pub(super) fn one(choice: Choice, shader: Shader, weights: impl Weights + 'static) -> Kernel {
        Kernel { choice, shaders: vec![shader], scratch: 0, weights: Some(Arc::new(weights)) }
    }

    /// One shader that has no weights.
    pub(super) fn unweighted(choice: Choice, shader: Shader) -> Kernel {
        Kernel { choice, shaders: vec![shader], scratch: 0, weights: None }
    }

    pub(super) fn weight_bytes(&self) -> u64 {
        self.weights.as_ref().map_or(0, |weights| weights.bytes())
    }

    /// The content of the weight binding in 32-bit words; [`ConvSpec::precision`] says of what type weights are. Empty for
    /// kernels without weights.
    ///
    /// # Panics
    /// Where the lengths do not match `spec`, which must be the one the kernel was made for.
    pub fn pack(&self, spec: &ConvSpec, values: &ConvParameters<'_>) -> Vec<u32> {
        self.weights.as_ref().map_or_else(Vec::new, |weights| weights.pack(spec, values))
    }

    /// How far its results may be from exact ones.
    pub fn rounding(&self) -> Rounding {
        self.weights.as_ref().map_or(Rounding::DIRECT, |weights| weights.rounding())
    }
}
