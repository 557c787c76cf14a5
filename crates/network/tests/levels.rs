//! Images that come as bytes are, to the bit, the images that come as the numbers they become.

use alexnet_cpu::Cpu;
use alexnet_network::{
    Images, Initialisation, Model, ModelConfig, ModelName, Network, ParameterSpec, Pass, Plan,
    Purpose,
};
use alexnet_ops::conformance::value;
use alexnet_ops::{Axis, Device, Levels, Normalisation, Picture, Reference, SgdStep, UpdateRule};

const SIDE: usize = 63;
const IMAGES: usize = 5;
const CLASSES: usize = 4;
const SEED: u64 = 7;

/// Levels of images that are larger than a picture, and a picture of each.
fn batch(step: u64) -> (Vec<u8>, Vec<Picture>) {
    let level = |at| ((value(at, step as u32) + 1.0) * 128.0) as u8;
    let figures = |image| Normalisation {
        mean: [123.7 + value(image, 8), 116.3, 103.5 - value(image, 9)],
        scale: [1.0 / 58.4, 1.0 / 57.1, 1.0 / (57.4 + value(image, 10))],
    };
    let axis = |start: usize| Axis {
        len: SIDE as u32 + 9,
        start: start as f64,
        extent: f64::from(SIDE as u32 + 4),
    };
    let picture = |image| Picture {
        across: axis(image),
        down: axis(5 - image),
        flip: image % 2 == 1,
        normalise: figures(image),
    };
    let levels = (0..IMAGES * (SIDE + 9) * (SIDE + 9) * 3).map(level).collect();
    (levels, (0..IMAGES).map(picture).collect())
}

fn network<D: Device>(device: D, at_a_time: usize, purpose: Purpose) -> Network<D> {
    let model = Model::new(ModelConfig {
        model: ModelName::Modern,
        classes: CLASSES,
        image_size: SIDE,
        width: 0.02,
        batch_norm: true,
        dropout: None,
    });
    let plan = Plan::new(&model.expect("a model"), at_a_time, purpose, Initialisation::He);
    Network::new(device, plan.expect("a plan"), SEED)
}

fn sgd(_: &ParameterSpec) -> SgdStep {
    let rule = UpdateRule::PyTorch;
    SgdStep { rule, learning_rate: 0.01, momentum: 0.9, weight_decay: 5e-4 }
}

/// How images come.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Way {
    Values,
    Levels,
    /// As levels, each with the next one's window and figures.
    Misled,
}

/// All numbers that two steps and an evaluation after each give and leave, as bits.
fn numbers<D: Device>(mut network: Network<D>, way: Way) -> Vec<u32> {
    let labels: Vec<u32> = (0..IMAGES).map(|n| (n % CLASSES) as u32).collect();
    let mut all = Vec::new();
    for step in 0..2 {
        let (slots, mut pictures) = batch(step);
        if way == Way::Misled {
            pictures.rotate_left(1);
        }
        let as_levels = Images::Levels(Levels { slots: &slots, pictures: &pictures, side: SIDE });
        let values = as_levels.values();
        let images = if way == Way::Values { Images::Values(&values) } else { as_levels };
        let stepped = network.train_step(images, &labels, SEED, step, sgd).expect("finite");
        all.extend([stepped.losses, stepped.ranks].concat());
        all.extend_from_slice(network.logits());
        all.extend_from_slice(network.forward(images, Pass::Evaluate));
    }
    let arrays = network.weights().into_iter().chain(network.velocities());
    all.extend(arrays.flat_map(|array| array.values));
    all.into_iter().map(f32::to_bits).collect()
}

fn check<D: Device + Clone>(device: &D) {
    for (at_a_time, purpose) in [(IMAGES, Purpose::Training), (2, Purpose::Accumulate)] {
        let what = format!("{at_a_time} at a time on {}", device.name());
        let [values, levels, misled] = [Way::Values, Way::Levels, Way::Misled]
            .map(|way| numbers(network(device.clone(), at_a_time, purpose), way));
        assert!(values == levels, "{what}");
        assert!(values != misled, "{what}: whose picture it is makes no difference");
    }
}

#[test]
fn a_step_from_levels_has_the_bits_of_a_step_from_the_values_they_become() {
    check(&Reference::<f32>::new());
    check(&Cpu::new(2).expect("threads"));
}

#[test]
#[should_panic(expected = "a slot for each picture")]
fn levels_without_their_pictures_are_refused() {
    let (slots, pictures) = batch(0);
    let pictures = &pictures[..IMAGES - 3]; // which do not share the bytes evenly
    let images = Images::Levels(Levels { slots: &slots[1..], pictures, side: SIDE });
    network(Cpu::new(1).expect("threads"), IMAGES, Purpose::Inference)
        .forward(images, Pass::Evaluate);
}
