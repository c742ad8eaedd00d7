//! What a shader binds.

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

/// One buffer that holds those of several dispatches, so that a shader need not say which of them it reads. Its first 16 bytes
/// are zero. Where each of a dispatch's buffers starts in it, in quads of f32; `None` for one that is bound on its own.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Arena {
    /// Of the buffers read.
    pub reads: Vec<Option<u32>>,
    /// Of those written.
    pub writes: Vec<Option<u32>>,
}
