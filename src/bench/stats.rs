//! Statistics of repeated timings.

use serde::Serialize;
use std::time::Duration;

/// Order statistics of times.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Stats {
    /// How many there are.
    pub count: usize,
    /// The shortest.
    #[serde(rename = "min_ns", serialize_with = "nanoseconds")]
    pub min: Duration,
    /// The mean.
    #[serde(rename = "mean_ns", serialize_with = "nanoseconds")]
    pub mean: Duration,
    /// The median.
    #[serde(rename = "p50_ns", serialize_with = "nanoseconds")]
    pub p50: Duration,
    /// 90th percentile.
    #[serde(rename = "p90_ns", serialize_with = "nanoseconds")]
    pub p90: Duration,
    /// 99th percentile.
    #[serde(rename = "p99_ns", serialize_with = "nanoseconds")]
    pub p99: Duration,
}

/// A time in JSON.
pub(super) fn nanoseconds<S: serde::Serializer>(time: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_u64(time.as_nanos() as u64)
}

/// Times in JSON.
pub(super) fn all_nanoseconds<S: serde::Serializer>(
    times: &[Duration],
    serializer: S,
) -> Result<S::Ok, S::Error> {
    serializer.collect_seq(times.iter().map(|t| t.as_nanos() as u64))
}

impl Stats {
    /// Statistics by nearest rank; `None` if there are no times.
    pub fn of(times: &[Duration]) -> Option<Stats> {
        let mut sorted = times.to_vec();
        sorted.sort();
        let (&min, count) = (sorted.first()?, sorted.len());
        let rank = |percent: usize| sorted[(percent * count).div_ceil(100).max(1) - 1];
        let mean = sorted.iter().sum::<Duration>() / count as u32;
        Some(Stats { count, min, mean, p50: rank(50), p90: rank(90), p99: rank(99) })
    }
}

/// Median of the last third divided by the median of the first third. 1.0 means no drift; a machine that warms up, throttles or
/// becomes busy drifts. `None` for fewer than three times.
pub fn drift(times: &[Duration]) -> Option<f64> {
    let third = times.len() / 3;
    let first = Stats::of(&times[..third])?.p50;
    let last = Stats::of(&times[times.len() - third..])?.p50;
    Some(last.as_secs_f64() / first.as_secs_f64())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ms(values: impl IntoIterator<Item = u64>) -> Vec<Duration> {
        values.into_iter().map(Duration::from_millis).collect()
    }

    #[test]
    fn ranks_are_the_nearest() {
        let stats = Stats::of(&ms((1..=200).rev())).unwrap();
        let expected = [1, 100, 180, 198].map(Duration::from_millis);
        assert_eq!([stats.min, stats.p50, stats.p90, stats.p99], expected);
        assert_eq!((stats.count, stats.mean), (200, Duration::from_micros(100_500)));
        let one = Stats::of(&ms([7])).unwrap();
        assert_eq!([one.min, one.p50, one.p99], [Duration::from_millis(7); 3]);
        assert_eq!(Stats::of(&[]), None);
    }

    #[test]
    fn drift_is_last_over_first() {
        assert_eq!(drift(&ms([10, 10, 99, 99, 20, 20])), Some(2.0));
        assert_eq!(drift(&ms([10, 10])), None);
    }
}
