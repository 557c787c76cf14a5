//! Ctrl-C and termination signals: a wish to stop, heard where work can be left whole.

use std::sync::Once;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::terminal::note;

static STOP: AtomicBool = AtomicBool::new(false);

/// From now on the first signal is only remembered. A second one ends the program at once; what is
/// on disk stays whole.
pub(crate) fn listen() -> anyhow::Result<()> {
    static LISTENING: Once = Once::new();
    let mut result = Ok(());
    LISTENING.call_once(|| {
        result = ctrlc::set_handler(|| {
            if STOP.swap(true, Ordering::Relaxed) {
                std::process::exit(i32::from(crate::EXIT_STOPPED));
            }
            note("\nStopping as soon as all is saved; press again to leave at once.");
        });
    });
    Ok(result?)
}

/// Whether a signal came.
pub(crate) fn requested() -> bool {
    STOP.load(Ordering::Relaxed)
}
