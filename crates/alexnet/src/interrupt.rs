//! Ctrl-C and the signals of schedulers: a wish to stop, heard where work can be left whole.
//!
//! SIGINT (Ctrl-C), SIGTERM, SIGUSR1 (Slurm's `--signal=USR1@120`) and SIGHUP (the terminal is
//! closed) all ask to save and leave. A second Ctrl-C leaves at once; the others may come twice, for
//! schedulers repeat them. A SIGHUP that `nohup` made ignored stays ignored.

use std::fmt;
use std::sync::Once;
use std::sync::atomic::{AtomicBool, Ordering};

use alexnet_data::DataError;
use alexnet_lab::LabError;

use crate::Ended;
use crate::terminal::note;

static STOP: AtomicBool = AtomicBool::new(false);

/// From now on the first signal is only remembered. A second Ctrl-C ends the program at once; what
/// is on disk stays whole. Whoever writes whole files listens before the first of them: one who is ended in
/// the midst leaves a part of it beside its place.
pub(crate) fn listen() -> anyhow::Result<()> {
    static LISTENING: Once = Once::new();
    let mut result = Ok(());
    LISTENING.call_once(|| result = listen_to_signals());
    Ok(result?)
}

/// Whether a signal came.
pub(crate) fn requested() -> bool {
    STOP.load(Ordering::Relaxed)
}

/// Goes on, unless a signal came: between the pieces of work that are left whole.
///
/// # Errors
/// [`Stopped`].
pub(crate) fn check() -> Result<(), Stopped> {
    if requested() { Err(Stopped) } else { Ok(()) }
}

/// How a command ended that did all it could.
pub(crate) fn ended() -> Ended {
    if requested() { Ended::Stopped } else { Ended::Done }
}

/// A signal came.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Stopped;

impl fmt::Display for Stopped {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("stopped before all was done: repeat the command")
    }
}

impl std::error::Error for Stopped {}

/// Whether an error says that a signal came, and nothing else.
pub(crate) fn is_wish_to_stop(error: &anyhow::Error) -> bool {
    error.is::<Stopped>()
        || matches!(error.downcast_ref(), Some(DataError::Stopped | DataError::StoppedReading))
        || matches!(error.downcast_ref(), Some(LabError::Stopped))
}

/// Remembers a wish to stop. `leave` says that a second one ends the program.
fn heard(leave: bool) {
    if !STOP.swap(true, Ordering::Relaxed) {
        // Below the terminal's own sign of Ctrl-C.
        note("");
        note("Stopping as soon as all is saved; Ctrl-C leaves at once.");
    } else if leave {
        std::process::exit(i32::from(crate::EXIT_STOPPED));
    }
}

#[cfg(unix)]
fn listen_to_signals() -> std::io::Result<()> {
    use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM, SIGUSR1};
    let mut signals = signal_hook::iterator::Signals::new([SIGINT, SIGTERM, SIGUSR1])?;
    if is_ignored(SIGHUP) == Some(false) {
        signals.add_signal(SIGHUP)?;
    }
    let hear = move || signals.forever().for_each(|signal| heard(signal == SIGINT));
    std::thread::Builder::new().name("signals".into()).spawn(hear)?;
    Ok(())
}

/// Whether whoever started this program had it ignore a signal, where the system tells.
#[cfg(unix)]
fn is_ignored(signal: i32) -> Option<bool> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("SigIgn:"))?;
    let ignored = u64::from_str_radix(line.trim(), 16).ok()?;
    Some(ignored >> (signal - 1) & 1 == 1)
}

#[cfg(not(unix))]
fn listen_to_signals() -> std::io::Result<()> {
    ctrlc::set_handler(|| heard(true)).map_err(std::io::Error::other)
}
