//! What a GPU does with the record of self-tests.

use super::{Gpu, GpuError, Quarantined, SelfTests};
use crate::kernel::FamilyId;
#[cfg(feature = "internals")]
use crate::kernel::Kernel;
use crate::plan::Dispatch;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

impl Gpu {
    /// Uses a record of self-tests of its own, which applies to this value and its clones, in place of the record of the process: kernels
    /// that it names for this adapter, driver and version of the crate are not tested again.
    #[must_use]
    pub fn with_self_tests(mut self, tests: SelfTests) -> Gpu {
        self.self_tests = Arc::new(Mutex::new(tests));
        self
    }

    /// The record of self-tests so far, for [`Gpu::with_self_tests`] at the next start.
    pub fn self_tests(&self) -> SelfTests {
        self.self_tests_mut().clone()
    }

    pub(super) fn self_tests_mut(&self) -> MutexGuard<'_, SelfTests> {
        self.self_tests.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The kernel families that are not used because they compute wrong on this driver, as far as they have been tested.
    pub fn quarantined(&self) -> Vec<Quarantined> {
        self.self_tests_mut().quarantined(self.adapter())
    }

    /// Changes every kernel that is chosen from now on, so that a test can make a driver wrong; with a record of self-tests of its own.
    #[cfg(feature = "internals")]
    #[must_use]
    pub fn with_changed_kernels(mut self, change: fn(&mut Kernel)) -> Gpu {
        self.changed = Some(change);
        let tests = self.self_tests();
        self.with_self_tests(tests)
    }

    /// The families that are wrong in a dispatch's precision.
    pub(super) fn wrong_families(&self, dispatch: &Dispatch) -> Vec<FamilyId> {
        self.self_tests_mut().wrong_families(self.adapter(), dispatch.spec.precision())
    }

    #[cfg(feature = "internals")]
    pub(super) fn change(&self, kernel: &mut Kernel) {
        if let Some(change) = self.changed {
            change(kernel);
        }
    }

    /// The error for a dispatch whose kernels are all quarantined.
    pub(super) fn wrong_results(&self, dispatch: &Dispatch) -> GpuError {
        let problems = self.quarantined().iter().map(ToString::to_string).collect::<Vec<_>>().join("; ");
        GpuError::WrongResults {
            adapter: self.adapter().name.clone(),
            dispatch: dispatch.name.clone(),
            problems,
        }
    }
}
