//! `devices` and `doctor`: the available devices, and problems that prevent their use.

use super::device_context::with_kept_self_tests;
use super::passed_over::Skipped;
use super::{Failure, Report, mib};
use rmnet::Error;
use rmnet::gpu::{self, AdapterChoice, AdapterReport, Gpu, HardwareGpu, PassedOver};
use serde::Serialize;
use std::fmt;

pub fn devices() -> Result<Report, Failure> {
    let adapters = gpu::adapters();
    let default = adapters.iter().position(AdapterReport::is_usable_hardware);
    let entry = |(index, adapter)| Adapter { index, adapter };
    Report::of(&Devices {
        adapters: adapters.into_iter().enumerate().map(entry).collect(),
        default: default.map_or(DefaultDevice::Executor("cpu"), DefaultDevice::Adapter),
    })
}

#[derive(Serialize)]
struct Devices {
    adapters: Vec<Adapter>,
    default: DefaultDevice,
}

/// The device of a run that names none.
#[derive(Serialize)]
#[serde(untagged)]
enum DefaultDevice {
    /// By its index.
    Adapter(usize),
    /// `cpu`
    Executor(&'static str),
}

#[derive(Serialize)]
struct Adapter {
    #[serde(skip)]
    index: usize,
    #[serde(flatten, with = "AdapterFields")]
    adapter: AdapterReport,
}

/// The fields of an adapter in JSON.
#[derive(Serialize)]
#[serde(remote = "AdapterReport")]
struct AdapterFields {
    name: String,
    kind: &'static str,
    backend: &'static str,
    driver: String,
    pci: Option<String>,
    subgroup: Option<[u32; 2]>,
    timestamps: bool,
    f16: bool,
    max_binding_bytes: u64,
    max_buffer_bytes: u64,
    max_storage_buffers: u32,
    max_workgroup_memory: u32,
    max_workgroup_invocations: u32,
    max_workgroups: u32,
    problem: Option<String>,
}

impl fmt::Display for Devices {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.adapters.iter().try_for_each(|a| a.fmt(f))?;
        if self.adapters.is_empty() {
            writeln!(f, "no adapter found. {}", gpu::remedy())?;
        }
        let of_cpu = match self.default {
            DefaultDevice::Executor(_) => ", the default here as there is no hardware GPU",
            DefaultDevice::Adapter(_) => "",
        };
        write!(f, "cpu  the CPU executor, always there: --adapter cpu{of_cpu}")
    }
}

impl fmt::Display for Adapter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Adapter { index, adapter: a } = self;
        writeln!(f, "{index}  {a}")?;
        writeln!(f, "     driver {}", a.driver)?;
        if let Some(address) = &a.pci {
            writeln!(f, "     pci:{address}")?;
        }
        let subgroup = match a.subgroup {
            Some([min, max]) if min == max => format!("subgroups of {min}"),
            Some([min, max]) => format!("subgroups of {min} to {max}"),
            None => "no subgroups".into(),
        };
        let with = |has: bool, what: &str| if has { what.to_string() } else { format!("no {what}") };
        writeln!(f, "     {subgroup}, {}, {}", with(a.f16, "f16"), with(a.timestamps, "timestamps"))?;
        writeln!(
            f,
            "     bindings of {}, {} storage buffers, {} bytes of workgroup memory, {} invocations",
            mib(usize::try_from(a.max_binding_bytes).unwrap_or(usize::MAX)),
            a.max_storage_buffers,
            a.max_workgroup_memory,
            a.max_workgroup_invocations
        )?;
        if let Some(problem) = &a.problem {
            writeln!(f, "     cannot be used: {problem}")
        } else if a.is_software() {
            writeln!(f, "     a software GPU: runs only where it is asked for, with --adapter {index}")
        } else {
            Ok(())
        }
    }
}

/// Opens the default device as a run would, and also the first software GPU if that is not a hardware GPU. Exit code 4 if a
/// hardware GPU cannot be opened, since a run without `--adapter` would then not start.
pub fn doctor() -> Result<Report, Failure> {
    let mut doctor = Doctor {
        adapters: gpu::adapters().len(),
        cpu_threads: std::thread::available_parallelism().map_or(1, usize::from),
        ..Doctor::default()
    };
    match Gpu::hardware() {
        Ok(HardwareGpu::Open(gpu)) => {
            let gpu = with_kept_self_tests(*gpu, None);
            doctor.gpu = Some(gpu.adapter().name.clone());
            doctor.default = doctor.gpu.clone();
            doctor.adapter = gpu.adapter().to_string();
        }
        Ok(HardwareGpu::Absent(passed_over)) => {
            doctor.default = Some("cpu".into());
            doctor.passed_over = Skipped::each(&passed_over);
            doctor.why_passed_over = passed_over.iter().map(why_passed_over).collect();
        }
        Err(error) => {
            let failure = Failure::from(Error::Gpu(error));
            doctor.problem = Some(failure.message.clone());
            return Err(Failure { report: Some(Report::of(&doctor)?), ..failure });
        }
    }
    Report::of(&doctor)
}

#[derive(Default, Serialize)]
struct Doctor {
    /// Number of adapters.
    adapters: usize,
    cpu_threads: usize,
    /// The hardware GPU, if there is one that can be opened.
    gpu: Option<String>,
    /// The hardware GPU with its backend and kind.
    #[serde(skip)]
    adapter: String,
    /// The device of a run that names none.
    default: Option<String>,
    passed_over: Vec<Skipped>,
    /// One line per skipped adapter.
    #[serde(skip)]
    why_passed_over: Vec<String>,
    /// Why the hardware GPU cannot be opened.
    #[serde(skip_serializing_if = "Option::is_none")]
    problem: Option<String>,
}

impl fmt::Display for Doctor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let plural = if self.adapters == 1 { "" } else { "s" };
        writeln!(f, "rmnet {}\n{} adapter{plural} found", env!("CARGO_PKG_VERSION"), self.adapters)?;
        writeln!(f, "cpu executor: ready, {} threads", self.cpu_threads)?;
        if let Some(problem) = &self.problem {
            return write!(f, "gpu: {problem}");
        }
        if self.gpu.is_some() {
            return write!(f, "gpu: ready, {}\ndefault device: this GPU", self.adapter);
        }
        writeln!(f, "gpu: no hardware GPU. {}", gpu::remedy())?;
        self.why_passed_over.iter().try_for_each(|line| writeln!(f, "     {line}"))?;
        write!(f, "default device: the CPU executor")
    }
}

/// Why the default device skips an adapter, and whether it can be requested.
fn why_passed_over(p: &PassedOver) -> String {
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
