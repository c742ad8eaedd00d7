//! Times every candidate kernel on the layers of a network: `cargo bench --bench conv -- resnet18 [layer substring]`.
//!
//! Shapes are in `benches/shapes/`. Candidates run interleaved and the median counts; each answer is compared with the first
//! candidate's, and that one's is checked in tests/kernels.rs.

#[path = "../tests/common/mod.rs"]
mod common;

use common::{adapters, data, layers};
use rmnet::kernel::{Spec, candidates};

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

/// Processor seconds, over all threads: on a software adapter, and a machine shared with others, what to go by.
fn processor_seconds() -> f64 {
    // SAFETY: takes nothing, always succeeds.
    (unsafe { clock() }) as f64 / 1e6
}

fn main() {
    let cores = std::thread::available_parallelism().map_or(1, |n| n.get()) as f64;
    let args: Vec<String> = std::env::args().skip(1).filter(|a| !a.starts_with("--")).collect();
    let network = args.first().map_or("resnet18", String::as_str);
    let filter = args.get(1).cloned().unwrap_or_default();
    for gpu in adapters() {
        println!("{} {:?}", gpu.name, gpu.caps);
        let (mut total, mut best_total, mut compile_total) = (0.0, 0.0, 0.0);
        for layers::Layer { name, count, spec } in layers::network(network, 1) {
            let line = format!("{count} {name}");
            if !line.contains(&filter) {
                continue;
            }
            let data = data(&spec, 3);
            let mut kernels = candidates(&spec, &gpu.caps).expect("within the limits");
            kernels.retain(|k| args.get(2).is_none_or(|part| k.name.contains(part)));
            let prepared: Vec<_> = kernels
                .iter()
                .map(|kernel| {
                    let packed = match &spec {
                        Spec::Conv(conv) => data.pack(kernel, conv),
                        _ => vec![],
                    };
                    gpu.prepare(kernel, &data.reads, &data.writes, &packed, false)
                })
                .collect();
            let mut times = vec![vec![]; kernels.len()];
            let mut first: Vec<Vec<f32>> = vec![];
            for round in 0..7 {
                for (i, p) in prepared.iter().enumerate() {
                    let before = processor_seconds();
                    let wall = gpu.dispatch(p, 1);
                    let busy = (processor_seconds() - before) / cores;
                    let seconds = if gpu.caps.software { busy } else { wall };
                    if round == 0 {
                        let found = gpu.outputs(p);
                        if first.is_empty() {
                            first = found;
                        } else {
                            let pairs = first.iter().flatten().zip(found.iter().flatten());
                            let worst = pairs.map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
                            assert!(
                                worst < 1e-3 || std::env::var_os("EXP").is_some(),
                                "{line}: {} differs by {worst}",
                                kernels[i].name
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
                    kernel.name,
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
