//! Training as a GPU may remember it, in figures to be compared to the bit.

use std::ops::Range;

use alexnet::cuda::{Cuda, CudaError};
use alexnet::network::{
    Array, Initialisation, Model, ModelConfig, ModelName, Network, ParameterSpec, Pass, Plan,
    Purpose,
};
use alexnet::ops::conformance::values;
use alexnet::ops::{
    Device, Images, Levels, Normalisation, Picture, Precision, SgdStep, UpdateRule,
};

/// Steps of a training.
pub(crate) const STEPS: usize = 13;
/// Steps after which all has changed that changes.
pub(crate) const STEPS_TO_CHANGE: usize = 8;
/// Images at most in a pass.
const BATCH: usize = 3;
/// Images of each step: the second kind of step makes arrays grow that the first works in, and they
/// take turns from then on.
const COUNTS: [usize; STEPS] = [2, 2, 2, 3, 3, 3, 2, 2, 2, 3, 3, 3, 2];

/// Those of them whose images come as levels, of which a device may make something else than of numbers: as many
/// images as others have before and behind them, and with one seed often enough to be remembered and done again.
const BY_LEVELS: Range<usize> = 6..9;
/// Width and height of an image.
const SIDE: usize = 67;

/// What is trained.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Case {
    pub(crate) model: ModelName,
    pub(crate) precision: Precision,
    pub(crate) batch_norm: bool,
    pub(crate) purpose: Purpose,
    pub(crate) frozen: &'static [&'static str],
}

impl Case {
    /// Graphs that are launched at the least: of the passes after the steps, and of the steps if they can
    /// be remembered; and of those that begin beside updates, which linear layers' in bf16 are.
    pub(crate) fn graphs_at_least(&self) -> [u64; 2] {
        let narrow = self.precision == Precision::Bf16 && self.purpose == Purpose::Training;
        let passes = if self.purpose == Purpose::Accumulate { 8 } else { 8 + 5 };
        [passes, if narrow { 8 } else { 0 }]
    }
}

/// What changes from step to step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Change {
    Step,
    Seed,
    Smoothing,
    Rate,
    Images,
    Labels,
}

pub(crate) const CHANGES: [Change; 6] =
    [Change::Step, Change::Seed, Change::Smoothing, Change::Rate, Change::Images, Change::Labels];

/// A case of each kind, the first half of them in `f32`.
pub(crate) fn cases() -> Vec<Case> {
    let plain = Case {
        model: ModelName::Torchvision,
        precision: Precision::F32,
        batch_norm: false,
        purpose: Purpose::Training,
        frozen: &[],
    };
    let paper = Case { model: ModelName::Paper, purpose: Purpose::Gradients, ..plain };
    let normed = Case { model: ModelName::Modern, batch_norm: true, ..plain };
    let parts = Case { purpose: Purpose::Accumulate, ..plain };
    let frozen = Case { frozen: &["conv2"], ..normed };
    // Nothing reads the images again, so others have their place.
    let head = Case { frozen: &["conv1"], ..plain };
    let bf16 = |case| Case { precision: Precision::Bf16, ..case };
    let narrow = [normed, parts, paper].map(bf16);
    [plain, head, paper, frozen].into_iter().chain(narrow).chain([bf16(head)]).collect()
}

/// Levels around 0.
const NORMALISATION: Normalisation = Normalisation { mean: [127.0; 3], scale: [1.0 / 127.0; 3] };

/// How a GPU does what it is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Manner {
    /// As graphs, where it can.
    Remembered,
    /// Operation by operation, some beside each other.
    Beside,
    /// One after the other.
    InTurn,
}

/// The network of a case on this GPU, which does what it is asked for in this manner.
fn network(case: Case, manner: Manner) -> Result<Network<Cuda>, CudaError> {
    let gpu = Cuda::new(0, case.precision)?;
    let gpu = if manner == Manner::Remembered { gpu } else { gpu.without_graphs() };
    if manner == Manner::InTurn {
        gpu.take_turns();
    }
    let config = ModelConfig {
        model: case.model,
        classes: 10,
        image_size: SIDE,
        width: 1.0 / 8.0,
        batch_norm: case.batch_norm,
        dropout: None,
    };
    let model = Model::new(config).expect("a network");
    let plan = Plan::new(&model, BATCH, case.purpose, Initialisation::Model);
    let mut plan = plan.expect("a plan");
    if !case.frozen.is_empty() {
        plan = plan.freeze(case.frozen).expect("such layers");
    }
    Ok(Network::new(gpu, plan, 7))
}

/// Losses, ranks and logits of so many steps and of a pass after each, all weights and all momentum, and how
/// many graphs were launched; with `constant`, one of the things that change stays as it was in the
/// first step.
///
/// # Errors
/// When there is no GPU.
pub(crate) fn trained(
    case: Case,
    steps: usize,
    manner: Manner,
    constant: Option<Change>,
) -> Result<(Vec<u32>, [u64; 2]), CudaError> {
    let mut network = network(case, manner)?;
    let (len, mut found) = (network.plan().image_len(), Vec::new());
    for (number, &count) in COUNTS[..steps].iter().enumerate() {
        // Of a batch in parts, too, there are whole ones and such as are not.
        let count = if case.purpose == Purpose::Accumulate { 2 * count - 1 } else { count };
        let of = |change: Change| if constant == Some(change) { 0 } else { number };
        if of(Change::Smoothing) % 5 == 4 {
            network.set_label_smoothing(0.02 * of(Change::Smoothing) as f32);
        }
        let mut numbers = values(count * len, of(Change::Images) as u32, 1.0);
        let bytes: Vec<u8> = numbers.iter().map(|v| ((v + 1.0) * 127.0) as u8).collect();
        let whole = Picture::whole(SIDE as u32, NORMALISATION);
        let pictures: Vec<_> =
            (0..count).map(|n| Picture { flip: n % 2 == number % 2, ..whole }).collect();
        let labels: Vec<u32> =
            (0..count).map(|n| (n * 3 + of(Change::Labels)) as u32 % 10).collect();
        let (seed, step) = (of(Change::Seed) as u64 / 6, of(Change::Step) as u64);
        let sgd = |_: &ParameterSpec| SgdStep {
            rule: UpdateRule::Paper,
            learning_rate: 0.01 / (1 + of(Change::Rate)) as f32,
            momentum: 0.9,
            weight_decay: 5e-4,
        };
        if number == 9 {
            // Nothing is updated by this one, and its layer is named.
            numbers[len / 2] = f32::INFINITY;
            let refused = network.train_step(&numbers, &labels, seed, step, sgd);
            assert!(refused.is_err_and(|e| e.layer == "input"), "{case:?}");
            numbers[len / 2] = 0.0;
        }
        let images = match BY_LEVELS.contains(&number) {
            true => Images::Levels(Levels { slots: &bytes, pictures: &pictures, side: SIDE }),
            false => Images::Values(&numbers),
        };
        let scores = network.train_step(images, &labels, seed, step, sgd).expect("all is finite");
        found.extend(scores.losses.iter().chain(scores.ranks).map(|value| value.to_bits()));
        found.extend(network.logits().iter().map(|value| value.to_bits()));
        let seen = network.forward(images.part(0..2, len), Pass::Evaluate);
        found.extend(seen.iter().map(|value| value.to_bits()));
    }
    let arrays = [network.weights(), network.velocities()].concat();
    found.extend(arrays.iter().flat_map(|Array { values, .. }| values).map(|v| v.to_bits()));
    Ok((found, network.device().graphs_launched()))
}
