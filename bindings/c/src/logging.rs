//! What the library logs, handed to the caller.

use super::status::{Failure, c_text, call, rmnet_status};
use log::{Level, LevelFilter, Log, Metadata, Record};
use std::ffi::{c_char, c_void};

/// How much a message matters.
#[derive(Clone, Copy)]
#[repr(i32)]
pub enum rmnet_log_level {
    /// No messages.
    RMNET_LOG_OFF = 0,
    /// Something failed.
    RMNET_LOG_ERROR = 1,
    /// Something is not as it should be.
    RMNET_LOG_WARN = 2,
    /// What is worth knowing, such as adapters that are passed over.
    RMNET_LOG_INFO = 3,
    /// For a search for faults.
    RMNET_LOG_DEBUG = 4,
    /// Everything.
    RMNET_LOG_TRACE = 5,
}

/// A function of the caller that is given each message: `level` is a value of rmnet_log_level, `target`
/// the part that it comes from, such as "rmnet::session" or "wgpu_core", and `user` what was passed to
/// rmnet_set_log_callback(). Both texts are valid during the call only.
///
/// It is called on the thread that logs, so on several threads at once. It has to return: no exception
/// and no longjmp may leave it. It must not call the library.
pub type rmnet_log_callback = Option<
    unsafe extern "C" fn(level: i32, target: *const c_char, message: *const c_char, user: *mut c_void),
>;

struct CallbackLog {
    callback: unsafe extern "C" fn(i32, *const c_char, *const c_char, *mut c_void),
    user: *mut c_void,
}

// SAFETY: the caller promises that the callback may be called on any thread with this pointer.
unsafe impl Send for CallbackLog {}
// SAFETY: as above.
unsafe impl Sync for CallbackLog {}

impl Log for CallbackLog {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.level() <= log::max_level()
    }

    fn log(&self, record: &Record<'_>) {
        if self.enabled(record.metadata()) {
            let level = match record.level() {
                Level::Error => rmnet_log_level::RMNET_LOG_ERROR,
                Level::Warn => rmnet_log_level::RMNET_LOG_WARN,
                Level::Info => rmnet_log_level::RMNET_LOG_INFO,
                Level::Debug => rmnet_log_level::RMNET_LOG_DEBUG,
                Level::Trace => rmnet_log_level::RMNET_LOG_TRACE,
            };
            let (target, message) = (c_text(record.target()), c_text(&record.args().to_string()));
            // SAFETY: the caller's function takes these; both texts outlive the call.
            unsafe { (self.callback)(level as i32, target.as_ptr(), message.as_ptr(), self.user) };
        }
    }

    fn flush(&self) {}
}

/// Hands what the library and wgpu log to a function of the caller, up to the level `max_level`, a value
/// of rmnet_log_level. Without it nothing is logged.
///
/// It can be set once in a process: a second call, or one in a process where Rust code has set a logger,
/// is RMNET_ERROR_USAGE. `user` is passed on as it is; it and the function have to stay until the process
/// ends.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rmnet_set_log_callback(
    callback: rmnet_log_callback,
    max_level: i32,
    user: *mut c_void,
) -> rmnet_status {
    call(|| {
        let callback = callback
            .ok_or_else(|| Failure::usage("callback: expected a pointer to a function, found NULL"))?;
        let levels = [
            LevelFilter::Off,
            LevelFilter::Error,
            LevelFilter::Warn,
            LevelFilter::Info,
            LevelFilter::Debug,
            LevelFilter::Trace,
        ];
        let level = usize::try_from(max_level).ok().and_then(|level| levels.get(level));
        let unknown = || {
            Failure::usage(format!(
                "max_level: expected RMNET_LOG_OFF (0) to RMNET_LOG_TRACE (5), found {max_level}"
            ))
        };
        let level = *level.ok_or_else(unknown)?;
        log::set_boxed_logger(Box::new(CallbackLog { callback, user }))
            .map_err(|_| Failure::usage("the process has a logger already"))?;
        log::set_max_level(level);
        Ok(())
    })
}
