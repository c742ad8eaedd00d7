//! `run`: images or a tensor in, classes out, batch by batch.

mod report;
mod sink;

use super::args::RunArgs;
use super::assumed::{self, Assumed};
use super::device_context::DeviceContext;
use super::image_input::{Batches, Input, Inputs};
use super::merge::{self, Merge};
use super::{Failure, Report, check_target, load_at, output_shape, terminal};
use report::{NoInputs, RunHead, RunReport};
use rmnet::files;
use rmnet::models::{Model, OutputKind};
use rmnet::{Precision, Session};
use sink::{Form, Sink};
use std::sync::mpsc::sync_channel;

/// Images per run by default.
const DEFAULT_BATCH: usize = 8;

/// Maximum bytes of a file of class names.
const MAX_LABELS: u64 = 16 << 20;

/// Batches with more values than this (4 MiB) are planned for before their inputs are read.
const LARGE_BATCH: usize = 1 << 20;

pub fn run(args: &RunArgs, json: bool) -> Result<Report, Failure> {
    if let Some(path) = &args.logits {
        let read = args.inputs.iter().chain(&args.labels).chain([&args.model.checkpoint]);
        check_target(path, &read.map(|p| p.as_path()).collect::<Vec<_>>())?;
    }
    let inputs = Inputs::open(&args.inputs, args.shard)?;
    let model = load_at(&args.model, inputs.size(args.model.size)?)?;
    let labels = labels(args, &model)?;
    let mut batches = inputs.batches(model.graph.input_shape(), &model.preprocess, args.exif.into())?;
    if inputs.skipped() > 0 {
        terminal::say(&format!("{} files that are no PNG or JPEG image are skipped", inputs.skipped()));
    }
    let form = Form::of(args.jsonl, json);
    if inputs.len() == 0 {
        // An empty shard is not an error: there are more shards than inputs.
        return match form {
            Form::Lines => Ok(Report::printed()),
            _ => Report::of(&NoInputs { images: [] }),
        };
    }
    let batch = args.batch.map_or(DEFAULT_BATCH, |b| b as usize).min(inputs.len());
    // Unreadable inputs are reported before a device is opened. But inputs that take long to resize are read only after the
    // network is known to run at their size.
    let large = model.graph.input_shape().len().saturating_mul(batch) > LARGE_BATCH;
    let started = large.then(|| Started::new(args, &model, batch)).transpose()?;
    let first = batches.next(batch);
    if let ([Input { name, values: Err(why) }], 1, true) = (&first[..], inputs.len(), form != Form::Lines) {
        return Err(Failure::input(format!("{name}: {why}")));
    }
    let started = started.map_or_else(|| Started::new(args, &model, batch), Ok)?;

    let head = started.head(args, &model, batch);
    let mut sink = Sink::new(form, &model, labels, args.top as usize, args.logits.is_some());
    match form {
        Form::Text => sink.print(&head.to_string()),
        Form::Lines => assumed::note(&model),
        Form::Object => {}
    }
    stream(&started.session, batches, first, batch, &mut sink)?;
    started.device_context.keep_shaders();
    finish(args, &model, sink, head, inputs.len())
}

/// Writes the logits, and reports what remains when all inputs have run.
fn finish(
    args: &RunArgs,
    model: &Model,
    sink: Sink,
    head: RunHead<'_>,
    inputs: usize,
) -> Result<Report, Failure> {
    let Sink { form, failed, images, rows, unwritten, .. } = sink;
    if let Some(why) = unwritten {
        return Err(Failure::input(format!("cannot write to standard output: {why}")));
    }
    if let (Some(path), Some(rows)) = (&args.logits, rows) {
        rows.write(path, &args.model.output, model.output, head.output_shape)?;
    }
    let error = (failed > 0).then(|| format!("{failed} of {inputs} inputs could not be read"));
    let report = match form {
        Form::Object => Report::json_alone(&RunReport { head, images, error: error.clone() })?,
        _ => Report::printed(),
    };
    match error {
        None => Ok(report),
        Some(message) => Err(Failure { code: 3, message, report: Some(report) }),
    }
}

/// A session, and how it was set up.
struct Started {
    device_context: DeviceContext,
    merge: Merge,
    precision: Precision,
    session: Session,
}

impl Started {
    fn new(args: &RunArgs, model: &Model, batch: usize) -> Result<Started, Failure> {
        let device_context = DeviceContext::open(&args.device)?;
        let options = device_context.options().batch(batch).mode(args.mode.into());
        let merge = merge::decide(args.merge, model, &options)?;
        let precision = options.precision;
        let session = device_context.session(model, &options.merge(merge.merged))?;
        Ok(Started { device_context, merge, precision, session })
    }

    /// The part of the report that is known before the first input runs.
    fn head<'a>(&'a self, args: &'a RunArgs, model: &'a Model, batch: usize) -> RunHead<'a> {
        let classes = self.session.output_shape()[1..].iter().product();
        RunHead {
            family: &model.family,
            device: self.session.device_name(),
            precision: self.precision,
            batch,
            classes: (model.output == OutputKind::Logits).then_some(classes),
            output_value: &args.model.output,
            output_shape: output_shape(&model.graph),
            merge: &self.merge,
            tuning: self.device_context.tuning(&self.session),
            passed_over: self.device_context.passed_over(),
            quarantined: self.session.quarantined().iter().map(ToString::to_string).collect(),
            assumed: Assumed::of(model),
        }
    }
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
        // A batch that is ready waits until it is taken, so at most two exist: the one that runs and the one being read.
        let (send, receive) = sync_channel(0);
        let read = move || {
            let mut inputs = first;
            // Sending fails if a run failed and nobody takes further batches.
            while !inputs.is_empty() && send.send(inputs).is_ok() {
                inputs = batches.next(batch);
            }
        };
        reader.spawn_scoped(scope, read).map_err(|e| Failure {
            code: 6,
            ..Failure::input(format!("a thread that reads images cannot be started: {e}"))
        })?;
        for inputs in receive {
            // Batches are always whole: the last one is filled up with zeros, whose logits are dropped.
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
                    Err(why) => sink.failure(&input.name, &why)?,
                    Ok(_) => {
                        let row =
                            rows.next().ok_or_else(|| Failure::input("the network gave too few rows"))?;
                        sink.result(&input.name, row)?;
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

/// The class names of the file on the command line, one per line, else those of the model. A file is refused if the output has no
/// classes.
fn labels(args: &RunArgs, model: &Model) -> Result<Option<Vec<String>>, Failure> {
    let Some(path) = &args.labels else { return Ok(model.labels.clone()) };
    let without_classes = match model.output {
        OutputKind::Embedding => Some("the network gives embeddings, which have no classes"),
        OutputKind::Features => Some("what is given are features, which have no classes"),
        _ => None,
    };
    if let Some(why) = without_classes {
        return Err(Failure::usage(format!("--labels {}: {why}", path.display())));
    }
    let classes = model.graph.shape(model.graph.output()).channels;
    let refuse = |e: String| Failure::input(format!("{}: {e}", path.display()));
    let text = files::read_text(path, MAX_LABELS).map_err(|e| refuse(e.to_string()))?;
    let lines: Vec<String> = text.lines().map(|l| l.trim().to_string()).filter(|l| !l.is_empty()).collect();
    if lines.len() != classes {
        return Err(refuse(format!("expected {classes} labels, one a line, found {}", lines.len())));
    }
    Ok(Some(lines))
}
