//! A run ends with the same bits for any number of threads and loaders, and when it is stopped and
//! resumed at any step.

use std::path::Path;

use alexnet_cpu::Cpu;
use alexnet_data::{Dataset, Fit, Preprocess, SampleSet, UnreadableImage, View};
use alexnet_network::{Array, Initialisation, ModelConfig, ModelName};
use alexnet_ops::UpdateRule;
use alexnet_train::{
    Checkpoint, EpochRow, Observer, Outcome, RunFolder, Schedule, ScheduleMemory, SgdConfig,
    StepReport, TrainConfig, Trainer,
};

/// Stops after so many steps.
struct StopAfter(u64);

impl Observer for StopAfter {
    fn unreadable(&mut self, _: &UnreadableImage) {}
    fn step(&mut self, _: &StepReport) {
        self.0 -= 1;
    }
    fn validated(&mut self, _: u64, _: u64) {}
    fn epoch(&mut self, _: &EpochRow, _: bool) {}
    fn stop(&mut self) -> bool {
        self.0 == 0
    }
}

const NEVER: StopAfter = StopAfter(u64::MAX);
const STEPS_PER_EPOCH: u64 = 5;

/// 36 training images in 12 classes.
fn dataset(folder: &Path) -> Dataset {
    let root = folder.join("set");
    let set = SampleSet { seed: 1, train_per_class: 3, val_per_class: 1, side: 72 };
    set.write(&root, &mut |_, _| true).expect("drawn");
    alexnet_data::open(&root, None).expect("opened")
}

/// A small network with everything in it that could go wrong: dropout, batch normalisation, a last
/// batch of fewer images, random crops, a rate that moves by step and by memory.
fn config(epochs: u64) -> TrainConfig {
    TrainConfig {
        model: ModelConfig {
            model: ModelName::Modern,
            classes: 12,
            image_size: 63,
            width: 0.02,
            batch_norm: true,
            dropout: None,
        },
        initialisation: Initialisation::Model,
        seed: 3,
        epochs,
        batch_size: 8,
        sgd: SgdConfig {
            rule: UpdateRule::Paper,
            learning_rate: 0.02,
            momentum: 0.9,
            weight_decay: 5e-4,
            bias_rate_factor: 2.0,
            bias_decay_factor: 0.0,
        },
        schedule: Schedule::Plateau { patience: 1, gamma: 0.5 },
        warmup_epochs: 0.5,
        layer_rates: Vec::new(),
        patience: None,
        augment: View::RandomCrop.into(),
        preprocess: Preprocess {
            fit: Fit::ShorterSide,
            mean_image: None,
            resize: 70,
            crop: 63,
            mean: [120.0; 3],
            std: [60.0; 3],
        },
    }
}

struct Run {
    trainer: Trainer<Cpu>,
}

impl Run {
    fn new(
        data: &Dataset,
        folder: &Path,
        config: TrainConfig,
        threads: usize,
        workers: usize,
    ) -> Self {
        let folder = RunFolder::create(folder).expect("a folder");
        let device = Cpu::new(threads).expect("threads");
        let trainer = Trainer::new(device, config, data, folder, workers).expect("a trainer");
        Self { trainer }
    }

    fn train(&mut self, mut until: StopAfter) -> Outcome {
        self.trainer.run(&mut until).expect("trained")
    }

    /// All that is learned, as bits.
    fn bits(&self) -> Vec<(String, Vec<u32>)> {
        let network = self.trainer.network();
        let arrays = network.weights().into_iter().chain(network.velocities());
        let bits = |values: Vec<f32>| values.into_iter().map(f32::to_bits).collect();
        arrays.map(|Array { name, values, .. }| (name, bits(values))).collect()
    }
}

#[test]
fn fifty_steps_end_with_the_same_bits_for_any_number_of_threads_and_loaders() {
    let folder = tempfile::tempdir().expect("a folder");
    let data = dataset(folder.path());
    let trained = |threads: usize, workers: usize| {
        let path = folder.path().join(format!("run-{threads}-{workers}"));
        let mut run = Run::new(&data, &path, config(20), threads, workers);
        assert_eq!(run.train(StopAfter(50)), Outcome::Stopped);
        run.bits()
    };
    let expected = trained(1, 0);
    for (threads, workers) in [(1, 3), (2, 1), (3, 2), (8, 4)] {
        assert!(trained(threads, workers) == expected, "{threads} threads, {workers} loaders");
    }
}

#[test]
fn another_seed_ends_with_other_bits() {
    let folder = tempfile::tempdir().expect("a folder");
    let data = dataset(folder.path());
    let trained = |seed: u64| {
        let path = folder.path().join(format!("run-{seed}"));
        let mut run = Run::new(&data, &path, TrainConfig { seed, ..config(1) }, 2, 1);
        run.train(NEVER);
        run.bits()
    };
    assert!(trained(3) != trained(4));
}

#[test]
fn a_run_resumed_at_any_step_ends_with_the_bits_and_results_of_one_never_stopped() {
    let folder = tempfile::tempdir().expect("a folder");
    let data = dataset(folder.path());
    let mut whole = Run::new(&data, &folder.path().join("whole"), config(2), 2, 1);
    assert_eq!(whole.train(NEVER), Outcome::Finished);
    let rows = |name: &str| {
        let folder = RunFolder::create(&folder.path().join(name)).expect("a folder");
        let timeless =
            |row: EpochRow| EpochRow { time_s: 0.0, images_per_s: 0.0, data_wait: 0.0, ..row };
        folder.rows().expect("read").into_iter().map(timeless).collect::<Vec<_>>()
    };
    for step in 1..2 * STEPS_PER_EPOCH {
        let name = format!("stopped-at-{step}");
        let path = folder.path().join(&name);
        let mut first = Run::new(&data, &path, config(2), 1, 0);
        assert_eq!(first.train(StopAfter(step)), Outcome::Stopped, "step {step}");
        drop(first);
        let checkpoint = Checkpoint::newest(&path.join("checkpoints")).expect("a checkpoint");
        assert_eq!(checkpoint.progress.step, step);
        let mut second = Run::new(&data, &path, config(2), 3, 2);
        second.trainer.restore(checkpoint).expect("restored");
        assert_eq!(second.train(NEVER), Outcome::Finished);
        assert!(second.bits() == whole.bits(), "resumed at step {step}");
        assert_eq!(rows(&name), rows("whole"), "resumed at step {step}");
    }
}

/// What the test above would miss if resuming forgot it.
#[test]
fn a_resume_that_forgets_anything_ends_with_other_bits() {
    let folder = tempfile::tempdir().expect("a folder");
    let data = dataset(folder.path());
    let mut whole = Run::new(&data, &folder.path().join("whole"), config(5), 2, 1);
    whole.train(StopAfter(4 * STEPS_PER_EPOCH + 2));
    let checkpoint = Checkpoint::newest(&folder.path().join("whole/checkpoints")).expect("one");
    let ends = |name: &str, forget: &dyn Fn(&mut Checkpoint)| {
        let mut checkpoint = checkpoint.clone();
        forget(&mut checkpoint);
        let mut run = Run::new(&data, &folder.path().join(name), config(5), 2, 1);
        run.trainer.restore(checkpoint).expect("restored");
        run.train(NEVER);
        run.bits()
    };
    let expected = ends("sound", &|_| ());
    type Forget = fn(&mut Checkpoint);
    let faults: [(&str, Forget); 6] = [
        ("momentum", |c| c.momentum.iter_mut().for_each(|array| array.values.fill(0.0))),
        ("running-statistics", |c| {
            let running = c.weights.iter_mut().filter(|array| array.name.contains("running_mean"));
            running.for_each(|array| array.values.fill(0.0));
        }),
        ("dropout-step", |c| c.progress.step = 0),
        ("epoch", |c| c.progress.epoch -= 1),
        ("place-in-epoch", |c| c.progress.step_in_epoch = 0),
        ("schedule", |c| c.progress.schedule = ScheduleMemory::default()),
    ];
    for (name, forget) in faults {
        assert!(ends(name, &forget) != expected, "forgetting {name} was not noticed");
    }
}

#[test]
fn a_damaged_checkpoint_is_passed_over_for_the_one_before() {
    let folder = tempfile::tempdir().expect("a folder");
    let data = dataset(folder.path());
    let path = folder.path().join("run");
    Run::new(&data, &path, config(2), 2, 1).train(NEVER);
    let checkpoints = path.join("checkpoints");
    let newest = checkpoints.join(format!("step-{:010}.checkpoint", 2 * STEPS_PER_EPOCH));
    let mut bytes = std::fs::read(&newest).expect("read");
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::write(&newest, bytes).expect("written");
    let found = Checkpoint::newest(&checkpoints).expect("the one before");
    assert_eq!(found.progress.step, STEPS_PER_EPOCH);
}

#[test]
fn what_a_killed_run_left_half_written_is_cleared_away() {
    let folder = tempfile::tempdir().expect("a folder");
    RunFolder::create(folder.path()).expect("made");
    let left = folder.path().join("weights/.writing-abc");
    std::fs::write(&left, "half").expect("written");
    std::fs::write(folder.path().join("weights/mine.txt"), "whole").expect("written");
    RunFolder::create(folder.path()).expect("made again");
    assert!(!left.exists() && folder.path().join("weights/mine.txt").exists());
}

/// The step's own loss is fine; the update it leads to is not.
#[test]
fn weights_that_an_update_made_infinite_are_never_saved() {
    let folder = tempfile::tempdir().expect("a folder");
    let data = dataset(folder.path());
    let mut config = TrainConfig { batch_size: 36, warmup_epochs: 0.0, ..config(1) };
    config.sgd.learning_rate = 1e38;
    let mut run = Run::new(&data, &folder.path().join("run"), config, 2, 1);
    let error = run.trainer.run(&mut StopAfter(u64::MAX)).expect_err("stopped").to_string();
    assert!(error.contains("nothing was saved"), "{error}");
    let folder = RunFolder::create(&folder.path().join("run")).expect("there");
    assert!(!folder.best().exists() && !folder.last().exists() && !folder.results().exists());
    assert_eq!(Checkpoint::newest(&folder.checkpoints()), None);
}

#[test]
fn a_run_is_not_resumed_on_other_images_or_with_other_settings() {
    let folder = tempfile::tempdir().expect("a folder");
    let data = dataset(folder.path());
    let path = folder.path().join("run");
    Run::new(&data, &path, config(2), 2, 1).train(StopAfter(2));
    let checkpoint = Checkpoint::newest(&path.join("checkpoints")).expect("a checkpoint");
    let mut fewer = data.clone();
    fewer.train.samples.pop();
    let mut swapped = data.clone();
    swapped.train.samples.swap(0, 1);
    for other in [fewer, swapped] {
        let restored = Run::new(&other, &path, config(2), 2, 1).trainer.restore(checkpoint.clone());
        let error = restored.expect_err("refused").to_string();
        assert!(error.contains("36 images") && error.contains("new run"), "{error}");
    }
    let other = TrainConfig { seed: 9, ..config(2) };
    let restored = Run::new(&data, &path, other, 2, 1).trainer.restore(checkpoint.clone());
    assert!(restored.expect_err("refused").to_string().contains("settings"));
    let longer = Run::new(&data, &path, config(3), 2, 1).trainer.restore(checkpoint);
    assert!(longer.is_ok());
}

#[test]
fn a_loss_that_is_no_number_stops_the_run_before_the_update() {
    let folder = tempfile::tempdir().expect("a folder");
    let data = dataset(folder.path());
    let mut config = config(3);
    config.model.batch_norm = false;
    config.sgd.learning_rate = 1e30;
    config.warmup_epochs = 0.0;
    let mut run = Run::new(&data, &folder.path().join("run"), config, 2, 1);
    let error = run.trainer.run(&mut StopAfter(u64::MAX)).expect_err("stopped").to_string();
    let names_it = error.contains("gradient of ") || error.contains("output of ");
    assert!(names_it && error.contains(" became ") && error.contains("learning rate"), "{error}");
}
