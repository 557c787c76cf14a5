//! Sums over rows, in blocks whose borders depend on the number of rows alone.

use rayon::prelude::*;

use crate::Context;
use crate::disjoint::Disjoint;
use crate::isa::Kernel;
use crate::simd::Vector;

/// Rows summed by one thread at a time.
const BLOCK_ROWS: usize = 512;

/// Columns summed by one thread at a time.
const STRIP: usize = 1024;

/// Columns summed at once, in registers.
const SUMS: usize = 64;

/// `sums[c] = Σ rows[·, c]` over `rows (any, columns)`: blocks of rows in `f64`, then the blocks in
/// their order.
pub(crate) fn column_sums(context: &Context, sums: &mut [f32], rows: &[f32]) {
    let columns = sums.len();
    let blocks = rows.len().div_ceil(BLOCK_ROWS * columns);
    let strips = columns.div_ceil(STRIP);
    let mut partial = context.scratch.shared(0, blocks * columns);
    let parts = Disjoint::new(&mut partial[..blocks * columns]);
    context.threads.for_each(blocks * strips, |_, piece| {
        let (block, strip) = (piece / strips, piece % strips * STRIP);
        let end = (strip + STRIP).min(columns);
        let block_len = BLOCK_ROWS * columns;
        let rows = &rows[block * block_len..rows.len().min((block + 1) * block_len)];
        // SAFETY: each piece has its own block's strip.
        let sums = unsafe { parts.part(block * columns + strip..block * columns + end) };
        context.isa.dispatch(StripSums { sums, rows, columns, first: strip });
    });
    for (column, sum) in sums.iter_mut().enumerate() {
        let blocks = partial[column..blocks * columns].iter().step_by(columns);
        *sum = blocks.map(|&sum| f64::from(sum)).sum::<f64>() as f32;
    }
}

/// Sums of the columns from `first` on.
struct StripSums<'a> {
    sums: &'a mut [f32],
    rows: &'a [f32],
    columns: usize,
    first: usize,
}

impl Kernel for StripSums<'_> {
    type Output = ();

    #[inline(always)]
    fn run<V: Vector>(self) {
        let Self { sums, rows, columns, first } = self;
        let mut chunks = sums.chunks_exact_mut(SUMS);
        let mut first = first;
        for sums in &mut chunks {
            let mut totals = [0.0_f64; SUMS];
            for row in rows.chunks_exact(columns) {
                if let Some(row) = row[first..].first_chunk::<SUMS>() {
                    totals.iter_mut().zip(row).for_each(|(sum, x)| *sum += f64::from(*x));
                }
            }
            sums.iter_mut().zip(totals).for_each(|(sum, total)| *sum = total as f32);
            first += SUMS;
        }
        let rest = chunks.into_remainder();
        let mut totals = [0.0_f64; SUMS];
        for row in rows.chunks_exact(columns) {
            totals.iter_mut().zip(&row[first..]).take(rest.len()).for_each(|(sum, x)| {
                *sum += f64::from(*x);
            });
        }
        rest.iter_mut().zip(totals).for_each(|(sum, total)| *sum = total as f32);
    }
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
