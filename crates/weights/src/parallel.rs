//! Work on a few items by all processors.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

/// The results of `work` on each item, in their order. The items are begun in that order too, each
/// by the first thread that is free.
///
/// # Errors
/// The first failure in that order.
pub(crate) fn try_map<T: Sync, R: Send, E: Send>(
    items: &[T],
    work: impl Fn(&T) -> Result<R, E> + Sync,
) -> Result<Vec<R>, E> {
    let next = AtomicUsize::new(0);
    let take = || {
        let mut done = Vec::new();
        while let index = next.fetch_add(1, Ordering::Relaxed)
            && let Some(item) = items.get(index)
        {
            done.push((index, work(item)));
        }
        done
    };
    let others = thread::available_parallelism().map_or(1, usize::from).min(items.len());
    let mut done = thread::scope(|scope| {
        // Where the system gives no thread, this one does all.
        let spawn = |_| thread::Builder::new().spawn_scoped(scope, take).ok();
        let threads: Vec<_> = (1..others).filter_map(spawn).collect();
        let mut done = take();
        for thread in threads {
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
        let squares = try_map(&items, |&n| Ok::<_, ()>(n * n)).expect("no failure");
        assert_eq!(squares, items.iter().map(|n| n * n).collect::<Vec<_>>());
        let failure = try_map(&items, |&n| if n % 100 == 42 { Err(n) } else { Ok(n) });
        assert_eq!(failure, Err(42));
        assert_eq!(try_map(&[], |&n: &u32| Err::<u32, _>(n)), Ok(Vec::new()));
    }
}
