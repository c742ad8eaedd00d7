//! The `rmnet` program: parses, calls, prints.

mod cli;

use std::process::ExitCode;

fn main() -> ExitCode {
    env_logger::Builder::from_env(env_logger::Env::default().default_filter_or("error"))
        .format(cli::write_log)
        .init();
    // A decoder that panics over a file is reported as that file's error.
    let report = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        if !rmnet::images::is_decoding() {
            report(panic);
        }
    }));
    ExitCode::from(cli::main(cli::parse()))
}
