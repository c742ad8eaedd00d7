//! What the library logs, handed to the caller.

use super::status::{Failure, c_text, call, rmnet_status};
use log::{Level, LevelFilter, Log, Metadata, Record};
use std::ffi::{c_char, c_void};
use std::sync::{OnceLock, PoisonError, RwLock};

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
/// and no longjmp may leave it. It must not call the library, nor wait for a thread that does.
pub type rmnet_log_callback = Option<
    unsafe extern "C" fn(level: i32, target: *const c_char, message: *const c_char, user: *mut c_void),
>;

/// The caller's function, and what it is passed.
struct Sink {
    callback: unsafe extern "C" fn(i32, *const c_char, *const c_char, *mut c_void),
    user: *mut c_void,
}

// SAFETY: the caller promises that the callback may be called on any thread with this pointer.
unsafe impl Send for Sink {}
// SAFETY: as above.
unsafe impl Sync for Sink {}

/// Held for reading while the function runs, so that it is not running any more once another one is set.
static SINK: RwLock<Option<Sink>> = RwLock::new(None);

struct CallbackLog;

impl Log for CallbackLog {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.level() <= log::max_level()
    }

    fn log(&self, record: &Record<'_>) {
        if !self.enabled(record.metadata()) {
            return;
        }
        let level = match record.level() {
            Level::Error => rmnet_log_level::RMNET_LOG_ERROR,
            Level::Warn => rmnet_log_level::RMNET_LOG_WARN,
            Level::Info => rmnet_log_level::RMNET_LOG_INFO,
            Level::Debug => rmnet_log_level::RMNET_LOG_DEBUG,
            Level::Trace => rmnet_log_level::RMNET_LOG_TRACE,
        };
        let (target, message) = (c_text(record.target()), c_text(&record.args().to_string()));
        if let Some(sink) = &*SINK.read().unwrap_or_else(PoisonError::into_inner) {
            // SAFETY: the caller's function takes these; both texts outlive the call.
            unsafe { (sink.callback)(level as i32, target.as_ptr(), message.as_ptr(), sink.user) };
        }
    }

    fn flush(&self) {}
}

/// Hands what the library and wgpu log to a function of the caller, up to the level `max_level`, a value
/// of rmnet_log_level. Without a function nothing is logged.
///
/// A second call replaces the function of the first; NULL removes it, and `max_level` is ignored. When the
/// call returns, the previous function is not running and is not called again: until then it and its
/// `user`, which is passed on as it is, have to stay.
///
/// RMNET_ERROR_USAGE: the level is unknown, or Rust code of the process has set a logger of its own.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rmnet_set_log_callback(
    callback: rmnet_log_callback,
    max_level: i32,
    user: *mut c_void,
) -> rmnet_status {
    call(|| {
        let level = match callback {
            Some(_) => level_filter(max_level)?,
            None => LevelFilter::Off,
        };
        static IS_OURS: OnceLock<bool> = OnceLock::new();
        if callback.is_some() && !*IS_OURS.get_or_init(|| log::set_logger(&CallbackLog).is_ok()) {
            return Err(Failure::usage("Rust code of this process has set a logger of its own"));
        }
        let mut sink = SINK.write().unwrap_or_else(PoisonError::into_inner);
        let previous = sink.take();
        *sink = callback.map(|callback| Sink { callback, user });
        // Another logger's level stays.
        if sink.is_some() || previous.is_some() {
            log::set_max_level(level);
        }
        Ok(())
    })
}

fn level_filter(level: i32) -> Result<LevelFilter, Failure> {
    Ok(match level {
        0 => LevelFilter::Off,
        1 => LevelFilter::Error,
        2 => LevelFilter::Warn,
        3 => LevelFilter::Info,
        4 => LevelFilter::Debug,
        5 => LevelFilter::Trace,
        other => {
            return Err(Failure::usage(format!(
                "max_level: expected RMNET_LOG_OFF (0) to RMNET_LOG_TRACE (5), found {other}"
            )));
        }
    })
}
