//! The linear layer for a few images: `y (N, out) = x (N, in) · weightsᵀ` at the speed of memory,
//! and of only as much of it as counts.
//!
//! To read the weights is all that takes time, so they lie in the order in which they are read, in
//! [wide rows](crate::wide_rows): of one input for many outputs, one after another. What a ReLU has
//! set to 0 takes no part: the inputs that are not 0 in some image are listed first, and the rows of
//! the others are not even fetched. A row is long enough that memory gives half of all rows in little
//! more than half of the time.
//!
//! The listed rows are taken in tiles that fit the outer cache twice. While one tile is multiplied,
//! block by block with the sums in registers, the next is fetched, row by row. Sums run in the order
//! of [`matmul`](crate::matmul), so results have its bits.

use std::ops::Range;

use alexnet_ops::Activation;

use crate::Context;
use crate::disjoint::Disjoint;
use crate::isa::Kernel;
use crate::matmul::{chunks, share};
use crate::microkernel::VECTORS;
use crate::simd::Vector;
use crate::wide_rows::{Format, Rows};

/// Largest batch.
pub(crate) const IMAGES: usize = 8;

/// Bytes of a tile: long enough that memory is asked in time, and no burden for the outer cache.
const TILE_BYTES: usize = 48 << 10;

/// Most rows of a tile.
const TILE_ROWS_MAX: usize = 64;

/// Most rows from the one that is multiplied to the one that is asked for next.
const AHEAD_MAX: usize = TILE_ROWS_MAX + 1;

/// Bytes of a cache line.
const LINE_BYTES: usize = 64;

/// `y = activation(x · weightsᵀ + bias)` for `batch` images, at most [`IMAGES`].
pub(crate) fn forward<F: Format>(
    context: &Context,
    y: &mut [f32],
    x: &[f32],
    rows: Rows<'_, F>,
    (bias, activation): (&[f32], Activation),
    batch: usize,
) {
    let (inputs, outputs) = (rows.inputs, bias.len());
    let chunks = chunks(inputs);
    // Arithmetic is cheap here: of three images it is that of four.
    let images = batch.next_power_of_two();
    let numbers = inputs + AHEAD_MAX + chunks;
    let mut list = context.scratch.shared(0, numbers + images * inputs);
    let (numbers, factors) = list.split_at_mut(numbers);
    // SAFETY: as many numbers of the same size; any bits are one.
    let numbers = unsafe {
        std::slice::from_raw_parts_mut(numbers.as_mut_ptr().cast::<u32>(), numbers.len())
    };
    let (ends, numbers) = numbers.split_at_mut(chunks);
    let mut list = List { rows: numbers, factors, ends, images };
    list.fill(x, (batch, inputs), rows.are_finite);
    let y = &Disjoint::new(&mut y[..batch * outputs]);
    let layer = Layer { y, list, rows, bias, activation };
    context.threads.for_each(rows.groups(), |worker, group| {
        let sums = &mut context.scratch.own(worker, 2 * images * rows.width);
        context.isa.dispatch(Piece { layer: &layer, batch, group, sums });
    });
}

/// The inputs that count.
struct List<'a> {
    /// Their numbers, in order, and the last one [`AHEAD_MAX`] times more, to ask for meanwhile.
    rows: &'a mut [u32],
    /// (listed input, image)
    factors: &'a mut [f32],
    /// How many are listed of all up to the end of each chunk.
    ends: &'a mut [u32],
    /// 1, 2, 4 or 8: the batch, and images of zeros.
    images: usize,
}

impl List<'_> {
    /// Lists the inputs that are not 0 in some image; all of them unless all weights `are_finite`, for
    /// 0 times one that is not is no 0.
    fn fill(&mut self, x: &[f32], (batch, inputs): (usize, usize), are_finite: bool) {
        let (mut listed, chunks) = (0, self.ends.len());
        for chunk in 0..chunks {
            for input in share(inputs, chunks, chunk) {
                let mut counts = !are_finite;
                let factors = &mut self.factors[listed * self.images..][..self.images];
                factors.fill(0.0);
                for (n, factor) in factors[..batch].iter_mut().enumerate() {
                    *factor = x[n * inputs + input];
                    counts |= *factor != 0.0;
                }
                self.rows[listed] = input as u32;
                listed += usize::from(counts);
            }
            self.ends[chunk] = listed as u32;
        }
        let last = listed.checked_sub(1).map_or(0, |last| self.rows[last]);
        self.rows[listed..listed + AHEAD_MAX].fill(last);
    }
}

/// What all pieces read.
struct Layer<'a, F: Format> {
    y: &'a Disjoint<'a, f32>,
    list: List<'a>,
    rows: Rows<'a, F>,
    bias: &'a [f32],
    activation: Activation,
}

/// A group's outputs of all images.
struct Piece<'a, F: Format> {
    layer: &'a Layer<'a, F>,
    batch: usize,
    group: usize,
    /// (2, block, image, output): over all chunks and over the present one.
    sums: &'a mut [f32],
}

impl<F: Format> Kernel for Piece<'_, F> {
    type Output = ();

    #[inline(always)]
    fn run<V: Vector>(self) {
        match self.layer.list.images {
            1 => self.images::<V, 1>(),
            2 => self.images::<V, 2>(),
            4 => self.images::<V, 4>(),
            _ => self.images::<V, IMAGES>(),
        }
    }
}

impl<F: Format> Piece<'_, F> {
    #[inline(always)]
    fn images<V: Vector, const N: usize>(self) {
        let Self { layer: Layer { list, rows, .. }, group, .. } = self;
        let len = N * rows.width;
        let (sums, of_chunk) = self.sums[..2 * len].split_at_mut(len);
        let tile_rows = (TILE_BYTES / F::bytes(rows.width)).clamp(1, TILE_ROWS_MAX);
        let tiles = Tiles { rows, list, start: rows.start(group), group };
        let mut ahead = Ahead { row: tiles.row(0), at: 0, listed: 0 };
        for _ in 0..tile_rows * rows.width / (VECTORS * V::LANES) {
            tiles.fetch::<V>(&mut ahead);
        }
        sums.fill(0.0);
        let mut first = 0;
        for &end in &*list.ends {
            of_chunk.fill(0.0);
            for first in (first..end as usize).step_by(tile_rows) {
                let listed = first..(first + tile_rows).min(end as usize);
                tiles.multiply::<V, N>(of_chunk, listed, &mut ahead);
            }
            first = end as usize;
            for at in (0..len).step_by(V::LANES) {
                // SAFETY: both are whole vectors long.
                unsafe {
                    let sum = V::load(sums[at..].as_ptr()).add(V::load(of_chunk[at..].as_ptr()));
                    sum.store(sums[at..].as_mut_ptr());
                }
            }
        }
        self.finish::<V, N>();
    }

    /// Writes the outputs that there are.
    #[inline(always)]
    fn finish<V: Vector, const N: usize>(self) {
        let Layer { y, rows, bias, activation, .. } = self.layer;
        let first = self.group * rows.width;
        let there = rows.width.min(bias.len().saturating_sub(first));
        for at in (0..there).step_by(V::LANES) {
            let count = V::LANES.min(there - at);
            let (block, lane) = (at / (VECTORS * V::LANES), at % (VECTORS * V::LANES));
            for n in 0..self.batch {
                let sums = &self.sums[(block * N + n) * VECTORS * V::LANES + lane..][..V::LANES];
                // SAFETY: the piece's own outputs, of which the layer has so many.
                unsafe {
                    let bias_there = V::load_lanes(bias[first + at..].as_ptr(), count);
                    let sum = V::load(sums.as_ptr()).add(bias_there);
                    let sum = match activation {
                        Activation::Identity => sum,
                        Activation::Relu => sum.rectified(),
                    };
                    sum.store_lanes(y.at(n * bias.len() + first + at), count);
                }
            }
        }
    }
}

/// A group's listed rows.
struct Tiles<'a, F: Format> {
    rows: &'a Rows<'a, F>,
    list: &'a List<'a>,
    /// Where the group's rows begin.
    start: *const u8,
    group: usize,
}

/// How far rows were asked for.
struct Ahead {
    row: *const u8,
    /// Bytes of the row.
    at: usize,
    /// Rows before it.
    listed: usize,
}

impl<F: Format> Tiles<'_, F> {
    /// Where a listed row is.
    #[inline(always)]
    fn row(&self, listed: usize) -> *const u8 {
        self.start.wrapping_add(self.list.rows[listed] as usize * F::bytes(self.rows.width))
    }

    /// Asks for one block more.
    #[inline(always)]
    fn fetch<V: Vector>(&self, ahead: &mut Ahead) {
        let end = ahead.at + F::bytes(VECTORS * V::LANES);
        prefetch_lines::<V>(ahead.row, ahead.at..end);
        ahead.at = end;
        if end == F::bytes(self.rows.width) {
            let listed = ahead.listed + 1;
            *ahead = Ahead { row: self.row(listed), at: 0, listed };
        }
    }

    /// Adds the products of these rows to `sums` (block, image, output).
    #[inline(always)]
    fn multiply<V: Vector, const N: usize>(
        &self,
        sums: &mut [f32],
        listed: Range<usize>,
        ahead: &mut Ahead,
    ) {
        let Self { rows, list, start, .. } = *self;
        let (row_bytes, block_bytes) = (F::bytes(rows.width), F::bytes(VECTORS * V::LANES));
        let blocks = rows.width / (VECTORS * V::LANES);
        let factors = list.factors[listed.start * N..].as_chunks::<N>().0;
        let listed = &list.rows[listed];
        for block in 0..blocks {
            let place =
                sums[block * N * VECTORS * V::LANES..][..N * VECTORS * V::LANES].as_mut_ptr();
            let mut rare = rows.rare(self.group * blocks + block, listed[0]);
            let mut next_rare = rare.first().map_or(u32::MAX, |rare| rare.row);
            let mut totals = [[V::zero(); VECTORS]; N];
            for n in 0..N {
                for j in 0..VECTORS {
                    // SAFETY: inside of `sums`, see above.
                    totals[n][j] = unsafe { V::load(place.add((n * VECTORS + j) * V::LANES)) };
                }
            }
            let from = start.wrapping_add(block * block_bytes);
            for (&row, factors) in listed.iter().zip(factors) {
                self.fetch::<V>(ahead);
                // SAFETY: the group has a row for each input, of so many blocks.
                let mut weights = unsafe {
                    F::load::<V>(from.wrapping_add(row as usize * row_bytes), &rows.tops)
                };
                if row >= next_rare {
                    weights = F::mend(weights, &mut rare, row);
                    next_rare = rare.first().map_or(u32::MAX, |rare| rare.row);
                }
                for n in 0..N {
                    let factor = V::splat(factors[n]);
                    for j in 0..VECTORS {
                        totals[n][j] = factor.mul_add(weights[j], totals[n][j]);
                    }
                }
            }
            for n in 0..N {
                for j in 0..VECTORS {
                    // SAFETY: as above.
                    unsafe { totals[n][j].store(place.add((n * VECTORS + j) * V::LANES)) };
                }
            }
        }
    }
}

/// Asks for the cache lines that begin in this part of a row.
#[inline(always)]
fn prefetch_lines<V: Vector>(row: *const u8, bytes: Range<usize>) {
    for line in bytes.start.div_ceil(LINE_BYTES)..bytes.end.div_ceil(LINE_BYTES) {
        V::prefetch_outer(row.wrapping_add(line * LINE_BYTES).cast());
    }
}
