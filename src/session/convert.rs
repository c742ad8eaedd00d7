//! Writing a network without its residual connections.

use super::output::preserved_layers;
use super::{Error, Options};
use crate::graph::GraphError;
use crate::models::Model;
use crate::models::saved::{self, About};
use crate::rewrite::{self, Form, Rewritten};
use std::path::Path;

/// The network rewritten to a form, and the metadata that a file stores beside the graph.
///
/// # Errors
/// As [`rewrite::for_mode`].
pub fn converted(model: &Model, form: Form) -> Result<(Rewritten, About), GraphError> {
    let rewritten = rewrite::for_mode(&model.graph, form)?;
    let about = About { layers: preserved_layers(model, &rewritten), ..About::model(model) };
    Ok((rewritten, about))
}

impl Model {
    /// Writes the network in the form of [`Options::mode`] and [`Options::merge`], ending with [`Options::output`], as a safetensors file
    /// that [`Model::open`] reads, with batch norms folded. All residual connections are removed, except in blocks whose outcome is
    /// [`Outcome::Kept`](crate::Outcome::Kept); [`Mode::Residual`](crate::Mode::Residual) keeps all. The file gets its name only once it is
    /// complete. Other options are ignored.
    ///
    /// # Errors
    /// [`Error::Output`]; [`Error::Saved`] for a weight that overflows f32 or a file that cannot be written.
    pub fn save(&self, path: impl AsRef<Path>, options: &Options) -> Result<(), Error> {
        let (rewritten, about) = converted(&*options.output.of(self)?, options.form())?;
        Ok(saved::save(path.as_ref(), &rewritten.graph, &about)?)
    }

    /// Writes the network, ending with [`Options::output`], as an ONNX model of plain convolutions and activations: the literal form, with
    /// [`Options::merge`] applied. Other options are ignored.
    ///
    /// # Errors
    /// [`Error::Output`]; [`Error::Onnx`] for a model over protobuf's 2 GiB, a layer that ONNX has no operator for, or a file that cannot
    /// be written.
    #[cfg(feature = "onnx")]
    pub fn write_onnx(&self, path: impl AsRef<Path>, options: &Options) -> Result<(), Error> {
        let form = Form { mode: rewrite::Mode::Literal, merge: options.merge };
        let (rewritten, about) = converted(&*options.output.of(self)?, form)?;
        Ok(crate::onnx::write(path.as_ref(), &rewritten.graph, &about)?)
    }
}
