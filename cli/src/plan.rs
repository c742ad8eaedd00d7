//! `plan`: dispatches, slots and bytes, beside what the other forms would take. Needs no GPU.

use super::args::{MergeArg, PlanArgs};
use super::{Failure, Report, check_target, device, load, mib, write};
use rmnet::gpu::Gpu;
use rmnet::plan::{self, Plan, PlanOptions, PlanTarget};
use rmnet::rewrite::{self, Form, Mode};
use rmnet::{Device, Error};
use serde_json::json;

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
    let precision = args.precision.into();
    let options = PlanOptions { batch: args.batch as usize, target, precision, ..PlanOptions::default() };
    let compile = |mode: Mode| -> Result<Plan, Failure> {
        let merge = args.merge == MergeArg::Always && mode != Mode::Residual;
        let graph = rewrite::for_mode(&model.graph, Form { mode, merge }).map_err(Failure::input)?.graph;
        let plan = plan::compile(&graph, &options).map_err(|e| {
            let failure = Failure::from(&e);
            if failure.code != 4 {
                return failure;
            }
            let message = format!("{e}, by {whose}; --adapter takes another's limits, and cpu has none");
            Failure { message, ..failure }
        })?;
        plan::check(&plan)
            .map_err(|e| Failure::input(format!("the plan is wrong, please report it: {e}")))?;
        Ok(plan)
    };
    let mode = Mode::from(args.mode);
    let plan = compile(mode)?;
    if let Some(path) = &args.svg {
        write(path, plan.to_svg())?;
    }
    let peers: Vec<(Mode, Plan)> = [Mode::Structured, Mode::Residual, Mode::Literal]
        .into_iter()
        .map(|m| Ok((m, if m == mode { plan.clone() } else { compile(m)? })))
        .collect::<Result<_, Failure>>()?;

    let mut text = format!("{plan}\nchecked: every read sees its value\n");
    for (m, p) in &peers {
        text += &format!(
            "\n{:<11} {:>3} dispatches, {:>9} of activations (lower bound {}), {:.2} GMAC",
            m.to_string(),
            p.dispatches.len(),
            mib(p.activation_bytes()),
            mib(p.lower_bound),
            p.macs() as f64 / 1e9
        );
    }
    let dispatches: Vec<_> = plan
        .dispatches
        .iter()
        .map(|d| {
            let out = plan.buffer(d.writes[0]).shape;
            json!({
                "name": d.name, "formula": plan.formula(d), "macs": d.macs(plan.batch), "in_place": d.in_place.is_some(),
                "output": [out.batch, d.writes.iter().map(|w| plan.buffer(*w).shape.channels).sum::<usize>(), out.height, out.width],
            })
        })
        .collect();
    let modes: serde_json::Map<_, _> = peers
        .iter()
        .map(|(m, p)| {
            let figures = json!({
                "dispatches": p.dispatches.len(), "activation_bytes": p.activation_bytes(),
                "lower_bound_bytes": p.lower_bound, "macs": p.macs(),
            });
            (m.to_string(), figures)
        })
        .collect();
    let json = json!({
        "mode": mode.to_string(), "precision": plan.precision().to_string(), "batch": plan.batch, "dispatches": dispatches, "slots": plan.slots,
        "activation_bytes": plan.activation_bytes(), "lower_bound_bytes": plan.lower_bound, "modes": modes,
    });
    Ok(Report { text, json })
}

/// What a plan is made for, and what to call that.
fn target(adapter: Option<&str>) -> Result<(PlanTarget, String), Failure> {
    let Some(text) = adapter else { return Ok((PlanTarget::default(), "WebGPU's default limits".into())) };
    let Device::Gpu(choice) = device(Some(text)) else {
        return Ok((PlanTarget::CPU, "the CPU executor".into()));
    };
    let gpu = Gpu::new(&choice).map_err(|e| Failure::from(Error::Gpu(e)))?;
    Ok((gpu.plan_target(), format!("the limits of {}", gpu.adapter())))
}
