//! A run's checkpoints: which are kept, and which one is gone on with.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use alexnet_data::FileSystem;
use alexnet_weights::{WeightsError, container};

use crate::checkpoint::Checkpoint;

const EXTENSION: &str = "checkpoint";
/// What is put behind the name of a damaged one.
const DAMAGED: &str = "bad";

/// A folder of checkpoints, each under its step's name.
///
/// At every moment, a power cut's too, the newest that was saved is there whole, or else the one
/// before it: a new one is written beside, synced and renamed, and older ones are deleted only once
/// it was read back.
#[derive(Clone, Debug)]
pub struct Checkpoints {
    disk: Arc<dyn FileSystem>,
    folder: PathBuf,
}

impl Checkpoints {
    /// Those of `folder`, which is there.
    pub fn new(disk: Arc<dyn FileSystem>, folder: PathBuf) -> Self {
        Self { disk, folder }
    }

    /// Writes a checkpoint, reads it back, and deletes all but the newest `kept`.
    ///
    /// # Errors
    /// When the system refuses, or what was written does not come back, which is then set aside. No
    /// older checkpoint is touched then.
    pub fn save(&self, checkpoint: &Checkpoint, kept: usize) -> Result<PathBuf, WeightsError> {
        let path = self.folder.join(format!("step-{:010}.{EXTENSION}", checkpoint.progress.step));
        let written = checkpoint.write(&*self.disk, &path)?;
        container::read_back(&*self.disk, &path, written).inspect_err(|error| {
            self.set_aside_if_damaged(&path, error);
        })?;
        for old in self.list()?.iter().rev().skip(kept.max(1)) {
            if let Err(error) = self.disk.remove(old) {
                tracing::warn!("cannot delete the old checkpoint {}: {error}", old.display());
            }
        }
        Ok(path)
    }

    /// The newest checkpoint that is whole. Damaged ones are set aside under another name and
    /// reported, unreadable ones only reported.
    ///
    /// # Errors
    /// When one is whole, but of another version of this program: an older one would lose work. When
    /// the folder cannot be read.
    pub fn newest(&self) -> Result<Option<Checkpoint>, WeightsError> {
        for path in self.list()?.iter().rev() {
            match Checkpoint::read(&*self.disk, path) {
                Ok(checkpoint) => return Ok(Some(checkpoint)),
                Err(error @ WeightsError::OtherVersion { .. }) => return Err(error),
                Err(error) => {
                    tracing::warn!("passed over: {error}");
                    self.set_aside_if_damaged(path, &error);
                }
            }
        }
        Ok(None)
    }

    /// Whether nothing was ever saved here, not even what was set aside since.
    pub fn is_empty(&self) -> bool {
        let is_unfinished = |path: &PathBuf| path.extension().is_none();
        self.disk.list(&self.folder).is_ok_and(|paths| paths.iter().all(is_unfinished))
    }

    /// Gives a damaged file a name by which it is not found again. One that could only not be read
    /// may be whole.
    fn set_aside_if_damaged(&self, path: &Path, error: &WeightsError) {
        if !matches!(error, WeightsError::Malformed { .. } | WeightsError::Foreign { .. }) {
            return;
        }
        let aside = |n: u32| {
            let number = if n == 1 { String::new() } else { n.to_string() };
            path.with_extension(format!("{EXTENSION}.{DAMAGED}{number}"))
        };
        let there = self.disk.list(&self.folder).unwrap_or_default();
        let Some(free) = (1..).map(aside).find(|name| !there.contains(name)) else { return };
        let renamed =
            self.disk.rename(path, &free).and_then(|()| self.disk.sync_folder(&self.folder));
        match renamed {
            Ok(()) => tracing::warn!("{} is set aside as {}", path.display(), free.display()),
            Err(error) => tracing::warn!("cannot set {} aside: {error}", path.display()),
        }
    }

    /// Checkpoints, oldest first: the names sort by step.
    fn list(&self) -> Result<Vec<PathBuf>, WeightsError> {
        let found = match self.disk.list(&self.folder) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
            found => found,
        };
        let failed =
            |reason| WeightsError::Io { action: "read", path: self.folder.clone(), reason };
        let mut paths = found.map_err(failed)?;
        paths.retain(|path| path.extension().is_some_and(|found| found == EXTENSION));
        paths.sort();
        Ok(paths)
    }
}
