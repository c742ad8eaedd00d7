//! Writes files atomically.
//!
//! A file is written in a temporary folder with a short name beside its destination and moved there when complete; other files created by
//! its writer stay in that folder. Symbolic links are followed: the link stays, its target is replaced. Other hard links of the file keep
//! the old content.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::{fs, io};

/// Maximum number of symbolic links followed, as on Linux.
const MAX_LINKS: usize = 40;

/// Temporary folders of files that are being written.
static UNFINISHED: Mutex<Vec<PathBuf>> = Mutex::new(vec![]);

/// Lets `fill` write a temporary file, which replaces `path` when complete. On failure the temporary file is removed and `path` is
/// unchanged. No other file is touched.
///
/// # Errors
/// Errors of `fill` and of the file system, also if an existing file at `path` is not writable; [`io::ErrorKind::InvalidInput`] if `path`
/// is, or links to, something other than a regular file.
pub fn write_whole(path: &Path, fill: impl FnOnce(&Path) -> io::Result<()>) -> io::Result<()> {
    let target = target(path)?;
    let (partial, permissions) = Partial::beside(&target)?;
    fill(&partial.file())?;
    // `fill` may have changed the permissions.
    fs::set_permissions(partial.file(), permissions)?;
    fs::rename(partial.file(), &target)
}

/// Checks that [`write_whole`] could begin, before long work.
///
/// # Errors
/// As [`write_whole`].
pub fn try_write(path: &Path) -> io::Result<()> {
    Partial::beside(&target(path)?).map(drop)
}

/// Removes incomplete files and prevents new ones, for a process that is terminated by a signal.
pub fn remove_unfinished() {
    let unfinished = unfinished();
    for folder in unfinished.iter() {
        // Another thread may be creating a file in the folder.
        for _ in 0..100 {
            if fs::remove_dir_all(folder).is_ok() || !folder.exists() {
                break;
            }
        }
    }
    std::mem::forget(unfinished);
}

fn unfinished() -> MutexGuard<'static, Vec<PathBuf>> {
    UNFINISHED.lock().unwrap_or_else(PoisonError::into_inner)
}

fn refuse<T>(reason: &str) -> io::Result<T> {
    Err(io::Error::new(io::ErrorKind::InvalidInput, reason))
}

/// The file that a path refers to after following symbolic links, whether it exists or not.
fn target(path: &Path) -> io::Result<PathBuf> {
    let mut at = path.to_path_buf();
    for _ in 0..MAX_LINKS {
        if at.file_name().is_none() || at.as_os_str().as_encoded_bytes().ends_with(b"/") {
            return refuse("expected the name of a file to write");
        }
        let found = match fs::symlink_metadata(&at) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(at),
            found => found?,
        };
        if found.is_file() {
            return Ok(at);
        }
        if !found.is_symlink() {
            let what = if found.is_dir() { "a folder" } else { "a pipe, a device or the like" };
            return refuse(&format!("expected a regular file to write, found {what}"));
        }
        let folder = folder(&at);
        // `/dev/stdout` links to a file that a program has open. If it were replaced, the program would keep the old file.
        if folder.canonicalize().is_ok_and(|f| f.starts_with("/proc") || f.starts_with("/dev/fd")) {
            return refuse("expected a regular file to write, found one that a process has open");
        }
        at = folder.join(fs::read_link(&at)?);
    }
    refuse(&format!("expected a file to write, found more than {MAX_LINKS} symbolic links that lead on"))
}

/// The folder that a file is in.
fn folder(path: &Path) -> &Path {
    match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    }
}

/// The temporary folder of a file that is being written. Dropping this removes the folder with its content.
struct Partial(PathBuf);

impl Partial {
    /// Creates a folder with an unused name beside `path`, with an empty file in it. Also returns the permissions that the file gets in the
    /// end: those of the file at `path`, which must be writable, or if there is none, those of the user's mask.
    fn beside(path: &Path) -> io::Result<(Partial, fs::Permissions)> {
        static COUNT: AtomicUsize = AtomicUsize::new(0);
        let before = fs::metadata(path).ok();
        if before.is_some() {
            // Renaming over the file would only check the folder's permissions.
            fs::OpenOptions::new().write(true).open(path)?;
        }
        // A browser has neither processes nor files; creating the folder fails there.
        let process = if cfg!(target_arch = "wasm32") { 0 } else { std::process::id() };
        loop {
            // A short name, since the name of `path` may have the maximum length.
            let name = format!(".rmnet-{process}-{}.tmp", COUNT.fetch_add(1, Ordering::Relaxed));
            let partial = folder(path).join(name);
            // Hold the lock, so that `remove_unfinished` sees every folder that is created.
            let mut unfinished = unfinished();
            match fs::create_dir(&partial) {
                // Left over by a killed process with the same id.
                Err(e) if e.kind() == io::ErrorKind::AlreadyExists => (),
                Err(e) => return Err(e),
                Ok(()) => {
                    unfinished.push(partial.clone());
                    drop(unfinished);
                    let partial = Partial(partial);
                    let file = fs::File::create_new(partial.file())?;
                    let permissions = before.map_or_else(|| file.metadata(), Ok)?.permissions();
                    return Ok((partial, permissions));
                }
            }
        }
    }

    fn file(&self) -> PathBuf {
        self.0.join("new")
    }
}

impl Drop for Partial {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
        unfinished().retain(|partial| *partial != self.0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Names in a folder, sorted.
    fn names(folder: &Path) -> Vec<String> {
        let name = |e: io::Result<fs::DirEntry>| e.unwrap().file_name().to_string_lossy().into_owned();
        let mut names: Vec<String> = fs::read_dir(folder).unwrap().map(name).collect();
        names.sort();
        names
    }

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
        assert_eq!(names(folder.path()), ["out", "out.tmp"]);
        assert!(try_write(&folder.path().join("none/out")).is_err());
        for no_name in [Path::new(""), Path::new("/"), Path::new(".."), &folder.path().join("new/")] {
            assert!(try_write(no_name).is_err(), "{}", no_name.display());
        }
        assert_eq!(try_write(folder.path()).unwrap_err().kind(), io::ErrorKind::InvalidInput);
    }

    #[test]
    fn a_name_that_is_taken_is_left_alone() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("out");
        let taken: Vec<PathBuf> =
            (0..64).map(|n| folder.path().join(format!(".rmnet-{}-{n}.tmp", std::process::id()))).collect();
        taken.iter().for_each(|t| fs::write(t, "taken").unwrap());
        write_whole(&path, |p| fs::write(p, "whole")).unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "whole");
        assert!(taken.iter().all(|t| fs::read_to_string(t).unwrap() == "taken"));
    }

    #[cfg(unix)]
    #[test]
    fn links_are_followed_and_stay() {
        use std::os::unix::fs::symlink;
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        fs::create_dir(at("far")).unwrap();
        fs::write(at("far/there"), "before").unwrap();
        fs::hard_link(at("far/there"), at("far/same")).unwrap();
        symlink("far/there", at("near")).unwrap();
        symlink("near", at("link")).unwrap();
        symlink("far/new", at("dangling")).unwrap();
        symlink("loop", at("loop")).unwrap();
        symlink("far", at("to-folder")).unwrap();
        symlink("none/there", at("nowhere")).unwrap();
        for link in ["link", "dangling"] {
            write_whole(&at(link), |p| fs::write(p, "whole")).unwrap();
            assert!(fs::symlink_metadata(at(link)).unwrap().is_symlink(), "{link}");
            assert_eq!(fs::read_to_string(at(link)).unwrap(), "whole", "{link}");
        }
        assert_eq!(fs::read_to_string(at("far/same")).unwrap(), "before", "another name of the same file");
        for link in ["loop", "to-folder", "nowhere"] {
            assert!(try_write(&at(link)).is_err(), "{link}");
            assert!(fs::symlink_metadata(at(link)).unwrap().is_symlink(), "{link}");
        }
        assert_eq!(names(&at("far")), ["new", "same", "there"]);
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn what_is_no_file_is_not_replaced() {
        let folder = tempfile::tempdir().unwrap();
        let pipe = folder.path().join("pipe");
        assert!(std::process::Command::new("mkfifo").arg(&pipe).status().unwrap().success());
        for path in [&pipe, Path::new("/dev/null"), Path::new("/dev/full"), Path::new("/dev/stdin")] {
            let error = try_write(path).unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::InvalidInput, "{}: {error}", path.display());
        }
        assert_eq!(names(folder.path()), ["pipe"]);
    }

    #[cfg(unix)]
    #[test]
    fn the_longest_names_and_names_that_are_no_text() {
        use std::ffi::OsStr;
        use std::os::unix::ffi::OsStrExt;
        use std::os::unix::fs::PermissionsExt;
        let folder = tempfile::tempdir().unwrap();
        let long = "x".repeat(255);
        for name in [OsStr::new(&long), OsStr::from_bytes(b"a\xff\n")] {
            let path = folder.path().join(name);
            write_whole(&path, |p| fs::write(p, "whole")).unwrap();
            assert_eq!(fs::read_to_string(&path).unwrap(), "whole");
        }
        assert!(try_write(&folder.path().join("x".repeat(256))).is_err());
        // The new file keeps the permissions of the old one.
        let path = folder.path().join(&long);
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        write_whole(&path, |p| fs::write(p, "again")).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    }
}
