//! When a run is saved, and the thread that does it while training goes on.
//!
//! What is to be saved is copied between two steps; one thread at a time then writes it. What came
//! of that is heard at the next step, and at the latest when the next save begins.

use std::panic;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use alexnet_network::{ParameterRole, Plan};
use alexnet_weights::{ModelFile, WeightsError};

use crate::checkpoint::Checkpoint;
use crate::error::TrainError;
use crate::run_folder::{EpochRow, RunFolder};

/// A run whose saves fail so many times in a row is not worth going on with.
pub const SAVES_FAILED_MAX: u32 = 3;

/// So many times a checkpoint's size should be free: a new one is there before an old one goes, and
/// weights come beside.
const FREE_CHECKPOINTS: u64 = 2;

/// When checkpoints are written, beside one after every epoch, and how many are kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Saving {
    /// Every so many steps; 0 means not by steps.
    pub every_steps: u64,
    /// After so much time; none means not by time.
    pub every: Option<Duration>,
    /// The newest so many are kept, one at least.
    pub kept: usize,
}

impl Default for Saving {
    /// Every ten minutes, three kept.
    fn default() -> Self {
        Self { every_steps: 0, every: Some(Duration::from_secs(600)), kept: 3 }
    }
}

/// A disk that has less room than a run should have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shortage {
    /// Bytes that should be free.
    pub needs_bytes: u64,
    /// Bytes that are.
    pub free_bytes: u64,
}

/// A save that failed. Unless it ends the run, it is tried again when the next one is due.
#[derive(Debug)]
pub struct SaveFailure<'a> {
    /// Why; it names the file.
    pub reason: &'a TrainError,
    /// Failures in a row, this one among them.
    pub in_a_row: u32,
    /// Whether the run ends, for there were too many or none is to come.
    pub ends: bool,
    /// What is missing, if it is room.
    pub shortage: Option<Shortage>,
}

/// Bytes of a checkpoint of a network that follows `plan`, and of the copy from which it is
/// written.
pub fn checkpoint_bytes(plan: &Plan) -> u64 {
    let copies = |role| if role == ParameterRole::Running { 1 } else { 2 };
    let values: usize = plan.parameters.iter().map(|spec| spec.len() * copies(spec.role)).sum();
    (values * size_of::<f32>()) as u64
}

/// All that is saved at one moment.
pub(crate) struct Save {
    /// Lines of `results.csv` that are not there yet.
    pub(crate) rows: Vec<EpochRow>,
    /// At an epoch's end: a model file without its weights, and whether it is the best so far.
    pub(crate) model: Option<(ModelFile, bool)>,
    pub(crate) checkpoint: Checkpoint,
}

/// What came of a save.
pub(crate) struct Saved {
    pub(crate) result: Result<(), TrainError>,
    /// Whether the best weights were written, whatever came of the rest.
    pub(crate) best: bool,
}

impl Save {
    /// The checkpoint comes last: what it says has happened is then on the disk. Should the machine
    /// stop before, a run resumed from an older one writes the same again.
    fn write(mut self, folder: &RunFolder, kept: usize) -> Saved {
        let mut best = false;
        let result = self.write_all(folder, kept, &mut best);
        Saved { result, best }
    }

    fn write_all(
        &mut self,
        folder: &RunFolder,
        kept: usize,
        best_written: &mut bool,
    ) -> Result<(), TrainError> {
        let failed = |reason| TrainError::Results { path: folder.results(), reason };
        folder.add_rows(&self.rows).map_err(failed)?;
        if let Some((mut model, best)) = self.model.take() {
            std::mem::swap(&mut model.weights, &mut self.checkpoint.weights);
            if best {
                model.save_on(folder.disk(), &folder.best())?;
                *best_written = true;
            }
            model.save_on(folder.disk(), &folder.last())?;
            std::mem::swap(&mut model.weights, &mut self.checkpoint.weights);
        }
        folder.kept().save(&self.checkpoint, kept)?;
        Ok(())
    }
}

/// Saves a run, one save at a time.
pub(crate) struct Saver {
    folder: RunFolder,
    pub(crate) saving: Saving,
    /// When the last save began, or else the run.
    last: Instant,
    at_work: Option<JoinHandle<Saved>>,
    failed_in_a_row: u32,
}

impl Saver {
    pub(crate) fn new(folder: RunFolder) -> Self {
        let saving = Saving::default();
        Self { folder, saving, last: Instant::now(), at_work: None, failed_in_a_row: 0 }
    }

    /// The time until the next save begins now.
    pub(crate) fn start_clock(&mut self) {
        self.last = Instant::now();
    }

    /// Whether to save after `step` steps. Time alone makes nobody wait for a save that still goes
    /// on.
    pub(crate) fn is_due(&self, step: u64) -> bool {
        let Saving { every_steps, every, .. } = self.saving;
        let by_time = self.at_work.is_none() && every.is_some_and(|it| self.last.elapsed() >= it);
        by_time || (every_steps > 0 && step.is_multiple_of(every_steps))
    }

    /// Begins a save. The one before must have been heard of.
    pub(crate) fn begin(&mut self, save: Save) -> Result<(), TrainError> {
        self.start_clock();
        let (folder, kept) = (self.folder.clone(), self.saving.kept);
        let path = folder.checkpoints();
        let writer = thread::Builder::new().name("saver".into());
        let at_work = writer.spawn(move || save.write(&folder, kept));
        let failed = |reason| WeightsError::Io { action: "begin to write to", path, reason };
        self.at_work = Some(at_work.map_err(failed)?);
        Ok(())
    }

    /// What came of the save at work, if it is done.
    pub(crate) fn poll(&mut self) -> Option<Saved> {
        if self.at_work.as_ref()?.is_finished() { self.wait() } else { None }
    }

    /// What comes of the save at work, if there is one.
    pub(crate) fn wait(&mut self) -> Option<Saved> {
        Some(self.at_work.take()?.join().unwrap_or_else(|panicked| panic::resume_unwind(panicked)))
    }

    /// Counts failures. The first so many of the disk's are no reason to stop, so that they are
    /// given back as what they are.
    ///
    /// # Errors
    /// When there were too many in a row, none more is to come, or it was no failure of the disk.
    pub(crate) fn judge(
        &mut self,
        result: Result<(), TrainError>,
        needs_bytes: u64,
        is_last: bool,
        failed: &mut dyn FnMut(&SaveFailure),
    ) -> Result<(), TrainError> {
        let Err(reason) = result else {
            self.failed_in_a_row = 0;
            return Ok(());
        };
        if !is_of_the_disk(&reason) {
            return Err(reason);
        }
        self.failed_in_a_row += 1;
        let in_a_row = self.failed_in_a_row;
        let ends = in_a_row >= SAVES_FAILED_MAX || is_last;
        let shortage = self.shortage(needs_bytes);
        failed(&SaveFailure { reason: &reason, in_a_row, ends, shortage });
        if !ends {
            return Ok(());
        }
        let run = self.folder.root().to_path_buf();
        Err(TrainError::NotSaved { run, in_a_row, reason: Box::new(reason) })
    }

    /// Whether less is free than there should be for checkpoints of so many bytes.
    pub(crate) fn shortage(&self, checkpoint_bytes: u64) -> Option<Shortage> {
        let needs_bytes = checkpoint_bytes.saturating_mul(FREE_CHECKPOINTS);
        let free_bytes = self.folder.disk().free_bytes(self.folder.root()).ok()?;
        (free_bytes < needs_bytes).then_some(Shortage { needs_bytes, free_bytes })
    }
}

impl Drop for Saver {
    /// A run that ends early does not leave half of what it was writing.
    fn drop(&mut self) {
        if let Some(at_work) = self.at_work.take() {
            let _ = at_work.join();
        }
    }
}

/// Whether waiting or making room may cure it.
fn is_of_the_disk(error: &TrainError) -> bool {
    use WeightsError::{Io, Malformed};
    matches!(error, TrainError::Results { .. } | TrainError::Weights(Io { .. } | Malformed { .. }))
}
