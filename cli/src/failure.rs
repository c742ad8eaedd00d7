//! Why a verb failed, and the matching exit code.

use super::Report;
use rmnet::error::{CpuError, GpuError, OutputError, PlanError};
use rmnet::{Error, ErrorKind};
use std::fmt::Display;

/// Why a verb failed, and the matching exit code.
#[derive(Debug)]
pub struct Failure {
    /// Exit code, as documented.
    pub code: u8,
    /// For people, on stderr.
    pub message: String,
    /// A report that is printed nevertheless.
    pub report: Option<Report>,
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
        let code = e.kind() as u8;
        let message = match advice(&e) {
            Some(advice) => format!("{e}; {advice}"),
            None if code == 4 => format!("{e}; the CPU executor, `--adapter cpu`, needs no GPU"),
            None => e.to_string(),
        };
        Failure { code, message, report: None }
    }
}

/// Advice in terms of the program's options, which the library's errors do not know.
fn advice(e: &Error) -> Option<String> {
    Some(match e {
        Error::NotFinite { precision, .. } => {
            format!("`rmnet verify --precision {precision} --bisect` names it")
        }
        Error::Cpu(CpuError::Overflow { .. }) => {
            "`rmnet verify --precision f16` says by how much, `--precision f32` runs it".into()
        }
        Error::Plan(e) => return plan_advice(e).map(String::from),
        Error::Output(OutputError::UnknownLayer { converted: false, .. }) => {
            "`rmnet inspect` lists every layer".into()
        }
        Error::Gpu(GpuError::NoAdapter { .. }) => {
            "`--adapter cpu` asks for it, `rmnet devices` lists what is found".into()
        }
        Error::NoTimestamps => "`rmnet devices` lists the adapters that have them".into(),
        _ => return None,
    })
}

fn plan_advice(e: &PlanError) -> Option<&'static str> {
    matches!(e, PlanError::Weights { .. }).then_some("`--precision f32` runs it")
}

impl From<&PlanError> for Failure {
    fn from(e: &PlanError) -> Failure {
        let message = plan_advice(e).map_or_else(|| e.to_string(), |advice| format!("{e}; {advice}"));
        Failure { code: ErrorKind::from(e) as u8, message, report: None }
    }
}
