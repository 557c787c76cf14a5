//! The innermost product: a few rows by two vectors of columns, all sums in registers.
//!
//! `sums[i][j] = Σ_k a(i, k) · b(k, j)` for `i < rows`, `j < 2 · LANES`. Of A one value at a time is
//! spread over a vector, of B two vectors are read (or one, of a narrow B) or computed, and nothing
//! is written until all of `depth` is summed. With 14 rows in 32 registers (AVX-512, NEON) each vector of B is used 14 times, so the
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

/// Steps of B asked for ahead of use where they come from the core's own cache.
const NEAR_STEPS: usize = 8;

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

/// Operand B: row k of two vectors, or one, from what lies at `start + k · depth_stride`.
pub(crate) trait Columns<V: Vector> {
    /// Start and depth stride.
    fn place(&self) -> (*const f32, usize);

    /// The row of which `at` is the place.
    ///
    /// # Safety
    /// It is one of the operand's rows.
    unsafe fn row<const W: usize>(&self, at: *const f32) -> [V; W];

    /// Asks for a row that follows the one of which `at` is the place, `steps` on if it comes from
    /// memory; it need not be valid.
    fn prefetch<const W: usize>(&self, at: *const f32, steps: usize);
}

/// Operand B as it is: row k at `start + k · depth_stride`.
#[derive(Clone, Copy)]
pub(crate) struct Right {
    pub(crate) start: *const f32,
    pub(crate) depth_stride: usize,
}

impl<V: Vector> Columns<V> for Right {
    #[inline(always)]
    fn place(&self) -> (*const f32, usize) {
        (self.start, self.depth_stride)
    }

    #[inline(always)]
    unsafe fn row<const W: usize>(&self, at: *const f32) -> [V; W] {
        // SAFETY: the caller's promise.
        std::array::from_fn(|j| unsafe { V::load(at.add(j * V::LANES)) })
    }

    #[inline(always)]
    fn prefetch<const W: usize>(&self, at: *const f32, steps: usize) {
        let at = at.wrapping_add(steps * self.depth_stride);
        for line in 0..(W * V::LANES).div_ceil(LINE) {
            V::prefetch(at.wrapping_add(line * LINE));
        }
    }
}

/// Operand B computed where it is used: row k is the vectors at `start + k · depth_stride` and, for
/// each of two terms, its factor times the vectors so many floats further on. It has been fetched to
/// the core's own cache.
#[derive(Clone, Copy)]
pub(crate) struct Combined {
    pub(crate) start: *const f32,
    pub(crate) depth_stride: usize,
    /// Offset and factor, in the order in which they are added.
    pub(crate) terms: [(usize, f32); 2],
}

impl<V: Vector> Columns<V> for Combined {
    #[inline(always)]
    fn place(&self) -> (*const f32, usize) {
        (self.start, self.depth_stride)
    }

    #[inline(always)]
    unsafe fn row<const W: usize>(&self, at: *const f32) -> [V; W] {
        let [first, second] = self.terms;
        std::array::from_fn(|j| {
            let at = at.wrapping_add(j * V::LANES);
            // SAFETY: the caller's promise.
            let value = |offset: usize| unsafe { V::load(at.wrapping_add(offset)) };
            let sum = value(first.0).mul_add(V::splat(first.1), value(0));
            value(second.0).mul_add(V::splat(second.1), sum)
        })
    }

    #[inline(always)]
    fn prefetch<const W: usize>(&self, at: *const f32, _: usize) {
        let at = at.wrapping_add(NEAR_STEPS * self.depth_stride);
        for offset in [0, self.terms[0].0, self.terms[1].0] {
            for line in 0..(W * V::LANES).div_ceil(LINE) {
                V::prefetch(at.wrapping_add(offset + line * LINE));
            }
        }
    }
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
    b: impl Columns<V>,
    finish: &impl Finish<V>,
) {
    // SAFETY: the caller's promise.
    unsafe { multiply_columns::<V, VECTORS>(rows, depth, a, &b, finish) };
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
    b: &impl Columns<V>,
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
    b: &impl Columns<V>,
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
    b: &impl Columns<V>,
    finish: &impl Finish<V>,
) {
    let mut sums = [[V::zero(); W]; MAX_ROWS];
    let stride = a.row_stride;
    // Five pointers and one stride reach 14 rows without an address computed for each. The compiler
    // must not learn that they are related, or it computes one from the other at every step.
    let start = a.start.wrapping_add(first * stride);
    let mut thirds = [0, 3, 6, 9, 12].map(|row| black_box(start.wrapping_add(row * stride)));
    let (mut columns, depth_stride) = b.place();
    let mut step = 0;
    while step < depth {
        finish.interval(first..first + ROWS, step / INTERVAL);
        let end = depth.min(step + INTERVAL);
        while step < end {
            // SAFETY: the caller's promise.
            unsafe { add_step::<V, ROWS, W>(&mut sums, thirds, stride, columns, b) };
            thirds = thirds.map(|third| third.wrapping_add(a.depth_stride));
            columns = columns.wrapping_add(depth_stride);
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
/// A row of B is at `columns`, element i of A at `thirds[i / 3] + i % 3 · stride`.
#[inline(always)]
unsafe fn add_step<V: Vector, const ROWS: usize, const W: usize>(
    sums: &mut [[V; W]; MAX_ROWS],
    thirds: [*const f32; 5],
    stride: usize,
    columns: *const f32,
    b: &impl Columns<V>,
) {
    let steps_ahead = const {
        let steps = AHEAD / (ROWS * W);
        if steps < AHEAD_STEPS { steps } else { AHEAD_STEPS }
    };
    // SAFETY: the caller's promise; prefetched addresses need not be valid.
    unsafe {
        let vectors: [V; W] = b.row(columns);
        b.prefetch::<W>(columns, steps_ahead);
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
        b_is: Is,
    }

    /// Operand B: two vectors wide or one, or two that are computed from three.
    #[derive(Clone, Copy, Debug, PartialEq)]
    enum Is {
        Wide,
        Narrow,
        Sum,
    }

    const FACTORS: [f32; 2] = [4.0, -2.0];

    const STRIDE: usize = 40;
    const POISON: f32 = 1e30;

    impl Kernel for Product<'_> {
        type Output = usize;

        #[inline(always)]
        fn run<V: Vector>(self) -> usize {
            let width = if self.b_is == Is::Narrow { V::LANES } else { VECTORS * V::LANES };
            let (row_stride, depth_stride) = self.a_strides;
            let a = Left { start: self.a.as_ptr(), row_stride, depth_stride };
            let b = Right { start: self.b.as_ptr(), depth_stride: width };
            let terms = [(2 * width, FACTORS[0]), (width, FACTORS[1])];
            let sum = Combined { start: b.start, depth_stride: 3 * width, terms };
            let start = self.sums.as_mut_ptr();
            let (put, add) =
                (Store::<false> { start, stride: STRIDE }, Store::<true> { start, stride: STRIDE });
            let (rows, depth) = (self.rows, self.depth);
            // SAFETY: the caller's slices are long enough.
            unsafe {
                match (self.b_is, self.add) {
                    (Is::Wide, false) => multiply::<V>(rows, depth, a, b, &put),
                    (Is::Wide, true) => multiply::<V>(rows, depth, a, b, &add),
                    (Is::Narrow, false) => multiply_columns::<V, 1>(rows, depth, a, &b, &put),
                    (Is::Narrow, true) => multiply_columns::<V, 1>(rows, depth, a, &b, &add),
                    (Is::Sum, false) => multiply::<V>(rows, depth, a, sum, &put),
                    (Is::Sum, true) => multiply::<V>(rows, depth, a, sum, &add),
                }
            }
            width
        }
    }

    #[test]
    fn every_height_depth_and_stride_gives_the_sums_and_writes_nothing_else() {
        let value = |i: usize| ((i * 7 + 3) % 11) as f32 - 5.0;
        let a: Vec<f32> = (0..30 * 70).map(value).collect();
        let b: Vec<f32> = (0..3 * 70 * 32).map(|i| value(i + 5)).collect();
        for isa in Isa::available() {
            for (rows, depth) in
                (0..=29).flat_map(|rows| [0, 1, 7, 8, 9, 33, 64].map(|k| (rows, k)))
            {
                for (a_strides, add, b_is) in [
                    ((70, 1), false, Is::Wide),
                    ((1, 30), false, Is::Wide),
                    ((70, 1), true, Is::Wide),
                    ((70, 1), false, Is::Narrow),
                    ((1, 30), true, Is::Narrow),
                    ((70, 1), false, Is::Sum),
                    ((1, 30), true, Is::Sum),
                ] {
                    let mut sums = vec![POISON; 30 * STRIDE];
                    let (a, b) = (a.as_slice(), b.as_slice());
                    if add {
                        sums.fill(1.0);
                    }
                    let sums_of = &mut sums;
                    let product =
                        Product { rows, depth, a, a_strides, b, sums: sums_of, add, b_is };
                    let width = isa.dispatch(product);
                    for (i, j) in (0..30).flat_map(|i| (0..STRIDE).map(move |j| (i, j))) {
                        let (down, along) = a_strides;
                        let b = |k: usize| match b_is {
                            Is::Sum => {
                                let [first, second] = FACTORS;
                                let row = |row: usize| b[(3 * k + row) * width + j];
                                row(0) + first * row(2) + second * row(1)
                            }
                            Is::Wide | Is::Narrow => b[k * width + j],
                        };
                        let terms = (0..depth).map(|k| a[i * down + k * along] * b(k));
                        let expected = match (i < rows && j < width, add) {
                            // Small integers: exact in any order.
                            (true, _) => terms.sum::<f32>() + f32::from(u8::from(add)),
                            (false, true) => 1.0,
                            (false, false) => POISON,
                        };
                        let case = (isa, rows, depth, a_strides, add, b_is, i, j);
                        assert_eq!(sums[i * STRIDE + j], expected, "{case:?}");
                    }
                }
            }
        }
    }
}
