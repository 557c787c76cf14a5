//! Where a pass keeps its activations and their gradients: arrays that take turns.
//!
//! A value is born in one moment of the step and last read in another. Between the last reader of
//! one and the birth of another lies nothing, so both may have the same array. Most of what a
//! training step computes is read again on its way back, but not all: the first convolution's
//! output, the largest of all, is not, since the pooling after it notes where its maxima were. Its
//! array is another's as soon as it was pooled, and in the end its own gradient's.

use alexnet_ops::Activation;

use crate::network::Pass;
use crate::plan::Step;

/// A place for each value.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Places {
    /// Of the input, then of each step's output.
    pub(crate) activations: Vec<usize>,
    /// Of their gradients; none where nothing is trained.
    pub(crate) gradients: Vec<usize>,
    /// Floats of each place.
    pub(crate) lens: Vec<usize>,
}

/// The way back of a step of training.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Back {
    /// The first step that learns: the last one on the way.
    pub(crate) lowest: usize,
    /// Whether linear layers' weights are updated where their gradient is formed: at the end, from
    /// input and output gradient.
    pub(crate) fused: bool,
}

/// A value from its birth to its last reader, in moments of a step: the input comes at 0, step i
/// runs at i + 1, the loss after all of them, then the steps again, backwards, and updates last.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Life {
    birth: usize,
    last: usize,
    len: usize,
}

impl Life {
    fn overlaps(&self, other: &Self) -> bool {
        self.birth <= other.last && other.birth <= self.last
    }
}

impl Places {
    /// For `steps` on inputs of `input_len` floats.
    pub(crate) fn new(steps: &[Step], input_len: usize, back: Option<Back>) -> Self {
        let (activations, gradients) = lives(steps, input_len, back);
        let all: Vec<Life> = activations.iter().chain(&gradients).copied().collect();
        let (mut places, lens) = allot(&all);
        let mut gradients = places.split_off(activations.len());
        for value in (0..gradients.len()).rev().filter(|&value| is_in_place(steps, value)) {
            gradients[value] = gradients[value + 1];
        }
        Self { activations: places, gradients, lens }
    }
}

/// Of each activation, and of each gradient.
fn lives(steps: &[Step], input_len: usize, way: Option<Back>) -> (Vec<Life>, Vec<Life>) {
    let count = steps.len();
    let len = |value: usize| if value == 0 { input_len } else { steps[value - 1].output_len() };
    // Moments of the loss, and of the way back through a step.
    let loss = count + 1;
    let back = |step: usize| 2 * count + 1 - step;
    // Where input and output gradient of a step are read last: with its update, if that needs them.
    let update = 2 * count + 2;
    let read = |step: usize| match steps[step] {
        Step::Linear { .. } if way.is_some_and(|way| way.fused) => update,
        _ => back(step),
    };
    // A device may do an update beside the next step's beginning: nobody has these places before it is done.
    let born = |birth: usize, reader: usize| if read(reader) == update { 0 } else { birth };
    let returns = |step: usize| way.is_some_and(|way| step >= way.lowest);
    let activation = |value: usize| {
        // Where steps that change nothing are left out, a later one reads.
        let left_out = |step: &&Step| step.is_identity(Pass::Evaluate);
        let reader = value + steps[value..].iter().take_while(left_out).count();
        let (mut birth, mut last) = (value, reader + 1);
        if [value, reader].into_iter().any(|step| step < count && is_joined(steps, step)) {
            // The layer and what follows it are one operation, in one pass at least, which has written
            // its output when it has read all of its input.
            last += 1;
        }
        if value < count && returns(value) && steps[value].reads_input_again() {
            last = last.max(read(value));
            birth = born(birth, value);
        }
        let reads_output = |step: usize| {
            reads_output_again(steps, step) || matches!(steps[step], Step::Saturation { .. })
        };
        if value > 0 && returns(value - 1) && reads_output(value - 1) {
            last = last.max(back(value - 1));
        }
        // Logits are looked at, and given to the caller, when everything else is done.
        if value == count && way.is_some() {
            last = update;
        }
        Life { birth, last, len: len(value) }
    };
    let activations = (0..=count).map(activation).collect();
    let gradient = |value: usize| {
        let birth = if value == count { loss } else { back(value) };
        // What comes before all that learns has no gradient, and some have another's place.
        if value == 0 || !returns(value - 1) || is_in_place(steps, value) {
            return Life { birth, last: birth, len: 0 };
        }
        let below = (0..value).rev().take_while(|&value| is_in_place(steps, value)).count();
        let reader = (value - below).saturating_sub(1);
        Life { birth: born(birth, reader), last: read(reader), len: len(value) }
    };
    let gradients = if way.is_some() { (0..=count).map(gradient).collect() } else { Vec::new() };
    (activations, gradients)
}

/// Whether the gradient of this value is made where that of the next stands: that of a ReLU by itself,
/// of the curves before it, and of dropout where it is the ReLU's too.
fn is_in_place(steps: &[Step], value: usize) -> bool {
    match steps.get(value) {
        Some(Step::Relu { .. } | Step::Saturation { .. }) => true,
        Some(Step::Dropout { .. }) => reads_output_again(steps, value),
        _ => false,
    }
}

/// Whether the gradient of step `index`'s output is set to 0 where the output is: its ReLU's part. A
/// maximum of rectified values is one of them, so where pooling follows the ReLU, that is done to
/// its output's gradient instead, of which there is a quarter. And where dropout follows, its outputs are
/// 0 where the ReLU's are or where it dropped them, so that both ways back are one.
pub(crate) fn reads_output_again(steps: &[Step], index: usize) -> bool {
    match steps[index] {
        Step::MaxPool { .. } | Step::Dropout { .. } => index > 0 && steps[index - 1].rectifies(),
        step => {
            let next = steps.get(index + 1);
            step.rectifies() && !matches!(next, Some(Step::MaxPool { .. } | Step::Dropout { .. }))
        }
    }
}

/// Whether step `index` is one operation with the next, unless that is left out: a convolution whose ReLU
/// is pooled or normalised, or a linear layer with dropout.
pub(crate) fn is_joined(steps: &[Step], index: usize) -> bool {
    matches!(
        (steps[index], steps.get(index + 1)),
        (
            Step::Conv { activation: Activation::Relu, .. },
            Some(Step::MaxPool { .. } | Step::Lrn { .. }),
        ) | (Step::Linear { .. }, Some(Step::Dropout { .. }))
    )
}

/// A place for each life, so that no two that overlap share one, and the floats of each place: the fewer of
/// what comes of taking the largest first, and those born first.
fn allot(lives: &[Life]) -> (Vec<usize>, Vec<usize>) {
    let sorted = |key: fn(&Life) -> usize| {
        let mut order: Vec<usize> = (0..lives.len()).collect();
        order.sort_by_key(|&index| key(&lives[index]));
        order
    };
    let orders = [sorted(|life| usize::MAX - life.len), sorted(|life| life.birth)];
    let [by_size, by_birth] = orders.map(|order| allot_in(&order, lives));
    let floats = |(_, lens): &(_, Vec<usize>)| lens.iter().sum::<usize>();
    if floats(&by_size) <= floats(&by_birth) { by_size } else { by_birth }
}

/// The same in this order: each has the smallest free place that is large enough, or the largest, made larger.
fn allot_in(order: &[usize], lives: &[Life]) -> (Vec<usize>, Vec<usize>) {
    let mut places = vec![0; lives.len()];
    let mut lens: Vec<usize> = Vec::new();
    let mut taken: Vec<Vec<Life>> = Vec::new();
    for &index in order {
        let life = lives[index];
        let is_free = |&place: &usize| !taken[place].iter().any(|other| other.overlaps(&life));
        let free = || (0..taken.len()).filter(is_free);
        let fits = free().filter(|&place| lens[place] >= life.len).min_by_key(|&place| lens[place]);
        let place = fits.or_else(|| free().max_by_key(|&place| lens[place])).unwrap_or(lens.len());
        if place == lens.len() {
            lens.push(0);
            taken.push(Vec::new());
        }
        lens[place] = lens[place].max(life.len);
        taken[place].push(life);
        places[index] = place;
    }
    (places, lens)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Initialisation, Model, ModelConfig, ModelName, Plan, Purpose};

    fn plans() -> impl Iterator<Item = Plan> {
        let all = ModelName::ALL.into_iter().flat_map(|model| [(model, false), (model, true)]);
        let configs = all.filter_map(|(model, batch_norm)| {
            let image_size = model.native_image_size();
            Model::new(ModelConfig {
                model,
                classes: 10,
                image_size,
                width: 1.0,
                batch_norm,
                dropout: None,
            })
            .ok()
        });
        configs.flat_map(|model| {
            use Purpose::{Accumulate, Gradients, Inference, Training};
            let plan = |purpose| Plan::new(&model, 4, purpose, Initialisation::He).expect("a plan");
            let all = [Training, Inference, Gradients, Accumulate].map(plan);
            let frozen = |layers: &[&str]| plan(Training).freeze(layers).expect("such layers");
            let some = [frozen(&["conv1"]), frozen(&["conv3", "fc6"]), frozen(&["conv1", "conv2"])];
            all.into_iter().chain(some).collect::<Vec<_>>()
        })
    }

    #[test]
    fn values_that_live_at_the_same_time_have_places_of_their_own() {
        for plan in plans() {
            let input_len = plan.batch * plan.image_len();
            let (activations, gradients) = lives(&plan.steps, input_len, plan.back());
            let all: Vec<Life> = activations.into_iter().chain(gradients).collect();
            let (places, lens) = allot(&all);
            for (i, a) in all.iter().enumerate() {
                assert!(a.len <= lens[places[i]], "{:?}: {a:?}", plan.model.config);
                for (j, b) in all.iter().enumerate().skip(i + 1) {
                    assert!(
                        !a.overlaps(b) || places[i] != places[j],
                        "{:?}: {a:?} {b:?}",
                        plan.model.config
                    );
                }
            }
        }
    }

    #[test]
    fn nothing_takes_the_place_of_the_logits_before_a_step_ends() {
        for plan in plans().filter(|plan| plan.purpose.is_training()) {
            let Places { activations, gradients, .. } = &plan.places;
            let lowest = plan.back().map_or(0, |back| back.lowest);
            let logits = activations[plan.steps.len()];
            let taken = gradients[lowest + 1..].contains(&logits);
            assert!(!taken, "{:?}, {:?}", plan.purpose, plan.model.config);
        }
    }

    #[test]
    fn what_updates_read_stays_while_the_next_step_begins() {
        for plan in plans() {
            let Places { activations, gradients, .. } = &plan.places;
            let fused: Vec<usize> = (0..plan.steps.len()).filter(|&i| plan.is_fused(i)).collect();
            let Some(&first) = fused.first() else { continue };
            let read = fused.iter().flat_map(|&i| [activations[i], gradients[i + 1]]);
            let written = &activations[..first];
            let taken: Vec<usize> = read.filter(|place| written.contains(place)).collect();
            assert!(taken.is_empty(), "{:?}, {:?}: {taken:?}", plan.purpose, plan.model.config);
        }
    }

    #[test]
    fn an_operation_s_input_sums_and_output_have_places_of_their_own() {
        for plan in plans() {
            let is_joined = |&index: &usize| is_joined(&plan.steps, index);
            for index in (0..plan.steps.len()).filter(is_joined) {
                let [x, sums, y] = [0, 1, 2].map(|next| plan.places.activations[index + next]);
                let apart = x != sums && sums != y && x != y;
                assert!(apart, "{:?}, {:?}: {x} {sums} {y}", plan.purpose, plan.model.config);
            }
        }
    }

    #[test]
    fn a_training_step_needs_a_fifth_less_than_an_array_for_each_value() {
        for plan in
            plans().filter(|plan| plan.purpose.is_training() && !plan.model.config.batch_norm)
        {
            let outputs: Vec<usize> = plan.steps.iter().map(Step::output_len).collect();
            let largest = outputs.iter().max().copied().unwrap_or_default();
            let apart = plan.batch * plan.image_len() + outputs.iter().sum::<usize>() + 2 * largest;
            let together: usize = plan.places.lens.iter().sum();
            // Updates that wait for the end have their inputs and output gradients wait too.
            let waiting = (0..plan.steps.len()).filter(|&step| plan.is_fused(step));
            let waiting: usize = waiting
                .map(|step| outputs[step] + step.checked_sub(1).map_or(0, |below| outputs[below]))
                .sum();
            let config = plan.model.config;
            assert!(5 * together < 4 * apart + 5 * waiting, "{config:?}: {together} of {apart}");
        }
    }
}
