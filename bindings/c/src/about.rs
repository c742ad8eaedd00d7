//! What a session says of itself.

use super::pointers::{self, Versioned, assert_no_padding, size_of_field};
use super::session::rmnet_session;
use super::status::{answer, c_text, call, rmnet_status};
use rmnet::{Outcome, Session};
use std::ffi::{CString, c_char};
use std::mem::offset_of;
use std::ptr;
use std::sync::OnceLock;

/// The texts that a session lends.
pub(crate) struct Texts {
    family: CString,
    device: CString,
    preprocess: CString,
    pub(crate) labels: Vec<CString>,
    blocks: Vec<Block>,
    passed_over: Vec<CString>,
    quarantined: Vec<CString>,
    assumed: Vec<CString>,
    /// Made when they are first asked for.
    plan: OnceLock<CString>,
    plan_svg: OnceLock<CString>,
}

struct Block {
    name: CString,
    outcome: CString,
    removed: bool,
}

impl Texts {
    pub(crate) fn of(session: &Session) -> Texts {
        let texts = |of: &mut dyn Iterator<Item = String>| of.map(|text| c_text(&text)).collect();
        let block = |report: &rmnet::BlockReport| Block {
            name: c_text(&report.block),
            outcome: c_text(&report.outcome.to_string()),
            removed: !matches!(report.outcome, Outcome::Kept { .. }),
        };
        Texts {
            family: c_text(session.family()),
            device: c_text(&session.device_name()),
            preprocess: c_text(&session.preprocess().to_string()),
            labels: texts(&mut session.labels().unwrap_or_default().iter().cloned()),
            blocks: session.blocks().iter().map(block).collect(),
            passed_over: texts(&mut session.passed_over().iter().map(ToString::to_string)),
            quarantined: texts(&mut session.quarantined().iter().map(ToString::to_string)),
            assumed: texts(&mut session.assumed().iter().map(ToString::to_string)),
            plan: OnceLock::new(),
            plan_svg: OnceLock::new(),
        }
    }
}

/// Bytes that a session holds on its device by now. Begin with what rmnet_memory_default() gives.
#[derive(Clone, Copy)]
#[repr(C)]
pub struct rmnet_memory {
    /// sizeof(rmnet_memory), which the caller sets before the call, as rmnet_memory_default() does. Later
    /// versions add fields at the end.
    pub size: usize,
    /// Values between layers.
    pub activations: usize,
    /// What kernels need beside them.
    pub scratch: usize,
    /// Packed weights. Those that several sessions share are counted in each.
    pub weights: usize,
    /// Buffers through which inputs and outputs pass.
    pub transfer: usize,
    /// The sum.
    pub total: usize,
}

assert_no_padding!(rmnet_memory { size, activations, scratch, weights, transfer, total });

// SAFETY: numbers of one size, and zero is a value of each.
unsafe impl Versioned for rmnet_memory {
    const FIRST_SIZE: usize = offset_of!(rmnet_memory, total) + size_of_field(|m: &rmnet_memory| &m.total);
}

/// Lends a text of a session; NULL if the session is NULL or has no such text.
unsafe fn lend(
    session: *const rmnet_session,
    text: impl FnOnce(&rmnet_session) -> Option<&CString>,
) -> *const c_char {
    answer(ptr::null(), || {
        // SAFETY: the caller keeps the rules of the header.
        let session = unsafe { pointers::given(session, "session") };
        session.ok().and_then(text).map_or(ptr::null(), |text| text.as_ptr())
    })
}

/// A number of a session; 0 if the session is NULL.
unsafe fn number(session: *const rmnet_session, of: impl FnOnce(&rmnet_session) -> usize) -> usize {
    answer(0, || {
        // SAFETY: the caller keeps the rules of the header.
        unsafe { pointers::given(session, "session") }.map_or(0, of)
    })
}

/// The network, such as "torchvision ResNet, BasicBlock [2, 2, 2, 2]". Lent by the session.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rmnet_session_family(session: *const rmnet_session) -> *const c_char {
    // SAFETY: the caller keeps the rules of the header.
    unsafe { lend(session, |s| Some(&s.texts.family)) }
}

/// What the session runs on: the adapter, or "cpu" with the number of threads. Lent by the session.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rmnet_session_device(session: *const rmnet_session) -> *const c_char {
    // SAFETY: the caller keeps the rules of the header.
    unsafe { lend(session, |s| Some(&s.texts.device)) }
}

/// How rmnet_session_input_from_pixels() prepares an image, such as "to 256 at the shorter side, bilinear,
/// cropped to 224x224, mean 0.485 0.456 0.406, deviation 0.229 0.224 0.225". A text for people: later
/// versions may word it differently. Lent by the session.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rmnet_session_preprocess(session: *const rmnet_session) -> *const c_char {
    // SAFETY: the caller keeps the rules of the header.
    unsafe { lend(session, |s| Some(&s.texts.preprocess)) }
}

/// 1 if the session runs on a GPU, a software GPU included; 0 if it runs on CPU threads.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rmnet_session_is_on_gpu(session: *const rmnet_session) -> i32 {
    // SAFETY: the caller keeps the rules of the header.
    i32::from(unsafe { number(session, |s| s.session.is_on_gpu().into()) } == 1)
}

/// The number of class names: that of the classes, or 0 if the checkpoint has no names.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rmnet_session_label_count(session: *const rmnet_session) -> usize {
    // SAFETY: the caller keeps the rules of the header.
    unsafe { number(session, |s| s.texts.labels.len()) }
}

/// The name of a class, from 0 in the order of the logits; NULL if there is none. Lent by the session.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rmnet_session_label(
    session: *const rmnet_session,
    class_index: usize,
) -> *const c_char {
    // SAFETY: the caller keeps the rules of the header.
    unsafe { lend(session, |s| s.texts.labels.get(class_index)) }
}

/// The number of residual blocks and of sums of parallel branches that were looked at; 0 in the mode
/// RMNET_RESIDUAL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rmnet_session_block_count(session: *const rmnet_session) -> usize {
    // SAFETY: the caller keeps the rules of the header.
    unsafe { number(session, |s| s.texts.blocks.len()) }
}

/// The name of a block, such as "layer1.0"; NULL if there is none. Lent by the session.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rmnet_session_block_name(
    session: *const rmnet_session,
    index: usize,
) -> *const c_char {
    // SAFETY: the caller keeps the rules of the header.
    unsafe { lend(session, |s| s.texts.blocks.get(index).map(|block| &block.name)) }
}

/// What was done to a block, or why it was left, such as "removed: identity shortcut, 64 channels carried
/// through 2 convolutions"; NULL if there is none. Lent by the session.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rmnet_session_block_outcome(
    session: *const rmnet_session,
    index: usize,
) -> *const c_char {
    // SAFETY: the caller keeps the rules of the header.
    unsafe { lend(session, |s| s.texts.blocks.get(index).map(|block| &block.outcome)) }
}

/// 1 if the block has no residual connection or parallel branches left; 0 if it was kept, or if there is
/// no such block.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rmnet_session_block_is_removed(session: *const rmnet_session, index: usize) -> i32 {
    let removed = |s: &rmnet_session| s.texts.blocks.get(index).is_some_and(|block| block.removed).into();
    // SAFETY: the caller keeps the rules of the header.
    i32::from(unsafe { number(session, removed) } == 1)
}

/// The number of adapters that the device "auto" passed over before it took the CPU: software GPUs, and
/// adapters that lack a feature.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rmnet_session_passed_over_count(session: *const rmnet_session) -> usize {
    // SAFETY: the caller keeps the rules of the header.
    unsafe { number(session, |s| s.texts.passed_over.len()) }
}

/// An adapter that was passed over, with the reason and its index; NULL if there is none. Lent by the
/// session.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rmnet_session_passed_over(
    session: *const rmnet_session,
    index: usize,
) -> *const c_char {
    // SAFETY: the caller keeps the rules of the header.
    unsafe { lend(session, |s| s.texts.passed_over.get(index)) }
}

/// The number of kernel families that the session would use if the driver did not compute them wrong: other
/// kernels run in their place. 0 on the CPU, and where rmnet_options.skip_self_test is 1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rmnet_session_quarantined_count(session: *const rmnet_session) -> usize {
    // SAFETY: the caller keeps the rules of the header.
    unsafe { number(session, |s| s.texts.quarantined.len()) }
}

/// A kernel family that is left out, with the precision and the first wrong value, such as "the driver
/// computes `direct` kernels wrong in f32, so they are not used (..)"; NULL if there is none. Lent by the
/// session.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rmnet_session_quarantined(
    session: *const rmnet_session,
    index: usize,
) -> *const c_char {
    // SAFETY: the caller keeps the rules of the header.
    unsafe { lend(session, |s| s.texts.quarantined.get(index)) }
}

/// The number of properties that were stated or assumed since no tensor shows them.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rmnet_session_assumed_count(session: *const rmnet_session) -> usize {
    // SAFETY: the caller keeps the rules of the header.
    unsafe { number(session, |s| s.texts.assumed.len()) }
}

/// A property as KEY=VALUE, which `rmnet_options.assume` takes; NULL if there is none. Lent by the
/// session.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rmnet_session_assumed(session: *const rmnet_session, index: usize) -> *const c_char {
    // SAFETY: the caller keeps the rules of the header.
    unsafe { lend(session, |s| s.texts.assumed.get(index)) }
}

/// The plan as text: each dispatch as a formula over slots, and the bytes. Lent by the session; NULL if
/// the session is NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rmnet_session_plan(session: *const rmnet_session) -> *const c_char {
    // SAFETY: the caller keeps the rules of the header.
    unsafe { lend(session, |s| Some(s.texts.plan.get_or_init(|| c_text(&s.session.plan().to_string())))) }
}

/// The plan as an SVG picture: which slot holds which value for how long. Lent by the session; NULL if
/// the session is NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rmnet_session_plan_svg(session: *const rmnet_session) -> *const c_char {
    // SAFETY: the caller keeps the rules of the header.
    unsafe { lend(session, |s| Some(s.texts.plan_svg.get_or_init(|| c_text(&s.session.plan().to_svg())))) }
}

/// The number of dispatches that run the kernel of `rmnet_options.tuning_path`; the others run the static
/// choice. 0 if the tuning was made for another adapter, driver or version, and on the CPU.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rmnet_session_tuned_dispatches(session: *const rmnet_session) -> usize {
    // SAFETY: the caller keeps the rules of the header.
    unsafe { number(session, |s| s.session.tuned().map_or(0, |tuned| tuned.dispatches)) }
}

/// Writes the bytes that a session holds by now. Some buffers are made by the first run that needs them.
/// What drivers and allocators set aside is not counted. The caller sets `memory->size`.
///
/// RMNET_ERROR_USAGE: a pointer is NULL, or the size is none of the struct.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rmnet_session_memory(
    session: *const rmnet_session,
    memory: *mut rmnet_memory,
) -> rmnet_status {
    // SAFETY: the caller keeps the rules of the header.
    call(|| unsafe {
        let held = pointers::given(session, "session")?.session.memory();
        let found = rmnet_memory {
            size: 0, // The caller's stays.
            activations: held.activations,
            scratch: held.scratch,
            weights: held.weights,
            transfer: held.transfer,
            total: held.total(),
        };
        pointers::write(memory, found, "memory")
    })
}
