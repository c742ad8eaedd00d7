//! Times networks in turn, host tensor to host logits, so that they can be compared on a noisy machine: one JSON line each.
//! `cargo bench --bench pruned -- MODEL..`; `-- --help` has the options.

use clap::Parser;
use rmnet::checkpoint::Checkpoint;
use rmnet::models;
use rmnet::{Device, Options, Session};
use std::time::Instant;

/// Times networks in turn, host tensor to host logits, so that they can be compared on a noisy machine: one JSON line each.
#[derive(Parser)]
#[command(
    bin_name = "cargo bench --bench pruned --",
    after_help = "Environment variables:\n  RAYON_NUM_THREADS   threads of the CPU executor; default: one on every core"
)]
struct Args {
    /// The checkpoints to time: files or folders.
    #[arg(value_name = "MODEL")]
    models: Vec<String>,
    /// `cpu`, or an adapter: `best`, its position, a part of its name, `vulkan` or another API; by default the best hardware GPU, else
    /// the CPU.
    #[arg(long, value_name = "NAME")]
    adapter: Option<String>,
    /// Images of a batch.
    #[arg(long, value_name = "N", default_value_t = 1)]
    batch: usize,
    /// Timed runs of each network, after two that warm up.
    #[arg(long, value_name = "N", default_value_t = 20)]
    runs: usize,
    /// What cargo passes.
    #[arg(long, hide = true)]
    bench: bool,
}

fn main() {
    let Args { models, adapter, batch, runs, bench: _ } = Args::parse();
    if models.is_empty() {
        println!("pruned: give checkpoints to time (`--help` has the options)");
        return;
    }
    let device = match adapter.as_deref() {
        None => Device::default(),
        Some("cpu") => Device::Cpu,
        Some(name) => Device::Gpu(name.parse().unwrap_or_default()),
    };
    let options = Options::default().batch(batch).device(device);
    let open = |path: &String| {
        let model = models::load(&Checkpoint::open(path).expect("a checkpoint"), None).expect("a network");
        Session::new(&model, &options).expect("a session")
    };
    let sessions: Vec<Session> = models.iter().map(open).collect();
    let input: Vec<f32> =
        (0..sessions[0].input_len()).map(|i| (i * 7919 % 1000) as f32 / 500.0 - 1.0).collect();
    let mut times = vec![vec![]; sessions.len()];
    for round in 0..runs + 2 {
        for (session, times) in sessions.iter().zip(&mut times) {
            let start = Instant::now();
            session.run(&input).expect("a run");
            // The first two rounds warm up.
            if round >= 2 {
                times.push(start.elapsed().as_secs_f64() * 1e3);
            }
        }
    }
    for ((path, session), times) in models.iter().zip(&sessions).zip(&mut times) {
        times.sort_by(f64::total_cmp);
        let (plan, memory) = (session.plan(), session.memory());
        let json = serde_json::json!({
            "model": path, "device": session.device_name(), "batch": batch, "runs": runs,
            "median_ms": times[times.len() / 2], "min_ms": times[0], "p90_ms": times[times.len() * 9 / 10],
            "dispatches": plan.dispatches.len(), "macs": plan.macs(),
            "activation_bytes": memory.activations, "weight_bytes": memory.weights,
        });
        println!("{json}");
    }
}
