//! Plans that have been replayed.

use super::{CheckError, Plan, check};
use crate::kernel::Spec;
use std::fmt;
use std::ops::Deref;

/// A plan that [`check`] has replayed, and that cannot be changed any more: what executors take. Their shaders run without bounds
/// checks of their own, and the plan's is what makes that sound.
///
/// ```compile_fail
/// # fn change(plan: &mut rmnet::plan::CheckedPlan) {
/// plan.slots.clear(); // cannot be borrowed as mutable
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct CheckedPlan(Plan);

impl CheckedPlan {
    /// Replays a plan, and sees that every convolution has its weights: executors take them when they are made, and the plan that one
    /// gives back has none.
    ///
    /// # Errors
    /// As [`check`].
    pub fn new(plan: Plan) -> Result<CheckedPlan, CheckError> {
        check(&plan)?;
        let mut dispatches = plan.dispatches.iter().enumerate();
        match dispatches.find(|(_, d)| matches!(d.spec, Spec::Conv(_)) && d.weights.is_none()) {
            Some((dispatch, d)) => {
                let what = "a convolution without weights".into();
                Err(CheckError { dispatch, name: d.name.clone(), what })
            }
            None => Ok(CheckedPlan(plan)),
        }
    }

    /// The plan, to be changed.
    pub fn into_plan(self) -> Plan {
        self.0
    }

    /// Its dispatches are as they are, their weights are gone: it may run where those are packed already.
    pub(crate) fn without_weights(&self) -> CheckedPlan {
        let mut plan = self.0.clone();
        plan.dispatches.iter_mut().for_each(|d| d.weights = None);
        CheckedPlan(plan)
    }
}

impl Deref for CheckedPlan {
    type Target = Plan;

    fn deref(&self) -> &Plan {
        &self.0
    }
}

impl fmt::Display for CheckedPlan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}
