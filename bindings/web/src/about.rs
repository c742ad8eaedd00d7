//! What JavaScript is told of a network, as JSON.

use rmnet::{BlockReport, Model, Outcome, Prediction, Prepared, Session};
use serde::Serialize;

/// What there is to know of a network.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub struct About<'a> {
    device: String,
    on_gpu: bool,
    passed_over: Vec<String>,
    family: &'a str,
    input_shape: [usize; 4],
    output_shape: [usize; 4],
    labels: Option<&'a [String]>,
    classifies: bool,
    blocks: Vec<Block<'a>>,
    assumed: Vec<Assumed>,
    preprocess: String,
    macs: usize,
    activation_bytes: usize,
    dispatches: usize,
}

/// A residual block.
#[derive(Default, Serialize)]
#[serde(rename_all = "camelCase")]
struct Block<'a> {
    name: &'a str,
    outcome: &'static str,
    text: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    shortcut: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reserved_channels: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    convolutions: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    branches: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<&'a str>,
}

impl<'a> From<&'a BlockReport> for Block<'a> {
    fn from(report: &'a BlockReport) -> Block<'a> {
        let block = Block { name: &report.block, text: report.outcome.to_string(), ..Block::default() };
        match &report.outcome {
            Outcome::Removed { shortcut, reserved, convs } => Block {
                outcome: "removed",
                shortcut: Some(shortcut.to_string()),
                reserved_channels: Some(*reserved),
                convolutions: Some(*convs),
                ..block
            },
            Outcome::Summed { branches } => Block { outcome: "summed", branches: Some(*branches), ..block },
            Outcome::Kept { reason } => Block { outcome: "kept", reason: Some(reason), ..block },
            _ => Block { outcome: "kept", ..block },
        }
    }
}

/// What no tensor shows.
#[derive(Serialize)]
struct Assumed {
    key: String,
    value: String,
    stated: bool,
}

impl<'a> About<'a> {
    pub fn of(
        model: &'a Model,
        prepared: &'a Prepared,
        session: &'a Session,
        passed_over: Vec<String>,
    ) -> About<'a> {
        let assumed = |a: &rmnet::Assumption| Assumed {
            key: a.key.to_string(),
            value: a.value.clone(),
            stated: a.stated,
        };
        let output_shape = session.output_shape();
        About {
            device: session.device_name(),
            on_gpu: session.is_on_gpu(),
            passed_over,
            family: model.family(),
            input_shape: session.input_shape(),
            output_shape,
            labels: session.labels(),
            classifies: session.output() == rmnet::OutputKind::Logits && output_shape[2..] == [1, 1],
            blocks: prepared.blocks().iter().map(Block::from).collect(),
            assumed: model.assumed().iter().map(assumed).collect(),
            preprocess: model.preprocess().to_string(),
            macs: session.plan().macs(),
            activation_bytes: session.plan().activation_bytes(),
            dispatches: session.plan().steps().len(),
        }
    }

    pub fn json(&self) -> String {
        json(self)
    }
}

/// Bytes in use.
pub fn memory(session: &Session) -> String {
    let m = session.memory();
    json(&serde_json::json!({
        "weights": m.weights, "activations": m.activations, "scratch": m.scratch, "transfer": m.transfer, "total": m.total()
    }))
}

/// Classes of one image.
pub fn predictions(top: &[Prediction]) -> String {
    let prediction = |p: &Prediction| serde_json::json!({ "class": p.class, "label": p.label, "probability": p.probability, "logit": p.logit });
    json(&top.iter().map(prediction).collect::<Vec<_>>())
}

fn json(value: &impl Serialize) -> String {
    serde_json::to_string(value).expect("plain structs have JSON")
}
