//! The options of a session.

use super::pointers::{self, Versioned, assert_no_padding, size_of_field};
use super::status::Failure;
use rmnet::{Assume, Device, LoadOptions, Mode, Options, OutputChoice, Precision, Threads, Tuning};
use std::ffi::c_char;
use std::mem::offset_of;
use std::path::PathBuf;
use std::time::Duration;

/// The type in which values between layers and weights are stored. Sums are float in either.
#[derive(Clone, Copy)]
#[repr(i32)]
pub enum rmnet_precision {
    /// IEEE 754 binary32.
    RMNET_F32 = 0,
    /// IEEE 754 binary16: half the memory. A run in which a value goes beyond 65504 fails.
    RMNET_F16 = 1,
}

/// Which form of the network runs. All compute the same function.
#[derive(Clone, Copy)]
#[repr(i32)]
pub enum rmnet_mode {
    /// Without residual connections; channels that are carried along are never copied.
    RMNET_STRUCTURED = 0,
    /// Without residual connections, written out as plain weights: slow, for comparison.
    RMNET_LITERAL = 1,
    /// With residual connections, as in the checkpoint.
    RMNET_RESIDUAL = 2,
}

/// What a session runs, and where. Zero or NULL in any field is the default: begin with what
/// rmnet_options_default() gives, and set only what you need, such as `options.device = "cpu"`.
///
/// Nothing keeps a pointer to it or to its texts after the call that it is passed to.
#[derive(Clone, Copy)]
#[repr(C)]
pub struct rmnet_options {
    /// sizeof(rmnet_options), as rmnet_options_default() sets it. Later versions add fields at the
    /// end: a library accepts the struct of an older header, and that of a newer one unless a field
    /// is set that it does not know.
    pub size: usize,
    /// The device: "auto" (the default: the best hardware GPU, or the CPU if there is none), "cpu",
    /// "best" (the best GPU, a software one included), "vulkan", "metal", "dx12", "gl", an index of
    /// rmnet_adapters_list(), "pci:0000:01:00.0", or a part of an adapter's name. A device that is
    /// named and cannot be used is RMNET_ERROR_ADAPTER: no other one is taken instead.
    pub device: *const c_char,
    /// What a run computes: "logits" (the default), "features" (what the classifier reads), or the
    /// name of a block or layer, such as "layer3.1".
    pub output: *const c_char,
    /// Properties that no tensor of a checkpoint shows, as KEY=VALUE with spaces or commas between,
    /// such as "stem_pool=false stage_strides=1,2,2,2". By default the conventions of the family;
    /// rmnet_session_assumed() lists them.
    pub assume: *const c_char,
    /// Path of a tuning, a JSON file that `rmnet tune -o FILE` wrote. By default kernels are chosen
    /// by static rules. Ignored on the CPU.
    pub tuning_path: *const c_char,
    /// Maximum images per run, 1 by default. Memory is allocated for this number.
    pub batch: usize,
    /// Input height, the model's own by default. Set both sides or none.
    pub input_height: usize,
    /// Input width, the model's own by default.
    pub input_width: usize,
    /// Threads on which the CPU executor runs this session. By default all sessions share one pool with
    /// a thread per core, on which checkpoints are loaded too, whatever is set here. Ignored on a GPU.
    pub threads: usize,
    /// Milliseconds that a run or an upload waits for the GPU's driver before it fails, 300000 (five
    /// minutes) by default. Ignored on the CPU.
    pub timeout_ms: u32,
    /// A value of rmnet_precision.
    pub precision: i32,
    /// A value of rmnet_mode.
    pub mode: i32,
    /// 1: neighbouring linear 1x1 convolutions, as in MobileNetV2, are merged into one. Fewer
    /// dispatches, more multiplies.
    pub merge: i32,
    /// 1: a run does not search its input for NaN and infinity. By default it refuses them, since a
    /// network may hide them.
    pub unchecked_input: i32,
    /// 1: shaders are compiled with run-time bounds checks. By default they are not, since every plan
    /// is checked before it runs.
    pub safe_shaders: i32,
    /// Path of a JSON file that keeps the results of self-tests from one process to the next. It is read
    /// where it exists, and written, in a folder that exists, when a test has a new result. Delete it to
    /// have everything tested again. By default every process tests once. Left alone where skip_self_test
    /// is 1.
    pub self_test_record_path: *const c_char,
    /// 1: kernels are not tested. By default those of a GPU are, when a driver is first used in a process:
    /// kernels that it computes wrong are left out (rmnet_session_quarantined()). Ignored on the CPU.
    pub skip_self_test: i32,
    /// 0. A later version may give it a meaning.
    pub reserved: i32,
}

assert_no_padding!(rmnet_options {
    size,
    device,
    output,
    assume,
    tuning_path,
    batch,
    input_height,
    input_width,
    threads,
    timeout_ms,
    precision,
    mode,
    merge,
    unchecked_input,
    safe_shaders,
    self_test_record_path,
    skip_self_test,
    reserved,
});

// SAFETY: pointers and numbers, without padding, and zero is a value of each.
unsafe impl Versioned for rmnet_options {
    const FIRST_SIZE: usize =
        offset_of!(rmnet_options, safe_shaders) + size_of_field(|o: &rmnet_options| &o.safe_shaders);
}

/// Options as the library has them.
#[derive(Default)]
pub(crate) struct Settings {
    pub(crate) load: LoadOptions,
    pub(crate) run: Options,
    /// The file that keeps the results of self-tests.
    pub(crate) self_test_record: Option<PathBuf>,
}

/// Reads options; NULL gives the defaults.
///
/// # Safety
/// Unless it is NULL, `pointer` is to a struct of the size that it states, whose texts end with NUL.
pub(crate) unsafe fn settings(pointer: *const rmnet_options) -> Result<Settings, Failure> {
    if pointer.is_null() {
        return Ok(Settings::default());
    }
    // SAFETY: as promised by the caller.
    let (given, device, output, assume) = unsafe {
        let given = pointers::read(pointer, "options")?;
        let device = pointers::text(given.device, "options.device")?;
        let output = pointers::text(given.output, "options.output")?;
        (given, device, output, pointers::text(given.assume, "options.assume")?)
    };
    let mut run = Options::default()
        .precision(precision(given.precision)?)
        .mode(mode(given.mode)?)
        .merge(flag(given.merge, "options.merge")?)
        .check_input(!flag(given.unchecked_input, "options.unchecked_input")?)
        .safe_shaders(flag(given.safe_shaders, "options.safe_shaders")?)
        .self_test(!flag(given.skip_self_test, "options.skip_self_test")?)
        .batch(given.batch.max(1));
    if let Some(device) = device {
        if device.is_empty() {
            // It is a part of every adapter's name.
            return Err(Failure::usage("options.device: expected a device or NULL, found an empty text"));
        }
        run = run.device(device.parse::<Device>()?);
    }
    if let Some(output) = output {
        let Ok(output) = output.parse::<OutputChoice>();
        run = run.output(output);
    }
    if !given.tuning_path.is_null() {
        // SAFETY: as promised by the caller.
        let path = unsafe { pointers::path(given.tuning_path, "options.tuning_path") }?;
        run = run.tuning(Tuning::read(path)?);
    }
    if given.threads > 0 {
        run = run.threads(Threads::new(given.threads)?);
    }
    if given.timeout_ms > 0 {
        run = run.timeout(Duration::from_millis(given.timeout_ms.into()));
    }
    let mut load = LoadOptions::default();
    if let Some(assume) = assume {
        load = load.assume(assumptions(assume)?);
    }
    match [given.input_height, given.input_width] {
        [0, 0] => {}
        [0, _] | [_, 0] => {
            return Err(Failure::usage(format!(
                "options: expected input_height and input_width, or neither, found {} and {}",
                given.input_height, given.input_width
            )));
        }
        size => load = load.size(size),
    }
    if given.reserved != 0 {
        return Err(Failure::usage(format!("options.reserved: expected 0, found {}", given.reserved)));
    }
    let mut self_test_record = None;
    if run.self_test && !given.self_test_record_path.is_null() {
        // SAFETY: as promised by the caller.
        let path = unsafe { pointers::path(given.self_test_record_path, "options.self_test_record_path") };
        self_test_record = Some(path?);
    }
    Ok(Settings { load, run, self_test_record })
}

/// Another number is refused, so that a later version can give it a meaning.
fn flag(value: i32, name: &str) -> Result<bool, Failure> {
    match value {
        0 => Ok(false),
        1 => Ok(true),
        other => Err(Failure::usage(format!("{name}: expected 0 or 1, found {other}"))),
    }
}

fn precision(value: i32) -> Result<Precision, Failure> {
    match value {
        0 => Ok(Precision::F32),
        1 => Ok(Precision::F16),
        other => Err(Failure::usage(format!(
            "options.precision: expected RMNET_F32 (0) or RMNET_F16 (1), found {other}"
        ))),
    }
}

fn mode(value: i32) -> Result<Mode, Failure> {
    match value {
        0 => Ok(Mode::Structured),
        1 => Ok(Mode::Literal),
        2 => Ok(Mode::Residual),
        other => Err(Failure::usage(format!(
            "options.mode: expected RMNET_STRUCTURED (0), RMNET_LITERAL (1) or RMNET_RESIDUAL (2), found {other}"
        ))),
    }
}

/// Reads `KEY=VALUE` parts with spaces or commas between them. A value may be a list: a part without `=` belongs to the value before it.
fn assumptions(text: &str) -> Result<Assume, Failure> {
    let mut stated: Vec<(&str, String)> = vec![];
    let parts = text.split(|c: char| c == ',' || c.is_whitespace()).filter(|part| !part.is_empty());
    for part in parts {
        match (part.split_once('='), stated.last_mut()) {
            (Some((key, value)), _) => stated.push((key, value.into())),
            (None, Some((_, list))) => *list += &format!(",{part}"),
            (None, None) => {
                return Err(Failure::usage(format!(
                    "options.assume: expected KEY=VALUE, such as stem_pool=false, found `{part}`"
                )));
            }
        }
    }
    let mut assume = Assume::default();
    for (key, value) in stated {
        let refused = |e| Failure::usage(format!("options.assume: {e}"));
        assume.state(key, &value).map_err(refused)?;
    }
    Ok(assume)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The sizes that callers of the first version state. They never change.
    #[test]
    #[cfg(target_pointer_width = "64")]
    fn first_sizes_stay() {
        assert_eq!(rmnet_options::FIRST_SIZE, 96);
        assert_eq!(crate::rmnet_memory::FIRST_SIZE, 48);
        assert_eq!(crate::rmnet_adapter::FIRST_SIZE, 56);
    }

    #[test]
    fn enums_are_the_numbers_that_are_read() {
        assert!(matches!(precision(rmnet_precision::RMNET_F32 as i32), Ok(Precision::F32)));
        assert!(matches!(precision(rmnet_precision::RMNET_F16 as i32), Ok(Precision::F16)));
        assert!(matches!(mode(rmnet_mode::RMNET_STRUCTURED as i32), Ok(Mode::Structured)));
        assert!(matches!(mode(rmnet_mode::RMNET_LITERAL as i32), Ok(Mode::Literal)));
        assert!(matches!(mode(rmnet_mode::RMNET_RESIDUAL as i32), Ok(Mode::Residual)));
    }

    #[test]
    fn assumptions_may_be_lists() {
        for text in [
            "stage_strides=1,2,2,2,stem_pool=false",
            "stage_strides=1,2,2,2 stem_pool=false",
            " stem_pool=false,\n stage_strides=1, 2, 2, 2 ",
        ] {
            let mut expected = Assume::default();
            expected.state("stage_strides", "1,2,2,2").expect("a list");
            expected.state("stem_pool", "false").expect("a value");
            let found = assumptions(text).map_err(|_| text).expect("two assumptions");
            assert_eq!(format!("{found:?}"), format!("{expected:?}"));
        }
        assert!(assumptions("").is_ok_and(|assume| assume.is_empty()));
        for text in ["stem_pool", "=", "no_such_key=1", "stem_pool=7", "stem_pool=true stem_pool=false"] {
            assert!(assumptions(text).is_err(), "{text}");
        }
    }
}
