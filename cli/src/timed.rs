//! The common part of `bench` and `profile`: a session with a random input, and its startup times.

use super::args::TimedArgs;
use super::device_context::{DeviceContext, UsedTuning};
use super::merge::{self, Merge};
use super::passed_over::Skipped;
use super::report::as_text;
use super::{Failure, load, precision_note};
use rmnet::bench::Repeat;
use rmnet::models::Model;
use rmnet::{Mode, Precision, Session};
use serde::Serialize;
use std::fmt;
use std::time::{Duration, Instant};

/// A session with the times of its setup.
pub struct Timed {
    model: Model,
    pub session: Session,
    device_context: DeviceContext,
    /// Seeded noise, one batch.
    pub input: Vec<f32>,
    merge: Merge,
    /// Time from the file to the network.
    pub load: Duration,
    /// Time of rewriting, planning, opening the device, and the phases in [`Session::startup`].
    pub open: Duration,
    /// Time of the first run.
    pub first_run: Duration,
}

impl Timed {
    pub fn new(args: &TimedArgs) -> Result<Timed, Failure> {
        let start = Instant::now();
        let model = load(&args.model)?;
        let load = start.elapsed();
        let start = Instant::now();
        let device_context = DeviceContext::open(&args.device)?;
        let mut open = start.elapsed();
        let options = device_context.options().batch(args.batch as usize).mode(args.mode.into());
        let merge = merge::decide(args.merge, &model, &options)?;
        let start = Instant::now();
        let session = device_context.session(&model, &options.merge(merge.merged))?;
        open += start.elapsed();
        let input = super::verify::noise(session.input_len(), 1);
        let start = Instant::now();
        session.run(&input)?;
        let first_run = start.elapsed();
        device_context.keep_shaders();
        Ok(Timed { model, session, device_context, input, merge, load, open, first_run })
    }

    /// The part of the report that says what the figures are of.
    pub fn about(&self, args: &TimedArgs) -> About<'_> {
        let [batch, channels, height, width] = self.session.input_shape();
        About {
            family: &self.model.family,
            device: self.session.device_name(),
            driver: self.session.driver(),
            mode: args.mode.into(),
            precision: args.device.precision.into(),
            merge: &self.merge,
            batch,
            input: [channels, height, width],
            dispatches: self.session.plan().dispatches.len(),
            macs: self.session.plan().macs(),
            tuning: self.device_context.tuning(&self.session),
            passed_over: self.device_context.passed_over(),
        }
    }
}

/// The part of a report that says what its figures are of.
#[derive(Serialize)]
pub struct About<'a> {
    family: &'a str,
    device: String,
    driver: Option<&'a str>,
    #[serde(serialize_with = "as_text")]
    mode: Mode,
    #[serde(serialize_with = "as_text")]
    precision: Precision,
    pub merge: &'a Merge,
    batch: usize,
    /// `[channels, height, width]`
    input: [usize; 3],
    dispatches: usize,
    macs: usize,
    tuning: Option<UsedTuning>,
    passed_over: Vec<Skipped>,
}

impl fmt::Display for About<'_> {
    /// Several lines, the last without its newline.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let About { family, mode, batch, input: [_, height, width], device, .. } = self;
        let precision = precision_note(self.precision);
        write!(f, "{family}, {mode} form, batch {batch}, {height}x{width}{precision}\non {device}")?;
        if let Some(driver) = self.driver {
            write!(f, " ({driver})")?;
        }
        if let Some(tuning) = &self.tuning {
            write!(f, "\n{tuning}")?;
        }
        Ok(())
    }
}

impl TimedArgs {
    pub fn measured(&self) -> Repeat {
        Repeat { runs: self.runs as usize, time: Duration::from_secs_f64(self.seconds) }
    }
}

/// Milliseconds.
pub fn ms(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}
