//! Runs decoders on untrusted files, turning panics into errors.

use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind};

thread_local! {
    static DECODING: Cell<bool> = const { Cell::new(false) };
}

/// Whether this thread is inside a decoder. A panic there is caught and becomes an error, so a program's panic hook may
/// stay silent about it; the library itself installs no hook.
pub fn is_decoding() -> bool {
    DECODING.get()
}

/// The result of `decode`, or `None` if it panicked.
pub(super) fn guarded<T>(decode: impl FnOnce() -> T) -> Option<T> {
    let outer = DECODING.replace(true);
    // Unwind safe: `decode` only reads what it borrows, and its result is dropped by the panic.
    let result = catch_unwind(AssertUnwindSafe(decode));
    DECODING.set(outer);
    result.ok()
}
