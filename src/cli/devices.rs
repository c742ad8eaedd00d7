//! `devices` and `doctor`: what there is to run on, and what stands in the way.

use super::{Failure, Report, mib};
use rmnet::gpu::{self, AdapterChoice, AdapterReport, Gpu};
use serde_json::{Value, json};
use std::fmt::Write;

pub fn devices() -> Result<Report, Failure> {
    let adapters = gpu::adapters();
    let mut text = String::new();
    for (i, a) in adapters.iter().enumerate() {
        let _ = writeln!(text, "{i}  {a}");
        let _ = writeln!(text, "     driver {}", a.driver);
        let subgroup = match a.subgroup {
            Some([min, max]) if min == max => format!("subgroups of {min}"),
            Some([min, max]) => format!("subgroups of {min} to {max}"),
            None => "no subgroups".into(),
        };
        let with = |has: bool, what: &str| if has { what.to_string() } else { format!("no {what}") };
        let _ =
            writeln!(text, "     {subgroup}, {}, {}", with(a.f16, "f16"), with(a.timestamps, "timestamps"));
        let _ = writeln!(
            text,
            "     bindings of {}, {} storage buffers, {} bytes of workgroup memory, {} invocations",
            mib(usize::try_from(a.max_binding_bytes).unwrap_or(usize::MAX)),
            a.max_storage_buffers,
            a.max_workgroup_memory,
            a.max_workgroup_invocations
        );
        if let Some(problem) = &a.problem {
            let _ = writeln!(text, "     cannot be used: {problem}");
        }
    }
    if adapters.is_empty() {
        let _ = writeln!(text, "no adapter found. {}", gpu::remedy());
    }
    let _ = write!(text, "cpu  the CPU executor, always there: --adapter cpu");
    let json = json!({ "adapters": adapters.iter().map(as_json).collect::<Vec<_>>() });
    Ok(Report { text, json })
}

fn as_json(a: &AdapterReport) -> Value {
    json!({
        "name": a.name, "kind": a.kind, "backend": a.backend, "driver": a.driver, "subgroup": a.subgroup,
        "timestamps": a.timestamps, "f16": a.f16, "max_binding_bytes": a.max_binding_bytes,
        "max_buffer_bytes": a.max_buffer_bytes, "max_storage_buffers": a.max_storage_buffers,
        "max_workgroup_memory": a.max_workgroup_memory, "max_workgroup_invocations": a.max_workgroup_invocations,
        "max_workgroups": a.max_workgroups, "problem": a.problem,
    })
}

/// Opens the best adapter, as a run would; failing that is exit code 4.
pub fn doctor() -> Result<Report, Failure> {
    let adapters = gpu::adapters();
    let plural = if adapters.len() == 1 { "" } else { "s" };
    let mut text = format!("rmnet {}\n{} adapter{plural} found\n", env!("CARGO_PKG_VERSION"), adapters.len());
    let cpus = std::thread::available_parallelism().map_or(1, usize::from);
    let _ = writeln!(text, "cpu executor: ready, {cpus} threads");
    match Gpu::new(&AdapterChoice::Best) {
        Ok(gpu) => {
            let adapter = gpu.adapter();
            let _ = write!(text, "gpu: ready, {adapter}");
            if adapter.kind == "software" {
                let _ = write!(
                    text,
                    "\n     this adapter is the CPU pretending to be a GPU; `--adapter cpu` is faster on this machine"
                );
            }
            let json = json!({ "gpu": adapter.name, "adapters": adapters.len(), "cpu_threads": cpus });
            Ok(Report { text, json })
        }
        Err(error) => {
            let _ = write!(text, "gpu: {error}");
            let json = json!({
                "gpu": null, "problem": error.to_string(), "adapters": adapters.len(), "cpu_threads": cpus,
            });
            Err(Failure { code: 4, message: error.to_string(), report: Some((text, json)) })
        }
    }
}
