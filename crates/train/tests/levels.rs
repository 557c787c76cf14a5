//! A run on a device that images reach as bytes is the run on one that they reach as numbers.

#[path = "support/by_levels.rs"]
mod by_levels;
#[path = "support/state.rs"]
mod state;

use std::path::Path;
use std::sync::atomic::Ordering::Relaxed;

use alexnet_cpu::Cpu;
use alexnet_data::{
    Augment, ColourNoise, Dataset, Fit, Loader, LoaderConfig, MeanImage, MeanPart, Order,
    SampleSet, Unreadable, UnreadableImage, View,
};
use alexnet_network::{Images, ModelConfig, Network, Pass, Plan, Purpose};
use alexnet_ops::{Levels, Normalisation, Picture, SgdStep, UpdateRule};
use alexnet_train::{
    Answer, EpochRow, Observer, Outcome, RunFolder, SaveFailure, StepReport, TrainConfig, Trainer,
    evaluate_each,
};
use by_levels::ByLevels;

fn device(prefers: bool) -> ByLevels {
    let cpu = Cpu::new(2).expect("threads");
    ByLevels {
        cpu,
        prefers,
        by_itself: false,
        misled: false,
        came: Default::default(),
        resized: Default::default(),
        brought: Default::default(),
        used: Default::default(),
    }
}

/// 36 training images and 12 to validate with, in 12 classes.
fn dataset(folder: &Path) -> Dataset {
    let root = folder.join("set");
    let set = SampleSet { seed: 1, train_per_class: 3, val_per_class: 1, side: 72 };
    set.write(&root, &mut |_, _| true).expect("drawn");
    alexnet_data::open(&root, None).expect("opened")
}

/// Random crops with colour noise, so that each image has figures of its own.
fn config() -> TrainConfig {
    let config = state::config();
    let colour = Some(ColourNoise::imagenet(0.1, true, Some(1)));
    TrainConfig {
        model: ModelConfig { classes: 12, ..config.model },
        epochs: 2,
        augment: Augment { colour, ..View::RandomCrop.into() },
        ..config
    }
}

/// Hears the losses of steps and validations.
#[derive(Default)]
struct Losses(Vec<u64>);

impl Observer for Losses {
    fn unreadable(&mut self, _: &UnreadableImage) {}
    fn step(&mut self, report: &StepReport) {
        self.0.push(report.loss.to_bits());
    }
    fn validated(&mut self, _: u64, _: u64) {}
    fn epoch(&mut self, row: &EpochRow, _: bool) {
        self.0.extend([row.val_loss.to_bits(), row.top1_accuracy.to_bits()]);
    }
    fn not_saved(&mut self, failure: &SaveFailure) {
        panic!("{}", failure.reason);
    }
    fn stop(&mut self) -> bool {
        false
    }
}

/// All losses of a run, and all that it learned, as bits.
fn train(device: ByLevels, config: TrainConfig, workers: usize) -> (Vec<u64>, Vec<u32>) {
    let folder = tempfile::tempdir().expect("a folder");
    let data = dataset(folder.path());
    let run = RunFolder::create(&folder.path().join("run")).expect("a folder");
    let mut trainer = Trainer::new(device, config, &data, run, workers).expect("a trainer");
    assert!(trainer.forward_seconds() > 0.0);
    let mut losses = Losses::default();
    assert_eq!(trainer.run(&mut losses).expect("trained"), Outcome::Finished);
    let network = trainer.network();
    let arrays = network.weights().into_iter().chain(network.velocities());
    (losses.0, arrays.flat_map(|array| array.values).map(f32::to_bits).collect())
}

#[test]
fn a_run_has_the_same_bits_whether_images_come_as_levels_or_as_values() {
    for micro_batch in [None, Some(3)] {
        let config = TrainConfig { micro_batch, ..config() };
        let values = device(false);
        let expected = train(values.clone(), config.clone(), 1);
        assert_eq!(values.came.load(Relaxed), 0);
        for workers in [0, 3] {
            let levels = device(true);
            let found = train(levels.clone(), config.clone(), workers);
            assert!(found == expected, "{workers} loader threads, {micro_batch:?} at a time");
            // Two passes to measure the time of one, and the epochs with their validation.
            assert_eq!(levels.came.load(Relaxed), 2 * 8 + 2 * (36 + 12));
            // The blank ones of those two passes are whole; all others fit into their slots.
            assert_eq!(levels.resized.load(Relaxed), 2 * (36 + 12));
            // Of a batch that is taken in parts, none is ahead.
            let ahead = levels.used.load(Relaxed);
            assert_eq!(ahead > 0, micro_batch.is_none(), "{ahead} batches came ahead");
        }
        let misled = ByLevels { misled: true, ..device(true) };
        assert!(train(misled, config, 1) != expected, "whose figures they are says nothing");
    }
}

#[test]
fn what_was_brought_is_one_step_s_unless_it_is_kept() {
    let config = config();
    let model = alexnet_network::Model::new(config.model).expect("a model");
    let sgd = |_: &_| SgdStep {
        rule: UpdateRule::PyTorch,
        learning_rate: 0.01,
        momentum: 0.9,
        weight_decay: 0.0,
    };
    let plan = Plan::new(&model, 2, Purpose::Training, config.initialisation).expect("a plan");
    let pictures = |salt: u8| -> Vec<u8> {
        (0..2 * plan.image_len()).map(|at| (at as u8).wrapping_mul(salt)).collect()
    };
    let side = plan.model.config.image_size;
    let figures = Normalisation { mean: [120.0; 3], scale: [0.02; 3] };
    let figures = [Picture::whole(side as u32, figures); 2];
    let logits = |ahead: bool| {
        let device = device(true);
        let mut network = Network::new(device.clone(), plan.clone(), 3);
        let mut seen = Vec::new();
        // In one place, one after the other, as a loader's memory is used again.
        let mut levels = pictures(3);
        for salt in [3, 5, 7, 5] {
            levels.copy_from_slice(&pictures(salt));
            let images = Images::Levels(Levels { slots: &levels, pictures: &figures, side });
            if ahead && salt != 7 {
                network.bring(images);
            }
            if salt == 5 {
                seen.extend(network.forward(images, Pass::Evaluate).to_vec());
            }
            network.train_step(images, &[0, 1], 1, 0, sgd).expect("finite");
            seen.extend_from_slice(network.logits());
        }
        levels.copy_from_slice(&pictures(9));
        let images = Images::Levels(Levels { slots: &levels, pictures: &figures, side });
        network.keep(images);
        for _ in 0..3 {
            seen.extend(network.forward(images, Pass::Evaluate).to_vec());
        }
        (seen, device.used.load(Relaxed))
    };
    let (ahead, used) = logits(true);
    assert_eq!(used, 1 + 3, "the step that nothing else came before, and what was kept");
    assert!(ahead == logits(false).0);
}

#[test]
fn with_a_mean_image_images_come_as_values_to_any_device() {
    let mut config = config();
    let preprocess = &mut config.preprocess;
    let side = preprocess.resize as usize;
    let levels = (0..side * side * 3).map(|at| (at % 200) as f32).collect();
    preprocess.mean_image = Some(MeanImage { part: MeanPart::Crop, levels });
    preprocess.fit = Fit::CentreSquare;
    let device = device(true);
    train(device.clone(), config, 1);
    assert_eq!(device.came.load(Relaxed), 0);
}

#[test]
fn images_are_judged_alike_however_they_come_and_whether_or_not_a_device_computes_by_itself() {
    let folder = tempfile::tempdir().expect("a folder");
    let data = dataset(folder.path());
    let TrainConfig { model, preprocess, initialisation, .. } = config();
    let model = alexnet_network::Model::new(model).expect("a model");
    for (view, pictures, count) in
        [(View::Centre, 12, 1), (View::Centre, 12, 2), (View::TenCrops, 120, 1)]
    {
        let loader = LoaderConfig {
            batch_size: 5,
            workers: 1,
            seed: 0,
            augment: view.into(),
            unreadable: Unreadable::Blank,
            preprocess: preprocess.clone(),
            order: Order::Sequential,
        };
        let loader = Loader::new(data.val.samples.to_vec(), loader).expect("a loader");
        let judged = |prefers, by_itself| {
            let device = ByLevels { by_itself, ..device(prefers) };
            // Fewer at a time than a batch of ten views has pictures.
            let plan = Plan::new(&model, 7, Purpose::Inference, initialisation).expect("a plan");
            let network = |seed| Network::new(device.clone(), plan.clone(), seed);
            let mut networks: Vec<_> = (0..count).map(network).collect();
            let mut answers = Vec::new();
            let answered = |answer: &Answer<'_>| {
                let answer = answer.answer.expect("all can be read");
                answers.extend(answer.probabilities.iter().map(|p| p.to_bits()));
            };
            let found = evaluate_each(&mut networks, &loader, answered, |_, _| Ok(()));
            let came = if prefers { pictures * count as usize } else { 0 };
            assert_eq!(device.came.load(Relaxed), came, "{view:?}");
            // Each batch but the first, where it is taken as a whole.
            let ahead = if prefers && by_itself && view == View::Centre { 2 } else { 0 };
            assert_eq!(device.used.load(Relaxed), ahead, "{view:?}, {count} networks");
            (found.expect("evaluated"), answers)
        };
        let expected = judged(false, false);
        for (prefers, by_itself) in [(true, false), (false, true), (true, true)] {
            assert!(judged(prefers, by_itself) == expected, "{view:?} {prefers} {by_itself}");
        }
    }
}
