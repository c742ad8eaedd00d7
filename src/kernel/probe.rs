//! Small shaders that measure a device's peak arithmetic and memory throughput.

use super::Capabilities;
use super::constants::{Constants, Value};
use super::template::expand;
use super::{Class, files};

/// Invocations per workgroup.
const WORKGROUP: usize = 64;
/// vec4 multiply-adds per invocation.
const MULTIPLY_ADDS: usize = 4096;

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
    /// Shaders that only multiply and add in registers, in independent chains; the fastest one gives the device's peak. On a GPU threads
    /// hide latency. On a CPU throughput depends on how many values fit the registers and on the cost of a loop iteration, so several
    /// shapes are tried.
    pub fn multiply(caps: &Capabilities) -> Vec<Probe> {
        let of_loops: &[[usize; 2]] =
            if caps.class == Class::Software { &[[8, 2], [16, 4], [2, 32]] } else { &[[8, 2]] };
        of_loops.iter().map(|[chains, unroll]| Probe::chains(*chains, *unroll, caps)).collect()
    }

    /// `chains` chains of vec4, each with `unroll` multiply-adds per loop iteration.
    fn chains(chains: usize, unroll: usize, caps: &Capabilities) -> Probe {
        // Several workgroups per unit of a large GPU; few on software adapters.
        let grid = if caps.class == Class::Software { 64 } else { 16384 };
        let invocations = grid as usize * WORKGROUP;
        let mut constants = Constants::default();
        let mut prelude = String::new();
        for (name, value) in [
            ("WORKGROUP", WORKGROUP),
            ("CHAINS", chains),
            ("UNROLL", unroll),
            ("ROUNDS", MULTIPLY_ADDS / chains / unroll),
        ] {
            let value = Value::from(value);
            prelude += &format!("const {name} = {};\n", value.wgsl());
            constants.set(name, value);
        }
        Probe {
            wgsl: prelude + &expand(files::PEAK_MULTIPLY, &constants),
            entry: "peak_multiply",
            grid,
            buffer_bytes: invocations as u64 * 16,
            flops: (invocations * MULTIPLY_ADDS * 4 * 2) as u64,
            bytes: 0,
        }
    }

    /// Copies more data than caches hold, with the widest loads available.
    pub fn copy(caps: &Capabilities) -> Probe {
        let (element, size) = if caps.wide_loads() { ("vec4<u64>", 32) } else { ("vec4<f32>", 16) };
        let bytes = caps.limits.max_binding_bytes.min(128 << 20) / 2;
        let grid = (bytes / size / WORKGROUP as u64).min(u64::from(caps.limits.max_workgroups)) as u32;
        let elements = grid as usize * WORKGROUP;
        Probe {
            wgsl: format!(
                "alias Element = {element};\nconst WORKGROUP = {WORKGROUP}u;\nconst ELEMENTS = {elements}u;\n{}",
                files::PEAK_COPY
            ),
            entry: "peak_copy",
            grid,
            buffer_bytes: elements as u64 * size * 2,
            flops: 0,
            bytes: elements as u64 * size * 2,
        }
    }
}
