//! `run`: images or a tensor in, classes out.

use super::args::RunArgs;
use super::place::Place;
use super::{Failure, Report, check_target, image_input, load, merge, output_shape, precision_note, write};
use rmnet::models::Output;
use rmnet::{Options, OutputChoice};
use safetensors::tensor::{Dtype, TensorView, serialize};
use serde_json::{Value, json};
use std::fmt::Write;
use std::path::Path;

/// Images per run where the command line says nothing.
const DEFAULT_BATCH: usize = 8;

pub fn run(args: &RunArgs) -> Result<Report, Failure> {
    if let Some(path) = &args.logits {
        let read = args.inputs.iter().chain(&args.labels).chain([&args.model.checkpoint]);
        check_target(path, &read.map(|p| p.as_path()).collect::<Vec<_>>())?;
    }
    let model = load(&args.model)?;
    let inputs = image_input::read(&args.inputs, model.graph.input_shape(), &model.preprocess)?;
    let without_classes = match model.output {
        Output::Embedding => Some("the network gives embeddings, which have no classes"),
        Output::Features => Some("what is given are features, which have no classes"),
        _ => None,
    };
    if let (Some(path), Some(why)) = (&args.labels, without_classes) {
        return Err(Failure::usage(format!("--labels {}: {why}", path.display())));
    }
    let labels = labels(args, model.labels.as_deref(), model.graph.shape(model.graph.output()).channels)?;
    let output = output_shape(&model.graph);
    let count = inputs.names.len();
    let batch = args.batch.map_or(DEFAULT_BATCH, |b| b as usize).min(count);
    let place = Place::open(&args.device)?;
    let options = Options { batch, mode: args.mode.into(), ..place.options() };
    let decided = merge::decide(args.merge, &model, &options)?;
    let precision = options.precision;
    let session = place.session(&model, &Options { merge: decided.merge, ..options })?;

    // Whole batches; the last one is filled up with zeros, whose outputs are dropped.
    let image = session.input_len() / batch;
    let values: usize = output.iter().product();
    let mut logits = Vec::with_capacity(count * values);
    for part in inputs.values.chunks(batch * image) {
        let mut part = part.to_vec();
        let wanted = part.len() / image * values;
        part.resize(batch * image, 0.0);
        logits.extend_from_slice(&session.run(&part)?[..wanted]);
    }
    place.keep_shaders();
    if let Some(path) = &args.logits {
        // A file that ends with features has those as its own output.
        let name = match (&args.model.output, model.output) {
            (OutputChoice::Logits, Output::Features) => "features".to_string(),
            (choice, _) => choice.to_string(),
        };
        let vector = output[1..] == [1, 1] && !matches!(args.model.output, OutputChoice::Layer(_));
        let shape = [&[count][..], if vector { &output[..1] } else { &output[..] }].concat();
        write_output(path, name, shape, &logits)?;
    }

    let mut text = format!("{} on {}{}\n", model.family, session.device_name(), precision_note(precision));
    for note in [place.tuning_note(&session), decided.note].iter().flatten() {
        let _ = writeln!(text, "{note}");
    }
    let mut images = vec![];
    for (name, values) in inputs.names.iter().zip(logits.chunks(values)) {
        let _ = writeln!(text, "{name}");
        images.push(match model.output {
            Output::Embedding => embedding(name, values, &logits[..values.len()], &mut text),
            Output::Features => features(name, values, output, &mut text),
            _ => classified(name, values, labels.as_deref(), args.top as usize, &mut text),
        });
    }
    let json = json!({
        "family": model.family, "device": session.device_name(), "precision": precision.to_string(), "batch": batch,
        "classes": (model.output == Output::Logits).then_some(values), "output_value": args.model.output.to_string(),
        "output_shape": output, "images": images, "merge": decided.json, "tuning": place.tuning_json(&session),
    });
    Ok(Report { text: text.trim_end().into(), json })
}

/// An image's most probable classes, added to the text and as JSON.
fn classified(name: &str, scores: &[f32], labels: Option<&[String]>, k: usize, text: &mut String) -> Value {
    let name_of = |class: usize| labels.map_or_else(|| format!("class {class}"), |l| l[class].clone());
    let mut top_classes = vec![];
    for (class, probability) in top(scores, k) {
        let label = name_of(class);
        let _ = writeln!(text, "  {:>6.2} %  {label}", probability * 100.0);
        top_classes.push(json!({
            "class": class, "label": label, "probability": probability, "logit": scores[class],
        }));
    }
    json!({ "input": name, "top": top_classes })
}

/// An image's embedding: its length, and how near it is to the first image's.
fn embedding(name: &str, values: &[f32], first: &[f32], text: &mut String) -> Value {
    let dot = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum::<f64>();
    let norm = dot(values, values).sqrt();
    let cosine = dot(values, first) / (norm * dot(first, first).sqrt());
    let _ = writeln!(
        text,
        "  {} values of norm {norm:.4}, cosine with the first image {cosine:.4} (--logits writes the values)",
        values.len()
    );
    json!({ "input": name, "norm": norm, "cosine_with_first": cosine })
}

/// An image's features: their shape and length.
fn features(name: &str, values: &[f32], shape: [usize; 3], text: &mut String) -> Value {
    let norm = values.iter().map(|v| f64::from(*v).powi(2)).sum::<f64>().sqrt();
    let _ = writeln!(text, "  {shape:?}, norm {norm:.4} (--logits writes the values)");
    json!({ "input": name, "shape": shape, "norm": norm })
}

/// The `k` most probable classes with their softmax probabilities, most probable first.
pub fn top(logits: &[f32], k: usize) -> Vec<(usize, f64)> {
    let max = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let weights: Vec<f64> = logits.iter().map(|v| f64::from(v - max).exp()).collect();
    let sum: f64 = weights.iter().sum();
    let mut classes: Vec<usize> = (0..logits.len()).collect();
    classes.sort_by(|a, b| logits[*b].total_cmp(&logits[*a]).then(a.cmp(b)));
    classes.into_iter().take(k).map(|c| (c, weights[c] / sum)).collect()
}

fn labels(
    args: &RunArgs,
    of_model: Option<&[String]>,
    classes: usize,
) -> Result<Option<Vec<String>>, Failure> {
    let Some(path) = &args.labels else { return Ok(of_model.map(<[String]>::to_vec)) };
    let refuse = |e: String| Failure::input(format!("{}: {e}", path.display()));
    let text = std::fs::read_to_string(path).map_err(|e| refuse(e.to_string()))?;
    let lines: Vec<String> = text.lines().map(|l| l.trim().to_string()).filter(|l| !l.is_empty()).collect();
    if lines.len() != classes {
        return Err(refuse(format!("expected {classes} labels, one a line, found {}", lines.len())));
    }
    Ok(Some(lines))
}

/// Writes one tensor.
fn write_output(path: &Path, name: String, shape: Vec<usize>, values: &[f32]) -> Result<(), Failure> {
    let bytes: Vec<u8> = values.iter().flat_map(|v| v.to_le_bytes()).collect();
    let view = TensorView::new(Dtype::F32, shape, &bytes).map_err(Failure::input)?;
    let file = serialize([(name, view)], None).map_err(Failure::input)?;
    write(path, file)
}
