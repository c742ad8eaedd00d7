//! Why a verb failed, and the exit code that says so.

use rmnet::Error;
use rmnet::cpu::CpuError;
use rmnet::gpu::GpuError;
use rmnet::plan::PlanError;
use rmnet::rewrite::prune::PruneError;
use serde_json::Value;
use std::fmt::Display;

/// Why a verb failed, and the exit code that says so.
#[derive(Debug)]
pub struct Failure {
    /// Exit code, as documented.
    pub code: u8,
    /// For people, on stderr.
    pub message: String,
    /// A report that is printed all the same.
    pub report: Option<(String, Value)>,
}

impl Failure {
    /// A checkpoint or an input that cannot be used.
    pub fn input(e: impl Display) -> Failure {
        Failure { code: 3, message: e.to_string(), report: None }
    }

    /// Options that contradict each other.
    pub fn usage(e: impl Display) -> Failure {
        Failure { code: 2, message: e.to_string(), report: None }
    }
}

impl From<Error> for Failure {
    fn from(e: Error) -> Failure {
        let code = match &e {
            Error::Gpu(gpu) => match gpu {
                GpuError::DeviceLost { .. }
                | GpuError::OutOfMemory { .. }
                | GpuError::Refused { .. }
                | GpuError::Timeout { .. } => 6,
                GpuError::InputLength { .. } | GpuError::Buffer { .. } | GpuError::Overflow { .. } => 3,
                _ => 4,
            },
            Error::Cpu(CpuError::OutOfMemory(_) | CpuError::Threads(_))
            | Error::OutOfMemory(_)
            | Error::Threads(_) => 6,
            Error::Output(_) => 2,
            Error::Plan(e) => plan_code(e),
            Error::Prune(e) => match e {
                PruneError::Graph(_) | PruneError::Order { .. } | PruneError::Empty { .. } => 3,
                _ => 2,
            },
            _ => 3,
        };
        let message = match &e {
            // Its message says so itself.
            Error::Gpu(GpuError::NoAdapter { .. }) => e.to_string(),
            _ if code == 4 => format!("{e}; the CPU executor, `--adapter cpu`, needs no GPU"),
            _ => e.to_string(),
        };
        Failure { code, message, report: None }
    }
}

/// A limit is the adapter's; anything else is the model's.
pub fn plan_code(e: &PlanError) -> u8 {
    match e {
        PlanError::BindingTooLarge { .. } | PlanError::TooManyBuffers { .. } => 4,
        PlanError::Unsupported { .. }
        | PlanError::Weights { .. }
        | PlanError::TooLarge { .. }
        | PlanError::EmptyBatch => 3,
        PlanError::BatchTooLarge { .. } => 6,
    }
}
