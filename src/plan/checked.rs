//! Plans that have passed the checker.

use super::{CheckError, Plan, check};
use crate::kernel::Spec;
use std::fmt;
use std::ops::Deref;

/// An immutable plan that has passed [`check`]. Executors accept only checked plans: their shaders run without bounds checks, which the
/// check of the plan makes sound.
///
/// ```compile_fail
/// # fn change(plan: &mut rmnet::plan::CheckedPlan) {
/// plan.slots.clear(); // cannot be borrowed as mutable
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct CheckedPlan(Plan);

impl CheckedPlan {
    /// Checks a plan, and that every convolution has its weights. Executors read weights at creation, and the plan they return has none.
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

    /// Returns the plan for modification.
    pub fn into_plan(self) -> Plan {
        self.0
    }

    /// The same plan without weights, for executors that have packed them already.
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
