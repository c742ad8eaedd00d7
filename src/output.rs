//! Files that appear only when they are whole.

use std::path::{Path, PathBuf};
use std::{fs, io};

/// Has `fill` write a file beside `path`, which takes that name when it is whole; where anything fails it is gone again and
/// what was at `path` is as it was.
///
/// # Errors
/// Those of the file system, and those of `fill`.
pub(crate) fn write_whole(path: &Path, fill: impl FnOnce(&Path) -> io::Result<()>) -> io::Result<()> {
    let mut partial = path.as_os_str().to_owned();
    partial.push(".tmp");
    let partial = PathBuf::from(partial);
    // Made here first, with the permissions that the user's mask gives a new file: `fill` may make it with others.
    let write = || {
        let made = fs::File::create(&partial)?.metadata()?;
        fill(&partial)?;
        fs::set_permissions(&partial, made.permissions())?;
        fs::rename(&partial, path)
    };
    write().inspect_err(|_| {
        let _ = fs::remove_file(&partial);
    })
}
