//! A convolution over few maps as one over many: `kernels/blocks.cu` says how its arrays are taken in blocks.

use alexnet_ops::{ConvPass, ConvShape};

use crate::driver::{Argument, EIGHT, Gpu, Launch, Reals, RealsMut, View, ViewMut};
use crate::reduce::word;

/// Numbers of four pixels of three colours: `LINE` of `kernels/blocks.cu`.
pub(crate) const LINE: usize = 12;

/// A convolution taken in blocks: `struct Blocks` of the kernels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Blocks {
    in_h: usize,
    in_w: usize,
    in_c: usize,
    kernel: usize,
    pad: usize,
    /// Places of a block's side: the stride.
    side: usize,
    /// Of blocks.
    rows: usize,
    columns: usize,
    /// Of a block, up to a multiple of eight.
    channels: usize,
    /// Blocks that a kernel's side reaches over.
    taps: usize,
}

impl Blocks {
    /// `None` where blocks do not help: with groups, and for the input's gradient, of which nothing
    /// stands in blocks.
    pub(crate) fn of(shape: &ConvShape, pass: ConvPass) -> Option<Self> {
        if shape.groups > 1 || pass == ConvPass::BackwardInput {
            return None;
        }
        let ConvShape { in_h, in_w, in_c, out_h, out_w, kernel, stride, pad, .. } = *shape;
        let taps = kernel.div_ceil(stride);
        let channels = (stride * stride * in_c).next_multiple_of(EIGHT);
        let [rows, columns] = [out_h, out_w].map(|windows| windows + taps - 1);
        Some(Self { in_h, in_w, in_c, kernel, pad, side: stride, rows, columns, channels, taps })
    }

    /// The convolution of blocks, with the outputs of this one.
    pub(crate) fn shape(&self, of: &ConvShape) -> ConvShape {
        ConvShape {
            in_h: self.rows,
            in_w: self.columns,
            in_c: self.channels,
            kernel: self.taps,
            stride: 1,
            pad: 0,
            ..*of
        }
    }

    /// Numbers of the inputs of so many images.
    pub(crate) fn len(&self, images: usize) -> usize {
        images * self.rows * self.columns * self.channels
    }

    fn numbers(&self) -> [u32; 10] {
        let Self { in_h, in_w, in_c, kernel, pad, side, rows, columns, channels, taps } = *self;
        [in_h, in_w, in_c, kernel, pad, side, rows, columns, channels, taps].map(word)
    }

    /// A kernel of these arrays, these blocks and a number of threads.
    fn launch(&self, gpu: &Gpu, kernel: &str, arrays: &[Argument<'_>], threads: usize) {
        let numbers = self.numbers();
        let sizes: [Argument<'_>; 2] = [(&numbers).into(), word(threads).into()];
        gpu.launch(kernel, Launch::threads(threads), &[arrays, &sizes].concat());
    }

    /// Whether they are four by four pixels of three colours: then kernels take four pixels at a time.
    pub(crate) fn are_of_lines(&self) -> bool {
        (self.side, self.in_c) == (4, 3)
    }

    /// The input in blocks.
    pub(crate) fn input(&self, gpu: &Gpu, blocks: RealsMut<'_>, x: Reals<'_>) {
        let (kernel, each) =
            if self.are_of_lines() { ("block_lines", LINE) } else { ("block_input", EIGHT) };
        let threads = blocks.len() / each;
        self.launch(gpu, kernel, &[blocks.into(), x.into()], threads);
    }

    /// The same of pictures that are their windows as they are, from their levels and what is told of them.
    ///
    /// # Panics
    /// When blocks are not of lines.
    pub(crate) fn pictures(
        &self,
        gpu: &Gpu,
        blocks: RealsMut<'_>,
        (levels, words): (View<'_, u8>, View<'_, u32>),
    ) {
        assert!(self.are_of_lines(), "{self:?}");
        let threads = blocks.len() / LINE;
        let arrays = [blocks.into(), levels.into(), words.into()];
        self.launch(gpu, "picture_lines", &arrays, threads);
    }

    /// The input as it was; 0 where no window sees it.
    pub(crate) fn leave_input(&self, gpu: &Gpu, x: RealsMut<'_>, blocks: Reals<'_>) {
        let threads = x.len();
        self.launch(gpu, "unblock_input", &[x.into(), blocks.into()], threads);
    }

    /// Weights where blocks have them.
    pub(crate) fn weights(&self, gpu: &Gpu, blocks: RealsMut<'_>, weights: View<'_, f32>) {
        let threads = blocks.len();
        self.launch(gpu, "block_weights", &[blocks.into(), weights.into()], threads);
    }

    /// Their gradient, back from there.
    pub(crate) fn leave_weights(&self, gpu: &Gpu, weights: ViewMut<'_, f32>, blocks: Reals<'_>) {
        let threads = blocks.len();
        self.launch(gpu, "unblock_weights", &[weights.into(), blocks.into()], threads);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_layer_becomes_one_of_48_channels_and_three_taps() {
        let shape = ConvShape {
            batch: 2,
            in_h: 224,
            in_w: 224,
            in_c: 3,
            out_h: 55,
            out_w: 55,
            out_c: 96,
            kernel: 11,
            stride: 4,
            pad: 2,
            groups: 1,
        };
        let blocks = Blocks::of(&shape, ConvPass::Forward).expect("it has no groups").shape(&shape);
        let expected =
            ConvShape { in_h: 57, in_w: 57, in_c: 48, kernel: 3, stride: 1, pad: 0, ..shape };
        assert_eq!(blocks, expected);
        assert_eq!(Blocks::of(&shape, ConvPass::BackwardInput), None);
    }
}
