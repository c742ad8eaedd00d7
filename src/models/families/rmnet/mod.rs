//! The networks of the RMNet paper's own repository, as they are trained: residual connections in place, and batch norms
//! called `running*` that only measure statistics for a later conversion.
//!
//! What that repository writes after conversion is a plain chain: see [`chain`](super::chain), and [`converted`] for networks
//! converted block by block.

pub(in crate::models) mod converted;
pub(in crate::models) mod preact;
pub(in crate::models) mod rep;
pub(in crate::models) mod residual;
pub(in crate::models) mod rmnext;
mod statistics;

use statistics::statistics;
