//! Host-side resources of one run in flight.

use std::sync::Arc;
use wgpu::{Buffer, CommandBuffer};

/// Host-side resources of a run: staging buffers for input and output, and the commands of the slot's next run, recorded ahead.
pub(super) struct RunSlot {
    /// Mapped while no run is in flight.
    pub(super) upload: Buffer,
    pub(super) download: Buffer,
    pub(super) commands: Option<CommandBuffer>,
    /// Counts the existing slots.
    pub(super) _token: Arc<()>,
}
