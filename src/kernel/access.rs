//! How the text of a shader reaches its buffers.

use super::{Precision, Role};
use std::fmt::Debug;
use std::sync::Arc;

/// The WGSL that loads and stores elements of buffers. [`Plain`] on every GPU; software Vulkan has its own, under which no kernel is
/// any different.
pub(super) trait Access: Debug + Send + Sync {
    /// Where a buffer begins in the one that several are ranges of, in elements; `None` where it is bound on its own.
    fn start(&self, _role: Role) -> Option<u32> {
        None
    }

    /// Type of the elements of the buffer that several are ranges of.
    fn arena(&self) -> &'static str {
        "vec4<f32>"
    }

    /// Type of the elements of a buffer of quads.
    fn quads(&self, precision: Precision, _writable: bool) -> &'static str {
        match precision {
            Precision::F32 => "vec4<f32>",
            Precision::F16 => "vec2<u32>",
        }
    }

    /// Type of the elements of a buffer whose channels are planes.
    fn planar(&self, _writable: bool) -> &'static str {
        "f32"
    }

    /// The functions that load elements of a buffer `name` whose channels are planes.
    fn load_planar(&self, name: &str) -> String {
        format!(
            "fn load_{name}(index: u32) -> vec4<f32> {{\n    return vec4<f32>({name}[index], 0.0, 0.0, 0.0);\n}}\n"
        )
    }

    /// The expression of the quad at `index` of a buffer.
    fn load(&self, _role: Role, name: &str, precision: Precision, _writable: bool) -> String {
        match precision {
            Precision::F32 => format!("{name}[index]"),
            Precision::F16 => format!("from_half({name}[index])"),
        }
    }

    /// The expression of the quad of f32 that begins at `element` of the weights.
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

    /// The same with `octet(index)` of planes, eight elements at once, where it has that.
    fn octets(&self) -> Option<Arc<dyn Access>> {
        None
    }

    /// Whether it needs 64-bit integers.
    fn int64(&self) -> bool {
        false
    }
}

/// Buffers as they are.
#[derive(Debug)]
pub(super) struct Plain;

impl Access for Plain {}
