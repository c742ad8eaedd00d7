//! The device of a verb, with the files stored for that adapter: tuning, compiled shaders and self-tests.

use super::args::{DeviceArgs, KeptArgs};
use super::passed_over::{Skipped, say_on_cpu};
use super::{Failure, device, terminal};
use rmnet::files;
use rmnet::gpu::{Gpu, GpuError, HardwareGpu, PassedOver, Quarantined, SelfTests, Tuned, Tuning};
use rmnet::kernel::Choice;
use rmnet::models::Model;
use rmnet::{Device, Error, Options, Precision, Session};
use serde::Serialize;
use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};

/// Caches of compiled shaders larger than this are discarded, since caches only grow.
const MAX_CACHE_BYTES: u64 = 64 << 20;

/// An opened device, with the options from the command line.
pub struct DeviceContext {
    /// `None` on the CPU.
    gpu: Option<Gpu>,
    device: Device,
    /// The adapters that were skipped because they are not hardware GPUs.
    passed_over: Vec<PassedOver>,
    safe_shaders: bool,
    precision: Precision,
    tuning: FoundTuning,
    /// Path and initial content of the cache of compiled shaders.
    shaders: Option<(PathBuf, Vec<u8>)>,
    /// Path and initial content of the record of self-tests.
    self_tests: Option<(PathBuf, SelfTests)>,
}

/// A tuning and the file it was read from.
#[derive(Default)]
pub struct FoundTuning {
    pub tuning: Tuning,
    file: Option<PathBuf>,
    /// Whether it was named on the command line; problems with it are then errors, not warnings.
    named: bool,
}

impl DeviceContext {
    pub fn open(args: &DeviceArgs) -> Result<DeviceContext, Failure> {
        let device = device(args.adapter.as_deref())?;
        let (safe_shaders, precision) = (args.safe_shaders, args.precision.into());
        let (gpu, passed_over) = match &device {
            Device::Gpu(choice) => (Some(Gpu::new(choice).map_err(Error::Gpu)?), vec![]),
            Device::Auto => match Gpu::hardware().map_err(Error::Gpu)? {
                HardwareGpu::Open(gpu) => (Some(*gpu), vec![]),
                HardwareGpu::Absent(passed_over) => (None, passed_over),
            },
            _ => (None, vec![]), // the CPU
        };
        let Some(gpu) = gpu else {
            if device == Device::Auto {
                say_on_cpu(&passed_over);
            }
            if let Some(file) = args.kept.tuning.as_deref().filter(|t| t.as_os_str() != "none") {
                return Err(Failure::usage(format!(
                    "--tuning {}: the CPU executor has no kernels to choose from",
                    file.display()
                )));
            }
            return Ok(DeviceContext {
                gpu: None,
                device: Device::Cpu,
                passed_over,
                safe_shaders,
                precision,
                tuning: FoundTuning::default(),
                shaders: None,
                self_tests: None,
            });
        };
        let tuning = FoundTuning::find(&args.kept)?;
        let folder = folder(args.kept.cache.as_deref());
        let self_tests = folder.as_deref().map(read_self_tests);
        let gpu = with_self_tests(gpu, &self_tests);
        let (gpu, shaders) = match folder {
            None => (gpu, None),
            Some(folder) => with_shaders(gpu, &folder),
        };
        Ok(DeviceContext {
            gpu: Some(gpu),
            device,
            passed_over,
            safe_shaders,
            precision,
            tuning,
            shaders,
            self_tests,
        })
    }

    /// Options common to all sessions on this device.
    pub fn options(&self) -> Options {
        Options::default()
            .device(self.device.clone())
            .safe_shaders(self.safe_shaders)
            .precision(self.precision)
            .tuning(self.tuning.tuning.clone())
    }

    /// The adapters that the default device skipped.
    pub fn passed_over(&self) -> Vec<Skipped> {
        Skipped::each(&self.passed_over)
    }

    /// A session on this device. A tuning that names unknown kernels is an error if it was named on the command line, else a
    /// warning.
    pub fn session(&self, model: &Model, options: &Options) -> Result<Session, Failure> {
        let session = match &self.gpu {
            Some(gpu) => Session::with_gpu(gpu, model, options),
            None => Session::new(model, options),
        };
        // Failures too are not found anew at every start.
        self.keep_self_tests();
        let session = session.map_err(|e| self.explained(e))?;
        warn_of(session.quarantined(), &self.self_tests);
        let unknown = session.tuned().map_or(&[][..], |t| &t.unknown);
        if let Some((dispatch, kernel)) = unknown.first() {
            self.tuning.unknown(dispatch, *kernel, unknown.len())?;
        }
        Ok(session)
    }

    /// How the tuning was used in a session on this device; `None` without a tuning.
    pub fn tuning(&self, session: &Session) -> Option<UsedTuning> {
        self.tuning.used(session.tuned()?, session.plan().dispatches.len())
    }

    /// Saves compiled shaders for the next start. Failure is only a warning.
    pub fn keep_shaders(&self) {
        let (Some(gpu), Some((path, before))) = (&self.gpu, &self.shaders) else { return };
        if gpu.pipeline_cache().is_some_and(|now| now != *before) {
            warn_unkept("compiled shaders", path, || gpu.write_pipeline_cache(path));
        }
    }

    /// Adds new results of self-tests to the file. Failure is only a warning.
    fn keep_self_tests(&self) {
        let (Some(gpu), Some((path, before))) = (&self.gpu, &self.self_tests) else { return };
        let now = gpu.self_tests();
        if now != *before {
            warn_unkept("results of self-tests", path, || {
                // Another process may have written some meanwhile.
                let mut all = SelfTests::read(path)?;
                all.merge(now);
                all.write(path)
            });
        }
    }

    /// The failure for an error of a session; where the driver computes wrong, with the file that says so.
    fn explained(&self, e: Error) -> Failure {
        let wrong = matches!(e, Error::Gpu(GpuError::WrongResults { .. }));
        let failure = Failure::from(e);
        let message = match (wrong, &self.self_tests) {
            (true, Some((path, _))) => format!("{}; {}", failure.message, again(path)),
            _ => failure.message,
        };
        Failure { message, ..failure }
    }
}

/// How to have kernels tested again.
fn again(record: &Path) -> String {
    format!("delete {} to have them tested again", record.display())
}

/// Writes a file that saves time at the next start; failure is only a warning.
fn warn_unkept(what: &str, path: &Path, write: impl FnOnce() -> std::io::Result<()>) {
    if let Err(e) = make_folder(path).and_then(|()| write()) {
        terminal::say(&format!("warning: {what} are not kept: {}: {e}", path.display()));
    }
}

/// How a tuning was used, for reports.
#[derive(Serialize)]
pub struct UsedTuning {
    file: String,
    /// Dispatches that run its kernels.
    dispatches: usize,
    /// Dispatches for which the tuning names unknown kernels.
    unknown_kernels: usize,
    /// All dispatches.
    #[serde(skip)]
    of: usize,
}

impl fmt::Display for UsedTuning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let UsedTuning { file, dispatches, of, .. } = self;
        match dispatches {
            0 => write!(
                f,
                "tuning: {file} has nothing for this adapter, driver and version at this batch, size and precision"
            ),
            used => write!(f, "tuning: {file}, for {used} of {of} dispatches"),
        }
    }
}

impl FoundTuning {
    /// The tuning of `--tuning`, else the stored one, if there is one.
    pub fn find(args: &KeptArgs) -> Result<FoundTuning, Failure> {
        match args.tuning.as_deref() {
            Some(none) if none.as_os_str() == "none" => Ok(FoundTuning::default()),
            Some(file) => {
                let tuning = Tuning::read(file).map_err(Failure::input)?;
                Ok(FoundTuning { tuning, file: Some(file.into()), named: true })
            }
            None => {
                let file = stored(args.cache.as_deref());
                let read = file.and_then(|file| Some((read_stored(&file)?, file)));
                Ok(read.map_or_else(FoundTuning::default, |(tuning, file)| FoundTuning {
                    tuning,
                    file: Some(file),
                    named: false,
                }))
            }
        }
    }

    /// How the tuning was used for a plan of `of` dispatches; `None` without a tuning.
    pub fn used(&self, tuned: &Tuned, of: usize) -> Option<UsedTuning> {
        let file = self.file.as_ref()?.to_string_lossy().into_owned();
        Some(UsedTuning { file, dispatches: tuned.dispatches, unknown_kernels: tuned.unknown.len(), of })
    }

    /// Reports entries that name unknown kernels.
    pub fn unknown(&self, dispatch: &str, kernel: Choice, count: usize) -> Result<(), Failure> {
        let file = self.file.as_deref().unwrap_or(Path::new("tuning")).display().to_string();
        let message = format!(
            "{file}: {count} dispatches are to run kernels that this adapter has not, such as `{kernel}` for {dispatch}"
        );
        if self.named {
            return Err(Failure::input(message));
        }
        terminal::say(&format!("warning: {message}; they run untuned, `rmnet tune` measures again"));
        Ok(())
    }
}

/// The stored tuning, if there is one. A file that cannot be read is only a warning, since runs do not depend on it.
pub fn read_stored(file: &Path) -> Option<Tuning> {
    if !file.exists() {
        return None;
    }
    let warn = |e| terminal::say(&format!("warning: {e}; it is not used, `rmnet tune` writes it anew"));
    Tuning::read(file).map_err(warn).ok()
}

/// The file in which `tune` stores its choices; `None` if nothing is stored.
pub fn stored(cache: Option<&Path>) -> Option<PathBuf> {
    Some(folder(cache)?.join("tuning.json"))
}

/// The folder of stored files: `--cache`, else `RMNET_CACHE_DIR`, else the user's cache folder.
fn folder(cache: Option<&Path>) -> Option<PathBuf> {
    use etcetera::BaseStrategy;
    match cache.map(Into::into).or_else(|| std::env::var_os("RMNET_CACHE_DIR")) {
        Some(given) if given == "none" || given.is_empty() => None,
        Some(given) => Some(given.into()),
        None => Some(etcetera::choose_base_strategy().ok()?.cache_dir().join("rmnet")),
    }
}

/// Creates the folder of a file.
pub fn make_folder(file: &Path) -> std::io::Result<()> {
    file.parent().map_or(Ok(()), fs::create_dir_all)
}

/// A GPU that goes by the record of self-tests in the folder of stored files, with a warning of each family that is wrong.
pub fn with_kept_self_tests(gpu: Gpu, cache: Option<&Path>) -> Gpu {
    let kept = folder(cache).as_deref().map(read_self_tests);
    let gpu = with_self_tests(gpu, &kept);
    warn_of(&gpu.quarantined(), &kept);
    gpu
}

/// Warns of kernels that are not used.
fn warn_of(quarantined: &[Quarantined], kept: &Option<(PathBuf, SelfTests)>) {
    for q in quarantined {
        let again = kept.as_ref().map(|(path, _)| format!("; {}", again(path)));
        terminal::say(&format!("warning: {q}{}", again.unwrap_or_default()));
    }
}

fn with_self_tests(gpu: Gpu, kept: &Option<(PathBuf, SelfTests)>) -> Gpu {
    match kept {
        None => gpu,
        Some((_, tests)) => gpu.with_self_tests(tests.clone()),
    }
}

/// The record of self-tests in the folder of stored files, with its path. A file that cannot be read is only a warning: kernels are tested
/// again.
fn read_self_tests(folder: &Path) -> (PathBuf, SelfTests) {
    let path = folder.join("self-tests.json");
    let tests = SelfTests::read(&path).unwrap_or_else(|e| {
        terminal::say(&format!("warning: {}: {e}; kernels are tested again", path.display()));
        SelfTests::default()
    });
    (path, tests)
}

/// A GPU that reuses the compiled shaders stored in a folder.
fn with_shaders(gpu: Gpu, folder: &Path) -> (Gpu, Option<(PathBuf, Vec<u8>)>) {
    let Some(name) = gpu.pipeline_cache_name() else { return (gpu, None) };
    let path = folder.join(name);
    let kept = files::read(&path, MAX_CACHE_BYTES).unwrap_or_default();
    // SAFETY: the folder is the user's own, or the one that the user named for this, and this program wrote the file.
    let gpu = unsafe { gpu.with_pipeline_cache(&kept) };
    (gpu, Some((path, kept)))
}
