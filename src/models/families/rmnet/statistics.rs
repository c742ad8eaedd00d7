//! Statistics stored with a network for a later conversion.

use crate::models::ModelError;
use crate::models::build::layers::Layers;

/// Reads the statistics of a batch norm without weights, so that they count as known tensors. They are not used.
pub(super) fn statistics(net: &mut Layers<'_, '_>, name: &str, channels: usize) -> Result<(), ModelError> {
    for what in ["running_mean", "running_var"] {
        let tensor = format!("{name}.{what}");
        if net.reader.shape(&tensor).is_some() {
            net.reader.tensor(&tensor, &[Some(channels)])?;
        }
    }
    Ok(())
}
