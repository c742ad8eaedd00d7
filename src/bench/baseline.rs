//! Compares a report with an earlier one.

use serde_json::Value;

/// One figure of two reports.
#[derive(Clone, Debug, PartialEq)]
pub struct Comparison {
    /// Path of the figure in the report, joined with dots.
    pub figure: &'static str,
    /// Earlier, in nanoseconds.
    pub before: u64,
    /// Now.
    pub now: u64,
}

impl Comparison {
    /// Now over before.
    pub fn ratio(&self) -> f64 {
        self.now as f64 / self.before as f64
    }
}

/// Keys whose values must be equal for two reports to be comparable.
const SAME: [&str; 7] = ["family", "device", "mode", "precision", "batch", "input", "schema_version"];

/// The figures that are compared: medians, and the shortest times, which noise moves least.
const FIGURES: [&str; 4] =
    ["warm.end_to_end.p50_ns", "warm.end_to_end.min_ns", "warm.gpu.p50_ns", "warm.gpu.min_ns"];

/// Compares two JSON reports of `rmnet bench`.
///
/// # Errors
/// Names the key that is missing or that differs between the reports.
pub fn compare(before: &Value, now: &Value) -> Result<Vec<Comparison>, String> {
    for key in SAME {
        if before.get(key) != now.get(key) {
            let show = |v: &Value| v.get(key).map_or("nothing".into(), Value::to_string);
            return Err(format!("`{key}`: expected {} as now, found {}", show(now), show(before)));
        }
    }
    let at = |report: &Value, path: &str| {
        path.split('.').try_fold(report.clone(), |v, key| v.get(key).cloned()).and_then(|v| v.as_u64())
    };
    let mut found = vec![];
    for figure in FIGURES {
        match (at(before, figure), at(now, figure)) {
            (Some(before), Some(now)) if before > 0 => found.push(Comparison { figure, before, now }),
            (None, None) => {}
            _ => return Err(format!("`{figure}`: expected a time in both reports")),
        }
    }
    match found.is_empty() {
        true => Err("no time to compare".into()),
        false => Ok(found),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn report(p50: u64) -> Value {
        let stats = json!({ "p50_ns": p50, "min_ns": p50 / 2 });
        json!({ "family": "f", "device": "d", "mode": "m", "batch": 1, "input": [3, 4, 4], "schema_version": 1,
            "warm": { "end_to_end": stats, "gpu": null } })
    }

    #[test]
    fn figures_of_one_thing_are_compared() {
        let found = compare(&report(100), &report(150)).unwrap();
        assert_eq!(found.len(), 2);
        assert_eq!((found[0].figure, found[0].ratio()), ("warm.end_to_end.p50_ns", 1.5));
    }

    #[test]
    fn reports_of_different_things_are_refused() {
        let mut other = report(100);
        other["device"] = json!("e");
        assert!(compare(&other, &report(100)).unwrap_err().contains("`device`"));
        let mut cut = report(100);
        cut["warm"] = json!({});
        assert!(compare(&cut, &report(100)).unwrap_err().contains("warm.end_to_end.p50_ns"));
    }
}
