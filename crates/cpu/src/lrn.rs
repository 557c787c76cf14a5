//! Local response normalisation. `x, y (N, H, W, C)`; the formulas stand in the reference.
//!
//! Forward is `y = x · s^−β`. Backward, each element's part `t = dy · x · s^(−β−1)` is computed once
//! and gathered by the elements whose sums hold it: `dx = dy · s^−β − 2αβ · x · Σ t`. Sums are
//! computed again rather than kept: that costs less than reading them from memory.
//!
//! Across maps, a block of rows (a tower's maps at one place) is worked on at a time. Squares, and
//! parts, are laid out in scratch memory with zeros between rows, so that the sum over a window is
//! `size` vectors loaded one float apart. Within a map, vectors run over channels, and an image's
//! square windows are summed down the columns first and then along the row.

use std::ops::Range;

use alexnet_ops::{LrnRegion, LrnShape};

use crate::Context;
use crate::disjoint::Disjoint;
use crate::isa::Kernel;
use crate::simd::{LANES_MAX, Vector, for_each_vector};

/// Floats of a block of rows: what the inner cache holds of three arrays and two of scratch.
const BLOCK: usize = 2 << 10;

/// Blocks one thread takes at a time.
const PIECE_BLOCKS: usize = 16;

pub(crate) fn forward(context: &Context, y: &mut [f32], x: &[f32], shape: &LrnShape) {
    let (y, x) = (&mut y[..shape.len()], &x[..shape.len()]);
    match shape.region {
        LrnRegion::AcrossMaps { groups } => {
            across_maps(context, y, None, x, shape.channels / groups, shape);
        }
        LrnRegion::SameMap => same_map(context, y, None, x, shape),
    }
}

pub(crate) fn backward(
    context: &Context,
    d_x: &mut [f32],
    d_y: &[f32],
    x: &[f32],
    shape: &LrnShape,
) {
    let (d_x, d_y, x) = (&mut d_x[..shape.len()], &d_y[..shape.len()], &x[..shape.len()]);
    match shape.region {
        LrnRegion::AcrossMaps { groups } => {
            across_maps(context, d_x, Some(d_y), x, shape.channels / groups, shape);
        }
        LrnRegion::SameMap => same_map(context, d_x, Some(d_y), x, shape),
    }
}

/// `s` of a sum of squares.
#[inline(always)]
fn scaled<V: Vector>(sum: V, shape: &LrnShape) -> V {
    sum.mul_add(V::splat(shape.alpha), V::splat(shape.k))
}

/// `s^−β` and `1/s`; two roots and a division for the β = 0.75 of every published AlexNet.
#[inline(always)]
fn powers<V: Vector>(sum: V, beta: f32) -> (V, V) {
    let inverse_root = sum.rsqrt();
    let inverse = inverse_root.mul(inverse_root);
    if beta == 0.75 {
        (inverse_root.mul(inverse_root.sqrt()), inverse)
    } else {
        let mut lanes = [0.0; LANES_MAX];
        // SAFETY: the array has room for any vector.
        unsafe {
            sum.store(lanes.as_mut_ptr());
            for lane in &mut lanes[..V::LANES] {
                *lane = lane.powf(-beta);
            }
            (V::load(lanes.as_ptr()), inverse)
        }
    }
}

/// Rows of `maps` floats, each surrounded by zeros as far as windows reach.
#[derive(Clone, Copy)]
struct Padded {
    size: usize,
    /// Floats of a window before its element.
    before: usize,
    stride: usize,
}

impl Padded {
    fn new(maps: usize, size: usize, before: usize) -> Self {
        // A window's vectors may run over the row's end.
        Self { size, before, stride: maps.next_multiple_of(LANES_MAX) + size - 1 }
    }

    /// Where row `row` begins.
    #[inline(always)]
    fn at(self, row: usize) -> usize {
        row * self.stride + self.before
    }

    /// `Σ padded[i]` over the windows of a vector of elements.
    ///
    /// # Safety
    /// `padded` is the place of the first of them, in a row of this form.
    #[inline(always)]
    unsafe fn sum<V: Vector>(self, padded: *const f32) -> V {
        // SAFETY: the caller's promise; rows are padded for this.
        unsafe {
            let first = padded.sub(self.before);
            let mut sum = V::load(first);
            for i in 1..self.size {
                sum = sum.add(V::load(first.add(i)));
            }
            sum
        }
    }
}

/// Forward, or with `d_y` backward, over rows of `maps` floats.
fn across_maps(
    context: &Context,
    out: &mut [f32],
    d_y: Option<&[f32]>,
    x: &[f32],
    maps: usize,
    shape: &LrnShape,
) {
    let squares = Padded::new(maps, shape.size, shape.size / 2);
    let parts = Padded::new(maps, shape.size, shape.size - shape.size / 2 - 1);
    let block_rows = (BLOCK / maps).max(1);
    let (piece_len, len) = (PIECE_BLOCKS * block_rows * maps, out.len());
    let scratch_len = block_rows * squares.stride;
    let out = Disjoint::new(out);
    context.threads.for_each(len.div_ceil(piece_len), |worker, piece| {
        let range = piece * piece_len..((piece + 1) * piece_len).min(len);
        // SAFETY: pieces do not overlap.
        let out = unsafe { out.part(range.clone()) };
        let mut scratch = context.scratch.own(worker, 2 * scratch_len);
        let scratch = scratch[..2 * scratch_len].split_at_mut(scratch_len);
        let inputs = (d_y.map(|d_y| &d_y[range.clone()]), &x[range]);
        let rows = Rows { maps, block_rows, squares, parts, shape };
        context.isa.dispatch(AcrossMaps { out, inputs, rows, scratch });
    });
}

/// How a piece is laid out.
#[derive(Clone, Copy)]
struct Rows<'a> {
    maps: usize,
    block_rows: usize,
    squares: Padded,
    parts: Padded,
    shape: &'a LrnShape,
}

/// Some blocks of rows.
struct AcrossMaps<'a> {
    out: &'a mut [f32],
    /// `d_y`, if this is backward, and `x`.
    inputs: (Option<&'a [f32]>, &'a [f32]),
    rows: Rows<'a>,
    /// Memory for a block's squares and parts.
    scratch: (&'a mut [f32], &'a mut [f32]),
}

impl Kernel for AcrossMaps<'_> {
    type Output = ();
    #[inline(always)]
    fn run<V: Vector>(self) {
        let (squares, parts) = self.scratch;
        let (d_y, x) = self.inputs;
        // Blocks write between the zeros.
        squares.fill(0.0);
        parts.fill(0.0);
        let block = self.rows.block_rows * self.rows.maps;
        for (index, out) in self.out.chunks_mut(block).enumerate() {
            let range = index * block..index * block + out.len();
            let x = &x[range.clone()];
            self.rows.square::<V>(squares, x);
            match d_y {
                None => self.rows.forward::<V>(out, x, squares),
                Some(d_y) => {
                    self.rows.divide::<V>(out, parts, &d_y[range], x, squares);
                    self.rows.gather::<V>(out, x, parts);
                }
            }
        }
    }
}

/// The steps on one block. Each asserts what makes its addresses lie inside its slices.
impl Rows<'_> {
    /// Calls `visit(row, first map, count)` for every vector of a block of `len` floats.
    #[inline(always)]
    fn for_each_vector<V: Vector>(self, len: usize, mut visit: impl FnMut(usize, usize, usize)) {
        assert!(len.is_multiple_of(self.maps) && len <= self.block_rows * self.maps);
        for row in 0..len / self.maps {
            for_each_vector::<V>(
                self.maps,
                #[inline(always)]
                |map, count| visit(row, map, count),
            );
        }
    }

    #[inline(always)]
    fn square<V: Vector>(self, squares: &mut [f32], x: &[f32]) {
        assert!(squares.len() == self.block_rows * self.squares.stride);
        self.for_each_vector::<V>(
            x.len(),
            #[inline(always)]
            |row, map, count| {
                // SAFETY: a vector of a row of the block.
                unsafe {
                    let x = V::load_lanes(x.as_ptr().add(row * self.maps + map), count);
                    x.mul(x)
                        .store_lanes(squares.as_mut_ptr().add(self.squares.at(row) + map), count);
                }
            },
        );
    }

    /// `s` of a vector.
    ///
    /// # Safety
    /// `row`, `map` is a vector of a block whose `squares` these are.
    #[inline(always)]
    unsafe fn sum<V: Vector>(self, squares: &[f32], row: usize, map: usize) -> V {
        // SAFETY: the caller's promise.
        let sum = unsafe { self.squares.sum(squares.as_ptr().add(self.squares.at(row) + map)) };
        scaled(sum, self.shape)
    }

    /// `y = x · s^−β`.
    #[inline(always)]
    fn forward<V: Vector>(self, y: &mut [f32], x: &[f32], squares: &[f32]) {
        assert!(y.len() == x.len() && squares.len() == self.block_rows * self.squares.stride);
        self.for_each_vector::<V>(
            x.len(),
            #[inline(always)]
            |row, map, count| {
                let at = row * self.maps + map;
                // SAFETY: a vector of a row of the block.
                unsafe {
                    let (power, _) = powers(self.sum::<V>(squares, row, map), self.shape.beta);
                    let x = V::load_lanes(x.as_ptr().add(at), count);
                    x.mul(power).store_lanes(y.as_mut_ptr().add(at), count);
                }
            },
        );
    }

    /// `d_x = dy · s^−β` and the parts `d_x · x / s`.
    #[inline(always)]
    fn divide<V: Vector>(
        self,
        d_x: &mut [f32],
        parts: &mut [f32],
        d_y: &[f32],
        x: &[f32],
        squares: &[f32],
    ) {
        assert!(d_x.len() == x.len() && d_y.len() == x.len());
        assert!(squares.len() == self.block_rows * self.squares.stride);
        assert!(parts.len() == self.block_rows * self.parts.stride);
        self.for_each_vector::<V>(
            x.len(),
            #[inline(always)]
            |row, map, count| {
                let at = row * self.maps + map;
                // SAFETY: a vector of a row of the block.
                unsafe {
                    let (power, inverse) =
                        powers(self.sum::<V>(squares, row, map), self.shape.beta);
                    let d = V::load_lanes(d_y.as_ptr().add(at), count).mul(power);
                    let part = d.mul(V::load_lanes(x.as_ptr().add(at), count)).mul(inverse);
                    d.store_lanes(d_x.as_mut_ptr().add(at), count);
                    part.store_lanes(parts.as_mut_ptr().add(self.parts.at(row) + map), count);
                }
            },
        );
    }

    /// Takes what comes through the sums away from `d_x`.
    #[inline(always)]
    fn gather<V: Vector>(self, d_x: &mut [f32], x: &[f32], parts: &[f32]) {
        assert!(d_x.len() == x.len() && parts.len() == self.block_rows * self.parts.stride);
        let factor = V::splat(-2.0 * self.shape.alpha * self.shape.beta);
        self.for_each_vector::<V>(
            x.len(),
            #[inline(always)]
            |row, map, count| {
                let at = row * self.maps + map;
                // SAFETY: a vector of a row of the block.
                unsafe {
                    let gathered: V = self.parts.sum(parts.as_ptr().add(self.parts.at(row) + map));
                    let x = V::load_lanes(x.as_ptr().add(at), count).mul(factor);
                    let d = V::load_lanes(d_x.as_ptr().add(at), count);
                    x.mul_add(gathered, d).store_lanes(d_x.as_mut_ptr().add(at), count);
                }
            },
        );
    }
}

/// Forward, or with `d_y` backward, an image at a time.
fn same_map(context: &Context, out: &mut [f32], d_y: Option<&[f32]>, x: &[f32], shape: &LrnShape) {
    let row = shape.width * shape.channels;
    let len = shape.height * row;
    let scratch_len = if d_y.is_some() { row + len } else { row };
    let out = Disjoint::new(out);
    context.threads.for_each(shape.batch, |worker, image| {
        let range = image * len..(image + 1) * len;
        // SAFETY: images do not overlap.
        let out = unsafe { out.part(range.clone()) };
        let mut scratch = context.scratch.own(worker, scratch_len);
        let (sums, parts) = scratch[..scratch_len].split_at_mut(row);
        let d_y = d_y.map(|d_y| &d_y[range.clone()]);
        let image = Image { row, sums: RowSums { sums, shape }, x: &x[range], shape };
        context.isa.dispatch(SameMap { out, d_y, parts, image });
    });
}

struct SameMap<'a> {
    out: &'a mut [f32],
    d_y: Option<&'a [f32]>,
    /// Memory for an image's parts.
    parts: &'a mut [f32],
    image: Image<'a>,
}

impl Kernel for SameMap<'_> {
    type Output = ();
    #[inline(always)]
    fn run<V: Vector>(self) {
        let Self { out, d_y, parts, mut image } = self;
        match d_y {
            None => image.forward::<V>(out),
            Some(d_y) => {
                image.divide::<V>(out, parts, d_y);
                image.gather::<V>(out, parts);
            }
        }
    }
}

struct Image<'a> {
    /// Floats of a row of places.
    row: usize,
    sums: RowSums<'a>,
    x: &'a [f32],
    shape: &'a LrnShape,
}

impl Image<'_> {
    /// `y = x · s^−β`.
    #[inline(always)]
    fn forward<V: Vector>(&mut self, y: &mut [f32]) {
        let Self { row: len, ref mut sums, x, shape } = *self;
        for (row, y) in y.chunks_exact_mut(len).enumerate() {
            sums.add_rows::<V, true>(x, shape.window(row, 0, shape.height));
            let x = &x[row * len..][..len];
            sums.for_each::<V>(
                LrnShape::window,
                #[inline(always)]
                |at, count, sum: V| {
                    let (power, _) = powers(scaled(sum, shape), shape.beta);
                    // SAFETY: `at + count` is at most the row's length.
                    unsafe {
                        let x = V::load_lanes(x.as_ptr().add(at), count);
                        x.mul(power).store_lanes(y.as_mut_ptr().add(at), count);
                    }
                },
            );
        }
    }

    /// `d_x = dy · s^−β` and the parts `d_x · x / s`.
    #[inline(always)]
    fn divide<V: Vector>(&mut self, d_x: &mut [f32], parts: &mut [f32], d_y: &[f32]) {
        let Self { row: len, ref mut sums, x, shape } = *self;
        let outputs = d_x.chunks_exact_mut(len).zip(parts.chunks_exact_mut(len));
        for (row, (d_x, parts)) in outputs.enumerate() {
            sums.add_rows::<V, true>(x, shape.window(row, 0, shape.height));
            let (x, d_y) = (&x[row * len..][..len], &d_y[row * len..][..len]);
            sums.for_each::<V>(
                LrnShape::window,
                #[inline(always)]
                |at, count, sum: V| {
                    let (power, inverse) = powers(scaled(sum, shape), shape.beta);
                    // SAFETY: `at + count` is at most the row's length.
                    unsafe {
                        let d = V::load_lanes(d_y.as_ptr().add(at), count).mul(power);
                        let part = d.mul(V::load_lanes(x.as_ptr().add(at), count)).mul(inverse);
                        d.store_lanes(d_x.as_mut_ptr().add(at), count);
                        part.store_lanes(parts.as_mut_ptr().add(at), count);
                    }
                },
            );
        }
    }

    /// Takes what comes through the sums away from `d_x`.
    #[inline(always)]
    fn gather<V: Vector>(&mut self, d_x: &mut [f32], parts: &[f32]) {
        let Self { row: len, ref mut sums, x, shape } = *self;
        let factor = V::splat(-2.0 * shape.alpha * shape.beta);
        for (row, d_x) in d_x.chunks_exact_mut(len).enumerate() {
            sums.add_rows::<V, false>(parts, shape.mirrored_window(row, 0, shape.height));
            let x = &x[row * len..][..len];
            sums.for_each::<V>(
                LrnShape::mirrored_window,
                #[inline(always)]
                |at, count, sum: V| {
                    // SAFETY: `at + count` is at most the row's length.
                    unsafe {
                        let x = V::load_lanes(x.as_ptr().add(at), count).mul(factor);
                        let d = V::load_lanes(d_x.as_ptr().add(at), count);
                        x.mul_add(sum, d).store_lanes(d_x.as_mut_ptr().add(at), count);
                    }
                },
            );
        }
    }
}

/// Sums over the square windows of a row of places: down the columns first, then along the row.
struct RowSums<'a> {
    sums: &'a mut [f32],
    shape: &'a LrnShape,
}

impl RowSums<'_> {
    /// Adds up `rows` of an image, or of its squares.
    #[inline(always)]
    fn add_rows<V: Vector, const SQUARES: bool>(&mut self, values: &[f32], rows: Range<usize>) {
        let len = self.sums.len();
        assert!(rows.end * len <= values.len());
        for_each_vector::<V>(
            len,
            #[inline(always)]
            |at, count| {
                let mut sum = V::zero();
                for row in rows.clone() {
                    // SAFETY: `at + count <= len`, and the assertion.
                    let value =
                        unsafe { V::load_lanes(values.as_ptr().add(row * len + at), count) };
                    sum = if SQUARES { value.mul_add(value, sum) } else { sum.add(value) };
                }
                // SAFETY: `at + count <= len`.
                unsafe { sum.store_lanes(self.sums.as_mut_ptr().add(at), count) };
            },
        );
    }

    /// Calls `visit(index in the row, count, sum over the window)` for vectors of the row's floats.
    #[inline(always)]
    fn for_each<V: Vector>(
        &self,
        window: impl Fn(&LrnShape, usize, usize, usize) -> Range<usize>,
        mut visit: impl FnMut(usize, usize, V),
    ) {
        let LrnShape { width, channels, .. } = *self.shape;
        assert!(self.sums.len() == width * channels);
        for column in 0..width {
            let columns = window(self.shape, column, 0, width);
            for_each_vector::<V>(
                channels,
                #[inline(always)]
                |c, count| {
                    let mut sum = V::zero();
                    for near in columns.clone() {
                        let at = near * channels + c;
                        // SAFETY: `near < width` and `c + count <= channels`.
                        sum = sum.add(unsafe { V::load_lanes(self.sums.as_ptr().add(at), count) });
                    }
                    visit(column * channels + c, count, sum);
                },
            );
        }
    }
}
