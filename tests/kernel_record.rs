//! What every kernel computes stays what it is recorded to be, however its text is put together: see `records/kernels.tsv`.
//!
//! Every fifth case is looked at (families have 2, 3 or 6 candidates in turn, of which a multiple would leave some out), and all with `RMNET_RECORD=check`. A difference is either meant, and then `RMNET_RECORD=write cargo test --test kernel_record` writes the file anew, or a mistake.
//! `RMNET_RECORD=FOLDER` writes there, of every candidate and not only of those in the file, `kernels.tsv` and what each shader does
//! line by line, to be compared with `diff -r` with what another version writes.

mod common;
#[path = "common/planned.rs"]
mod planned;
#[path = "common/record.rs"]
mod record;
#[path = "common/recorded.rs"]
mod recorded;

use common::{arena, cases, families, layers, random, seeded, specs};
use rmnet::kernel::{Binding, Role, Shader};
use std::path::Path;

const RECORD: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/records/kernels.tsv");

#[test]
fn every_kernel_does_what_is_recorded() {
    let written = std::env::var("RMNET_RECORD").unwrap_or_default();
    let tables = recorded::cases(!matches!(written.as_str(), "" | "check" | "write"));
    let cases = recorded::distinct(tables.into_iter().chain(planned::dispatches()));
    let found = |every: usize| record::print(&cases, &record::rows(&cases, every, false, &|_, _| {}));
    match written.as_str() {
        "" | "check" => {
            let every = if written.is_empty() { 5 } else { 1 };
            let names = cases.iter().step_by(every).map(|(name, _)| name.as_str()).collect();
            let recorded = std::fs::read_to_string(RECORD).expect("the record");
            if let Some(report) = record::differences(&record::only(&recorded, &names), &found(every), 40) {
                panic!("{report}");
            }
        }
        "write" => std::fs::write(RECORD, found(1)).expect("the record is written"),
        folder => record::dump(&cases, Path::new(folder)),
    }
}

/// What goes on in a shader of a buffer that is read and one that is written.
fn events(body: &str) -> Vec<String> {
    let wgsl = format!(
        "@group(0) @binding(0) var<storage, read> in0: array<vec4<f32>>;
         @group(0) @binding(1) var<storage, read_write> out0: array<vec4<f32>>;
         const WIDE = false;
         {body}"
    );
    let binding = |name: &str, role, writable| Binding { name: name.into(), role, writable };
    let bindings = vec![binding("in0", Role::Read(0), false), binding("out0", Role::Write(0), true)];
    let shader = Shader::from_wgsl(wgsl, "main", bindings, [1; 3]);
    record::Events::of(&shader).lines()
}

/// One program in several notations.
#[test]
fn notation_does_not_matter() {
    let plain = events(
        "@compute @workgroup_size(64) fn main(@builtin(global_invocation_id) id: vec3<u32>) {
            if id.x < 9u {
                var sum = vec4<f32>();
                for (var k = 0u; k < 4u; k++) { sum = fma(in0[id.x + k], vec4<f32>(2.0), sum); }
                out0[id.x] = max(sum, vec4<f32>()) * 3.0;
            }
        }",
    );
    let expected = [
        "if {",
        "    loop < 4 {",
        "        load in0 x4",
        "        fma x4",
        "    }",
        "    max x4",
        "    mul x4",
        "    store out0",
        "}",
    ];
    assert_eq!(plain, expected);
    let in_functions = events(
        "fn load(index: u32, checked: bool) -> vec4<f32> {
            let unused = in0[0] * 2.0;
            if (checked && index >= 7u) { return in0[1] * vec4<f32>(); }
            return in0[index];
        }
        fn finish(value: vec4<f32>, wide: bool) -> vec4<f32> {
            var result = value;
            if wide { result += in0[7]; } else { result = max(value, vec4<f32>(0.0)); }
            return result;
        }
        @compute @workgroup_size(64) fn main(@builtin(global_invocation_id) id: vec3<u32>) {
            var index = id.x;
            if index >= 9u { return; }
            var sum: vec4<f32>;
            var k = 0u;
            loop {
                if k >= 2u + 2u { break; }
                let left = load(index + k, WIDE);
                sum = fma(left, vec4<f32>(2.0), sum);
                k += 1u;
            }
            let all = finish(sum, WIDE || false) * 3.0;
            out0[index] = all;
        }",
    );
    assert_eq!(in_functions, expected);
}

/// Programs that differ.
#[test]
fn what_differs_is_seen() {
    let of = |body: &str| {
        events(&format!(
            "@compute @workgroup_size(64) fn main(@builtin(global_invocation_id) id: vec3<u32>) {{ {body} }}"
        ))
    };
    let programs = [
        "let x = in0[id.x]; out0[id.x] = x * x + x;",
        "let x = in0[id.x]; out0[id.x] = fma(x, x, x);",
        "let x = in0[id.x]; out0[id.x] = x + x * x; out0[0] = x;",
        "let x = in0[id.x]; let y = in0[id.x]; out0[id.x] = x * y + x;",
        "let x = in0[id.x]; if id.x < 4u { out0[id.x] = x * x + x; }",
        "if id.x < 4u { let x = in0[id.x]; out0[id.x] = x * x + x; }",
        "for (var i = 0u; i < 4u; i++) { let x = in0[i]; out0[i] = x * x + x; }",
        "for (var i = 0u; i < 5u; i++) { let x = in0[i]; out0[i] = x * x + x; }",
    ];
    let found: Vec<_> = programs.into_iter().map(of).collect();
    for (i, program) in found.iter().enumerate() {
        assert!(!found[..i].contains(program), "{}", programs[i]);
    }
}
