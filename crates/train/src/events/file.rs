//! A run's event file.

use std::collections::HashSet;
use std::fs::{self, File, OpenOptions};
use std::io::{self, BufReader, Write};
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use super::message::{Event, What};
use super::record::read_events;
use crate::checkpoint::Progress;
use crate::observer::StepReport;
use crate::run_folder::{EpochRow, RunFolder};

/// TensorBoard reads files that have this in their names.
const NAME: &str = "events.out.tfevents";
/// Of files that are this program's.
const NAME_END: &str = "alexnet";
/// The form of all event files since 2016.
const VERSION: &str = "brain.Event:2";
/// Stands for an epoch in the file: each writes it.
const EPOCH_TAG: &str = "val/loss";

/// Why events are not written.
#[derive(Debug, thiserror::Error)]
#[error("cannot write {}: {reason}", path.display())]
pub struct EventError {
    /// The file.
    pub path: PathBuf,
    /// Why.
    pub reason: io::Error,
}

/// The event file of a run in progress.
#[derive(Debug)]
pub struct EventFile {
    path: PathBuf,
    file: File,
}

impl EventFile {
    /// Goes on with the run's event file, or begins one, for a run that stands at `progress`. What
    /// the file says of later steps is declared void; epochs of `results.csv` that it lacks are
    /// added.
    ///
    /// # Errors
    /// When the system refuses, or `results.csv` is not as this program writes it.
    pub fn open(folder: &RunFolder, progress: &Progress) -> Result<Self, EventError> {
        let path = existing(folder.root());
        let path = path.unwrap_or_else(|| {
            folder.root().join(format!("{NAME}.{:010}.{NAME_END}", seconds() as u64))
        });
        Self::open_at(&path, folder, progress).map_err(|reason| EventError { path, reason })
    }

    fn open_at(path: &Path, folder: &RunFolder, progress: &Progress) -> io::Result<Self> {
        let mut options = OpenOptions::new();
        let file = options.read(true).append(true).create(true).open(path)?;
        let found = read_events(BufReader::new(&file))?;
        // The end of a record that a kill or a full disk cut off would hide all that follows.
        if found.whole_bytes < file.metadata()?.len() {
            file.set_len(found.whole_bytes)?;
        }
        let mut events = Self { path: path.to_path_buf(), file };
        let (rows, known) = (folder.rows()?, epochs(&found.events));
        // An epoch that the file knows of and the run does not: it was undone with its last step.
        let is_row = |step: &u64| rows.iter().any(|row| row.step == *step);
        let undone = known.iter().copied().filter(|step| !is_row(step)).min();
        let void_from = (progress.step + 1).min(undone.unwrap_or(u64::MAX));
        if found.events.is_empty() {
            events.write(0, What::Version(VERSION.into()))?;
        } else {
            events.write(void_from, What::Start)?;
        }
        for row in rows.iter().filter(|row| row.step >= void_from || !known.contains(&row.step)) {
            events.write(row.step, of_epoch(row))?;
        }
        Ok(events)
    }

    /// Adds a step's loss and learning rate.
    ///
    /// # Errors
    /// When the system refuses. What follows could not be read then: nothing more may be added.
    pub fn add_step(&mut self, report: &StepReport) -> Result<(), EventError> {
        let step = (report.epoch - 1) * report.steps_per_epoch + report.step_in_epoch;
        let scalars = [("step/train_loss", report.loss), ("step/lr", report.learning_rate)];
        self.write(step, scalars_of(&scalars)).map_err(|reason| self.error(reason))
    }

    /// Adds an epoch's figures, under the names they have in `results.csv`.
    ///
    /// # Errors
    /// As [`EventFile::add_step`].
    pub fn add_epoch(&mut self, row: &EpochRow) -> Result<(), EventError> {
        self.write(row.step, of_epoch(row)).map_err(|reason| self.error(reason))
    }

    /// Adds one event, in one call of the system.
    fn write(&mut self, step: u64, what: What) -> io::Result<()> {
        self.file.write_all(&Event { wall_time: seconds(), step, what }.to_record())
    }

    fn error(&self, reason: io::Error) -> EventError {
        EventError { path: self.path.clone(), reason }
    }
}

/// The file an earlier part of the run wrote.
fn existing(folder: &Path) -> Option<PathBuf> {
    let is_own = |path: &PathBuf| {
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        name.starts_with(NAME) && name.ends_with(NAME_END)
    };
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    entries.map(|entry| entry.path()).filter(is_own).max()
}

/// The last steps of the epochs that a reader of `events` knows of.
fn epochs(events: &[Event]) -> HashSet<u64> {
    let mut known = HashSet::new();
    for Event { step, what, .. } in events {
        match what {
            What::Scalars(scalars) if scalars.iter().any(|(tag, _)| tag == EPOCH_TAG) => {
                known.insert(*step);
            }
            What::Start => known.retain(|known| known < step),
            _ => {}
        }
    }
    known
}

fn of_epoch(row: &EpochRow) -> What {
    scalars_of(&[
        ("train/loss", row.train_loss),
        (EPOCH_TAG, row.val_loss),
        ("metrics/accuracy_top1", row.top1_accuracy),
        ("metrics/accuracy_top5", row.top5_accuracy),
        ("lr", row.lr),
        ("images_per_s", row.images_per_s),
        ("data_wait", row.data_wait),
    ])
}

fn scalars_of(scalars: &[(&str, f64)]) -> What {
    What::Scalars(scalars.iter().map(|&(tag, value)| (tag.to_owned(), value as f32)).collect())
}

/// Now, in seconds since 1970; a clock before that is of no interest.
fn seconds() -> f64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs_f64()
}
