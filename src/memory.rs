//! Checks that memory is available before it is used, since a failed allocation aborts the process.

/// More memory than is available.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
#[error("out of memory: {what} of {bytes} bytes, more than can be had")]
pub struct OutOfMemory {
    /// What the bytes are for.
    pub what: &'static str,
    /// Number of bytes.
    pub bytes: usize,
}

/// Allocates `bytes` at once and frees them untouched.
///
/// # Errors
/// [`OutOfMemory`] if the allocation fails.
pub fn ask(what: &'static str, bytes: usize) -> Result<(), OutOfMemory> {
    let mut probe: Vec<u8> = vec![];
    let asked = probe.try_reserve_exact(bytes);
    // Keeps the compiler from removing the unused allocation.
    std::hint::black_box(&mut probe);
    asked.map_err(|_| OutOfMemory { what, bytes })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_be_had_is_refused() {
        assert_eq!(ask("a page", 4096), Ok(()));
        for bytes in [1 << 55, usize::MAX] {
            let error = ask("a network", bytes).unwrap_err().to_string();
            assert!(error.contains("a network") && error.contains(&bytes.to_string()), "{error}");
        }
    }
}
