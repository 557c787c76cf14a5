//! Weight gradient of a convolution on the matrix unit.
//!
//! `d_weights[k][r][s][c] = Σ x[pixel under (r, s)][c] · d_y[place][k]`, a sum over all places of all
//! images. A holds channels of `x` as rows of pixels, so that a tap only moves the address by
//! pixels (see [`Raster`]); B holds pairs of places of `d_y` by 32 of its channels, zero in the gaps.
//! Images are taken a few at a time: first all threads split and transpose them into shared memory,
//! then each thread adds the products of its own channels to sums of its own. The order of every
//! sum follows from the shape alone.

use alexnet_ops::{ConvShape, Precision};

use super::raster::Raster;
use super::split::{lanes, load, split, split_pairs, transpose};
use super::tiles::{BLOCK, BLOCK_SUMS, DEPTH, Product, ROW_BYTES, TILE, TILE_BYTES, Tiles};
use crate::Context;
use crate::disjoint::Disjoint;
use crate::space_to_depth;

use std::arch::x86_64::*;

/// Places taken at a time, unless one image has more: enough to make reading and writing the sums
/// a small part, few enough that some blocks of channels of them stay in the second cache.
const PLACES: usize = 3400;

/// Bytes of A that a piece of work keeps in the second cache.
const PIECE_BYTES: usize = 1200 << 10;

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
    let deep = space_to_depth::unit_stride(shape);
    let layout = Layout::new::<PARTS>(&deep.unwrap_or(*shape));
    let mut lines = context.scratch.shared(0, layout.lines_floats());
    let mut pairs = context.scratch.shared(1, layout.pairs_floats());
    let mut sums = context.scratch.shared(2, layout.sums_floats());
    zero(context, &mut lines[..layout.lines_floats()]);
    for first in (0..shape.batch).step_by(layout.images_at_once) {
        let images = layout.images_at_once.min(shape.batch - first);
        let part = Part { layout: &layout, source: shape, first, images };
        part.split_inputs::<PARTS>(context, &mut lines, x, deep.as_ref());
        part.split_gradients::<PARTS>(context, &mut pairs, d_y);
        part.multiply::<PARTS>(context, &mut sums, &lines, &pairs);
    }
    match deep {
        None => gather(context, d_weights, &sums, &layout),
        Some(deep) => {
            // The inputs are not needed any more.
            let len = deep.weights_len();
            let deep_weights = &mut lines;
            deep_weights.grow(len);
            gather(context, deep_weights, &sums, &layout);
            space_to_depth::for_each_weight_run(shape, &deep, |from, to, run| {
                d_weights[to..to + run].copy_from_slice(&deep_weights[from..from + run]);
            });
        }
    }
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
    /// Bytes of a channel's line of pixels in one part, and of all its parts: an odd number of
    /// cache lines, so that the channels of a tile lie in different sets of the cache.
    line_bytes: usize,
    channel_bytes: usize,
    step_bytes: usize,
}

impl Layout {
    fn new<const PARTS: usize>(shape: &ConvShape) -> Self {
        let raster = Raster::new(shape);
        let images_at_once = (PLACES / raster.image()).clamp(1, shape.batch);
        let steps = (images_at_once * raster.image()).div_ceil(DEPTH);
        let pixels = raster.len(images_at_once).max(steps * DEPTH + raster.len(0));
        let lines = (2 * pixels).div_ceil(ROW_BYTES);
        Self {
            shape: *shape,
            raster,
            images_at_once,
            in_blocks: (shape.in_c / shape.groups).div_ceil(BLOCK),
            out_blocks: (shape.out_c / shape.groups).div_ceil(BLOCK),
            line_bytes: lines * ROW_BYTES,
            channel_bytes: (PARTS * lines | 1) * ROW_BYTES,
            step_bytes: PARTS * 2 * TILE_BYTES,
        }
    }

    fn taps(&self) -> usize {
        self.shape.kernel * self.shape.kernel
    }
    fn steps(&self, images: usize) -> usize {
        (images * self.raster.image()).div_ceil(DEPTH)
    }
    fn block_bytes(&self) -> usize {
        BLOCK * self.channel_bytes
    }
    fn lines_floats(&self) -> usize {
        self.shape.groups * self.in_blocks * self.block_bytes() / 4
    }
    fn pairs_floats(&self) -> usize {
        let steps = self.steps(self.images_at_once);
        self.shape.groups * self.out_blocks * steps * self.step_bytes / 4
    }
    fn sums_floats(&self) -> usize {
        self.shape.groups * self.in_blocks * self.out_blocks * self.taps() * BLOCK_SUMS
    }
}

/// Images taken at once.
struct Part<'a> {
    layout: &'a Layout,
    source: &'a ConvShape,
    first: usize,
    images: usize,
}

impl Part<'_> {
    /// Lines of pixels of every channel of `x`: the high parts, then the low parts.
    fn split_inputs<const PARTS: usize>(
        &self,
        context: &Context,
        lines: &mut [f32],
        x: &[f32],
        deep: Option<&ConvShape>,
    ) {
        let Layout { shape, in_blocks, .. } = self.layout;
        let blocks = shape.groups * in_blocks;
        let lines = Disjoint::new(lines);
        let image_len = self.source.input_len() / self.source.batch;
        let deep_len = deep.map_or(0, |deep| deep.input_len() / deep.batch);
        // A rearranged image is made once for all its channels.
        let shares = if deep.is_some() { 1 } else { blocks };
        context.threads.for_each(self.images * shares, |worker, piece| {
            let (image, share) = (piece / shares, piece % shares);
            let x = &x[(self.first + image) * image_len..][..image_len];
            let mut own = context.scratch.own(worker, deep_len);
            let x = match deep {
                Some(deep) => {
                    space_to_depth::rearrange(&mut own, x, self.source, deep);
                    &own[..deep_len]
                }
                None => x,
            };
            for block in share * blocks / shares..(share + 1) * blocks / shares {
                for half in 0..2 {
                    let at = (block * BLOCK + half * TILE) * self.layout.channel_bytes / 4;
                    // SAFETY: this image of these channels is this piece's own. The device
                    // computes with AMX.
                    unsafe {
                        let to = lines.at(at).cast::<u8>();
                        self.transpose_image::<PARTS>(to, x, image, block, half);
                    }
                }
            }
        });
    }

    /// 16 channels of one image, from rows of channels to lines of pixels.
    ///
    /// # Safety
    /// `to` is the line of the first of the channels; nobody else is at this image of them.
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512bf16")]
    unsafe fn transpose_image<const PARTS: usize>(
        &self,
        to: *mut u8,
        x: &[f32],
        image: usize,
        block: usize,
        half: usize,
    ) {
        let Layout { shape, raster, in_blocks, line_bytes, channel_bytes, .. } = *self.layout;
        let group_in = shape.in_c / shape.groups;
        let in_group = block % in_blocks * BLOCK + half * TILE;
        let count = group_in.saturating_sub(in_group).min(TILE);
        if count == 0 {
            return;
        }
        let first = block / in_blocks * group_in + in_group;
        for h in 0..shape.in_h {
            for w in (0..shape.in_w).step_by(TILE) {
                let pixels = TILE.min(shape.in_w - w);
                let mut rows = [_mm512_setzero_ps(); TILE];
                for (i, row) in rows.iter_mut().enumerate().take(pixels) {
                    let at = (h * shape.in_w + w + i) * shape.in_c + first;
                    // SAFETY: `count` channels are there.
                    *row = unsafe { load(x[at..at + count].as_ptr(), count) };
                }
                transpose(&mut rows);
                let place = 2 * raster.input(image, h, w);
                for (channel, row) in rows.iter().enumerate().take(count) {
                    let (high, low) = split(*row);
                    // SAFETY: the caller's promise; masked pixels are not touched.
                    unsafe {
                        let to = to.add(channel * channel_bytes + place).cast();
                        _mm256_mask_storeu_epi16(to, lanes(pixels), high);
                        if PARTS == 2 {
                            let to = to.byte_add(line_bytes);
                            _mm256_mask_storeu_epi16(to, lanes(pixels), low);
                        }
                    }
                }
            }
        }
    }

    /// B's tiles: for each block of 32 channels and each 32 places, 16 pairs of places.
    fn split_gradients<const PARTS: usize>(
        &self,
        context: &Context,
        pairs: &mut [f32],
        d_y: &[f32],
    ) {
        let Layout { shape, out_blocks, step_bytes, .. } = self.layout;
        let (steps, step_floats) = (self.layout.steps(self.images), step_bytes / 4);
        let pairs = Disjoint::new(pairs);
        context.threads.for_each(steps, |_, step| {
            let mut pixels = [None; DEPTH];
            for (i, pixel) in pixels.iter_mut().enumerate() {
                *pixel = self.gradient_at(step * DEPTH + i);
            }
            for block in 0..shape.groups * out_blocks {
                let at = (block * steps + step) * step_floats;
                // SAFETY: this step of this block is this piece's own. The device computes with
                // AMX.
                unsafe {
                    let to = pairs.part(at..at + step_floats);
                    self.pair_places::<PARTS>(to, d_y, &pixels, block);
                }
            }
        });
    }

    /// Where the gradient of place `place` begins in `d_y`; none in a gap.
    fn gradient_at(&self, place: usize) -> Option<usize> {
        let Layout { shape, raster, .. } = self.layout;
        let (image, in_image) = (place / raster.image(), place % raster.image());
        let (p, q) = (in_image / raster.pitch, in_image % raster.pitch);
        let inside = image < self.images && p < shape.out_h && q < shape.out_w;
        let pixel = ((self.first + image) * shape.out_h + p) * shape.out_w + q;
        inside.then_some(pixel * shape.out_c)
    }

    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512bf16")]
    fn pair_places<const PARTS: usize>(
        &self,
        to: &mut [f32],
        d_y: &[f32],
        pixels: &[Option<usize>; DEPTH],
        block: usize,
    ) {
        let Layout { shape, out_blocks, .. } = self.layout;
        let group_out = shape.out_c / shape.groups;
        for half in 0..2 {
            let in_group = block % out_blocks * BLOCK + half * TILE;
            let count = group_out.saturating_sub(in_group).min(TILE);
            let first = block / out_blocks * group_out + in_group;
            for (i, pair) in pixels.chunks_exact(2).enumerate() {
                let [a, b] = [0, 1].map(|e| match pair[e] {
                    // SAFETY: `count` channels are there.
                    Some(at) if count > 0 => unsafe {
                        load(d_y[at + first..at + first + count].as_ptr(), count)
                    },
                    _ => _mm512_setzero_ps(),
                });
                let (high, low) = split_pairs(a, b);
                for (part, values) in [high, low].into_iter().enumerate().take(PARTS) {
                    let at = (2 * part + half) * TILE * TILE + i * TILE;
                    // SAFETY: 16 floats.
                    unsafe {
                        _mm512_storeu_ps(
                            to[at..at + TILE].as_mut_ptr(),
                            _mm512_castsi512_ps(values),
                        );
                    }
                }
            }
        }
    }

    /// Adds this part's products to the sums (group, output block, input block, tap).
    fn multiply<const PARTS: usize>(
        &self,
        context: &Context,
        sums: &mut [f32],
        lines: &[f32],
        pairs: &[f32],
    ) {
        let Layout { shape, in_blocks, out_blocks, .. } = *self.layout;
        let at_once = (PIECE_BYTES / self.layout.block_bytes()).clamp(1, in_blocks);
        let rows = in_blocks.div_ceil(at_once);
        // Each thread several pieces, so that they end together.
        let wanted = (4 * context.threads.count()).div_ceil(shape.groups * rows);
        let columns = wanted.clamp(1, out_blocks);
        let sums = Disjoint::new(sums);
        let offsets = Offsets::new(self.layout.steps(self.images));
        context.threads.for_each(shape.groups * rows * columns, |_, piece| {
            let (group, row) = (piece / (rows * columns), piece / columns % rows);
            let column = piece % columns;
            let blocks = Blocks {
                group,
                inputs: row * in_blocks / rows..(row + 1) * in_blocks / rows,
                outputs: column * out_blocks / columns..(column + 1) * out_blocks / columns,
            };
            self.multiply_blocks::<PARTS>(&sums, lines, pairs, &offsets, &blocks);
        });
    }

    fn multiply_blocks<const PARTS: usize>(
        &self,
        sums: &Disjoint<f32>,
        lines: &[f32],
        pairs: &[f32],
        offsets: &Offsets,
        blocks: &Blocks,
    ) {
        let Layout { raster, in_blocks, out_blocks, step_bytes, .. } = *self.layout;
        let (steps, taps) = (self.layout.steps(self.images), self.layout.taps());
        // SAFETY: the device computes with AMX.
        let _configured = unsafe { Tiles::configure(TILE) };
        let (lines, pairs) = (lines.as_ptr().cast::<u8>(), pairs.as_ptr().cast::<u8>());
        for output in blocks.outputs.clone() {
            let output = blocks.group * out_blocks + output;
            let b = pairs.wrapping_add(output * steps * step_bytes);
            let mut prefetch = b.wrapping_add(steps * step_bytes);
            for input in blocks.inputs.clone() {
                let block = blocks.group * in_blocks + input;
                let a = lines.wrapping_add(block * self.layout.block_bytes());
                for tap in 0..taps {
                    let (r, s) = (tap / self.layout.shape.kernel, tap % self.layout.shape.kernel);
                    let a = a.wrapping_add(2 * raster.tap(r, s));
                    let product = Product {
                        steps,
                        a: [a, a.wrapping_add(TILE * self.layout.channel_bytes)],
                        a_offsets: offsets.0.as_ptr(),
                        a_stride: self.layout.channel_bytes,
                        a_low: self.layout.line_bytes,
                        b,
                        prefetch,
                    };
                    prefetch = prefetch.wrapping_add(product.prefetched());
                    let at = ((output * in_blocks + input) * taps + tap) * BLOCK_SUMS;
                    // SAFETY: these channels' sums are this piece's own. Tiles are configured, the
                    // lines hold every tap of every place, and B has every step.
                    unsafe {
                        let sums = sums.part(at..at + BLOCK_SUMS);
                        let sums = sums.try_into().expect("as many as the range has");
                        if self.first == 0 {
                            product.form::<PARTS, false>(sums);
                        } else {
                            product.form::<PARTS, true>(sums);
                        }
                    }
                }
            }
        }
    }
}

/// Channels a piece of work multiplies.
struct Blocks {
    group: usize,
    inputs: std::ops::Range<usize>,
    outputs: std::ops::Range<usize>,
}

/// A's tiles follow each other.
struct Offsets([usize; Offsets::MAX]);

impl Offsets {
    const MAX: usize = 8192;
    fn new(steps: usize) -> Self {
        assert!(steps <= Self::MAX);
        Self(std::array::from_fn(|step| step * ROW_BYTES))
    }
}

/// From the sums, 16 inputs by 16 outputs together, to weights `(K, R, S, C/groups)`.
fn gather(context: &Context, d_weights: &mut [f32], sums: &[f32], layout: &Layout) {
    let Layout { shape, in_blocks, out_blocks, .. } = *layout;
    let (group_in, group_out) = (shape.in_c / shape.groups, shape.out_c / shape.groups);
    let (taps, d_weights) = (layout.taps(), Disjoint::new(d_weights));
    context.threads.for_each(shape.groups * out_blocks, |_, output| {
        let (group, first) = (output / out_blocks, output % out_blocks * BLOCK);
        for index in 0..in_blocks * taps {
            let (input, tap) = (index / taps * BLOCK, index % taps);
            let sums = &sums[(output * in_blocks * taps + index) * BLOCK_SUMS..][..BLOCK_SUMS];
            for (tile, sums) in sums.chunks_exact(TILE * TILE).enumerate() {
                let (input, first) = (input + tile / 2 * TILE, first + tile % 2 * TILE);
                let count = group_in.saturating_sub(input).min(TILE);
                let outputs = group_out.saturating_sub(first).min(TILE);
                let row = |j: usize| ((group * group_out + first + j) * taps + tap) * group_in;
                for j in 0..if count == 0 { 0 } else { outputs } {
                    let at = row(j) + input;
                    // SAFETY: every output's weights belong to one piece.
                    let to = unsafe { d_weights.part(at..at + count) };
                    to.iter_mut().enumerate().for_each(|(i, d)| *d = sums[i * TILE + j]);
                }
            }
        }
    });
}
