//! The adapters that the default device leaves alone: software GPUs, and those that lack a feature.

use super::terminal;
use rmnet::gpu::PassedOver;
use serde::Serialize;

/// Says on standard error that a default device is the CPU executor, and why.
pub fn say_on_cpu(passed_over: &[PassedOver]) {
    terminal::say(&format!("note: {}", on_cpu(passed_over)));
}

/// Why the default device is the CPU executor: what was passed over, and how to ask for it.
pub fn on_cpu(passed_over: &[PassedOver]) -> String {
    if passed_over.is_empty() {
        return "no GPU found, so this runs on the CPU executor (`rmnet doctor` says what to install)".into();
    }
    format!("no hardware GPU found, so this runs on the CPU executor; passed over: {}", each(passed_over))
}

/// The adapters that were passed over, each with the option that asks for it.
pub fn each(passed_over: &[PassedOver]) -> String {
    let with_option = |p: &PassedOver| match p.adapter.problem {
        None => format!("{p} (asked for with `--adapter {}`)", p.index),
        Some(_) => p.to_string(),
    };
    passed_over.iter().map(with_option).collect::<Vec<_>>().join("; ")
}

/// An adapter that the default device left alone, as reports have it.
#[derive(Serialize)]
pub struct Skipped {
    adapter: usize,
    name: String,
    backend: &'static str,
    kind: &'static str,
    problem: Option<String>,
}

impl Skipped {
    /// Each of them, in order.
    pub fn each(passed_over: &[PassedOver]) -> Vec<Skipped> {
        let entry = |p: &PassedOver| Skipped {
            adapter: p.index,
            name: p.adapter.name.clone(),
            backend: p.adapter.backend,
            kind: p.adapter.kind,
            problem: p.adapter.problem.clone(),
        };
        passed_over.iter().map(entry).collect()
    }
}
