//! The `rmnet` program: parses, calls, prints.

mod cli;

use std::process::ExitCode;

fn main() -> ExitCode {
    env_logger::Builder::from_env(env_logger::Env::default().default_filter_or("error")).init();
    ExitCode::from(cli::main(cli::parse()))
}
