//! Forward, and the input gradient, which is the same with kernels turned around.
//!
//! A block of tiles is transformed to one matrix a point pair, each multiplied with its matrix of
//! transformed kernels, and the products are transformed to outputs. Blocks are sized so that what
//! stands between stays in the thread's own cache, or, where the kernels are large, so that these
//! are read seldom enough. A batch with too few blocks for the threads is transformed by all of
//! them together, and each then makes a range of output channels of it.
//!
//! An output's sum runs over the channels in order however the work is cut, so cuts may depend on
//! the number of threads and results do not.

use alexnet_ops::{Activation, ConvShape};

use super::kernels::{KernelLayout, kernels};
use super::layer::Layer;
use super::tiling::{Block, Blocking, Field, LINE, PANEL, Tiling};
use super::transform::{Finish, Lanes, Part, between, collect, interpolate};
use crate::Context;
use crate::array::{Array, Direction};
use crate::disjoint::Disjoint;
use crate::isa::Kernel;
use crate::microkernel::{Left, Right, Store, VECTORS, multiply};
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
    let kernels = kernels(context, weights, &tiling, (shape, Direction::Forward));
    let finish = Some((&bias[..shape.out_c], activation));
    let y = Disjoint::new(&mut y[..shape.output_len()]);
    Pass::new(context, &y, x, &kernels, finish, tiling).run(context);
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
    let kernels = kernels(context, weights, &tiling, (shape, Direction::Backward));
    let d_x = Disjoint::new(&mut d_x[..shape.input_len()]);
    Pass::new(context, &d_x, d_y, &kernels, None, tiling).run(context);
}

/// How the work is cut.
#[derive(Clone, Copy)]
struct Cut {
    blocking: Blocking,
    /// Panels of output channels made at a time.
    panels: usize,
    /// Whether all threads work on a block together.
    shared: bool,
}

/// Floats that stay in a thread's own cache of 2 MiB, with room for kernels to stream through it.
const CACHED: usize = 5 << 16;

/// Panels multiplied before they are transformed to outputs: more read the inputs' values less
/// often, fewer keep the products in the cache.
const PANELS: usize = 4;

/// Tiles to a block at least: so often is a panel of kernels used once it was fetched.
const TILES: usize = 20;

/// Pieces for each thread at least, so that none waits long for the last.
const PIECES: usize = 4;

impl Cut {
    fn new(tiling: &Tiling, layout: &KernelLayout, threads: usize) -> Self {
        let layer = &tiling.layer;
        let all_panels = layer.out_channels.div_ceil(PANEL);
        let panels = debug("TOOM_PANELS").unwrap_or(PANELS).min(all_panels);
        let row = tiling.field_len(1, Part::ALL, layer.in_channels)
            + tiling.field_len(1, Part::ALL, panels * PANEL);
        // Large kernels cost more to fetch for every block than values that leave the cache.
        let for_kernels = layout.group_len() / (8 * row);
        let fewest = TILES.div_ceil(tiling.columns.len());
        let best = (CACHED / row).max(for_kernels).max(fewest);
        let best = debug("TOOM_ROWS").unwrap_or(best);
        // Smaller blocks where there would be too few.
        let wanted = if threads > 1 { PIECES * threads } else { 1 };
        let all_rows = layer.groups * layer.images * tiling.rows.len();
        let blocking = Blocking::of(best.min((all_rows / wanted).max(fewest)), tiling);
        if layer.groups * blocking.count(tiling) >= wanted {
            return Self { blocking, panels, shared: false };
        }
        let blocking = Blocking::of(best, tiling);
        let blocks = layer.groups * blocking.count(tiling);
        let panels = panels.min((blocks * all_panels / wanted).max(1));
        Self { blocking, panels, shared: true }
    }
}
fn debug(name: &str) -> Option<usize> {
    std::env::var(name).ok()?.parse().ok()
}

/// One convolution of stride 1.
struct Pass<'a> {
    y: &'a Disjoint<'a, f32>,
    x: &'a [f32],
    kernels: &'a [f32],
    finish: Option<(&'a [f32], Activation)>,
    tiling: Tiling,
    layout: KernelLayout,
    cut: Cut,
}

impl<'a> Pass<'a> {
    fn new(
        context: &Context,
        y: &'a Disjoint<'a, f32>,
        x: &'a [f32],
        kernels: &'a [f32],
        finish: Option<(&'a [f32], Activation)>,
        tiling: Tiling,
    ) -> Self {
        let layout = KernelLayout::new(&tiling);
        let cut = Cut::new(&tiling, &layout, context.threads.count());
        Self { y, x, kernels, finish, tiling, layout, cut }
    }

    fn run(&self, context: &Context) {
        let blocks = self.tiling.layer.groups * self.cut.blocking.count(&self.tiling);
        if self.cut.shared {
            self.run_shared(context, blocks);
        } else {
            self.run_apart(context, blocks);
        }
    }

    /// Each block by one thread.
    fn run_apart(&self, context: &Context, blocks: usize) {
        let sizes = self.sizes();
        context.threads.for_each(blocks, |worker, block| {
            let mut scratch = context.scratch.own(worker, sizes.iter().sum());
            let (own, rest) = scratch.split_at_mut(sizes[0] + sizes[1]);
            let (values, products) = rest.split_at_mut(sizes[2]);
            let block = self.block(block);
            context.isa.dispatch(WholeBlock { pass: self, block, own, values, products });
        });
    }

    /// Each block by all threads: first its tile rows, then its ranges of output channels.
    fn run_shared(&self, context: &Context, blocks: usize) {
        let sizes = self.sizes();
        let mut values = context.scratch.shared(0, blocks * sizes[2]);
        let values = Disjoint::new(&mut values);
        let rows = self.cut.blocking.tile_rows();
        context.threads.for_each(blocks * rows, |worker, piece| {
            let block = self.block(piece / rows);
            if piece % rows < block.len() {
                let mut own = context.scratch.own(worker, sizes[0] + sizes[1]);
                let values = values.at(piece / rows * sizes[2]);
                let row = piece % rows;
                context.isa.dispatch(TileRow { pass: self, block, row, own: &mut own, values });
            }
        });
        let ranges = self.tiling.layer.out_channels.div_ceil(self.cut.panels * PANEL);
        context.threads.for_each(blocks * ranges, |worker, piece| {
            let mut products = context.scratch.own(worker, sizes[3]);
            let block = self.block(piece / ranges);
            let values = values.at(piece / ranges * sizes[2]);
            let (range, products) = (piece % ranges, products.as_mut_ptr());
            context.isa.dispatch(Range { pass: self, block, range, values, products });
        });
    }

    /// Block `index`, group after group.
    fn block(&self, index: usize) -> Block {
        let blocks = self.cut.blocking.count(&self.tiling);
        self.cut.blocking.block(index % blocks, index / blocks, &self.tiling)
    }

    /// Floats of zeros, of rearranged rows, of the inputs' values and of products that a block
    /// needs.
    fn sizes(&self) -> [usize; 4] {
        let (layer, rows) = (&self.tiling.layer, self.cut.blocking.tile_rows());
        let image_rows = self.cut.blocking.rows * super::points::MOST;
        [
            layer.in_channels.next_multiple_of(LINE),
            layer.squares_len(image_rows).next_multiple_of(LINE),
            self.tiling.field_len(rows, Part::ALL, layer.in_channels),
            self.tiling.field_len(rows, Part::ALL, self.cut.panels * PANEL),
        ]
    }

    /// The block's values and products.
    #[inline(always)]
    fn fields(&self, values: *mut f32, products: *mut f32, block: &Block) -> (Field, Field) {
        let size = (block, self.cut.blocking.tile_rows());
        let field = |start, channels| Field::new(start, &self.tiling, size, Part::ALL, channels);
        (field(values, self.tiling.layer.in_channels), field(products, self.cut.panels * PANEL))
    }
}

/// One block from inputs to outputs.
struct WholeBlock<'a> {
    pass: &'a Pass<'a>,
    block: Block,
    /// Zeros and rearranged rows.
    own: &'a mut [f32],
    values: &'a mut [f32],
    products: &'a mut [f32],
}

impl Kernel for WholeBlock<'_> {
    type Output = ();
    #[inline(always)]
    fn run<V: Vector>(self) {
        let Self { pass, block, own, values, products } = self;
        let fields = pass.fields(values.as_mut_ptr(), products.as_mut_ptr(), &block);
        let ranges = pass.tiling.layer.out_channels.div_ceil(pass.cut.panels * PANEL);
        for image in 0..block.images {
            // SAFETY: the scratch is this piece's, as large as `sizes` says.
            unsafe { pass.interpolate::<V>(&fields.0, &block, (image, 0..block.rows), own) };
        }
        for range in 0..ranges {
            // SAFETY: as above; the block's outputs are written by no other piece.
            unsafe { pass.make_range::<V>(&fields, &block, range) };
        }
    }
}

/// The values of one tile row of a block.
struct TileRow<'a> {
    pass: &'a Pass<'a>,
    block: Block,
    row: usize,
    own: &'a mut [f32],
    values: *mut f32,
}

impl Kernel for TileRow<'_> {
    type Output = ();
    #[inline(always)]
    fn run<V: Vector>(self) {
        let Self { pass, block, row, own, values } = self;
        let (values, _) = pass.fields(values, values, &block);
        let (image, row) = (row % block.images, row / block.images);
        // SAFETY: the scratch is this piece's, and so is the tile row.
        unsafe { pass.interpolate::<V>(&values, &block, (image, row..row + 1), own) };
    }
}

/// A range of output channels of a block whose values are there.
struct Range<'a> {
    pass: &'a Pass<'a>,
    block: Block,
    range: usize,
    values: *mut f32,
    products: *mut f32,
}

impl Kernel for Range<'_> {
    type Output = ();
    #[inline(always)]
    fn run<V: Vector>(self) {
        let Self { pass, block, range, values, products } = self;
        let fields = pass.fields(values, products, &block);
        // SAFETY: the products are this piece's, and so are these outputs.
        unsafe { pass.make_range::<V>(&fields, &block, range) };
    }
}

impl Pass<'_> {
    /// Outputs of range `range` of output channels from the values of a block.
    ///
    /// # Safety
    /// The products and these outputs are nobody else's.
    #[inline(always)]
    unsafe fn make_range<V: Vector>(
        &self,
        (values, products): &(Field, Field),
        block: &Block,
        range: usize,
    ) {
        let all = self.tiling.layer.out_channels.div_ceil(PANEL);
        let first = range * self.cut.panels;
        let panels = first..all.min(first + self.cut.panels);
        // SAFETY: the caller's promise.
        unsafe {
            self.multiply::<V>(products, values, block, panels.clone());
            self.collect::<V>(products, block, panels);
        }
    }

    /// The values of tile rows `tile_rows` of image `image` of the block.
    ///
    /// # Safety
    /// These tile rows and `own`, zeros and rearranged rows, are as large as [`Self::sizes`] says
    /// and nobody else's.
    #[inline(always)]
    unsafe fn interpolate<V: Vector>(
        &self,
        values: &Field,
        block: &Block,
        (image, tile_rows): (usize, std::ops::Range<usize>),
        own: &mut [f32],
    ) {
        let (tiling, layer) = (&self.tiling, &self.tiling.layer);
        let (zeros, squares) = own.split_at_mut(self.sizes()[0]);
        zeros.fill(0.0);
        let last = tiling.rows.tile(block.first_row + tile_rows.end - 1);
        let rows =
            tiling.rows.tile(block.first_row + tile_rows.start).start..last.start + last.alpha;
        let source = (block.first_image + image, block.group);
        // SAFETY: the caller's promise.
        let source = unsafe { layer.input_image::<V>(self.x, source, rows, squares.as_mut_ptr()) };
        let mut between = between::<V>();
        for tile_row in tile_rows {
            let row = tiling.rows.tile(block.first_row + tile_row);
            for tile_column in 0..tiling.columns.len() {
                let column = tiling.columns.tile(tile_column);
                let alphas = (row.alpha, column.alpha);
                let from = source.window((row.start, column.start), alphas, zeros.as_ptr());
                let to = values.tile(tile_row * block.images + image, tile_column);
                let channels = layer.in_channels;
                // SAFETY: the window's addresses are pixels of the image, or zeros for all
                // channels; the tile's are rows of its matrices.
                unsafe {
                    interpolate::<V>(&mut between, &to, &from, alphas, Part::ALL, channels);
                }
            }
        }
    }

    /// The products for output channels `panels`.
    ///
    /// # Safety
    /// `products` and `values` are this block's.
    #[inline(always)]
    unsafe fn multiply<V: Vector>(
        &self,
        products: &Field,
        values: &Field,
        block: &Block,
        panels: std::ops::Range<usize>,
    ) {
        let (rows, columns) = self.tiling.points();
        let depth = self.tiling.layer.in_channels;
        for pair in 0..rows * columns {
            let (to, from) = (products.matrix(pair), values.matrix(pair));
            if from.rows == 0 {
                continue;
            }
            let a = Left { start: from.start, row_stride: values.row_stride, depth_stride: 1 };
            for (index, panel) in panels.clone().enumerate() {
                let first = self.layout.panel(block.group, pair, panel);
                let kernels = &self.kernels[first..][..depth * PANEL];
                let present = self.tiling.layer.out_channels - panel * PANEL;
                for part in (0..PANEL.min(present)).step_by(VECTORS * V::LANES) {
                    let start = to.start.wrapping_add(index * PANEL + part);
                    let b =
                        Right { start: kernels.as_ptr().wrapping_add(part), depth_stride: PANEL };
                    let store = Store::<false> { start, stride: products.row_stride };
                    // SAFETY: the matrices have `from.rows` rows.
                    unsafe { multiply::<V>(from.rows, depth, a, b, &store) };
                }
            }
        }
    }

    /// Outputs from products, for output channels `panels`.
    ///
    /// # Safety
    /// `products` are this block's, and nobody else writes these outputs.
    #[inline(always)]
    unsafe fn collect<V: Vector>(
        &self,
        products: &Field,
        block: &Block,
        panels: std::ops::Range<usize>,
    ) {
        let (tiling, layer) = (&self.tiling, &self.tiling.layer);
        let first = panels.start * PANEL;
        let channels = (panels.len() * PANEL).min(layer.out_channels - first);
        let bias = self.finish.map_or(&[][..], |(bias, _)| {
            &bias[block.group * layer.out_channels + first..][..channels]
        });
        let rectify = matches!(self.finish, Some((_, Activation::Relu)));
        let mut finish = Finishing { bias, rectify, vector: V::zero() };
        let mut between = between::<V>();
        for tile_row in 0..block.len() {
            let image = (block.first_image + tile_row % block.images, block.group);
            let image = layer.output_image(self.y.at(first), image);
            let row = tiling.rows.tile(block.first_row + tile_row / block.images);
            for tile_column in 0..tiling.columns.len() {
                let column = tiling.columns.tile(tile_column);
                let to = image.lattice((row.start, column.start));
                let from = products.tile(tile_row, tile_column);
                let kept = tiling.kept(&row, &column);
                let (alphas, outputs) = ((row.alpha, column.alpha), (row.outputs, column.outputs));
                // SAFETY: the tile's products were written; what is kept lies in the image.
                unsafe {
                    collect::<V>(
                        &mut between,
                        (&to, kept),
                        &from,
                        alphas,
                        outputs,
                        channels,
                        &mut finish,
                    );
                }
            }
        }
    }
}

/// Bias and activation of the channels at hand.
struct Finishing<'a, V> {
    /// Empty for none.
    bias: &'a [f32],
    rectify: bool,
    vector: V,
}

impl<V: Vector> Finish<V> for Finishing<'_, V> {
    #[inline(always)]
    fn begin(&mut self, lanes: Lanes) {
        if !self.bias.is_empty() {
            let bias = &self.bias[lanes.offset..][..lanes.count];
            // SAFETY: so many floats.
            self.vector = unsafe { V::load_part(bias.as_ptr(), lanes.count) };
        }
    }
    #[inline(always)]
    fn finish(&self, value: V) -> V {
        let sum = value.add(self.vector);
        if self.rectify { sum.relu() } else { sum }
    }
}
