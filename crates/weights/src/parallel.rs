//! Work on a few items by all processors.

use std::sync::{Mutex, PoisonError};
use std::thread;

/// The results of `work` on each item, in their order. The items are begun in that order too, each
/// by the first thread that is free.
///
/// # Errors
/// The first failure in that order.
pub(crate) fn try_map<T: Send, R: Send, E: Send>(
    items: Vec<T>,
    work: impl Fn(T) -> Result<R, E> + Sync,
) -> Result<Vec<R>, E> {
    let threads = thread::available_parallelism().map_or(1, usize::from).min(items.len());
    let items = Mutex::new(items.into_iter().enumerate());
    let next = || items.lock().unwrap_or_else(PoisonError::into_inner).next();
    let run = || {
        let mut done = Vec::new();
        while let Some((index, item)) = next() {
            done.push((index, work(item)));
        }
        done
    };
    let mut done = thread::scope(|scope| {
        // Where the system gives no thread, this one does all.
        let spawn = |_| thread::Builder::new().spawn_scoped(scope, run).ok();
        let others: Vec<_> = (1..threads).filter_map(spawn).collect();
        let mut done = run();
        for thread in others {
            done.extend(thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)));
        }
        done
    });
    done.sort_unstable_by_key(|&(index, _)| index);
    done.into_iter().map(|(_, result)| result).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_are_in_the_order_of_the_items_and_the_first_failure_is_told() {
        let items: Vec<u32> = (0..1000).collect();
        let squares = try_map(items.clone(), |n| Ok::<_, ()>(n * n)).expect("no failure");
        assert_eq!(squares, items.iter().map(|n| n * n).collect::<Vec<_>>());
        let failure = try_map(items, |n| if n % 100 == 42 { Err(n) } else { Ok(n) });
        assert_eq!(failure, Err(42));
        assert_eq!(try_map(Vec::new(), Err::<u32, u32>), Ok(Vec::new()));
    }
}
