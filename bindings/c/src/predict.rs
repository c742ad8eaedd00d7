//! Logits to classes.

use super::pointers;
use super::session::rmnet_session;
use super::status::{call, rmnet_status};
use rmnet::OutputKind;
use std::ffi::c_char;
use std::ptr;

/// What the output of a session is.
#[derive(Clone, Copy)]
#[repr(i32)]
pub enum rmnet_output {
    /// A value per class.
    RMNET_LOGITS = 0,
    /// What a classifier would read, or a layer's map.
    RMNET_FEATURES = 1,
    /// A vector to compare with others, such as that of a face.
    RMNET_EMBEDDING = 2,
}

/// A class of an image, with its score. The struct stays as it is in later versions.
#[derive(Clone, Copy)]
#[repr(C)]
pub struct rmnet_prediction {
    /// The name of the class, lent by the session; NULL if the checkpoint has no names.
    pub label: *const c_char,
    /// Index of its logit, from 0.
    pub class_index: usize,
    /// From 0 to 1: by softmax over all classes, or by a sigmoid per class if an image may have several
    /// labels. NaN for a regression.
    pub probability: f64,
    /// Its logit.
    pub logit: f32,
}

/// Writes what the output is, a value of rmnet_output: only logits have classes. RMNET_ERROR_USAGE: a
/// pointer is NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rmnet_session_output_kind(
    session: *const rmnet_session,
    kind: *mut i32,
) -> rmnet_status {
    // SAFETY: the caller keeps the rules of the header.
    call(|| unsafe {
        let session = pointers::given(session, "session")?;
        let found = match session.session.output() {
            OutputKind::Logits => rmnet_output::RMNET_LOGITS,
            OutputKind::Embedding => rmnet_output::RMNET_EMBEDDING,
            _ => rmnet_output::RMNET_FEATURES,
        };
        pointers::store(kind, found as i32, "kind")
    })
}

/// Writes the `k` classes of one image with the largest logits, largest first; fewer if the network has
/// fewer classes. `logits` are the `logits_len` values of one image, a row of what rmnet_session_run()
/// gives. `predictions` belongs to the caller and has room for `k`. `*found` is how many were written;
/// `found` may be NULL.
///
/// RMNET_ERROR_USAGE: a pointer or a length is wrong, or the output of the session is no logits.
/// RMNET_ERROR_INPUT: the logits contain NaN or infinity.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rmnet_session_top_k(
    session: *const rmnet_session,
    logits: *const f32,
    logits_len: usize,
    predictions: *mut rmnet_prediction,
    k: usize,
    found: *mut usize,
) -> rmnet_status {
    // SAFETY: the caller keeps the rules of the header.
    call(|| unsafe {
        if !found.is_null() {
            pointers::store(found, 0, "found")?;
        }
        let session = pointers::given(session, "session")?;
        let logits = pointers::values(logits, logits_len, "logits")?;
        if k > 0 {
            pointers::check_values(predictions, k, "predictions")?;
        }
        let top = session.session.top_k(logits, k)?;
        for (index, prediction) in top.iter().take(k).enumerate() {
            let label =
                session.texts.labels.get(prediction.class).map_or(ptr::null(), |label| label.as_ptr());
            let written = rmnet_prediction {
                label,
                class_index: prediction.class,
                probability: prediction.probability.unwrap_or(f64::NAN),
                logit: prediction.logit,
            };
            predictions.add(index).write(written);
        }
        match found.is_null() {
            true => Ok(()),
            false => pointers::store(found, top.len(), "found"),
        }
    })
}

/// Writes the probability of every class of one image, in the order of the logits; NaN for a regression.
/// `probabilities` belongs to the caller and has room for `probabilities_len`, at least `logits_len`.
///
/// RMNET_ERROR_USAGE, RMNET_ERROR_INPUT: as for rmnet_session_top_k().
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rmnet_session_probabilities(
    session: *const rmnet_session,
    logits: *const f32,
    logits_len: usize,
    probabilities: *mut f64,
    probabilities_len: usize,
) -> rmnet_status {
    // SAFETY: the caller keeps the rules of the header.
    call(|| unsafe {
        let session = pointers::given(session, "session")?;
        let logits = pointers::values(logits, logits_len, "logits")?;
        pointers::check_values(probabilities, probabilities_len, "probabilities")?;
        if probabilities_len < logits_len {
            return Err(pointers::no_room(logits_len, probabilities_len, "probabilities"));
        }
        let values = session.session.probabilities(logits)?;
        let values = values.unwrap_or_else(|| vec![f64::NAN; logits_len]);
        pointers::copy(&values, probabilities, probabilities_len, "probabilities")
    })
}
