//! `wgsl`: the shader of a dispatch, as it is given to the driver.

use super::args::WgslArgs;
use super::device_context::FoundTuning;
use super::{Failure, Report, device, load};
use rmnet::gpu::{Gpu, Tuned};
use rmnet::kernel::{self, Capabilities};
use rmnet::plan::{self, PlanTarget};
use rmnet::{Device, Error, rewrite};
use serde_json::json;
use std::fmt::Write;

pub fn wgsl(args: &WgslArgs) -> Result<Report, Failure> {
    let model = load(&args.model)?;
    let (whose, gpu, target) = match &args.adapter {
        None => ("any adapter".to_string(), None, PlanTarget::default()),
        Some(text) => match device(Some(text)) {
            Device::Gpu(choice) => {
                let gpu = Gpu::new(&choice).map_err(|e| Failure::from(Error::Gpu(e)))?;
                (gpu.adapter().to_string(), Some(gpu.clone()), gpu.plan_target())
            }
            _ => return Err(Failure::usage("--adapter cpu: the CPU executor has no shaders")),
        },
    };
    let found = match (&gpu, &args.kept.tuning) {
        (None, Some(file)) if file.as_os_str() != "none" => {
            let file = file.display();
            return Err(Failure::usage(format!("--tuning {file}: say whose shaders with --adapter")));
        }
        (None, _) => FoundTuning::default(),
        (Some(_), _) => FoundTuning::find(&args.kept)?,
    };
    let graph = rewrite::for_mode(&model.graph, rmnet::Mode::from(args.mode)).map_err(Failure::input)?.graph;
    let (batch, precision) = (args.batch as usize, args.precision.into());
    let options = plan::PlanOptions { batch, target, precision, ..plan::PlanOptions::default() };
    let plan = plan::compile(&graph, &options).map_err(|e| Failure::from(&e))?;
    let chosen: Vec<usize> = match &args.dispatch {
        None => (0..plan.dispatches.len()).collect(),
        Some(text) => {
            let named = plan.dispatches.iter().position(|d| d.name == *text);
            let counted = || text.parse().ok().filter(|i| *i < plan.dispatches.len());
            vec![named.or_else(counted).ok_or_else(|| {
                let last = plan.dispatches.len() - 1;
                Failure::usage(format!(
                    "--dispatch {text}: expected a name that `rmnet plan` lists, or 0 to {last}"
                ))
            })?]
        }
    };
    let mut text = String::new();
    let mut shaders = vec![];
    let mut tuned = Tuned::default();
    let count = chosen.len();
    for i in chosen {
        let d = &plan.dispatches[i];
        let before = tuned.dispatches;
        let refused = |source: &dyn std::fmt::Display| Failure {
            code: 4,
            ..Failure::input(format!("{}: {source}", d.name))
        };
        let kernel = match (&gpu, args.kernel) {
            (Some(gpu), None) => gpu.choose(&plan, i, &found.tuning, &mut tuned).map_err(Error::Gpu)?,
            (None, None) => kernel::select(&d.spec, &Capabilities::WEBGPU).map_err(|e| refused(&e))?,
            (gpu, Some(wanted)) => {
                let kernels = match gpu {
                    Some(gpu) => gpu.candidates(&plan, i).map_err(Error::Gpu)?,
                    None => kernel::candidates(&d.spec, &Capabilities::WEBGPU).map_err(|e| refused(&e))?,
                };
                let known: Vec<String> = kernels.iter().map(|k| k.choice.to_string()).collect();
                kernels.into_iter().find(|k| k.choice == wanted).ok_or_else(|| {
                    Failure::usage(format!(
                        "--kernel {wanted}: for {} there are {}",
                        d.name,
                        known.join(", ")
                    ))
                })?
            }
        };
        let how = if tuned.dispatches > before { ", tuned" } else { "" };
        for (n, shader) in kernel.shaders.iter().enumerate() {
            let wgsl = shader.wgsl();
            let [x, y, z] = shader.grid;
            let part = match kernel.shaders.len() {
                1 => String::new(),
                of => format!(" ({} of {of})", n + 1),
            };
            let _ = writeln!(
                text,
                "// {i} {}: {}{part}{how}, grid {x} x {y} x {z}, for {whose}\n{}",
                d.name, kernel.choice, wgsl
            );
            shaders.push(json!({
                "dispatch": i, "name": d.name, "kernel": kernel.choice, "entry": shader.entry, "grid": shader.grid, "wgsl": wgsl,
            }));
        }
    }
    if let Some((dispatch, kernel)) = tuned.unknown.first() {
        found.unknown(dispatch, *kernel, tuned.unknown.len())?;
    }
    if let Some(note) = found.note(&tuned, count) {
        text = format!("// {note}\n{text}");
    }
    let json = json!({
        "family": model.family, "adapter": whose, "tuning": found.json(&tuned), "shaders": shaders,
    });
    Ok(Report { text: text.trim_end().into(), json })
}
