//! Times a whole network, host tensor to host logits, in each form it runs in, and checks the answers against each other:
//! `cargo bench --bench networks -- MODEL`; `-- --help` has the options.

use clap::{Parser, ValueEnum};
use rmnet::checkpoint::Checkpoint;
use rmnet::models;
use rmnet::{Device, Mode, Options, Session};
use std::time::Instant;

/// Times a whole network, host tensor to host logits, in each form it runs in, and checks the answers against each other.
///
/// The forms take turns, so that they can be compared on a noisy machine.
#[derive(Parser)]
#[command(
    bin_name = "cargo bench --bench networks --",
    after_help = "Environment variables:\n  RAYON_NUM_THREADS   threads of the CPU executor; default: one on every core"
)]
struct Args {
    /// The checkpoint to time: a file or a folder.
    model: Option<String>,
    /// A safetensors file with a tensor `input`; by default values are made up.
    #[arg(long, value_name = "FILE")]
    input: Option<String>,
    /// `cpu`, or an adapter: `best`, its position, a part of its name, `vulkan` or another API; by default the best hardware GPU, else
    /// the CPU.
    #[arg(long, value_name = "NAME")]
    adapter: Option<String>,
    /// Only this form; by default all three or, with --json, the structured one.
    #[arg(long)]
    mode: Option<Form>,
    /// Timed runs of each form.
    #[arg(long, value_name = "N", default_value_t = 20)]
    runs: usize,
    /// One JSON object of the first form: the time of every run, the logits, the device, the time to get ready.
    #[arg(long)]
    json: bool,
    /// What cargo passes.
    #[arg(long, hide = true)]
    bench: bool,
}

#[derive(Clone, Copy, ValueEnum)]
enum Form {
    Structured,
    Residual,
    Literal,
}

fn main() {
    let args = Args::parse();
    let Some(model) = args.model else {
        println!("networks: give a checkpoint to time (`--help` has the options)");
        return;
    };
    let modes = match args.mode {
        None if args.json => vec![Mode::Structured],
        None => vec![Mode::Structured, Mode::Residual, Mode::Literal],
        Some(Form::Structured) => vec![Mode::Structured],
        Some(Form::Residual) => vec![Mode::Residual],
        Some(Form::Literal) => vec![Mode::Literal],
    };
    let device = match args.adapter.as_deref() {
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
    let input = match args.input {
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
    for _ in 0..args.runs {
        for (session, times) in sessions.iter().zip(&mut times) {
            let start = Instant::now();
            session.run(&input).expect("a run");
            times.push(start.elapsed().as_secs_f64() * 1e3);
        }
    }
    if args.json {
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
