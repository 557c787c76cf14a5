//! Convolutions by cuDNN.
//!
//! Tensor cores want channels by the eight, and with `f32` the engines that do without them want some
//! too: of three channels in this order cuDNN 9.26 names for some GPUs none but its last resort.
//! Where a layer has fewer, as the first one has, it is taken in blocks: `kernels/blocks.cu` says how. And
//! they want a group by itself: engines for several copy what they are given, each time and slowly. So groups
//! are laid out apart (`kernels/groups.cu`), and two at a time run beside each other.

use alexnet_ops::{ConvPass, ConvShape};

use crate::Engine;
use crate::blocks::Blocks;
use crate::driver::{Convolutions, EIGHT, Gpu, Lane, Reals, RealsMut, ViewMut};
use crate::elementwise::{factor, widen};
use crate::floats::Floats;
use crate::groups::Groups;
use crate::scratch::{LaidOut, Room, Scratch};

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
    let Scratch { blocks, apart: [inputs, _], joined, rounded, workspaces, .. } = scratch;
    let x = way.input(gpu, [blocks, inputs], x, shape);
    let weights = way.weights(gpu, &mut rounded[0], weights, shape);
    let y = (y, Groups::of_outputs(shape));
    way.run_and_join(gpu, convolutions, (workspaces, joined), y, [x, weights])
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
    let Scratch { apart: [_, outputs], joined, rounded, workspaces, .. } = scratch;
    let d_y = way.output(gpu, outputs, d_y, shape);
    let weights = way.weights(gpu, &mut rounded[0], weights, shape);
    let d_x = (d_x, Groups::of_inputs(shape));
    way.run_and_join(gpu, convolutions, (workspaces, joined), d_x, [weights, d_y])
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
    let Scratch { blocks, apart: [inputs, outputs], formed, workspaces, .. } = scratch;
    let x = way.input(gpu, [blocks, inputs], x, shape);
    let d_y = way.output(gpu, outputs, d_y, shape);
    let blocks = match &way.layout {
        Layout::Blocks(blocks) => Some(blocks),
        Layout::AsItIs | Layout::Apart => None,
    };
    let inputs = [x, d_y];
    gpu.beside(Lane::Weights, || {
        // A gradient of bf16 values comes in bf16, and that of blocks in blocks.
        if blocks.is_none() && !way.bf16 {
            return way.run(gpu, convolutions, workspaces, RealsMut::F32(d_weights), inputs);
        }
        let len = way.runs * way.shape.weights_len();
        let mut formed = formed.reals(gpu, len, way.bf16);
        let could = way.run(gpu, convolutions, workspaces, formed.again(), inputs);
        match blocks {
            _ if !could => {}
            Some(blocks) => blocks.leave_weights(gpu, d_weights, formed.into_read()),
            None => widen(gpu, d_weights, formed.into_read()),
        }
        could
    })
}

/// The blocks in which this convolution's input may be laid out at once, where it is made for that alone.
pub(crate) fn input_blocks(engine: &mut Engine, shape: &ConvShape) -> Option<Blocks> {
    match Way::of(engine, shape, ConvPass::Forward)?.layout {
        Layout::Blocks(blocks) => Some(blocks),
        Layout::AsItIs | Layout::Apart => None,
    }
}

/// Numbers of an array that holds the input of so many images, or of fewer, as it is or so laid out.
pub(crate) fn input_len(engine: &Engine, shape: &ConvShape) -> usize {
    let layout = Layout::of(shape, ConvPass::Forward).filter(|_| engine.convolutions.is_some());
    let blocks = match layout {
        Some(Layout::Blocks(blocks)) => blocks.len(shape.batch),
        _ => 0,
    };
    blocks.max(shape.input_len())
}

/// Elements that cuDNN's engines surely count to, and kernels that move groups.
const ELEMENTS_MAX: usize = i32::MAX as usize;

/// How cuDNN runs a pass.
struct Way {
    layout: Layout,
    /// The convolution that it is asked for.
    shape: ConvShape,
    /// How often: once for each of the groups that are apart.
    runs: usize,
    pass: ConvPass,
    bf16: bool,
}

/// How arrays are laid out for it.
enum Layout {
    AsItIs,
    Blocks(Blocks),
    /// Groups apart: each is a convolution of its own.
    Apart,
}

impl Layout {
    /// `None` where tensor cores would not take it.
    fn of(shape: &ConvShape, pass: ConvPass) -> Option<Self> {
        let by_eight = |channels: usize| (channels / shape.groups).is_multiple_of(EIGHT);
        if !by_eight(shape.out_c) {
            return None;
        }
        if !by_eight(shape.in_c) {
            return Blocks::of(shape, pass).map(Self::Blocks);
        }
        Some(if shape.groups > 1 { Self::Apart } else { Self::AsItIs })
    }

    /// The convolution that cuDNN is asked for, and how often.
    fn asked(&self, of: &ConvShape) -> (ConvShape, usize) {
        match self {
            Self::AsItIs => (*of, 1),
            Self::Blocks(blocks) => (blocks.shape(of), 1),
            Self::Apart => {
                let [in_c, out_c] = [of.in_c, of.out_c].map(|channels| channels / of.groups);
                (ConvShape { in_c, out_c, groups: 1, ..*of }, of.groups)
            }
        }
    }
}

impl Way {
    fn of(engine: &mut Engine, of: &ConvShape, pass: ConvPass) -> Option<Self> {
        let Engine { convolutions, bf16, .. } = engine;
        let layout = Layout::of(of, pass)?;
        let (shape, runs) = layout.asked(of);
        let longest = |shape: &ConvShape| shape.input_len().max(shape.output_len());
        if longest(of).max(longest(&shape)) > ELEMENTS_MAX {
            return None;
        }
        let can = convolutions.as_mut()?.can(&shape, pass);
        can.then_some(Self { layout, shape, runs, pass, bf16: *bf16 })
    }

    /// The input as cuDNN is to have it. What a forward pass laid out still stands there for the weights'
    /// gradient, of groups if no other layer's came between.
    fn input<'a>(
        &self,
        gpu: &Gpu,
        [in_blocks, apart]: [&'a mut LaidOut; 2],
        x: &'a Floats,
        shape: &ConvShape,
    ) -> Reals<'a> {
        let key = (x.stamp(), *shape);
        let kind = (self.runs * self.shape.input_len(), self.bf16);
        let values = || x.values(shape.input_len());
        match &self.layout {
            Layout::AsItIs => values(),
            Layout::Blocks(blocks) => x.blocks(blocks, shape.batch).unwrap_or_else(|| {
                in_blocks.of(gpu, kind, key, |there| blocks.input(gpu, there, values()))
            }),
            Layout::Apart => {
                let groups = Groups::of_inputs(shape);
                apart.of(gpu, kind, key, |there| groups.part(gpu, there, values()))
            }
        }
    }

    /// The output's gradient so. What was laid out for that of the weights still stands there for the
    /// input's.
    fn output<'a>(
        &self,
        gpu: &Gpu,
        apart: &'a mut LaidOut,
        d_y: &'a Floats,
        shape: &ConvShape,
    ) -> Reals<'a> {
        let (key, values) = ((d_y.stamp(), *shape), d_y.values(shape.output_len()));
        let Layout::Apart = self.layout else { return values };
        let groups = Groups::of_outputs(shape);
        let kind = (values.len(), self.bf16);
        apart.of(gpu, kind, key, |there| groups.part(gpu, there, values))
    }

    fn weights<'a>(
        &self,
        gpu: &Gpu,
        room: &'a mut Room,
        weights: &'a Floats,
        shape: &ConvShape,
    ) -> Reals<'a> {
        let len = shape.weights_len();
        let Layout::Blocks(blocks) = &self.layout else {
            return factor(gpu, self.bf16, room, weights, len);
        };
        let mut there = room.reals(gpu, self.shape.weights_len(), self.bf16);
        blocks.weights(gpu, there.again(), weights.first(len));
        there.into_read()
    }

    /// Each run has its part of every array, which begins at a multiple of eight numbers, where engines want
    /// it to.
    fn run(
        &self,
        gpu: &Gpu,
        convolutions: &mut Convolutions,
        workspaces: &mut [Room; Lane::COUNT],
        mut out: RealsMut<'_>,
        inputs: [Reals<'_>; 2],
    ) -> bool {
        (0..self.runs).all(|at| {
            let part = |len: usize| at * len / self.runs..(at + 1) * len / self.runs;
            let inputs = inputs.map(|input| input.part(part(input.len())));
            let out = out.part(part(out.len()));
            gpu.beside(lane_of(at, self.runs), || {
                let (room, asked) =
                    (&mut workspaces[gpu.lane() as usize], (&self.shape, self.pass));
                convolutions.run(gpu, asked, out, inputs, |bytes| room.take(gpu, bytes))
            })
        })
    }

    /// The same of an output whose groups are to stand beside each other.
    fn run_and_join(
        &self,
        gpu: &Gpu,
        convolutions: &mut Convolutions,
        (workspaces, joined): (&mut [Room; Lane::COUNT], &mut Room),
        (out, groups): (RealsMut<'_>, Groups),
        inputs: [Reals<'_>; 2],
    ) -> bool {
        let Layout::Apart = self.layout else {
            return self.run(gpu, convolutions, workspaces, out, inputs);
        };
        let mut parts = joined.reals(gpu, out.len(), self.bf16);
        let could = self.run(gpu, convolutions, workspaces, parts.again(), inputs);
        if could {
            groups.join(gpu, out, parts.into_read());
        }
        could
    }
}

/// The lane of run `at` of so many. Of every two the first is asked of a side lane, for the second on the main
/// one to be beside it: the other way about, the side lane would begin behind it.
fn lane_of(at: usize, runs: usize) -> Lane {
    if at.is_multiple_of(2) && at + 1 < runs { Lane::Aside } else { Lane::Main }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_every_two_groups_the_first_is_asked_of_a_side_lane() {
        use Lane::{Aside, Main};
        for lanes in
            [&[Main][..], &[Aside, Main], &[Aside, Main, Main], &[Aside, Main, Aside, Main]]
        {
            let found: Vec<Lane> = (0..lanes.len()).map(|at| lane_of(at, lanes.len())).collect();
            assert_eq!(found, lanes);
        }
    }
}
