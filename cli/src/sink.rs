//! Output of `run`: prints and writes results as inputs are processed.

use super::{Failure, output_shape, terminal, versioned, write};
use rmnet::OutputChoice;
use rmnet::models::{Model, OutputKind, Scores};
use safetensors::tensor::{Dtype, TensorView, serialize};
use serde_json::{Value, json};
use std::collections::HashMap;
use std::fmt::Write as _;
use std::io;
use std::path::Path;

/// How results are told.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// For people, as it goes.
    Text,
    /// One JSON object a line, as it goes.
    Lines,
    /// One JSON object in the end.
    Object,
}

/// Where results go.
pub struct Sink {
    form: Form,
    output: OutputKind,
    scores: Scores,
    /// `[channels, height, width]` of one input's values.
    shape: [usize; 3],
    labels: Option<Vec<String>>,
    top: usize,
    /// Values of one input.
    pub row: usize,
    /// The values of the first input, which embeddings are compared with.
    first: Vec<f32>,
    /// For [`Form::Object`].
    pub images: Vec<Value>,
    /// Inputs that could not be read.
    pub failed: usize,
    /// For `--logits`.
    pub rows: Option<Rows>,
    /// Nobody reads what is printed any more.
    pub closed: bool,
    /// Why printing failed, where that is not the reader's choice.
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

    /// Prints; a closed pipe (`rmnet run .. | head`) is the reader's choice, no failure.
    pub fn print(&mut self, text: &str) {
        if self.closed {
            return;
        }
        if let Err(e) = terminal::print(&terminal::text(text)) {
            self.closed = true;
            self.unwritten = Some(e).filter(|e| e.kind() != io::ErrorKind::BrokenPipe).map(|e| e.to_string());
        }
    }

    /// An input that could not be read: said at once.
    pub fn failure(&mut self, name: &str, why: &str) {
        self.failed += 1;
        terminal::say(&format!("error: {name}: {why}"));
        self.object(json!({ "input": name, "error": why }));
    }

    /// The values of one input.
    pub fn result(&mut self, name: &str, values: &[f32]) {
        if self.first.is_empty() {
            self.first = values.to_vec();
        }
        let mut text = format!("{}\n", terminal::line(name));
        let object = match self.output {
            OutputKind::Embedding => embedding(name, values, &self.first, &mut text),
            OutputKind::Features => features(name, values, self.shape, &mut text),
            _ => self.classified(name, values, &mut text),
        };
        match self.form {
            Form::Text => self.print(&text),
            _ => self.object(object),
        }
        if let Some(rows) = &mut self.rows {
            rows.names.push(name.into());
            rows.values.extend_from_slice(values);
        }
    }

    fn object(&mut self, object: Value) {
        match self.form {
            Form::Text => {}
            Form::Lines => self.print(&(terminal::json(&versioned(object)) + "\n")),
            Form::Object => self.images.push(object),
        }
    }

    /// An image's most probable classes, added to the text and as JSON.
    fn classified(&self, name: &str, logits: &[f32], text: &mut String) -> Value {
        let label = |class: usize| match self.labels.as_ref().and_then(|l| l.get(class)) {
            Some(label) => label.clone(),
            None => format!("class {class}"),
        };
        let mut top_classes = vec![];
        for (class, probability) in rmnet::top(logits, self.top, self.scores) {
            let label = label(class);
            let _ = match probability {
                Some(p) => writeln!(text, "  {:>6.2} %  {}", p * 100.0, terminal::line(&label)),
                None => writeln!(text, "  {:>8.4}  {}", logits[class], terminal::line(&label)),
            };
            top_classes.push(json!({
                "class": class, "label": label, "probability": probability, "logit": logits[class],
            }));
        }
        json!({ "input": name, "scores": self.scores, "top": top_classes })
    }
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
    let shape = if shape[1..] == [1, 1] { &shape[..1] } else { &shape[..] };
    let _ = writeln!(text, "  {shape:?}, norm {norm:.4} (--logits writes the values)");
    json!({ "input": name, "shape": shape, "norm": norm })
}

/// Rows for `--logits`: those of inputs that could be read, with their names.
#[derive(Default)]
pub struct Rows {
    names: Vec<String>,
    values: Vec<f32>,
}

impl Rows {
    /// Writes a tensor named as the output that was asked for, `[rows, channels]` or a layer's `[rows, channels, height, width]`;
    /// what a network without a head gives by itself is called `features`. And the names of the rows as a JSON list, `inputs` of the metadata.
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
