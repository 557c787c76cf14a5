//! A run whose disk is full, or fails, for a while or for good.

#[path = "support/fake_disk.rs"]
mod fake_disk;
#[path = "support/state.rs"]
mod state;

use std::io::ErrorKind;
use std::path::Path;
use std::sync::Arc;

use alexnet_cpu::Cpu;
use alexnet_data::{Dataset, SampleSet, UnreadableImage};
use alexnet_network::Array;
use alexnet_train::{
    EpochRow, Observer, Outcome, RunFolder, SaveFailure, Saving, StepReport, TrainConfig,
    TrainError, Trainer,
};
use alexnet_weights::ModelFile;
use fake_disk::{Careless, Failure, FakeDisk};

const EPOCHS: u64 = 5;
const STEPS_PER_EPOCH: u64 = 5;

/// 36 training images in 12 classes.
fn dataset(folder: &Path) -> Dataset {
    let root = folder.join("set");
    let set = SampleSet { seed: 1, train_per_class: 3, val_per_class: 1, side: 72 };
    set.write(&root, &mut |_, _| true).expect("drawn");
    alexnet_data::open(&root, None).expect("opened")
}

/// Lets a disk fail from a step on, and mends it after so many failed saves.
struct Fails {
    disk: FakeDisk,
    at_step: u64,
    mended_after: u32,
    steps: u64,
    /// What was told.
    told: Vec<String>,
    shortages: usize,
}

impl Fails {
    fn new(disk: &FakeDisk, at_step: u64, mended_after: u32) -> Self {
        let (disk, told) = (disk.clone(), Vec::new());
        Self { disk, at_step, mended_after, steps: 0, told, shortages: 0 }
    }
}

impl Observer for Fails {
    fn unreadable(&mut self, _: &UnreadableImage) {}
    fn step(&mut self, _: &StepReport) {
        self.steps += 1;
        if self.steps == self.at_step {
            self.disk.fail(0, true, Failure::Kind(ErrorKind::StorageFull));
        }
    }
    fn validated(&mut self, _: u64, _: u64) {}
    fn epoch(&mut self, _: &EpochRow, _: bool) {}
    fn not_saved(&mut self, failure: &SaveFailure) {
        self.told.push(failure.reason.to_string());
        self.shortages += usize::from(failure.shortage.is_some());
        if failure.in_a_row == self.mended_after {
            self.disk.recover();
        }
    }
    fn stop(&mut self) -> bool {
        false
    }
}

struct Run {
    trainer: Trainer<Cpu>,
    folder: RunFolder,
    disk: FakeDisk,
}

impl Run {
    fn new(data: &Dataset) -> Self {
        let mut config = TrainConfig { epochs: EPOCHS, ..state::config() };
        config.model.classes = 12;
        let disk = FakeDisk::new(Careless::Not);
        let folder = RunFolder::create_on(Arc::new(disk.clone()), Path::new("/run")).expect("made");
        let device = Cpu::new(2).expect("threads");
        let mut trainer = Trainer::new(device, config, data, folder.clone(), 1).expect("a trainer");
        trainer.save_when(Saving { every: None, ..Saving::default() });
        Self { trainer, folder, disk }
    }

    fn bits(&self) -> Vec<Vec<u32>> {
        let network = self.trainer.network();
        let arrays = network.weights().into_iter().chain(network.velocities());
        arrays.map(|Array { values, .. }| values.into_iter().map(f32::to_bits).collect()).collect()
    }

    /// The epoch of the newest checkpoint, whose best is in the file of the best, and is the best
    /// that was saved.
    fn saved(&self) -> u64 {
        let newest = self.folder.kept().newest().expect("read").expect("a checkpoint");
        let rows = self.folder.rows().expect("read");
        let epochs: Vec<_> = rows.iter().map(|row| row.epoch).collect();
        assert_eq!(epochs, (1..=newest.progress.epoch).collect::<Vec<_>>(), "every line is there");
        let (top1, epoch) = newest.progress.best.expect("a best epoch");
        assert_eq!(rows[epoch as usize - 1].top1_accuracy.to_bits(), top1.to_bits());
        let best = ModelFile::load_from(&self.disk, &self.folder.best()).expect("whole");
        let last = ModelFile::load_from(&self.disk, &self.folder.last()).expect("whole");
        assert_eq!(best == last, epoch == newest.progress.epoch, "the best is of epoch {epoch}");
        assert!(last.weights == newest.weights);
        newest.progress.epoch
    }
}

#[test]
fn a_disk_that_is_full_for_a_while_costs_nothing() {
    let folder = tempfile::tempdir().expect("a folder");
    let data = dataset(folder.path());
    let mut whole = Run::new(&data);
    let never = &mut Fails::new(&whole.disk, u64::MAX, 0);
    assert_eq!(whole.trainer.run(never).expect("trained"), Outcome::Finished);
    assert!(never.told.is_empty());
    // In the first epoch and later ones, for one save and for two.
    for (at_step, mended_after) in [(2, 1), (2, 2), (STEPS_PER_EPOCH + 1, 2)] {
        let mut run = Run::new(&data);
        let mut fails = Fails::new(&run.disk, at_step, mended_after);
        assert_eq!(run.trainer.run(&mut fails).expect("trained"), Outcome::Finished);
        assert_eq!(fails.told.len(), mended_after as usize, "{:?}", fails.told);
        let told = &fails.told[0];
        assert!(told.contains("/run/results.csv") && told.contains("no storage space"), "{told}");
        assert_eq!(run.saved(), EPOCHS);
        assert!(run.bits() == whole.bits());
    }
}

#[test]
fn a_disk_that_stays_full_ends_the_run_after_three_failures_in_a_row() {
    let folder = tempfile::tempdir().expect("a folder");
    let data = dataset(folder.path());
    let mut run = Run::new(&data);
    let mut fails = Fails::new(&run.disk, STEPS_PER_EPOCH + 1, u32::MAX);
    let error = run.trainer.run(&mut fails).expect_err("ended");
    assert!(matches!(error, TrainError::NotSaved { in_a_row: 3, .. }), "{error}");
    let told = error.to_string();
    assert!(told.contains("3 times in a row") && told.contains("--resume /run"), "{told}");
    assert_eq!((fails.told.len(), fails.shortages), (3, 3));
    assert!(fails.steps >= 4 * STEPS_PER_EPOCH, "training went on for {} steps", fails.steps);
    run.disk.recover();
    assert_eq!(run.saved(), 1, "what was saved before is whole");
}

#[test]
fn a_run_whose_last_save_fails_does_not_end_as_if_it_were_saved() {
    let folder = tempfile::tempdir().expect("a folder");
    let data = dataset(folder.path());
    let mut run = Run::new(&data);
    let mut fails = Fails::new(&run.disk, EPOCHS * STEPS_PER_EPOCH, u32::MAX);
    let error = run.trainer.run(&mut fails).expect_err("ended");
    assert!(matches!(error, TrainError::NotSaved { in_a_row: 1, .. }), "{error}");
    run.disk.recover();
    assert_eq!(run.saved(), EPOCHS - 1);
}
