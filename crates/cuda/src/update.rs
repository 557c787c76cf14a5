//! Gradient descent: `kernels/sgd.cu`.

use alexnet_ops::{SgdStep, SgdUpdate, UpdateRule};

use crate::Engine;
use crate::driver::{Argument, Gpu, Launch, Reals, Touch, View, ViewMut};
use crate::floats::Floats;
use crate::reduce::word;
use crate::scratch::Scratch;

/// What an update writes: weights, the bf16 ones beside them if they are kept, and velocity.
pub(crate) struct Updated<'a> {
    pub(crate) weights: ViewMut<'a, f32>,
    pub(crate) rounded: Option<ViewMut<'a, u16>>,
    pub(crate) velocity: ViewMut<'a, f32>,
}

impl<'a> Updated<'a> {
    pub(crate) fn new(weights: &'a mut Floats, velocity: &'a mut Floats, len: usize) -> Self {
        let (weights, rounded) = weights.first_of_both(len);
        Self { weights, rounded, velocity: velocity.first_mut(len) }
    }

    /// These elements of all.
    pub(crate) fn part(&mut self, range: std::ops::Range<usize>) -> Updated<'_> {
        Updated {
            weights: self.weights.part(range.clone()),
            rounded: self.rounded.as_mut().map(|rounded| rounded.part(range.clone())),
            velocity: self.velocity.part(range),
        }
    }
}

/// Rate, momentum and decay, as kernels take them.
pub(crate) fn figures(step: &SgdStep) -> [Argument<'static>; 3] {
    [step.learning_rate, step.momentum, step.weight_decay].map(Argument::from)
}

/// One step of gradient descent, by this verdict.
pub(crate) fn update(
    gpu: &Gpu,
    updated: Updated<'_>,
    gradient: View<'_, f32>,
    step: &SgdStep,
    verdict: View<'_, u32>,
) {
    let Updated { weights, rounded, velocity } = updated;
    let len = weights.len();
    assert!(velocity.len() == len && gradient.len() == len);
    let kernel = match (step.rule, &rounded) {
        (UpdateRule::Paper, None) => "sgd_paper",
        (UpdateRule::Paper, Some(_)) => "sgd_paper_rounded",
        (UpdateRule::PyTorch, None) => "sgd_pytorch",
        (UpdateRule::PyTorch, Some(_)) => "sgd_pytorch_rounded",
    };
    let ([rate, momentum, decay], launch) = (figures(step), Launch::eights(len));
    let written: [Argument<'_>; 2] = [weights.into(), velocity.into()];
    let (verdict, len) = (verdict.into(), (len as u64).into());
    let read = [gradient.into(), rate, momentum, decay, verdict, len];
    match rounded {
        None => gpu.launch(kernel, launch, &[&written[..], &read].concat()),
        Some(rounded) => {
            gpu.launch(kernel, launch, &[&written[..], &[rounded.into()], &read].concat());
        }
    }
}

/// Elements of one array that a block updates.
const PIECE: usize = 1 << 12;

/// What the kernels are told of all arrays.
#[derive(Default)]
struct Table {
    words: Vec<u64>,
    touched: Vec<Touch>,
    arrays: usize,
    blocks: usize,
    is_layer_wise: bool,
}

impl Table {
    /// `struct Updated` of the kernels.
    fn add(&mut self, update: SgdUpdate<'_, Floats>) {
        let SgdUpdate { weights, velocity, gradient, step, trust, len } = update;
        let Updated { weights, rounded, velocity } = Updated::new(weights, velocity, len);
        let gradient = gradient.first(len);
        self.touched.extend([weights.touch(), velocity.touch(), gradient.touch()]);
        self.touched.extend(rounded.as_ref().map(ViewMut::touch));
        let rounded = rounded.map_or(0, |rounded| rounded.entry());
        let [gradient, ..] = Reals::F32(gradient).entry();
        let [rate, momentum, decay, factor] =
            [step.learning_rate, step.momentum, step.weight_decay, trust.unwrap_or(0.0)]
                .map(f32::to_bits);
        let [is_pytorch, is_layer_wise] =
            [step.rule == UpdateRule::PyTorch, trust.is_some()].map(u32::from);
        let figures = [[rate, momentum], [decay, is_pytorch], [factor, is_layer_wise]]
            .map(|[low, high]| u64::from(high) << 32 | u64::from(low));
        self.words.extend([weights.entry(), velocity.entry(), rounded, gradient, len as u64]);
        self.words.extend(figures.into_iter().chain([self.blocks as u64]));
        self.arrays += 1;
        self.blocks += len.div_ceil(PIECE);
        self.is_layer_wise |= trust.is_some();
    }
}

/// Steps of many arrays in one launch, after two for their norms where a rate is layer-wise.
pub(crate) fn update_many<'a>(
    engine: &mut Engine,
    updates: impl Iterator<Item = SgdUpdate<'a, Floats>>,
) {
    let mut table = Table::default();
    updates.for_each(|update| table.add(update));
    let Table { words, touched, arrays, blocks, is_layer_wise } = table;
    let Engine { gpu, scratch, crossing, guard, .. } = engine;
    // A graph would take whichever table is there when it is launched.
    if gpu.gives_up() || !gpu.touches(&touched) {
        return;
    }
    let Scratch { updates: room, updates_are, sums: [sums, squares], .. } = scratch;
    let mut there: ViewMut<'_, u64> = room.take(gpu, words.len());
    if *updates_are != words {
        crossing.send(gpu, there.again(), &words);
        *updates_are = words;
    }
    let [count, piece, all] = [arrays, PIECE, blocks].map(|size| word(size).into());
    let mut squares: ViewMut<'_, f64> = squares.take(gpu, 2 * arrays);
    if is_layer_wise {
        let of_doubles = |blocks| Launch::blocks(blocks).sharing(|threads| 2 * threads);
        let mut sums: ViewMut<'_, f64> = sums.take(gpu, 2 * blocks);
        let arguments = [sums.again().into(), there.read().into(), count, piece];
        gpu.launch("squares_of_pieces", of_doubles(blocks), &arguments);
        let (from, to) = (sums.read().into(), squares.again().into());
        let arguments = [to, from, there.read().into(), count, all];
        gpu.launch("squares_of_arrays", of_doubles(arrays), &arguments);
    }
    let verdict = guard.verdict().into();
    let arguments = [there.read().into(), squares.read().into(), count, piece, verdict];
    gpu.launch("sgd_many", Launch::blocks(blocks).sharing(|_| 1), &arguments);
}
