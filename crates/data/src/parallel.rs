//! Work on many images by a few threads, whose results do not depend on how many there are.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread::{self, Builder};

use crossbeam_channel::unbounded;

use crate::error::DataError;

/// Hears how many items are done; says whether to go on.
pub type Progress<'a> = &'a mut dyn FnMut(u64) -> bool;

/// Tells [`Progress`] of a thread's work: of an item that is done with 1, and with 0 within one that takes
/// long, so that a wish to stop is heard there too. Says whether to go on; who does not is to return
/// [`DataError::StoppedReading`].
pub(crate) type Tell<'a> = &'a mut dyn FnMut(u64) -> bool;

/// Gives each item to one of `workers` threads, which adds it to what it has gathered. The caller puts the
/// threads' parts together in a way that does not depend on who did what. After a failure no other item
/// is begun; those that are go on, so that which failure is the first does not depend on the threads.
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
    add: impl Fn(&mut A, usize, &T, Tell) -> Result<(), DataError> + Sync,
    progress: Progress,
) -> Result<Vec<A>, DataError> {
    let (next, stop) = (AtomicUsize::new(0), AtomicBool::new(false));
    let (done, counted) = unbounded::<u64>();
    let failed = Failed::default();
    let work = |told: &mut dyn FnMut(u64)| {
        let mut gathered = empty();
        while !stop.load(Ordering::Relaxed) && !failed.any.load(Ordering::Relaxed) {
            let index = next.fetch_add(1, Ordering::Relaxed);
            let Some(item) = items.get(index) else { break };
            let tell = &mut |more| {
                told(more);
                !stop.load(Ordering::Relaxed)
            };
            match add(&mut gathered, index, item, tell) {
                Ok(()) => {}
                // No failure: one that another item had is to be told.
                Err(DataError::StoppedReading) => stop.store(true, Ordering::Relaxed),
                Err(error) => failed.keep(index, error),
            }
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
                let told = &mut |more| done.send(more).unwrap_or_default();
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
        let mut told = |more| {
            count += more;
            if !progress(count) {
                stop.store(true, Ordering::Relaxed);
            }
        };
        let own = threads.is_empty().then(|| work(&mut told));
        counted.iter().for_each(&mut told);
        let parts = threads.into_iter().map(|thread| match thread.join() {
            Ok(part) => part,
            Err(panic) => std::panic::resume_unwind(panic),
        });
        let parts: Vec<A> = own.into_iter().chain(parts.flatten()).collect();
        match failed.first() {
            Some(error) => Err(error),
            None if stop.load(Ordering::Relaxed) => Err(DataError::StoppedReading),
            None => Ok(parts),
        }
    })
}

/// Failures of items, which are begun in their order: the first is kept.
#[derive(Default)]
struct Failed {
    any: AtomicBool,
    first: Mutex<Option<(usize, DataError)>>,
}

impl Failed {
    fn keep(&self, index: usize, error: DataError) {
        self.any.store(true, Ordering::Relaxed);
        let mut first = self.first.lock().unwrap_or_else(PoisonError::into_inner);
        if first.as_ref().is_none_or(|kept| index < kept.0) {
            *first = Some((index, error));
        }
    }

    fn first(&self) -> Option<DataError> {
        let first = self.first.lock().unwrap_or_else(PoisonError::into_inner).take();
        first.map(|(_, error)| error)
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
    work: impl Fn(&T, Tell) -> Result<R, DataError> + Sync,
    progress: Progress,
) -> Result<Vec<R>, DataError> {
    let add = |done: &mut Vec<(usize, R)>, index: usize, item: &T, tell: Tell| {
        done.push((index, work(item, tell)?));
        tell(1);
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
            let refused = gather(&items, 7, begun, |(), _, _, _| Ok(()), &mut |_| unreachable!());
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
            let add = |sum: &mut u64, _: usize, item: &u64, tell: Tell| {
                *sum += item;
                tell(1);
                Ok(())
            };
            let parts = gather(&items, workers, || 0, add, &mut |count| {
                last = count;
                true
            });
            assert_eq!((parts.unwrap(), last), (vec![items.iter().sum::<u64>()], 1000));
        }
        let told_of = |(): &mut (), _: usize, _: &u64, tell: Tell| {
            tell(1);
            Ok(())
        };
        let stopped = gather(&items, 1, || (), told_of, &mut |count| count < 5);
        assert!(matches!(stopped, Err(DataError::StoppedReading)), "asked to stop");
        ALLOWED.set(usize::MAX);
    }

    #[test]
    fn every_item_is_done_once_by_any_number_of_threads() {
        let items: Vec<u64> = (0..1000).collect();
        for workers in [0, 1, 7] {
            let mut last = 0;
            let add = |sum: &mut u64, index: usize, item: &u64, tell: Tell| {
                *sum += item * (index as u64 + 1);
                tell(1);
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
            let tried = try_map(&items, workers, |item, _| Ok(item.to_string()), &mut |_| true);
            assert_eq!(tried.unwrap(), expected, "{workers} workers");
        }
    }

    #[test]
    fn a_request_to_stop_is_heard() {
        let items = vec![(); 100_000];
        let mut heard = 0;
        let add = |(): &mut (), _: usize, (): &(), tell: Tell| {
            thread::yield_now();
            tell(1);
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
    fn a_request_to_stop_is_heard_within_an_item_that_has_no_end() {
        for workers in [0, 1, 2] {
            let work = |(): &(), tell: Tell| -> Result<(), DataError> {
                while tell(0) {
                    thread::yield_now();
                }
                Err(DataError::StoppedReading)
            };
            let mut asked = 0;
            let stopped = try_map(&[(); 2], workers, work, &mut |done| {
                asked += 1;
                assert_eq!(done, 0, "none is done");
                asked < 5
            });
            assert!(matches!(stopped, Err(DataError::StoppedReading)), "{workers} workers");
        }
    }

    #[test]
    fn a_failure_is_told_of_whoever_works_on_an_earlier_item_just_then() {
        let has_failed = AtomicBool::new(false);
        let work = |&item: &usize, tell: Tell| {
            if item == 1 {
                has_failed.store(true, Ordering::Relaxed);
                return Err(DataError::Worker { doing: "item 1".into() });
            }
            while !has_failed.load(Ordering::Relaxed) {
                thread::yield_now();
            }
            for _ in 0..100 {
                thread::yield_now();
                if !tell(0) {
                    return Err(DataError::StoppedReading);
                }
            }
            Ok(())
        };
        for goes_on in [true, false] {
            has_failed.store(false, Ordering::Relaxed);
            let failed = try_map(&[0, 1], 2, work, &mut |_| goes_on).expect_err("item 1 fails");
            assert!(matches!(failed, DataError::Worker { .. }), "{failed}");
        }
    }

    #[test]
    fn after_a_failure_no_item_is_begun_and_the_first_in_the_items_order_is_told() {
        let items: Vec<usize> = (0..100_000).collect();
        for workers in [0, 1, 7] {
            let begun = AtomicUsize::new(0);
            let work = |&item: &usize, _: Tell| {
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
