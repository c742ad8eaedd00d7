//! What a GPU does with the record of self-tests.

use super::{Gpu, GpuError, Quarantined, SelfTests};
#[cfg(feature = "internals")]
use crate::kernel::Kernel;
use crate::kernel::{self, FamilyId, Precision};
use crate::plan::{Dispatch, Plan};
use std::ops::Range;
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
    pub(super) fn wrong_results(&self, plan: &Plan, dispatch: usize) -> GpuError {
        let problems = self.left_out(plan, dispatch..dispatch + 1);
        GpuError::WrongResults {
            adapter: self.adapter().name.clone(),
            dispatch: plan.dispatches[dispatch].name.clone(),
            problems: problems.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "),
        }
    }

    /// The quarantined families that have kernels for some dispatches of a plan.
    pub(super) fn left_out(&self, plan: &Plan, dispatches: Range<usize>) -> Vec<Quarantined> {
        let mut quarantined = self.quarantined();
        if quarantined.is_empty() {
            return quarantined;
        }
        let mut offered: Vec<(String, Precision)> = vec![];
        for i in dispatches {
            let (spec, arena) = (&plan.dispatches[i].spec, self.arena(plan, i));
            // A limit that is too small is reported where the kernel is chosen.
            let kernels =
                kernel::candidates_in(spec, self.capabilities(), arena.as_ref()).unwrap_or_default();
            offered.extend(kernels.iter().map(|k| (k.choice.family.to_string(), spec.precision())));
        }
        quarantined.retain(|q| offered.iter().any(|(family, p)| (family, *p) == (&q.family, q.precision)));
        quarantined
    }
}
