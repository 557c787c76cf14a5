//! Sums over rows, in blocks whose borders depend on the shape alone.
//!
//! Each block is summed in `f64`, as PyTorch does for batch statistics on the CPU: with vectors
//! that is still faster than memory. Blocks are then added in their order.

use std::ops::Range;

use crate::Context;
use crate::disjoint::Disjoint;
use crate::isa::Kernel;
use crate::simd::Vector;

/// Shared scratch the totals are kept in; callers may hold the others.
const SCRATCH: usize = 2;

/// Blocks of rows there are at most, so that adding them is little work.
const BLOCKS: usize = 128;

/// Rows a block has at least.
const BLOCK_ROWS: usize = 64;

/// Columns one thread sums at a time: their totals stay in the inner cache.
const GROUP_COLUMNS: usize = 512;

/// Rows added to the totals at once, so that these are read and written once for all.
const TOGETHER: usize = 4;

/// What rows add to `TOTALS` totals of each column.
pub(crate) trait Terms<const TOTALS: usize>: Copy + Sync {
    /// Adds the terms of `columns` of rows `row..row + ROWS`. Must be `#[inline(always)]`.
    fn add<V: Vector, const ROWS: usize>(
        self,
        totals: &mut [&mut [f64]; TOTALS],
        row: usize,
        columns: Range<usize>,
    );
}

/// `part` of rows `row..row + ROWS` of `values (any, columns)`.
#[inline(always)]
pub(crate) fn part_of_rows<const ROWS: usize>(
    values: &[f32],
    columns: usize,
    row: usize,
    part: Range<usize>,
) -> [&[f32]; ROWS] {
    std::array::from_fn(|i| &values[(row + i) * columns..][part.clone()])
}

#[derive(Clone, Copy)]
struct Values<'a> {
    values: &'a [f32],
    columns: usize,
}

impl Terms<1> for Values<'_> {
    #[inline(always)]
    fn add<V: Vector, const ROWS: usize>(
        self,
        [sums]: &mut [&mut [f64]; 1],
        row: usize,
        columns: Range<usize>,
    ) {
        let len = columns.len();
        let rows: [_; ROWS] = part_of_rows(self.values, self.columns, row, columns);
        let (sums, rows) = (&mut sums[..len], rows.map(|row| &row[..len]));
        for c in 0..len {
            // So few are added in `f32` that nothing is lost.
            let mut sum = rows[0][c];
            for row in &rows[1..] {
                sum += row[c];
            }
            sums[c] += f64::from(sum);
        }
    }
}

/// `sums[c] = Σ rows[·, c]` over `rows (any, columns)`.
pub(crate) fn column_sums(context: &Context, sums: &mut [f32], rows: &[f32]) {
    let columns = sums.len();
    let terms = Values { values: rows, columns };
    sum_rows(context, rows.len() / columns, columns, terms, |[totals]| {
        for (sum, &total) in sums.iter_mut().zip(totals) {
            *sum = total as f32;
        }
    });
}

/// Sums `terms` over `rows` rows of `columns` columns and hands `use_totals` the totals.
pub(crate) fn sum_rows<const TOTALS: usize, T: Terms<TOTALS>>(
    context: &Context,
    rows: usize,
    columns: usize,
    terms: T,
    use_totals: impl FnOnce([&[f64]; TOTALS]),
) {
    let block_rows = rows.div_ceil(BLOCKS).max(BLOCK_ROWS);
    let (blocks, groups) = (rows.div_ceil(block_rows).max(1), columns.div_ceil(GROUP_COLUMNS));
    let block_len = TOTALS * columns;
    let mut scratch = context.scratch.shared(SCRATCH, 2 * blocks * block_len);
    let totals = &mut doubles(&mut scratch)[..blocks * block_len];
    let parts = Disjoint::new(totals);
    context.threads.for_each(blocks * groups, |_, piece| {
        let (block, group) = (piece / groups, piece % groups);
        let first = group * GROUP_COLUMNS;
        let columns_here = first..(first + GROUP_COLUMNS).min(columns);
        let totals = std::array::from_fn(|total| {
            let start = block * block_len + total * columns;
            // SAFETY: every piece and every total of it has its own range.
            unsafe { parts.part(start + columns_here.start..start + columns_here.end) }
        });
        let rows = block * block_rows..((block + 1) * block_rows).min(rows);
        context.isa.dispatch(SumBlock { totals, terms, rows, columns: columns_here });
    });
    let (first, others) = totals.split_at_mut(block_len);
    for other in others.chunks_exact(block_len) {
        first.iter_mut().zip(other).for_each(|(total, part)| *total += part);
    }
    use_totals(std::array::from_fn(|total| &first[total * columns..][..columns]));
}

struct SumBlock<'a, const TOTALS: usize, T> {
    totals: [&'a mut [f64]; TOTALS],
    terms: T,
    rows: Range<usize>,
    columns: Range<usize>,
}

impl<const TOTALS: usize, T: Terms<TOTALS>> Kernel for SumBlock<'_, TOTALS, T> {
    type Output = ();
    #[inline(always)]
    fn run<V: Vector>(mut self) {
        for totals in &mut self.totals {
            totals.fill(0.0);
        }
        let Range { start: mut row, end } = self.rows;
        while row + TOGETHER <= end {
            self.terms.add::<V, TOGETHER>(&mut self.totals, row, self.columns.clone());
            row += TOGETHER;
        }
        for row in row..end {
            self.terms.add::<V, 1>(&mut self.totals, row, self.columns.clone());
        }
    }
}

/// Scratch memory as `f64`.
pub(crate) fn doubles(floats: &mut [f32]) -> &mut [f64] {
    // SAFETY: any bits are an `f64`.
    let (before, doubles, _) = unsafe { floats.align_to_mut() };
    assert!(before.is_empty(), "buffers are aligned");
    doubles
}
