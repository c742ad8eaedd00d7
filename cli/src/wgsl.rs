//! `wgsl`: the shader of a dispatch, as passed to the driver.

use super::args::WgslArgs;
use super::device_context::{FoundTuning, UsedTuning};
use super::{Failure, Report, device, load};
use rmnet::gpu::{Gpu, Tuned};
use rmnet::kernel::{self, Capabilities, Choice, Kernel, KernelError};
use rmnet::plan::{self, Dispatch, Plan, PlanTarget};
use rmnet::{Device, Error, rewrite};
use serde::Serialize;
use std::fmt;

pub fn wgsl(args: &WgslArgs) -> Result<Report, Failure> {
    let model = load(&args.model)?;
    let kept = |gpu| super::device_context::with_kept_self_tests(gpu, args.kept.cache.as_deref());
    let gpu = gpu(args)?.map(kept);
    let found = match (&gpu, &args.kept.tuning) {
        (None, Some(file)) if file.as_os_str() != "none" => {
            let file = file.display();
            return Err(Failure::usage(format!(
                "--tuning {file}: say with --adapter which adapter's shaders"
            )));
        }
        (None, _) => FoundTuning::default(),
        (Some(_), _) => FoundTuning::find(&args.kept)?,
    };
    let graph = rewrite::for_mode(&model.graph, rmnet::Mode::from(args.mode)).map_err(Failure::input)?.graph;
    let (batch, precision) = (args.batch as usize, args.precision.into());
    let target = gpu.as_ref().map_or_else(PlanTarget::default, Gpu::plan_target);
    let options = plan::PlanOptions { batch, target, precision, ..plan::PlanOptions::default() };
    let plan = plan::compile(&graph, &options).map_err(|e| Failure::from(&e))?;
    let chosen = chosen(args.dispatch.as_deref(), &plan)?;
    let mut tuned = Tuned::default();
    let mut shaders = vec![];
    for &i in &chosen {
        let before = tuned.dispatches;
        let kernel = match (&gpu, args.kernel) {
            (Some(gpu), None) => gpu.choose(&plan, i, &found.tuning, &mut tuned).map_err(Error::Gpu)?,
            (None, None) => select(&plan.dispatches[i])?,
            (gpu, Some(wanted)) => candidate(gpu.as_ref(), &plan, i, wanted)?,
        };
        shaders.extend(shaders_of(&plan, i, &kernel, tuned.dispatches > before));
    }
    if let Some((dispatch, kernel)) = tuned.unknown.first() {
        found.unknown(dispatch, *kernel, tuned.unknown.len())?;
    }
    Report::of(&WgslReport {
        family: &model.family,
        adapter: gpu.map_or_else(|| "any adapter".into(), |gpu| gpu.adapter().to_string()),
        tuning: found.used(&tuned, chosen.len()),
        shaders,
    })
}

/// The GPU whose shaders are printed; `None` for shaders that fit any adapter.
fn gpu(args: &WgslArgs) -> Result<Option<Gpu>, Failure> {
    let Some(text) = &args.adapter else { return Ok(None) };
    match device(Some(text))? {
        Device::Gpu(choice) => Ok(Some(Gpu::new(&choice).map_err(|e| Failure::from(Error::Gpu(e)))?)),
        Device::Auto => Ok(None),
        _ => Err(Failure::usage("--adapter cpu: the CPU executor has no shaders")),
    }
}

/// Indices of the requested dispatches, by name or index.
fn chosen(dispatch: Option<&str>, plan: &Plan) -> Result<Vec<usize>, Failure> {
    let Some(text) = dispatch else { return Ok((0..plan.dispatches.len()).collect()) };
    let named = plan.dispatches.iter().position(|d| d.name == text);
    let counted = || text.parse().ok().filter(|i| *i < plan.dispatches.len());
    let found = named.or_else(counted).ok_or_else(|| {
        let last = plan.dispatches.len() - 1;
        Failure::usage(format!("--dispatch {text}: expected a name that `rmnet plan` lists, or 0 to {last}"))
    })?;
    Ok(vec![found])
}

/// The failure for a dispatch without a kernel within the limits of every adapter.
fn refused(d: &Dispatch) -> impl Fn(KernelError) -> Failure {
    move |source| Failure { code: 4, ..Failure::input(format!("{}: {source}", d.name)) }
}

/// The static choice that fits any adapter.
fn select(d: &Dispatch) -> Result<Kernel, Failure> {
    kernel::select(&d.spec, &Capabilities::WEBGPU).map_err(refused(d))
}

/// The kernel that `--kernel` names.
fn candidate(gpu: Option<&Gpu>, plan: &Plan, i: usize, wanted: Choice) -> Result<Kernel, Failure> {
    let d = &plan.dispatches[i];
    let kernels = match gpu {
        Some(gpu) => gpu.candidates(plan, i).map_err(Error::Gpu)?,
        None => kernel::candidates(&d.spec, &Capabilities::WEBGPU).map_err(refused(d))?,
    };
    let known: Vec<String> = kernels.iter().map(|k| k.choice.to_string()).collect();
    kernels.into_iter().find(|k| k.choice == wanted).ok_or_else(|| {
        Failure::usage(format!("--kernel {wanted}: for {} there are {}", d.name, known.join(", ")))
    })
}

#[derive(Serialize)]
struct WgslReport<'a> {
    family: &'a str,
    /// The adapter whose shaders these are.
    adapter: String,
    tuning: Option<UsedTuning>,
    shaders: Vec<Shader<'a>>,
}

#[derive(Serialize)]
struct Shader<'a> {
    dispatch: usize,
    name: &'a str,
    kernel: Choice,
    entry: &'static str,
    grid: [u32; 3],
    wgsl: String,
    /// Its position, from 1, among the shaders of its kernel, and their number.
    #[serde(skip)]
    part: (usize, usize),
    /// Whether the kernel is a tuning's choice.
    #[serde(skip)]
    tuned: bool,
}

/// The shaders of a dispatch, in the order they run in.
fn shaders_of<'a>(
    plan: &'a Plan,
    i: usize,
    kernel: &Kernel,
    tuned: bool,
) -> impl Iterator<Item = Shader<'a>> {
    kernel.shaders.iter().enumerate().map(move |(n, shader)| Shader {
        dispatch: i,
        name: &plan.dispatches[i].name,
        kernel: kernel.choice,
        entry: shader.entry,
        grid: shader.grid,
        wgsl: shader.wgsl(),
        part: (n + 1, kernel.shaders.len()),
        tuned,
    })
}

impl fmt::Display for WgslReport<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(tuning) = &self.tuning {
            writeln!(f, "// {tuning}")?;
        }
        for Shader { dispatch, name, kernel, grid: [x, y, z], wgsl, part, tuned, .. } in &self.shaders {
            let part = match part {
                (_, 1) => String::new(),
                (n, of) => format!(" ({n} of {of})"),
            };
            let how = if *tuned { ", tuned" } else { "" };
            let whose = &self.adapter;
            writeln!(
                f,
                "// {dispatch} {name}: {kernel}{part}{how}, grid {x} x {y} x {z}, for {whose}\n{wgsl}"
            )?;
        }
        Ok(())
    }
}
