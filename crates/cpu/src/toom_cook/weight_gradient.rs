//! The weight gradient: the adjoint of the forward pass in its kernels.
//!
//! The values of a tile's inputs, and those of its output gradients, are multiplied point pair by
//! point pair and summed over all tiles: one matrix `(in channels, out channels)` a pair, which the
//! transposed kernel transform turns into the gradient of the taps.
//!
//! At the point pair (1, 1) the value of a tile's output gradients is their sum, so the gradient of
//! the bias is the sum of that pair's values over all tiles.
//!
//! A piece of the work is a slice of the images, a few points and a range of output channels: as
//! many as keep the values of a block of tiles, and where possible the sums, in the thread's own
//! cache. Pixels are read again in pieces that need the same ones, which costs less than fetching
//! values. Slices are added in order; they depend on the shape alone, and so do the results.

use std::ops::Range;

use alexnet_ops::ConvShape;

use super::image::Lattice;
use super::kernels::{PANEL_ROWS, TAPS_MOST, taps_image};
use super::layer::Layer;
use super::points::{MOST, ONE};
use super::tiling::{Block, Blocking, Field, LINE, PANEL, Tiling, odd_lines};
use super::transform::{Collect, Evaluate, Interpolate, Part, Window};
use crate::Context;
use crate::array::Direction;
use crate::disjoint::Disjoint;
use crate::isa::{Isa, Kernel};
use crate::microkernel::{Finish, INTERVAL, Left, Right, Store, VECTORS, multiply};
use crate::simd::Vector;

/// `d_weights` and `d_bias`.
pub(crate) fn backward_weights(
    context: &Context,
    d_weights: &mut [f32],
    d_bias: &mut [f32],
    d_y: &[f32],
    x: &[f32],
    shape: &ConvShape,
) {
    let tiling = Tiling::new(Layer::new(shape, Direction::Forward));
    let sums = SumsLayout::new(&tiling);
    let cut = Cut::new(&tiling, &sums, context.threads.count());
    let mut shared = context.scratch.shared(0, cut.slices * (sums.len() + sums.bias_len()));
    let shared = Disjoint::new(&mut shared);
    let pass = Pass { isa: context.isa, sums: &shared, d_y, x, tiling, layout: sums, cut };
    pass.run(context);
    pass.collect(context, &Disjoint::new(&mut d_weights[..shape.weights_len()]), shape);
    pass.collect_bias(&mut d_bias[..shape.out_c]);
}

/// How the work is cut.
#[derive(Clone, Copy)]
struct Cut {
    blocking: Blocking,
    /// Sets of sums, each over an equal share of the images.
    slices: usize,
    /// Points of columns a piece sums: all, or two.
    points: usize,
    /// Output channels a piece sums.
    columns: usize,
}

/// Floats of values, or of sums, that stay in a thread's own cache of 2 MiB.
const CACHED: usize = 5 << 16;

/// Floats of all slices' sums, beyond two: what adding them takes the time of.
const SUMS: usize = 1 << 22;

/// Slices at most.
const SLICES: usize = 16;

impl Cut {
    fn new(tiling: &Tiling, layout: &SumsLayout, threads: usize) -> Self {
        let Layer { images, groups, in_channels, .. } = tiling.layer;
        let slices = (SUMS / layout.len()).clamp(2, SLICES).min(images);
        // If sums must come from an outer cache, they may for more tiles at a time.
        let (points, values) =
            if layout.stride() * layout.pairs <= CACHED { (MOST, CACHED) } else { (2, 2 * CACHED) };
        let parts = tiling.points().1.div_ceil(points);
        // Each range of output channels computes the inputs' values again, so only for threads that
        // would have no work. It changes no sum, for blocks are sized for all channels.
        let pieces = slices * groups * parts;
        let ranges =
            if threads > 1 { (2 * threads).div_ceil(pieces).min(layout.panels) } else { 1 };
        let columns = layout.panels.div_ceil(ranges) * PANEL;
        let part = Part { first: 0, count: points };
        let row = tiling.field_len(1, part, in_channels)
            + tiling.field_len(1, part, layout.panels * PANEL);
        Self { blocking: Blocking::of(values / row, tiling), slices, points, columns }
    }
}

/// Where sums lie: for each slice, group and point pair a matrix `(in channels, out channels)`, in
/// panels of 32 output channels, so that what a micro-kernel adds to is one run of memory.
#[derive(Clone, Copy)]
struct SumsLayout {
    groups: usize,
    pairs: usize,
    /// Floats of a panel.
    panel: usize,
    panels: usize,
}

impl SumsLayout {
    fn new(tiling: &Tiling) -> Self {
        let Layer { groups, in_channels, out_channels, .. } = tiling.layer;
        let (p, q) = tiling.points();
        let panels = out_channels.div_ceil(PANEL);
        Self { groups, pairs: p * q, panel: in_channels * PANEL, panels }
    }
    fn stride(&self) -> usize {
        odd_lines(self.panels * self.panel)
    }
    fn len(&self) -> usize {
        self.groups * self.pairs * self.stride()
    }
    /// Floats of a slice's sums for the bias.
    fn bias_len(&self) -> usize {
        self.groups * self.panels * PANEL
    }
    /// The sums for the bias of `group` in slice `slice` of `slices`: after all others.
    fn bias(&self, (slice, slices): (usize, usize), group: usize) -> usize {
        slices * self.len() + slice * self.bias_len() + group * self.panels * PANEL
    }
    /// Panel `panel` of point pair `pair` of `group` in slice `slice`.
    fn panel(&self, slice: usize, (group, pair): (usize, usize), panel: usize) -> usize {
        slice * self.len() + (group * self.pairs + pair) * self.stride() + panel * self.panel
    }
}

/// One weight gradient.
struct Pass<'a> {
    isa: Isa,
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
        let (layer, rows) = (&self.tiling.layer, self.cut.blocking.tile_rows(&self.tiling));
        let part = Part { first: 0, count: self.cut.points };
        [
            layer.in_channels.max(layer.out_channels).next_multiple_of(LINE),
            layer.squares_len(MOST).next_multiple_of(LINE),
            self.tiling.field_len(rows, part, layer.in_channels),
            self.tiling.field_len(rows, part, self.cut.columns),
        ]
    }

    /// Every piece by one thread.
    fn run(&self, context: &Context) {
        let layer = &self.tiling.layer;
        let ranges = layer.out_channels.div_ceil(self.cut.columns);
        let parts = self.tiling.points().1.div_ceil(self.cut.points);
        let pieces = self.cut.slices * layer.groups * ranges * parts;
        let sizes = self.sizes();
        context.threads.for_each(pieces, |worker, piece| {
            let mut scratch = context.scratch.own(worker, sizes.iter().sum());
            let (zeros, rest) = scratch.split_at_mut(sizes[0]);
            let (squares, rest) = rest.split_at_mut(sizes[1]);
            let (inputs, gradients) = rest.split_at_mut(sizes[2]);
            let piece = Piece {
                pass: self,
                slice: piece / parts / ranges / layer.groups,
                group: piece / parts / ranges % layer.groups,
                columns: self.columns(piece / parts % ranges),
                part: Part { first: piece % parts * self.cut.points, count: self.cut.points },
                zeros,
                squares,
                inputs,
                gradients,
            };
            piece.run();
        });
    }

    fn columns(&self, range: usize) -> Columns {
        let first = range * self.cut.columns;
        let count = self.cut.columns.min(self.tiling.layer.out_channels - first);
        Columns { first, count }
    }

    /// The gradient of the weights from the sums.
    fn collect(&self, context: &Context, d_weights: &Disjoint<f32>, shape: &ConvShape) {
        let layer = &self.tiling.layer;
        let chunks = layer.in_channels.div_ceil(PANEL_ROWS);
        let panels = layer.out_channels.div_ceil(PANEL);
        let sizes = [TAPS_MOST, self.layout.pairs].map(|count| count * PANEL_ROWS * PANEL);
        context.threads.for_each(layer.groups * panels * chunks, |worker, piece| {
            let mut scratch = context.scratch.own(worker, sizes.iter().sum());
            let (taps, rest) = scratch.split_at_mut(sizes[0]);
            let taps = Taps {
                pass: self,
                d_weights,
                shape,
                taps,
                sums: &mut rest[..sizes[1]],
                group: piece / chunks / panels,
                panel: piece / chunks % panels,
                first: piece % chunks * PANEL_ROWS,
            };
            taps.run();
        });
    }
}

impl Pass<'_> {
    /// The gradient of the bias, slice after slice.
    fn collect_bias(&self, d_bias: &mut [f32]) {
        let channels = self.tiling.layer.out_channels;
        for (index, to) in d_bias.iter_mut().enumerate() {
            let sum = |slice| {
                let group = self.layout.bias((slice, self.cut.slices), index / channels);
                let at = group + index % channels;
                // SAFETY: all pieces are done.
                unsafe { self.sums.part(at..at + 1)[0] }
            };
            *to = (0..self.cut.slices).map(sum).sum();
        }
    }
}

/// A slice of images, some points, and a range of output channels.
struct Piece<'a> {
    pass: &'a Pass<'a>,
    slice: usize,
    group: usize,
    columns: Columns,
    part: Part,
    zeros: &'a mut [f32],
    squares: &'a mut [f32],
    inputs: &'a mut [f32],
    gradients: &'a mut [f32],
}

impl Piece<'_> {
    /// All of the slice, block after block.
    fn run(mut self) {
        self.zeros.fill(0.0);
        let (tiling, cut) = (&self.pass.tiling, &self.pass.cut);
        let images = |slice| slice * tiling.layer.images / cut.slices;
        let images = images(self.slice)..images(self.slice + 1);
        for index in 0..cut.blocking.count(images.len()) {
            let block = cut.blocking.block(index, images.clone(), self.group, tiling);
            self.add_block(&block, index == 0);
        }
    }

    /// Adds the products of a block to the sums; of the `first` block they are the sums.
    fn add_block(&mut self, block: &Block, first: bool) {
        let (pass, layer) = (self.pass, &self.pass.tiling.layer);
        let tile_rows = pass.cut.blocking.tile_rows(&pass.tiling);
        let field = |start, channels| {
            Field::new(start, &pass.tiling, (block, tile_rows), self.part, channels)
        };
        let inputs = field(self.inputs.as_mut_ptr(), layer.in_channels);
        let gradients = field(self.gradients.as_mut_ptr(), pass.cut.columns);
        for row in 0..block.len() {
            // SAFETY: the scratch is this piece's, as large as `sizes` says.
            unsafe {
                self.interpolate(&inputs, block, row);
                self.evaluate(&gradients, block, row);
            }
        }
        let (rows, columns) = pass.tiling.points();
        let in_part = self.part.of(columns);
        if (self.part.first..self.part.first + in_part).contains(&ONE) {
            let matrix = gradients.matrix(ONE * in_part + ONE - self.part.first);
            let slice = (self.slice, pass.cut.slices);
            let sums = pass.layout.bias(slice, self.group) + self.columns.first;
            pass.isa.dispatch(BiasSum {
                rows: matrix.rows,
                columns: self.columns.count,
                from: (matrix.start, gradients.row_stride),
                to: pass.sums.at(sums),
                first,
            });
        }
        for index in 0..rows * in_part {
            let pair = index / in_part * columns + self.part.first + index % in_part;
            let panel = self.columns.first / PANEL;
            let sums = pass.layout.panel(self.slice, (self.group, pair), panel);
            let (left, right) = (inputs.matrix(index), gradients.matrix(index));
            pass.isa.dispatch(Sum {
                a: Left { start: left.start, row_stride: 1, depth_stride: inputs.row_stride },
                b: Right { start: right.start, depth_stride: gradients.row_stride },
                depth: right.rows,
                sizes: (layer.in_channels, self.columns.count),
                to: pass.sums.at(sums),
                first,
            });
        }
    }

    /// The values of the inputs of tile row `row` of a block.
    ///
    /// # Safety
    /// The field is this piece's.
    unsafe fn interpolate(&mut self, values: &Field, block: &Block, row: usize) {
        let (pass, tiling, layer) = (self.pass, &self.pass.tiling, &self.pass.tiling.layer);
        let tile = tiling.rows.tile(block.first_row + row / block.images);
        let source = (block.first_image + row % block.images, block.group);
        let rows = tile.start..tile.start + tile.alpha;
        let squares = self.squares.as_mut_ptr();
        // SAFETY: there is room for the rows of a tile.
        let source = unsafe { layer.input_image(pass.isa, pass.x, source, rows, squares) };
        for tile_column in 0..tiling.columns.len() {
            let column = tiling.columns.tile(tile_column);
            let at = (tile.start, column.start);
            let interpolate = Interpolate {
                to: values.tile(row, tile_column),
                from: Window { image: &source, at, zeros: self.zeros.as_ptr() },
                alphas: (tile.alpha, column.alpha),
                part: self.part,
                channels: layer.in_channels,
            };
            // SAFETY: the caller's promise.
            unsafe { interpolate.run(pass.isa) };
        }
    }

    /// The values of the output gradients of tile row `row` of a block.
    ///
    /// # Safety
    /// The field is this piece's.
    unsafe fn evaluate(&self, values: &Field, block: &Block, row: usize) {
        let (pass, tiling, layer) = (self.pass, &self.pass.tiling, &self.pass.tiling.layer);
        let tile = tiling.rows.tile(block.first_row + row / block.images);
        let source = (block.first_image + row % block.images, block.group);
        let source = layer.output_image(pass.d_y[self.columns.first..].as_ptr(), source);
        for tile_column in 0..tiling.columns.len() {
            let column = tiling.columns.tile(tile_column);
            let at = (tile.start, column.start);
            let evaluate = Evaluate {
                to: values.tile(row, tile_column),
                from: Window { image: &source, at, zeros: self.zeros.as_ptr() },
                alphas: (tile.alpha, column.alpha),
                part: self.part,
                coefficients: (tile.outputs, column.outputs),
                channels: self.columns.count,
            };
            // SAFETY: the caller's promise.
            unsafe { evaluate.run(pass.isa) };
        }
    }
}

/// Adds `aᵀ · b` of one point pair to its sums, or puts it there.
struct Sum {
    a: Left,
    b: Right,
    depth: usize,
    /// Input and output channels.
    sizes: (usize, usize),
    to: *mut f32,
    first: bool,
}

impl Kernel for Sum {
    type Output = ();
    #[inline(always)]
    fn run<V: Vector>(self) {
        let Self { a, b, depth, sizes: (rows, columns), to, first } = self;
        if depth == 0 && !first {
            return;
        }
        let rows_an_interval = V::ROWS.div_ceil(depth.div_ceil(INTERVAL).max(1));
        for column in (0..columns).step_by(VECTORS * V::LANES) {
            let b = Right { start: b.start.wrapping_add(column), ..b };
            let panel = to.wrapping_add(column / PANEL * rows * PANEL);
            let to = Store { start: panel.wrapping_add(column % PANEL), stride: PANEL };
            // SAFETY: the operands are a block's matrices; these sums are the piece's; columns are
            // padded to a multiple of `PANEL`.
            unsafe { multiply::<V>(rows, depth, a, b, &Add { to, rows_an_interval, first }) };
        }
    }
}

/// Adds rows to a row, or puts their sum there.
struct BiasSum {
    rows: usize,
    columns: usize,
    /// Start and row stride.
    from: (*const f32, usize),
    to: *mut f32,
    first: bool,
}

impl Kernel for BiasSum {
    type Output = ();
    #[inline(always)]
    fn run<V: Vector>(self) {
        for column in (0..self.columns).step_by(V::LANES) {
            let to = self.to.wrapping_add(column);
            let mut sum = V::zero();
            // SAFETY: the matrix has so many rows; it and these sums, which are the piece's, are
            // padded to whole vectors.
            unsafe {
                for row in 0..self.rows {
                    let at = self.from.0.wrapping_add(row * self.from.1 + column);
                    sum = sum.add(V::load(at));
                }
                if self.first { sum.store(to) } else { V::load(to).add(sum).store(to) }
            }
        }
    }
}

/// Sums are added to rows of an output, which are asked for while they are formed: they come from
/// an outer cache. The `first` replace what is there.
struct Add {
    to: Store<true>,
    rows_an_interval: usize,
    first: bool,
}

impl<V: Vector> Finish<V> for Add {
    #[inline(always)]
    unsafe fn finish<const W: usize>(&self, row: usize, sums: [V; W]) {
        let Store { start, stride } = self.to;
        // SAFETY: the caller's promise.
        unsafe {
            if self.first {
                Store::<false> { start, stride }.finish(row, sums);
            } else {
                self.to.finish(row, sums);
            }
        }
    }
    #[inline(always)]
    fn interval(&self, rows: Range<usize>, interval: usize) {
        let first = interval * self.rows_an_interval;
        for row in rows.start + first..rows.start + V::ROWS.min(first + self.rows_an_interval) {
            let row = self.to.start.wrapping_add(row * self.to.stride);
            V::prefetch(row);
            V::prefetch(row.wrapping_add(LINE));
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
    /// (point pairs, `PANEL_ROWS`, `PANEL`)
    sums: &'a mut [f32],
    group: usize,
    panel: usize,
    first: usize,
}

impl Taps<'_> {
    fn run(mut self) {
        let (pass, layer) = (self.pass, &self.pass.tiling.layer);
        let alphas = pass.tiling.points();
        let rows = PANEL_ROWS.min(layer.in_channels - self.first);
        let columns = PANEL.min(layer.out_channels - self.panel * PANEL);
        let taps = (layer.kernel, layer.kernel);
        self.add_slices(rows);
        for row in 0..rows {
            let from = Lattice {
                start: self.sums[row * PANEL..].as_mut_ptr(),
                row_stride: alphas.1 * PANEL_ROWS * PANEL,
                columns: std::array::from_fn(|q| q * PANEL_ROWS * PANEL),
            };
            let image = taps_image(&mut self.taps[row * PANEL..], layer.kernel);
            let collect = Collect {
                to: (&image, (0, 0)),
                kept: taps,
                from,
                alphas,
                coefficients: taps,
                channels: columns,
                bias: &[],
                rectify: false,
            };
            // SAFETY: sums of all pairs are there, and room for all taps.
            unsafe { collect.run(pass.isa) };
        }
        self.scatter(rows, columns);
    }

    /// Adds the sums of all slices, slice after slice.
    fn add_slices(&mut self, rows: usize) {
        let (pass, layout) = (self.pass, &self.pass.layout);
        for (pair, total) in self.sums.chunks_exact_mut(PANEL_ROWS * PANEL).enumerate() {
            for slice in 0..pass.cut.slices {
                let start =
                    layout.panel(slice, (self.group, pair), self.panel) + self.first * PANEL;
                // SAFETY: these sums are this piece's.
                let sums = unsafe { pass.sums.part(start..start + rows * PANEL) };
                if slice == 0 {
                    total[..rows * PANEL].copy_from_slice(sums);
                } else {
                    total.iter_mut().zip(sums).for_each(|(total, sum)| *total += *sum);
                }
            }
        }
    }

    /// Copies the taps to their places in the weights' order.
    fn scatter(&mut self, rows: usize, columns: usize) {
        let kernel = self.pass.tiling.layer.kernel;
        for tap in 0..kernel * kernel {
            let taps = &self.taps[tap * PANEL_ROWS * PANEL..][..PANEL_ROWS * PANEL];
            let weight = |from, out| {
                let channels = (self.group, self.first + from, self.panel * PANEL + out);
                let at = (tap / kernel, tap % kernel);
                Layer::weight(self.shape, Direction::Forward, at, channels)
            };
            for out in 0..columns {
                if self.shape.stride == 1 {
                    let start = weight(0, out).expect("every tap of stride 1 is there");
                    // SAFETY: the gradients of these weights are this piece's.
                    let to = unsafe { self.d_weights.part(start..start + rows) };
                    for (from, to) in to.iter_mut().enumerate() {
                        *to = taps[from * PANEL + out];
                    }
                } else {
                    for (from, at) in (0..rows).filter_map(|from| Some((from, weight(from, out)?)))
                    {
                        // SAFETY: as above.
                        unsafe { *self.d_weights.at(at) = taps[from * PANEL + out] };
                    }
                }
            }
        }
    }
}
