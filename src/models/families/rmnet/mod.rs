//! The networks of the RMNet paper's own repository, as trained: they have residual connections, and batch norms called `running*` that
//! only measure statistics for a later conversion.
//!
//! After conversion the repository writes plain chains: see [`chain`](super::chain), and [`converted`] for networks converted block by
//! block.

pub(in crate::models) mod converted;
pub(in crate::models) mod preact;
pub(in crate::models) mod rep;
pub(in crate::models) mod residual;
pub(in crate::models) mod rmnext;
mod statistics;

use statistics::statistics;
