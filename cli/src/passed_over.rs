//! The adapters that the default device skips: software GPUs, and adapters that lack a feature.

use super::terminal;
use rmnet::gpu::PassedOver;
use serde::Serialize;

/// Says on standard error that the default device is the CPU executor, and why.
pub fn say_on_cpu(passed_over: &[PassedOver]) {
    terminal::say(&format!("note: {}", on_cpu(passed_over)));
}

/// Why the default device is the CPU executor: the skipped adapters, and how to select them.
pub fn on_cpu(passed_over: &[PassedOver]) -> String {
    if passed_over.is_empty() {
        return "no GPU found, so this runs on the CPU executor (`rmnet doctor` says what to install)".into();
    }
    format!("no hardware GPU found, so this runs on the CPU executor; passed over: {}", each(passed_over))
}

/// The skipped adapters, each with the option that selects it.
pub fn each(passed_over: &[PassedOver]) -> String {
    let with_option = |p: &PassedOver| match p.adapter.problem {
        None => format!("{p} (asked for with `--adapter {}`)", p.index),
        Some(_) => p.to_string(),
    };
    passed_over.iter().map(with_option).collect::<Vec<_>>().join("; ")
}

/// A skipped adapter, for reports.
#[derive(Serialize)]
pub struct Skipped {
    adapter: usize,
    name: String,
    backend: &'static str,
    kind: &'static str,
    problem: Option<String>,
}

impl Skipped {
    /// The entries of all skipped adapters, in order.
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
