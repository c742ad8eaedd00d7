//! Every kernel against plain loops, on every Vulkan adapter present (`VK_DRIVER_FILES` chooses), with and without subgroups.

mod common;

use common::{Gpu, adapters, data, oracle, specs};
use rmnet::kernel::{Capabilities, Spec, candidates, packed_weight_bytes};

fn check(gpu: &Gpu, name: &str, spec: &Spec, caps: &Capabilities, safe: bool) -> Vec<String> {
    let data = data(spec, 7);
    let mut wrong = vec![];
    for kernel in candidates(spec, caps).expect("small specs fit every limit") {
        let weights = match spec {
            Spec::Conv(conv) => {
                let slices: Vec<&[f32]> = data.weights.iter().map(|w| &w[..]).collect();
                let packed = kernel.pack(conv, &slices, &data.bias);
                assert!(
                    packed.len() as u64 * 4 <= packed_weight_bytes(conv),
                    "bound of {name}, {}",
                    kernel.name
                );
                packed
            }
            _ => vec![],
        };
        let prepared = gpu.prepare(&kernel, &data.reads, &data.writes, &weights, safe);
        gpu.dispatch(&prepared, 1);
        if let Err(message) = oracle::check(spec, &data, &gpu.outputs(&prepared)) {
            wrong.push(format!("{} {name} [{}]: {message}", gpu.name, kernel.name));
        }
    }
    wrong
}

fn run(subgroups: bool, safe: bool) {
    let filter = std::env::var("SPEC").unwrap_or_default();
    let gpus = adapters();
    assert!(!gpus.is_empty(), "no Vulkan adapter");
    let mut wrong = vec![];
    for gpu in &gpus {
        let mut caps = gpu.caps.clone();
        if !subgroups {
            caps.subgroup_size = None;
        }
        for (name, spec) in specs::all().into_iter().filter(|(name, _)| name.contains(&filter)) {
            wrong.extend(check(gpu, &name, &spec, &caps, safe));
        }
        // As a GPU would have it: larger workgroups, slices.
        if !subgroups {
            caps.software = false;
            for (name, spec) in specs::all().into_iter().filter(|(name, _)| name.contains(&filter)).step_by(3)
            {
                wrong.extend(check(gpu, &name, &spec, &caps, safe));
            }
        }
    }
    assert!(wrong.is_empty(), "{} wrong:\n{}", wrong.len(), wrong.join("\n"));
}

#[test]
fn with_subgroups() {
    run(true, false);
}

#[test]
fn without_subgroups() {
    run(false, false);
}

#[test]
fn with_runtime_checks() {
    run(true, true);
}
