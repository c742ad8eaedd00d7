//! Times networks in turn, host tensor to host logits, so that they can be compared on a noisy machine: one JSON line each.
//!
//! ```sh
//! cargo bench --bench pruned -- MODEL.. [--adapter NAME] [--batch N] [--runs N]
//! ```

use rmnet::checkpoint::Checkpoint;
use rmnet::models;
use rmnet::{Device, Options, Session};
use std::time::Instant;

fn main() {
    let mut models = vec![];
    let (mut device, mut batch, mut runs) = (Device::default(), 1, 20);
    let mut args = std::env::args().skip(1).filter(|a| a != "--bench");
    while let Some(arg) = args.next() {
        let mut value = || args.next().unwrap_or_else(|| panic!("{arg} takes a value"));
        match arg.as_str() {
            "--adapter" => match value().as_str() {
                "cpu" => device = Device::Cpu,
                name => device = Device::Gpu(name.parse().unwrap_or_default()),
            },
            "--batch" => batch = value().parse().expect("--batch takes a number"),
            "--runs" => runs = value().parse().expect("--runs takes a number"),
            _ => models.push(arg),
        }
    }
    if models.is_empty() {
        println!("pruned: give checkpoints to time (see the head of benches/pruned.rs)");
        return;
    }
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
            // The first two warm up.
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
