//! Work on many images by a few threads, whose results do not depend on how many there are.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::{self, Builder};

use crossbeam_channel::unbounded;

use crate::error::DataError;

/// Hears how many items are done; says whether to go on.
pub type Progress<'a> = &'a mut dyn FnMut(u64) -> bool;

/// Gives each item to one of `workers` threads, which adds it to what it has gathered. Where the
/// system refuses some, the others do it; where it refuses all, the caller's own. `None` if `progress`
/// asked to stop. The caller puts the threads' parts together in a way that does not depend on who did
/// what.
pub(crate) fn gather<T: Sync, A: Send>(
    items: &[T],
    workers: usize,
    empty: impl Fn() -> A + Sync,
    add: impl Fn(&mut A, usize, &T) + Sync,
    progress: Progress,
) -> Option<Vec<A>> {
    let (next, stop) = (AtomicUsize::new(0), AtomicBool::new(false));
    let (done, counted) = unbounded::<()>();
    let work = |told: &mut dyn FnMut()| {
        let mut gathered = empty();
        while !stop.load(Ordering::Relaxed) {
            let index = next.fetch_add(1, Ordering::Relaxed);
            let Some(item) = items.get(index) else { break };
            add(&mut gathered, index, item);
            told();
        }
        gathered
    };
    let work = &work;
    thread::scope(|scope| {
        let mut threads = Vec::new();
        for index in 0..workers.max(1) {
            let done = done.clone();
            // The other end is open until all threads have ended.
            let work = move || work(&mut || done.send(()).unwrap_or_default());
            match thread_of(index).spawn_scoped(scope, work) {
                Ok(thread) => threads.push(thread),
                Err(error) => {
                    tracing::warn!("the system allows {index} reading threads only: {error}");
                    break;
                }
            }
        }
        drop(done);
        let mut count = 0;
        let mut told = || {
            count += 1;
            if !progress(count) {
                stop.store(true, Ordering::Relaxed);
            }
        };
        let own = threads.is_empty().then(|| work(&mut told));
        counted.iter().for_each(|()| told());
        let parts = threads.into_iter().map(|thread| match thread.join() {
            Ok(part) => part,
            Err(panic) => std::panic::resume_unwind(panic),
        });
        let parts: Vec<A> = own.into_iter().chain(parts).collect();
        (!stop.load(Ordering::Relaxed)).then_some(parts)
    })
}

/// A thread to be. A test has the system refuse those from a number on.
fn thread_of(index: usize) -> Builder {
    let builder = Builder::new().name(format!("reader-{index}"));
    #[cfg(test)]
    if index >= tests::ALLOWED.get() {
        return builder.stack_size(tests::STACK_REFUSED);
    }
    builder
}

/// Does `work` on each item by `workers` threads and returns the results in the items' order. After
/// a failure no other item is begun.
///
/// # Errors
/// The first failure in that order, or [`DataError::StoppedReading`] if `progress` asked to stop.
pub(crate) fn try_map<T: Sync, R: Send>(
    items: &[T],
    workers: usize,
    work: impl Fn(&T) -> Result<R, DataError> + Sync,
    progress: Progress,
) -> Result<Vec<R>, DataError> {
    let failed = AtomicBool::new(false);
    let add = |done: &mut Vec<(usize, Result<R, DataError>)>, index: usize, item: &T| {
        if failed.load(Ordering::Relaxed) {
            return;
        }
        let result = work(item);
        failed.fetch_or(result.is_err(), Ordering::Relaxed);
        done.push((index, result));
    };
    let parts = gather(items, workers, Vec::new, add, progress).ok_or(DataError::StoppedReading)?;
    let mut done: Vec<_> = parts.into_iter().flatten().collect();
    done.sort_unstable_by_key(|&(index, _)| index);
    done.into_iter().map(|(_, result)| result).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A stack that no system has room for.
    pub(super) const STACK_REFUSED: usize = usize::MAX / 4;

    thread_local! {
        /// Threads that the system allows those who ask from here.
        pub(super) static ALLOWED: std::cell::Cell<usize> = const { std::cell::Cell::new(usize::MAX) };
    }

    #[test]
    fn where_the_system_refuses_threads_those_there_are_do_it_all() {
        let items: Vec<u64> = (0..1000).collect();
        for allowed in [0, 1, 3] {
            ALLOWED.set(allowed);
            let mut last = 0;
            let add = |sum: &mut u64, _: usize, item: &u64| *sum += item;
            let parts = gather(&items, 7, || 0, add, &mut |count| {
                last = count;
                true
            });
            let parts = parts.expect("nobody asked to stop");
            assert_eq!((parts.len(), last), (allowed.max(1), 1000), "{allowed} allowed");
            assert_eq!(parts.iter().sum::<u64>(), items.iter().sum::<u64>());
        }
        ALLOWED.set(0);
        let stopped = gather(&items, 7, || (), |(), _, _| (), &mut |count| count < 5);
        assert!(stopped.is_none(), "asked to stop");
        ALLOWED.set(usize::MAX);
    }

    #[test]
    fn every_item_is_done_once_by_any_number_of_threads() {
        let items: Vec<u64> = (0..1000).collect();
        for workers in [0, 1, 7] {
            let mut last = 0;
            let add = |sum: &mut u64, index: usize, item: &u64| *sum += item * (index as u64 + 1);
            let parts = gather(&items, workers, || 0, add, &mut |count| {
                last = count;
                true
            });
            let expected: u64 = items.iter().map(|item| item * (item + 1)).sum();
            assert_eq!(parts.unwrap().iter().sum::<u64>(), expected, "{workers} workers");
            assert_eq!(last, 1000);
        }
    }

    #[test]
    fn a_request_to_stop_is_heard() {
        let items = vec![(); 100_000];
        let mut heard = 0;
        let parts = gather(&items, 2, || (), |(), _, ()| thread::yield_now(), &mut |count| {
            heard = count;
            count < 5
        });
        assert!(parts.is_none() && heard < 100_000, "{heard}");
    }
}
