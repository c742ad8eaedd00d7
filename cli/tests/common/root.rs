//! Files of the repository: cargo starts a test in the folder of its package, and the program is started in the one above.

use std::path::{Path, PathBuf};

/// A path from the root of the repository.
pub fn at_root(path: impl AsRef<Path>) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(path)
}
