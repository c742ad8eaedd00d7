//! Output of `run`: prints and writes results as inputs are processed.

use super::report::{InputReport, TopClass, embedding, features};
use crate::report::{to_json, versioned};
use crate::{Failure, output_shape, terminal, write};
use rmnet::OutputChoice;
use rmnet::models::{Model, OutputKind, Scores};
use safetensors::tensor::{Dtype, TensorView, serialize};
use serde_json::json;
use std::collections::HashMap;
use std::io;
use std::path::Path;

/// How results are printed.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// Text for people, input by input.
    Text,
    /// One JSON object per line, input by input.
    Lines,
    /// One JSON object at the end.
    Object,
}

impl Form {
    pub fn of(jsonl: bool, json: bool) -> Form {
        match (jsonl, json) {
            (true, _) => Form::Lines,
            (false, true) => Form::Object,
            (false, false) => Form::Text,
        }
    }
}

/// Where results go.
pub struct Sink {
    pub form: Form,
    output: OutputKind,
    scores: Scores,
    /// `[channels, height, width]` of one input's values.
    shape: [usize; 3],
    labels: Option<Vec<String>>,
    top: usize,
    /// Number of values of one input.
    pub row: usize,
    /// The values of the first input, with which embeddings are compared.
    first: Vec<f32>,
    /// Collected for [`Form::Object`].
    pub images: Vec<InputReport>,
    /// Number of inputs that could not be read.
    pub failed: usize,
    /// Collected for `--logits`.
    pub rows: Option<Rows>,
    /// Whether the reader has closed the pipe.
    pub closed: bool,
    /// Why printing failed, unless the reader closed the pipe.
    pub unwritten: Option<String>,
}

impl Sink {
    pub fn new(form: Form, model: &Model, labels: Option<Vec<String>>, top: usize, keep_rows: bool) -> Sink {
        let shape = output_shape(&model.graph);
        Sink {
            form,
            output: model.output,
            scores: model.scores,
            shape,
            labels,
            top,
            row: shape.iter().product(),
            first: vec![],
            images: vec![],
            failed: 0,
            rows: keep_rows.then(Rows::default),
            closed: false,
            unwritten: None,
        }
    }

    /// Prints text. A closed pipe (`rmnet run .. | head`) is not a failure.
    pub fn print(&mut self, text: &str) {
        if self.closed {
            return;
        }
        if let Err(e) = terminal::print(&terminal::text(text)) {
            self.closed = true;
            self.unwritten = Some(e).filter(|e| e.kind() != io::ErrorKind::BrokenPipe).map(|e| e.to_string());
        }
    }

    /// Reports an input that could not be read, at once.
    pub fn failure(&mut self, name: &str, why: &str) -> Result<(), Failure> {
        self.failed += 1;
        terminal::say(&format!("error: {name}: {why}"));
        self.report(InputReport::Unreadable { input: name.into(), error: why.into() })
    }

    /// Processes the values of one input.
    pub fn result(&mut self, name: &str, values: &[f32]) -> Result<(), Failure> {
        if self.first.is_empty() {
            self.first = values.to_vec();
        }
        let report = match self.output {
            OutputKind::Embedding => embedding(name, values, &self.first),
            OutputKind::Features => features(name, values, self.shape),
            _ => self.classified(name, values),
        };
        self.report(report)?;
        if let Some(rows) = &mut self.rows {
            rows.names.push(name.into());
            rows.values.extend_from_slice(values);
        }
        Ok(())
    }

    /// Prints a report, or keeps it for the end.
    fn report(&mut self, report: InputReport) -> Result<(), Failure> {
        match self.form {
            Form::Text => self.print(&report.to_string()),
            Form::Lines => self.print(&(terminal::json(&versioned(to_json(&report)?)) + "\n")),
            Form::Object => self.images.push(report),
        }
        Ok(())
    }

    /// An image's most probable classes.
    fn classified(&self, name: &str, logits: &[f32]) -> InputReport {
        let label = |class: usize| match self.labels.as_ref().and_then(|l| l.get(class)) {
            Some(label) => label.clone(),
            None => format!("class {class}"),
        };
        let top = rmnet::top(logits, self.top, self.scores).into_iter();
        let top = top.map(|(class, probability)| TopClass {
            class,
            label: label(class),
            probability,
            logit: logits[class],
        });
        InputReport::Classified { input: name.into(), scores: self.scores, top: top.collect() }
    }
}

/// Rows for `--logits`: the values and names of the inputs that could be read.
#[derive(Default)]
pub struct Rows {
    names: Vec<String>,
    values: Vec<f32>,
}

impl Rows {
    /// Writes a tensor named like the requested output, `[rows, channels]` or a layer's `[rows, channels, height, width]`; the
    /// output of a network without a head is called `features`. The metadata's `inputs` is a JSON list of the row names.
    pub fn write(
        self,
        path: &Path,
        output: &OutputChoice,
        kind: OutputKind,
        [channels, height, width]: [usize; 3],
    ) -> Result<(), Failure> {
        let rows = self.names.len();
        let shape = match (output, [height, width]) {
            (OutputChoice::Logits | OutputChoice::Features, [1, 1]) => vec![rows, channels],
            _ => vec![rows, channels, height, width],
        };
        let name = match (output, kind) {
            (OutputChoice::Logits, OutputKind::Features) => "features".to_string(),
            _ => output.to_string(),
        };
        let bytes: Vec<u8> = self.values.iter().flat_map(|v| v.to_le_bytes()).collect();
        let view = TensorView::new(Dtype::F32, shape, &bytes).map_err(Failure::input)?;
        let names = HashMap::from([("inputs".to_string(), json!(self.names).to_string())]);
        write(path, serialize([(name, view)], Some(names)).map_err(Failure::input)?)
    }
}
