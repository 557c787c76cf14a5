//! Threads that wait for work by looking, and take microseconds to begin and to join.
//!
//! A layer's step lasts milliseconds and a network has dozens, so a worker that has finished looks
//! for the next piece of work for a while before it sleeps. Pieces are handed out one by one; what
//! a piece is depends on shapes alone, so results do not depend on who computes it.

use std::any::Any;
use std::io::{self, ErrorKind};
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle, Thread};
use std::time::{Duration, Instant};

/// How long a worker looks for work before it sleeps: longer than the serial parts between two
/// operations of a step.
const LOOKING: Duration = Duration::from_micros(200);

/// Most threads: beyond the cores of any machine this runs on, and well below the thousands at which
/// a system lets a thread start and then refuses it its memory, which ends the process.
pub const THREADS_MAX: usize = 1024;

/// A value on cache lines of its own: neighbouring lines are fetched in pairs.
#[repr(align(128))]
struct Apart<T>(T);

/// What all workers run: the piece's worker and index.
type Body<'a> = &'a (dyn Fn(usize, usize) + Sync);

/// One round of work, read by workers after `round` has changed.
struct Job {
    body: Body<'static>,
    pieces: usize,
}

struct Shared {
    /// Counts rounds; even while the job is being changed does no worker look at it.
    round: Apart<AtomicUsize>,
    next_piece: Apart<AtomicUsize>,
    busy: Apart<AtomicUsize>,
    leaving: AtomicBool,
    job: Apart<std::cell::UnsafeCell<Option<Job>>>,
    panic: Mutex<Option<Box<dyn Any + Send>>>,
}

// SAFETY: `job` is written only by the holder of `Threads::caller` while no worker is busy, before
// `round` is raised; workers read it only after they have seen the raise.
unsafe impl Sync for Shared {}

/// A fixed number of threads; the one that calls is the first of them.
pub(crate) struct Threads {
    shared: Arc<Shared>,
    workers: Vec<(Thread, Option<JoinHandle<()>>)>,
    caller: Mutex<()>,
}

/// How many threads are meant by `count`: 0 takes one a core, [`THREADS_MAX`] at most.
pub(crate) fn meant(count: usize) -> usize {
    let cores = || thread::available_parallelism().map_or(1, usize::from).min(THREADS_MAX);
    if count == 0 { cores() } else { count }
}

impl Threads {
    /// `count` threads, one of them the caller's.
    pub(crate) fn new(count: usize) -> std::io::Result<Self> {
        if count > THREADS_MAX {
            return Err(io::Error::new(ErrorKind::InvalidInput, format!("{THREADS_MAX} at most")));
        }
        let shared = Arc::new(Shared {
            round: Apart(AtomicUsize::new(0)),
            next_piece: Apart(AtomicUsize::new(0)),
            busy: Apart(AtomicUsize::new(0)),
            leaving: AtomicBool::new(false),
            job: Apart(std::cell::UnsafeCell::new(None)),
            panic: Mutex::new(None),
        });
        let mut threads = Self { shared, workers: Vec::new(), caller: Mutex::new(()) };
        for worker in 1..count {
            let shared = Arc::clone(&threads.shared);
            let handle = builder(worker).spawn(move || work(&shared, worker))?;
            threads.workers.push((handle.thread().clone(), Some(handle)));
        }
        Ok(threads)
    }

    /// How many compute, the caller included.
    pub(crate) fn count(&self) -> usize {
        self.workers.len() + 1
    }

    /// Runs `body(worker, piece)` for every piece, each on one thread; returns when all are done.
    /// Must not be called from within a body.
    pub(crate) fn for_each(&self, pieces: usize, body: impl Fn(usize, usize) + Sync) {
        if self.workers.is_empty() || pieces <= 1 {
            (0..pieces).for_each(|piece| body(0, piece));
            return;
        }
        let _one_at_a_time = self.caller.lock().unwrap_or_else(PoisonError::into_inner);
        let body: Body<'_> = &body;
        // SAFETY: the reference is used only by workers of this round, and this function returns
        // only when none of them is busy.
        let body: Body<'static> = unsafe { std::mem::transmute(body) };
        let shared = &*self.shared;
        // SAFETY: see `Shared`.
        unsafe { *shared.job.0.get() = Some(Job { body, pieces }) };
        shared.next_piece.0.store(0, Ordering::Relaxed);
        shared.busy.0.store(self.workers.len(), Ordering::Relaxed);
        shared.round.0.fetch_add(1, Ordering::Release);
        self.workers.iter().for_each(|(worker, _)| worker.unpark());
        let own = catch_unwind(AssertUnwindSafe(|| take_pieces(shared, body, pieces, 0)));
        let mut looked = 0_u32;
        while shared.busy.0.load(Ordering::Acquire) > 0 {
            look(&mut looked);
        }
        if let Err(panic) = own {
            resume_unwind(panic);
        }
        let theirs = shared.panic.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(panic) = theirs {
            resume_unwind(panic);
        }
    }
}

impl Drop for Threads {
    fn drop(&mut self) {
        self.shared.leaving.store(true, Ordering::Release);
        for (thread, handle) in &mut self.workers {
            thread.unpark();
            // A worker catches its panics, so there is nothing to learn from joining.
            let _ = handle.take().map(JoinHandle::join);
        }
    }
}

/// A thread to be. A test has the system refuse it.
fn builder(worker: usize) -> thread::Builder {
    let builder = thread::Builder::new().name(format!("compute-{worker}"));
    #[cfg(test)]
    if tests::REFUSED.get() {
        return builder.stack_size(usize::MAX / 4); // which no system has room for
    }
    builder
}

/// One look at a shared place; gives way to others after many, for there may be more threads than
/// cores.
fn look(looked: &mut u32) {
    *looked += 1;
    if looked.is_multiple_of(1 << 12) { thread::yield_now() } else { std::hint::spin_loop() }
}

/// A worker's life: wait for a round, take pieces, say so.
fn work(shared: &Shared, worker: usize) {
    let mut seen = 0;
    while wait_for_round(shared, seen) {
        seen += 1;
        // SAFETY: see `Shared`; the round has been raised and this worker counts as busy.
        let job = unsafe { &*shared.job.0.get() };
        if let Some(Job { body, pieces }) = job {
            let taken = || take_pieces(shared, *body, *pieces, worker);
            if let Err(panic) = catch_unwind(AssertUnwindSafe(taken)) {
                *shared.panic.lock().unwrap_or_else(PoisonError::into_inner) = Some(panic);
            }
        }
        shared.busy.0.fetch_sub(1, Ordering::Release);
    }
}

/// Waits until there was another round than the `seen`; false when the threads are to end.
fn wait_for_round(shared: &Shared, seen: usize) -> bool {
    let (begin, mut looked) = (Instant::now(), 0_u32);
    loop {
        if shared.round.0.load(Ordering::Acquire) != seen {
            return true;
        }
        if shared.leaving.load(Ordering::Acquire) {
            return false;
        }
        look(&mut looked);
        // The clock costs more than a look.
        if looked.is_multiple_of(64) && begin.elapsed() > LOOKING {
            thread::park();
        }
    }
}

fn take_pieces(shared: &Shared, body: Body<'_>, pieces: usize, worker: usize) {
    loop {
        let piece = shared.next_piece.0.fetch_add(1, Ordering::Relaxed);
        if piece >= pieces {
            return;
        }
        body(worker, piece);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Cpu;

    thread_local! {
        /// Whether the system refuses threads to those who ask from here.
        pub(super) static REFUSED: std::cell::Cell<bool> = const { std::cell::Cell::new(false) };
    }

    #[test]
    fn where_the_system_refuses_threads_the_error_says_how_many_were_tried() {
        let cores = meant(0);
        REFUSED.set(true);
        for (asked, tried) in [(0, cores), (3, 3)] {
            if tried > 1 {
                let told = Cpu::new(asked).err().expect("refused").to_string();
                let says = format!("cannot start {tried} compute threads (");
                assert!(told.starts_with(&says) && told.ends_with("with fewer"), "{told}");
            }
        }
        assert!(Cpu::new(1).is_ok(), "the caller's own needs nothing of the system");
        REFUSED.set(false);
    }

    #[test]
    fn every_piece_is_done_once_by_a_worker_of_the_pool() {
        for count in [1, 2, 3, 8] {
            let threads = Threads::new(count).expect("threads");
            for pieces in [0, 1, 2, 7, 1000] {
                let done: Vec<AtomicUsize> = (0..pieces).map(|_| AtomicUsize::new(0)).collect();
                threads.for_each(pieces, |worker, piece| {
                    assert!(worker < count);
                    done[piece].fetch_add(1, Ordering::Relaxed);
                });
                let all_once = done.iter().all(|times| times.load(Ordering::Relaxed) == 1);
                assert!(all_once, "{count} threads, {pieces} pieces");
            }
        }
    }

    #[test]
    fn a_panic_in_a_piece_reaches_the_caller_and_the_threads_live_on() {
        let threads = Threads::new(3).expect("threads");
        for bad in [0, 5, 99] {
            let outcome = catch_unwind(AssertUnwindSafe(|| {
                threads.for_each(100, |_, piece| assert_ne!(piece, bad, "planted"));
            }));
            assert!(outcome.is_err(), "piece {bad}");
            threads.for_each(10, |_, _| {});
        }
    }

    #[test]
    fn more_threads_than_any_machine_has_cores_for_are_an_error() {
        for count in [THREADS_MAX + 1, 20_000, usize::MAX] {
            let refused = Threads::new(count).err().expect("refused");
            assert_eq!(refused.to_string(), "1024 at most", "{count}");
        }
    }

    #[test]
    fn two_callers_take_turns() {
        let threads = Threads::new(2).expect("threads");
        let sum = AtomicUsize::new(0);
        thread::scope(|scope| {
            for _ in 0..2 {
                scope.spawn(|| {
                    for _ in 0..100 {
                        threads.for_each(10, |_, piece| {
                            sum.fetch_add(piece, Ordering::Relaxed);
                        });
                    }
                });
            }
        });
        assert_eq!(sum.load(Ordering::Relaxed), 2 * 100 * 45);
    }
}
