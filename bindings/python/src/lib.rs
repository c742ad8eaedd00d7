//! The native half of the Python package `rmnet`: sessions over NumPy arrays, conversion, pruning and proofs.
//!
//! Everything here is private to the package. The half in Python (`python/rmnet/`) checks and converts what users pass, names the results,
//! and carries the documentation; this half holds the library's types, releases the GIL around everything that takes time, and turns the
//! library's errors into the package's exceptions.

mod convert;
mod errors;
mod images;
mod open;
mod prune;
mod self_tests;
mod session;
mod targets;
mod verify;

use pyo3::prelude::*;

/// The native half of the package `rmnet`. Private: its names and signatures may change with any version.
///
/// Python without a GIL is not supported: `run` reads arrays as slices, which another thread could write to meanwhile.
#[pymodule(gil_used = true)]
mod _rmnet {
    #[pymodule_export]
    use super::convert::convert;
    #[pymodule_export]
    use super::errors::check_process;
    #[pymodule_export]
    use super::prune::prune;
    #[pymodule_export]
    use super::session::{Core, adapters};

    use super::*;

    #[pymodule_init]
    fn init(module: &Bound<'_, PyModule>) -> PyResult<()> {
        super::errors::report_panics();
        module.add("__version__", env!("CARGO_PKG_VERSION"))
    }
}
