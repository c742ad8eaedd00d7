//! Handles signals that end the program: unfinished files are removed first.

#[cfg(unix)]
use std::sync::atomic::{AtomicBool, Ordering};

/// Installs handlers: a signal that ends the program first removes the files being written, then ends the program as usual. If
/// another program cuts a mapped file short while it is read, the program ends with a message and exit code 3. Must be called
/// before anything is written. If no thread can be started, signals keep their default effect.
#[cfg(unix)]
pub fn watch(json: bool) {
    use rmnet::output::remove_unfinished;
    use signal_hook::consts::signal::{SIGHUP, SIGINT, SIGQUIT, SIGTERM};
    use signal_hook::iterator::Signals;
    use signal_hook::low_level::emulate_default_handler;

    // Signals that the parent process ignores, as `nohup` does, stay ignored.
    let ending: Vec<i32> =
        [SIGHUP, SIGINT, SIGQUIT, SIGTERM].into_iter().filter(|s| !is_ignored(*s)).collect();
    let (ready, started) = std::sync::mpsc::sync_channel::<()>(1);
    let wait = move || {
        let Ok(mut signals) = Signals::new(ending) else { return };
        drop(ready);
        if let Some(signal) = signals.forever().next() {
            remove_unfinished();
            let _ = emulate_default_handler(signal);
        }
    };
    // The handlers are installed by the thread that answers them, so that none is installed without that thread.
    if std::thread::Builder::new().name("signals".into()).stack_size(256 << 10).spawn(wait).is_ok() {
        let _ = started.recv();
    }
    // Exceeding the file size limit is then an ordinary write error.
    static MET: AtomicBool = AtomicBool::new(false);
    let _ = signal_hook::flag::register(libc::SIGXFSZ, &MET);
    cut_files(json);
}

#[cfg(unix)]
fn is_ignored(signal: i32) -> bool {
    let mut now = std::mem::MaybeUninit::<libc::sigaction>::zeroed();
    // SAFETY: no handler is set; `now` is written by the call before it is read, if the call succeeds.
    unsafe {
        libc::sigaction(signal, std::ptr::null(), now.as_mut_ptr()) == 0
            && now.assume_init().sa_sigaction == libc::SIG_IGN
    }
}

/// Reading a page of a mapped file that no longer exists raises SIGBUS in the reading thread.
#[cfg(unix)]
fn cut_files(json: bool) {
    const WHY: &str = "a file was cut short while it was read (SIGBUS): nothing is written";
    static ENDING: AtomicBool = AtomicBool::new(false);
    let (error, object) = (format!("error: {WHY}\n"), super::error_line(WHY) + "\n");
    let end = move || {
        if ENDING.swap(true, Ordering::SeqCst) {
            // Another thread is already ending the program.
            loop {
                // SAFETY: only waits.
                unsafe { libc::pause() };
            }
        }
        let say = |to: i32, text: &str| {
            // SAFETY: writes the bytes of a live string to a file descriptor.
            unsafe { libc::write(to, text.as_ptr().cast(), text.len()) };
        };
        if json {
            say(1, &object);
        }
        say(2, &error);
        rmnet::output::remove_unfinished();
        signal_hook::low_level::exit(3);
    };
    // SAFETY: the signal is raised by reading a mapped byte, where this thread holds no lock and is not in the allocator. The
    // handler writes two strings, takes a lock that no reader of a file holds, and ends the process.
    let _ = unsafe { signal_hook::low_level::register(libc::SIGBUS, end) };
}

/// Other systems have no such signals.
#[cfg(not(unix))]
pub fn watch(_json: bool) {}
