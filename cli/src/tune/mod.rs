//! `tune`: times all kernels of every convolution of the model, and stores the choice.

mod report;

use super::args::TuneArgs;
use super::{Failure, Report, check_target, device, device_context, load, passed_over, terminal, unwritable};
use indicatif::{ProgressBar, ProgressStyle};
use report::{Chosen, TuneReport};
use rmnet::gpu::{self, Gpu, HardwareGpu, Tuning};
use rmnet::tune::{Tune, TuneError};
use rmnet::{Device, Error, Options, prepare};
use std::path::{Path, PathBuf};

pub fn tune(args: &TuneArgs) -> Result<Report, Failure> {
    let device = device(args.adapter.as_deref())?;
    if device == Device::Cpu {
        return Err(Failure::usage(
            "--adapter cpu: the CPU executor has no kernels to choose from: there is nothing to tune",
        ));
    }
    // Checked before minutes are spent: whether the file can be written and merged.
    let file = target(args)?;
    kept(args, &file)?;
    if args.out.is_none() {
        device_context::make_folder(&file)
            .map_err(|e| Failure::input(format!("cannot make the folder of {}: {e}", file.display())))?;
        rmnet::output::try_write(&file).map_err(unwritable(&file))?;
    }
    let model = load(&args.model)?;
    let gpu = device_context::with_kept_self_tests(open(&device)?, args.cache.as_deref());
    let options =
        Options::default().batch(args.batch as usize).mode(args.mode.into()).precision(args.precision.into());
    let plan = prepare(&model, &options, gpu.plan_target())?.plan;
    let found = measure(&gpu, &plan)?;

    let mut tuning = kept(args, &file)?;
    tuning.merge(found.tuning(&gpu));
    tuning.write(&file).map_err(Failure::input)?;

    let shape = plan.input().shape;
    let [default_total, total] = found.totals();
    Report::of(&TuneReport {
        family: &model.family,
        device: gpu.adapter().to_string(),
        driver: &gpu.adapter().driver,
        mode: options.mode,
        precision: options.precision,
        batch: options.batch,
        input: [shape.channels, shape.height, shape.width],
        gpu_time: found.gpu_time,
        file: file.to_string_lossy().into_owned(),
        choices: found.choices.iter().map(Chosen::of).collect(),
        without_choice: found.without_choice,
        default_total,
        total,
        slower_start: gpu.capabilities().shares_buffers() && found.choices.iter().any(|c| c.chosen > 0),
    })
}

/// The GPU to tune for. The default is a hardware GPU, the only kind that other verbs use unasked.
fn open(device: &Device) -> Result<Gpu, Failure> {
    match device {
        Device::Gpu(choice) => Ok(Gpu::new(choice).map_err(Error::Gpu)?),
        _ => match Gpu::hardware().map_err(Error::Gpu)? {
            HardwareGpu::Open(gpu) => Ok(*gpu),
            HardwareGpu::Absent(passed_over) => {
                let found = if passed_over.is_empty() {
                    gpu::remedy().to_string()
                } else {
                    format!("passed over: {}", passed_over::each(&passed_over))
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

/// The current content of the file. An existing `--out` file that is not a tuning is an error, so it is not overwritten.
fn kept(args: &TuneArgs, file: &Path) -> Result<Tuning, Failure> {
    match &args.out {
        Some(named) if named.exists() => Tuning::read(named).map_err(Failure::input),
        Some(_) => Ok(Tuning::default()),
        None => Ok(device_context::read_stored(file).unwrap_or_default()),
    }
}

/// Measures, with a progress bar on a terminal.
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
