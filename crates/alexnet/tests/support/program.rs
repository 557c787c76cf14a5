//! The program as a process of its own.

#![allow(dead_code)] // Each test file uses its share.

use std::path::Path;
use std::process::{Command, Output};

/// The program with these arguments, in this folder.
pub(crate) fn alexnet(folder: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_alexnet"));
    command.current_dir(folder).args(arguments);
    command
}

/// Runs a command; returns its exit code (-1 if a signal ended it), standard output and standard
/// error.
pub(crate) fn run(mut command: Command) -> (i32, String, String) {
    let Output { status, stdout, stderr } = command.output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (status.code().unwrap_or(-1), text(stdout), text(stderr))
}
