//! The bits that every kernel gives, for comparing two versions of the kernels: what `tests/kernel_record.rs` cannot see, such as an
//! index, shows here.
//!
//! Nothing is tested without `RMNET_BITS=FILE cargo test --test kernel_bits`, which writes a line for each adapter, case, kind of
//! adapter that the kernel is made for (a letter, see `records/kernels.tsv`) and kernel, with a hash of what it gives for fixed
//! inputs. Files of two versions are compared with `diff`. The kernels are those of the record. `RMNET_BITS_EVERY=N` takes one case of
//! N, `RMNET_BITS_CASE=TEXT` those whose name has the text. Kernels that need what an adapter lacks are left out and counted.

mod common;
#[path = "common/record.rs"]
mod record;
#[path = "common/recorded.rs"]
mod recorded;

use common::{Gpu, adapters, answer, arena, cases, data, families, in_parallel, layers, specs};
use rmnet::kernel::{Kernel, Spec};
use std::collections::HashMap;

/// Whether an adapter runs a kernel that is made for subgroups of that size.
fn runs(gpu: &Gpu, kernel: &Kernel, subgroup_size: Option<u32>) -> bool {
    kernel.shaders.iter().all(|shader| {
        !shader.matrices
            && (!shader.subgroup
                || gpu.caps.features.subgroup_size.is_some()
                    && gpu.caps.features.subgroup_size == subgroup_size)
            && (!shader.int64 || gpu.caps.features.int64)
    })
}

/// A hash of all bits, and how many of the values are numbers.
fn hash(outputs: &[Vec<f32>]) -> String {
    let mix = |hash: u64, v: &f32| (hash ^ u64::from(v.to_bits())).wrapping_mul(0x0100_0000_01b3);
    let hash = outputs.iter().flatten().fold(0xcbf2_9ce4_8422_2325, mix);
    let numbers = outputs.iter().flatten().filter(|v| v.is_finite()).count();
    format!("{hash:016x} {numbers}")
}

/// The lines of a case on an adapter, and how many kernels are left out.
fn lines(gpu: &Gpu, case: usize, name: &str, spec: &Spec) -> (Vec<String>, usize) {
    let data = data(spec, 7);
    let mut known: HashMap<String, String> = HashMap::new();
    let (mut lines, mut left_out) = (vec![], 0);
    for (class, kernel) in record::recorded(case, name, spec, false) {
        if !runs(gpu, &kernel, class.caps.features.subgroup_size) {
            left_out += 1;
            continue;
        }
        // Kinds of adapters share many kernels.
        let bits = known
            .entry(format!("{kernel:?}"))
            .or_insert_with(|| hash(&answer(gpu, spec, &data, &kernel, false)));
        lines.push(format!("{}\t{name}\t{}\t{}\t{bits}", gpu.name, class.letter, kernel.choice));
    }
    (lines, left_out)
}

#[test]
fn bits() {
    let Ok(file) = std::env::var("RMNET_BITS") else { return };
    let every = std::env::var("RMNET_BITS_EVERY").map_or(1, |n| n.parse().expect("a number"));
    let part = std::env::var("RMNET_BITS_CASE").unwrap_or_default();
    let cases = recorded::cases(false);
    let chosen = |&(case, (name, _)): &(usize, &(String, Spec))| case % every == 0 && name.contains(&part);
    let cases: Vec<_> = cases.iter().enumerate().filter(chosen).collect();
    let mut text = String::new();
    for gpu in adapters() {
        let found = in_parallel(&cases, |(case, (name, spec))| lines(&gpu, *case, name, spec));
        let left_out: usize = found.iter().map(|(_, left_out)| left_out).sum();
        let lines: Vec<String> = found.into_iter().flat_map(|(lines, _)| lines).collect();
        println!("{}: {} kernels, {left_out} left out", gpu.name, lines.len());
        text += &lines.join("\n");
        text.push('\n');
        std::fs::write(&file, &text).expect("the file is written");
    }
}
