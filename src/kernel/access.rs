//! How the text of a shader reaches its buffers.

use super::{Precision, Role};
use std::fmt::Debug;
use std::sync::Arc;

/// Generates the WGSL that loads and stores buffer elements. GPUs use [`Plain`]; software Vulkan has its own implementation. Kernels are
/// the same under both.
pub(super) trait Access: Debug + Send + Sync {
    /// Offset of a buffer in the arena, in elements; `None` where the buffer has a binding of its own.
    fn start(&self, _role: Role) -> Option<u32> {
        None
    }

    /// Element type of the arena.
    fn arena(&self) -> &'static str {
        "vec4<f32>"
    }

    /// Element type of a packed buffer (quads).
    fn quads(&self, precision: Precision, _writable: bool) -> &'static str {
        match precision {
            Precision::F32 => "vec4<f32>",
            Precision::F16 => "vec2<u32>",
        }
    }

    /// Element type of a planar buffer.
    fn planar(&self, _writable: bool) -> &'static str {
        "f32"
    }

    /// The functions that load elements of the planar buffer `name`.
    fn load_planar(&self, name: &str) -> String {
        format!(
            "fn load_{name}(index: u32) -> vec4<f32> {{\n    return vec4<f32>({name}[index], 0.0, 0.0, 0.0);\n}}\n"
        )
    }

    /// The expression that loads the quad at `index` of a buffer.
    fn load(&self, _role: Role, name: &str, precision: Precision, _writable: bool) -> String {
        match precision {
            Precision::F32 => format!("{name}[index]"),
            Precision::F16 => format!("from_half({name}[index])"),
        }
    }

    /// The expression that loads a quad of f32 parameters at `element` of the weights.
    fn parameters(&self, precision: Precision) -> &'static str {
        match precision {
            Precision::F32 => "load_weights(element)",
            Precision::F16 => "bitcast<vec4<f32>>(vec4<u32>(weights[element], weights[element + 1u]))",
        }
    }

    /// The statement that stores the quad `value` at `index` of a buffer.
    fn store(&self, _role: Role, name: &str, precision: Precision) -> String {
        match precision {
            Precision::F32 => format!("{name}[index] = value"),
            Precision::F16 => format!("{name}[index] = to_half(value)"),
        }
    }

    /// The same access with `octet(index)`, which loads eight elements of a plane at once; `None` where it is not available.
    fn octets(&self) -> Option<Arc<dyn Access>> {
        None
    }

    /// Whether the generated code needs 64-bit integers.
    fn int64(&self) -> bool {
        false
    }
}

/// One binding per buffer, elements in their stored type.
#[derive(Debug)]
pub(super) struct Plain;

impl Access for Plain {}
