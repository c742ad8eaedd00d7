//! The `rmnet` program: each verb calls the library and prints. Nothing is computed here.

mod allocator;
mod args;
mod assumed;
mod bench;
mod choices;
mod convert;
mod demo;
mod device_context;
mod devices;
mod draw;
mod failure;
mod image_input;
mod inspect;
mod merge;
mod plan;
mod profile;
mod prune;
mod run;
mod signals;
mod sink;
mod targets;
mod terminal;
mod timed;
mod tune;
mod verify;
mod wgsl;

use args::{Cli, ModeArg, ModelArgs, PrecisionArg, Verb};
use clap::Parser;
use failure::Failure;
use rmnet::checkpoint::Checkpoint;
use rmnet::error::ModelError;
use rmnet::graph::Graph;
use rmnet::{Assume, Device, Error, LoadOptions, Mode, Model, Precision, Session, Size};
use serde_json::{Value, json};
use std::io::Write;
use std::path::Path;
use std::process::ExitCode;
use std::time::{Duration, Instant};
use targets::{check_overwrite, check_target, unwritable, write};

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

fn main() -> ExitCode {
    env_logger::Builder::from_env(env_logger::Env::default().default_filter_or("error"))
        .format(write_log)
        .init();
    // A decoder that panics over a file is reported as that file's error.
    let report = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        if !rmnet::images::is_decoding() {
            report(panic);
        }
    }));
    ExitCode::from(run_verb(parse()))
}

/// The command line. Help, the version and usage errors are printed and end the process; with `--json` an error is an object on
/// standard output too.
fn parse() -> Cli {
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
fn write_log(out: &mut env_logger::fmt::Formatter, record: &log::Record<'_>) -> std::io::Result<()> {
    let message = record.args().to_string();
    writeln!(out, "[{} {}] {}", record.level(), record.target(), terminal::text(&message))
}

/// Runs the verb and prints its report; gives the exit code.
fn run_verb(cli: Cli) -> u8 {
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
    let mut options = LoadOptions::default().assume(assume);
    options.size = size.map(Size::from);
    let model = Model::load(&checkpoint, &options).map_err(|e| {
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
    let output = args.output.of(&model).map_err(|e| {
        let failure = Failure::from(Error::Output(e));
        Failure { message: format!("--{}", failure.message), ..failure }
    })?;
    Ok(output.into_owned())
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
