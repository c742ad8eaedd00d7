//! What `bench` and `profile` share: a session for an input of noise, and how its making went.

use super::args::TimedArgs;
use super::{Failure, device, load, merge, precision_note};
use rmnet::bench::Repeat;
use rmnet::models::Model;
use rmnet::{Options, Session};
use serde_json::{Value, json};
use std::time::{Duration, Instant};

/// A session with the times of its making.
pub struct Timed {
    pub model: Model,
    pub session: Session,
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
        let mut options = Options {
            batch: args.batch as usize,
            mode: args.mode.into(),
            device: device(args.device.adapter.as_deref()),
            precision: args.device.precision.into(),
            safe_shaders: args.device.safe_shaders,
            ..Options::default()
        };
        let merge = merge::decide(args.merge, &model, &options)?;
        options.merge = merge.merge;
        let start = Instant::now();
        let session = Session::new(&model, &options)?;
        let open = start.elapsed();
        let input = super::verify::noise(session.input_len(), 1);
        let start = Instant::now();
        session.run(&input)?;
        let first_run = start.elapsed();
        Ok(Timed { model, session, input, merge, load, open, first_run })
    }

    /// What the figures are of.
    pub fn about(&self, args: &TimedArgs) -> Value {
        let [batch, channels, height, width] = self.session.input_shape();
        json!({
            "family": self.model.family, "device": self.session.device_name(), "driver": self.session.driver(),
            "mode": rmnet::Mode::from(args.mode).to_string(), "precision": rmnet::Precision::from(args.device.precision).to_string(),
            "merge": self.merge.json, "batch": batch,
            "input": [channels, height, width], "dispatches": self.session.plan().dispatches.len(),
            "macs": self.session.plan().macs(),
        })
    }

    /// One line on what the figures are of.
    pub fn title(&self, args: &TimedArgs) -> String {
        let [batch, _, height, width] = self.session.input_shape();
        format!(
            "{}, {} form, batch {batch}, {height}x{width}{}\non {}{}",
            self.model.family,
            rmnet::Mode::from(args.mode),
            precision_note(args.device.precision.into()),
            self.session.device_name(),
            self.session.driver().map_or(String::new(), |d| format!(" ({d})")),
        )
    }
}

impl TimedArgs {
    pub fn measured(&self) -> Repeat {
        Repeat { runs: self.runs as usize, time: Duration::from_secs(self.seconds.into()) }
    }
}

pub fn ms(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}
