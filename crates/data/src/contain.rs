//! A decoder's panic is kept from taking the program down, and from the user's terminal.
//!
//! Rust reports a panic on standard error before anyone can catch it. Who calls [`contain`] reports
//! the file itself, in one line, so nothing is said of panics in there; of all others the hook that
//! was there before tells, as ever.

use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind, set_hook, take_hook};
use std::sync::Once;
use std::thread;

thread_local! {
    /// Whether this thread is inside a decoder.
    static INSIDE: Cell<bool> = const { Cell::new(false) };
}

/// What `decode` returns, or `None` if it panics. It must own all it changes: then nothing is left
/// half-changed behind a panic.
pub(crate) fn contain<T>(decode: impl FnOnce() -> T) -> Option<T> {
    silence();
    let before = INSIDE.replace(true);
    let decoded = catch_unwind(AssertUnwindSafe(decode));
    INSIDE.set(before);
    decoded.ok()
}

/// Puts a hook before the one there is, once in a process.
fn silence() {
    static SILENCED: Once = Once::new();
    // A thread that panics may not change the hook.
    if SILENCED.is_completed() || thread::panicking() {
        return;
    }
    SILENCED.call_once(|| {
        let others = take_hook();
        set_hook(Box::new(move |panic| {
            // A thread that is ending has no such mark any more, and is in no decoder.
            if !INSIDE.try_with(Cell::get).unwrap_or(false) {
                others(panic);
            }
        }));
    });
}

#[cfg(test)]
mod tests {
    use std::env::{current_exe, var_os};
    use std::process::Command;

    use super::*;

    /// Asks the test below to panic: what it prints is looked at from outside.
    const ASKED: &str = "ALEXNET_TEST_PANICS";

    #[test]
    fn a_decoders_panic_is_not_reported_and_every_other_is() {
        let test = "contain::tests::panics_when_asked_to";
        let mut child = Command::new(current_exe().unwrap());
        let output = child.args([test, "--exact", "--nocapture"]).env(ASKED, "").output().unwrap();
        let reported = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{reported}");
        for (panic, expected) in
            [("a decoder's", 0), ("nested", 0), ("before", 1), ("after", 1), ("beside", 1)]
        {
            let found = reported.matches(&format!("panic {panic}\n")).count();
            assert_eq!(found, expected, "{panic}: {reported}");
        }
    }

    #[test]
    fn panics_when_asked_to() {
        if var_os(ASKED).is_none() {
            return;
        }
        let own = |name: &str| drop(catch_unwind(|| panic!("panic {name}")));
        own("before");
        assert_eq!(contain(|| 7), Some(7));
        assert_eq!(contain::<()>(|| panic!("panic a decoder's")), None);
        let nested = contain(|| {
            assert_eq!(contain(|| 7), Some(7));
            panic!("panic nested")
        });
        assert_eq!(nested, None::<()>);
        own("after");
        contain(|| thread::scope(|scope| drop(scope.spawn(|| own("beside")).join())));
    }
}
