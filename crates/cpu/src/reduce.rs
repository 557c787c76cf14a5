//! Sums over rows, in blocks whose borders depend on the number of rows alone.

use rayon::prelude::*;

/// Rows summed by one thread at a time.
const BLOCK_ROWS: usize = 512;

/// `sums[c] = Σ rows[·, c]` over `rows (any, columns)`.
pub(crate) fn column_sums(sums: &mut [f32], rows: &[f32]) {
    let blocks = sum_blocks(rows, sums.len(), sums.len(), |sums, row, _| {
        sums.iter_mut().zip(row).for_each(|(sum, &value)| *sum += f64::from(value));
    });
    sums.iter_mut().zip(blocks).for_each(|(sum, total)| *sum = total as f32);
}

/// Sums `add(totals, row, row index)` over all rows of `columns` values into `totals_len` totals.
/// Blocks are summed in `f64`, as PyTorch does for batch statistics on the CPU, and added in block
/// order.
pub(crate) fn sum_blocks(
    rows: &[f32],
    columns: usize,
    totals_len: usize,
    add: impl Fn(&mut [f64], &[f32], usize) + Sync,
) -> Vec<f64> {
    let blocks: Vec<Vec<f64>> = rows
        .par_chunks(BLOCK_ROWS * columns)
        .enumerate()
        .map(|(block, rows)| {
            let mut totals = vec![0.0; totals_len];
            for (row, values) in rows.chunks_exact(columns).enumerate() {
                add(&mut totals, values, block * BLOCK_ROWS + row);
            }
            totals
        })
        .collect();
    let mut totals = vec![0.0; totals_len];
    for block in blocks {
        totals.iter_mut().zip(block).for_each(|(total, part)| *total += part);
    }
    totals
}
