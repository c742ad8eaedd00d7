//! Measuring: on every device, figures that fit each other, and a profile that covers the plan.

mod common;

use common::{devices, fixtures};
use rmnet::bench::{self, Repeat};
use rmnet::{Options, Session};
use std::time::Duration;

const FEW: Repeat = Repeat { runs: 3, time: Duration::ZERO };

#[test]
fn warm_figures_fit_each_other() {
    let f = fixtures::load("tests/fixtures/tv_basic_odd_widths");
    for (name, device) in devices() {
        let options = Options::default().batch(f.batch).device(device);
        let session = Session::new(&f.model, &options).unwrap();
        let warm = bench::warm(&session, &f.input, FEW, FEW).unwrap();
        let all = warm.end_to_end;
        assert_eq!((all.count, warm.runs.len()), (3, 3), "{name}");
        assert_eq!(Some(&all.min), warm.runs.iter().min(), "{name}");
        assert!(all.min > Duration::ZERO && all.min <= all.p50 && all.p50 <= all.p90 && all.p90 <= all.p99);
        assert!(warm.wait.min <= all.p99, "{name}");
        let rate = f.batch as f64 / all.p50.as_secs_f64();
        assert!((warm.images_per_second / rate - 1.0).abs() < 1e-9, "{name}");
        assert_eq!(warm.gpu.is_some(), session.is_on_gpu(), "{name}: both software drivers have timestamps");
        if let Some(gpu) = warm.gpu {
            assert!(gpu.min > Duration::ZERO && warm.flops > 0.0, "{name}");
        }
    }
}

#[test]
fn a_profile_covers_the_plan_in_order() {
    let f = fixtures::load("tests/fixtures/tv_basic_odd_widths");
    for (name, device) in devices() {
        let options = Options::default().batch(f.batch).device(device);
        let session = Session::new(&f.model, &options).unwrap();
        let profile = bench::profile(&session, &f.input, FEW).unwrap();
        let plan = session.plan();
        let names: Vec<&str> = profile.dispatches.iter().map(|d| d.name.as_str()).collect();
        assert_eq!(names, plan.dispatches.iter().map(|d| d.name.as_str()).collect::<Vec<_>>(), "{name}");
        assert_eq!(profile.dispatches.iter().map(|d| d.macs).sum::<usize>(), plan.macs(), "{name}");
        assert!(profile.dispatches.is_sorted_by_key(|d| d.begin), "{name}");
        assert!(
            profile.peak.flops > 1e7 && profile.peak.bytes_per_second > 1e6,
            "{name}: {:?}",
            profile.peak
        );
        let events = profile.trace()["traceEvents"].as_array().unwrap().len();
        assert_eq!(events, plan.dispatches.len() + 2, "{name}");
        // The run that was profiled left the right values behind.
        assert_eq!(session.run(&f.input).unwrap(), session.run(&f.input).unwrap(), "{name}");
    }
}
