//! Convolution on the matrix unit, forward and for the input gradient, without unfolding.
//!
//! Pixels of an image are split into bf16 parts and laid out in a line ([`Raster`]), 32 channels
//! of all pixels after another 32. A tile of A is then 16 (or fewer) neighbouring pixels of one
//! such chunk, read where they lie: a tap only moves the address. A tile of B is a chunk of 32 input
//! by 16 output channels of one tap. For a strip of four to six tiles of pixels by 16 output
//! channels all taps and chunks are summed in registers; chunks run outermost, so that the pixels
//! under all taps come from the inner cache. The second cache (2 MiB) holds the images of a piece
//! and the tiles of B of 16 output channels.

use alexnet_ops::{Activation, ConvShape, Precision};

use super::raster::Raster;
use super::split::{join, lanes, load, rectified, split, split_pairs, transpose};
use super::tiles::{DEPTH, ROW_BYTES, Strip, StripSums, TILE, TILE_BYTES, TILE_SUMS, Tiles};
use crate::Context;
use crate::array::{Array, Direction, Form};
use crate::disjoint::Disjoint;

use std::arch::x86_64::*;

/// Bytes of split pixels a piece works on, unless one image needs more.
const PIECE_BYTES: usize = 896 << 10;

/// Whether [`backward_input`] computes this convolution: the adjoint's padding must not be negative.
pub(crate) fn has_backward_input(shape: &ConvShape) -> bool {
    shape.stride == 1 && shape.pad < shape.kernel && fills_tiles(shape)
}

/// Whether [`forward`] and the weight gradient compute this convolution.
pub(crate) fn has_forward(shape: &ConvShape) -> bool {
    shape.stride == 1 && fills_tiles(shape)
}

/// Tiles are 32 channels deep: with few channels much of their work is for nothing, and Toom-Cook,
/// which rounds less in small sums, is as fast.
fn fills_tiles(shape: &ConvShape) -> bool {
    const CHANNELS_MIN: usize = 64;
    shape.in_c.min(shape.out_c) / shape.groups >= CHANNELS_MIN
}

/// `y = activation(x * weights + bias)`.
pub(crate) fn forward(
    context: &Context,
    y: &mut [f32],
    x: &[f32],
    weights: &Array,
    bias: &[f32],
    activation: Activation,
    shape: &ConvShape,
) {
    let relu = activation == Activation::Relu;
    let run = Run { x, y: Disjoint::new(y), weights, bias: Some(bias), relu, shape };
    run.on(context, Direction::Forward);
}

/// `d_x` from `d_y`: the convolution of `d_y` with the kernels turned over and their channels
/// exchanged.
pub(crate) fn backward_input(
    context: &Context,
    d_x: &mut [f32],
    d_y: &[f32],
    weights: &Array,
    shape: &ConvShape,
) {
    let run = Run { x: d_y, y: Disjoint::new(d_x), weights, bias: None, relu: false, shape };
    run.on(context, Direction::Backward);
}

/// The convolution whose forward pass is the input gradient of `shape`.
fn adjoint(shape: &ConvShape) -> ConvShape {
    ConvShape {
        in_h: shape.out_h,
        in_w: shape.out_w,
        in_c: shape.out_c,
        out_h: shape.in_h,
        out_w: shape.in_w,
        out_c: shape.in_c,
        pad: shape.kernel - 1 - shape.pad,
        ..*shape
    }
}

/// One call.
struct Run<'a> {
    x: &'a [f32],
    y: Disjoint<'a, f32>,
    weights: &'a Array,
    bias: Option<&'a [f32]>,
    relu: bool,
    /// As the caller has it.
    shape: &'a ConvShape,
}

impl Run<'_> {
    fn on(&self, context: &Context, direction: Direction) {
        match context.precision {
            Precision::F32 => self.in_parts::<2>(context, direction),
            Precision::Bf16 => self.in_parts::<1>(context, direction),
        }
    }

    fn in_parts<const PARTS: usize>(&self, context: &Context, direction: Direction) {
        let computed = match direction {
            Direction::Forward => *self.shape,
            Direction::Backward => adjoint(self.shape),
        };
        let layout = Layout::new::<PARTS>(&computed);
        let form = Form::ConvTiles(ConvShape { batch: 0, ..*self.shape }, direction);
        let tiles = self.weights.form(form, layout.weight_floats(), |tiles| {
            pack_weights::<PARTS>(context, tiles, self.weights, &layout, direction);
        });
        let mut moves = context.scratch.shared(0, layout.steps() * 2);
        let moves = layout.moves(&mut moves);
        let images = layout.images_at_once;
        let groups_of_images = computed.batch.div_ceil(images);
        // Few images: each is split by several workers, which share its output channels.
        let blocks = layout.all_blocks();
        let shares = (2 * context.threads.count()).div_ceil(groups_of_images).min(blocks);
        context.threads.for_each(groups_of_images * shares, |worker, piece| {
            let (first, share) = (piece / shares * images, piece % shares);
            let part = Part {
                run: self,
                layout: &layout,
                tiles: &tiles,
                moves,
                first,
                images: images.min(computed.batch - first),
                blocks: share * blocks / shares..(share + 1) * blocks / shares,
            };
            let mut own = context.scratch.own(worker, layout.line_floats());
            let line = &mut own[..layout.line_floats()];
            // SAFETY: the device computes with AMX, so all instructions used are there.
            unsafe {
                part.split_images::<PARTS>(line);
                part.multiply::<PARTS>(line);
            }
        });
    }
}

/// Where everything lies for a convolution with stride 1.
struct Layout {
    shape: ConvShape,
    raster: Raster,
    /// Chunks of 32 input channels in a group, and blocks of 16 output channels.
    chunks: usize,
    blocks: usize,
    images_at_once: usize,
    cover: Cover,
    /// Bytes of a pixel in a chunk, and of a step of B.
    pixel_bytes: usize,
    step_bytes: usize,
}

/// How output places are cut into tiles of at most 16.
#[derive(Clone, Copy)]
enum Cover {
    /// Each row of outputs into so many nearly equal parts of at most this length.
    Rows { parts: usize, len: usize },
    /// The whole line, gaps included: better for short rows.
    Line,
}

impl Layout {
    fn new<const PARTS: usize>(shape: &ConvShape) -> Self {
        let raster = Raster::new(shape);
        let chunks = (shape.in_c / shape.groups).div_ceil(DEPTH);
        let pixel_bytes = PARTS * ROW_BYTES;
        let image_bytes = raster.image() * chunks * shape.groups * pixel_bytes;
        Self {
            shape: *shape,
            raster,
            chunks,
            blocks: (shape.out_c / shape.groups).div_ceil(TILE),
            images_at_once: (PIECE_BYTES / image_bytes).clamp(1, shape.batch),
            cover: Cover::cheapest(shape, &raster),
            pixel_bytes,
            step_bytes: PARTS * TILE_BYTES,
        }
    }

    fn taps(&self) -> usize {
        self.shape.kernel * self.shape.kernel
    }
    /// Terms of a sum, in units of 32.
    fn steps(&self) -> usize {
        self.chunks * self.taps()
    }
    fn all_blocks(&self) -> usize {
        self.shape.groups * self.blocks
    }
    fn chunk_pixels(&self) -> usize {
        self.raster.len(self.images_at_once)
    }
    /// Floats of memory that split images of a piece take.
    fn line_floats(&self) -> usize {
        self.shape.groups * self.chunks * self.chunk_pixels() * self.pixel_bytes / 4
    }
    fn weight_floats(&self) -> usize {
        self.all_blocks() * self.steps() * self.step_bytes / 4
    }

    /// Bytes from the pixel under each step's tap to that under the next one's, the first from the
    /// tile's place.
    fn moves<'m>(&self, memory: &'m mut [f32]) -> &'m [isize] {
        // SAFETY: any bits are an `isize`.
        let (before, moves, _) = unsafe { memory.align_to_mut::<isize>() };
        debug_assert!(before.is_empty());
        let moves = &mut moves[..self.steps()];
        let mut last = 0;
        for (step, to_next) in moves.iter_mut().enumerate() {
            let (chunk, tap) = (step / self.taps(), step % self.taps());
            let (r, s) = (tap / self.shape.kernel, tap % self.shape.kernel);
            let pixel = chunk * self.chunk_pixels() + self.raster.tap(r, s);
            let offset = (pixel * self.pixel_bytes) as isize;
            *to_next = offset - last;
            last = offset;
        }
        moves
    }
}

impl Cover {
    /// By the measured time of a tile instruction with `len` rows: about 12 + len.
    fn cheapest(shape: &ConvShape, raster: &Raster) -> Self {
        let parts = shape.out_w.div_ceil(TILE);
        let len = shape.out_w.div_ceil(parts);
        let by_rows = shape.out_h * parts * (12 + len);
        let by_line = raster.image() * (12 + TILE) / TILE;
        if by_rows <= by_line { Self::Rows { parts, len } } else { Self::Line }
    }

    fn tile_rows(self) -> usize {
        match self {
            Self::Rows { len, .. } => len,
            Self::Line => TILE,
        }
    }

    fn tiles(self, images: usize, shape: &ConvShape, raster: &Raster) -> usize {
        match self {
            Self::Rows { parts, .. } => images * shape.out_h * parts,
            Self::Line => (images * raster.image()).div_ceil(TILE),
        }
    }

    /// The first place of tile `tile`.
    fn first_place(self, tile: usize, shape: &ConvShape, raster: &Raster) -> usize {
        match self {
            Self::Rows { parts, len } => {
                let row = tile / parts;
                raster.output(row / shape.out_h, row % shape.out_h, tile % parts * len)
            }
            Self::Line => tile * TILE,
        }
    }
}

/// A few images and some blocks of output channels.
struct Part<'a> {
    run: &'a Run<'a>,
    layout: &'a Layout,
    tiles: &'a [f32],
    moves: &'a [isize],
    first: usize,
    images: usize,
    blocks: std::ops::Range<usize>,
}

impl Part<'_> {
    /// Fills `line` with the split pixels of the part's images and the gaps around them.
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512bf16")]
    fn split_images<const PARTS: usize>(&self, line: &mut [f32]) {
        let Layout { shape, raster, .. } = self.layout;
        let pixel = self.layout.pixel_bytes / 4;
        let group_in = shape.in_c / shape.groups;
        let chunk_floats = self.layout.chunk_pixels() * pixel;
        for chunk in line.chunks_exact_mut(chunk_floats) {
            chunk[..raster.front * pixel].fill(0.0);
            chunk[raster.input(self.images, 0, 0) * pixel..].fill(0.0);
        }
        let image_len = shape.in_h * shape.in_w * shape.in_c;
        for image in 0..self.images {
            let x = &self.run.x[(self.first + image) * image_len..][..image_len];
            for (index, chunk) in line.chunks_exact_mut(chunk_floats).enumerate() {
                let (group, chunk_of_group) =
                    (index / self.layout.chunks, index % self.layout.chunks);
                let channel = chunk_of_group * DEPTH;
                let first = group * group_in + channel;
                let count = DEPTH.min(group_in - channel);
                let begin = raster.input(image, 0, 0) * pixel;
                let image_pixels = &mut chunk[begin..begin + raster.image() * pixel];
                split_image::<PARTS>(image_pixels, &x[first..], count, shape, raster);
            }
        }
    }

    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512bf16")]
    fn multiply<const PARTS: usize>(&self, line: &[f32]) {
        let Layout { shape, raster, cover, .. } = self.layout;
        let tiles = cover.tiles(self.images, shape, raster);
        let height = Strip::tiles_for(tiles);
        // SAFETY: the device computes with AMX.
        let _configured = unsafe { Tiles::configure(cover.tile_rows()) };
        let mut sums = StripSums([0.0; Strip::TILES_MAX * TILE_SUMS]);
        let line = line.as_ptr().cast::<u8>();
        let block_bytes = self.layout.steps() * self.layout.step_bytes;
        for block in self.blocks.clone() {
            let group = block / self.layout.blocks;
            let chunks = group * self.layout.chunks * self.layout.chunk_pixels();
            for first in (0..tiles).step_by(height) {
                let places: [usize; Strip::TILES_MAX] = std::array::from_fn(|i| {
                    cover.first_place((first + i).min(tiles - 1), shape, raster)
                });
                let strip = Strip {
                    a: places.map(|at| line.wrapping_add((chunks + at) * self.layout.pixel_bytes)),
                    a_moves: self.moves,
                    a_stride: self.layout.pixel_bytes,
                    b: self.tiles.as_ptr().cast::<u8>().wrapping_add(block * block_bytes),
                };
                // SAFETY: tiles are configured; every tap of every place lies in the line, and B
                // has a tile for each.
                unsafe { strip.form::<PARTS>(height, &mut sums) };
                let own = height.min(tiles - first);
                for (place, sums) in places.iter().zip(sums.0.chunks_exact(TILE_SUMS)).take(own) {
                    self.store_tile(*place, sums, block);
                }
            }
        }
    }

    /// Writes the sums (16 places, 16 channels) of the places that are outputs.
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512bf16")]
    fn store_tile(&self, first_place: usize, sums: &[f32], block: usize) {
        let Layout { shape, raster, cover, blocks, .. } = self.layout;
        let group_out = shape.out_c / shape.groups;
        let channel = block % blocks * TILE;
        let count = TILE.min(group_out - channel);
        let channel = block / blocks * group_out + channel;
        let lanes = lanes(count);
        let bias = self.run.bias.map_or(_mm512_setzero_ps(), |bias| {
            // SAFETY: `count` values are there.
            unsafe { load(bias[channel..channel + count].as_ptr(), count) }
        });
        let (mut image, in_image) = (first_place / raster.image(), first_place % raster.image());
        let (mut p, mut q) = (in_image / raster.pitch, in_image % raster.pitch);
        for sums in sums.chunks_exact(TILE).take(cover.tile_rows()) {
            if image < self.images && p < shape.out_h && q < shape.out_w {
                let at = ((self.first + image) * shape.out_h + p) * shape.out_w + q;
                let end = self.run.y.at(at * shape.out_c + channel + count);
                // SAFETY: 16 sums; `count` channels of `y` end there, and are this part's own.
                unsafe {
                    let sum = _mm512_add_ps(_mm512_loadu_ps(sums.as_ptr()), bias);
                    let sum = if self.run.relu { rectified(sum) } else { sum };
                    _mm512_mask_storeu_ps(end.wrapping_sub(count), lanes, sum);
                }
            }
            (q, p) = if q + 1 == raster.pitch { (0, p + 1) } else { (q + 1, p) };
            (p, image) = if p == raster.rows { (0, image + 1) } else { (p, image) };
        }
    }
}

/// Splits `count <= 32` channels of one image, the first of them at `x[0]`, and zeroes the gaps.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512bf16")]
fn split_image<const PARTS: usize>(
    line: &mut [f32],
    x: &[f32],
    count: usize,
    shape: &ConvShape,
    raster: &Raster,
) {
    let pixel = PARTS * ROW_BYTES / 4;
    let rows = line.chunks_exact_mut(raster.pitch * pixel);
    for (h, row) in rows.enumerate() {
        let inside = if h < shape.in_h { shape.in_w } else { 0 };
        let (pixels, gap) = row.split_at_mut(inside * pixel);
        gap.fill(0.0);
        for (w, to) in pixels.chunks_exact_mut(pixel).enumerate() {
            let at = (h * shape.in_w + w) * shape.in_c;
            let from = x[at..at + count].as_ptr();
            let to = to.as_mut_ptr().cast::<__m256i>();
            for half in 0..2 {
                // SAFETY: `count` channels are there; a pixel has 32 bytes for each half and part.
                unsafe {
                    let left = count.saturating_sub(half * 16);
                    let (high, low) = split(load(from.wrapping_add(half * 16), left));
                    _mm256_storeu_si256(to.add(half), high);
                    if PARTS == 2 {
                        _mm256_storeu_si256(to.add(2 + half), low);
                    }
                }
            }
        }
    }
}

/// Weights as tiles of B: for each block of 16 outputs, chunk of 32 inputs and tap a tile of high parts
/// (16 pairs of inputs, 16 outputs), then one of low parts.
fn pack_weights<const PARTS: usize>(
    context: &Context,
    tiles: &mut [f32],
    weights: &[f32],
    layout: &Layout,
    direction: Direction,
) {
    let step_floats = layout.step_bytes / 4;
    let chunk_floats = layout.taps() * step_floats;
    let tiles = Disjoint::new(tiles);
    context.threads.for_each(layout.all_blocks() * layout.chunks, |_, piece| {
        let (block, chunk) = (piece / layout.chunks, piece % layout.chunks);
        // SAFETY: every piece has a range of its own.
        let to = unsafe { tiles.part(piece * chunk_floats..(piece + 1) * chunk_floats) };
        for (tap, to) in to.chunks_exact_mut(step_floats).enumerate() {
            // SAFETY: the device computes with AMX.
            unsafe {
                match direction {
                    Direction::Forward => {
                        pack_forward::<PARTS>(to, weights, layout, block, chunk, tap);
                    }
                    Direction::Backward => {
                        pack_backward::<PARTS>(to, weights, layout, block, chunk, tap);
                    }
                }
            }
        }
    });
}

/// Element (pair i, output j) of B's tiles is `weights[output j][tap][inputs 2i, 2i + 1]`: pairs lie
/// together in the weights, so tiles are those rows transposed.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512bf16")]
fn pack_forward<const PARTS: usize>(
    to: &mut [f32],
    weights: &[f32],
    layout: &Layout,
    block: usize,
    chunk: usize,
    tap: usize,
) {
    let shape = &layout.shape;
    let (group_in, group_out) = (shape.in_c / shape.groups, shape.out_c / shape.groups);
    let (group, first) = (block / layout.blocks, block % layout.blocks * TILE);
    let count = DEPTH.min(group_in - chunk * DEPTH);
    let mut rows = [[_mm512_setzero_ps(); TILE]; 2];
    for j in 0..TILE.min(group_out - first) {
        let output = group * group_out + first + j;
        let at = (output * layout.taps() + tap) * group_in + chunk * DEPTH;
        let from = weights[at..at + count].as_ptr();
        // SAFETY: `count` inputs are there.
        let (a, b) = unsafe {
            let second = load(from.wrapping_add(TILE), count.saturating_sub(TILE));
            (split(load(from, count)), split(second))
        };
        rows[0][j] = join(a.0, b.0);
        rows[1][j] = join(a.1, b.1);
    }
    for (rows, to) in rows.iter_mut().zip(to.chunks_exact_mut(TILE_SUMS)).take(PARTS) {
        transpose(rows);
        store_rows(to, rows);
    }
}

/// For the input gradient, element (pair i, j) is `weights[outputs 2i, 2i + 1][last − tap][input j]`.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512bf16")]
fn pack_backward<const PARTS: usize>(
    to: &mut [f32],
    weights: &[f32],
    layout: &Layout,
    block: usize,
    chunk: usize,
    tap: usize,
) {
    // The layout is the adjoint's: its inputs are the weights' outputs.
    let shape = &layout.shape;
    let (outputs, inputs) = (shape.in_c / shape.groups, shape.out_c / shape.groups);
    let (group, first) = (block / layout.blocks, block % layout.blocks * TILE);
    let count = TILE.min(inputs - first);
    let mut rows = [[_mm512_setzero_ps(); TILE]; 2];
    for i in 0..TILE {
        let values = [0, 1].map(|e| {
            let output = chunk * DEPTH + 2 * i + e;
            if output >= outputs {
                return _mm512_setzero_ps();
            }
            let row = (group * outputs + output) * layout.taps() + layout.taps() - 1 - tap;
            let from = weights[row * inputs + first..][..count].as_ptr();
            // SAFETY: `count` inputs are there.
            unsafe { load(from, count) }
        });
        let (high, low) = split_pairs(values[0], values[1]);
        rows[0][i] = _mm512_castsi512_ps(high);
        rows[1][i] = _mm512_castsi512_ps(low);
    }
    for (rows, to) in rows.iter().zip(to.chunks_exact_mut(TILE_SUMS)).take(PARTS) {
        store_rows(to, rows);
    }
}

#[target_feature(enable = "avx512f")]
fn store_rows(to: &mut [f32], rows: &[__m512; TILE]) {
    for (to, row) in to.chunks_exact_mut(TILE).zip(rows) {
        // SAFETY: 16 floats.
        unsafe { _mm512_storeu_ps(to.as_mut_ptr(), *row) };
    }
}
