//! Times a whole network, host tensor to host logits, in each form it runs in, and checks the answers against each other.
//!
//! ```sh
//! cargo bench --bench networks -- MODEL [--input FILE.safetensors] [--adapter NAME] [--mode MODE] [--runs N] [--json]
//! ```
//! With no `--mode` the forms take turns, so that they can be compared on a noisy machine.

use rmnet::checkpoint::Checkpoint;
use rmnet::models;
use rmnet::{Device, Mode, Options, Session};
use std::time::Instant;

fn main() {
    let args: Vec<String> = std::env::args().skip(1).filter(|a| a != "--bench").collect();
    let value = |name: &str| args.iter().position(|a| a == name).and_then(|i| args.get(i + 1));
    let Some(model) = args.first().filter(|a| !a.starts_with("--")) else {
        println!("networks: give a checkpoint to time (see the head of benches/networks.rs)");
        return;
    };
    let runs: usize = value("--runs").map_or(20, |n| n.parse().expect("--runs takes a number"));
    let modes = match value("--mode").map(String::as_str) {
        None if args.iter().any(|a| a == "--json") => vec![Mode::Structured],
        None => vec![Mode::Structured, Mode::Residual, Mode::Literal],
        Some("structured") => vec![Mode::Structured],
        Some("residual") => vec![Mode::Residual],
        Some("literal") => vec![Mode::Literal],
        Some(other) => panic!("--mode structured|residual|literal, found {other}"),
    };
    let device = match value("--adapter").map(String::as_str) {
        None => Device::default(),
        Some("cpu") => Device::Cpu,
        Some(name) => Device::Gpu(name.parse().unwrap_or_default()),
    };

    let start = Instant::now();
    let model = models::load(&Checkpoint::open(model).expect("a checkpoint"), None).expect("a network");
    let sessions: Vec<Session> = modes
        .iter()
        .map(|&mode| {
            let options = Options::default().mode(mode).device(device.clone());
            Session::new(&model, &options).expect("a session")
        })
        .collect();
    let ready = start.elapsed();
    let input = match value("--input") {
        Some(path) => {
            let file = Checkpoint::open(path).expect("an input file");
            file.tensor("input").expect("a tensor `input`").to_f32()
        }
        None => (0..sessions[0].input_len()).map(|i| (i * 7919 % 1000) as f32 / 500.0 - 1.0).collect(),
    };

    let mut logits: Vec<Vec<f32>> = vec![];
    for s in &sessions {
        logits.push(s.run(&input).expect("a run"));
        s.run(&input).expect("a run");
    }
    let largest = logits[0].iter().fold(0.0f32, |m, v| m.max(v.abs()));
    for other in &logits[1..] {
        let off = logits[0].iter().zip(other).fold(0.0f32, |m, (a, b)| m.max((a - b).abs()));
        assert!(off <= 1e-4 * largest, "the forms disagree by {off} of {largest}");
    }
    let mut times = vec![vec![]; sessions.len()];
    for _ in 0..runs {
        for (session, times) in sessions.iter().zip(&mut times) {
            let start = Instant::now();
            session.run(&input).expect("a run");
            times.push(start.elapsed().as_secs_f64() * 1e3);
        }
    }
    if args.iter().any(|a| a == "--json") {
        let json = serde_json::json!({
            "ms": times[0], "logits": logits[0], "device": sessions[0].device_name(), "ready_ms": ready.as_secs_f64() * 1e3,
        });
        println!("{json}");
        return;
    }
    println!("{} on {}, ready in {:.2} s", model.family, sessions[0].device_name(), ready.as_secs_f64());
    let mut medians = vec![];
    for (mode, times) in modes.iter().zip(&mut times) {
        times.sort_by(f64::total_cmp);
        medians.push(times[times.len() / 2]);
        let (median, min, p90) = (times[times.len() / 2], times[0], times[times.len() * 9 / 10]);
        println!(
            "{:<11} median {median:8.2} ms   min {min:8.2}   p90 {p90:8.2}   {:.2} of structured",
            mode.to_string(),
            median / medians[0]
        );
    }
}
