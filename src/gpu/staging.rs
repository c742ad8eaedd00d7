//! What one run in flight needs on the host.

use std::sync::Arc;
use wgpu::{Buffer, CommandBuffer};

/// The host's end of a run: two buffers it can map, and the commands of the next run, recorded ahead.
pub(super) struct RunSlot {
    /// Mapped while no run is in flight.
    pub(super) upload: Buffer,
    pub(super) download: Buffer,
    pub(super) commands: Option<CommandBuffer>,
    /// Counts the turns there are.
    pub(super) _token: Arc<()>,
}
