//! What a shader binds.

/// Which buffer a binding refers to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Role {
    /// The dispatch's n-th read buffer.
    Read(usize),
    /// The dispatch's n-th written buffer.
    Write(usize),
    /// Packed weights and biases of the dispatch, from this byte offset (a multiple of 256).
    Weights(u64),
    /// The arena, of which the dispatch's buffers are ranges ([`Arena`]).
    Arena,
    /// Intermediate data passed between the shaders of one kernel.
    Scratch,
}

/// A storage buffer of a shader, in bind group 0 at the position it has in [`Shader::bindings`](super::Shader::bindings).
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Binding {
    /// Its name in the WGSL.
    pub name: String,
    /// What is bound there.
    pub role: Role,
    /// `read_write` rather than `read`.
    pub writable: bool,
}

/// The offsets of a dispatch's buffers in the arena: one buffer that holds the buffers of all dispatches, so that a shader's text does
/// not depend on which of them it reads. Offsets count quads of f32; `None` stands for a buffer with a binding of its own. The first 16
/// bytes of the arena are zero.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Arena {
    /// Of the buffers read.
    pub reads: Vec<Option<u32>>,
    /// Of those written.
    pub writes: Vec<Option<u32>>,
}
