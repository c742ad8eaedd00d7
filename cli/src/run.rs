//! `run`: images or a tensor in, classes out, batch by batch.

use super::args::RunArgs;
use super::device_context::DeviceContext;
use super::image_input::{Batches, Input, Inputs};
use super::sink::{Form, Sink};
use super::{Failure, Report, assumed, check_target, load_at, merge, output_shape, precision_note, terminal};
use rmnet::Session;
use rmnet::files;
use rmnet::models::OutputKind;
use serde_json::json;
use std::fmt::Write;
use std::sync::mpsc::sync_channel;

/// Images per run where the command line says nothing.
const DEFAULT_BATCH: usize = 8;

/// The most bytes of a file of class names.
const MAX_LABELS: u64 = 16 << 20;

/// Values of a batch that are worth planning for before they are read: 4 MiB.
const LARGE_BATCH: usize = 1 << 20;

pub fn run(args: &RunArgs, json: bool) -> Result<Report, Failure> {
    if let Some(path) = &args.logits {
        let read = args.inputs.iter().chain(&args.labels).chain([&args.model.checkpoint]);
        check_target(path, &read.map(|p| p.as_path()).collect::<Vec<_>>())?;
    }
    let inputs = Inputs::open(&args.inputs, args.shard)?;
    let model = load_at(&args.model, inputs.size(args.model.size)?)?;
    let without_classes = match model.output {
        OutputKind::Embedding => Some("the network gives embeddings, which have no classes"),
        OutputKind::Features => Some("what is given are features, which have no classes"),
        _ => None,
    };
    if let (Some(path), Some(why)) = (&args.labels, without_classes) {
        return Err(Failure::usage(format!("--labels {}: {why}", path.display())));
    }
    let labels = labels(args, model.labels.as_deref(), model.graph.shape(model.graph.output()).channels)?;
    let mut batches = inputs.batches(model.graph.input_shape(), &model.preprocess, args.exif.into())?;
    if inputs.skipped() > 0 {
        terminal::say(&format!("{} files that are no PNG or JPEG image are skipped", inputs.skipped()));
    }
    let form = if args.jsonl {
        Form::Lines
    } else if json {
        Form::Object
    } else {
        Form::Text
    };
    if inputs.len() == 0 {
        // A share of nothing is no mistake: there are more shards than inputs.
        let text = "no inputs in this shard";
        return Ok(match form {
            Form::Lines => Report::printed(),
            _ => Report { text: text.into(), json: json!({ "images": [] }) },
        });
    }
    let batch = args.batch.map_or(DEFAULT_BATCH, |b| b as usize).min(inputs.len());
    let start = || -> Result<_, Failure> {
        let device_context = DeviceContext::open(&args.device)?;
        let options = device_context.options().batch(batch).mode(args.mode.into());
        let decided = merge::decide(args.merge, &model, &options)?;
        let precision = options.precision;
        let session = device_context.session(&model, &options.merge(decided.merge))?;
        Ok((device_context, decided, precision, session))
    };
    // What cannot be read is said before a device is opened for it; but inputs that take long to resize are read only for a network
    // that can run at their size.
    let large = model.graph.input_shape().len().saturating_mul(batch) > LARGE_BATCH;
    let started = large.then(&start).transpose()?;
    let first = batches.next(batch);
    if let ([Input { name, values: Err(why) }], 1, true) = (&first[..], inputs.len(), form != Form::Lines) {
        return Err(Failure::input(format!("{name}: {why}")));
    }

    let (device_context, decided, precision, session) = match started {
        Some(started) => started,
        None => start()?,
    };
    // Of one input: its classes, or the values of what else the session gives.
    let row: usize = session.output_shape()[1..].iter().product();

    let mut head = format!("{} on {}{}\n", model.family, session.device_name(), precision_note(precision));
    for note in [device_context.tuning_note(&session), decided.note.clone()].iter().flatten() {
        let _ = writeln!(head, "{note}");
    }
    head += &assumed::text(&model);
    let top = args.top as usize;
    let mut sink = Sink::new(form, &model, labels, top, args.logits.is_some());
    match form {
        Form::Text => sink.print(&head),
        Form::Lines => assumed::note(&model),
        Form::Object => {}
    }
    stream(&session, batches, first, batch, &mut sink)?;
    device_context.keep_shaders();
    let Sink { failed, images, rows, unwritten, .. } = sink;
    if let Some(why) = unwritten {
        return Err(Failure::input(format!("cannot write to standard output: {why}")));
    }
    let output = output_shape(&model.graph);
    if let (Some(path), Some(rows)) = (&args.logits, rows) {
        rows.write(path, &args.model.output, model.output, output)?;
    }
    let json = json!({
        "family": model.family, "device": session.device_name(), "precision": precision.to_string(), "batch": batch,
        "classes": (model.output == OutputKind::Logits).then_some(row), "output_value": args.model.output.to_string(),
        "output_shape": output, "images": images, "merge": decided.json, "tuning": device_context.tuning_json(&session),
        "passed_over": device_context.passed_over_json(), "assumed": assumed::json(&model), "ignored": model.ignored,
    });
    let report = match form {
        Form::Object => Report { text: String::new(), json },
        _ => Report::printed(),
    };
    if failed == 0 {
        return Ok(report);
    }
    let message = format!("{failed} of {} inputs could not be read", inputs.len());
    let mut report = (report.text, report.json);
    if let Some(object) = report.1.as_object_mut() {
        object.insert("error".into(), message.clone().into());
    }
    Err(Failure { code: 3, message, report: Some(report) })
}

/// Runs all inputs: while one batch runs, the next is read.
fn stream(
    session: &Session,
    mut batches: Batches<'_>,
    first: Vec<Input>,
    batch: usize,
    sink: &mut Sink,
) -> Result<(), Failure> {
    let image = session.input_len() / batch;
    std::thread::scope(|scope| {
        let reader = std::thread::Builder::new().name("images".into());
        // A batch that is ready waits to be taken: at no time are there more than that, the one that runs and the one read.
        let (send, receive) = sync_channel(0);
        let read = move || {
            let mut inputs = first;
            // Nobody takes them any more where a run failed.
            while !inputs.is_empty() && send.send(inputs).is_ok() {
                inputs = batches.next(batch);
            }
        };
        reader.spawn_scoped(scope, read).map_err(|e| Failure {
            code: 6,
            ..Failure::input(format!("a thread that reads images cannot be started: {e}"))
        })?;
        for inputs in receive {
            // Whole batches; the last one is filled up with zeros, whose logits are dropped.
            let mut values = Vec::with_capacity(batch * image);
            inputs.iter().flat_map(|i| &i.values).for_each(|v| values.extend_from_slice(v));
            let logits = if values.is_empty() {
                vec![]
            } else {
                values.resize(batch * image, 0.0);
                session.run(&values)?
            };
            let mut rows = logits.chunks(sink.row);
            for input in inputs {
                match input.values {
                    Err(why) => sink.failure(&input.name, &why),
                    Ok(_) => {
                        let row =
                            rows.next().ok_or_else(|| Failure::input("the network gave too few rows"))?;
                        sink.result(&input.name, row);
                    }
                }
            }
            if sink.closed {
                break;
            }
        }
        Ok(())
    })
}

/// One label a line, as the command line's file has them, else those of the model.
fn labels(
    args: &RunArgs,
    of_model: Option<&[String]>,
    classes: usize,
) -> Result<Option<Vec<String>>, Failure> {
    let Some(path) = &args.labels else { return Ok(of_model.map(<[String]>::to_vec)) };
    let refuse = |e: String| Failure::input(format!("{}: {e}", path.display()));
    let text = files::read_text(path, MAX_LABELS).map_err(|e| refuse(e.to_string()))?;
    let lines: Vec<String> = text.lines().map(|l| l.trim().to_string()).filter(|l| !l.is_empty()).collect();
    if lines.len() != classes {
        return Err(refuse(format!("expected {classes} labels, one a line, found {}", lines.len())));
    }
    Ok(Some(lines))
}
