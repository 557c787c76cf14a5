//! Work on many images by a few threads, whose results do not depend on how many there are.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread::{self, Builder};

use crossbeam_channel::unbounded;

use crate::error::DataError;

/// Hears how many items are done; says whether to go on.
pub type Progress<'a> = &'a mut dyn FnMut(u64) -> bool;

/// Gives each item to one of `workers` threads, which adds it to what it has gathered. The caller puts the
/// threads' parts together in a way that does not depend on who did what. After a failure no other item
/// is begun.
///
/// None begins before all are there: where the system refuses one, for memory mostly, what the others
/// would go on to take is not there either, and a program that is refused memory is ended. Where it
/// refuses the only one, the caller's own thread does it.
///
/// # Errors
/// The first failure in the items' order, [`DataError::ThreadsRefused`], or
/// [`DataError::StoppedReading`] if `progress` asked to stop.
pub(crate) fn gather<T: Sync, A: Send>(
    items: &[T],
    workers: usize,
    empty: impl Fn() -> A + Sync,
    add: impl Fn(&mut A, usize, &T) -> Result<(), DataError> + Sync,
    progress: Progress,
) -> Result<Vec<A>, DataError> {
    let (next, stop) = (AtomicUsize::new(0), AtomicBool::new(false));
    let (done, counted) = unbounded::<()>();
    let failed = Mutex::new(None);
    let work = |told: &mut dyn FnMut()| {
        let mut gathered = empty();
        while !stop.load(Ordering::Relaxed) {
            let index = next.fetch_add(1, Ordering::Relaxed);
            let Some(item) = items.get(index) else { break };
            if let Err(error) = add(&mut gathered, index, item) {
                stop.store(true, Ordering::Relaxed);
                keep_first(&failed, (index, error));
            }
            told();
        }
        gathered
    };
    let (work, stop, gate) = (&work, &stop, &Mutex::new(()));
    thread::scope(|scope| {
        let mut threads = Vec::new();
        let closed = gate.lock();
        for index in 0..workers.max(1) {
            let done = done.clone();
            let work = move || {
                drop(gate.lock().unwrap_or_else(PoisonError::into_inner));
                // The other end is open until all threads have ended.
                let told = &mut || done.send(()).unwrap_or_default();
                (!stop.load(Ordering::Relaxed)).then(|| work(told))
            };
            match thread_of(index).spawn_scoped(scope, work) {
                Ok(thread) => threads.push(thread),
                Err(_) if workers <= 1 => {}
                Err(reason) => {
                    stop.store(true, Ordering::Relaxed);
                    return Err(DataError::ThreadsRefused {
                        allowed: index,
                        wanted: workers,
                        reason,
                    });
                }
            }
        }
        drop(closed);
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
        let parts: Vec<A> = own.into_iter().chain(parts.flatten()).collect();
        let failed = failed.lock().unwrap_or_else(PoisonError::into_inner).take();
        match failed {
            Some((_, error)) => Err(error),
            None if stop.load(Ordering::Relaxed) => Err(DataError::StoppedReading),
            None => Ok(parts),
        }
    })
}

/// Keeps a failure unless one of an earlier item is there. Items are begun in their order, and what is
/// begun is done: so which is kept does not depend on the threads.
fn keep_first(first: &Mutex<Option<(usize, DataError)>>, failed: (usize, DataError)) {
    let mut first = first.lock().unwrap_or_else(PoisonError::into_inner);
    if first.as_ref().is_none_or(|kept| failed.0 < kept.0) {
        *first = Some(failed);
    }
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

/// Does `work` on each item by `workers` threads and returns the results in the items' order.
///
/// # Errors
/// As [`gather`].
pub(crate) fn try_map<T: Sync, R: Send>(
    items: &[T],
    workers: usize,
    work: impl Fn(&T) -> Result<R, DataError> + Sync,
    progress: Progress,
) -> Result<Vec<R>, DataError> {
    let add = |done: &mut Vec<(usize, R)>, index: usize, item: &T| {
        done.push((index, work(item)?));
        Ok(())
    };
    gather(items, workers, Vec::new, add, progress).map(in_order)
}

/// What threads have done, in the order of the items.
fn in_order<R>(parts: Vec<Vec<(usize, R)>>) -> Vec<R> {
    // Of a large set the results are most of the memory: no room is taken for more than there are.
    let mut done = Vec::with_capacity(parts.iter().map(Vec::len).sum());
    done.extend(parts.into_iter().flatten());
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
    fn where_the_system_refuses_a_thread_none_begins_and_the_error_says_how_many_it_allows() {
        let items: Vec<u64> = (0..1000).collect();
        for (allowed, fewer) in [(0, 1), (1, 1), (6, 3)] {
            ALLOWED.set(allowed);
            let begun = || unreachable!("a thread has begun");
            let refused = gather(&items, 7, begun, |(), _, _| Ok(()), &mut |_| unreachable!());
            let says = format!("the system allows {allowed} of the 7 threads");
            let told = refused.expect_err("it allows fewer").to_string();
            let way_out = format!(": pass --workers {fewer}");
            assert!(told.starts_with(&says) && told.ends_with(&way_out), "{told}");
        }
        ALLOWED.set(usize::MAX);
    }

    #[test]
    fn where_the_system_refuses_the_only_thread_the_callers_own_does_it_all() {
        ALLOWED.set(0);
        let items: Vec<u64> = (0..1000).collect();
        for workers in [0, 1] {
            let mut last = 0;
            let add = |sum: &mut u64, _: usize, item: &u64| {
                *sum += item;
                Ok(())
            };
            let parts = gather(&items, workers, || 0, add, &mut |count| {
                last = count;
                true
            });
            assert_eq!((parts.unwrap(), last), (vec![items.iter().sum::<u64>()], 1000));
        }
        let stopped = gather(&items, 1, || (), |(), _, _| Ok(()), &mut |count| count < 5);
        assert!(matches!(stopped, Err(DataError::StoppedReading)), "asked to stop");
        ALLOWED.set(usize::MAX);
    }

    #[test]
    fn every_item_is_done_once_by_any_number_of_threads() {
        let items: Vec<u64> = (0..1000).collect();
        for workers in [0, 1, 7] {
            let mut last = 0;
            let add = |sum: &mut u64, index: usize, item: &u64| {
                *sum += item * (index as u64 + 1);
                Ok(())
            };
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
    fn what_was_made_of_each_item_stands_in_the_items_order_whoever_made_it() {
        let items: Vec<u64> = (0..1000).collect();
        let expected: Vec<String> = items.iter().map(u64::to_string).collect();
        for workers in [0, 1, 7] {
            let tried = try_map(&items, workers, |item| Ok(item.to_string()), &mut |_| true);
            assert_eq!(tried.unwrap(), expected, "{workers} workers");
        }
    }

    #[test]
    fn a_request_to_stop_is_heard() {
        let items = vec![(); 100_000];
        let mut heard = 0;
        let add = |(): &mut (), _, (): &()| {
            thread::yield_now();
            Ok(())
        };
        let parts = gather(&items, 2, || (), add, &mut |count| {
            heard = count;
            count < 5
        });
        let stopped = matches!(parts, Err(DataError::StoppedReading));
        assert!(stopped && heard < 100_000, "{heard}");
    }

    #[test]
    fn after_a_failure_no_item_is_begun_and_the_first_in_the_items_order_is_told() {
        let items: Vec<usize> = (0..100_000).collect();
        for workers in [0, 1, 7] {
            let begun = AtomicUsize::new(0);
            let work = |&item: &usize| {
                begun.fetch_add(1, Ordering::Relaxed);
                match item % 50 {
                    49 => Err(DataError::Worker { doing: item.to_string() }),
                    _ => Ok(item),
                }
            };
            let failed = try_map(&items, workers, work, &mut |_| true).expect_err("item 49 fails");
            assert!(matches!(&failed, DataError::Worker { doing } if doing == "49"), "{failed}");
            assert!(begun.into_inner() < items.len(), "{workers} workers");
        }
    }
}
