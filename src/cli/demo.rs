//! `demo`: the bundled digits model on bundled images, before and after removal.

use super::args::DemoArgs;
use super::{Failure, Report, device, mib, timed};
use rmnet::checkpoint::Checkpoint;
use rmnet::images;
use rmnet::models::{self, Model};
use rmnet::rewrite::Outcome;
use rmnet::{Device, Mode, Options, Session, reference, verify};
use serde_json::json;
use std::fmt::Write;

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

pub fn demo(args: &DemoArgs) -> Result<Report, Failure> {
    let checkpoint = Checkpoint::from_bytes(MODEL.to_vec(), Some(CONFIG)).map_err(Failure::input)?;
    let model = models::load(&checkpoint, None).map_err(Failure::input)?;
    let input = images(&model)?;
    let batch = IMAGES.len();
    let expected = {
        let input: Vec<f64> = input.iter().map(|v| f64::from(*v)).collect();
        reference::run(&model.graph, &input, batch)
    };
    let place = match &args.adapter {
        Some(text) => device(Some(text)),
        None => Device::GpuOrCpu,
    };

    let mut text = String::new();
    let mut modes = serde_json::Map::new();
    let mut shown = None;
    for mode in [Mode::Residual, Mode::Structured] {
        let options = Options { batch, mode, device: place.clone(), ..Options::default() };
        let session = Session::new(&model, &options)?;
        let (logits, time) = timed(&session, &input)?;
        let found = logits.iter().map(|v| f64::from(*v));
        let difference = verify::Difference::between(found, &expected);
        let memory = session.memory();
        let line = format!(
            "{:<11} {:>2} dispatches, {:>8.2} ms for {batch} images, {} of activations, {} of weights",
            mode.to_string(),
            session.plan().dispatches.len(),
            time.as_secs_f64() * 1e3,
            mib(memory.activations),
            mib(memory.weights),
        );
        modes.insert(
            mode.to_string(),
            json!({
                "dispatches": session.plan().dispatches.len(), "time_ns": time.as_nanos() as u64,
                "activation_bytes": memory.activations, "weight_bytes": memory.weights,
                "max_abs_difference": difference.max_abs, "relative_difference": difference.relative,
            }),
        );
        shown = Some((session, logits, difference));
        let _ = writeln!(text, "{line}");
    }
    let (session, logits, difference) = shown.expect("two modes ran");
    let removed = session.blocks().iter().filter(|b| !matches!(b.outcome, Outcome::Kept { .. })).count();

    let mut head = String::new();
    let _ = writeln!(head, "{} (bundled handwritten digits)", model.family);
    let _ = writeln!(head, "removed {removed} of {} residual connections", session.blocks().len());
    let _ = writeln!(head, "device: {}", session.device_name());
    if matches!(place, Device::GpuOrCpu) && session.device_name().starts_with("cpu") {
        let _ = writeln!(
            head,
            "no GPU adapter was found, so this runs on the CPU (`rmnet doctor` says what to install)"
        );
    }
    let _ = writeln!(head, "\n{:<14} {:>5} {:>9}", "image", "label", "predicted");
    let classes = expected.len() / batch;
    let mut rows = vec![];
    let mut right = 0;
    for ((name, _), scores) in IMAGES.iter().zip(logits.chunks(classes)) {
        let label = name.trim_end_matches(".png").rsplit('_').next().unwrap_or_default();
        let (best, probability) = super::scores::top(scores, 1, super::scores::Kind::Softmax)[0];
        let predicted = model.labels.as_ref().map_or_else(|| best.to_string(), |l| l[best].clone());
        right += usize::from(predicted == label);
        let mark = if predicted == label { "" } else { "  wrong" };
        let _ = writeln!(head, "{name:<14} {label:>5} {predicted:>9}  {:>5.1} %{mark}", probability * 100.0);
        rows.push(
            json!({ "image": name, "label": label, "predicted": predicted, "probability": probability }),
        );
    }
    let _ = writeln!(head, "{right} of {batch} as they should be\n");
    let _ = writeln!(
        text,
        "largest difference from the original network in f64: {:.1e} ({:.1e} of the largest logit)",
        difference.max_abs, difference.relative
    );
    let json = json!({
        "family": model.family, "device": session.device_name(), "blocks": session.blocks().len(), "removed": removed,
        "images": rows, "right": right, "modes": modes,
    });
    if difference.relative.is_nan() || difference.relative > verify::F32_LOGITS_BOUND {
        let message = format!("logits are off by {:.1e} of the largest", difference.relative);
        return Err(Failure { code: 5, message, report: Some((head + &text, json)) });
    }
    Ok(Report { text: (head + &text).trim_end().into(), json })
}

fn images(model: &Model) -> Result<Vec<f32>, Failure> {
    let mut input = vec![];
    for (name, png) in IMAGES {
        let refuse = |e: &dyn std::fmt::Display| Failure::input(format!("{name}: {e}"));
        let pixels =
            images::decode(png, images::Mode::Rgb, images::Orientation::Apply).map_err(|e| refuse(&e))?;
        input.extend(model.preprocess.apply_view((&pixels).into()).map_err(|e| refuse(&e))?);
    }
    Ok(input)
}
