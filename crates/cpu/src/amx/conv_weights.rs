//! Weight gradient of a convolution on the matrix unit.
//!
//! `d_weights[k][r][s][c] = Σ d_y[place][k] · x[pixel under (r, s)][c]`, a sum over all places of all
//! images. A holds channels of `d_y` as rows of places, zero in the gaps of the [`Raster`]. B holds
//! pairs of neighbouring pixels of `x` by 16 of its channels. A tap moves B by pixels; so that it
//! always moves by whole pairs, B is there twice, in pairs that begin at even and at odd pixels.
//! Images are taken a few at a time: first all threads lay them out in shared memory, then each
//! thread adds the products of its own channels to sums of its own. The order of every sum follows
//! from the shape alone.

use std::ops::Range;

use alexnet_ops::{ConvShape, Precision};

use super::raster::Raster;
use super::split::{lanes, load, pair, split, transpose};
use super::tiles::{BLOCK, BLOCK_SUMS, Block, DEPTH, ROW_BYTES, TILE, TILE_SUMS, Tiles};
use crate::Context;
use crate::disjoint::Disjoint;

use std::arch::x86_64::*;

/// Places taken at a time, unless one image has more: enough to make reading and writing the sums
/// a small part, few enough that 32 channels of both factors stay in the second cache.
const PLACES: usize = 3400;

/// `d_weights` from `d_y` and `x`.
pub(crate) fn backward_weights(
    context: &Context,
    d_weights: &mut [f32],
    d_y: &[f32],
    x: &[f32],
    shape: &ConvShape,
) {
    match context.precision {
        Precision::F32 => in_parts::<2>(context, d_weights, d_y, x, shape),
        Precision::Bf16 => in_parts::<1>(context, d_weights, d_y, x, shape),
    }
}

fn in_parts<const PARTS: usize>(
    context: &Context,
    d_weights: &mut [f32],
    d_y: &[f32],
    x: &[f32],
    shape: &ConvShape,
) {
    let layout = Layout::new::<PARTS>(shape);
    let mut lines = context.scratch.shared(0, layout.lines_floats());
    let mut pairs = context.scratch.shared(1, layout.pairs_floats());
    let mut sums = context.scratch.shared(2, layout.sums_floats());
    zero(context, &mut pairs[..layout.pairs_floats()]);
    for first in (0..shape.batch).step_by(layout.images_at_once) {
        let images = layout.images_at_once.min(shape.batch - first);
        let part = Part { layout: &layout, first, images };
        if first == 0 || images < layout.images_at_once {
            zero(context, &mut lines[..layout.lines_floats()]);
        }
        part.lay_out_gradients::<PARTS>(context, &mut lines, d_y);
        part.lay_out_inputs::<PARTS>(context, &mut pairs, x);
        part.multiply::<PARTS>(context, &mut sums, &lines, &pairs);
    }
    gather(context, d_weights, &sums, &layout);
}

fn zero(context: &Context, memory: &mut [f32]) {
    const FLOATS: usize = 64 << 10;
    let (len, memory) = (memory.len(), Disjoint::new(memory));
    context.threads.for_each(len.div_ceil(FLOATS), |_, piece| {
        // SAFETY: every piece has a range of its own.
        unsafe { memory.part(piece * FLOATS..len.min((piece + 1) * FLOATS)) }.fill(0.0);
    });
}

/// Where everything lies for a convolution with stride 1.
struct Layout {
    shape: ConvShape,
    raster: Raster,
    images_at_once: usize,
    /// Blocks of 32 input and of 32 output channels in a group.
    in_blocks: usize,
    out_blocks: usize,
    /// A: bytes of a channel's places in one part, and of a channel: an odd number of cache lines,
    /// so that the rows of a tile lie in different sets of the cache.
    line_bytes: usize,
    channel_bytes: usize,
    /// B: bytes of 16 channels' pairs in one part, beginning at even or at odd pixels.
    column_bytes: usize,
}

impl Layout {
    fn new<const PARTS: usize>(shape: &ConvShape) -> Self {
        let raster = Raster::new(shape);
        let images_at_once = (PLACES / raster.image()).clamp(1, shape.batch);
        let steps = (images_at_once * raster.image()).div_ceil(DEPTH);
        let pixels = raster.len(images_at_once).max(steps * DEPTH + raster.len(0));
        Self {
            shape: *shape,
            raster,
            images_at_once,
            in_blocks: (shape.in_c / shape.groups).div_ceil(BLOCK),
            out_blocks: (shape.out_c / shape.groups).div_ceil(BLOCK),
            line_bytes: steps * ROW_BYTES,
            channel_bytes: ((PARTS * steps) | 1) * ROW_BYTES,
            column_bytes: pixels.div_ceil(2) * ROW_BYTES,
        }
    }

    fn taps(&self) -> usize {
        self.shape.kernel * self.shape.kernel
    }
    fn steps(&self, images: usize) -> usize {
        (images * self.raster.image()).div_ceil(DEPTH)
    }
    fn lines_floats(&self) -> usize {
        self.shape.groups * self.out_blocks * BLOCK * self.channel_bytes / 4
    }
    /// Bytes of all pairs of 16 channels: (begin even or odd, part).
    fn columns_bytes<const PARTS: usize>(&self) -> usize {
        2 * PARTS * self.column_bytes
    }
    fn pairs_floats(&self) -> usize {
        self.shape.groups * self.in_blocks * 2 * self.columns_bytes::<2>() / 4
    }
    fn sums_floats(&self) -> usize {
        self.shape.groups * self.in_blocks * self.out_blocks * self.taps() * BLOCK_SUMS
    }
    /// Of tile column `column` (16 channels, counted over padded groups): the first channel and how
    /// many there are.
    fn input_channels(&self, column: usize) -> (usize, usize) {
        channels(self.shape.in_c / self.shape.groups, 2 * self.in_blocks, column)
    }
    fn output_channels(&self, row: usize) -> (usize, usize) {
        channels(self.shape.out_c / self.shape.groups, 2 * self.out_blocks, row)
    }
}

/// Of tile `tile` of groups of `in_group` channels in `tiles` tiles each: first channel and count.
fn channels(in_group: usize, tiles: usize, tile: usize) -> (usize, usize) {
    let first = tile % tiles * TILE;
    (tile / tiles * in_group + first, in_group.saturating_sub(first).min(TILE))
}

/// Images taken at once.
struct Part<'a> {
    layout: &'a Layout,
    first: usize,
    images: usize,
}

impl Part<'_> {
    /// A: lines of places of every channel of `d_y`, the high parts, then the low parts.
    fn lay_out_gradients<const PARTS: usize>(
        &self,
        context: &Context,
        lines: &mut [f32],
        d_y: &[f32],
    ) {
        let Layout { shape, out_blocks, channel_bytes, .. } = self.layout;
        let tiles = shape.groups * out_blocks * 2;
        let lines = Disjoint::new(lines);
        let image_len = shape.out_h * shape.out_w * shape.out_c;
        context.threads.for_each(self.images * tiles, |_, piece| {
            let (image, tile) = (piece / tiles, piece % tiles);
            let d_y = &d_y[(self.first + image) * image_len..][..image_len];
            let to = lines.at(tile * TILE * channel_bytes / 4).cast::<u8>();
            // SAFETY: this image of these channels is this piece's own. The device computes with
            // AMX.
            unsafe { self.transpose_image::<PARTS>(to, d_y, image, tile) };
        });
    }

    /// 16 channels of one image, from rows of channels to lines of places.
    ///
    /// # Safety
    /// `to` is the line of the first of the channels; nobody else is at this image of them.
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512bf16")]
    unsafe fn transpose_image<const PARTS: usize>(
        &self,
        to: *mut u8,
        d_y: &[f32],
        image: usize,
        tile: usize,
    ) {
        let Layout { shape, raster, line_bytes, channel_bytes, .. } = *self.layout;
        let (first, count) = self.layout.output_channels(tile);
        if count == 0 {
            return;
        }
        for p in 0..shape.out_h {
            for q in (0..shape.out_w).step_by(TILE) {
                let places = TILE.min(shape.out_w - q);
                let mut rows = [_mm512_setzero_ps(); TILE];
                for (i, row) in rows.iter_mut().enumerate().take(places) {
                    let at = (p * shape.out_w + q + i) * shape.out_c + first;
                    // SAFETY: `count` channels are there.
                    *row = unsafe { load(d_y[at..at + count].as_ptr(), count) };
                }
                transpose(&mut rows);
                let place = 2 * raster.output(image, p, q);
                for (channel, row) in rows.iter().enumerate().take(count) {
                    let (high, low) = split(*row);
                    // SAFETY: the caller's promise; masked places are not touched.
                    unsafe {
                        let to = to.add(channel * channel_bytes + place).cast();
                        _mm256_mask_storeu_epi16(to, lanes(places), high);
                        if PARTS == 2 {
                            _mm256_mask_storeu_epi16(to.byte_add(line_bytes), lanes(places), low);
                        }
                    }
                }
            }
        }
    }

    /// B: pairs of pixels of `x` for each 16 channels.
    fn lay_out_inputs<const PARTS: usize>(&self, context: &Context, pairs: &mut [f32], x: &[f32]) {
        let Layout { shape, in_blocks, .. } = self.layout;
        let columns = shape.groups * in_blocks * 2;
        let pairs = Disjoint::new(pairs);
        let image_len = shape.in_h * shape.in_w * shape.in_c;
        context.threads.for_each(self.images * columns, |_, piece| {
            let (image, column) = (piece / columns, piece % columns);
            let x = &x[(self.first + image) * image_len..][..image_len];
            let to = pairs.at(column * self.layout.columns_bytes::<PARTS>() / 4).cast::<u8>();
            // SAFETY: this image of these channels is this piece's own. The device computes with
            // AMX.
            unsafe { self.pair_image::<PARTS>(to, x, image, column) };
        });
    }

    /// All pairs of neighbouring pixels that begin in one image or right before it.
    ///
    /// # Safety
    /// `to` is where the pairs of these 16 channels begin; nobody else is at this image of them.
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512bf16")]
    unsafe fn pair_image<const PARTS: usize>(
        &self,
        to: *mut u8,
        x: &[f32],
        image: usize,
        column: usize,
    ) {
        let Layout { shape, raster, column_bytes, .. } = *self.layout;
        let (first, count) = self.layout.input_channels(column);
        if count == 0 {
            return;
        }
        let nothing = (_mm256_setzero_si256(), _mm256_setzero_si256());
        for (h, x) in x.chunks_exact(shape.in_w * shape.in_c).enumerate() {
            let place = raster.input(image, h, 0);
            let begin = usize::from(place == 0);
            // There is a gap between rows: the first pair begins in it, and the last ends in it.
            let mut last = nothing;
            for w in 0..=shape.in_w {
                let mut next = nothing;
                if w < shape.in_w {
                    let at = w * shape.in_c + first;
                    // SAFETY: `count` channels are there.
                    next = split(unsafe { load(x[at..at + count].as_ptr(), count) });
                }
                if w >= begin {
                    let place = place + w - 1;
                    let at = place % 2 * PARTS * column_bytes + place / 2 * ROW_BYTES;
                    // SAFETY: the caller's promise.
                    unsafe {
                        _mm512_storeu_si512(to.add(at).cast(), pair(last.0, next.0));
                        if PARTS == 2 {
                            let to = to.add(at + column_bytes).cast();
                            _mm512_storeu_si512(to, pair(last.1, next.1));
                        }
                    }
                }
                last = next;
            }
        }
    }

    /// Adds this part's products to the sums (output block, input block, tap).
    fn multiply<const PARTS: usize>(
        &self,
        context: &Context,
        sums: &mut [f32],
        lines: &[f32],
        pairs: &[f32],
    ) {
        let Layout { shape, in_blocks, out_blocks, .. } = *self.layout;
        // Each thread several pieces, so that they end together.
        let wanted = (4 * context.threads.count()).div_ceil(shape.groups * in_blocks);
        let shares = wanted.clamp(1, out_blocks);
        let sums = Disjoint::new(sums);
        context.threads.for_each(shape.groups * in_blocks * shares, |_, piece| {
            let (input, share) = (piece / shares, piece % shares);
            let first = input / in_blocks * out_blocks;
            let outputs =
                first + share * out_blocks / shares..first + (share + 1) * out_blocks / shares;
            self.multiply_blocks::<PARTS>(&sums, lines, pairs, input, outputs);
        });
    }

    /// The products of 32 input channels with blocks of output channels.
    fn multiply_blocks<const PARTS: usize>(
        &self,
        sums: &Disjoint<f32>,
        lines: &[f32],
        pairs: &[f32],
        input: usize,
        outputs: Range<usize>,
    ) {
        let Layout { raster, in_blocks, column_bytes, channel_bytes, .. } = *self.layout;
        let (taps, kernel) = (self.layout.taps(), self.layout.shape.kernel);
        // SAFETY: the device computes with AMX.
        let _configured = unsafe { Tiles::configure(TILE) };
        let (lines, pairs) = (lines.as_ptr().cast::<u8>(), pairs.as_ptr().cast::<u8>());
        for output in outputs {
            let a = lines.wrapping_add(output * BLOCK * channel_bytes);
            for tap in 0..taps {
                let pixel = raster.tap(tap / kernel, tap % kernel);
                let b = [2 * input, 2 * input + 1].map(|column| {
                    let at = column * self.layout.columns_bytes::<PARTS>();
                    let at = at + pixel % 2 * PARTS * column_bytes + pixel / 2 * ROW_BYTES;
                    pairs.wrapping_add(at)
                });
                let block = Block {
                    steps: self.layout.steps(self.images),
                    a: [a, a.wrapping_add(TILE * channel_bytes)],
                    a_stride: channel_bytes,
                    a_low: self.layout.line_bytes,
                    b,
                    b_low: column_bytes,
                };
                let at = ((output * in_blocks + input % in_blocks) * taps + tap) * BLOCK_SUMS;
                // SAFETY: these channels' sums are this piece's own. Tiles are configured, A has
                // every place and B every tap of it.
                unsafe { block.form::<PARTS>(sums.part(at..at + BLOCK_SUMS), self.first > 0) };
            }
        }
    }
}

/// From sums (output block, input block, tap) of four tiles, 16 outputs by 16 inputs, to weights
/// `(K, R, S, C/groups)`.
fn gather(context: &Context, d_weights: &mut [f32], sums: &[f32], layout: &Layout) {
    let Layout { shape, in_blocks, out_blocks, .. } = *layout;
    let (taps, group_in) = (layout.taps(), shape.in_c / shape.groups);
    let d_weights = Disjoint::new(d_weights);
    context.threads.for_each(shape.groups * out_blocks, |_, output| {
        for index in 0..in_blocks * taps {
            let (input, tap) = (index / taps, index % taps);
            let sums = &sums[(output * in_blocks * taps + index) * BLOCK_SUMS..][..BLOCK_SUMS];
            for (tile, sums) in sums.chunks_exact(TILE_SUMS).enumerate() {
                let (first, outputs) = layout.output_channels(2 * output + tile / 2);
                let (column, inputs) = channels(group_in, 2 * in_blocks, 2 * input + tile % 2);
                let outputs = if inputs == 0 { 0 } else { outputs };
                for (k, sums) in sums.chunks_exact(TILE).enumerate().take(outputs) {
                    let at = ((first + k) * taps + tap) * group_in + column;
                    // SAFETY: every output's weights belong to one piece.
                    let to = unsafe { d_weights.part(at..at + inputs) };
                    to.copy_from_slice(&sums[..inputs]);
                }
            }
        }
    });
}
