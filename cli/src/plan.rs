//! `plan`: dispatches, slots and bytes, compared with the other forms. Needs no GPU.

use super::args::{MergeArg, PlanArgs};
use super::report::{as_object, as_text};
use super::{Failure, Report, check_target, device, giga, load, mib, write};
use rmnet::gpu::Gpu;
use rmnet::models::Model;
use rmnet::plan::{self, Dispatch, Plan, PlanOptions, PlanTarget};
use rmnet::rewrite::{self, Form, Mode};
use rmnet::{Device, Error, Precision};
use serde::Serialize;
use std::fmt;

pub fn plan(args: &PlanArgs) -> Result<Report, Failure> {
    if let Some(path) = &args.svg {
        check_target(path, &[&args.model.checkpoint])?;
    }
    if args.merge == MergeArg::Auto {
        return Err(Failure::usage(
            "--merge auto measures on a device, and plan needs none: say always or never",
        ));
    }
    let model = load(&args.model)?;
    let (target, whose) = target(args.adapter.as_deref())?;
    let options = PlanOptions {
        batch: args.batch as usize,
        target,
        precision: args.precision.into(),
        ..PlanOptions::default()
    };
    let compile = |mode: Mode| {
        let merge = args.merge == MergeArg::Always && mode != Mode::Residual;
        compile(&model, Form { mode, merge }, &options, &whose)
    };
    let mode = Mode::from(args.mode);
    let plan = compile(mode)?;
    if let Some(path) = &args.svg {
        write(path, plan.to_svg())?;
    }
    let modes = [Mode::Structured, Mode::Residual, Mode::Literal]
        .into_iter()
        .map(|m| Ok((m, if m == mode { Figures::of(&plan) } else { Figures::of(&compile(m)?) })))
        .collect::<Result<_, Failure>>()?;
    Report::of(&PlanReport {
        mode,
        precision: plan.precision(),
        batch: plan.batch,
        dispatches: plan.dispatches.iter().map(|d| DispatchEntry::of(&plan, d)).collect(),
        slots: &plan.slots,
        activation_bytes: plan.activation_bytes(),
        lower_bound_bytes: plan.lower_bound,
        modes,
        plan: &plan,
    })
}

/// The plan of one form, checked.
fn compile(model: &Model, form: Form, options: &PlanOptions, whose: &str) -> Result<Plan, Failure> {
    let graph = rewrite::for_mode(&model.graph, form).map_err(Failure::input)?.graph;
    let plan = plan::compile(&graph, options).map_err(|e| {
        let failure = Failure::from(&e);
        if failure.code != 4 {
            return failure;
        }
        let message = format!("{e}, by {whose}; --adapter takes another's limits, and cpu has none");
        Failure { message, ..failure }
    })?;
    plan::check(&plan).map_err(|e| Failure::input(format!("the plan is wrong, please report it: {e}")))?;
    Ok(plan)
}

#[derive(Serialize)]
struct PlanReport<'a> {
    #[serde(serialize_with = "as_text")]
    mode: Mode,
    #[serde(serialize_with = "as_text")]
    precision: Precision,
    batch: usize,
    dispatches: Vec<DispatchEntry<'a>>,
    /// Bytes of each slot.
    slots: &'a [usize],
    activation_bytes: usize,
    lower_bound_bytes: usize,
    /// Every form, for comparison.
    #[serde(serialize_with = "as_object")]
    modes: Vec<(Mode, Figures)>,
    /// The plan that the report is of; the text prints its dispatches.
    #[serde(skip)]
    plan: &'a Plan,
}

#[derive(Serialize)]
struct DispatchEntry<'a> {
    name: &'a str,
    formula: String,
    macs: usize,
    in_place: bool,
    /// `[batch, channels, height, width]`
    output: [usize; 4],
}

impl<'a> DispatchEntry<'a> {
    fn of(plan: &Plan, d: &'a Dispatch) -> DispatchEntry<'a> {
        let shape = plan.buffer(d.writes[0]).shape;
        let channels = d.writes.iter().map(|w| plan.buffer(*w).shape.channels).sum();
        DispatchEntry {
            name: &d.name,
            formula: plan.formula(d),
            macs: d.macs(plan.batch),
            in_place: d.in_place.is_some(),
            output: [shape.batch, channels, shape.height, shape.width],
        }
    }
}

/// The size of one form's plan.
#[derive(Serialize)]
struct Figures {
    dispatches: usize,
    activation_bytes: usize,
    lower_bound_bytes: usize,
    macs: usize,
}

impl Figures {
    fn of(plan: &Plan) -> Figures {
        Figures {
            dispatches: plan.dispatches.len(),
            activation_bytes: plan.activation_bytes(),
            lower_bound_bytes: plan.lower_bound,
            macs: plan.macs(),
        }
    }
}

impl fmt::Display for PlanReport<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}\nchecked: every read sees its value", self.plan)?;
        self.modes.iter().try_for_each(|(mode, figures)| {
            write!(
                f,
                "\n{:<11} {:>3} dispatches, {:>9} of activations (lower bound {}), {:.2} GMAC",
                mode.to_string(),
                figures.dispatches,
                mib(figures.activation_bytes),
                mib(figures.lower_bound_bytes),
                giga(figures.macs)
            )
        })
    }
}

/// The target that a plan is made for, and its name.
fn target(adapter: Option<&str>) -> Result<(PlanTarget, String), Failure> {
    let choice = match device(adapter)? {
        Device::Gpu(choice) => choice,
        Device::Auto => return Ok((PlanTarget::default(), "WebGPU's default limits".into())),
        _ => return Ok((PlanTarget::CPU, "the CPU executor".into())),
    };
    let gpu = Gpu::new(&choice).map_err(|e| Failure::from(Error::Gpu(e)))?;
    Ok((gpu.plan_target(), format!("the limits of {}", gpu.adapter())))
}
