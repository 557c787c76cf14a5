//! Gradient descent: `kernels/sgd.cu`.

use alexnet_ops::{SgdStep, SgdUpdate, UpdateRule};

use crate::Engine;
use crate::driver::{Argument, Gpu, Launch, Reals, View, ViewMut};
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

/// Elements of one array that a block of `sgd_many` updates.
const PIECE: usize = 1 << 12;

/// Steps of many arrays in one launch.
pub(crate) fn update_many(engine: &mut Engine, updates: Vec<SgdUpdate<'_, Floats>>) {
    let (mut table, mut blocks, arrays) = (Vec::new(), 0, updates.len());
    for SgdUpdate { weights, velocity, gradient, step, len } in updates {
        let Updated { weights, rounded, velocity } = Updated::new(weights, velocity, len);
        let rounded = rounded.map_or(0, |rounded| rounded.entry());
        let [gradient, len, _] = Reals::F32(gradient.first(len)).entry();
        let [rate, momentum, decay] = [step.learning_rate, step.momentum, step.weight_decay]
            .map(|figure| u64::from(figure.to_bits()));
        let rule = u64::from(step.rule == UpdateRule::PyTorch);
        let figures = [momentum << 32 | rate, rule << 32 | decay];
        table.extend([weights.entry(), velocity.entry(), rounded, gradient, len]);
        table.extend(figures.into_iter().chain([blocks]));
        blocks += len.div_ceil(PIECE as u64);
    }
    let Engine { gpu, scratch, crossing, guard, .. } = engine;
    // A graph would take whichever table is there when it is launched.
    if gpu.gives_up() {
        return;
    }
    let Scratch { updates: room, updates_are, .. } = scratch;
    let mut there: ViewMut<'_, u64> = room.take(gpu, table.len());
    if *updates_are != table {
        crossing.send(gpu, there.again(), &table);
        *updates_are = table;
    }
    let sizes = [arrays, PIECE].map(|size| word(size).into());
    let arguments = [there.read().into(), sizes[0], sizes[1], guard.verdict().into()];
    let launch = Launch::blocks(blocks as usize).sharing(|_| 1);
    gpu.launch("sgd_many", launch, &arguments);
}
