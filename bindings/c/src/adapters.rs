//! The adapters of the machine.

use super::pointers::{self, Versioned, assert_no_padding, size_of_field};
use super::process;
use super::status::{Failure, answer, c_text, call, rmnet_status};
use rmnet::AdapterReport;
use std::ffi::{CString, c_char};
use std::mem::offset_of;
use std::ptr;

/// The adapters of the machine at one time, best first. Made by rmnet_adapters_list(), freed by
/// rmnet_adapters_free(). It does not change: any number of threads may read it.
pub struct rmnet_adapters {
    found: Vec<Adapter>,
}

struct Adapter {
    name: CString,
    kind: CString,
    backend: CString,
    driver: CString,
    pci: Option<CString>,
    problem: Option<CString>,
}

impl Adapter {
    fn of(report: &AdapterReport) -> Adapter {
        Adapter {
            name: c_text(&report.name),
            kind: c_text(report.kind),
            backend: c_text(report.backend),
            driver: c_text(&report.driver),
            pci: report.pci.as_deref().map(c_text),
            problem: report.problem.as_deref().map(c_text),
        }
    }
}

/// An adapter. All texts are lent by the rmnet_adapters. Begin with what rmnet_adapter_default() gives.
#[derive(Clone, Copy)]
#[repr(C)]
pub struct rmnet_adapter {
    /// sizeof(rmnet_adapter), which the caller sets before the call, as rmnet_adapter_default() does. Later
    /// versions add fields at the end.
    pub size: usize,
    /// Its name, such as "NVIDIA H100".
    pub name: *const c_char,
    /// "discrete", "integrated", "virtual", "software" or "other".
    pub kind: *const c_char,
    /// "vulkan", "metal", "dx12" or "gl".
    pub backend: *const c_char,
    /// The driver and its version.
    pub driver: *const c_char,
    /// The PCI address of the card, such as "0000:01:00.0", which the device "pci:0000:01:00.0" chooses;
    /// NULL if the driver does not tell.
    pub pci: *const c_char,
    /// Why it cannot be used; NULL if it can.
    pub problem: *const c_char,
}

assert_no_padding!(rmnet_adapter { size, name, kind, backend, driver, pci, problem });

// SAFETY: a number and pointers, all of one size, and zero is a value of each.
unsafe impl Versioned for rmnet_adapter {
    const FIRST_SIZE: usize =
        offset_of!(rmnet_adapter, problem) + size_of_field(|a: &rmnet_adapter| &a.problem);
}

/// Lists the adapters, which starts the drivers that are installed. An index of this list is a device for
/// `rmnet_options.device`, as text. A machine without adapters has an empty list. On success `*adapters`
/// is a list that the caller frees with rmnet_adapters_free(); on failure it is NULL.
///
/// RMNET_ERROR_USAGE: `adapters` is NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rmnet_adapters_list(adapters: *mut *mut rmnet_adapters) -> rmnet_status {
    // SAFETY: the caller keeps the rules of the header.
    call(|| unsafe {
        pointers::store(adapters, ptr::null_mut(), "adapters")?;
        process::started();
        let found = rmnet::adapters().iter().map(Adapter::of).collect();
        let list = Box::into_raw(Box::new(rmnet_adapters { found }));
        pointers::store(adapters, list, "adapters")
    })
}

/// The number of adapters; 0 if `adapters` is NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rmnet_adapters_count(adapters: *const rmnet_adapters) -> usize {
    // SAFETY: the caller keeps the rules of the header.
    answer(0, || unsafe { pointers::given(adapters, "adapters") }.map_or(0, |list| list.found.len()))
}

/// Writes what is known of an adapter, from 0. The caller sets `adapter->size`.
///
/// RMNET_ERROR_USAGE: a pointer is NULL, the size is none of the struct, or there is no such adapter.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rmnet_adapters_get(
    adapters: *const rmnet_adapters,
    index: usize,
    adapter: *mut rmnet_adapter,
) -> rmnet_status {
    // SAFETY: the caller keeps the rules of the header.
    call(|| unsafe {
        let list = &pointers::given(adapters, "adapters")?.found;
        let unknown = || Failure::usage(format!("index: expected less than {}, found {index}", list.len()));
        let found = list.get(index).ok_or_else(unknown)?;
        let lent = |text: &Option<CString>| text.as_ref().map_or(ptr::null(), |text| text.as_ptr());
        let written = rmnet_adapter {
            size: 0, // The caller's stays.
            name: found.name.as_ptr(),
            kind: found.kind.as_ptr(),
            backend: found.backend.as_ptr(),
            driver: found.driver.as_ptr(),
            pci: lent(&found.pci),
            problem: lent(&found.problem),
        };
        pointers::write(adapter, written, "adapter")
    })
}

/// Frees a list of adapters, and every text that it has lent. NULL is legal and does nothing.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rmnet_adapters_free(adapters: *mut rmnet_adapters) {
    if !adapters.is_null() {
        // SAFETY: a list that was made by `Box::into_raw`, and that nobody uses any more.
        answer((), || drop(unsafe { Box::from_raw(adapters) }));
    }
}
