//! The innermost product: a few rows by two vectors of columns, all sums in registers.
//!
//! `sums[i][j] = Σ_k a(i, k) · b(k, j)` for `i < rows`, `j < 2 · LANES`. Of A one value at a time is
//! spread over a vector, of B two vectors are read (or one, of a narrow B), and nothing is written
//! until all of `depth` is summed. With 14 rows in 32 registers (AVX-512, NEON) each vector of B is used 14 times, so the
//! multiply-add units are busy 97 % of the time from the inner cache; 6 rows in 16 registers (AVX2).

use std::hint::black_box;
use std::ops::Range;

use crate::simd::Vector;

/// Columns of a micro-kernel: vectors times lanes.
pub(crate) const VECTORS: usize = 2;

/// Multiply-adds of vectors between asking for a step of B and its use: what memory takes.
const AHEAD: usize = 560;

/// Steps of B asked for ahead of use, at most: the inner cache has to hold them.
const AHEAD_STEPS: usize = 64;

/// Rows of the tallest micro-kernel of all.
const MAX_ROWS: usize = 14;

/// Floats of a cache line.
const LINE: usize = 16;

/// Steps from one [`Finish::interval`] to the next.
pub(crate) const INTERVAL: usize = 8;

/// Operand A: element (i, k) at `start + i · row_stride + k · depth_stride`.
#[derive(Clone, Copy)]
pub(crate) struct Left {
    pub(crate) start: *const f32,
    pub(crate) row_stride: usize,
    pub(crate) depth_stride: usize,
}

/// Operand B: row k of two vectors, or one, at `start + k · depth_stride`.
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
    unsafe fn finish<const W: usize>(&self, row: usize, sums: [V; W]);

    /// Called while the sums of `rows` are formed, before every [`INTERVAL`] steps: a time to ask
    /// for memory.
    #[inline(always)]
    fn interval(&self, _rows: Range<usize>, _interval: usize) {}
}

/// The sums replace, or are added to, rows of an output `stride` apart.
#[derive(Clone, Copy)]
pub(crate) struct Store<const ADD: bool> {
    pub(crate) start: *mut f32,
    pub(crate) stride: usize,
}

impl<V: Vector, const ADD: bool> Finish<V> for Store<ADD> {
    #[inline(always)]
    unsafe fn finish<const W: usize>(&self, row: usize, sums: [V; W]) {
        for (j, sum) in sums.into_iter().enumerate() {
            // SAFETY: the caller's promise.
            unsafe {
                let to = self.start.add(row * self.stride + j * V::LANES);
                if ADD { V::load(to).add(sum).store(to) } else { sum.store(to) }
            }
        }
    }
}

/// Any number of rows, in micro-kernels of nearly equal height, two vectors wide.
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
    // SAFETY: the caller's promise.
    unsafe { multiply_columns::<V, VECTORS>(rows, depth, a, b, finish) };
}

/// [`multiply`] with a B of `W` vectors.
///
/// # Safety
/// As [`multiply`].
#[inline(always)]
pub(crate) unsafe fn multiply_columns<V: Vector, const W: usize>(
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
        unsafe { multiply_at_most_14::<V, W>(row, height, depth, a, b, finish) };
        row += height;
    }
}

/// # Safety
/// As [`multiply`]; `height <= V::ROWS`.
#[inline(always)]
unsafe fn multiply_at_most_14<V: Vector, const W: usize>(
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
                    multiply_rows::<V, $rows, W>(row, depth, a, b, finish);
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
unsafe fn multiply_rows<V: Vector, const ROWS: usize, const W: usize>(
    first: usize,
    depth: usize,
    a: Left,
    b: Right,
    finish: &impl Finish<V>,
) {
    let mut sums = [[V::zero(); W]; MAX_ROWS];
    let stride = a.row_stride;
    // Five pointers and one stride reach 14 rows without an address computed for each. The compiler
    // must not learn that they are related, or it computes one from the other at every step.
    let start = a.start.wrapping_add(first * stride);
    let mut thirds = [0, 3, 6, 9, 12].map(|row| black_box(start.wrapping_add(row * stride)));
    let mut columns = b.start;
    let mut step = 0;
    while step < depth {
        finish.interval(first..first + ROWS, step / INTERVAL);
        let end = depth.min(step + INTERVAL);
        while step < end {
            // SAFETY: the caller's promise.
            unsafe { add_step::<V, ROWS, W>(&mut sums, thirds, stride, columns, b.depth_stride) };
            thirds = thirds.map(|third| third.wrapping_add(a.depth_stride));
            columns = columns.wrapping_add(b.depth_stride);
            step += 1;
        }
    }
    // Written out, as in `add_step`: a loop would move the sums through memory.
    macro_rules! finish_rows {
        ($($i:literal)*) => {
            $(if $i < ROWS {
                // SAFETY: the caller's promise.
                unsafe { finish.finish(first + $i, sums[$i]) };
            })*
        };
    }
    finish_rows!(0 1 2 3 4 5 6 7 8 9 10 11 12 13);
}

/// Adds step k: `sums[i][j] += a(i, k) · b(k, j)`.
///
/// # Safety
/// A row of B can be read at `columns`, element i of A at `thirds[i / 3] + i % 3 · stride`.
#[inline(always)]
unsafe fn add_step<V: Vector, const ROWS: usize, const W: usize>(
    sums: &mut [[V; W]; MAX_ROWS],
    thirds: [*const f32; 5],
    stride: usize,
    columns: *const f32,
    depth_stride: usize,
) {
    let steps_ahead = const {
        let steps = AHEAD / (ROWS * W);
        if steps < AHEAD_STEPS { steps } else { AHEAD_STEPS }
    };
    // SAFETY: the caller's promise; prefetched addresses need not be valid.
    unsafe {
        let vectors: [V; W] = std::array::from_fn(|j| V::load(columns.add(j * V::LANES)));
        let ahead = columns.wrapping_add(steps_ahead * depth_stride);
        for line in 0..(W * V::LANES).div_ceil(LINE) {
            V::prefetch(ahead.wrapping_add(line * LINE));
        }
        // Written out: the compiler gives up unrolling so long a loop, and spills the sums.
        macro_rules! rows {
            ($($i:literal)*) => {
                $(if $i < ROWS {
                    let factor = V::splat(*thirds[$i / 3].wrapping_add($i % 3 * stride));
                    for j in 0..W {
                        sums[$i][j] = factor.mul_add(vectors[j], sums[$i][j]);
                    }
                })*
            };
        }
        rows!(0 1 2 3 4 5 6 7 8 9 10 11 12 13);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::isa::{Isa, Kernel};

    /// One product on poisoned memory, with room around the sums to see a stray write.
    struct Product<'a> {
        rows: usize,
        depth: usize,
        a: &'a [f32],
        a_strides: (usize, usize),
        b: &'a [f32],
        sums: &'a mut [f32],
        add: bool,
        narrow: bool,
    }

    const STRIDE: usize = 40;
    const POISON: f32 = 1e30;

    impl Kernel for Product<'_> {
        type Output = usize;

        #[inline(always)]
        fn run<V: Vector>(self) -> usize {
            let width = if self.narrow { V::LANES } else { VECTORS * V::LANES };
            let (row_stride, depth_stride) = self.a_strides;
            let a = Left { start: self.a.as_ptr(), row_stride, depth_stride };
            let b = Right { start: self.b.as_ptr(), depth_stride: width };
            let start = self.sums.as_mut_ptr();
            let (put, add) =
                (Store::<false> { start, stride: STRIDE }, Store::<true> { start, stride: STRIDE });
            let (rows, depth) = (self.rows, self.depth);
            // SAFETY: the caller's slices are long enough.
            unsafe {
                match (self.narrow, self.add) {
                    (false, false) => multiply::<V>(rows, depth, a, b, &put),
                    (false, true) => multiply::<V>(rows, depth, a, b, &add),
                    (true, false) => multiply_columns::<V, 1>(rows, depth, a, b, &put),
                    (true, true) => multiply_columns::<V, 1>(rows, depth, a, b, &add),
                }
            }
            width
        }
    }

    #[test]
    fn every_height_depth_and_stride_gives_the_sums_and_writes_nothing_else() {
        let value = |i: usize| ((i * 7 + 3) % 11) as f32 - 5.0;
        let a: Vec<f32> = (0..30 * 70).map(value).collect();
        let b: Vec<f32> = (0..70 * 32).map(|i| value(i + 5)).collect();
        for isa in Isa::available() {
            for (rows, depth) in
                (0..=29).flat_map(|rows| [0, 1, 7, 8, 9, 33, 64].map(|k| (rows, k)))
            {
                for (a_strides, add, narrow) in [
                    ((70, 1), false, false),
                    ((1, 30), false, false),
                    ((70, 1), true, false),
                    ((70, 1), false, true),
                    ((1, 30), true, true),
                ] {
                    let mut sums = vec![POISON; 30 * STRIDE];
                    let (a, b) = (a.as_slice(), b.as_slice());
                    if add {
                        sums.fill(1.0);
                    }
                    let sums_of = &mut sums;
                    let product =
                        Product { rows, depth, a, a_strides, b, sums: sums_of, add, narrow };
                    let width = isa.dispatch(product);
                    for (i, j) in (0..30).flat_map(|i| (0..STRIDE).map(move |j| (i, j))) {
                        let (down, along) = a_strides;
                        let terms = (0..depth).map(|k| a[i * down + k * along] * b[k * width + j]);
                        let expected = match (i < rows && j < width, add) {
                            // Small integers: exact in any order.
                            (true, _) => terms.sum::<f32>() + f32::from(u8::from(add)),
                            (false, true) => 1.0,
                            (false, false) => POISON,
                        };
                        let case = (isa, rows, depth, a_strides, add, narrow, i, j);
                        assert_eq!(sums[i * STRIDE + j], expected, "{case:?}");
                    }
                }
            }
        }
    }
}
