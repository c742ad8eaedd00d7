//! `verify`: the certificate that removal kept the function, in f64 and on the device.

use super::args::VerifyArgs;
use super::{Failure, Report, check_target, device, inspect, load};
use rmnet::models::Model;
use rmnet::rewrite::{self, Rewritten};
use rmnet::verify::{self, BlockOutcome, Difference, LayerCheck};
use rmnet::{Mode, Options, Session};
use serde_json::json;
use std::collections::HashMap;
use std::fmt::Write;

pub fn verify(args: &VerifyArgs) -> Result<Report, Failure> {
    if let Some(path) = &args.certificate {
        check_target(path, &[&args.model.checkpoint])?;
    }
    let model = load(&args.model)?;
    let rewritten = rewrite::for_mode(&model.graph, Mode::Structured).map_err(Failure::input)?;
    let input = noise(model.graph.input_shape().len(), args.seed);
    let wide: Vec<f64> = input.iter().map(|v| f64::from(*v)).collect();

    let on_device = match args.no_device {
        true => None,
        false => Some(run(args, &model, &rewritten, &input)?),
    };
    let kept = on_device.as_ref().map(|d| d.blocks.clone()).unwrap_or_default();
    let expected = verify::expected(&model.graph, &rewritten.blocks, &wide, 1);
    let (blocks, logits) = verify::check_blocks(&rewritten, &expected, &wide, 1, &kept);

    let mut text = format!("{}, input {}, seed {}\n", model.family, model.graph.input_shape(), args.seed);
    if let Some(d) = &on_device {
        let _ = writeln!(text, "device: {}", d.name);
    }
    let _ = writeln!(
        text,
        "\n{:<36} {:<8} {:>10} {:>10}  {:>10}",
        "block", "residual", "f64 abs", "f64 rel", "device rel"
    );
    let mut failures = vec![];
    let f64_bound = verify::f64_bound(&rewritten);
    for b in &blocks {
        let outcome = match &b.outcome {
            BlockOutcome::Removed => "removed",
            BlockOutcome::Summed => "summed",
            BlockOutcome::Kept { .. } => "kept",
        };
        let on = b.executor.map_or_else(|| "-".into(), |d| format!("{:.1e}", d.relative));
        let _ = writeln!(
            text,
            "{:<36} {outcome:<8} {:>10.1e} {:>10.1e}  {on:>10}",
            b.block, b.f64.max_abs, b.f64.relative
        );
        if over(b.f64, f64_bound) {
            failures.push(format!("{}: f64 difference {:.1e}", b.block, b.f64.relative));
        }
    }
    let device_logits = on_device
        .as_ref()
        .map(|d| Difference::between(d.logits.iter().map(|v| f64::from(*v)), &expected.logits));
    let on = device_logits.map_or_else(|| "-".into(), |d| format!("{:.1e}", d.relative));
    let _ = writeln!(
        text,
        "{:<36} {:<8} {:>10.1e} {:>10.1e}  {on:>10}",
        "logits", "", logits.max_abs, logits.relative
    );
    if over(logits, f64_bound) {
        failures.push(format!("logits: f64 difference {:.1e}", logits.relative));
    }
    if let Some(d) = device_logits.filter(|d| over(*d, verify::F32_LOGITS_BOUND)) {
        failures.push(format!("logits on the device: difference {:.1e}", d.relative));
    }
    let layers = on_device.as_ref().and_then(|d| d.layers.as_ref());
    if let Some(layers) = layers {
        let _ = writeln!(
            text,
            "\n{:<36} {:>10} {:>10}",
            "layer on the device, on its own input", "abs", "of bound"
        );
        for l in layers {
            let _ = writeln!(text, "{:<36} {:>10.1e} {:>10.3}", l.layer, l.max_abs, l.of_bound);
        }
        if let Some(first) = layers.iter().find(|l| !l.passed()) {
            failures
                .push(format!("first layer over its bound: {} ({:.1} times)", first.layer, first.of_bound));
        }
    }
    if rewritten.deviation > 0.0 {
        let _ = writeln!(text, "\n{}", inspect::near_dirac(&rewritten));
    }
    let verdict = if failures.is_empty() { "verified" } else { "FAILED" };
    let _ = write!(
        text,
        "\n{verdict}: f64 bound {:e} per block, f32 logits bound {:e}",
        f64_bound,
        verify::F32_LOGITS_BOUND
    );
    let certificate = json!({
        "family": model.family, "verified": failures.is_empty(), "failures": failures, "seed": args.seed,
        "f64_bound": f64_bound, "deviation": rewritten.deviation, "f32_logits_bound": verify::F32_LOGITS_BOUND,
        "device": on_device.as_ref().map(|d| d.name.clone()), "blocks": blocks, "logits_f64": logits,
        "logits_device": device_logits, "layers": layers,
    });
    if let Some(path) = &args.certificate {
        let pretty = serde_json::to_string_pretty(&certificate).map_err(Failure::input)?;
        std::fs::write(path, pretty + "\n")
            .map_err(|e| Failure::input(format!("cannot write {}: {e}", path.display())))?;
    }
    if failures.is_empty() {
        return Ok(Report { text, json: certificate });
    }
    Err(Failure { code: 5, message: failures.join("; "), report: Some((text, certificate)) })
}

fn over(d: Difference, bound: f64) -> bool {
    d.relative.is_nan() || d.relative > bound
}

struct OnDevice {
    name: String,
    /// By the node of the rewritten graph.
    blocks: HashMap<String, Vec<f32>>,
    logits: Vec<f32>,
    layers: Option<Vec<LayerCheck>>,
}

/// The logits of the plan that is used, and values of one that keeps them: block ends, or every layer.
fn run(args: &VerifyArgs, model: &Model, rewritten: &Rewritten, input: &[f32]) -> Result<OnDevice, Failure> {
    let options = Options {
        device: device(args.device.adapter.as_deref()),
        safe_shaders: args.device.safe_shaders,
        ..Options::default()
    };
    let session = Session::new(model, &options)?;
    let logits = session.run(input)?;
    let graph = &rewritten.graph;
    let keep: Vec<String> = match args.bisect {
        true => graph.nodes()[1..].iter().map(|n| n.name.clone()).collect(),
        false => rewritten.blocks.iter().map(|b| b.output.clone()).collect(),
    };
    let keeping = Session::new(model, &Options { keep: keep.clone(), ..options })?;
    keeping.run(input)?;
    let values: HashMap<String, Vec<f32>> =
        keep.into_iter().map(|n| Ok((n.clone(), keeping.read_kept(&n)?))).collect::<Result<_, Failure>>()?;
    let layers = args.bisect.then(|| verify::check_layers(graph, input, 1, &values, |n| keeping.rounding(n)));
    Ok(OnDevice { name: session.device_name(), blocks: values, logits, layers })
}

/// Uniform values of unit variance (SplitMix64).
pub fn noise(len: usize, seed: u64) -> Vec<f32> {
    let mut state = seed;
    let mut next = || {
        state = state.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = state;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        ((z ^ (z >> 31)) >> 40) as f32 / (1u32 << 23) as f32 - 1.0
    };
    (0..len).map(|_| next() * 3f32.sqrt()).collect()
}
