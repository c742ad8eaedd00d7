//! The file that keeps the results of self-tests.

use crate::errors::Failure;
use rmnet::{Error, SelfTests, Session};
use std::io;
use std::path::Path;

/// Opens a session with the results that a file keeps, and adds to the file what was tested anew: also where no kernel was right, which
/// every start would find out again.
pub fn kept_in(
    path: Option<&Path>,
    open: impl FnOnce() -> Result<Session, Error>,
) -> Result<Session, Failure> {
    let Some(path) = path else { return Ok(open()?) };
    let failure = |e: io::Error| Failure::file(format!("self_test_record: {}: {e}", path.display()), &e);
    SelfTests::read(path).map_err(failure)?.add_to_process();
    let opened = open();
    let written = write_new(path);
    let session = opened?;
    written.map_err(failure)?;
    Ok(session)
}

fn write_new(path: &Path) -> io::Result<()> {
    // Another process may have written some meanwhile.
    let before = SelfTests::read(path)?;
    let mut all = before.clone();
    all.merge(SelfTests::of_process());
    if all == before { Ok(()) } else { all.write(path) }
}
