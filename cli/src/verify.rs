//! `verify`: the certificate that removal kept the function, in f64 and on the device, and that a precision holds it.

use super::args::VerifyArgs;
use super::device_context::DeviceContext;
use super::image_input::Inputs;
use super::{Failure, Report, assumed, check_target, inspect, load_at, precision_note, write};
use rmnet::memory;
use rmnet::models::Model;
use rmnet::plan::Values;
use rmnet::rewrite::{self, Rewritten};
use rmnet::verify::{self, BlockCheck, BlockOutcome, Difference, LayerCheck, LayerRange, LogitsBound};
use rmnet::{Error, Mode, Precision};
use serde_json::{Value, json};
use std::collections::HashMap;
use std::fmt::Write;

pub fn verify(args: &VerifyArgs) -> Result<Report, Failure> {
    if let Some(path) = &args.certificate {
        let read = args.inputs.iter().chain([&args.model.checkpoint]);
        check_target(path, &read.map(|p| p.as_path()).collect::<Vec<_>>())?;
    }
    let inputs = Inputs::open(&args.inputs, None)?;
    let size = if args.inputs.is_empty() { args.model.size } else { inputs.size(args.model.size)? };
    let model = load_at(&args.model, size)?;
    let rewritten = rewrite::for_mode(&model.graph, Mode::Structured).map_err(Failure::input)?;
    let shape = model.graph.input_shape();
    let (input, batch) = match args.inputs.is_empty() {
        true => {
            memory::ask("a run in f64", verify::bytes(&model.graph, &rewritten, 1)).map_err(Error::from)?;
            (noise(shape.len(), args.seed), 1)
        }
        false => {
            let (batch, values) = inputs.batches(shape, &model.preprocess, args.exif.into())?.read_all()?;
            memory::ask("a run in f64", verify::bytes(&model.graph, &rewritten, batch))
                .map_err(Error::from)?;
            (values, batch)
        }
    };
    let wide: Vec<f64> = input.iter().map(|v| f64::from(*v)).collect();
    let precision = Precision::from(args.device.precision);
    let held = Held::new(&rewritten, &wide, batch, precision);

    // What overflows in f64 does on the device, which then gives no logits.
    let on_device = match args.no_device || held.over().next().is_some() {
        true => None,
        false => Some(run(args, &model, &rewritten, &input, batch)?),
    };
    let kept = on_device.as_ref().map(|d| d.blocks.clone()).unwrap_or_default();
    let expected = verify::expected(&model.graph, &rewritten.blocks, &wide, batch);
    let (blocks, logits) = verify::check_blocks(&rewritten, &expected, &wide, batch, &kept);

    let of = match args.inputs.is_empty() {
        true => format!("seed {}", args.seed),
        false => format!("batch {batch}"),
    };
    let mut text = format!("{}, input {shape}, {of}\n", model.family);
    text += &assumed::text(&model);
    if let Some(d) = &on_device {
        let _ = writeln!(text, "device: {}{}", d.name, precision_note(precision));
        if let Some(note) = &d.tuning_note {
            let _ = writeln!(text, "{note}");
        }
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
    let bound = held.logits.map_or(verify::F32_LOGITS_BOUND, |l| l.bound);
    if let Some(d) = device_logits.filter(|d| over(*d, bound)) {
        failures.push(format!("logits on the device: difference {:.1e}, bound {bound:.1e}", d.relative));
    }
    let overflows = |b: &&BlockCheck| b.executor.is_some_and(|d| !d.max_abs.is_finite());
    if let Some(first) = blocks.iter().find(overflows) {
        failures.push(format!(
            "{}: the first block that is not finite on the device, {precision} overflows in it",
            first.block
        ));
    }
    held.print(&mut text);
    let over_range: Vec<&LayerRange> = held.over().collect();
    if let Some(first) = over_range.first() {
        let more = match over_range.len() - 1 {
            0 => String::new(),
            more => format!(", and {more} more layers (marked above)"),
        };
        failures.push(format!(
            "{}: values up to {:.4e} on this input, {precision} ends at 65504{more}",
            first.layer, first.largest
        ));
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
    let _ = write!(text, "\n{verdict}: f64 bound {f64_bound:e} per block");
    let rests = model.assumed.iter().any(|a| !a.stated);
    if device_logits.is_some() {
        let _ = write!(text, ", {precision} logits bound {bound:.2e}");
    }
    if rests {
        text += "; of the network with what is assumed above, which no tensor can prove";
    }
    let certificate = json!({
        "family": model.family, "assumed": assumed::json(&model), "ignored": model.ignored, "verified": failures.is_empty(), "failures": failures, "seed": args.seed,
        "f64_bound": f64_bound, "deviation": rewritten.deviation, "f32_logits_bound": verify::F32_LOGITS_BOUND,
        "batch": batch, "precision": precision.to_string(), "logits_bound": bound, "logits_bound_parts": held.logits,
        "ranges": held.ranges,
        "device": on_device.as_ref().map(|d| d.name.clone()), "blocks": blocks, "logits_f64": logits,
        "logits_device": device_logits, "layers": layers,
        "tuning": on_device.as_ref().map_or(&Value::Null, |d| &d.tuning),
        "passed_over": on_device.as_ref().map_or(&Value::Null, |d| &d.passed_over),
    });
    if let Some(path) = &args.certificate {
        let pretty = serde_json::to_string_pretty(&certificate).map_err(Failure::input)?;
        write(path, pretty + "\n")?;
    }
    if failures.is_empty() {
        return Ok(Report { text, json: certificate });
    }
    Err(Failure { code: 5, message: failures.join("; "), report: Some((text, certificate)) })
}

fn over(d: Difference, bound: f64) -> bool {
    d.relative.is_nan() || d.relative > bound
}

/// What a precision makes of the network; empty for f32.
struct Held {
    precision: Precision,
    ranges: Vec<LayerRange>,
    logits: Option<LogitsBound>,
}

impl Held {
    fn new(rewritten: &Rewritten, input: &[f64], batch: usize, precision: Precision) -> Held {
        if precision == Precision::F32 {
            return Held { precision, ranges: vec![], logits: None };
        }
        let graph = &rewritten.graph;
        let ranges = verify::ranges(graph, input, batch);
        let fits = ranges.iter().all(|r| r.fits(precision));
        let logits = fits.then(|| verify::bound_logits(graph, input, batch, precision));
        Held { precision, ranges, logits }
    }

    /// Layers whose values the precision cannot hold.
    fn over(&self) -> impl Iterator<Item = &LayerRange> {
        self.ranges.iter().filter(|r| !r.fits(self.precision))
    }

    fn print(&self, text: &mut String) {
        if self.ranges.is_empty() {
            return;
        }
        let _ = writeln!(text, "\n{:<36} {:>12}", "layer", "largest");
        for r in &self.ranges {
            let over = if r.fits(self.precision) { "" } else { "  overflows" };
            let _ = writeln!(text, "{:<36} {:>12.4e}{over}", r.layer, r.largest);
        }
        match &self.logits {
            Some(l) => {
                let _ = writeln!(
                    text,
                    "\nlogits in {}: rounded weights move them by {:.1e}, rounded values by a standard deviation of {:.1e}",
                    self.precision, l.weights, l.deviation
                );
            }
            None => text.push_str("\nnot run on a device: its logits would be no numbers\n"),
        }
    }
}

struct OnDevice {
    name: String,
    /// By the node of the rewritten graph.
    blocks: HashMap<String, Vec<f32>>,
    logits: Vec<f32>,
    layers: Option<Vec<LayerCheck>>,
    tuning_note: Option<String>,
    tuning: Value,
    passed_over: Value,
}

/// The logits of the plan that is used, and values of one that keeps them: block ends, or every layer.
fn run(
    args: &VerifyArgs,
    model: &Model,
    rewritten: &Rewritten,
    input: &[f32],
    batch: usize,
) -> Result<OnDevice, Failure> {
    let device_context = DeviceContext::open(&args.device)?;
    let options = device_context.options().batch(batch);
    let precision = options.precision;
    let session = device_context.session(model, &options)?;
    let logits = values(session.run_keeping(input))?.output;
    let graph = &rewritten.graph;
    let keep: Vec<String> = match args.bisect {
        true => graph.nodes()[1..].iter().map(|n| n.name.clone()).collect(),
        false => rewritten.blocks.iter().map(|b| b.output.clone()).collect(),
    };
    let keeping = device_context.session(model, &options.keep(keep.clone()))?;
    device_context.keep_shaders();
    let Values { output, kept, .. } = values(keeping.run_keeping(input))?;
    let mut values: HashMap<String, Vec<f32>> = kept.into_iter().collect();
    if args.bisect {
        // Kept, what is seen through a view is a copy in the plan's precision; the output itself is f32.
        values.insert(graph.node(graph.output()).name.clone(), output);
    }
    let rounding = |name: &str| keeping.rounding(name);
    let layers = args.bisect.then(|| verify::check_layers(graph, input, batch, &values, precision, rounding));
    let (tuning_note, tuning) = (device_context.tuning_note(&session), device_context.tuning_json(&session));
    let passed_over = device_context.passed_over_json();
    Ok(OnDevice {
        name: session.device_name(),
        blocks: values,
        logits,
        layers,
        tuning_note,
        tuning,
        passed_over,
    })
}

/// What a run gave, finite or not: what is wrong with it is to be found out.
fn values(run: Result<Values, Error>) -> Result<Values, Error> {
    match run {
        Err(Error::NotFinite { values, .. }) => Ok(values),
        result => result,
    }
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
