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
mod passed_over;
mod plan;
mod profile;
mod prune;
mod report;
mod run;
mod signals;
mod targets;
mod terminal;
mod timed;
mod tune;
mod verify;
mod wgsl;

use args::{Cli, ModeArg, ModelArgs, PrecisionArg, Verb};
use clap::Parser;
use failure::Failure;
use report::{Report, error_line};
use rmnet::checkpoint::Checkpoint;
use rmnet::error::ModelError;
use rmnet::graph::{Graph, Shape};
use rmnet::rewrite::{BlockReport, Outcome};
use rmnet::{Assume, Device, Error, LoadOptions, Mode, Model, Precision, Session, Size};
use std::io::{self, Write};
use std::path::Path;
use std::process::ExitCode;
use std::time::{Duration, Instant};
use targets::{check_overwrite, check_target, unwritable, write};

fn main() -> ExitCode {
    env_logger::Builder::from_env(env_logger::Env::default().default_filter_or("error"))
        .format(write_log)
        .init();
    // A panic while decoding a file is reported as that file's error.
    let report = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        if !rmnet::images::is_decoding() {
            report(panic);
        }
    }));
    ExitCode::from(run_verb(parse()))
}

/// Parses the command line. Help, the version and usage errors are printed and end the process; with `--json` an error is also
/// printed as an object on standard output.
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
        // Arguments may be file names, so they are escaped.
        let _ = write!(std::io::stderr(), "{}", terminal::text(&rendered));
        std::process::exit(error.exit_code())
    })
}

/// Writes a log line, escaped since it may quote a file.
fn write_log(out: &mut env_logger::fmt::Formatter, record: &log::Record<'_>) -> std::io::Result<()> {
    let message = record.args().to_string();
    writeln!(out, "[{} {}] {}", record.level(), record.target(), terminal::text(&message))
}

/// Runs the verb, prints its report and returns the exit code.
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
    match result {
        Ok(report) => printed(report.print(cli.json)),
        Err(Failure { code, message, report }) => {
            match report {
                Some(report) => printed(report.print(cli.json)),
                None if cli.json => printed(terminal::print(&(error_line(&message) + "\n"))),
                None => 0,
            };
            terminal::say(&format!("error: {message}"));
            code
        }
    }
}

/// The exit code for the result of printing. A closed pipe (`rmnet plan .. | head`) is not a failure.
fn printed(result: io::Result<()>) -> u8 {
    match result {
        Err(e) if e.kind() != io::ErrorKind::BrokenPipe => {
            terminal::say(&format!("error: cannot write to standard output: {e}"));
            3
        }
        _ => 0,
    }
}

/// Opens a checkpoint of the command line, memory-mapped.
fn open(path: &Path) -> Result<Checkpoint, Failure> {
    // SAFETY: the user must not change files while they are read, as with every program that maps files; `signals` handles a file
    // that is cut short.
    unsafe { Checkpoint::open_mapped(path) }.map_err(Failure::input)
}

fn load(args: &ModelArgs) -> Result<Model, Failure> {
    let model = load_at(args, args.size)?;
    assumed::note(&model);
    Ok(model)
}

/// Like `load`, for inputs of `size`, but prints no assumptions, which are in the verb's report.
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
    dimensions(graph.shape(graph.output()))
}

/// `[channels, height, width]`
fn dimensions(shape: Shape) -> [usize; 3] {
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

/// The device that `--adapter` selects.
fn device(adapter: Option<&str>) -> Result<Device, Failure> {
    Ok(adapter.map(str::parse).transpose()?.unwrap_or_default())
}

/// Runs one input after a warm-up run; returns the logits and the median time of five runs.
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

/// Suffix of a line for a precision other than the default.
fn precision_note(precision: Precision) -> String {
    if precision == Precision::default() { String::new() } else { format!(", {precision}") }
}

/// Number of blocks whose residual connection was removed.
fn removed(blocks: &[BlockReport]) -> usize {
    blocks.iter().filter(|b| !matches!(b.outcome, Outcome::Kept { .. })).count()
}

/// A count in units of 10^9.
fn giga(count: usize) -> f64 {
    count as f64 / 1e9
}

/// Bytes as text in MiB.
fn mib(bytes: usize) -> String {
    format!("{:.2} MiB", bytes as f64 / (1 << 20) as f64)
}
