//! What a GPU's operations take, one by one.

use std::collections::BTreeMap;

use alexnet_ops::{Device, Timed};
use serde::Serialize;

use crate::commands::{print_table, table};
use crate::terminal::{print, print_lines};

/// Operations of one name.
#[derive(Serialize)]
pub(super) struct Operation {
    name: String,
    /// How many of them a step has.
    count: f64,
    /// What they take of it together.
    ms: f64,
}

/// The operations of so many steps, those that take longest first.
pub(super) fn timed<D: Device>(
    device: &D,
    steps: usize,
    mut step: impl FnMut() -> anyhow::Result<()>,
) -> anyhow::Result<Vec<Operation>> {
    device.begin_timing();
    (0..steps).try_for_each(|_| step())?;
    Ok(of_a_step(&device.end_timing(), steps))
}

fn of_a_step(timed: &[Timed], steps: usize) -> Vec<Operation> {
    let mut named: BTreeMap<&str, (usize, f64)> = BTreeMap::new();
    for Timed { operation, seconds } in timed {
        let (count, all) = named.entry(operation).or_default();
        *count += 1;
        *all += seconds;
    }
    let each = |(name, (count, seconds)): (&str, (usize, f64))| Operation {
        name: name.to_owned(),
        count: count as f64 / steps as f64,
        ms: 1e3 * seconds / steps as f64,
    };
    let mut operations: Vec<Operation> = named.into_iter().map(each).collect();
    operations.sort_by(|one, other| other.ms.total_cmp(&one.ms));
    operations
}

/// The table for a person, beside a step of `median_ms`.
pub(super) fn print_operations(operations: &[Operation], median_ms: f64) -> anyhow::Result<()> {
    let mut rows = table(&["operation", "a step", "ms", "share"]);
    rows.align_right(1..4);
    let row = |name: &str, count: String, ms: f64| {
        [name.to_owned(), count, format!("{ms:.3}"), format!("{:.1} %", 100.0 * ms / median_ms)]
    };
    for Operation { name, count, ms } in operations {
        rows.add_row(row(name, format!("{count:.0}"), *ms));
    }
    let all = operations.iter().map(|operation| operation.ms).sum();
    rows.add_row(row("all of them", String::new(), all));
    print("")?;
    print_table(&rows)?;
    print_lines(
        "Operations were asked for one by one, and timed by the GPU. Shares are of the median step, which\n\
         asks for most of them at once.",
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn operations_of_a_name_are_counted_and_added_up_for_one_step() {
        let timed = [("a", 0.5), ("b", 2.0), ("a", 1.5), ("a", 1.0), ("a", 1.0)]
            .map(|(name, seconds)| Timed { operation: name.to_owned(), seconds });
        let found: Vec<_> = of_a_step(&timed, 2)
            .into_iter()
            .map(|Operation { name, count, ms }| (name, count, ms))
            .collect();
        assert_eq!(found, [("a".to_owned(), 2.0, 2000.0), ("b".to_owned(), 0.5, 1000.0)]);
    }
}
