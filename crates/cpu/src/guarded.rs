//! Arrays beside forbidden pages, so that a read or a write outside an array ends the process: what
//! tests hold every operation to.
//!
//! While [`beside`] runs, all buffers that its thread allocates lie so: arrays to the element,
//! working memory to the line it is aligned to. A device with one thread computes on its caller's.
//! Working memory is full of NaN in tests, as outputs are.

use std::cell::Cell;
use std::ptr::NonNull;

/// Which end of an array the forbidden page is at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Side {
    Before,
    After,
}

thread_local! {
    static SIDE: Cell<Option<Side>> = const { Cell::new(None) };
}

/// Where this thread's arrays are to lie, if it matters.
pub(crate) fn side() -> Option<Side> {
    SIDE.get()
}

/// Runs `body`, with forbidden pages at `side` of everything it allocates.
fn beside<R>(side: Side, body: impl FnOnce() -> R) -> R {
    SIDE.set(Some(side));
    let result = body();
    SIDE.set(None);
    result
}

/// Whole pages between two that may not be touched.
pub(crate) struct Mapping {
    start: NonNull<u8>,
    len: usize,
    array: NonNull<u8>,
}

// SAFETY: memory like any other.
unsafe impl Send for Mapping {}
// SAFETY: as above.
unsafe impl Sync for Mapping {}

impl Mapping {
    /// Zeros: `bytes` of them, at the inner end of the pages that is at `side`.
    pub(crate) fn new(bytes: usize, align: usize, side: Side) -> Self {
        // SAFETY: asks for a number.
        let page = unsafe { libc::sysconf(libc::_SC_PAGESIZE) } as usize;
        let inner = bytes.next_multiple_of(page);
        let len = inner + 2 * page;
        let (forbidden, private) = (libc::PROT_NONE, libc::MAP_PRIVATE | libc::MAP_ANONYMOUS);
        // SAFETY: a new mapping, wherever the system likes; then its inner pages are opened.
        let start = unsafe {
            let start = libc::mmap(std::ptr::null_mut(), len, forbidden, private, -1, 0);
            assert_ne!(start, libc::MAP_FAILED, "{len} bytes of addresses");
            let open = libc::PROT_READ | libc::PROT_WRITE;
            assert!(inner == 0 || libc::mprotect(start.byte_add(page), inner, open) == 0);
            NonNull::new(start.cast::<u8>()).expect("a mapping is not at 0")
        };
        let offset = match side {
            Side::Before => page,
            Side::After => page + inner - bytes.next_multiple_of(align),
        };
        // SAFETY: inside the mapping.
        Self { start, len, array: unsafe { start.add(offset) } }
    }

    /// The address of the first byte that may be used.
    pub(crate) fn array(&self) -> NonNull<u8> {
        self.array
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: the mapping is this one's, and so was the array in it.
        unsafe { libc::munmap(self.start.as_ptr().cast(), self.len) };
    }
}

/// What this thread is at, told to whoever reads why the process died.
mod note {
    use std::cell::Cell;

    thread_local! {
        static NOTE: Cell<(*const u8, usize)> = const { Cell::new((std::ptr::null(), 0)) };
    }

    /// Runs `body`; the process' last words are `text` if it touches a forbidden page.
    pub(super) fn with<R>(text: &str, body: impl FnOnce() -> R) -> R {
        let handler: extern "C" fn(libc::c_int) = say;
        for signal in [libc::SIGSEGV, libc::SIGBUS] {
            // SAFETY: the handler does only what a handler may.
            unsafe { libc::signal(signal, handler as libc::sighandler_t) };
        }
        NOTE.set((text.as_ptr(), text.len()));
        let result = body();
        NOTE.set((std::ptr::null(), 0));
        result
    }

    /// Writes the note, and lets the fault happen again without a handler.
    extern "C" fn say(signal: libc::c_int) {
        let (start, len) = NOTE.get();
        let before = b"\noutside of an array: ";
        // SAFETY: both texts live; `write` and `signal` may be called here.
        unsafe {
            libc::write(2, before.as_ptr().cast(), before.len());
            libc::write(2, start.cast(), len);
            libc::write(2, b"\n".as_ptr().cast(), 1);
            libc::signal(signal, libc::SIG_DFL);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::process::ExitStatusExt;
    use std::panic::{AssertUnwindSafe, catch_unwind};
    use std::process::Command;

    use alexnet_ops::conformance::{Case, TOLERANCE, cases, compare};
    use alexnet_ops::{Precision, Reference};

    use super::*;
    use crate::samples;
    use crate::{Array, Cpu, Isa};

    const SIDES: [Side; 2] = [Side::Before, Side::After];

    /// Names the side to a child process that is to die.
    const CHILD: &str = "ALEXNET_TEST_OVERREACH";

    /// Every case on every set of instructions, beside a forbidden page on either side in turn, and
    /// what comes out beside the reference.
    fn check(precision: Precision, tolerance: f32, cases: &[Case]) {
        let with = |isa| Cpu::with(1, isa, precision).expect("one thread is there");
        let devices: Vec<Cpu> = Isa::available().into_iter().map(with).collect();
        for (index, case) in cases.iter().enumerate() {
            let expected = case.run_exact(&Reference::<f32>::new());
            for cpu in &devices {
                let side = SIDES[index % 2];
                let name = format!("{case:?}, {precision:?} with {}, {side:?}", cpu.isa());
                let run = || note::with(&name, || beside(side, || case.run_exact(cpu)));
                let found = catch_unwind(AssertUnwindSafe(run));
                let found = found.unwrap_or_else(|_| panic!("{name}"));
                for ((output, expected), (_, found)) in expected.iter().zip(&found) {
                    assert_eq!(compare(&name, output, expected, found, tolerance), None);
                }
            }
        }
    }

    #[test]
    fn no_operation_touches_what_lies_beside_its_arrays() {
        // Twice: so that every case meets both sides.
        let cases = cases().into_iter().flat_map(|case| [case, case]);
        check(Precision::F32, TOLERANCE, &cases.collect::<Vec<_>>());
    }

    #[test]
    fn convolutions_of_every_size_are_right_and_stay_inside_their_arrays() {
        check(Precision::F32, TOLERANCE, &samples::convolutions(400));
    }

    #[test]
    fn convolutions_in_bf16_are_within_a_hundredth_and_stay_inside_their_arrays() {
        check(Precision::Bf16, 1e-2, &samples::convolutions(200));
    }

    #[test]
    fn linear_layers_of_every_size_stay_inside_their_arrays() {
        check(Precision::F32, TOLERANCE, &samples::linear_layers(400));
        check(Precision::Bf16, 1e-2, &samples::linear_layers(200));
    }

    #[test]
    fn everything_elementwise_pooled_or_normalised_stays_inside_its_arrays() {
        check(Precision::F32, TOLERANCE, &samples::others());
    }

    #[test]
    fn reading_one_element_too_far_ends_the_process_with_the_case_named() {
        if let Ok(side) = std::env::var(CHILD) {
            let (side, offset) =
                if side == "After" { (Side::After, 5) } else { (Side::Before, -1) };
            note::with("a deliberate fault", || {
                let array = beside(side, || Array::zeroed(5));
                // SAFETY: it is not: that is what this process is for.
                std::hint::black_box(unsafe { array.as_ptr().offset(offset).read_volatile() });
            });
            return;
        }
        let name =
            "guarded::tests::reading_one_element_too_far_ends_the_process_with_the_case_named";
        for side in SIDES {
            let this = std::env::current_exe().expect("a running program has a path");
            let mut child = Command::new(this);
            let output = child.args(["--exact", name]).env(CHILD, format!("{side:?}")).output();
            let output = output.expect("this program can be run");
            let last_words = String::from_utf8_lossy(&output.stderr);
            assert_eq!(output.status.signal(), Some(libc::SIGSEGV), "{side:?}: {last_words}");
            assert!(last_words.contains("a deliberate fault"), "{side:?}: {last_words}");
        }
    }
}
