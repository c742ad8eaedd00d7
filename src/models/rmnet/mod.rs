//! The networks of the RMNet paper's own repository, as they are trained: residual connections in place, and batch norms
//! called `running*` that only measure statistics for a later conversion.
//!
//! What that repository writes after conversion is a plain chain: see [`sequential`](super::sequential), and [`converted`] for
//! networks converted block by block.

pub(super) mod converted;
pub(super) mod preact;
pub(super) mod rep;
pub(super) mod residual;
pub(super) mod rmnext;

use super::ModelError;
use super::layers::Layers;

/// Accepts the statistics that a batch norm without weights measured; nothing is computed with them.
fn statistics(net: &mut Layers<'_, '_>, name: &str, channels: usize) -> Result<(), ModelError> {
    for what in ["running_mean", "running_var"] {
        let tensor = format!("{name}.{what}");
        if net.reader.shape(&tensor).is_some() {
            net.reader.tensor(&tensor, &[Some(channels)])?;
        }
    }
    Ok(())
}
