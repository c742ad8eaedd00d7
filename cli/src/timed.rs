//! The common part of `bench` and `profile`: a session with a random input, and its startup times.

use super::args::TimedArgs;
use super::device_context::DeviceContext;
use super::{Failure, load, merge, precision_note};
use rmnet::Session;
use rmnet::bench::Repeat;
use rmnet::models::Model;
use serde_json::{Value, json};
use std::time::{Duration, Instant};

/// A session with the times of its making.
pub struct Timed {
    pub model: Model,
    pub session: Session,
    pub device_context: DeviceContext,
    /// Seeded noise, one batch.
    pub input: Vec<f32>,
    pub merge: merge::Merge,
    /// From the file to the network.
    pub load: Duration,
    /// Rewriting, planning, opening the device, and what [`Session::startup`] tells apart.
    pub open: Duration,
    /// The first run.
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
        let session = device_context.session(&model, &options.merge(merge.merge))?;
        open += start.elapsed();
        let input = super::verify::noise(session.input_len(), 1);
        let start = Instant::now();
        session.run(&input)?;
        let first_run = start.elapsed();
        device_context.keep_shaders();
        Ok(Timed { model, session, device_context, input, merge, load, open, first_run })
    }

    /// What the figures are of.
    pub fn about(&self, args: &TimedArgs) -> Value {
        let [batch, channels, height, width] = self.session.input_shape();
        json!({
            "family": self.model.family, "device": self.session.device_name(), "driver": self.session.driver(),
            "mode": rmnet::Mode::from(args.mode).to_string(), "precision": rmnet::Precision::from(args.device.precision).to_string(),
            "merge": self.merge.json, "batch": batch,
            "input": [channels, height, width], "dispatches": self.session.plan().dispatches.len(),
            "macs": self.session.plan().macs(), "tuning": self.device_context.tuning_json(&self.session),
            "passed_over": self.device_context.passed_over_json(),
        })
    }

    /// One line on what the figures are of.
    pub fn title(&self, args: &TimedArgs) -> String {
        let [batch, _, height, width] = self.session.input_shape();
        format!(
            "{}, {} form, batch {batch}, {height}x{width}{}\non {}{}{}",
            self.model.family,
            rmnet::Mode::from(args.mode),
            precision_note(args.device.precision.into()),
            self.session.device_name(),
            self.session.driver().map_or(String::new(), |d| format!(" ({d})")),
            self.device_context.tuning_note(&self.session).map_or(String::new(), |note| format!("\n{note}")),
        )
    }
}

impl TimedArgs {
    pub fn measured(&self) -> Repeat {
        Repeat { runs: self.runs as usize, time: Duration::from_secs_f64(self.seconds) }
    }
}

pub fn ms(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}
