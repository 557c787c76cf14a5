//! The program: arguments, terminal, exit codes, and the one `match` on a concrete device.

mod arguments;
mod claim;
mod commands;
mod device;
mod fine_tuning;
mod flags;
mod interrupt;
mod layer_rates;
mod machine;
mod measuring;
mod normalisation;
mod places;
mod published;
mod settings;
mod terminal;
mod watch;

use std::ffi::OsString;
use std::process::ExitCode;

use clap::Parser;

use alexnet_network::ModelError;
use alexnet_train::TrainError;
use arguments::{Arguments, Command, DataCommand};
use settings::UsageError;
use terminal::note;

/// A user's Ctrl-C, as shells report it.
const EXIT_STOPPED: u8 = 130;
const EXIT_FAILED: u8 = 1;
/// A run that could not be saved: EX_IOERR of `sysexits.h`.
const EXIT_NOT_SAVED: u8 = 74;
/// As clap ends the program on flags it does not understand.
const EXIT_USAGE: u8 = 2;

/// What a command that did not fail has to say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ended {
    Done,
    Stopped,
    /// Some of the work failed, or what was checked is not in order; each failure was reported
    /// where it happened.
    Incomplete,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse_from(with_dashes(std::env::args_os()));
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
            note(&format!("alexnet: {}", one_line(&error)));
            ExitCode::from(exit_code(&error))
        }
    }
}

fn run(command: Command) -> anyhow::Result<Ended> {
    match command {
        Command::Train(arguments) => commands::train::run(*arguments),
        Command::Eval(arguments) => commands::eval::run(&arguments),
        Command::Figures(arguments) => commands::figures::run(&arguments),
        Command::Predict(arguments) => commands::predict::run(&arguments),
        Command::Convert(arguments) => commands::convert::run(&arguments),
        Command::Summary(arguments) => commands::summary::run(&arguments),
        Command::Bench(arguments) => commands::bench::run(&arguments),
        Command::Lab(arguments) => commands::lab::run(&arguments),
        Command::Doctor => commands::doctor::run(),
        Command::Data { command } => run_data(command),
    }
}

fn run_data(command: DataCommand) -> anyhow::Result<Ended> {
    match command {
        DataCommand::Sample(arguments) => commands::sample::run(&arguments),
        DataCommand::Info(arguments) => commands::info::run(&arguments),
        DataCommand::Check(arguments) => commands::check::run(&arguments),
        DataCommand::Preview(arguments) => commands::preview::run(*arguments),
        DataCommand::Prepare(arguments) => commands::prepare::run(&arguments),
        DataCommand::Pack(arguments) => commands::pack::run(&arguments),
        DataCommand::Statistics(arguments) => commands::statistics::run(&arguments),
    }
}

/// A value that was typed wrong is a matter of usage, whoever noticed it.
fn exit_code(error: &anyhow::Error) -> u8 {
    let no_network = matches!(error.downcast_ref(), Some(TrainError::Model(_)));
    if interrupt::is_wish_to_stop(error) {
        EXIT_STOPPED
    } else if matches!(error.downcast_ref(), Some(TrainError::NotSaved { .. })) {
        EXIT_NOT_SAVED
    } else if no_network || error.is::<ModelError>() || error.is::<UsageError>() {
        EXIT_USAGE
    } else {
        EXIT_FAILED
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
    // Spaces of paths stay as they are: commands are suggested that can be pasted.
    if line.contains(['\n', '\r']) {
        line = line.split_whitespace().collect::<Vec<_>>().join(" ");
    }
    line
}

/// `_` and `-` are the same in a flag's name: `--batch_size=8` is `--batch-size=8`.
fn with_dashes(arguments: impl Iterator<Item = OsString>) -> impl Iterator<Item = OsString> {
    let mut flags_end = false;
    arguments.map(move |argument| {
        flags_end |= argument == "--";
        match argument.to_str().filter(|text| !flags_end && text.starts_with("--")) {
            Some(text) => {
                let (name, value) = text.split_at(text.find('=').unwrap_or(text.len()));
                format!("{}{value}", name.replace('_', "-")).into()
            }
            None => argument,
        }
    })
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
