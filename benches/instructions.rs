//! Times the CPU executor with each set of instructions that the processor has, in turn, answers compared.
//! `cargo bench --bench instructions -- MODEL..`; `-- --help` has the options.

use clap::Parser;
use rmnet::checkpoint::Checkpoint;
use rmnet::cpu::{CpuExecutor, Instructions};
use rmnet::models;
use rmnet::plan::{self, CheckedPlan, PlanOptions, PlanTarget};
use rmnet::rewrite::{self, Mode};
use rmnet::threads::Threads;
use std::time::Instant;

/// Times the CPU executor with each set of instructions that the processor has, in turn, answers compared.
#[derive(Parser)]
#[command(
    bin_name = "cargo bench --bench instructions --",
    after_help = "Environment variables:\n  RAYON_NUM_THREADS   threads; default: one on every core"
)]
struct Args {
    /// The checkpoints to time: files or folders.
    #[arg(value_name = "MODEL")]
    models: Vec<String>,
    /// Timed runs of each, after three that warm up.
    #[arg(long, value_name = "N", default_value_t = 40)]
    runs: usize,
    /// What cargo passes.
    #[arg(long, hide = true)]
    bench: bool,
}

/// Rounding of f32 through a whole network, in two orders.
const CLOSE: f32 = 1e-4;

fn main() {
    let Args { models, runs, bench: _ } = Args::parse();
    if models.is_empty() {
        println!("instructions: give checkpoints to time (`--help` has the options)");
        return;
    }
    let threads = Threads::shared().expect("threads");
    for path in &models {
        let model = models::load(&Checkpoint::open(path).expect("a checkpoint"), None).expect("a network");
        let graph = rewrite::for_mode(&model.graph, Mode::Structured).expect("a chain").graph;
        let options = PlanOptions { target: PlanTarget::CPU, ..PlanOptions::default() };
        let plan = plan::compile(&graph, &options).expect("a plan");
        let plan = CheckedPlan::new(plan).expect("a plan that holds");
        let executor =
            |i: &Instructions| CpuExecutor::with_instructions(*i, &threads, &plan).expect("memory");
        let executors: Vec<CpuExecutor> = Instructions::available().iter().map(executor).collect();
        let input: Vec<f32> =
            (0..model.graph.input_shape().len()).map(|i| (i * 7919 % 1000) as f32 / 500.0 - 1.0).collect();
        let expected = executors[0].run(&input).expect("a run");
        let largest = expected.iter().fold(0.0f32, |most, v| most.max(v.abs()));
        let mut times = vec![vec![]; executors.len()];
        for round in 0..runs + 3 {
            for (executor, times) in executors.iter().zip(&mut times) {
                let start = Instant::now();
                let found = executor.run(&input).expect("a run");
                let time = start.elapsed().as_secs_f64() * 1e3;
                let far = found.iter().zip(&expected).any(|(a, b)| (a - b).abs() > CLOSE * largest);
                assert!(!far, "{path}: {} computes something else", executor.instructions());
                if round >= 3 {
                    times.push(time);
                }
            }
        }
        for (executor, times) in executors.iter().zip(&mut times) {
            times.sort_by(f64::total_cmp);
            println!(
                "{path}, {}, {} threads: median {:.2} ms, shortest {:.2} ms",
                executor.instructions(),
                threads.count(),
                times[times.len() / 2],
                times[0]
            );
        }
    }
}
