//! The statistics beside a network that is to be converted.

use crate::models::ModelError;
use crate::models::build::layers::Layers;

/// Accepts the statistics that a batch norm without weights measured; nothing is computed with them.
pub(super) fn statistics(net: &mut Layers<'_, '_>, name: &str, channels: usize) -> Result<(), ModelError> {
    for what in ["running_mean", "running_var"] {
        let tensor = format!("{name}.{what}");
        if net.reader.shape(&tensor).is_some() {
            net.reader.tensor(&tensor, &[Some(channels)])?;
        }
    }
    Ok(())
}
