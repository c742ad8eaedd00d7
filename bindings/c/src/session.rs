//! A session: opened, run, freed.

use super::about::Texts;
use super::image::{rmnet_pixels, views};
use super::options::{Settings, rmnet_options, settings};
use super::pointers;
use super::process;
use super::self_tests;
use super::status::{Failure, answer, call, rmnet_status};
use rmnet::{Checkpoint, Model, Session};
use std::ffi::{c_char, c_void};
use std::ptr;

/// A network on a device, ready to run.
///
/// Made by rmnet_session_open() or rmnet_session_open_bytes(), freed by rmnet_session_free() on any
/// thread. Any number of threads may use one session at the same time: every function that takes a
/// `const rmnet_session *` may be called while others run.
pub struct rmnet_session {
    pub(crate) session: Session,
    pub(crate) texts: Texts,
}

/// Opens a checkpoint: a file (.safetensors, .pth, .pt, .bin) or a folder with one. `config.json` and
/// `preprocessor_config.json` beside the file are read too. The call returns when the device is ready,
/// which may take seconds.
///
/// `path` is UTF-8, on Unix any bytes. `options` may be NULL. On success `*session` is a session that
/// the caller frees with rmnet_session_free(); on failure it is NULL.
///
/// RMNET_ERROR_USAGE: a pointer, an option or the name of a layer is wrong. RMNET_ERROR_INPUT: the
/// checkpoint, a file beside it, the tuning or the record of self-tests cannot be read, the record cannot be
/// written, the network is none that the library knows, or the input size does not fit it.
/// RMNET_ERROR_ADAPTER: there is no such device, its limits are too small, or its driver computes every
/// kernel for some layer wrong. RMNET_ERROR_RESOURCES: there is too little memory, or the system starts no
/// thread.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rmnet_session_open(
    path: *const c_char,
    options: *const rmnet_options,
    session: *mut *mut rmnet_session,
) -> rmnet_status {
    // SAFETY: the caller keeps the rules of the header.
    call(|| unsafe {
        pointers::store(session, ptr::null_mut(), "session")?;
        let path = pointers::path(path, "path")?;
        process::started();
        let settings = settings(options)?;
        let opened = open(&Checkpoint::open(path)?, &settings)?;
        pointers::store(session, Box::into_raw(opened), "session")
    })
}

/// Opens a checkpoint in memory: the `len` bytes of a .safetensors, .pth, .pt or .bin file.
///
/// `config_json` and `preprocessor_json` are the texts of the files `config.json` and
/// `preprocessor_config.json`, or NULL: without them there are no labels, and images are prepared as is
/// usual for the family. Everything is copied: the caller may free it when the call returns.
///
/// `options` may be NULL. On success `*session` is a session that the caller frees with
/// rmnet_session_free(); on failure it is NULL. The failures are those of rmnet_session_open().
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rmnet_session_open_bytes(
    bytes: *const c_void,
    len: usize,
    config_json: *const c_char,
    preprocessor_json: *const c_char,
    options: *const rmnet_options,
    session: *mut *mut rmnet_session,
) -> rmnet_status {
    // SAFETY: the caller keeps the rules of the header.
    call(|| unsafe {
        pointers::store(session, ptr::null_mut(), "session")?;
        let given = pointers::values(bytes.cast::<u8>(), len, "bytes")?;
        let config = pointers::text(config_json, "config_json")?;
        let preprocessor = pointers::text(preprocessor_json, "preprocessor_json")?;
        process::started();
        let settings = settings(options)?;
        let mut bytes = Vec::new();
        bytes.try_reserve_exact(len).map_err(|_| Failure::memory(len, "a copy of the checkpoint"))?;
        bytes.extend_from_slice(given);
        let mut checkpoint = Checkpoint::from_bytes(bytes, config)?;
        if let Some(text) = preprocessor {
            checkpoint = checkpoint.with_preprocessor_config(text)?;
        }
        let opened = open(&checkpoint, &settings)?;
        pointers::store(session, Box::into_raw(opened), "session")
    })
}

fn open(checkpoint: &Checkpoint, settings: &Settings) -> Result<Box<rmnet_session>, Failure> {
    let model = Model::load(checkpoint, &settings.load)?;
    let record = settings.self_test_record.as_deref();
    let session = self_tests::kept_in(record, || Session::new(&model, &settings.run))?;
    let texts = Texts::of(&session);
    Ok(Box::new(rmnet_session { session, texts }))
}

/// Frees a session, and with it every text that it has lent. No other thread may be using it. NULL is
/// legal and does nothing.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rmnet_session_free(session: *mut rmnet_session) {
    if !session.is_null() {
        // SAFETY: a session that was made by `Box::into_raw`, and that nobody uses any more.
        answer((), || drop(unsafe { Box::from_raw(session) }));
    }
}

/// Writes the shape of a full batch's input: batch, channels, height, width. RMNET_ERROR_USAGE: a pointer
/// is NULL.
/// cbindgen:ptrs-as-arrays=[[shape;4]]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rmnet_session_input_shape(
    session: *const rmnet_session,
    shape: *mut usize,
) -> rmnet_status {
    // SAFETY: the caller keeps the rules of the header.
    unsafe { write_shape(session, shape, Session::input_shape) }
}

/// Writes the shape of a full batch's output: batch, channels, height, width. Logits have height and
/// width 1, and their channels are the classes. RMNET_ERROR_USAGE: a pointer is NULL.
/// cbindgen:ptrs-as-arrays=[[shape;4]]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rmnet_session_output_shape(
    session: *const rmnet_session,
    shape: *mut usize,
) -> rmnet_status {
    // SAFETY: the caller keeps the rules of the header.
    unsafe { write_shape(session, shape, Session::output_shape) }
}

unsafe fn write_shape(
    session: *const rmnet_session,
    shape: *mut usize,
    of: fn(&Session) -> [usize; 4],
) -> rmnet_status {
    // SAFETY: the caller keeps the rules of the header.
    call(|| unsafe {
        let session = pointers::given(session, "session")?;
        pointers::store(shape.cast::<[usize; 4]>(), of(&session.session), "shape")
    })
}

/// The number of floats in the input of `images` images; 0 if `session` is NULL, or if `images` is 0 or
/// more than the session's batch.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rmnet_session_input_len(session: *const rmnet_session, images: usize) -> usize {
    // SAFETY: the caller keeps the rules of the header.
    unsafe { len_of(session, images, Session::input_shape) }
}

/// The number of floats in the output of `images` images; 0 if `session` is NULL, or if `images` is 0 or
/// more than the session's batch.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rmnet_session_output_len(session: *const rmnet_session, images: usize) -> usize {
    // SAFETY: the caller keeps the rules of the header.
    unsafe { len_of(session, images, Session::output_shape) }
}

unsafe fn len_of(session: *const rmnet_session, images: usize, shape: fn(&Session) -> [usize; 4]) -> usize {
    answer(0, || {
        // SAFETY: the caller keeps the rules of the header.
        let Ok(session) = (unsafe { pointers::given(session, "session") }) else { return 0 };
        let [batch, channels, height, width] = shape(&session.session);
        if images > batch { 0 } else { images * channels * height * width }
    })
}

/// Runs 1 to batch images. `input` is planar, [images, channels, height, width], and its length says how
/// many images there are (rmnet_session_input_len()). `output` belongs to the caller and has room for
/// `output_len` floats, at least rmnet_session_output_len() of these images; it gets
/// [images, channels, height, width], for logits [images, classes]. A call that fails leaves it as it is.
///
/// A smaller number of images takes as long as a full batch. The call returns when the output is there.
/// Several threads may run one session at the same time, with buffers of their own.
///
/// RMNET_ERROR_USAGE: a length is wrong. RMNET_ERROR_INPUT: the input or the output is not finite.
/// RMNET_ERROR_RESOURCES: the device was lost, or did not respond in time.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rmnet_session_run(
    session: *const rmnet_session,
    input: *const f32,
    input_len: usize,
    output: *mut f32,
    output_len: usize,
) -> rmnet_status {
    // SAFETY: the caller keeps the rules of the header.
    call(|| unsafe {
        let session = &pointers::given(session, "session")?.session;
        let input = pointers::values(input, input_len, "input")?;
        let per_image = |shape: [usize; 4]| shape[1..].iter().product::<usize>();
        let images = input_len / per_image(session.input_shape());
        let expected = images.saturating_mul(per_image(session.output_shape()));
        if output_len < expected {
            return Err(pointers::no_room(expected, output_len, "output"));
        }
        pointers::check_values(output, output_len, "output")?;
        // Not `run_into`, whose slice would have to hold values already.
        pointers::copy(&session.run(input)?, output, output_len, "output")
    })
}

/// Prepares images as the model's config says: resizes, crops and normalises them. `images` are `count`
/// images, 1 to batch, each of any size and format. `input` belongs to the caller and has room for
/// `input_len` floats, at least rmnet_session_input_len() of `count` images; it gets
/// [count, channels, height, width], which is what rmnet_session_run() takes. A call that fails leaves
/// it as it is.
///
/// A network of three channels takes every format: alpha is dropped and gray is repeated. A network of
/// one channel takes the luma of colours. A network of four channels takes formats with alpha.
///
/// RMNET_ERROR_USAGE: a pointer, a number of images, a length, a stride or a format is wrong.
/// RMNET_ERROR_INPUT: an image is empty or too large, has no alpha for a network of four channels, or
/// cannot be prepared as the model's config says. RMNET_ERROR_RESOURCES: there is too little memory.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rmnet_session_input_from_pixels(
    session: *const rmnet_session,
    images: *const rmnet_pixels,
    count: usize,
    input: *mut f32,
    input_len: usize,
) -> rmnet_status {
    // SAFETY: the caller keeps the rules of the header.
    call(|| unsafe {
        let session = &pointers::given(session, "session")?.session;
        let images = pointers::values(images, count, "images")?;
        pointers::check_values(input, input_len, "input")?;
        let views = views(images)?;
        let [batch, channels, height, width] = session.input_shape();
        // `input_into` refuses more images than the batch.
        let expected = count.min(batch) * channels * height * width;
        if input_len < expected {
            return Err(pointers::no_room(expected, input_len, "input"));
        }
        let mut values = pointers::zeros(expected, "the input")?;
        session.input_into(&views, &mut values)?;
        pointers::copy(&values, input, input_len, "input")
    })
}
