//! Files that appear only when they are whole.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::{fs, io};

/// Has `fill` write a file beside `path`, which takes that name when it is whole; where anything fails it is gone again and
/// what was at `path` is as it was. No other file is touched.
///
/// # Errors
/// Those of the file system, among them that what is at `path` may not be written, and those of `fill`.
pub fn write_whole(path: &Path, fill: impl FnOnce(&Path) -> io::Result<()>) -> io::Result<()> {
    let (partial, made) = create_beside(path)?;
    let write = || {
        // With the permissions that the user's mask gives a new file: `fill` may make it with others.
        let permissions = made.metadata()?.permissions();
        fill(&partial)?;
        fs::set_permissions(&partial, permissions)?;
        fs::rename(&partial, path)
    };
    write().inspect_err(|_| {
        let _ = fs::remove_file(&partial);
    })
}

/// Whether [`write_whole`] could begin: asked before what takes long.
///
/// # Errors
/// As [`write_whole`].
pub fn try_write(path: &Path) -> io::Result<()> {
    create_beside(path).and_then(|(partial, _)| fs::remove_file(partial))
}

/// A new file of a name that nothing has, which begins as that of `path`; what is at `path` may be written.
fn create_beside(path: &Path) -> io::Result<(PathBuf, fs::File)> {
    static COUNT: AtomicUsize = AtomicUsize::new(0);
    // Taking its place would ask for the folder's permission alone.
    if fs::metadata(path).is_ok_and(|m| m.is_file()) {
        fs::OpenOptions::new().write(true).open(path)?;
    }
    // A browser has neither processes nor files, and says so below.
    let process = if cfg!(target_arch = "wasm32") { 0 } else { std::process::id() };
    loop {
        let mut name = path.as_os_str().to_owned();
        name.push(format!(".{process}-{}.tmp", COUNT.fetch_add(1, Ordering::Relaxed)));
        let partial = PathBuf::from(name);
        match fs::OpenOptions::new().write(true).create_new(true).open(&partial) {
            // Left by a process of the same number that was killed.
            Err(e) if e.kind() == io::ErrorKind::AlreadyExists => (),
            made => return made.map(|file| (partial, file)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_else_is_touched_and_nothing_is_left() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("out");
        let beside = folder.path().join("out.tmp");
        fs::write(&beside, "precious").unwrap();
        fs::write(&path, "before").unwrap();
        let broken = write_whole(&path, |p| {
            fs::write(p, "half")?;
            Err(io::Error::other("broken"))
        });
        assert_eq!(broken.unwrap_err().to_string(), "broken");
        assert_eq!(fs::read_to_string(&path).unwrap(), "before");
        try_write(&path).unwrap();
        write_whole(&path, |p| fs::write(p, "whole")).unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "whole");
        assert_eq!(fs::read_to_string(&beside).unwrap(), "precious");
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 2);
        assert!(try_write(&folder.path().join("none/out")).is_err());
    }

    #[test]
    fn a_name_that_is_taken_is_left_alone() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("out");
        let taken: Vec<PathBuf> =
            (0..64).map(|n| folder.path().join(format!("out.{}-{n}.tmp", std::process::id()))).collect();
        taken.iter().for_each(|t| fs::write(t, "taken").unwrap());
        write_whole(&path, |p| fs::write(p, "whole")).unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "whole");
        assert!(taken.iter().all(|t| fs::read_to_string(t).unwrap() == "taken"));
    }
}
