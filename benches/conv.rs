//! Times every candidate kernel on the layers of a network: `cargo bench --bench conv -- resnet18 [layer substring]`.
//!
//! Shapes are in `benches/shapes/`. Candidates run interleaved and the median counts; each answer is compared with the first
//! candidate's, and that one's is checked in tests/kernels.rs.

#[path = "../tests/common/mod.rs"]
mod common;

use common::specs::{conv, in_place, packed, planar, pooled, projection, range, to_planar, whole};
use common::{adapters, data};
use rmnet::kernel::{AverageSpec, Spec, candidates};

fn parse(line: &str) -> (usize, Spec) {
    let mut words = line.split_whitespace();
    let count = words.next().and_then(|w| w.parse().ok()).expect("a count");
    let kind = words.next().expect("a kind");
    let n: Vec<usize> = words.map(|w| w.parse().expect("a number")).collect();
    let square = |c: usize, size: usize| packed(1, c, size, size);
    let one = |c: usize, size: usize, k: usize, s: usize, out: usize| {
        conv(vec![range(whole(0, square(c, size)), k, s, k / 2, 1)], out)
    };
    let spec = match kind {
        "conv" => one(n[0], n[1], n[2], n[3], n[4]),
        "inplace" => in_place(one(n[0], n[1], n[2], 1, n[3])),
        "project" => projection(square(n[0], n[1]), square(n[4], 2 * n[1]), n[3], n[2], 2),
        "project1" => projection(square(n[0], n[1]), square(n[4], n[1]), n[3], n[2], 1),
        "stem" => pooled(conv(vec![range(whole(0, planar(1, 3, 224, 224)), 7, 2, 3, 1)], n[0]), 3, 2, 1),
        "fc" => to_planar(one(n[0], 1, 1, 1, n[1])),
        "average" => {
            let spec = AverageSpec { from: whole(0, square(n[0], n[1])), to: square(n[0], 1) };
            return (count, Spec::Average(spec));
        }
        _ => panic!("{kind}"),
    };
    (count, Spec::Conv(spec))
}

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
    let path = format!("{}/benches/shapes/{network}.txt", env!("CARGO_MANIFEST_DIR"));
    let text = std::fs::read_to_string(&path).unwrap_or_else(|e| panic!("{path}: {e}"));
    for gpu in adapters() {
        println!("{} {:?}", gpu.name, gpu.caps);
        let (mut total, mut best_total, mut compile_total) = (0.0, 0.0, 0.0);
        for line in text.lines().filter(|l| !l.starts_with('#') && l.contains(&filter)) {
            let (count, spec) = parse(line);
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
