//! Times every candidate kernel on the layers of a network: `cargo bench --bench conv -- resnet18`; `-- --help` has the options.
//!
//! Shapes are in `benches/shapes/`. Candidates run interleaved and the median counts. Each result is compared with the first candidate's,
//! which tests/kernels.rs checks.

#[path = "../tests/common/mod.rs"]
mod common;

use clap::Parser;
use common::{adapters, arena, data, decoded, layers, specs};
use rmnet::kernel::{Arena, Class, Spec, candidates_in};

/// Multiplications of a spec.
fn multiplies(spec: &Spec) -> f64 {
    let Spec::Conv(conv) = spec else { return 0.0 };
    let per_pixel: usize = conv
        .k_ranges
        .iter()
        .map(|r| r.from.channels / r.groups * r.kernel[0] * r.kernel[1] * conv.out_channels)
        .sum();
    (per_pixel * conv.size[0] * conv.size[1] * conv.outputs[0].shape.batch) as f64
}

unsafe extern "C" {
    /// Processor time of this process in microseconds (POSIX).
    fn clock() -> std::ffi::c_long;
}

/// Processor seconds over all threads, which are more reliable than wall time on a software adapter and a shared machine.
fn processor_seconds() -> f64 {
    // SAFETY: takes nothing, always succeeds.
    (unsafe { clock() }) as f64 / 1e6
}

/// Dispatches of a timed run on a GPU.
const DISPATCHES: usize = 20;

/// Times every candidate kernel on the layers of a network, on every Vulkan adapter.
///
/// Candidates run interleaved and the median counts; each answer is compared with the first candidate's.
#[derive(Parser)]
#[command(
    bin_name = "cargo bench --bench conv --",
    after_help = "Environment variables:\n  \
        EXP        set: an answer that differs from the first candidate's is no error\n  \
        NO_INT64   set: kernels without 64-bit integers, also where the adapter has them"
)]
struct Args {
    /// The network: a file of shapes in benches/shapes/, without its ending.
    #[arg(default_value = "resnet18")]
    network: String,
    /// Only layers in whose line, their number and name, this is.
    #[arg(value_name = "LAYER", default_value = "", hide_default_value = true)]
    layer: String,
    /// Only kernels in whose name this is.
    #[arg(value_name = "KERNEL", default_value = "", hide_default_value = true)]
    kernel: String,
    /// Images of a batch.
    #[arg(long, value_name = "N", default_value_t = 1)]
    batch: usize,
    /// Values between layers and weights in 16 bits.
    #[arg(long)]
    f16: bool,
    /// The kernels that an integrated or mobile GPU would get, on the adapter there is.
    #[arg(long)]
    integrated: bool,
    /// The kernels that a discrete GPU would get, on the adapter there is; goes before --integrated.
    #[arg(long)]
    card: bool,
    /// Only the kernel that is chosen for each layer.
    #[arg(long)]
    chosen: bool,
    /// Only adapters in whose names this is.
    #[arg(long, value_name = "NAME", default_value = "", hide_default_value = true)]
    adapter: String,
    /// What cargo passes.
    #[arg(long, hide = true)]
    bench: bool,
}

fn main() {
    let cores = std::thread::available_parallelism().map_or(1, |n| n.get()) as f64;
    let Args { network, layer, kernel, batch, f16, integrated, card, chosen, adapter, bench: _ } =
        Args::parse();
    let other = card || integrated;
    for mut gpu in adapters().into_iter().filter(|g| g.name.contains(&adapter)) {
        let software = gpu.caps.class == Class::Software;
        if other {
            gpu.caps = gpu.caps.with(|c| {
                c.class = if card { Class::Discrete } else { Class::Integrated };
                c.features.subgroup_size = None;
                c.features.int64 = false;
            });
        }
        println!("{} {:?}", gpu.name, gpu.caps);
        let (mut total, mut best_total, mut compile_total) = (0.0, 0.0, 0.0);
        for layers::Layer { name, count, spec } in layers::network(&network, batch) {
            let spec = if f16 { specs::half(spec) } else { spec };
            let line = format!("{count} {name}");
            if !line.contains(&layer) {
                continue;
            }
            let data = data(&spec, 3);
            let [reads, writes] = data.encoded(&spec);
            let ranges = arena(&spec);
            let ranges = if gpu.caps.shares_buffers() { Some(&ranges) } else { None };
            let mut kernels = candidates_in(&spec, &gpu.caps, ranges).expect("within the limits");
            kernels.retain(|k| k.choice.to_string().contains(&kernel));
            kernels.truncate(if chosen { 1 } else { usize::MAX });
            let prepared: Vec<_> = kernels
                .iter()
                .map(|kernel| {
                    let packed = match &spec {
                        Spec::Conv(conv) => data.pack(kernel, conv),
                        _ => vec![],
                    };
                    gpu.prepare_in(
                        kernel,
                        ranges.unwrap_or(&Arena::default()),
                        &reads,
                        &writes,
                        &packed,
                        false,
                    )
                })
                .collect();
            let mut times = vec![vec![]; kernels.len()];
            let mut first: Vec<Vec<f32>> = vec![];
            for round in 0..7 {
                for (i, p) in prepared.iter().enumerate() {
                    let before = processor_seconds();
                    // On a GPU the host's clock is too coarse to time one dispatch.
                    let count = if software || round == 0 { 1 } else { DISPATCHES };
                    let wall = gpu.dispatch(p, count) / count as f64;
                    let busy = (processor_seconds() - before) / cores;
                    let seconds = if software { busy } else { wall };
                    if round == 0 {
                        let found = decoded(&spec, gpu.outputs(p));
                        if first.is_empty() {
                            first = found;
                        } else {
                            let pairs = first.iter().flatten().zip(found.iter().flatten());
                            // NaN counts as wrong.
                            let off = |(a, b): (&f32, &f32)| ((a - b).abs() / a.abs().max(1.0)).min(f32::MAX);
                            let worst = pairs.map(off).fold(0.0, |m: f32, o| if o <= m { m } else { o });
                            assert!(
                                worst < if f16 { 4e-3 } else { 1e-3 } || std::env::var_os("EXP").is_some(),
                                "{line}: {} differs by {worst}",
                                kernels[i].choice
                            );
                        }
                    } else {
                        times[i].push(seconds);
                    }
                }
            }
            let mut best = f64::INFINITY;
            for (i, kernel) in kernels.iter().enumerate() {
                times[i].sort_by(f64::total_cmp);
                let median = times[i][times[i].len() / 2];
                let rate = 2.0 * multiplies(&spec) / median / 1e9;
                println!(
                    "{line:28} {:34} {:8.3} ms {rate:6.1} GFLOP/s  compile {:4.0} ms",
                    kernel.choice,
                    median * 1e3,
                    prepared[i].compile * 1e3,
                );
                if i == 0 {
                    total += count as f64 * median;
                    compile_total += prepared[i].compile;
                }
                best = best.min(median);
            }
            best_total += count as f64 * best;
        }
        println!(
            "{network}: chosen {:.1} ms, best {:.1} ms, compile {:.2} s",
            total * 1e3,
            best_total * 1e3,
            compile_total
        );
    }
}
