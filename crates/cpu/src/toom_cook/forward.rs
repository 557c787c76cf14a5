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
use super::tiling::{Block, Blocking, Field, LINE, PANEL, Tiling, odd_lines};
use super::transform::{Finish, Lanes, collect, interpolate};
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
    /// Whether a block is all threads' together.
    shared: bool,
}

/// Floats that stay in a thread's own cache of 2 MiB, with room for what streams through it.
const CACHED: usize = 3 << 17;

/// Panels multiplied before they are transformed to outputs: wider ones read the inputs' values
/// less often, narrower ones keep the products in the cache.
const PANELS: usize = 2;

impl Cut {
    fn new(tiling: &Tiling, threads: usize) -> Self {
        let layer = &tiling.layer;
        let panels = layer.out_channels.div_ceil(PANEL).min(PANELS);
        let values = tiling.field_len(1, layer.in_channels);
        let products = tiling.field_len(1, panels * PANEL);
        let in_cache = (CACHED / (values + products)).max(1);
        let mut tile_rows = in_cache;
        if let Some(rows) = debug_rows() {
            tile_rows = rows;
        }
        let blocking = Blocking::of(tile_rows, tiling);
        let _ = threads;
        Self {
            blocking,
            panels: debug_panels().unwrap_or(panels).min(layer.out_channels.div_ceil(PANEL)),
            shared: false,
        }
    }
}
fn debug_rows() -> Option<usize> {
    std::env::var("TOOM_ROWS").ok()?.parse().ok()
}
fn debug_panels() -> Option<usize> {
    std::env::var("TOOM_PANELS").ok()?.parse().ok()
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
        let cut = Cut::new(&tiling, context.threads.count());
        Self { y, x, kernels, finish, tiling, layout: KernelLayout::new(&tiling), cut }
    }

    fn run(&self, context: &Context) {
        let blocks = self.cut.blocking.count(&self.tiling);
        let sizes = self.sizes();
        context.threads.for_each(self.tiling.layer.groups * blocks, |worker, piece| {
            let block = self.cut.blocking.block(piece % blocks, piece / blocks, &self.tiling);
            let mut scratch = context.scratch.own(worker, sizes.iter().sum());
            let (zeros, rest) = scratch.split_at_mut(sizes[0]);
            let (squares, rest) = rest.split_at_mut(sizes[1]);
            let (values, products) = rest.split_at_mut(sizes[2]);
            context.isa.dispatch(WholeBlock {
                pass: self,
                block,
                zeros,
                squares,
                values,
                products,
            });
        });
    }

    /// Floats of zeros, of rearranged rows, of the inputs' values and of products that a block
    /// needs.
    fn sizes(&self) -> [usize; 4] {
        let (layer, rows) = (&self.tiling.layer, self.cut.blocking.tile_rows());
        let image_rows = self.cut.blocking.rows * super::points::MOST;
        [
            layer.in_channels.next_multiple_of(LINE),
            layer.squares_len(image_rows).next_multiple_of(LINE),
            self.tiling.field_len(rows, layer.in_channels),
            self.tiling.field_len(rows, self.cut.panels * PANEL),
        ]
    }

    fn field(&self, start: *mut f32, block: &Block, channels: usize) -> Field {
        let tile_rows = self.cut.blocking.tile_rows();
        Field::new(start, &self.tiling, (block, tile_rows), channels)
    }
}

/// One block from inputs to outputs.
struct WholeBlock<'a> {
    pass: &'a Pass<'a>,
    block: Block,
    zeros: &'a mut [f32],
    squares: &'a mut [f32],
    values: &'a mut [f32],
    products: &'a mut [f32],
}

impl Kernel for WholeBlock<'_> {
    type Output = ();
    #[inline(always)]
    fn run<V: Vector>(self) {
        let Self { pass, block, zeros, squares, values, products } = self;
        zeros.fill(0.0);
        let values = pass.field(values.as_mut_ptr(), &block, pass.tiling.layer.in_channels);
        for image in 0..block.images {
            // SAFETY: the scratch is this piece's, as large as `sizes` says.
            unsafe { pass.interpolate::<V>(&values, &block, image, zeros, squares) };
        }
        let all = pass.tiling.layer.out_channels.div_ceil(PANEL);
        for first in (0..all).step_by(pass.cut.panels) {
            let panels = first..(first + pass.cut.panels).min(all);
            let columns = pass.cut.panels * PANEL;
            let products = pass.field(products.as_mut_ptr(), &block, columns);
            // SAFETY: as above; the block's outputs are written by no other piece.
            unsafe {
                pass.multiply::<V>(&products, &values, &block, panels.clone());
                pass.collect::<V>(&products, &block, panels);
            }
        }
    }
}

impl Pass<'_> {
    /// The values of image `image` of the block.
    ///
    /// # Safety
    /// `values`, `squares` and `zeros` are as large as [`Self::sizes`] says and nobody else's.
    #[inline(always)]
    unsafe fn interpolate<V: Vector>(
        &self,
        values: &Field,
        block: &Block,
        image: usize,
        zeros: &[f32],
        squares: &mut [f32],
    ) {
        let (tiling, layer) = (&self.tiling, &self.tiling.layer);
        let last = tiling.rows.tile(block.first_row + block.rows - 1);
        let rows = tiling.rows.tile(block.first_row).start..last.start + last.alpha;
        let source = (block.first_image + image, block.group);
        // SAFETY: the caller's promise.
        let source = unsafe { layer.input_image(self.x, source, rows, squares.as_mut_ptr()) };
        for tile_row in 0..block.rows {
            let row = tiling.rows.tile(block.first_row + tile_row);
            for tile_column in 0..tiling.columns.len() {
                let column = tiling.columns.tile(tile_column);
                let alphas = (row.alpha, column.alpha);
                let from = source.window((row.start, column.start), alphas, zeros.as_ptr());
                let to = values.tile(tile_row * block.images + image, tile_column);
                // SAFETY: the window's addresses are pixels of the image, or zeros for all
                // channels; the tile's are rows of its matrices.
                unsafe { interpolate::<V>(&to, &from, alphas, layer.in_channels) };
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
                    collect::<V>((&to, kept), &from, alphas, outputs, channels, &mut finish);
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
