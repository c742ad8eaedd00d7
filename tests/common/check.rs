//! One kernel against the oracle.

use super::{Data, Gpu, data, decoded, oracle};
use rmnet::kernel::{Arena, Kernel, Spec, packed_weight_bytes};

/// What a kernel makes of the data. `safe`: with wgpu's runtime checks.
pub fn answer(
    gpu: &Gpu,
    spec: &Spec,
    data: &Data,
    kernel: &Kernel,
    arena: &Arena,
    safe: bool,
) -> Vec<Vec<f32>> {
    let weights = match spec {
        Spec::Conv(conv) => data.pack(kernel, conv),
        _ => vec![],
    };
    if let Spec::Conv(conv) = spec {
        let bound = packed_weight_bytes(conv);
        assert!(weights.len() as u64 * 4 <= bound, "{} packs more than {bound} bytes", kernel.name);
    }
    let [reads, writes] = data.encoded(spec);
    let prepared = gpu.prepare_in(kernel, arena, &reads, &writes, &weights, safe);
    gpu.dispatch(&prepared, 1);
    decoded(spec, gpu.outputs(&prepared))
}

/// Runs a kernel and judges one element of `every`; what is wrong.
pub fn check(
    gpu: &Gpu,
    name: &str,
    spec: &Spec,
    kernel: &Kernel,
    arena: &Arena,
    safe: bool,
    every: usize,
) -> Result<(), String> {
    let data = data(spec, 7);
    let found = answer(gpu, spec, &data, kernel, arena, safe);
    oracle::check_sample(spec, &data, &found, kernel.rounding(), every)
        .map_err(|message| format!("{} {name} [{}]: {message}", gpu.name, kernel.name))
}
