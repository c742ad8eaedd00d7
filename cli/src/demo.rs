//! `demo`: the bundled digits model on bundled images, before and after removal.

use super::args::DemoArgs;
use super::{Failure, Report, device, device_context, mib, timed};
use rmnet::checkpoint::Checkpoint;
use rmnet::gpu::{self, AdapterChoice, AdapterReport};
use rmnet::images;
use rmnet::models::{self, Model};
use rmnet::rewrite::Outcome;
use rmnet::verify::{self, Difference};
use rmnet::{Device, Mode, Options, Session, reference};
use serde_json::{Value, json};
use std::fmt::Write;
use std::time::Duration;

const MODEL: &[u8] = include_bytes!("../../assets/digits/model.safetensors");
const CONFIG: &str = include_str!("../../assets/digits/config.json");

/// File name and content: `<index in the data set>_<label>.png`.
const IMAGES: &[(&str, &[u8])] = &[
    ("0304_0.png", include_bytes!("../../assets/digits/images/0304_0.png")),
    ("0326_1.png", include_bytes!("../../assets/digits/images/0326_1.png")),
    ("0374_7.png", include_bytes!("../../assets/digits/images/0374_7.png")),
    ("0567_2.png", include_bytes!("../../assets/digits/images/0567_2.png")),
    ("0852_8.png", include_bytes!("../../assets/digits/images/0852_8.png")),
    ("1242_1.png", include_bytes!("../../assets/digits/images/1242_1.png")),
    ("1496_7.png", include_bytes!("../../assets/digits/images/1496_7.png")),
    ("1497_6.png", include_bytes!("../../assets/digits/images/1497_6.png")),
    ("1529_8.png", include_bytes!("../../assets/digits/images/1529_8.png")),
    ("1606_3.png", include_bytes!("../../assets/digits/images/1606_3.png")),
    ("1614_5.png", include_bytes!("../../assets/digits/images/1614_5.png")),
    ("1704_9.png", include_bytes!("../../assets/digits/images/1704_9.png")),
    ("1767_4.png", include_bytes!("../../assets/digits/images/1767_4.png")),
    ("1776_5.png", include_bytes!("../../assets/digits/images/1776_5.png")),
];

/// One of the devices of the demo.
struct Place {
    /// What `--adapter` takes to run there alone.
    argument: String,
    device: Device,
    /// What to call it where it does not run.
    name: String,
    /// Why it cannot be used, where that is known.
    problem: Option<String>,
    /// Whether it is the one shown in detail, which has run already.
    shown: bool,
}

/// A network on a device, run on all images.
struct Ran {
    session: Session,
    logits: Vec<f32>,
    time: Duration,
    difference: Difference,
}

impl Ran {
    fn json(&self) -> Value {
        let memory = self.session.memory();
        json!({
            "dispatches": self.session.plan().dispatches.len(), "time_ns": self.time.as_nanos() as u64,
            "activation_bytes": memory.activations, "weight_bytes": memory.weights,
            "max_abs_difference": self.difference.max_abs, "relative_difference": self.difference.relative,
        })
    }

    fn off(&self) -> String {
        format!("logits are off by {:.1e} of the largest", self.difference.relative)
    }

    /// Whether its logits are those of the original network.
    fn agrees(&self) -> bool {
        self.difference.relative <= verify::F32_LOGITS_BOUND
    }
}

pub fn demo(args: &DemoArgs) -> Result<Report, Failure> {
    let checkpoint = Checkpoint::from_bytes(MODEL.to_vec(), Some(CONFIG)).map_err(Failure::input)?;
    let model = models::load(&checkpoint, None).map_err(Failure::input)?;
    let input = images(&model)?;
    let batch = IMAGES.len();
    let expected = {
        let input: Vec<f64> = input.iter().map(|v| f64::from(*v)).collect();
        reference::run(&model.graph, &input, batch)
    };
    let run = |mode: Mode, device: &Device| -> Result<Ran, Failure> {
        let options = Options::default().batch(batch).mode(mode).device(device.clone());
        let session = Session::new(&model, &options)?;
        let (logits, time) = timed(&session, &input)?;
        let difference = Difference::between(logits.iter().map(|v| f64::from(*v)), &expected);
        Ok(Ran { session, logits, time, difference })
    };

    // The device that is shown in detail: the one asked for, or the default one.
    let shown = device(args.adapter.as_deref());
    let residual = run(Mode::Residual, &shown)?;
    let main = run(Mode::Structured, &shown)?;
    let session = &main.session;
    let removed = session.blocks().iter().filter(|b| !matches!(b.outcome, Outcome::Kept { .. })).count();
    let mut text = format!(
        "{} (bundled handwritten digits)\nremoved {removed} of {} residual connections\ndevice: {}\n",
        model.family,
        session.blocks().len(),
        session.device_name()
    );
    if shown == Device::Auto && !session.is_on_gpu() {
        let _ = writeln!(text, "{}", device_context::on_cpu(session.passed_over()));
    }
    let (right, rows) = predictions(&model, &main.logits, &mut text);
    for (mode, ran) in [(Mode::Residual, &residual), (Mode::Structured, &main)] {
        let _ = writeln!(text, "{}", form(mode, ran));
    }

    let places = match &args.adapter {
        Some(text) => {
            let (argument, name) = (text.clone(), session.device_name());
            vec![Place { argument, device: shown, name, problem: None, shown: true }]
        }
        None => every_device(),
    };
    let (mut devices, mut lines) = (vec![], vec![]);
    let (mut failures, mut disagree) = (vec![], vec![]);
    for place in places {
        let again;
        let ran = match place.problem {
            Some(problem) => Err(problem),
            None if place.shown => Ok(&main),
            None => match run(Mode::Structured, &place.device) {
                Ok(ran) => {
                    again = ran;
                    Ok(&again)
                }
                Err(failure) => {
                    let message = failure.message.clone();
                    failures.push(failure);
                    Err(message)
                }
            },
        };
        let (name, line, mut entry) = match ran {
            Ok(ran) => {
                let name = ran.session.device_name();
                if !ran.agrees() {
                    disagree.push(format!("{name}: {}", ran.off()));
                }
                (name, figures(ran), ran.json())
            }
            Err(problem) => {
                (place.name, format!("  cannot be used: {problem}"), json!({ "problem": problem }))
            }
        };
        entry["device"] = name.clone().into();
        entry["adapter"] = place.argument.into();
        devices.push(entry);
        lines.push((name, line));
    }
    let title = "structured form on every device here";
    let width = lines.iter().map(|(name, _)| name.chars().count()).chain([title.len()]).max().unwrap_or(0);
    let _ = writeln!(
        text,
        "\n{title:<width$} {:>9} {:>12} {:>10} {:>8}",
        "ms", "activations", "weights", "off by"
    );
    for (name, line) in &lines {
        let _ = writeln!(text, "{name:<width$} {line}");
    }
    let bound = verify::F32_LOGITS_BOUND;
    let verdict = match disagree.as_slice() {
        [] => format!(
            "all agree: off by at most {bound:.0e} of the original network's largest logit, which is computed in f64"
        ),
        _ => format!("NOT all agree: the bound is {bound:.0e} of the original network's largest logit"),
    };
    let _ = write!(text, "{verdict}");
    let json = json!({
        "family": model.family, "device": session.device_name(), "blocks": session.blocks().len(), "removed": removed,
        "images": rows, "right": right, "modes": { "residual": residual.json(), "structured": main.json() },
        "devices": devices, "passed_over": device_context::passed_over_json(session.passed_over()),
    });
    if !residual.agrees() {
        disagree.push(format!("residual form: {}", residual.off()));
    }
    if !disagree.is_empty() {
        return Err(Failure { code: 5, message: disagree.join("; "), report: Some((text, json)) });
    }
    match failures.into_iter().next() {
        Some(failure) => Err(Failure { report: Some((text, json)), ..failure }),
        None => Ok(Report { text, json }),
    }
}

/// Every adapter, and the CPU executor; the one that is shown is the default device.
fn every_device() -> Vec<Place> {
    let adapters = gpu::adapters();
    let default = adapters.iter().position(AdapterReport::is_usable_hardware);
    let cpu = Place {
        argument: "cpu".into(),
        device: Device::Cpu,
        name: "cpu".into(),
        problem: None,
        shown: default.is_none(),
    };
    let place = |(i, a): (usize, AdapterReport)| Place {
        argument: i.to_string(),
        device: Device::Gpu(AdapterChoice::Index(i)),
        name: a.to_string(),
        problem: a.problem,
        shown: default == Some(i),
    };
    adapters.into_iter().enumerate().map(place).chain([cpu]).collect()
}

/// Adds what every image is taken for; the number that are right, and the same as JSON.
fn predictions(model: &Model, logits: &[f32], text: &mut String) -> (usize, Vec<Value>) {
    let _ = writeln!(text, "\n{:<14} {:>5} {:>9}", "image", "label", "predicted");
    let classes = logits.len() / IMAGES.len();
    let mut rows = vec![];
    let mut right = 0;
    for ((name, _), scores) in IMAGES.iter().zip(logits.chunks(classes)) {
        let label = name.trim_end_matches(".png").rsplit('_').next().unwrap_or_default();
        let (best, probability) = rmnet::top(scores, 1, model.scores)[0];
        let probability = probability.unwrap_or_default();
        let predicted = model.labels.as_ref().map_or_else(|| best.to_string(), |l| l[best].clone());
        right += usize::from(predicted == label);
        let mark = if predicted == label { "" } else { "  wrong" };
        let _ = writeln!(text, "{name:<14} {label:>5} {predicted:>9}  {:>5.1} %{mark}", probability * 100.0);
        rows.push(
            json!({ "image": name, "label": label, "predicted": predicted, "probability": probability }),
        );
    }
    let _ = writeln!(text, "{right} of {} as they should be\n", IMAGES.len());
    (right, rows)
}

/// One form of the network on the device that is shown.
fn form(mode: Mode, ran: &Ran) -> String {
    let (plan, memory) = (ran.session.plan(), ran.session.memory());
    let (mode, batch) = (mode.to_string(), IMAGES.len());
    format!(
        "{mode:<11} {:>2} dispatches, {:>8.2} ms for {batch} images, {} of activations, {} of weights, off by {:.1e}",
        plan.dispatches.len(),
        ran.time.as_secs_f64() * 1e3,
        mib(memory.activations),
        mib(memory.weights),
        ran.difference.relative
    )
}

/// A line of the table of devices, after the name.
fn figures(ran: &Ran) -> String {
    let memory = ran.session.memory();
    let mark = if ran.agrees() { "" } else { "  WRONG" };
    format!(
        "{:>9.2} {:>12} {:>10} {:>8.1e}{mark}",
        ran.time.as_secs_f64() * 1e3,
        mib(memory.activations),
        mib(memory.weights),
        ran.difference.relative
    )
}

fn images(model: &Model) -> Result<Vec<f32>, Failure> {
    let mut input = vec![];
    for (name, png) in IMAGES {
        let refuse = |e: &dyn std::fmt::Display| Failure::input(format!("{name}: {e}"));
        let pixels = images::decode(png, images::ColorMode::Rgb, images::Orientation::Apply)
            .map_err(|e| refuse(&e))?;
        input.extend(model.preprocess.apply((&pixels).into(), pixels.channels).map_err(|e| refuse(&e))?);
    }
    Ok(input)
}
