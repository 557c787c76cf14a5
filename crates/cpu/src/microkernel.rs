//! The innermost product: a few rows by two vectors of columns, all sums in registers.
//!
//! `sums[i][j] = Σ_k a(i, k) · b(k, j)` for `i < rows`, `j < 2 · LANES`. Of A one value at a time is
//! spread over a vector, of B two vectors are read, and nothing is written until all of `depth` is
//! summed. With 14 rows in 32 registers (AVX-512, NEON) each vector of B is used 14 times, so the
//! multiply-add units are busy 97 % of the time from the inner cache; 6 rows in 16 registers (AVX2).

use crate::simd::Vector;

/// Columns of a micro-kernel: vectors times lanes.
pub(crate) const VECTORS: usize = 2;

/// Operand A: element (i, k) at `start + i · row_stride + k · depth_stride`.
#[derive(Clone, Copy)]
pub(crate) struct Left {
    pub(crate) start: *const f32,
    pub(crate) row_stride: usize,
    pub(crate) depth_stride: usize,
}

/// Operand B: row k of `2 · LANES` floats at `start + k · depth_stride`.
#[derive(Clone, Copy)]
pub(crate) struct Right {
    pub(crate) start: *const f32,
    pub(crate) depth_stride: usize,
}

/// What becomes of the sums.
pub(crate) trait Finish<V: Vector> {
    /// Takes the sums of row `row`.
    ///
    /// # Safety
    /// What the implementation writes at this row must be its own.
    unsafe fn finish(&self, row: usize, sums: [V; VECTORS]);

    /// Called at each step of the sums of the rows from `row` on: a time to ask for memory.
    #[inline(always)]
    fn step(&self, _row: usize, _step: usize) {}
}

/// The sums replace, or are added to, rows of an output `stride` apart.
#[derive(Clone, Copy)]
pub(crate) struct Store<const ADD: bool> {
    pub(crate) start: *mut f32,
    pub(crate) stride: usize,
}

impl<V: Vector, const ADD: bool> Finish<V> for Store<ADD> {
    #[inline(always)]
    unsafe fn finish(&self, row: usize, sums: [V; VECTORS]) {
        for (j, sum) in sums.into_iter().enumerate() {
            // SAFETY: the caller's promise.
            unsafe {
                let to = self.start.add(row * self.stride + j * V::LANES);
                if ADD { V::load(to).add(sum).store(to) } else { sum.store(to) }
            }
        }
    }
}

/// Any number of rows, in micro-kernels of nearly equal height.
///
/// # Safety
/// `depth` rows of B, `rows · depth` elements of A can be read, and `finish` may write `rows` rows.
#[inline(always)]
pub(crate) unsafe fn multiply<V: Vector>(
    rows: usize,
    depth: usize,
    a: Left,
    b: Right,
    finish: &impl Finish<V>,
) {
    let kernels = rows.div_ceil(V::ROWS).max(1);
    let (height, taller) = (rows / kernels, rows % kernels);
    let mut row = 0;
    for kernel in 0..kernels {
        let height = height + usize::from(kernel < taller);
        // SAFETY: the caller's promise for a part of the rows.
        unsafe { multiply_at_most_14(row, height, depth, a, b, finish) };
        row += height;
    }
}

/// # Safety
/// As [`multiply`]; `height <= V::ROWS`.
#[inline(always)]
unsafe fn multiply_at_most_14<V: Vector>(
    row: usize,
    height: usize,
    depth: usize,
    a: Left,
    b: Right,
    finish: &impl Finish<V>,
) {
    macro_rules! by_height {
        ($($rows:literal)*) => {
            match height {
                // SAFETY: the caller's promise.
                $($rows if $rows <= V::ROWS => unsafe {
                    multiply_rows::<V, $rows>(row, depth, a, b, finish);
                },)*
                _ => debug_assert_eq!(height, 0),
            }
        };
    }
    by_height!(1 2 3 4 5 6 7 8 9 10 11 12 13 14);
}

/// # Safety
/// As [`multiply`] for rows `first..first + ROWS`.
#[inline(always)]
unsafe fn multiply_rows<V: Vector, const ROWS: usize>(
    first: usize,
    depth: usize,
    a: Left,
    b: Right,
    finish: &impl Finish<V>,
) {
    /// Steps of B asked for ahead of use.
    const AHEAD: usize = 20;
    let mut sums = [[V::zero(); VECTORS]; ROWS];
    let stride = a.row_stride;
    // Five pointers and one stride reach 14 rows without an address computed for each.
    let start = a.start.wrapping_add(first * stride);
    let mut thirds: [*const f32; 5] = std::array::from_fn(|t| start.wrapping_add(3 * t * stride));
    let mut columns = b.start;
    for step in 0..depth {
        finish.step(first, step);
        // SAFETY: the caller's promise; prefetched addresses need not be valid.
        unsafe {
            let vectors = [V::load(columns), V::load(columns.add(V::LANES))];
            let ahead = columns.wrapping_add(AHEAD * b.depth_stride);
            V::prefetch(ahead);
            if V::LANES == 16 {
                V::prefetch(ahead.wrapping_add(V::LANES));
            }
            // Written out: the compiler gives up unrolling so long a loop, and spills the sums.
            macro_rules! rows {
                ($($i:literal)*) => {
                    $(if $i < ROWS {
                        let factor = V::splat(*thirds[$i / 3].wrapping_add($i % 3 * stride));
                        sums[$i][0] = factor.mul_add(vectors[0], sums[$i][0]);
                        sums[$i][1] = factor.mul_add(vectors[1], sums[$i][1]);
                    })*
                };
            }
            rows!(0 1 2 3 4 5 6 7 8 9 10 11 12 13);
            columns = columns.wrapping_add(b.depth_stride);
        }
        thirds = thirds.map(|third| third.wrapping_add(a.depth_stride));
    }
    for (i, sums) in sums.into_iter().enumerate() {
        // SAFETY: the caller's promise.
        unsafe { finish.finish(first + i, sums) };
    }
}
