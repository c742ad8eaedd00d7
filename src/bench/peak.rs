//! Peak throughput of the device, measured by two small programs: one only multiplies and adds, the other only copies.

use crate::session::{Error, Session};
use serde::Serialize;

/// Measured peaks of the device of a session.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Peak {
    /// f32 multiplications and additions per second.
    pub flops: f64,
    /// Bytes read and written per second by a copy too large for the caches.
    pub bytes_per_second: f64,
}

impl Peak {
    /// Measures the device of a session. Takes about half a second.
    ///
    /// # Errors
    /// As [`Session::run`].
    pub fn measure(session: &Session) -> Result<Peak, Error> {
        let (flops, bytes_per_second) = session.peak()?;
        Ok(Peak { flops, bytes_per_second })
    }
}
