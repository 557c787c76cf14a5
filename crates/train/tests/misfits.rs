//! Settings that make no sense, or do not go with the data, are refused by name before anything is
//! made.

#[path = "support/state.rs"]
mod state;

use alexnet_cpu::Cpu;
use alexnet_data::{Content, Dataset, Sample, Split};
use alexnet_train::{
    LayerRate, RunFolder, Schedule, TrainConfig, TrainError, Trainer, training_plan,
};

/// Images of two classes, which are only spoken of.
fn dataset() -> Dataset {
    let sample = |label| Sample { content: Content::File("image.png".into()), label };
    let samples = (0..16).map(|index| sample(index % 2)).collect();
    let split = Split { samples, ..Split::default() };
    let classes = vec!["cat".into(), "dog".into()];
    Dataset { root: "photos".into(), classes, train: split.clone(), val: split }
}

type Run = (TrainConfig, Dataset);
/// What is changed of a sound run, and all that is said of it.
type Misfit = (fn(&mut Run), &'static str);

fn rate(layer: &str, factor: f64, from_epoch: f64) -> Vec<LayerRate> {
    vec![LayerRate { layer: layer.into(), factor, from_epoch }]
}

const OF_THE_DATA: [Misfit; 8] = [
    (|(c, _)| c.model.classes = 9, "model.classes is 9: it must be 2, as many as the data set has"),
    (|(c, _)| c.model.classes = 1, "model.classes is 1: it must be 2, as many as the data set has"),
    (
        |(_, d)| d.train.samples[5].label = 2,
        "train.samples[5].label is 2: it must be less than 2, the number of classes",
    ),
    (
        |(_, d)| d.val.samples[0].label = u32::MAX,
        "val.samples[0].label is 4294967295: it must be less than 2, the number of classes",
    ),
    (|(_, d)| d.train.samples.clear(), "train.samples is empty: it must hold an image at least"),
    (|(_, d)| d.val.samples.clear(), "val.samples is empty: it must hold an image at least"),
    (|(c, _)| c.preprocess.crop = 62, "preprocess.crop is 62: it must be model.image_size, 63"),
    (
        |(c, _)| c.layer_rates = rate("conv9", 0.0, 0.0),
        "layer_rates[0].layer is \"conv9\": it must be one of conv1, conv2, conv3, conv4, conv5, fc6, \
         fc7, fc8",
    ),
];

const OF_THE_BOUNDS: [Misfit; 25] = [
    (|(c, _)| c.epochs = 0, "epochs is 0: it must lie between 1 and 1000000"),
    (
        |(c, _)| c.sgd.learning_rate = f64::NAN,
        "sgd.learning_rate is NaN: it must lie between 0 and 1000000",
    ),
    (
        |(c, _)| c.sgd.learning_rate = f64::INFINITY,
        "sgd.learning_rate is inf: it must lie between 0 and 1000000",
    ),
    (|(c, _)| c.sgd.momentum = 2.0, "sgd.momentum is 2: it must lie between 0 and 1"),
    (
        |(c, _)| c.sgd.weight_decay = -0.5,
        "sgd.weight_decay is -0.5: it must lie between 0 and 1000000",
    ),
    (
        |(c, _)| c.sgd.bias_rate_factor = f64::NAN,
        "sgd.bias_rate_factor is NaN: it must lie between 0 and 1000000",
    ),
    (
        |(c, _)| c.sgd.bias_decay_factor = -1.0,
        "sgd.bias_decay_factor is -1: it must lie between 0 and 1000000",
    ),
    (
        |(c, _)| c.warmup_epochs = f64::NAN,
        "warmup_epochs is NaN: it must lie between 0 and 1000000",
    ),
    (|(c, _)| c.patience = Some(0), "patience is 0: it must be 1 or more"),
    (|(c, _)| c.label_smoothing = 2.0, "label_smoothing is 2: it must lie between 0 and 0.9"),
    (|(c, _)| c.micro_batch = Some(0), "micro_batch is 0: it must be 1 or more"),
    (
        |(c, _)| c.layer_wise_trust = Some(-1.0),
        "layer_wise_trust is -1: it must lie between 0 and 1000000",
    ),
    (|(c, _)| c.augment.shared = 0, "augment.shared is 0: it must lie between 1 and 1000000"),
    (
        |(c, _)| c.layer_rates = rate("conv1", f64::NAN, 0.0),
        "layer_rates[0].factor is NaN: it must lie between 0 and 100000000000000000000000000",
    ),
    (
        |(c, _)| c.layer_rates = rate("conv1", 1.0, -1.0),
        "layer_rates[0].from_epoch is -1: it must lie between 0 and 1000000",
    ),
    (
        |(c, _)| c.schedule = Schedule::Step { period: 0.0, gamma: 0.1 },
        "schedule.period is 0: it must lie between 0.01 and 1000000",
    ),
    (
        |(c, _)| c.schedule = Schedule::Step { period: 1.0, gamma: 10.0 },
        "schedule.gamma is 10: it must lie between 0 and 1",
    ),
    (
        |(c, _)| c.schedule = Schedule::Plateau { patience: 1, gamma: f64::NAN },
        "schedule.gamma is NaN: it must lie between 0 and 1",
    ),
    (
        |(c, _)| c.schedule = Schedule::Drops { at: vec![1.0].into(), gamma: -1.0 },
        "schedule.gamma is -1: it must lie between 0 and 1",
    ),
    (
        |(c, _)| c.schedule = Schedule::Drops { at: vec![5.0, 4.0].into(), gamma: 0.1 },
        "schedule.at is [5.0, 4.0]: it must rise, from 0 up, to 1000000 at most",
    ),
    (
        |(c, _)| c.schedule = Schedule::ExponentialSteps { steps: 0, floor: 0.1 },
        "schedule.steps is 0: it must lie between 1 and 1000000",
    ),
    (
        |(c, _)| c.schedule = Schedule::Polynomial { power: -1.0, floor: 0.0 },
        "schedule.power is -1: it must lie between 0 and 1000000",
    ),
    (
        |(c, _)| c.schedule = Schedule::Cosine { floor: f64::NAN },
        "schedule.floor is NaN: it must lie between 0 and 1",
    ),
    (
        |(c, _)| c.schedule = Schedule::WarmRestarts { period: 1.0, growth: 0.0, floor: 0.0 },
        "schedule.growth is 0: it must lie between 1 and 1000000",
    ),
    (
        |(c, _)| c.schedule = Schedule::WarmRestarts { period: f64::NAN, growth: 1.0, floor: 0.0 },
        "schedule.period is NaN: it must lie between 0.01 and 1000000",
    ),
];

#[test]
fn each_misfit_is_refused_by_its_name_and_with_what_it_must_be() {
    let sound = (state::config(), dataset());
    training_plan(&sound.0, &sound.1).expect("a plan");
    for (change, said) in OF_THE_DATA.iter().chain(&OF_THE_BOUNDS) {
        let mut run = sound.clone();
        change(&mut run);
        let refused = training_plan(&run.0, &run.1).expect_err(said);
        assert!(matches!(refused, TrainError::Misfit { .. }), "{refused:?}");
        assert_eq!(&refused.to_string(), said);
    }
}

#[test]
fn a_trainer_refuses_a_misfit_and_leaves_its_folder_as_it_was() {
    let folder = tempfile::tempdir().expect("a folder");
    let run = RunFolder::create(folder.path()).expect("a run's folder");
    let entries = || std::fs::read_dir(folder.path()).expect("read").count();
    let before = entries();
    let mut config = state::config();
    config.model.classes = 9;
    let made = Trainer::new(Cpu::new(1).expect("a thread"), config, &dataset(), run, 1);
    assert!(
        matches!(made.err(), Some(TrainError::Misfit { field, .. }) if field == "model.classes")
    );
    assert_eq!(entries(), before);
}
