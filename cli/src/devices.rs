//! `devices` and `doctor`: the available devices, and problems that prevent their use.

use super::{Failure, Report, device_context, mib};
use rmnet::Error;
use rmnet::gpu::{self, AdapterChoice, AdapterReport, Gpu, HardwareGpu, PassedOver};
use serde_json::{Value, json};
use std::fmt::Write;

pub fn devices() -> Result<Report, Failure> {
    let adapters = gpu::adapters();
    let mut text = String::new();
    for (i, a) in adapters.iter().enumerate() {
        let _ = writeln!(text, "{i}  {a}");
        let _ = writeln!(text, "     driver {}", a.driver);
        if let Some(address) = &a.pci {
            let _ = writeln!(text, "     pci:{address}");
        }
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
        } else if a.is_software() {
            let _ =
                writeln!(text, "     a software GPU: runs only where it is asked for, with --adapter {i}");
        }
    }
    if adapters.is_empty() {
        let _ = writeln!(text, "no adapter found. {}", gpu::remedy());
    }
    let default = adapters.iter().position(AdapterReport::is_usable_hardware);
    let of_cpu = if default.is_none() { ", the default here as there is no hardware GPU" } else { "" };
    let _ = write!(text, "cpu  the CPU executor, always there: --adapter cpu{of_cpu}");
    let json = json!({
        "adapters": adapters.iter().map(as_json).collect::<Vec<_>>(),
        "default": default.map_or_else(|| json!("cpu"), |i| json!(i)),
    });
    Ok(Report { text, json })
}

fn as_json(a: &AdapterReport) -> Value {
    json!({
        "name": a.name, "kind": a.kind, "backend": a.backend, "driver": a.driver, "pci": a.pci, "subgroup": a.subgroup,
        "timestamps": a.timestamps, "f16": a.f16, "max_binding_bytes": a.max_binding_bytes,
        "max_buffer_bytes": a.max_buffer_bytes, "max_storage_buffers": a.max_storage_buffers,
        "max_workgroup_memory": a.max_workgroup_memory, "max_workgroup_invocations": a.max_workgroup_invocations,
        "max_workgroups": a.max_workgroups, "problem": a.problem,
    })
}

/// Opens the default device, as a run would, and the first software GPU where that is not a hardware GPU. Exit code 4 where a
/// hardware GPU cannot be opened: a run without `--adapter` would not start.
pub fn doctor() -> Result<Report, Failure> {
    let adapters = gpu::adapters().len();
    let plural = if adapters == 1 { "" } else { "s" };
    let mut text = format!("rmnet {}\n{adapters} adapter{plural} found\n", env!("CARGO_PKG_VERSION"));
    let cpus = std::thread::available_parallelism().map_or(1, usize::from);
    let _ = writeln!(text, "cpu executor: ready, {cpus} threads");
    let mut json =
        json!({ "gpu": null, "default": null, "adapters": adapters, "cpu_threads": cpus, "passed_over": [] });
    match Gpu::hardware() {
        Ok(HardwareGpu::Open(gpu)) => {
            let _ = write!(text, "gpu: ready, {}\ndefault device: this GPU", gpu.adapter());
            json["gpu"] = gpu.adapter().name.clone().into();
            json["default"] = json["gpu"].clone();
        }
        Ok(HardwareGpu::Absent(passed_over)) => {
            let _ = writeln!(text, "gpu: no hardware GPU. {}", gpu::remedy());
            for p in &passed_over {
                let _ = writeln!(text, "     {}", passed_over_line(p));
            }
            let _ = write!(text, "default device: the CPU executor");
            json["default"] = "cpu".into();
            json["passed_over"] = device_context::passed_over_json(&passed_over);
        }
        Err(error) => {
            let failure = Failure::from(Error::Gpu(error));
            let _ = write!(text, "gpu: {}", failure.message);
            json["problem"] = failure.message.clone().into();
            return Err(Failure { report: Some((text, json)), ..failure });
        }
    }
    Ok(Report { text, json })
}

/// Whether an adapter that the default device leaves alone runs where it is asked for.
fn passed_over_line(p: &PassedOver) -> String {
    if p.adapter.problem.is_some() {
        return p.to_string();
    }
    match Gpu::new(&AdapterChoice::Index(p.index)) {
        Ok(_) => format!(
            "{p}: ready, runs only where it is asked for, with `--adapter {}`; the CPU executor is faster on the same cores",
            p.index
        ),
        Err(error) => format!("{p}: {error}"),
    }
}
