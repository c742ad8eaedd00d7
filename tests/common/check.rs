//! One kernel against the oracle.

use super::{Data, Gpu, arena, data, decoded};
use rmnet::kernel::{Arena, ConvSpec, Kernel, Role, Rounding, Spec, packed_weight_bytes};
use rmnet::trial::check_sample;

/// What a kernel makes of the data. `safe`: with wgpu's runtime checks. One that binds an arena was made for [`arena`]'s.
pub fn answer(gpu: &Gpu, spec: &Spec, data: &Data, kernel: &Kernel, safe: bool) -> Vec<Vec<f32>> {
    let weights = match spec {
        Spec::Conv(conv) => data.pack(kernel, conv),
        _ => vec![],
    };
    if let Spec::Conv(conv) = spec {
        let bound = packed_weight_bytes(conv);
        assert!(weights.len() as u64 * 4 <= bound, "{} packs more than {bound} bytes", kernel.choice);
    }
    let mut bindings = kernel.shaders.iter().flat_map(|s| &s.bindings);
    let arena = if bindings.any(|b| b.role == Role::Arena) { arena(spec) } else { Arena::default() };
    let [reads, writes] = data.encoded(spec);
    let prepared = gpu.prepare_in(kernel, &arena, &reads, &writes, &weights, safe);
    gpu.dispatch(&prepared, 1);
    decoded(spec, gpu.outputs(&prepared))
}

/// Runs a kernel and judges one element of `every`; what is wrong.
pub fn check(
    gpu: &Gpu,
    name: &str,
    spec: &Spec,
    kernel: &Kernel,
    safe: bool,
    every: usize,
) -> Result<(), String> {
    let data = data(spec, 7);
    let found = answer(gpu, spec, &data, kernel, safe);
    check_sample(spec, &data, &found, kernel.rounding(), every)
        .map_err(|message| format!("{} {name} [{}]: {message}", gpu.name, kernel.choice))
}

/// [`check`] of a convolution.
pub fn check_conv(
    gpu: &Gpu,
    name: &str,
    spec: &ConvSpec,
    kernel: &Kernel,
    safe: bool,
    every: usize,
) -> Result<(), String> {
    check(gpu, name, &Spec::Conv(spec.clone()), kernel, safe, every)
}

/// Compares every element of the written buffers, as of a plain sum.
pub fn check_whole(spec: &Spec, data: &Data, written: &[Vec<f32>]) -> Result<(), String> {
    check_sample(spec, data, written, Rounding::DIRECT, 1)
}
