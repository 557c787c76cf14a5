//! The weight gradient: the adjoint of the forward pass in its kernels.
//!
//! The values of a tile's inputs, and those of its output gradients, are multiplied point pair by
//! point pair and summed over all tiles: one matrix `(in channels, out channels)` a pair, which the
//! transposed kernel transform turns into the gradient of the taps.
//!
//! Where all these sums are small they are formed slice by slice, each slice of images by one
//! thread that keeps its sums in its own cache, and slices are added in order. Where they are large
//! there is one set of them: all threads transform a block of images together, then share out the
//! point pairs. Slices and blocks depend on the shape alone, and so do the results.

use alexnet_ops::ConvShape;

use super::kernels::{PANEL_ROWS, TAPS_MOST};
use super::layer::Layer;
use super::points::MOST;
use super::tiling::{Block, Blocking, Field, LINE, PANEL, Tiling, odd_lines};
use super::transform::{Lattice, collect, evaluate, interpolate};
use crate::Context;
use crate::array::Direction;
use crate::disjoint::Disjoint;
use crate::isa::Kernel;
use crate::microkernel::{Left, Right, Store, VECTORS, multiply};
use crate::simd::Vector;

/// `d_weights`; the bias' gradient is formed elsewhere.
pub(crate) fn backward_weights(
    context: &Context,
    d_weights: &mut [f32],
    d_y: &[f32],
    x: &[f32],
    shape: &ConvShape,
) {
    let tiling = Tiling::new(Layer::new(shape, Direction::Forward));
    let cut = Cut::new(&tiling);
    let sums = SumsLayout::new(&tiling);
    let mut shared = context.scratch.shared(0, cut.slices * sums.len());
    let shared = Disjoint::new(&mut shared);
    let pass = Pass { sums: &shared, d_y, x, tiling, layout: sums, cut };
    if cut.together {
        pass.run_together(context);
    } else {
        pass.run_slices(context);
    }
    pass.collect(context, &Disjoint::new(&mut d_weights[..shape.weights_len()]), shape);
}

/// How the work is cut, by the shape alone.
#[derive(Clone, Copy)]
struct Cut {
    /// Whether all threads work on one block.
    together: bool,
    blocking: Blocking,
    /// Sets of sums, each over an equal share of the images.
    slices: usize,
    /// Output channels whose sums one thread keeps in its cache.
    columns: usize,
}

/// Floats of sums that stay in a thread's own cache of 2 MiB beside the values of a block.
const CACHED: usize = 3 << 17;

/// Pieces of slices there should be: enough for many threads.
const PIECES: usize = 32;

fn var(name: &str) -> Option<usize> {
    std::env::var(name).ok()?.parse().ok()
}

impl Cut {
    fn new(tiling: &Tiling) -> Self {
        let Layer { images, groups, in_channels, out_channels, .. } = tiling.layer;
        let (p, q) = tiling.points();
        let padded = out_channels.next_multiple_of(PANEL);
        let panels = CACHED / (p * q * in_channels * PANEL);
        if panels == 0 {
            let blocking = Blocking::of(var("TOOM_WROWS").unwrap_or(96), tiling);
            return Self { together: true, blocking, slices: 1, columns: padded };
        }
        let panels = var("TOOM_WPANELS").unwrap_or(panels);
        let columns = padded.min(panels * PANEL);
        let ranges = groups * padded.div_ceil(columns);
        let slices = PIECES.div_ceil(ranges).min(images);
        let blocking = Blocking::of(var("TOOM_WROWS").unwrap_or(4), tiling);
        Self { together: false, blocking, slices, columns }
    }
}

/// Where sums lie: (groups, point pairs, in channels, out channels).
#[derive(Clone, Copy)]
struct SumsLayout {
    groups: usize,
    pairs: usize,
    in_channels: usize,
    row_stride: usize,
}

impl SumsLayout {
    fn new(tiling: &Tiling) -> Self {
        let Layer { groups, in_channels, out_channels, .. } = tiling.layer;
        let (p, q) = tiling.points();
        let row_stride = odd_lines(out_channels.next_multiple_of(PANEL));
        Self { groups, pairs: p * q, in_channels, row_stride }
    }
    fn stride(&self) -> usize {
        odd_lines(self.in_channels * self.row_stride)
    }
    fn len(&self) -> usize {
        self.groups * self.pairs * self.stride()
    }
    /// The matrix of point pair `pair` of `group` in slice `slice`.
    fn matrix(&self, slice: usize, group: usize, pair: usize) -> usize {
        slice * self.len() + (group * self.pairs + pair) * self.stride()
    }
}

/// One weight gradient.
struct Pass<'a> {
    sums: &'a Disjoint<'a, f32>,
    d_y: &'a [f32],
    x: &'a [f32],
    tiling: Tiling,
    layout: SumsLayout,
    cut: Cut,
}

/// A range of output channels.
#[derive(Clone, Copy)]
struct Columns {
    first: usize,
    count: usize,
}

impl Pass<'_> {
    /// Floats of zeros, of rearranged rows, and of the values of a block's inputs and output
    /// gradients.
    fn sizes(&self) -> [usize; 4] {
        let (layer, rows) = (&self.tiling.layer, self.cut.blocking.tile_rows());
        [
            layer.in_channels.max(layer.out_channels).next_multiple_of(LINE),
            layer.squares_len(self.cut.blocking.rows * MOST).next_multiple_of(LINE),
            self.tiling.field_len(rows, layer.in_channels.next_multiple_of(LINE)),
            self.tiling.field_len(rows, self.cut.columns),
        ]
    }

    fn inputs(&self, start: *mut f32, block: &Block) -> Field {
        let channels = self.tiling.layer.in_channels;
        Field::new(start, &self.tiling, (block, self.cut.blocking.tile_rows()), channels)
    }

    fn gradients(&self, start: *mut f32, block: &Block) -> Field {
        let tile_rows = self.cut.blocking.tile_rows();
        Field::new(start, &self.tiling, (block, tile_rows), self.cut.columns)
    }

    /// Each slice of images and range of output channels by one thread.
    fn run_slices(&self, context: &Context) {
        let ranges = self.tiling.layer.out_channels.div_ceil(self.cut.columns);
        let sizes = self.sizes();
        let pieces = self.cut.slices * self.tiling.layer.groups * ranges;
        context.threads.for_each(pieces, |worker, piece| {
            let mut scratch = context.scratch.own(worker, sizes.iter().sum());
            let (zeros, rest) = scratch.split_at_mut(sizes[0]);
            let (squares, rest) = rest.split_at_mut(sizes[1]);
            let (inputs, gradients) = rest.split_at_mut(sizes[2]);
            let (slice, piece) = (
                piece / ranges / self.tiling.layer.groups,
                piece % (ranges * self.tiling.layer.groups),
            );
            context.isa.dispatch(Slice {
                pass: self,
                slice,
                group: piece / ranges,
                range: piece % ranges,
                zeros,
                squares,
                inputs,
                gradients,
            });
        });
    }

    fn columns(&self, range: usize) -> Columns {
        let first = range * self.cut.columns;
        let count = self.cut.columns.min(self.tiling.layer.out_channels - first);
        Columns { first, count }
    }

    /// Block after block: all threads transform it, then each sums some point pairs.
    fn run_together(&self, context: &Context) {
        let [zeros_len, squares_len, inputs_len, gradients_len] = self.sizes();
        let mut inputs = context.scratch.shared(1, inputs_len);
        let mut gradients = context.scratch.shared(2, gradients_len);
        let (inputs, gradients) = (Disjoint::new(&mut inputs), Disjoint::new(&mut gradients));
        let blocks = self.cut.blocking.count(&self.tiling);
        for index in 0..self.tiling.layer.groups * blocks {
            let (group, first) = (index / blocks, index % blocks == 0);
            let block = self.cut.blocking.block(index % blocks, group, &self.tiling);
            let fields =
                || (self.inputs(inputs.at(0), &block), self.gradients(gradients.at(0), &block));
            context.threads.for_each(2 * block.len(), |worker, piece| {
                let mut scratch = context.scratch.own(worker, zeros_len + squares_len);
                let (zeros, squares) = scratch.split_at_mut(zeros_len);
                context.isa.dispatch(TileRow {
                    pass: self,
                    block,
                    fields: fields(),
                    row: piece / 2,
                    of_gradients: piece % 2 == 1,
                    zeros,
                    squares,
                });
            });
            let parts = self.tiling.layer.in_channels.div_ceil(ROWS);
            context.threads.for_each(self.layout.pairs * parts, |_, piece| {
                let rows = piece % parts * ROWS
                    ..self.tiling.layer.in_channels.min((piece % parts + 1) * ROWS);
                let columns = self.columns(0);
                let at = (0, group, piece / parts);
                context.isa.dispatch(Sum {
                    pass: self,
                    fields: fields(),
                    at,
                    rows,
                    columns,
                    first,
                });
            });
        }
    }

    /// The gradient of the weights from the sums.
    fn collect(&self, context: &Context, d_weights: &Disjoint<f32>, shape: &ConvShape) {
        let layer = &self.tiling.layer;
        let chunks = layer.in_channels.div_ceil(PANEL_ROWS);
        let panels = layer.out_channels.div_ceil(PANEL);
        context.threads.for_each(layer.groups * panels * chunks, |worker, piece| {
            let mut taps = context.scratch.own(worker, TAPS_MOST * PANEL_ROWS * PANEL);
            context.isa.dispatch(Taps {
                pass: self,
                d_weights,
                shape,
                taps: &mut taps,
                group: piece / chunks / panels,
                panel: piece / chunks % panels,
                first: piece % chunks * PANEL_ROWS,
            });
        });
    }
}

/// Input channels of a point pair that one thread sums.
const ROWS: usize = 192;

/// A slice of images for a range of output channels.
struct Slice<'a> {
    pass: &'a Pass<'a>,
    slice: usize,
    group: usize,
    range: usize,
    zeros: &'a mut [f32],
    squares: &'a mut [f32],
    inputs: &'a mut [f32],
    gradients: &'a mut [f32],
}

impl Kernel for Slice<'_> {
    type Output = ();
    #[inline(always)]
    fn run<V: Vector>(self) {
        let Self { pass, slice, group, range, zeros, squares, inputs, gradients } = self;
        zeros.fill(0.0);
        let (tiling, blocking) = (&pass.tiling, &pass.cut.blocking);
        let images = tiling.layer.images;
        let share = |slice| slice * images / pass.cut.slices;
        let columns = pass.columns(range);
        let mut image = share(slice);
        let mut first = true;
        while image < share(slice + 1) {
            let count = blocking.images.min(share(slice + 1) - image);
            for first_row in (0..tiling.rows.len()).step_by(blocking.rows) {
                let rows = blocking.rows.min(tiling.rows.len() - first_row);
                let block = Block { group, first_image: image, images: count, first_row, rows };
                let fields = (
                    pass.inputs(inputs.as_mut_ptr(), &block),
                    pass.gradients(gradients.as_mut_ptr(), &block),
                );
                for row in 0..block.len() {
                    // SAFETY: the scratch is this piece's, as large as `sizes` says.
                    unsafe {
                        pass.interpolate::<V>(&fields.0, &block, row, zeros, squares);
                        pass.evaluate::<V>(&fields.1, &block, row, columns, zeros);
                    }
                }
                for pair in 0..pass.layout.pairs {
                    let rows = 0..tiling.layer.in_channels;
                    // SAFETY: these columns of the slice's sums are this piece's.
                    unsafe { pass.sum::<V>(&fields, (slice, group, pair), rows, columns, first) };
                }
                first = false;
            }
            image += count;
        }
    }
}

/// One tile row of a block that is all threads', of its inputs or of its gradients.
struct TileRow<'a> {
    pass: &'a Pass<'a>,
    block: Block,
    fields: (Field, Field),
    row: usize,
    of_gradients: bool,
    zeros: &'a mut [f32],
    squares: &'a mut [f32],
}

impl Kernel for TileRow<'_> {
    type Output = ();
    #[inline(always)]
    fn run<V: Vector>(self) {
        let Self { pass, block, fields, row, of_gradients, zeros, squares } = self;
        zeros.fill(0.0);
        // SAFETY: the tile row's values are this piece's.
        unsafe {
            if of_gradients {
                pass.evaluate::<V>(&fields.1, &block, row, pass.columns(0), zeros);
            } else {
                pass.interpolate::<V>(&fields.0, &block, row, zeros, squares);
            }
        }
    }
}

/// A part of the sums of one point pair.
struct Sum<'a> {
    pass: &'a Pass<'a>,
    fields: (Field, Field),
    /// Slice, group and pair.
    at: (usize, usize, usize),
    rows: std::ops::Range<usize>,
    columns: Columns,
    first: bool,
}

impl Kernel for Sum<'_> {
    type Output = ();
    #[inline(always)]
    fn run<V: Vector>(self) {
        let Self { pass, fields, at, rows, columns, first } = self;
        // SAFETY: these sums are this piece's.
        unsafe { pass.sum::<V>(&fields, at, rows, columns, first) };
    }
}

impl Pass<'_> {
    /// The values of the inputs of tile row `row`.
    ///
    /// # Safety
    /// The tile row's values, `squares` and `zeros` are nobody else's and as large as
    /// [`Self::sizes`] says.
    #[inline(always)]
    unsafe fn interpolate<V: Vector>(
        &self,
        values: &Field,
        block: &Block,
        row: usize,
        zeros: &[f32],
        squares: &mut [f32],
    ) {
        let (tiling, layer) = (&self.tiling, &self.tiling.layer);
        let tile = tiling.rows.tile(block.first_row + row / block.images);
        let source = (block.first_image + row % block.images, block.group);
        let rows = tile.start..tile.start + tile.alpha;
        // SAFETY: the caller's promise.
        let source = unsafe { layer.input_image(self.x, source, rows, squares.as_mut_ptr()) };
        for tile_column in 0..tiling.columns.len() {
            let column = tiling.columns.tile(tile_column);
            let alphas = (tile.alpha, column.alpha);
            let from = source.window((tile.start, column.start), alphas, zeros.as_ptr());
            let to = values.tile(row, tile_column);
            // SAFETY: the window's addresses are pixels of the image, or zeros for all channels;
            // the tile's are rows of its matrices.
            unsafe { interpolate::<V>(&to, &from, alphas, layer.in_channels) };
        }
    }

    /// The values of the output gradients of tile row `row`.
    ///
    /// # Safety
    /// As [`Self::interpolate`].
    #[inline(always)]
    unsafe fn evaluate<V: Vector>(
        &self,
        values: &Field,
        block: &Block,
        row: usize,
        columns: Columns,
        zeros: &[f32],
    ) {
        let (tiling, layer) = (&self.tiling, &self.tiling.layer);
        let tile = tiling.rows.tile(block.first_row + row / block.images);
        let source = (block.first_image + row % block.images, block.group);
        let source = layer.output_image(self.d_y[columns.first..].as_ptr(), source);
        for tile_column in 0..tiling.columns.len() {
            let column = tiling.columns.tile(tile_column);
            let outputs = (tile.outputs, column.outputs);
            let from = source.window((tile.start, column.start), outputs, zeros.as_ptr());
            let (to, alphas) = (values.tile(row, tile_column), (tile.alpha, column.alpha));
            // SAFETY: as in `interpolate`.
            unsafe { evaluate::<V>(&to, &from, alphas, outputs, columns.count) };
        }
    }

    /// Sums the products of a block for input channels `rows` and output channels `columns` of one
    /// point pair, after what is there unless this is the `first` block.
    ///
    /// # Safety
    /// These sums are nobody else's; the fields were written.
    #[inline(always)]
    unsafe fn sum<V: Vector>(
        &self,
        (inputs, gradients): &(Field, Field),
        (slice, group, pair): (usize, usize, usize),
        rows: std::ops::Range<usize>,
        columns: Columns,
        first: bool,
    ) {
        let (left, right) = (inputs.matrix(pair), gradients.matrix(pair));
        if right.rows == 0 && !first {
            return;
        }
        let row_stride = self.layout.row_stride;
        let to = self.layout.matrix(slice, group, pair) + rows.start * row_stride + columns.first;
        let a = Left {
            start: left.start.wrapping_add(rows.start),
            row_stride: 1,
            depth_stride: inputs.row_stride,
        };
        for part in (0..columns.count).step_by(VECTORS * V::LANES) {
            let start = right.start.wrapping_add(part);
            let b = Right { start, depth_stride: gradients.row_stride };
            let start = self.sums.at(to + part);
            // SAFETY: the matrices have so many rows, and columns up to a multiple of `PANEL`.
            unsafe {
                if first {
                    let store = Store::<false> { start, stride: row_stride };
                    multiply::<V>(rows.len(), right.rows, a, b, &store);
                } else {
                    let store = Store::<true> { start, stride: row_stride };
                    multiply::<V>(rows.len(), right.rows, a, b, &store);
                }
            }
        }
    }
}

/// The gradient of a few input channels of one panel of output channels.
struct Taps<'a> {
    pass: &'a Pass<'a>,
    d_weights: &'a Disjoint<'a, f32>,
    shape: &'a ConvShape,
    /// (taps, `PANEL_ROWS`, `PANEL`)
    taps: &'a mut [f32],
    group: usize,
    panel: usize,
    first: usize,
}

impl Kernel for Taps<'_> {
    type Output = ();
    #[inline(always)]
    fn run<V: Vector>(mut self) {
        let (tiling, layout) = (&self.pass.tiling, &self.pass.layout);
        let (layer, points) = (&tiling.layer, tiling.points());
        let rows = PANEL_ROWS.min(layer.in_channels - self.first);
        let columns = PANEL.min(layer.out_channels - self.panel * PANEL);
        let taps = (layer.kernel, layer.kernel);
        for row in 0..rows {
            let at = (self.first + row) * layout.row_stride + self.panel * PANEL;
            // SAFETY: these sums are this piece's.
            unsafe { self.add_slices::<V>(at, columns) };
            let from = Lattice {
                start: self.pass.sums.at(layout.matrix(0, self.group, 0) + at),
                row_stride: points.1 * layout.stride(),
                columns: std::array::from_fn(|q| q * layout.stride()),
            };
            let to = Lattice {
                start: self.taps[row * PANEL..].as_mut_ptr(),
                row_stride: layer.kernel * PANEL_ROWS * PANEL,
                columns: std::array::from_fn(|tap| tap * PANEL_ROWS * PANEL),
            };
            // SAFETY: sums of all pairs are there, and room for all taps.
            unsafe { collect::<V>((&to, taps), &from, points, taps, columns, &mut ()) };
        }
        self.scatter(rows, columns);
    }
}

impl Taps<'_> {
    /// Adds the sums of later slices to the first's, slice after slice.
    ///
    /// # Safety
    /// The sums at `at` of every matrix are nobody else's.
    #[inline(always)]
    unsafe fn add_slices<V: Vector>(&mut self, at: usize, columns: usize) {
        let (layout, slices) = (&self.pass.layout, self.pass.cut.slices);
        for pair in 0..if slices > 1 { layout.pairs } else { 0 } {
            for column in (at..at + columns).step_by(V::LANES) {
                let sums = |slice| layout.matrix(slice, self.group, pair) + column;
                // SAFETY: the caller's promise; rows are padded to whole vectors.
                unsafe {
                    let total = self.pass.sums.at(sums(0));
                    let mut sum = V::load(total);
                    for slice in 1..slices {
                        sum = sum.add(V::load(self.pass.sums.at(sums(slice))));
                    }
                    sum.store(total);
                }
            }
        }
    }

    /// Copies the taps to their places in the weights' order.
    #[inline(always)]
    fn scatter(&mut self, rows: usize, columns: usize) {
        let kernel = self.pass.tiling.layer.kernel;
        for tap in 0..kernel * kernel {
            let taps = &self.taps[tap * PANEL_ROWS * PANEL..];
            for out in 0..columns {
                for from in 0..rows {
                    let channels = (self.group, self.first + from, self.panel * PANEL + out);
                    let at = (tap / kernel, tap % kernel);
                    let at = Layer::weight(self.shape, Direction::Forward, at, channels);
                    if let Some(at) = at {
                        // SAFETY: this weight's gradient is this piece's.
                        unsafe { *self.d_weights.at(at) = taps[from * PANEL + out] };
                    }
                }
            }
        }
    }
}
