//! What several test files need.
#![allow(dead_code, unused_imports, reason = "each test file uses its share")]

pub mod arena;
pub mod cases;
pub mod check;
mod difference;
pub mod families;
pub mod fixtures;
pub mod harness;
pub mod layers;
mod parallel;
pub mod plan_fields;
pub mod random;
pub mod seeded;
pub mod specs;
pub mod spoil;

pub use arena::arena;
pub use check::{answer, check, check_conv, check_whole};
pub use difference::difference;
pub use harness::*;
pub use parallel::in_parallel;

use rmnet::Device;
use rmnet::gpu::AdapterChoice;

/// Every Vulkan adapter, and the CPU executor.
pub fn devices() -> Vec<(String, Device)> {
    let mut devices = vec![("cpu".into(), Device::Cpu)];
    for (i, a) in rmnet::gpu::adapters().into_iter().enumerate() {
        if a.backend == "vulkan" && a.problem.is_none() {
            devices.push((a.name, Device::Gpu(AdapterChoice::Index(i))));
        }
    }
    // The test command says how many adapters it has set up, so that none is skipped unseen.
    if let Ok(wanted) = std::env::var("RMNET_TEST_ADAPTERS") {
        let wanted: usize = wanted.parse().expect("a number");
        assert!(devices.len() > wanted, "{} of {wanted} adapters found", devices.len() - 1);
    }
    devices
}

/// A plan that executors take.
pub fn checked(plan: &rmnet::plan::Plan) -> rmnet::plan::CheckedPlan {
    rmnet::plan::CheckedPlan::new(plan.clone()).expect("a plan that holds")
}

/// A plan on the CPU.
pub fn cpu(plan: &rmnet::plan::Plan) -> rmnet::cpu::CpuExecutor {
    rmnet::cpu::CpuExecutor::new(&checked(plan)).expect("threads and memory")
}
