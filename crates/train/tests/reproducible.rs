//! A run ends with the same bits for any number of threads and loaders, and when it is stopped and
//! resumed at any step.

#[path = "support/state.rs"]
mod state;

use std::collections::HashSet;
use std::path::Path;
use std::sync::Arc;

use alexnet_cpu::Cpu;
use alexnet_data::{Dataset, Disk, SampleSet, UnreadableImage};
use alexnet_network::{Array, Model, ModelConfig};
use alexnet_train::limits::RATE_MAX;
use alexnet_train::{
    Checkpoint, Checkpoints, EpochRow, LayerRate, Observer, Outcome, RunFolder, SaveFailure,
    Saving, Schedule, ScheduleMemory, StepReport, TrainConfig, Trainer,
};

/// Stops after so many steps; knows the loss and the rate of each.
struct Until {
    steps: u64,
    seen: Vec<[u64; 3]>,
}

fn after(steps: u64) -> Until {
    Until { steps, seen: Vec::new() }
}

fn never() -> Until {
    after(u64::MAX)
}

impl Observer for Until {
    fn unreadable(&mut self, _: &UnreadableImage) {}
    fn step(&mut self, report: &StepReport) {
        self.steps -= 1;
        let StepReport { step_in_epoch, loss, learning_rate, .. } = report;
        self.seen.push([*step_in_epoch, loss.to_bits(), learning_rate.to_bits()]);
    }
    fn validated(&mut self, _: u64, _: u64) {}
    fn epoch(&mut self, _: &EpochRow, _: bool) {}
    fn not_saved(&mut self, failure: &SaveFailure) {
        panic!("{}", failure.reason);
    }
    fn stop(&mut self) -> bool {
        self.steps == 0
    }
}

const STEPS_PER_EPOCH: u64 = 5;

/// 36 training images in 12 classes.
fn dataset(folder: &Path) -> Dataset {
    let root = folder.join("set");
    let set = SampleSet { seed: 1, train_per_class: 3, val_per_class: 1, side: 72 };
    set.write(&root, &mut |_, _| true).expect("drawn");
    alexnet_data::open(&root, None).expect("opened")
}

/// The newest whole checkpoint of a run.
fn newest(run: &Path) -> Option<Checkpoint> {
    Checkpoints::new(Arc::new(Disk), run.join("checkpoints")).newest().expect("read")
}

/// A small network with everything in it that could go wrong: dropout, batch normalisation, a last
/// batch of fewer images, random crops, a rate that moves by step and by memory.
fn config(epochs: u64) -> TrainConfig {
    let config = state::config();
    TrainConfig {
        model: ModelConfig { classes: 12, ..config.model },
        epochs,
        schedule: Schedule::Plateau { patience: 1, gamma: 0.5 },
        warmup_epochs: 0.5,
        ..config
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

    fn train(&mut self, until: Until) -> Outcome {
        self.train_and_see(until).0
    }

    /// Trains; also what was seen of each step.
    fn train_and_see(&mut self, mut until: Until) -> (Outcome, Vec<[u64; 3]>) {
        let outcome = self.trainer.run(&mut until).expect("trained");
        (outcome, until.seen)
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
        assert_eq!(run.train(after(50)), Outcome::Stopped);
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
        run.train(never());
        run.bits()
    };
    assert!(trained(3) != trained(4));
}

/// Resumed with other numbers of threads and loaders than it was begun with.
#[test]
fn a_run_resumed_at_any_step_ends_with_the_bits_and_results_of_one_never_stopped() {
    let folder = tempfile::tempdir().expect("a folder");
    let data = dataset(folder.path());
    // 36 images are 18 steps, or 8, the last of one image. Rates drop in the middle of the second
    // epoch, and at the end of the first.
    let drops = Schedule::Step { period: 0.75, gamma: 0.5 };
    let waits = Schedule::Plateau { patience: 0, gamma: 0.5 };
    for (batch_size, schedule) in [(2, drops), (5, waits)] {
        let config = TrainConfig { batch_size, schedule, ..config(2) };
        let place = |name: &str| folder.path().join(format!("{batch_size}-{name}"));
        let mut whole = Run::new(&data, &place("whole"), config.clone(), 2, 1);
        let every_step = Saving { every_steps: 1, every: None, kept: usize::MAX };
        whole.trainer.save_when(every_step);
        let (outcome, seen) = whole.train_and_see(never());
        assert_eq!(outcome, Outcome::Finished);
        let rates: HashSet<_> = seen.iter().map(|step| step[2]).collect();
        assert!(rates.len() > 3, "the rate moves");
        for step in 1..seen.len() {
            let name = format!("resumed-at-{step}");
            let path = place("whole").join(format!("checkpoints/step-{step:010}.checkpoint"));
            let checkpoint = Checkpoint::read(&Disk, &path).expect("read");
            assert_eq!(checkpoint.progress.step, step as u64);
            let (threads, workers) = [(3, 2), (1, 3), (2, 0)][step % 3];
            let mut resumed = Run::new(&data, &place(&name), config.clone(), threads, workers);
            resumed.trainer.restore(checkpoint).expect("restored");
            let (outcome, later) = resumed.train_and_see(never());
            assert_eq!(outcome, Outcome::Finished);
            assert!(later == seen[step..], "losses and rates, resumed at step {step}");
            assert!(resumed.bits() == whole.bits(), "resumed at step {step}");
            let last = rows(&place(&name)).pop();
            assert_eq!(last, rows(&place("whole")).pop(), "resumed at step {step}");
        }
    }
}

/// Lines of a run's results, without what is of the clock.
fn rows(run: &Path) -> Vec<EpochRow> {
    let timeless =
        |row: EpochRow| EpochRow { time_s: 0.0, images_per_s: 0.0, data_wait: 0.0, ..row };
    let folder = RunFolder::create(run).expect("a folder");
    folder.rows().expect("read").into_iter().map(timeless).collect()
}

#[test]
fn a_run_that_is_stopped_at_a_step_or_an_epoch_s_end_goes_on_from_there() {
    let folder = tempfile::tempdir().expect("a folder");
    let data = dataset(folder.path());
    let mut whole = Run::new(&data, &folder.path().join("whole"), config(2), 2, 1);
    whole.train(never());
    for step in [1, STEPS_PER_EPOCH - 1, STEPS_PER_EPOCH, STEPS_PER_EPOCH + 2] {
        let path = folder.path().join(format!("stopped-at-{step}"));
        let mut first = Run::new(&data, &path, config(2), 1, 0);
        assert_eq!(first.train(after(step)), Outcome::Stopped, "step {step}");
        drop(first);
        let checkpoint = newest(&path).expect("a checkpoint");
        assert_eq!(checkpoint.progress.step, step);
        let mut second = Run::new(&data, &path, config(2), 3, 2);
        second.trainer.restore(checkpoint).expect("restored");
        assert_eq!(second.train(never()), Outcome::Finished);
        assert!(second.bits() == whole.bits(), "stopped at step {step}");
        assert_eq!(rows(&path), rows(&folder.path().join("whole")), "stopped at step {step}");
    }
}

/// What the test above would miss if resuming forgot it.
#[test]
fn a_resume_that_forgets_anything_ends_with_other_bits() {
    let folder = tempfile::tempdir().expect("a folder");
    let data = dataset(folder.path());
    let mut whole = Run::new(&data, &folder.path().join("whole"), config(5), 2, 1);
    whole.train(after(4 * STEPS_PER_EPOCH + 2));
    let checkpoint = newest(&folder.path().join("whole")).expect("one");
    let ends = |name: &str, forget: &dyn Fn(&mut Checkpoint)| {
        let mut checkpoint = checkpoint.clone();
        forget(&mut checkpoint);
        let mut run = Run::new(&data, &folder.path().join(name), config(5), 2, 1);
        run.trainer.restore(checkpoint).expect("restored");
        run.train(never());
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
fn what_a_killed_run_left_half_written_is_cleared_away() {
    let folder = tempfile::tempdir().expect("a folder");
    RunFolder::create(folder.path()).expect("made");
    let left = folder.path().join("weights/.writing-abc");
    std::fs::write(&left, "half").expect("written");
    std::fs::write(folder.path().join("weights/mine.txt"), "whole").expect("written");
    RunFolder::create(folder.path()).expect("made again");
    assert!(!left.exists() && folder.path().join("weights/mine.txt").exists());
}

/// Gives every layer a rate far beyond what a run's own may be.
fn rates_of(config: &mut TrainConfig, rate: f64) {
    config.sgd.learning_rate = RATE_MAX;
    let layers = Model::new(config.model).expect("a model").learned_layers();
    let own = |layer| LayerRate { layer, factor: rate / RATE_MAX, from_epoch: 0.0 };
    config.layer_rates = layers.into_iter().map(own).collect();
}

/// The step's own loss is fine; the update it leads to is not.
#[test]
fn weights_that_an_update_made_infinite_are_never_saved() {
    let folder = tempfile::tempdir().expect("a folder");
    let data = dataset(folder.path());
    let mut config = TrainConfig { batch_size: 36, warmup_epochs: 0.0, ..config(1) };
    rates_of(&mut config, 1e32);
    let mut run = Run::new(&data, &folder.path().join("run"), config, 2, 1);
    let error = run.trainer.run(&mut never()).expect_err("stopped").to_string();
    assert!(error.contains("nothing was saved"), "{error}");
    let folder = RunFolder::create(&folder.path().join("run")).expect("there");
    assert!(!folder.best().exists() && !folder.last().exists() && !folder.results().exists());
    assert_eq!(newest(folder.root()), None);
}

#[test]
fn a_run_is_not_resumed_on_other_images_or_with_other_settings() {
    let folder = tempfile::tempdir().expect("a folder");
    let data = dataset(folder.path());
    let path = folder.path().join("run");
    Run::new(&data, &path, config(2), 2, 1).train(after(2));
    let checkpoint = newest(&path).expect("a checkpoint");
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
    let error = restored.expect_err("refused").to_string();
    assert!(error.contains("began with (seed was 3 and is 9)"), "{error}");
    let mut measured = data.clone();
    measured.val.samples.pop();
    let restored = Run::new(&measured, &path, config(2), 2, 1).trainer.restore(checkpoint.clone());
    let error = restored.expect_err("refused").to_string();
    assert!(error.contains("validation images") && error.contains("11 images"), "{error}");
    let longer = Run::new(&data, &path, config(3), 2, 1).trainer.restore(checkpoint);
    assert!(longer.is_ok());
}

#[test]
fn a_loss_that_is_no_number_stops_the_run_before_the_update() {
    let folder = tempfile::tempdir().expect("a folder");
    let data = dataset(folder.path());
    let mut config = config(3);
    config.model.batch_norm = false;
    rates_of(&mut config, 1e30);
    config.warmup_epochs = 0.0;
    let mut run = Run::new(&data, &folder.path().join("run"), config, 2, 1);
    let error = run.trainer.run(&mut never()).expect_err("stopped").to_string();
    let names_it = error.contains("gradient of ") || error.contains("output of ");
    assert!(names_it && error.contains(" became ") && error.contains("learning rate"), "{error}");
}
