//! What a caller passes, checked as far as it can be: NULL, alignment, lengths, UTF-8, and the sizes of structs.

use super::status::Failure;
use std::ffi::{CStr, c_char};
use std::mem::MaybeUninit;
use std::path::PathBuf;

fn check<T>(pointer: *const T, name: &str) -> Result<(), Failure> {
    if pointer.is_null() {
        return Err(Failure::usage(format!("{name}: expected a pointer, found NULL")));
    }
    match pointer.is_aligned() {
        true => Ok(()),
        false => Err(Failure::usage(format!(
            "{name}: expected an address that is a multiple of {}, found {pointer:p}",
            align_of::<T>()
        ))),
    }
}

/// The handle or struct at `pointer`.
///
/// # Safety
/// Unless it is NULL, `pointer` is to a `T` that nobody changes or frees for `'a`.
pub unsafe fn given<'a, T>(pointer: *const T, name: &str) -> Result<&'a T, Failure> {
    check(pointer, name)?;
    // SAFETY: neither NULL nor unaligned, and the caller promises the rest.
    Ok(unsafe { &*pointer })
}

/// The `len` values at `pointer`, which may be NULL if there are none.
///
/// # Safety
/// Unless it is NULL, `pointer` is to `len` values that nobody changes or frees for `'a`.
pub unsafe fn values<'a, T>(pointer: *const T, len: usize, name: &str) -> Result<&'a [T], Failure> {
    if len == 0 {
        return Ok(&[]);
    }
    check_values(pointer, len, name)?;
    // SAFETY: neither NULL nor unaligned, no more than a slice may hold, and the caller promises the rest.
    Ok(unsafe { std::slice::from_raw_parts(pointer, len) })
}

/// Refuses a pointer that cannot be to `len` values.
pub fn check_values<T>(pointer: *const T, len: usize, name: &str) -> Result<(), Failure> {
    check(pointer, name)?;
    match len.checked_mul(size_of::<T>()).is_some_and(|bytes| isize::try_from(bytes).is_ok()) {
        true => Ok(()),
        false => Err(Failure::usage(format!("{name}: there is no memory of {len} values"))),
    }
}

/// Writes one value to a place of the caller.
///
/// # Safety
/// Unless it is NULL, `place` is to memory for a `T`.
pub unsafe fn store<T>(place: *mut T, value: T, name: &str) -> Result<(), Failure> {
    check(place, name)?;
    // SAFETY: neither NULL nor unaligned, and the caller promises the rest.
    unsafe { place.write(value) };
    Ok(())
}

/// Copies values to a buffer of the caller, who has room for `len`.
///
/// # Safety
/// Unless it is NULL, `place` is to memory for `len` values.
pub unsafe fn copy<T: Copy>(values: &[T], place: *mut T, len: usize, name: &str) -> Result<(), Failure> {
    check_values(place, len, name)?;
    if values.len() > len {
        return Err(no_room(values.len(), len, name));
    }
    // SAFETY: neither NULL nor unaligned, with room for the values, and the caller promises the rest.
    unsafe { place.copy_from(values.as_ptr(), values.len()) };
    Ok(())
}

/// A buffer of the caller that is too small.
pub fn no_room(expected: usize, found: usize, name: &str) -> Failure {
    Failure::usage(format!("{name}: expected room for {expected} values, found {found}"))
}

/// `len` zeros, or the failure that there is no memory for them.
pub fn zeros(len: usize, what: &str) -> Result<Vec<f32>, Failure> {
    let mut values = Vec::new();
    let refused = |_| Failure::memory(len.saturating_mul(size_of::<f32>()), what);
    values.try_reserve_exact(len).map_err(refused)?;
    values.resize(len, 0.0);
    Ok(values)
}

/// The text at `pointer`; `None` for NULL.
///
/// # Safety
/// Unless it is NULL, `pointer` is to a text that ends with NUL and that nobody changes or frees for `'a`.
pub unsafe fn text<'a>(pointer: *const c_char, name: &str) -> Result<Option<&'a str>, Failure> {
    if pointer.is_null() {
        return Ok(None);
    }
    // SAFETY: not NULL, and the caller promises the rest.
    let text = unsafe { CStr::from_ptr(pointer) };
    let not_utf8 = |e: std::str::Utf8Error| {
        Failure::usage(format!("{name}: expected UTF-8, found other bytes from byte {}", e.valid_up_to()))
    };
    text.to_str().map(Some).map_err(not_utf8)
}

/// The path at `pointer`: on Unix any bytes, on other systems UTF-8.
///
/// # Safety
/// As [`text`].
pub unsafe fn path(pointer: *const c_char, name: &str) -> Result<PathBuf, Failure> {
    check(pointer, name)?;
    #[cfg(unix)]
    {
        use std::os::unix::ffi::OsStrExt;
        // SAFETY: not NULL, and the caller promises the rest.
        let bytes = unsafe { CStr::from_ptr(pointer) }.to_bytes();
        Ok(PathBuf::from(std::ffi::OsStr::from_bytes(bytes)))
    }
    #[cfg(not(unix))]
    {
        // SAFETY: as promised by the caller.
        Ok(PathBuf::from(unsafe { text(pointer, name) }?.unwrap_or_default()))
    }
}

/// A struct whose first field is its size, so that later versions can add fields at its end.
///
/// # Safety
/// The type is `repr(C)`, without padding, its first field is a `usize`, and zero bytes are a value of it.
pub unsafe trait Versioned: Copy {
    /// Its size in the first version that had it: where the last field of that version ends. A field that is added leaves it as it is.
    const FIRST_SIZE: usize;

    /// A larger size was never set: the memory of the caller's struct held something else.
    const MAX_SIZE: usize = 2 * size_of::<Self>();
}

/// The size of the field that `_field` gives.
pub const fn size_of_field<S, T>(_field: fn(&S) -> &T) -> usize {
    size_of::<T>()
}

/// Asserts at compile time that a struct, all of whose fields are listed, has no padding: a field of a later version would lie in padding
/// at the end, which an older caller has not set.
macro_rules! assert_no_padding {
    ($type:ident { $($field:ident),+ $(,)? }) => {
        const _: () = {
            let _all: fn(&$type) = |$type { $($field: _),+ }| ();
            assert!(size_of::<$type>() == 0 $(+ $crate::pointers::size_of_field(|s: &$type| &s.$field))+);
        };
    };
}
pub(crate) use assert_no_padding;

/// Reads a struct of the caller's version: fields that an older version lacks are zero, and fields of a newer
/// version have to be.
///
/// # Safety
/// Unless it is NULL, `pointer` is to a struct of the size that its first field says.
pub unsafe fn read<T: Versioned>(pointer: *const T, name: &str) -> Result<T, Failure> {
    // SAFETY: as promised by the caller.
    let size = unsafe { size_of_given(pointer, name) }?;
    let known = size.min(size_of::<T>());
    let mut value = MaybeUninit::<T>::zeroed();
    // SAFETY: both hold `known` bytes. The rest of the value stays zero, which the trait allows.
    let value = unsafe {
        pointer.cast::<u8>().copy_to_nonoverlapping(value.as_mut_ptr().cast(), known);
        value.assume_init()
    };
    // SAFETY: the caller's struct has `size` bytes.
    let unknown = unsafe { std::slice::from_raw_parts(pointer.cast::<u8>().add(known), size - known) };
    if unknown.iter().any(|byte| *byte != 0) {
        return Err(Failure::usage(format!(
            "{name}: it is of a newer version, and a field is set that rmnet {} does not know",
            env!("CARGO_PKG_VERSION")
        )));
    }
    Ok(value)
}

/// Writes a struct of the caller's version: fields that an older version lacks are left out, and fields of a
/// newer version become zero. The size stays as it is.
///
/// # Safety
/// As [`read`], and the struct may be written.
pub unsafe fn write<T: Versioned>(place: *mut T, value: T, name: &str) -> Result<(), Failure> {
    // SAFETY: as promised by the caller.
    let size = unsafe { size_of_given(place, name) }?;
    let known = size.min(size_of::<T>());
    let skipped = size_of::<usize>();
    // SAFETY: the caller's struct has `size` bytes, the value at least `known`.
    unsafe {
        let from = (&raw const value).cast::<u8>().add(skipped);
        place.cast::<u8>().add(skipped).copy_from_nonoverlapping(from, known - skipped);
        place.cast::<u8>().add(known).write_bytes(0, size - known);
    }
    Ok(())
}

/// The size that a caller's struct states.
///
/// # Safety
/// As [`read`].
unsafe fn size_of_given<T: Versioned>(pointer: *const T, name: &str) -> Result<usize, Failure> {
    check(pointer, name)?;
    // SAFETY: neither NULL nor unaligned; the first field is a size.
    let size = unsafe { *pointer.cast::<usize>() };
    match (T::FIRST_SIZE..=T::MAX_SIZE).contains(&size) {
        true => Ok(size),
        false => Err(Failure::usage(format!(
            "{name}: expected `size` to be the size of the struct, {} bytes, found {size}",
            size_of::<T>()
        ))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Clone, Copy, Debug, PartialEq)]
    #[repr(C)]
    struct Old {
        size: usize,
        first: usize,
    }

    /// The same struct, two versions later.
    #[derive(Clone, Copy, Debug, PartialEq)]
    #[repr(C)]
    struct New {
        size: usize,
        first: usize,
        second: usize,
        third: usize,
    }

    // SAFETY: numbers of one size.
    unsafe impl Versioned for Old {
        const FIRST_SIZE: usize = size_of::<Old>();
    }

    // SAFETY: numbers of one size.
    unsafe impl Versioned for New {
        const FIRST_SIZE: usize = size_of::<Old>();
    }

    #[test]
    fn a_library_reads_and_writes_structs_of_older_callers() {
        let mut old = [size_of::<Old>(), 5, 77];
        let place: *mut New = old.as_mut_ptr().cast();
        // SAFETY: its size is that of `Old`.
        let read = unsafe { read(place, "struct") }.ok();
        assert_eq!(read, Some(New { size: size_of::<Old>(), first: 5, second: 0, third: 0 }));
        let value = New { size: 0, first: 6, second: 7, third: 8 };
        // SAFETY: as above.
        assert!(unsafe { write(place, value, "struct") }.is_ok());
        assert_eq!(old, [size_of::<Old>(), 6, 77]);
    }

    #[test]
    fn a_library_reads_structs_of_newer_callers_whose_new_fields_are_zero() {
        let mut new = New { size: size_of::<New>(), first: 5, second: 0, third: 0 };
        let read_old = |new: &New| {
            // SAFETY: its size is that of `New`.
            unsafe { read((&raw const *new).cast::<Old>(), "struct") }.ok()
        };
        assert_eq!(read_old(&new), Some(Old { size: size_of::<New>(), first: 5 }));
        new.third = 1;
        assert_eq!(read_old(&new), None);
        // SAFETY: as above.
        let written = unsafe { write((&raw mut new).cast(), Old { size: 0, first: 6 }, "struct") };
        assert!(written.is_ok());
        assert_eq!(new, New { size: size_of::<New>(), first: 6, second: 0, third: 0 });
    }

    #[test]
    fn sizes_that_no_version_had_are_refused() {
        for size in [0, 1, size_of::<Old>() - 1, New::MAX_SIZE + 1, usize::MAX] {
            let new = New { size, first: 5, second: 0, third: 0 };
            // SAFETY: a size that is wrong is refused before anything is read.
            assert!(unsafe { read(&raw const new, "struct") }.is_err(), "{size}");
        }
    }

    #[test]
    fn memory_that_there_is_not_is_refused() {
        assert_eq!(zeros(2, "two").ok(), Some(vec![0.0; 2]));
        for len in [usize::MAX, usize::MAX / 4, usize::MAX / 8 - 8] {
            assert!(zeros(len, "all").is_err(), "{len}");
        }
    }

    #[test]
    fn pointers_that_cannot_be_right_are_refused() {
        let numbers = [0.0f32; 4];
        let unaligned = numbers.as_ptr().cast::<u8>().wrapping_add(1).cast::<f32>();
        // SAFETY: what is wrong is refused before anything is read.
        unsafe {
            assert!(values(unaligned, 1, "values").is_err());
            assert!(values(std::ptr::null::<f32>(), 1, "values").is_err());
            assert!(values(numbers.as_ptr(), usize::MAX, "values").is_err());
            assert!(values(numbers.as_ptr(), usize::MAX / 4, "values").is_err());
            assert_eq!(values(std::ptr::null::<f32>(), 0, "values").ok(), Some(&[][..]));
            assert!(store(std::ptr::null_mut(), 1, "place").is_err());
            assert!(text(c"\xff".as_ptr(), "text").is_err());
            assert!(copy(&[1.0, 2.0], [0.0f32; 2].as_mut_ptr(), 1, "place").is_err());
            assert_eq!(text(std::ptr::null(), "text").ok(), Some(None));
        }
    }
}
