//! The `rmnet` program: each verb calls the library and prints. Nothing is computed here.

mod args;
mod assumed;
mod bench;
mod choices;
mod convert;
mod demo;
mod devices;
mod draw;
mod image_input;
mod inspect;
mod merge;
mod place;
mod plan;
mod profile;
mod prune;
mod run;
mod scores;
mod signals;
mod sink;
mod terminal;
mod timed;
mod tune;
mod verify;
mod wgsl;

pub use args::Cli;

use args::{FormatArg, ModeArg, ModelArgs, PrecisionArg, Verb};
use clap::Parser;
use rmnet::checkpoint::Checkpoint;
use rmnet::cpu::CpuError;
use rmnet::gpu::GpuError;
use rmnet::graph::Graph;
use rmnet::models::{self, Assume, Model, ModelError};
use rmnet::plan::PlanError;
use rmnet::rewrite::prune::PruneError;
use rmnet::{Device, Mode, Precision, Session, SessionError};
use serde_json::{Value, json};
use std::fmt::Display;
use std::io::{Read, Write};
use std::path::Path;
use std::time::{Duration, Instant};

/// Version of every JSON object printed.
const SCHEMA_VERSION: u32 = 1;

/// What a verb prints: text for people, or the same as JSON.
pub struct Report {
    /// For people; ends without a newline.
    pub text: String,
    /// For scripts; an object.
    pub json: Value,
}

impl Report {
    /// All that there was to print has been printed.
    pub fn printed() -> Report {
        Report { text: String::new(), json: Value::Null }
    }
}

/// Why a verb failed, and the exit code that says so.
#[derive(Debug)]
pub struct Failure {
    /// As the contract has it.
    pub code: u8,
    /// For people, on stderr.
    pub message: String,
    /// A report that is printed all the same.
    pub report: Option<(String, Value)>,
}

impl Failure {
    /// A checkpoint or an input that cannot be used.
    pub fn input(e: impl Display) -> Failure {
        Failure { code: 3, message: e.to_string(), report: None }
    }

    /// Options that contradict each other.
    pub fn usage(e: impl Display) -> Failure {
        Failure { code: 2, message: e.to_string(), report: None }
    }
}

impl From<SessionError> for Failure {
    fn from(e: SessionError) -> Failure {
        let code = match &e {
            SessionError::Gpu(gpu) => match gpu {
                GpuError::DeviceLost { .. }
                | GpuError::OutOfMemory { .. }
                | GpuError::Refused { .. }
                | GpuError::Timeout { .. } => 6,
                GpuError::InputLength { .. } | GpuError::Buffer { .. } | GpuError::Overflow { .. } => 3,
                _ => 4,
            },
            SessionError::Cpu(CpuError::OutOfMemory(_) | CpuError::Threads(_))
            | SessionError::OutOfMemory(_)
            | SessionError::Threads(_) => 6,
            SessionError::Output(_) => 2,
            SessionError::Plan(e) => plan_code(e),
            SessionError::Prune(e) => match e {
                PruneError::Graph(_) | PruneError::Order { .. } | PruneError::Empty { .. } => 3,
                _ => 2,
            },
            _ => 3,
        };
        let message = match &e {
            // Its message says so itself.
            SessionError::Gpu(GpuError::NoAdapter { .. }) => e.to_string(),
            _ if code == 4 => format!("{e}; the CPU executor, `--adapter cpu`, needs no GPU"),
            _ => e.to_string(),
        };
        Failure { code, message, report: None }
    }
}

/// A limit is the adapter's; anything else is the model's.
fn plan_code(e: &PlanError) -> u8 {
    match e {
        PlanError::BindingTooLarge { .. } | PlanError::TooManyBuffers { .. } => 4,
        PlanError::Unsupported { .. }
        | PlanError::Weights { .. }
        | PlanError::TooLarge { .. }
        | PlanError::EmptyBatch => 3,
        PlanError::BatchTooLarge { .. } => 6,
    }
}

/// Refuses a file to write that is no regular file, or that is one of the files read, or that cannot be written: before anything
/// that takes long.
fn check_target(target: &Path, read: &[&Path]) -> Result<(), Failure> {
    let refuse = |why: &str| Err(Failure::usage(format!("{}: {why}", target.display())));
    if std::fs::metadata(target).is_ok_and(|found| !found.is_file()) {
        return refuse("expected a file to write, found something that is no regular file");
    }
    let same = |p: &Path| match (p.canonicalize(), target.canonicalize()) {
        // Of a folder, weights and configs are read; of an index, the shards beside it.
        (Ok(read), Ok(target)) => {
            let kind = target.extension().is_some_and(|e| e == "safetensors" || e == "json");
            let is_index = read.to_string_lossy().ends_with(".index.json");
            let folder = if is_index { read.parent() } else { Some(read.as_path()) };
            read == target || (kind && target.parent() == folder)
        }
        _ => false,
    };
    if read.iter().any(|p| same(p)) {
        return refuse(
            "expected a file of its own to write, found one that is read from, or beside what is read",
        );
    }
    rmnet::output::try_write(target).map_err(unwritable(target))
}

/// Writes a file, whole or not at all.
fn write(path: &Path, bytes: impl AsRef<[u8]>) -> Result<(), Failure> {
    rmnet::output::write_whole(path, |partial| std::fs::write(partial, bytes)).map_err(unwritable(path))
}

fn unwritable(path: &Path) -> impl FnOnce(std::io::Error) -> Failure {
    move |e| Failure::input(format!("cannot write {}: {e}", path.display()))
}

/// Refuses to write over a file that is no model of that format.
fn check_overwrite(target: &Path, format: FormatArg) -> Result<(), Failure> {
    let Ok(file) = rmnet::files::open(target) else { return Ok(()) };
    let mut start = vec![];
    let length = file.metadata().map_or(0, |m| m.len());
    file.take(9).read_to_end(&mut start).map_err(Failure::input)?;
    let ours = match (format, start.as_slice()) {
        (_, []) => true,
        // The length of the header, and the JSON object it begins with.
        (FormatArg::Safetensors, &[a, b, c, d, e, f, g, h, b'{']) => {
            u64::from_le_bytes([a, b, c, d, e, f, g, h]) < length
        }
        // The field `ir_version`, a small number.
        (FormatArg::Onnx, &[0x08, version, ..]) => version < 0x80,
        _ => false,
    };
    if ours {
        return Ok(());
    }
    let name = format.name();
    Err(Failure::usage(format!(
        "{}: there is a file that is no {name} model, it is not overwritten",
        target.display()
    )))
}

/// The command line. Help, the version and usage errors are printed and end the process; with `--json` an error is an object on
/// standard output too.
pub fn parse() -> Cli {
    Cli::try_parse().unwrap_or_else(|error| {
        if !error.use_stderr() {
            error.exit()
        }
        let rendered = error.render().to_string();
        if std::env::args_os().any(|a| a == "--json") {
            let message = rendered.split("\n\n").next().unwrap_or_default().trim_start_matches("error: ");
            let _ = terminal::print(&(error_line(message) + "\n"));
        }
        // Arguments may be names of files.
        let _ = write!(std::io::stderr(), "{}", terminal::text(&rendered));
        std::process::exit(error.exit_code())
    })
}

/// A line of the log, which may quote a file.
pub fn write_log(out: &mut env_logger::fmt::Formatter, record: &log::Record<'_>) -> std::io::Result<()> {
    let message = record.args().to_string();
    writeln!(out, "[{} {}] {}", record.level(), record.target(), terminal::text(&message))
}

/// Runs the verb and prints its report; gives the exit code.
pub fn main(cli: Cli) -> u8 {
    signals::watch(cli.json);
    let result = match cli.verb.unwrap_or_else(|| Verb::Demo(Default::default())) {
        Verb::Demo(args) => demo::demo(&args),
        Verb::Inspect(args) => inspect::inspect(&args),
        Verb::Convert(args) => convert::convert(&args),
        Verb::Prune(args) => prune::prune(&args),
        Verb::Plan(args) => plan::plan(&args),
        Verb::Run(args) => run::run(&args, cli.json),
        Verb::Verify(args) => verify::verify(&args),
        Verb::Bench(args) => bench::bench(&args),
        Verb::Profile(args) => profile::profile(&args),
        Verb::Tune(args) => tune::tune(&args),
        Verb::Wgsl(args) => wgsl::wgsl(&args),
        Verb::Devices => devices::devices(),
        Verb::Doctor => devices::doctor(),
    };
    let print = |text: String, value: Value| {
        if text.is_empty() && value.is_null() {
            return 0;
        }
        let lines =
            if cli.json { terminal::json(&versioned(value)) } else { terminal::text(&text).into_owned() };
        // A closed pipe (`rmnet plan .. | head`) is the reader's choice, no failure.
        match terminal::print(&(lines + "\n")) {
            Err(e) if e.kind() != std::io::ErrorKind::BrokenPipe => {
                terminal::say(&format!("error: cannot write to standard output: {e}"));
                3
            }
            _ => 0,
        }
    };
    match result {
        Ok(report) => print(report.text, report.json),
        Err(failure) => {
            match failure.report {
                Some((text, value)) => drop(print(text, value)),
                None if cli.json => drop(print(String::new(), json!({ "error": failure.message }))),
                None => {}
            }
            terminal::say(&format!("error: {}", failure.message));
            failure.code
        }
    }
}

/// What `--json` prints of an error.
fn error_line(message: &str) -> String {
    terminal::json(&versioned(json!({ "error": message })))
}

fn versioned(mut value: Value) -> Value {
    if let Some(object) = value.as_object_mut() {
        object.insert("schema_version".into(), SCHEMA_VERSION.into());
    }
    value
}

/// A checkpoint of the command line, memory-mapped.
fn open(path: &Path) -> Result<Checkpoint, Failure> {
    // SAFETY: as every program that maps its files, this one has its user's word that nothing rewrites them meanwhile; `signals`
    // answers where one is cut short.
    unsafe { Checkpoint::open_mapped(path) }.map_err(Failure::input)
}

fn load(args: &ModelArgs) -> Result<Model, Failure> {
    let model = load_at(args, args.size)?;
    assumed::note(&model);
    Ok(model)
}

/// The same for inputs of `size`, without a word of what is assumed: the verb's report has it.
fn load_at(args: &ModelArgs, size: Option<[usize; 2]>) -> Result<Model, Failure> {
    let checkpoint = open(&args.checkpoint)?;
    let mut assume = Assume::default();
    for (key, value) in &args.assume {
        assume.state(key, value).map_err(Failure::usage)?;
    }
    let model = models::load_assuming(&checkpoint, size, &assume).map_err(|e| {
        let how = match &e {
            ModelError::Ambiguous { key, found, .. } => {
                found.last().map(|one| format!("--assume {key}={one}"))
            }
            ModelError::Beside { advice, .. } => Some(format!("--assume {advice}")),
            ModelError::Unsupported { why, .. } if why.contains("`block_strides`") => {
                Some("--assume block_strides=1,2,..".into())
            }
            _ => None,
        };
        Failure::input(how.map_or_else(|| e.to_string(), |how| format!("{e} (such as {how})")))
    })?;
    Ok(args.output.of(&model).map_err(|e| Failure::usage(format!("--{e}")))?.into_owned())
}

/// `[channels, height, width]` of a graph's output.
fn output_shape(graph: &Graph) -> [usize; 3] {
    let shape = graph.shape(graph.output());
    [shape.channels, shape.height, shape.width]
}

impl From<ModeArg> for Mode {
    fn from(mode: ModeArg) -> Mode {
        match mode {
            ModeArg::Structured => Mode::Structured,
            ModeArg::Literal => Mode::Literal,
            ModeArg::Residual => Mode::Residual,
        }
    }
}

impl From<PrecisionArg> for Precision {
    fn from(precision: PrecisionArg) -> Precision {
        match precision {
            PrecisionArg::F32 => Precision::F32,
            PrecisionArg::F16 => Precision::F16,
        }
    }
}

/// Where `--adapter` sends a run.
fn device(adapter: Option<&str>) -> Device {
    match adapter {
        Some(text) if text.eq_ignore_ascii_case("cpu") => Device::Cpu,
        // Any text is a choice: what is no number and no graphics API is part of a name.
        Some(text) => Device::Gpu(text.parse().unwrap_or_default()),
        None => Device::default(),
    }
}

/// Runs one input after a warm-up: the logits, and the median of five runs.
fn timed(session: &Session, input: &[f32]) -> Result<(Vec<f32>, Duration), Failure> {
    session.run(input)?;
    let mut times = vec![];
    let mut logits = vec![];
    for _ in 0..5 {
        let start = Instant::now();
        logits = session.run(input)?;
        times.push(start.elapsed());
    }
    times.sort();
    Ok((logits, times[2]))
}

/// What a line says of a precision that is not the default.
fn precision_note(precision: Precision) -> &'static str {
    match precision {
        Precision::F32 => "",
        Precision::F16 => ", f16",
    }
}

/// Bytes as MiB for people.
fn mib(bytes: usize) -> String {
    format!("{:.2} MiB", bytes as f64 / (1 << 20) as f64)
}
