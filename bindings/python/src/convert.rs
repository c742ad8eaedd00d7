//! Writing a network without its residual connections.

use crate::errors::{Failure, outside};
use crate::open::{LoadArgs, Source, output};
use crate::session::outcome;
use crate::targets::{self, Format};
use pyo3::prelude::*;
use rmnet::models::saved;
use rmnet::rewrite::Form;
use rmnet::{Error, Mode, converted, onnx};
use std::path::PathBuf;

/// What was written.
#[derive(IntoPyObject)]
pub struct Converted {
    format: &'static str,
    bytes: u64,
    /// Name, outcome and sentence of every residual block.
    blocks: Vec<(String, &'static str, String)>,
    /// Largest difference of a carried channel's weight from the identity.
    deviation: f64,
}

/// Writes the plain chain. What it does to the blocks is told by the rewrite, which is below the library's public face.
#[pyfunction]
pub fn convert(
    py: Python<'_>,
    path: PathBuf,
    out: PathBuf,
    load: LoadArgs,
    choice: &str,
    literal: bool,
    merge: bool,
) -> PyResult<Converted> {
    outside(py, || -> Result<Converted, Failure> {
        let format = Format::of(&out)?;
        targets::check(&out, &path, format)?;
        let model = Source::Path(path).load(&load.options()?)?.model;
        let model = output(choice).of(&model).map_err(Error::from)?.into_owned();
        let mode = if literal || format == Format::Onnx { Mode::Literal } else { Mode::Structured };
        let (rewritten, about) = converted(&model, Form { mode, merge })?;
        match format {
            Format::Safetensors => saved::save(&out, &rewritten.graph, &about)?,
            Format::Onnx => onnx::write(&out, &rewritten.graph, &about)?,
        }
        let blocks = rewritten.blocks.iter();
        Ok(Converted {
            format: format.name(),
            bytes: std::fs::metadata(&out).map_err(|e| Failure::file(e.to_string(), &e))?.len(),
            blocks: blocks.map(|b| (b.block.clone(), outcome(&b.outcome), b.outcome.to_string())).collect(),
            deviation: rewritten.deviation,
        })
    })
}
