//! Times of frames.

use std::fmt;
use std::time::{Duration, Instant};

/// Frames that are kept: the first ones.
const KEPT: usize = 100_000;

/// Times from frame to frame, and of the app's thread within each.
#[derive(Default)]
pub struct FrameTimes {
    last: Option<Instant>,
    between: Vec<Duration>,
    own: Vec<Duration>,
}

impl FrameTimes {
    /// Adds a frame that was presented now, for which the app's thread worked for `own`.
    pub fn add(&mut self, own: Duration) {
        let now = Instant::now();
        if self.own.len() == KEPT {
            return;
        }
        if let Some(last) = self.last.replace(now) {
            self.between.push(now - last);
        }
        self.own.push(own);
    }
}

impl fmt::Display for FrameTimes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let line = |name: &str, times: &[Duration]| {
            let mut times = times.to_vec();
            times.sort();
            let ms = |share: usize| times.get(times.len().saturating_sub(1) * share / 100).map_or(0.0, as_ms);
            format!("{name} median {:.2} ms, 99 % within {:.2} ms", ms(50), ms(99))
        };
        writeln!(f, "{}", line("from frame to frame:", &self.between))?;
        write!(f, "{}", line("work of the app's thread:", &self.own))
    }
}

fn as_ms(time: &Duration) -> f64 {
    time.as_secs_f64() * 1e3
}
