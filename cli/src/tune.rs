//! `tune`: times the kernels there are for every convolution of the model, and keeps the choice.

use super::args::TuneArgs;
use super::timed::ms;
use super::{
    Failure, Report, check_target, device, device_context, load, precision_note, terminal, unwritable,
};
use indicatif::{ProgressBar, ProgressStyle};
use rmnet::gpu::{self, Gpu, HardwareGpu, Tuning};
use rmnet::kernel;
use rmnet::tune::{Tune, TuneError, TunedConv};
use rmnet::{Device, Error, Options, prepare};
use serde_json::{Value, json};
use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::time::Duration;

pub fn tune(args: &TuneArgs) -> Result<Report, Failure> {
    let device = device(args.adapter.as_deref());
    if device == Device::Cpu {
        return Err(Failure::usage(
            "--adapter cpu: the CPU executor has no kernels to choose from: there is nothing to tune",
        ));
    }
    // Before minutes are spent: what cannot be written or merged.
    let file = target(args)?;
    kept(args, &file)?;
    if args.out.is_none() {
        device_context::make_folder(&file)
            .map_err(|e| Failure::input(format!("cannot make the folder of {}: {e}", file.display())))?;
        rmnet::output::try_write(&file).map_err(unwritable(&file))?;
    }
    let model = load(&args.model)?;
    let gpu = open(&device)?;
    let options =
        Options::default().batch(args.batch as usize).mode(args.mode.into()).precision(args.precision.into());
    let plan = prepare(&model, &options, gpu.plan_target())?.plan;
    let found = measure(&gpu, &plan)?;

    let mut tuning = kept(args, &file)?;
    tuning.merge(found.tuning(&gpu));
    tuning.write(&file).map_err(Failure::input)?;

    let shape = plan.input().shape;
    let mut text = format!(
        "{}, {} form{}, batch {}, {}x{}\non {} ({})\n",
        model.family,
        options.mode,
        precision_note(options.precision),
        options.batch,
        shape.height,
        shape.width,
        gpu.adapter(),
        gpu.adapter().driver
    );
    table(&found, &mut text);
    if gpu.capabilities().shares_buffers() && found.choices.iter().any(|c| c.chosen > 0) {
        text.push_str(
            "on this software adapter each kernel but the default is a shader of its own, which the driver compiles when it first\n\
             runs: a tuned start takes longer\n",
        );
    }
    let _ = write!(text, "kept in {}", file.display());
    let [default_total, total] = found.totals();
    let json = json!({
        "family": model.family, "device": gpu.adapter().to_string(), "driver": gpu.adapter().driver,
        "mode": options.mode.to_string(), "precision": options.precision.to_string(), "batch": options.batch,
        "input": [shape.channels, shape.height, shape.width], "gpu_time": found.gpu_time, "file": file.to_string_lossy(),
        "choices": found.choices.iter().map(choice_json).collect::<Vec<_>>(),
        "without_choice": found.without_choice, "default_total_ns": nanos(default_total), "total_ns": nanos(total),
    });
    Ok(Report { text, json })
}

/// The GPU to tune for: by default a hardware GPU, as other verbs run on no other without being asked.
fn open(device: &Device) -> Result<Gpu, Failure> {
    match device {
        Device::Gpu(choice) => Ok(Gpu::new(choice).map_err(Error::Gpu)?),
        _ => match Gpu::hardware().map_err(Error::Gpu)? {
            HardwareGpu::Open(gpu) => Ok(*gpu),
            HardwareGpu::Absent(passed_over) => {
                let found = if passed_over.is_empty() {
                    gpu::remedy().to_string()
                } else {
                    format!("passed over: {}", device_context::each(&passed_over))
                };
                let message =
                    format!("no hardware GPU found, and the CPU executor has nothing to tune; {found}");
                Err(Failure { code: 4, ..Failure::input(message) })
            }
        },
    }
}

/// The file that is written.
fn target(args: &TuneArgs) -> Result<PathBuf, Failure> {
    if let Some(file) = &args.out {
        check_target(file, &[&args.model.checkpoint])?;
        return Ok(file.clone());
    }
    device_context::stored(args.cache.as_deref()).ok_or_else(|| {
        Failure::usage("nothing is kept (--cache none, or no cache folder): name a file with -o FILE")
    })
}

/// What the file holds already. Another file than the program's own is not overwritten where it is something else.
fn kept(args: &TuneArgs, file: &Path) -> Result<Tuning, Failure> {
    match &args.out {
        Some(named) if named.exists() => Tuning::read(named).map_err(Failure::input),
        Some(_) => Ok(Tuning::default()),
        None => Ok(device_context::read_stored(file).unwrap_or_default()),
    }
}

/// Measures, with a bar on a terminal.
fn measure(gpu: &Gpu, plan: &rmnet::plan::CheckedPlan) -> Result<Tune, TuneError> {
    let bar = ProgressBar::new(0);
    if let Ok(style) = ProgressStyle::with_template("{bar:30} {pos}/{len} {msg}") {
        bar.set_style(style);
    }
    let found = rmnet::tune::tune(gpu, plan, |p| {
        bar.set_length(p.of as u64);
        bar.set_position(p.done as u64);
        bar.set_message(terminal::line(p.dispatch).into_owned());
    });
    bar.finish_and_clear();
    found
}

impl From<TuneError> for Failure {
    fn from(e: TuneError) -> Failure {
        match e {
            TuneError::Gpu(e) => Error::Gpu(e).into(),
            unsound => Failure { code: 5, ..Failure::input(unsound) },
        }
    }
}

fn table(found: &Tune, text: &mut String) {
    let _ = writeln!(
        text,
        "{} time of a dispatch, medians\n\n{:<38} {:<44} {:>9}  {:<44} {:>9} {:>7}",
        if found.gpu_time { "GPU" } else { "host" },
        "layer",
        "default",
        "ms",
        "chosen",
        "ms",
        "gain"
    );
    for c in &found.choices {
        let more = c.dispatches.len() - 1;
        let layer = match more {
            0 => c.dispatches[0].clone(),
            _ => format!("{} and {more} more", c.dispatches[0]),
        };
        let chosen = if c.chosen == 0 { "as default".into() } else { c.tried[c.chosen].kernel.to_string() };
        let _ = writeln!(
            text,
            "{layer:<38} {:<44} {:>9.3}  {chosen:<44} {:>9.3} {:>6.2}x",
            c.tried[0].kernel,
            ms(c.default_time()),
            ms(c.chosen_time()),
            gain(c.default_time(), c.chosen_time()),
        );
    }
    let [default, chosen] = found.totals();
    let _ = writeln!(
        text,
        "{:<38} {:<44} {:>9.3}  {:<44} {:>9.3} {:>6.2}x",
        "of a run, these together",
        "",
        ms(default),
        "",
        ms(chosen),
        gain(default, chosen)
    );
    for (layer, kernel, why) in refused(found) {
        let _ = writeln!(text, "refused: `{kernel}` for {layer}: {why}");
    }
    if found.without_choice > 0 {
        let _ = writeln!(text, "{} more dispatches have one kernel each", found.without_choice);
    }
}

/// Kernels that may not win: layer, kernel, reason.
fn refused(found: &Tune) -> impl Iterator<Item = (&str, kernel::Choice, &str)> {
    found.choices.iter().flat_map(|c| {
        c.tried.iter().filter_map(|t| {
            let why = t.outcome.as_ref().err()?;
            Some((c.dispatches[0].as_str(), t.kernel, why.as_str()))
        })
    })
}

fn choice_json(c: &TunedConv) -> Value {
    let tried: Vec<Value> = c
        .tried
        .iter()
        .map(|t| match &t.outcome {
            Ok(time) => json!({ "kernel": t.kernel, "time_ns": nanos(*time) }),
            Err(why) => json!({ "kernel": t.kernel, "refused": why }),
        })
        .collect();
    json!({
        "dispatches": c.dispatches, "spec": c.spec.key(), "default": c.tried[0].kernel,
        "default_ns": nanos(c.default_time()), "kernel": c.tried[c.chosen].kernel, "time_ns": nanos(c.chosen_time()),
        "tried": tried,
    })
}

fn gain(before: Duration, now: Duration) -> f64 {
    before.as_secs_f64() / now.as_secs_f64().max(1e-9)
}

fn nanos(time: Duration) -> u64 {
    time.as_nanos() as u64
}
