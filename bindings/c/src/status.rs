//! Status codes, the message of the last error, and the wrapper around every call that can fail.

use super::process;
use rmnet::error::{CheckpointError, ImageError, ModelError, ThreadsError, TuningError};
use rmnet::{Error, ErrorKind};
use std::any::Any;
use std::cell::RefCell;
use std::ffi::{CString, c_char};
use std::panic::{self, AssertUnwindSafe, catch_unwind};
use std::sync::Once;

/// The result of a call. The numbers are the exit codes of the program `rmnet`, which also has 5
/// (verification failed) and 7 (slower than a baseline). A later version may add further numbers:
/// take every value other than RMNET_OK as a failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(i32)]
pub enum rmnet_status {
    /// Done.
    RMNET_OK = 0,
    /// The call is wrong: NULL, an option, a length, the size of a struct, pixels that do not have the
    /// length that they state, or classes of an output that is no logits. In a child of fork(): any call.
    RMNET_ERROR_USAGE = 2,
    /// The checkpoint, image or input cannot be used, or the network's values are not finite.
    RMNET_ERROR_INPUT = 3,
    /// There is no such adapter, its limits are too small for the network, or its driver computes wrong.
    RMNET_ERROR_ADAPTER = 4,
    /// The device was lost or did not respond, or there is too little memory or no thread.
    RMNET_ERROR_RESOURCES = 6,
    /// A bug in rmnet, please report it. The session that was used should be freed.
    RMNET_ERROR_PANIC = 101,
}

/// Why a call failed.
pub struct Failure {
    status: rmnet_status,
    message: String,
}

impl Failure {
    /// A mistake of the caller.
    pub fn usage(message: impl Into<String>) -> Failure {
        Failure { status: rmnet_status::RMNET_ERROR_USAGE, message: message.into() }
    }

    /// A file or an input that cannot be used.
    pub fn input(message: impl Into<String>) -> Failure {
        Failure { status: rmnet_status::RMNET_ERROR_INPUT, message: message.into() }
    }

    /// Memory that the system refused.
    pub fn memory(bytes: usize, what: &str) -> Failure {
        let message = format!("{what}: no memory for {bytes} bytes");
        Failure { status: rmnet_status::RMNET_ERROR_RESOURCES, message }
    }

    fn panic(payload: &(dyn Any + Send)) -> Failure {
        let text = payload.downcast_ref::<String>().map(String::as_str);
        let text = text.or_else(|| payload.downcast_ref::<&str>().copied()).unwrap_or("no message");
        let message = format!("a bug in rmnet, please report it: {text}");
        Failure { status: rmnet_status::RMNET_ERROR_PANIC, message }
    }
}

impl From<Error> for Failure {
    fn from(e: Error) -> Failure {
        let status = match e.kind() {
            ErrorKind::Usage => rmnet_status::RMNET_ERROR_USAGE,
            ErrorKind::Adapter => rmnet_status::RMNET_ERROR_ADAPTER,
            ErrorKind::Resources => rmnet_status::RMNET_ERROR_RESOURCES,
            _ => rmnet_status::RMNET_ERROR_INPUT,
        };
        Failure { status, message: e.to_string() }
    }
}

impl From<CheckpointError> for Failure {
    fn from(e: CheckpointError) -> Failure {
        Failure::from(Error::from(e))
    }
}

impl From<ModelError> for Failure {
    fn from(e: ModelError) -> Failure {
        Failure::from(Error::from(e))
    }
}

impl From<ThreadsError> for Failure {
    fn from(e: ThreadsError) -> Failure {
        Failure::from(Error::from(e))
    }
}

impl From<TuningError> for Failure {
    fn from(e: TuningError) -> Failure {
        Failure::input(e.to_string())
    }
}

impl From<ImageError> for Failure {
    fn from(e: ImageError) -> Failure {
        Failure::input(e.to_string())
    }
}

thread_local! {
    static LAST: RefCell<CString> = RefCell::default();
}

/// The message of the last call on this thread that failed: what is wrong, what was expected and what
/// was found. Empty if none has failed. Calls that succeed leave it as it is, so ask only after a
/// status other than RMNET_OK. Functions without a status set it only after a panic, a bug in rmnet, and
/// in a child of fork().
///
/// The library owns the text. It is valid until the next call on this thread that fails, or until the
/// thread ends. Never NULL.
#[unsafe(no_mangle)]
pub extern "C" fn rmnet_last_error() -> *const c_char {
    // While a thread ends its message may be gone already.
    LAST.try_with(|last| last.borrow().as_ptr()).unwrap_or(c"".as_ptr())
}

/// Runs the body of a call: keeps the message of a failure, and turns a panic into one.
pub fn call(body: impl FnOnce() -> Result<(), Failure>) -> rmnet_status {
    match guarded(body) {
        Ok(()) => rmnet_status::RMNET_OK,
        Err(failure) => keep(failure),
    }
}

/// Runs the body of a call that has no status. Gives `otherwise`, and keeps the message, if it panics or this is a child of fork().
pub fn answer<T>(otherwise: T, body: impl FnOnce() -> T) -> T {
    match guarded(|| Ok(body())) {
        Ok(value) => value,
        Err(failure) => {
            keep(failure);
            otherwise
        }
    }
}

fn guarded<T>(body: impl FnOnce() -> Result<T, Failure>) -> Result<T, Failure> {
    process::check()?;
    catch_unwind(AssertUnwindSafe(body)).unwrap_or_else(|payload| {
        let failure = Failure::panic(&*payload);
        // Its destructor may panic too, and nothing would catch that.
        std::mem::forget(payload);
        Err(failure)
    })
}

/// Keeps the message of a failure as the thread's last one.
fn keep(failure: Failure) -> rmnet_status {
    let message = c_text(&failure.message);
    let _ = LAST.try_with(|last| *last.borrow_mut() = message);
    failure.status
}

/// Makes the panic hook silent about image decoders: their panics are caught, and are the error of a damaged file. The hook that was
/// there before reports every other panic.
pub fn silence_decoders() {
    static SILENCED: Once = Once::new();
    SILENCED.call_once(|| {
        let report = panic::take_hook();
        panic::set_hook(Box::new(move |info| {
            if !rmnet::images::is_decoding() {
                report(info);
            }
        }));
    });
}

/// A text as C has it. A NUL inside, which a file may hold, becomes U+FFFD.
pub fn c_text(text: &str) -> CString {
    CString::new(text.replace('\0', "\u{fffd}")).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::ffi::CStr;

    fn last() -> String {
        // SAFETY: the message is valid until the next failure of this thread.
        unsafe { CStr::from_ptr(rmnet_last_error()) }.to_str().expect("UTF-8").into()
    }

    #[test]
    fn statuses_are_the_numbers_of_the_kinds() {
        for (kind, status) in [
            (ErrorKind::Usage, rmnet_status::RMNET_ERROR_USAGE),
            (ErrorKind::Input, rmnet_status::RMNET_ERROR_INPUT),
            (ErrorKind::Adapter, rmnet_status::RMNET_ERROR_ADAPTER),
            (ErrorKind::Resources, rmnet_status::RMNET_ERROR_RESOURCES),
        ] {
            assert_eq!(kind as i32, status as i32);
        }
    }

    #[test]
    fn a_panic_is_a_status_and_a_message_of_its_thread() {
        assert_eq!(call(|| panic!("of {}", "text")), rmnet_status::RMNET_ERROR_PANIC);
        assert!(last().ends_with("of text"), "{}", last());
        assert_eq!(call(|| std::panic::panic_any(7)), rmnet_status::RMNET_ERROR_PANIC);
        assert!(last().ends_with("no message"), "{}", last());
        std::thread::scope(|scope| scope.spawn(|| assert_eq!(last(), "")).join().expect("no panic"));
        assert_eq!(answer(3, || panic!("without a status")), 3);
        assert!(last().ends_with("without a status"), "{}", last());
    }

    /// The payload of a panic is not dropped outside of what catches panics.
    #[test]
    fn a_payload_that_panics_when_dropped_is_a_status() {
        struct Again;
        impl Drop for Again {
            fn drop(&mut self) {
                panic!("dropped");
            }
        }
        assert_eq!(call(|| std::panic::panic_any(Again)), rmnet_status::RMNET_ERROR_PANIC);
        assert!(last().ends_with("no message"), "{}", last());
    }

    #[test]
    fn a_nul_in_a_message_does_not_cut_it() {
        assert_eq!(call(|| Err(Failure::usage("a\0b"))), rmnet_status::RMNET_ERROR_USAGE);
        assert_eq!(last(), "a\u{fffd}b");
        assert_eq!(call(|| Ok(())), rmnet_status::RMNET_OK);
        assert_eq!(last(), "a\u{fffd}b");
    }
}
