//! Memory for the values that every run reads.

/// `len` zeros. On Linux in huge pages, where the system has some: a run reads all weights once, and with pages of 4 KiB would look up a
/// page for every 4 KiB of them.
pub(super) fn zeros(len: usize) -> Vec<f32> {
    let mut values: Vec<f32> = vec![0.0; len];
    advise(&mut values);
    values
}

#[cfg(target_os = "linux")]
fn advise(values: &mut [f32]) {
    const HUGE: usize = 2 << 20;
    let start = values.as_ptr().addr().next_multiple_of(HUGE);
    let end = (values.as_ptr().addr() + size_of_val(values)) / HUGE * HUGE;
    if start < end {
        let inside = values.as_mut_ptr().cast::<u8>().wrapping_add(start - values.as_ptr().addr());
        // SAFETY: the range is inside of `values`, and the advice changes none of them. It may fail, and then pages are small.
        unsafe { libc::madvise(inside.cast(), end - start, libc::MADV_HUGEPAGE) };
    }
}

#[cfg(not(target_os = "linux"))]
fn advise(_: &mut [f32]) {}
