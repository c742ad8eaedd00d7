//! Small programs that show what a device can do at most.

use super::Capabilities;
use super::constants::{Constants, Value};
use super::template::expand;
use super::{Class, files};

/// Invocations per workgroup.
const WORKGROUP: usize = 64;
/// Multiply-adds of vec4 of an invocation.
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
    /// Multiplications and additions in registers and nothing else, in chains that do not wait for one another: the fastest of
    /// these shows what the device can do. A GPU has its threads to fill the waits; a compiler for a CPU makes of one shader more
    /// than of another, by how many values fit its registers and what it does between rounds of a loop.
    pub fn multiply(caps: &Capabilities) -> Vec<Probe> {
        let of_loops: &[[usize; 2]] =
            if caps.class == Class::Software { &[[8, 2], [16, 4], [2, 32]] } else { &[[8, 2]] };
        of_loops.iter().map(|[chains, unroll]| Probe::chains(*chains, *unroll, caps)).collect()
    }

    /// So many chains of vec4, each longer by so many multiply-adds in every round of the loop.
    fn chains(chains: usize, unroll: usize, caps: &Capabilities) -> Probe {
        // Enough for every unit of a large GPU to have several, few enough for software.
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

    /// Copies more than caches hold, by the widest loads there are.
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
