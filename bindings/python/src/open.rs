//! What a session is opened from: a checkpoint, and options.

use crate::errors::Failure;
use pyo3::prelude::*;
use pyo3::pybacked::PyBackedBytes;
use rmnet::error::TuningError;
use rmnet::{
    Assume, Checkpoint, Device, LoadOptions, Mode, Model, Options, OutputChoice, Precision, Size, Threads,
    Tuning,
};
use std::fs::Metadata;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

/// Where the weights are. It is kept by a session, which reads them again for a proof or for the features.
#[derive(Clone)]
pub enum Source {
    /// A file or a folder.
    Path(PathBuf),
    /// The bytes of a file, which stay the caller's object, and the texts of its config files.
    Bytes { data: Arc<PyBackedBytes>, config: Option<String>, preprocessor: Option<String> },
}

/// The bytes of a Python object as a checkpoint holds them.
struct Borrowed(Arc<PyBackedBytes>);

impl AsRef<[u8]> for Borrowed {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

/// A network that was read, and the files that it was read from.
pub struct Loaded {
    pub model: Model,
    pub files: Files,
}

/// The size and the time of the last change of every file of a checkpoint.
#[derive(PartialEq, Eq)]
pub struct Files(Vec<(PathBuf, Option<Stamp>)>);

#[derive(PartialEq, Eq)]
struct Stamp {
    bytes: u64,
    /// `None` where the system does not say.
    changed: Option<SystemTime>,
}

impl Files {
    /// The files of an opened checkpoint: the weights or their index, what the index may list, and the config files.
    fn of(checkpoint: &Checkpoint) -> Files {
        let Some(path) = checkpoint.path() else { return Files(vec![]) };
        let folder = path.parent().unwrap_or(Path::new(""));
        let names = ["config.json", "preprocessor_config.json", "processor_config.json"];
        let mut files: Vec<PathBuf> = names.iter().map(|name| folder.join(name)).collect();
        files.push(path.into());
        if path.to_string_lossy().ends_with(".index.json") {
            let found = folder.read_dir().into_iter().flatten().flatten().map(|entry| entry.path());
            files.extend(found.filter(|file| file.extension().is_some_and(|e| e != "json")));
        }
        files.sort();
        let stamp = |m: Metadata| Stamp { bytes: m.len(), changed: m.modified().ok() };
        let stamped = files.into_iter().map(|file| {
            let found = file.metadata().ok().map(stamp);
            (file, found)
        });
        Files(stamped.collect())
    }
}

impl Source {
    /// Reads the network.
    pub fn load(&self, options: &LoadOptions) -> Result<Loaded, Failure> {
        let checkpoint = match self {
            Source::Path(path) => Checkpoint::open(path)?,
            Source::Bytes { data, config, preprocessor } => {
                let checkpoint = Checkpoint::from_bytes(Borrowed(data.clone()), config.as_deref())?;
                match preprocessor {
                    Some(text) => checkpoint.with_preprocessor_config(text)?,
                    None => checkpoint,
                }
            }
        };
        let files = Files::of(&checkpoint);
        Ok(Loaded { model: Model::load(&checkpoint, options)?, files })
    }

    /// Reads the network again. Refuses files that are not those of the first time.
    pub fn load_again(&self, options: &LoadOptions, first: &Files) -> Result<Model, Failure> {
        let Loaded { model, files } = self.load(options)?;
        match (self, files == *first) {
            (Source::Path(path), false) => {
                let why = "the file changed since the session was opened: open another one";
                Err(Failure::new("CheckpointError", format!("{}: {why}", path.display())))
            }
            _ => Ok(model),
        }
    }
}

/// How a checkpoint is read, as Python gives it.
#[derive(FromPyObject)]
#[pyo3(from_item_all)]
pub struct LoadArgs {
    size: Option<[usize; 2]>,
    assume: Vec<(String, String)>,
}

impl LoadArgs {
    pub fn options(self) -> Result<LoadOptions, Failure> {
        let mut assume = Assume::default();
        for (key, value) in &self.assume {
            assume.state(key, value)?;
        }
        let mut options = LoadOptions::default().assume(assume);
        options.size = self.size.map(Size::from);
        Ok(options)
    }
}

/// The options of a session, as Python gives them.
#[derive(FromPyObject)]
#[pyo3(from_item_all)]
pub struct SessionArgs {
    device: String,
    precision: String,
    batch: usize,
    output: String,
    keep: Vec<String>,
    mode: String,
    merge: bool,
    threads: Option<usize>,
    timeout: Option<f64>,
    check_input: bool,
    tuning: Option<PathBuf>,
    self_test: bool,
    self_test_record: Option<PathBuf>,
}

impl SessionArgs {
    /// The file that keeps the results of self-tests, if there are any.
    pub fn record(&self) -> Option<PathBuf> {
        self.self_test_record.clone().filter(|_| self.self_test)
    }

    pub fn options(self) -> Result<Options, Failure> {
        if self.device.trim().is_empty() {
            return Err(Failure::option("device: expected `cpu`, `auto` or a GPU, found an empty text"));
        }
        let mut options = Options::default()
            .device(self.device.parse::<Device>()?)
            .precision(precision(&self.precision)?)
            .batch(self.batch)
            .output(output(&self.output))
            .keep(self.keep)
            .mode(mode(&self.mode)?)
            .merge(self.merge)
            .check_input(self.check_input)
            .self_test(self.self_test);
        if let Some(count) = self.threads {
            options = options.threads(threads(count)?);
        }
        if let Some(seconds) = self.timeout {
            let timeout = Duration::try_from_secs_f64(seconds).ok().filter(|t| !t.is_zero());
            let wrong =
                || Failure::option(format!("timeout: expected seconds, more than 0, found {seconds}"));
            options = options.timeout(timeout.ok_or_else(wrong)?);
        }
        if let Some(path) = &self.tuning {
            options = options.tuning(Tuning::read(path).map_err(tuning_failure)?);
        }
        Ok(options)
    }
}

fn tuning_failure(e: TuningError) -> Failure {
    match &e {
        TuningError::File { source, .. } => Failure::file(e.to_string(), source),
        e => Failure::option(e.to_string()),
    }
}

fn threads(count: usize) -> Result<Threads, Failure> {
    if count == 0 {
        return Err(Failure::option("threads: expected 1 or more, found 0"));
    }
    Threads::new(count).map_err(|e| Failure::new("DeviceError", e.to_string()))
}

pub fn output(text: &str) -> OutputChoice {
    let Ok(choice) = text.parse();
    choice
}

fn precision(text: &str) -> Result<Precision, Failure> {
    match text {
        "f32" => Ok(Precision::F32),
        "f16" => Ok(Precision::F16),
        _ => Err(Failure::option(format!("precision: expected \"f32\" or \"f16\", found {text:?}"))),
    }
}

fn mode(text: &str) -> Result<Mode, Failure> {
    match text {
        "structured" => Ok(Mode::Structured),
        "literal" => Ok(Mode::Literal),
        "residual" => Ok(Mode::Residual),
        _ => Err(Failure::option(format!(
            "mode: expected \"structured\", \"literal\" or \"residual\", found {text:?}"
        ))),
    }
}
