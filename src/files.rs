//! Reads regular files only, without blocking at open, and up to a maximum length.
//!
//! Opening a pipe, a socket or a device could block, or its content could be endless.

use std::fs::{self, File};
use std::io::{self, Read};
use std::path::Path;

/// Opens a regular file for reading. Other kinds of files are not opened. If one replaces the file in between, opening still does not
/// block.
///
/// # Errors
/// Errors of the file system; [`io::ErrorKind::InvalidInput`] if it is not a regular file.
pub fn open(path: &Path) -> io::Result<File> {
    // Check by name first, since opening a device may have side effects.
    check(&fs::metadata(path)?)?;
    let mut options = fs::OpenOptions::new();
    options.read(true);
    #[cfg(unix)]
    {
        use std::os::unix::fs::OpenOptionsExt;
        options.custom_flags(libc::O_NONBLOCK | libc::O_NOCTTY);
    }
    let file = options.open(path)?;
    check(&file.metadata()?)?;
    Ok(file)
}

fn check(found: &fs::Metadata) -> io::Result<()> {
    if found.is_file() {
        return Ok(());
    }
    let what = if found.is_dir() { "a folder" } else { "a pipe, a device or the like" };
    let reason = format!("expected a regular file, found {what}");
    Err(io::Error::new(io::ErrorKind::InvalidInput, reason))
}

/// The bytes of a regular file of at most `most` bytes.
///
/// # Errors
/// As [`open`]; [`io::ErrorKind::FileTooLarge`] for a longer file.
pub fn read(path: &Path, most: u64) -> io::Result<Vec<u8>> {
    read_from(open(path)?, most)
}

/// The text of a regular file of at most `most` bytes, without the byte order mark that some editors put in front.
///
/// # Errors
/// As [`read`]; [`io::ErrorKind::InvalidData`] if the content is not UTF-8.
pub fn read_text(path: &Path, most: u64) -> io::Result<String> {
    let mut bytes = read(path, most)?;
    if bytes.starts_with(b"\xef\xbb\xbf") {
        bytes.drain(..3);
    }
    let refuse = |_| io::Error::new(io::ErrorKind::InvalidData, "expected text in UTF-8, found other bytes");
    String::from_utf8(bytes).map_err(refuse)
}

/// The remaining bytes of an open file, at most `most`.
///
/// # Errors
/// As [`read`].
pub fn read_from(file: File, most: u64) -> io::Result<Vec<u8>> {
    let too_large = |found: String| {
        let reason = format!("expected a file of {most} bytes at most, found {found}");
        Err(io::Error::new(io::ErrorKind::FileTooLarge, reason))
    };
    // The reported length may be wrong, as in /proc, so it only serves to refuse early and to save allocations.
    let length = file.metadata()?.len();
    if length > most {
        return too_large(length.to_string());
    }
    let mut bytes = vec![];
    bytes.try_reserve_exact(length as usize).map_err(|_| {
        io::Error::new(io::ErrorKind::OutOfMemory, format!("memory for its {length} bytes is not to be had"))
    })?;
    match file.take(most + 1).read_to_end(&mut bytes) {
        // Some files in /proc block until there is data.
        Err(e) if e.kind() == io::ErrorKind::WouldBlock => {
            Err(io::Error::new(io::ErrorKind::InvalidInput, "expected a file to read, found one to wait for"))
        }
        Err(e) => Err(e),
        Ok(_) if bytes.len() as u64 > most => too_large("more".into()),
        Ok(_) => Ok(bytes),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_read_up_to_its_bound() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        fs::write(&path, b"\xef\xbb\xbfabc").unwrap();
        assert_eq!(read(&path, 6).unwrap(), b"\xef\xbb\xbfabc");
        assert_eq!(read_text(&path, 6).unwrap(), "abc");
        assert_eq!(read(&path, 5).unwrap_err().kind(), io::ErrorKind::FileTooLarge);
        fs::write(&path, b"\xff").unwrap();
        assert_eq!(read_text(&path, 6).unwrap_err().kind(), io::ErrorKind::InvalidData);
        assert_eq!(read(folder.path(), 6).unwrap_err().kind(), io::ErrorKind::InvalidInput);
        assert_eq!(read(&folder.path().join("none"), 6).unwrap_err().kind(), io::ErrorKind::NotFound);
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn what_is_no_file_is_neither_waited_for_nor_read_without_end() {
        let folder = tempfile::tempdir().unwrap();
        let socket = folder.path().join("socket");
        let _held = std::os::unix::net::UnixListener::bind(&socket).unwrap();
        let pipe = folder.path().join("pipe");
        assert!(std::process::Command::new("mkfifo").arg(&pipe).status().unwrap().success());
        for path in [&socket, &pipe, Path::new("/dev/zero"), Path::new("/dev/full")] {
            let error = read(path, 1 << 20).unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::InvalidInput, "{}: {error}", path.display());
        }
        // A file with a reported length of 0.
        assert!(!read(Path::new("/proc/self/status"), 1 << 20).unwrap().is_empty());
        assert_eq!(read(Path::new("/proc/self/status"), 8).unwrap_err().kind(), io::ErrorKind::FileTooLarge);
    }
}
