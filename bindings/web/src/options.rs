//! Options, which arrive as JSON.

use crate::error::WebError;
use rmnet::{Assume, Device, LoadOptions, OutputChoice, Precision, Size, Tuning};
use serde::Deserialize;
use serde_json::Value;
use std::collections::BTreeMap;

/// The options of a network. Unknown names are refused.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Options {
    /// `auto`, `webgpu` or `cpu`.
    device: Option<String>,
    /// `f32` or `f16`.
    precision: Option<String>,
    /// Images of a run at most.
    batch: Option<usize>,
    /// `[height, width]` of the input.
    size: Option<[usize; 2]>,
    /// `logits`, `features` or a layer.
    output: Option<String>,
    /// Whether neighbouring 1x1 convolutions are merged.
    merge: bool,
    /// Assumptions about what no tensor shows, such as `{"stem_stride": 1}`.
    assume: BTreeMap<String, Value>,
    /// The JSON of a tuning.
    tuning: Option<String>,
}

impl Options {
    pub fn parse(json: &str) -> Result<Options, WebError> {
        serde_json::from_str(json).map_err(|e| WebError::new("option", format!("options: {e}")))
    }

    /// What the checkpoint is loaded with.
    pub fn load(&self) -> Result<LoadOptions, WebError> {
        let mut assume = Assume::default();
        for (key, value) in &self.assume {
            assume.state(key, &text(value))?;
        }
        let options = LoadOptions::default().assume(assume);
        Ok(match self.size {
            Some([height, width]) => options.size(Size::new(height, width)),
            None => options,
        })
    }

    /// What the session is opened with.
    pub fn session(&self) -> Result<rmnet::Options, WebError> {
        let unknown = |what: &str, found: &str, expected: &str| {
            WebError::new("option", format!("{what}: expected {expected}, found `{found}`"))
        };
        let device = match self.device.as_deref() {
            None | Some("auto") => Device::Auto,
            Some("cpu") => Device::Cpu,
            Some("webgpu") => Device::Gpu(rmnet::AdapterChoice::Best),
            Some(other) => return Err(unknown("device", other, "auto, webgpu or cpu")),
        };
        let precision = match self.precision.as_deref() {
            None | Some("f32") => Precision::F32,
            Some("f16") => Precision::F16,
            Some(other) => return Err(unknown("precision", other, "f32 or f16")),
        };
        let mut options = rmnet::Options::default().device(device).precision(precision).merge(self.merge);
        options.batch = self.batch.unwrap_or(1);
        if let Some(output) = &self.output {
            let Ok(output) = output.parse::<OutputChoice>();
            options.output = output;
        }
        if let Some(json) = &self.tuning {
            let tuning = Tuning::from_json(json);
            options.tuning = tuning.map_err(|e| WebError::new("option", format!("tuning: {e}")))?;
        }
        Ok(options)
    }
}

/// An assumed value as the library reads it: lists with commas, texts without quotes.
fn text(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Array(values) => values.iter().map(text).collect::<Vec<_>>().join(","),
        other => other.to_string(),
    }
}
