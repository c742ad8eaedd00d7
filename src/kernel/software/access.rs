//! Buffer access for software Vulkan: loads of 64-bit integers, and several buffers as ranges of an arena.
//!
//! llvmpipe compiles every load to a loop over lanes, 32 or 64 bits at a time. A shader that names its buffers differs for every dispatch
//! and has to be compiled for each; one that reads ranges of an arena is compiled once.

use super::super::access::Access;
use super::super::{Arena, Capabilities, Precision, Role};
use std::sync::Arc;

/// Access by 64-bit integers, with the arena offsets of a dispatch's buffers.
#[derive(Clone, Debug)]
pub(in super::super) struct SoftwareAccess {
    /// Quads are loaded as 64-bit integers.
    wide: bool,
    arena: Option<Arena>,
    /// Planar buffers are loaded eight elements at a time.
    octets: bool,
}

impl SoftwareAccess {
    pub(in super::super) fn new(caps: &Capabilities, arena: Option<&Arena>) -> SoftwareAccess {
        SoftwareAccess { wide: caps.wide_loads(), arena: arena.cloned(), octets: false }
    }
}

impl Access for SoftwareAccess {
    fn start(&self, role: Role) -> Option<u32> {
        let arena = self.arena.as_ref()?;
        match role {
            Role::Read(n) => arena.reads.get(n).copied().flatten(),
            Role::Write(n) => arena.writes.get(n).copied().flatten(),
            _ => None,
        }
    }

    fn arena(&self) -> &'static str {
        "vec2<u64>"
    }

    fn quads(&self, precision: Precision, writable: bool) -> &'static str {
        match (precision, self.wide && !writable) {
            (Precision::F32, false) => "vec4<f32>",
            (Precision::F32, true) => "vec2<u64>",
            (Precision::F16, false) => "vec2<u32>",
            (Precision::F16, true) => "u64",
        }
    }

    fn planar(&self, writable: bool) -> &'static str {
        if self.octets && !writable { "vec4<u64>" } else { "f32" }
    }

    fn load_planar(&self, name: &str) -> String {
        if self.octets {
            return format!(
                "fn octet(index: u32) -> Pair {{\n    return pair_of({name}[index]);\n}}\n\
                 fn load_{name}(index: u32) -> vec4<f32> {{\n    return lane_of(octet(index / 8u), index % 8u);\n}}\n"
            );
        }
        super::super::access::Plain.load_planar(name)
    }

    fn load(&self, role: Role, name: &str, precision: Precision, writable: bool) -> String {
        if let Some(start) = self.start(role) {
            return format!("quad_of(arena[{start}u + index])");
        }
        match (precision, self.wide && !writable) {
            (Precision::F32, false) => format!("{name}[index]"),
            (Precision::F32, true) => format!("quad_of({name}[index])"),
            (Precision::F16, false) => format!("from_half({name}[index])"),
            (Precision::F16, true) => format!("from_half(words_of({name}[index]))"),
        }
    }

    fn parameters(&self, precision: Precision) -> &'static str {
        match (precision, self.wide) {
            (Precision::F16, true) => "quad_of(vec2<u64>(weights[element], weights[element + 1u]))",
            _ => super::super::access::Plain.parameters(precision),
        }
    }

    fn store(&self, role: Role, name: &str, precision: Precision) -> String {
        match self.start(role) {
            Some(start) => format!("arena[{start}u + index] = raw_of(value)"),
            None => super::super::access::Plain.store(role, name, precision),
        }
    }

    fn octets(&self) -> Option<Arc<dyn Access>> {
        self.wide.then(|| Arc::new(SoftwareAccess { octets: true, ..self.clone() }) as Arc<dyn Access>)
    }

    fn int64(&self) -> bool {
        self.wide
    }
}
