//! Forward, and the input gradient, which is the same with kernels turned around.
//!
//! A block of tiles is transformed to one matrix a point pair, each multiplied with its matrix of
//! transformed kernels, and the products are transformed to outputs. Blocks are sized so that what
//! stands between stays in the thread's own cache, or, where the kernels are large, so that these
//! are read seldom enough. A batch with too few blocks for the threads is transformed by all of
//! them together, and each then makes a range of output channels of it.
//!
//! For an image, kernels are most of what is read: those of three taps come half transformed then, as
//! 3 · 8 values in place of 8 · 8, and the second half is done where they are multiplied, with the
//! same bits.
//!
//! An output's sum runs over the channels in order however the work is cut, so cuts may depend on
//! the number of threads and results do not.

use std::ops::Range;

use alexnet_ops::{Activation, ConvShape};

use super::kernels::{HalfLayout, KernelLayout, half_kernels, kernels};
use super::layer::Layer;
use super::points::MOST;
use super::tiling::{Block, Blocking, Field, LINE, PANEL, Tiling};
use super::transform::{Collect, HALF_TAPS, Interpolate, Part, ValueOfHalf, Window, value_of_half};
use crate::Context;
use crate::array::{Array, Direction};
use crate::disjoint::Disjoint;
use crate::isa::{Isa, Kernel};
use crate::matmul::share;
use crate::microkernel::{Combined, Finish, INTERVAL, Left, Right, Store, VECTORS, multiply};
use crate::simd::Vector;

/// `y = activation(x * weights + bias)`
pub(crate) fn forward(
    context: &Context,
    y: &mut [f32],
    x: &[f32],
    weights: &Array,
    bias: &[f32],
    activation: Activation,
    shape: &ConvShape,
) {
    let tiling = Tiling::new(Layer::new(shape, Direction::Forward));
    let finish = Some((&bias[..shape.out_c], activation));
    let y = Disjoint::new(&mut y[..shape.output_len()]);
    pass(context, &y, x, weights, finish, (tiling, shape, Direction::Forward));
}

/// The gradient of the input; for a stride of 1.
pub(crate) fn backward_input(
    context: &Context,
    d_x: &mut [f32],
    d_y: &[f32],
    weights: &Array,
    shape: &ConvShape,
) {
    let tiling = Tiling::new(Layer::new(shape, Direction::Backward));
    let d_x = Disjoint::new(&mut d_x[..shape.input_len()]);
    pass(context, &d_x, d_y, weights, None, (tiling, shape, Direction::Backward));
}

/// What to convolve: tiles, shape and direction.
type Problem<'a> = (Tiling, &'a ConvShape, Direction);

fn pass(
    context: &Context,
    y: &Disjoint<f32>,
    x: &[f32],
    weights: &Array,
    finish: Option<(&[f32], Activation)>,
    (tiling, shape, direction): Problem,
) {
    let layout = KernelLayout::new(&tiling);
    let cut = Cut::new(&tiling, &layout, context.threads.count());
    let problem = (shape, direction);
    let kernels = if cut.half {
        half_kernels(context, weights, &tiling, problem)
    } else {
        kernels(context, weights, &tiling, problem)
    };
    let kernels = &kernels;
    Pass { isa: context.isa, y, x, kernels, finish, tiling, layout, cut }.run(context);
}

/// How the work is cut.
#[derive(Clone, Copy)]
struct Cut {
    blocking: Blocking,
    /// Panels of output channels made at a time.
    panels: usize,
    /// Whether all threads work on a block together.
    shared: bool,
    /// Whether kernels come half transformed.
    half: bool,
    /// Panels from one to the next that a thread takes, most likely.
    next_panel: usize,
}

/// Tiles at most for which kernels come half transformed. Then fetching kernels is most of the work;
/// with more tiles the products take longer.
const HALF_TILES: usize = 14;

/// Floats that stay in a thread's own cache of 2 MiB, with room for kernels to stream through it.
const CACHED: usize = 5 << 16;

/// Panels multiplied before they are transformed to outputs, as long as products stay in the cache:
/// more of them read the inputs' values less often.
const PANELS: usize = 4;

/// Tiles to a block at least: so often is a panel of kernels used once it was fetched.
const TILES: usize = 24;

/// Pieces for each thread at least, so that none waits long for the last.
const PIECES: usize = 4;

impl Cut {
    fn new(tiling: &Tiling, layout: &KernelLayout, threads: usize) -> Self {
        let layer = &tiling.layer;
        let all_panels = layer.out_channels.div_ceil(PANEL);
        let panels = all_panels.min(PANELS);
        let row = tiling.field_len(1, Part::ALL, layer.in_channels)
            + tiling.field_len(1, Part::ALL, panels * PANEL);
        let fewest = TILES.div_ceil(tiling.columns.len());
        // Large kernels cost more to fetch for every block than values that leave the cache.
        let for_kernels = layout.group_len() / (8 * row);
        let panels = if for_kernels > fewest { all_panels } else { panels };
        let best = fewest.max(CACHED / row).max(for_kernels);
        // Smaller blocks where there would be too few.
        let wanted = if threads > 1 { PIECES * threads } else { 1 };
        let all_rows = layer.groups * layer.images * tiling.rows.len();
        let tiles = layer.images * tiling.rows.len() * tiling.columns.len();
        let half = layer.kernel == HALF_TAPS && tiles <= HALF_TILES;
        let blocking = Blocking::of(best.min((all_rows / wanted).max(fewest)), tiling);
        if layer.groups * blocking.count(layer.images) >= wanted {
            return Self { blocking, panels, shared: false, half, next_panel: 1 };
        }
        let blocking = Blocking::of(best, tiling);
        let blocks = layer.groups * blocking.count(layer.images);
        let panels = panels.min((blocks * all_panels / wanted).max(1));
        Self { blocking, panels, shared: true, half, next_panel: threads }
    }
}

/// One convolution of stride 1.
struct Pass<'a> {
    isa: Isa,
    y: &'a Disjoint<'a, f32>,
    x: &'a [f32],
    kernels: &'a [f32],
    finish: Option<(&'a [f32], Activation)>,
    tiling: Tiling,
    layout: KernelLayout,
    cut: Cut,
}

impl Pass<'_> {
    fn run(&self, context: &Context) {
        let blocks = self.tiling.layer.groups * self.cut.blocking.count(self.tiling.layer.images);
        if self.cut.shared {
            self.run_shared(context, blocks);
        } else {
            self.run_apart(context, blocks);
        }
    }

    /// Each block by one thread.
    fn run_apart(&self, context: &Context, blocks: usize) {
        context.threads.for_each(blocks, |worker, block| {
            let mut scratch = context.scratch.own(worker, self.sizes().iter().sum());
            self.make_block(&self.block(block), &mut scratch);
        });
    }

    /// Each block by all threads: first its tiles, or rows of them where a row's pixels are
    /// rearranged at once; then its ranges of output channels.
    fn run_shared(&self, context: &Context, blocks: usize) {
        let [zeros, squares, values_len, products_len] = self.sizes();
        let mut values = context.scratch.shared(0, blocks * values_len);
        let values = Disjoint::new(&mut values);
        let rows = self.cut.blocking.tile_rows(&self.tiling);
        let columns = self.tiling.columns.len();
        let parts = if self.tiling.layer.is_rearranged() { 1 } else { columns };
        context.threads.for_each(blocks * rows * parts, |worker, piece| {
            let (index, row, part) = (piece / parts / rows, piece / parts % rows, piece % parts);
            let block = self.block(index);
            if row < block.len() {
                let mut own = context.scratch.own(worker, zeros + squares);
                let start = values.at(index * values_len);
                let (field, _) = self.fields(start, start, &block);
                let (image, row) = (row % block.images, row / block.images);
                let tiles = (row..row + 1, share(columns, parts, part));
                // SAFETY: the scratch is this piece's, and so are the tiles.
                unsafe { self.interpolate(&field, &block, (image, tiles), &mut own) };
            }
        });
        context.threads.for_each(blocks * self.ranges(), |worker, piece| {
            let (block, range) = (piece / self.ranges(), piece % self.ranges());
            let mut products = context.scratch.own(worker, products_len);
            let start = values.at(block * values_len);
            let block = self.block(block);
            let fields = self.fields(start, products.as_mut_ptr(), &block);
            // SAFETY: the products are this piece's, and so are these outputs.
            unsafe { self.make_range(&fields, &block, range) };
        });
    }

    /// Block `index`, group after group.
    fn block(&self, index: usize) -> Block {
        let images = self.tiling.layer.images;
        let blocks = self.cut.blocking.count(images);
        self.cut.blocking.block(index % blocks, 0..images, index / blocks, &self.tiling)
    }

    /// Floats of zeros, of rearranged rows, of the inputs' values and of products that a block
    /// needs.
    fn sizes(&self) -> [usize; 4] {
        let (layer, rows) = (&self.tiling.layer, self.cut.blocking.tile_rows(&self.tiling));
        let image_rows = self.cut.blocking.rows(&self.tiling) * MOST;
        [
            layer.in_channels.next_multiple_of(LINE),
            layer.squares_len(image_rows).next_multiple_of(LINE),
            self.tiling.field_len(rows, Part::ALL, layer.in_channels),
            self.tiling.field_len(rows, Part::ALL, self.cut.panels * PANEL),
        ]
    }

    /// The block's values and products.
    fn fields(&self, values: *mut f32, products: *mut f32, block: &Block) -> (Field, Field) {
        let size = (block, self.cut.blocking.tile_rows(&self.tiling));
        let field = |start, channels| Field::new(start, &self.tiling, size, Part::ALL, channels);
        (field(values, self.tiling.layer.in_channels), field(products, self.cut.panels * PANEL))
    }
}

impl Pass<'_> {
    /// One block from inputs to outputs, with `scratch` as large as [`Self::sizes`] says.
    fn make_block(&self, block: &Block, scratch: &mut [f32]) {
        let sizes = self.sizes();
        let (own, rest) = scratch.split_at_mut(sizes[0] + sizes[1]);
        let (values, products) = rest.split_at_mut(sizes[2]);
        let fields = self.fields(values.as_mut_ptr(), products.as_mut_ptr(), block);
        for image in 0..block.images {
            let tiles = (0..block.rows, 0..self.tiling.columns.len());
            // SAFETY: the scratch is this piece's.
            unsafe { self.interpolate(&fields.0, block, (image, tiles), own) };
        }
        for range in 0..self.ranges() {
            // SAFETY: as above; the block's outputs are written by no other piece.
            unsafe { self.make_range(&fields, block, range) };
        }
    }

    /// Ranges of output channels.
    fn ranges(&self) -> usize {
        self.tiling.layer.out_channels.div_ceil(self.cut.panels * PANEL)
    }

    /// Outputs of range `range` of output channels from the values of a block.
    ///
    /// # Safety
    /// The products and these outputs are nobody else's.
    unsafe fn make_range(&self, fields: &(Field, Field), block: &Block, range: usize) {
        let all = self.tiling.layer.out_channels;
        let first = range * self.cut.panels * PANEL;
        let columns = (all - first).min(self.cut.panels * PANEL);
        let panel = range * self.cut.panels;
        if self.cut.half {
            for to in 0..columns.div_ceil(PANEL) {
                self.multiply_half(fields, block.group, panel + to, to);
            }
        } else {
            self.multiply_whole(fields, block.group, panel, columns);
        }
        // SAFETY: the caller's promise.
        unsafe { self.collect(&fields.1, block, first, columns) };
    }

    /// The products of panel `from` of kernels, transformed, with `columns` output channels.
    fn multiply_whole(
        &self,
        (values, products): &(Field, Field),
        group: usize,
        from: usize,
        columns: usize,
    ) {
        let depth = self.tiling.layer.in_channels;
        let (p, q) = self.tiling.points();
        for pair in 0..p * q {
            let a = values.matrix(pair);
            let panel = self.layout.panel(group, pair, from);
            let others = (columns.div_ceil(PANEL) - 1) * self.layout.panel_stride();
            self.isa.dispatch(Multiply {
                rows: a.rows,
                depth,
                columns,
                a: Left { start: a.start, row_stride: values.row_stride, depth_stride: 1 },
                kernels: &self.kernels[panel..][..others + depth * PANEL],
                panel_stride: self.layout.panel_stride(),
                to: (products.matrix(pair).start, products.row_stride),
            });
        }
    }

    /// The products of panel `from` of kernels, half transformed, to panel `to`. While those of a
    /// point of columns are multiplied the next one's are fetched, some for each point of rows.
    fn multiply_half(
        &self,
        (values, products): &(Field, Field),
        group: usize,
        from: usize,
        to: usize,
    ) {
        let layout = HalfLayout::new(&self.tiling);
        let depth = self.tiling.layer.in_channels;
        let (ps, qs) = self.tiling.points();
        for (q, p) in (0..qs).flat_map(|q| (0..ps).map(move |p| (q, p))) {
            let pair = p * qs + q;
            let a = values.matrix(pair);
            let kernels = &self.kernels[layout.matrix(group, from, q)..];
            let next = if q + 1 < qs {
                layout.matrix(group, from, q + 1)
            } else {
                layout.matrix(group, from + self.cut.next_panel, 0)
            };
            self.isa.dispatch(MultiplyHalf {
                rows: a.rows,
                depth,
                a: Left { start: a.start, row_stride: values.row_stride, depth_stride: 1 },
                kernels: &kernels[..depth * HalfLayout::DEPTH_STRIDE],
                value: value_of_half(ps, p),
                to: products.matrix(pair).start.wrapping_add(to * PANEL),
                to_stride: products.row_stride,
                next: Next {
                    start: self.kernels.as_ptr().wrapping_add(next + p * LINE),
                    stride: ps * LINE,
                    lines: (INTERVAL * HalfLayout::DEPTH_STRIDE / LINE).div_ceil(ps),
                },
            });
        }
    }

    /// The values of the tiles in some tile rows and columns of image `image` of the block.
    ///
    /// # Safety
    /// These tiles and `own`, zeros and rearranged rows, are as large as [`Self::sizes`] says
    /// and nobody else's.
    unsafe fn interpolate(
        &self,
        values: &Field,
        block: &Block,
        (image, (tile_rows, tile_columns)): (usize, (Range<usize>, Range<usize>)),
        own: &mut [f32],
    ) {
        let (tiling, layer) = (&self.tiling, &self.tiling.layer);
        let (zeros, squares) = own.split_at_mut(self.sizes()[0]);
        zeros.fill(0.0);
        let tile = |row| tiling.rows.tile(block.first_row + row);
        let last = tile(tile_rows.end - 1);
        let rows = tile(tile_rows.start).start..last.start + last.alpha;
        let source = (block.first_image + image, block.group);
        let squares = squares.as_mut_ptr();
        // SAFETY: the caller's promise.
        let source = unsafe { layer.input_image(self.isa, self.x, source, rows, squares) };
        for tile_row in tile_rows {
            let row = tile(tile_row);
            for tile_column in tile_columns.clone() {
                let column = tiling.columns.tile(tile_column);
                let at = (row.start, column.start);
                let interpolate = Interpolate {
                    to: values.tile(tile_row * block.images + image, tile_column),
                    from: Window { image: &source, at, zeros: zeros.as_ptr() },
                    alphas: (row.alpha, column.alpha),
                    part: Part::ALL,
                    channels: layer.in_channels,
                };
                // SAFETY: the caller's promise.
                unsafe { interpolate.run(self.isa) };
            }
        }
    }

    /// Outputs from products, for `channels` output channels from `first` on.
    ///
    /// # Safety
    /// `products` are this block's, and nobody else writes these outputs.
    unsafe fn collect(&self, products: &Field, block: &Block, first: usize, channels: usize) {
        let (tiling, layer) = (&self.tiling, &self.tiling.layer);
        let bias = self.finish.map_or(&[][..], |(bias, _)| {
            &bias[block.group * layer.out_channels + first..][..channels]
        });
        let rectify = matches!(self.finish, Some((_, Activation::Relu)));
        for tile_row in 0..block.len() {
            let image = (block.first_image + tile_row % block.images, block.group);
            let image = layer.output_image(self.y.at(first), image);
            let row = tiling.rows.tile(block.first_row + tile_row / block.images);
            for tile_column in 0..tiling.columns.len() {
                let column = tiling.columns.tile(tile_column);
                let collect = Collect {
                    to: (&image, (row.start, column.start)),
                    kept: tiling.kept(&row, &column),
                    from: products.tile(tile_row, tile_column),
                    alphas: (row.alpha, column.alpha),
                    coefficients: (row.outputs, column.outputs),
                    channels,
                    bias,
                    rectify,
                };
                // SAFETY: the tile's products were written; what is kept lies in the image.
                unsafe { collect.run(self.isa) };
            }
        }
    }
}

/// The products of one point pair for some panels of output channels.
struct Multiply<'a> {
    rows: usize,
    depth: usize,
    columns: usize,
    a: Left,
    kernels: &'a [f32],
    panel_stride: usize,
    /// Start and row stride.
    to: (*mut f32, usize),
}

impl Kernel for Multiply<'_> {
    type Output = ();
    #[inline(always)]
    fn run<V: Vector>(self) {
        if self.rows == 0 {
            return;
        }
        for column in (0..self.columns).step_by(VECTORS * V::LANES) {
            let panel = &self.kernels[column / PANEL * self.panel_stride..];
            let start = panel.as_ptr().wrapping_add(column % PANEL);
            let b = Right { start, depth_stride: PANEL };
            let store = Store::<false> { start: self.to.0.wrapping_add(column), stride: self.to.1 };
            // SAFETY: a block's matrices have so many rows, padded to whole panels.
            unsafe { multiply::<V>(self.rows, self.depth, self.a, b, &store) };
        }
    }
}

/// The products of one point pair for a panel of half transformed kernels.
struct MultiplyHalf<'a> {
    rows: usize,
    depth: usize,
    a: Left,
    kernels: &'a [f32],
    value: ValueOfHalf,
    to: *mut f32,
    to_stride: usize,
    next: Next,
}

impl Kernel for MultiplyHalf<'_> {
    type Output = ();
    #[inline(always)]
    fn run<V: Vector>(self) {
        let Self { rows, depth, a, to, to_stride: stride, .. } = self;
        if rows == 0 {
            return;
        }
        let depth_stride = HalfLayout::DEPTH_STRIDE;
        for column in (0..PANEL).step_by(VECTORS * V::LANES) {
            let store = Store { start: to.wrapping_add(column), stride };
            let next = (column == 0).then_some(self.next);
            let finish = Fetching { store, next };
            let kernels = self.kernels.as_ptr().wrapping_add(column);
            // SAFETY: a block's matrices have so many rows, padded to whole panels.
            unsafe {
                match self.value {
                    ValueOfHalf::Row(row) => {
                        let b = Right { start: kernels.wrapping_add(row * PANEL), depth_stride };
                        multiply::<V>(rows, depth, a, b, &finish);
                    }
                    ValueOfHalf::Sum(terms) => {
                        let terms = terms.map(|(row, factor)| (row * PANEL, factor));
                        let b = Combined { start: kernels, depth_stride, terms };
                        multiply::<V>(rows, depth, a, b, &finish);
                    }
                }
            }
        }
    }
}

/// Kernels that are multiplied next: every `stride`-th float begins a line of them, of which `lines`
/// are asked for an interval.
#[derive(Clone, Copy)]
struct Next {
    start: *const f32,
    stride: usize,
    lines: usize,
}

/// Stores sums; while they are formed, fetches what is multiplied next.
struct Fetching {
    store: Store<false>,
    next: Option<Next>,
}

impl<V: Vector> Finish<V> for Fetching {
    #[inline(always)]
    unsafe fn finish<const W: usize>(&self, row: usize, sums: [V; W]) {
        // SAFETY: the caller's promise.
        unsafe { self.store.finish(row, sums) };
    }
    #[inline(always)]
    fn interval(&self, rows: Range<usize>, interval: usize) {
        let Some(Next { start, stride, lines }) = self.next.filter(|_| rows.start == 0) else {
            return;
        };
        for line in interval * lines..(interval + 1) * lines {
            V::prefetch_outer(start.wrapping_add(line * stride));
        }
    }
}
