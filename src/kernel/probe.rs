//! Small programs that show what a device can do at most.

use super::Capabilities;

/// Invocations per workgroup.
const WORKGROUP: usize = 64;
/// Rounds of 16 vec4 multiply-adds.
const ROUNDS: usize = 256;

/// A shader over one read-write buffer.
#[derive(Clone, Debug)]
pub struct Probe {
    /// The whole shader.
    pub wgsl: String,
    /// Entry point.
    pub entry: &'static str,
    /// Workgroups.
    pub grid: u32,
    /// Bytes of the buffer.
    pub buffer_bytes: u64,
    /// Multiplications and additions of one dispatch.
    pub flops: u64,
    /// Bytes read and written by one dispatch.
    pub bytes: u64,
}

impl Probe {
    /// Multiplies and adds in registers.
    pub fn multiply(caps: &Capabilities) -> Probe {
        // Enough for every unit of a large GPU to have several, few enough for software.
        let grid = if caps.software { 64 } else { 16384 };
        let invocations = grid as usize * WORKGROUP;
        Probe {
            wgsl: format!(
                "const WORKGROUP = {WORKGROUP}u;\nconst ROUNDS = {ROUNDS}u;\n{}",
                include_str!("../../shaders/peak_multiply.wgsl")
            ),
            entry: "peak_multiply",
            grid,
            buffer_bytes: invocations as u64 * 16,
            flops: (invocations * ROUNDS * 16 * 4 * 2) as u64,
            bytes: 0,
        }
    }

    /// Copies more than caches hold.
    pub fn copy(caps: &Capabilities) -> Probe {
        let bytes = caps.max_binding_bytes.min(128 << 20) / 2;
        let grid = (bytes / 16 / WORKGROUP as u64).min(u64::from(caps.max_workgroups)) as u32;
        let elements = grid as usize * WORKGROUP;
        Probe {
            wgsl: format!(
                "const WORKGROUP = {WORKGROUP}u;\nconst ELEMENTS = {elements}u;\n{}",
                include_str!("../../shaders/peak_copy.wgsl")
            ),
            entry: "peak_copy",
            grid,
            buffer_bytes: elements as u64 * 32,
            flops: 0,
            bytes: elements as u64 * 32,
        }
    }
}
