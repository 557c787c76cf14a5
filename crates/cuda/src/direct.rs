//! Convolutions by cuDNN.
//!
//! Tensor cores want channels by the eight, and with `f32` the engines that do without them want some
//! too: of three channels in this order cuDNN 9.26 names for some GPUs none but its last resort.
//! Where a layer has fewer, as the first one has, it is taken in blocks: `kernels/blocks.cu` says how.

use alexnet_ops::{ConvPass, ConvShape};

use crate::Engine;
use crate::driver::{Convolutions, EIGHT, Gpu, Launch, Reals, RealsMut, View, ViewMut};
use crate::elementwise::{factor, widen};
use crate::floats::Floats;
use crate::reduce::word;
use crate::scratch::{Room, Scratch};

/// Says whether it could, as the others do.
pub(crate) fn forward(
    engine: &mut Engine,
    y: RealsMut<'_>,
    x: &Floats,
    weights: &Floats,
    shape: &ConvShape,
) -> bool {
    let Some(way) = Way::of(engine, shape, ConvPass::Forward) else { return false };
    let Engine { gpu, scratch, convolutions: Some(convolutions), .. } = engine else {
        return false;
    };
    let Scratch { blocks, blocks_of, rounded, workspace, .. } = scratch;
    let x = way.input(gpu, (blocks, blocks_of), x, shape);
    let weights = way.weights(gpu, &mut rounded[0], weights, shape);
    way.run(gpu, convolutions, workspace, y, [x, weights])
}

pub(crate) fn backward_input(
    engine: &mut Engine,
    d_x: RealsMut<'_>,
    d_y: &Floats,
    weights: &Floats,
    shape: &ConvShape,
) -> bool {
    let Some(way) = Way::of(engine, shape, ConvPass::BackwardInput) else { return false };
    let Engine { gpu, scratch, convolutions: Some(convolutions), .. } = engine else {
        return false;
    };
    let d_y = d_y.values(shape.output_len());
    let weights = way.weights(gpu, &mut scratch.rounded[0], weights, shape);
    way.run(gpu, convolutions, &mut scratch.workspace, d_x, [weights, d_y])
}

pub(crate) fn backward_weights(
    engine: &mut Engine,
    d_weights: ViewMut<'_, f32>,
    d_y: &Floats,
    x: &Floats,
    shape: &ConvShape,
) -> bool {
    let Some(way) = Way::of(engine, shape, ConvPass::BackwardWeights) else { return false };
    let Engine { gpu, scratch, convolutions: Some(convolutions), .. } = engine else {
        return false;
    };
    let Scratch { blocks, blocks_of, rounded, workspace, .. } = scratch;
    let x = way.input(gpu, (blocks, blocks_of), x, shape);
    let d_y = d_y.values(shape.output_len());
    // A gradient of bf16 values comes in bf16, and that of blocks in blocks.
    if way.blocks.is_none() && !way.bf16 {
        return way.run(gpu, convolutions, workspace, RealsMut::F32(d_weights), [x, d_y]);
    }
    let mut formed = rounded[0].reals(gpu, way.shape.weights_len(), way.bf16);
    if !way.run(gpu, convolutions, workspace, formed.again(), [x, d_y]) {
        return false;
    }
    match &way.blocks {
        Some(blocks) => blocks.leave_weights(gpu, d_weights, formed.into_read()),
        None => widen(gpu, d_weights, formed.into_read()),
    }
    true
}

/// Elements that cuDNN's engines surely count to.
const ELEMENTS_MAX: usize = i32::MAX as usize;

/// How cuDNN runs a pass.
struct Way {
    /// The convolution that it is asked for.
    shape: ConvShape,
    pass: ConvPass,
    workspace_bytes: usize,
    blocks: Option<Blocks>,
    bf16: bool,
}

impl Way {
    fn of(engine: &mut Engine, shape: &ConvShape, pass: ConvPass) -> Option<Self> {
        let convolutions = engine.convolutions.as_mut()?;
        let by_eight = |channels: usize| (channels / shape.groups).is_multiple_of(EIGHT);
        let blocks = if by_eight(shape.in_c) { None } else { Some(Blocks::of(shape, pass)?) };
        if !by_eight(shape.out_c) {
            return None;
        }
        let shape = blocks.as_ref().map_or(*shape, |blocks| blocks.shape(shape));
        if shape.input_len().max(shape.output_len()) > ELEMENTS_MAX {
            return None;
        }
        let workspace_bytes = convolutions.workspace_bytes(&shape, pass)?;
        Some(Self { shape, pass, workspace_bytes, blocks, bf16: engine.bf16 })
    }

    /// The input as cuDNN is to have it. What a forward pass laid out in blocks still stands there for
    /// the weights' gradient.
    fn input<'a>(
        &self,
        gpu: &Gpu,
        (room, room_of): (&'a mut Room, &mut Option<(u64, ConvShape)>),
        x: &'a Floats,
        shape: &ConvShape,
    ) -> Reals<'a> {
        let (key, values) = ((x.stamp(), *shape), x.values(shape.input_len()));
        let Some(blocks) = &self.blocks else { return values };
        let mut there = room.reals(gpu, self.shape.input_len(), self.bf16);
        if *room_of != Some(key) {
            blocks.input(gpu, there.again(), values);
            *room_of = Some(key);
        }
        there.into_read()
    }

    fn weights<'a>(
        &self,
        gpu: &Gpu,
        room: &'a mut Room,
        weights: &'a Floats,
        shape: &ConvShape,
    ) -> Reals<'a> {
        let len = shape.weights_len();
        let Some(blocks) = &self.blocks else {
            return factor(gpu, self.bf16, room, weights, len);
        };
        let mut there = room.reals(gpu, self.shape.weights_len(), self.bf16);
        blocks.weights(gpu, there.again(), weights.first(len));
        there.into_read()
    }

    fn run(
        &self,
        gpu: &Gpu,
        convolutions: &mut Convolutions,
        room: &mut Room,
        out: RealsMut<'_>,
        inputs: [Reals<'_>; 2],
    ) -> bool {
        let room = room.take(gpu, self.workspace_bytes);
        convolutions.run(gpu, (&self.shape, self.pass), out, inputs, room)
    }
}

/// A convolution taken in blocks: `struct Blocks` of the kernels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Blocks {
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
    fn of(shape: &ConvShape, pass: ConvPass) -> Option<Self> {
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
    fn shape(&self, of: &ConvShape) -> ConvShape {
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

    fn numbers(&self) -> [u32; 10] {
        let Self { in_h, in_w, in_c, kernel, pad, side, rows, columns, channels, taps } = *self;
        [in_h, in_w, in_c, kernel, pad, side, rows, columns, channels, taps].map(word)
    }

    /// The input in blocks.
    fn input(&self, gpu: &Gpu, blocks: RealsMut<'_>, x: Reals<'_>) {
        let (numbers, threads) = (self.numbers(), blocks.len() / EIGHT);
        let arguments = [blocks.into(), x.into(), (&numbers).into(), word(threads).into()];
        gpu.launch("block_input", Launch::threads(threads), &arguments);
    }

    /// Weights where blocks have them.
    fn weights(&self, gpu: &Gpu, blocks: RealsMut<'_>, weights: View<'_, f32>) {
        let (numbers, len) = (self.numbers(), blocks.len());
        let arguments = [blocks.into(), weights.into(), (&numbers).into(), word(len).into()];
        gpu.launch("block_weights", Launch::threads(len), &arguments);
    }

    /// Their gradient, back from there.
    fn leave_weights(&self, gpu: &Gpu, weights: ViewMut<'_, f32>, blocks: Reals<'_>) {
        let (numbers, len) = (self.numbers(), blocks.len());
        let arguments = [weights.into(), blocks.into(), (&numbers).into(), word(len).into()];
        gpu.launch("unblock_weights", Launch::threads(len), &arguments);
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
