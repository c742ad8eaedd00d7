//! Handling of memory exhaustion.

use std::alloc::{GlobalAlloc, Layout, System};

/// The system's allocator. If even a small allocation fails, the program exits with code 6 instead of aborting. Large allocations are
/// checked where they are made ([`rmnet::memory`]) and may be refused.
struct Allocator;

#[global_allocator]
static ALLOCATOR: Allocator = Allocator;

/// Allocations up to this size are small: their failure ends the program.
const MAX_SMALL_BYTES: usize = 64 << 10;

fn had(at: *mut u8, bytes: usize) -> *mut u8 {
    if at.is_null() && bytes <= MAX_SMALL_BYTES {
        out_of_memory();
    }
    at
}

#[cfg(unix)]
fn out_of_memory() -> ! {
    const WHY: &[u8] = b"error: out of memory\n";
    // SAFETY: writes a constant to a file descriptor and ends the process; no other code of it runs afterwards.
    unsafe {
        libc::write(2, WHY.as_ptr().cast(), WHY.len());
        libc::_exit(6)
    }
}

#[cfg(not(unix))]
fn out_of_memory() -> ! {
    std::process::exit(6)
}

// SAFETY: the system's allocator, except that a failed small allocation does not return.
unsafe impl GlobalAlloc for Allocator {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the caller's guarantee.
        had(unsafe { System.alloc(layout) }, layout.size())
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the caller's guarantee.
        had(unsafe { System.alloc_zeroed(layout) }, layout.size())
    }

    unsafe fn realloc(&self, at: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        // SAFETY: the caller's guarantee.
        had(unsafe { System.realloc(at, layout, size) }, size)
    }

    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        // SAFETY: the caller's guarantee.
        unsafe { System.dealloc(at, layout) }
    }
}
