//! The program: arguments, terminal, exit codes, and the one `match` on a concrete device.

mod arguments;
mod commands;
mod device;
mod machine;
mod settings;
mod terminal;

use std::ffi::OsString;
use std::process::ExitCode;

use clap::Parser;

use arguments::{Arguments, Command, DataCommand};

/// A user's Ctrl-C, as shells report it.
const EXIT_STOPPED: u8 = 130;
const EXIT_FAILED: u8 = 1;

/// What a command that did not fail has to say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ended {
    Done,
    Stopped,
    /// Some of the work failed; each failure was reported where it happened.
    Incomplete,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse_from(std::env::args_os().map(with_dashes));
    tracing_subscriber::fmt()
        .with_writer(std::io::stderr)
        .with_max_level(tracing::Level::WARN)
        .without_time()
        .with_target(false)
        .init();
    match run(arguments.command) {
        Ok(Ended::Done) => ExitCode::SUCCESS,
        Ok(Ended::Stopped) => ExitCode::from(EXIT_STOPPED),
        Ok(Ended::Incomplete) => ExitCode::from(EXIT_FAILED),
        Err(error) if is_broken_pipe(&error) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("alexnet: {}", one_line(&error));
            ExitCode::from(EXIT_FAILED)
        }
    }
}

fn run(command: Command) -> anyhow::Result<Ended> {
    match command {
        Command::Train(arguments) => commands::train::run(*arguments),
        Command::Eval(arguments) => commands::eval::run(&arguments),
        Command::Predict(arguments) => commands::predict::run(&arguments),
        Command::Summary(arguments) => commands::summary::run(&arguments),
        Command::Bench(arguments) => commands::bench::run(&arguments),
        Command::Data { command: DataCommand::Sample(arguments) } => {
            commands::sample::run(&arguments)
        }
    }
}

/// An error and its causes in one line; a cause that is part of what was said already is not said
/// again.
fn one_line(error: &anyhow::Error) -> String {
    let mut line = String::new();
    for cause in error.chain().map(ToString::to_string) {
        if line.is_empty() {
            line = cause;
        } else if !line.contains(&cause) {
            line = format!("{line}: {cause}");
        }
    }
    line.replace('\n', " ")
}

/// `_` and `-` are the same in a flag's name: `--batch_size=8` is `--batch-size=8`.
fn with_dashes(argument: OsString) -> OsString {
    let Some(text) = argument.to_str().filter(|text| text.starts_with("--")) else {
        return argument;
    };
    let (name, value) = text.split_at(text.find('=').unwrap_or(text.len()));
    format!("{}{value}", name.replace('_', "-")).into()
}

/// Whoever read our output has seen enough: no failure.
fn is_broken_pipe(error: &anyhow::Error) -> bool {
    let broken = |e: &std::io::Error| e.kind() == std::io::ErrorKind::BrokenPipe;
    error.chain().any(|cause| {
        cause.downcast_ref::<std::io::Error>().is_some_and(broken)
            || cause
                .downcast_ref::<serde_json::Error>()
                .is_some_and(|e| e.io_error_kind() == Some(std::io::ErrorKind::BrokenPipe))
    })
}
