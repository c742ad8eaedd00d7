//! Signals that end the program: the files it has not finished go with it.

#[cfg(unix)]
use std::sync::atomic::{AtomicBool, Ordering};

/// Has signals that end the program remove what it was writing, and then end it as they would have. A mapped file that another program cuts
/// short while it is read ends it with a message and exit code 3. To be called before anything is written; where no thread is to be
/// had for it, signals do as they always did.
#[cfg(unix)]
pub fn watch(json: bool) {
    use rmnet::output::remove_unfinished;
    use signal_hook::consts::signal::{SIGHUP, SIGINT, SIGQUIT, SIGTERM};
    use signal_hook::iterator::Signals;
    use signal_hook::low_level::emulate_default_handler;

    // Ignored by whoever started this, as `nohup` does: they stay so.
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
    // The handlers are set on the thread that answers them, so that none is set where there is no such thread.
    if std::thread::Builder::new().name("signals".into()).stack_size(256 << 10).spawn(wait).is_ok() {
        let _ = started.recv();
    }
    // A file beyond the limit on its size is then an error of the write, as any other.
    static MET: AtomicBool = AtomicBool::new(false);
    let _ = signal_hook::flag::register(libc::SIGXFSZ, &MET);
    cut_files(json);
}

#[cfg(unix)]
fn is_ignored(signal: i32) -> bool {
    let mut now = std::mem::MaybeUninit::<libc::sigaction>::zeroed();
    // SAFETY: nothing is set; `now` is written before it is read, by a call that succeeds.
    unsafe {
        libc::sigaction(signal, std::ptr::null(), now.as_mut_ptr()) == 0
            && now.assume_init().sa_sigaction == libc::SIG_IGN
    }
}

/// A page of a mapped file that is not there any more is met as SIGBUS, by the thread that reads it.
#[cfg(unix)]
fn cut_files(json: bool) {
    const WHY: &str = "a file was cut short while it was read (SIGBUS): nothing is written";
    static ENDING: AtomicBool = AtomicBool::new(false);
    let (error, object) = (format!("error: {WHY}\n"), super::error_line(WHY) + "\n");
    let end = move || {
        if ENDING.swap(true, Ordering::SeqCst) {
            // Another thread is at it.
            loop {
                // SAFETY: it waits, and has no other effect.
                unsafe { libc::pause() };
            }
        }
        let say = |to: i32, text: &str| {
            // SAFETY: bytes of a live text, written to a descriptor.
            unsafe { libc::write(to, text.as_ptr().cast(), text.len()) };
        };
        if json {
            say(1, &object);
        }
        say(2, &error);
        rmnet::output::remove_unfinished();
        signal_hook::low_level::exit(3);
    };
    // SAFETY: the signal is met at the read of a mapped byte, where this thread holds no lock and is inside no allocator; what is called
    // then writes two texts, takes a lock that no reader of a file holds, and ends the process.
    let _ = unsafe { signal_hook::low_level::register(libc::SIGBUS, end) };
}

/// There are no such signals.
#[cfg(not(unix))]
pub fn watch(_json: bool) {}
