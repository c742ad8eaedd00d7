//! Kernels and their shaders as values: bindings, grid, and text that is generated on demand.

use super::choice::Choice;
use super::prelude::ShaderSource;
use super::spec::ConvSpec;
use super::weights::{ConvParameters, Weights};
use super::{Binding, Rounding};
use std::sync::Arc;

/// A compute shader with all sizes as constants; only buffers are bound.
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
    /// Constants and files, from which the text is generated.
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

    /// A shader with the given text, which needs no optional features.
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

    /// Its whole text.
    pub fn wgsl(&self) -> String {
        match &self.text {
            Text::Source(source) => source.wgsl(),
            Text::Written(text) => text.clone(),
        }
    }

    /// The source its text is generated from.
    #[cfg(test)]
    pub(super) fn source(&self) -> Option<&ShaderSource> {
        match &self.text {
            Text::Source(source) => Some(source),
            Text::Written(_) => None,
        }
    }

    /// Sets the description, if the shader is specific to one spec.
    pub(super) fn say(&mut self, key: impl FnOnce() -> String) {
        if let Text::Source(source) = &mut self.text {
            source.say(key);
        }
    }

    /// A key that is equal for equal texts and cheaper to generate.
    pub(crate) fn key(&self) -> String {
        match &self.text {
            Text::Source(source) => source.key(),
            Text::Written(text) => text.clone(),
        }
    }

    /// Drops the source of its text; bindings and grid stay.
    pub(crate) fn forget_text(&mut self) {
        self.text = Text::Written(String::new());
    }
}

/// An implementation of one [`Spec`](super::Spec): one shader, or several run in sequence that pass intermediate data in a scratch
/// buffer.
#[derive(Clone, Debug)]
pub struct Kernel {
    /// Its family and tile.
    pub choice: Choice,
    /// In order of execution.
    pub shaders: Vec<Shader>,
    /// Bytes of the buffer for [`Role::Scratch`](super::Role::Scratch), 0 where no shader binds one. It needs no initialisation.
    pub scratch: u64,
    pub(super) weights: Option<Arc<dyn Weights>>,
}

impl Kernel {
    /// A kernel of one shader with this weight layout.
    pub(super) fn one(choice: Choice, shader: Shader, weights: impl Weights + 'static) -> Kernel {
        Kernel { choice, shaders: vec![shader], scratch: 0, weights: Some(Arc::new(weights)) }
    }

    /// A kernel of one shader without weights.
    pub(super) fn unweighted(choice: Choice, shader: Shader) -> Kernel {
        Kernel { choice, shaders: vec![shader], scratch: 0, weights: None }
    }

    pub(super) fn weight_bytes(&self) -> u64 {
        self.weights.as_ref().map_or(0, |weights| weights.bytes())
    }

    /// The content of the weight binding in 32-bit words; the type of the weights is [`ConvSpec::precision`]. Empty for kernels without
    /// weights.
    ///
    /// # Panics
    /// Where the lengths do not match `spec`, which must be the one the kernel was made for.
    pub fn pack(&self, spec: &ConvSpec, values: &ConvParameters<'_>) -> Vec<u32> {
        self.weights.as_ref().map_or_else(Vec::new, |weights| weights.pack(spec, values))
    }

    /// Rounding bound of its results.
    pub fn rounding(&self) -> Rounding {
        self.weights.as_ref().map_or(Rounding::DIRECT, |weights| weights.rounding())
    }
}
