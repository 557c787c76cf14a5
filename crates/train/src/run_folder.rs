//! A run's folder: `results.csv`, `weights/best.safetensors`, `weights/last.safetensors`,
//! `checkpoints/`. `args.toml`, `env.json` and `log.txt` beside them are the program's.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use alexnet_data::{Disk, FileSystem, clear_unfinished_on, create_folders_on, write_beside_on};
use serde::{Deserialize, Serialize};

use crate::checkpoints::Checkpoints;

/// The folder of one run.
#[derive(Clone, Debug)]
pub struct RunFolder {
    root: PathBuf,
    disk: Arc<dyn FileSystem>,
}

/// One line of `results.csv`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct EpochRow {
    /// Counted from 1.
    pub epoch: u64,
    /// Steps since the run began.
    pub step: u64,
    /// Seconds trained since the run began, validation included.
    pub time_s: f64,
    /// Mean training loss over the epoch, as it was while the weights moved.
    #[serde(rename = "train/loss")]
    pub train_loss: f64,
    /// Validation loss after the epoch.
    #[serde(rename = "val/loss")]
    pub val_loss: f64,
    /// Validation top-1 accuracy after the epoch.
    #[serde(rename = "metrics/accuracy_top1")]
    pub top1_accuracy: f64,
    /// Validation top-5 accuracy after the epoch.
    #[serde(rename = "metrics/accuracy_top5")]
    pub top5_accuracy: f64,
    /// Learning rate of the epoch's last step.
    pub lr: f64,
    /// Training images a second.
    pub images_per_s: f64,
    /// Share of training time spent waiting for images.
    pub data_wait: f64,
}

impl RunFolder {
    /// Makes the folder and those in it, and clears away what a killed run left half-written.
    ///
    /// # Errors
    /// When the system refuses.
    pub fn create(root: &Path) -> io::Result<Self> {
        Self::create_on(Arc::new(Disk), root)
    }

    /// As [`create`](Self::create), on another disk.
    ///
    /// # Errors
    /// When the system refuses.
    pub fn create_on(disk: Arc<dyn FileSystem>, root: &Path) -> io::Result<Self> {
        let folder = Self { root: root.to_path_buf(), disk };
        let disk = folder.disk();
        for place in [folder.weights(), folder.checkpoints(), folder.root.clone()] {
            create_folders_on(disk, &place)?;
            clear_unfinished_on(disk, &place)?;
        }
        // A run that was killed may have made these folders and not come to this.
        disk.sync_folder(&folder.root)?;
        Ok(folder)
    }

    /// A run's folder as it is, to look at.
    pub fn at(root: &Path) -> Self {
        Self { root: root.to_path_buf(), disk: Arc::new(Disk) }
    }

    /// Where it is.
    pub fn disk(&self) -> &dyn FileSystem {
        &*self.disk
    }

    /// The folder itself.
    pub fn root(&self) -> &Path {
        &self.root
    }
    /// The run's checkpoints.
    pub fn kept(&self) -> Checkpoints {
        Checkpoints::new(Arc::clone(&self.disk), self.checkpoints())
    }
    /// Where checkpoints are.
    pub fn checkpoints(&self) -> PathBuf {
        self.root.join("checkpoints")
    }
    /// Where weights are.
    pub fn weights(&self) -> PathBuf {
        self.root.join("weights")
    }
    /// Weights of the best epoch.
    pub fn best(&self) -> PathBuf {
        self.weights().join("best.safetensors")
    }
    /// Weights of the last epoch.
    pub fn last(&self) -> PathBuf {
        self.weights().join("last.safetensors")
    }
    /// A line an epoch.
    pub fn results(&self) -> PathBuf {
        self.root.join("results.csv")
    }

    /// Adds lines to `results.csv`, in the place of those of the same epochs.
    ///
    /// # Errors
    /// When the system refuses, or the file is not as this program writes it.
    pub fn add_rows(&self, new: &[EpochRow]) -> io::Result<()> {
        let Some(first) = new.first() else { return Ok(()) };
        let mut rows = self.rows()?;
        rows.retain(|row| row.epoch < first.epoch);
        rows.extend_from_slice(new);
        self.write_rows(&rows)
    }

    /// The lines of `results.csv`; none if there is no such file.
    ///
    /// # Errors
    /// When the file is unreadable or not as this program writes it.
    pub fn rows(&self) -> io::Result<Vec<EpochRow>> {
        let file = match self.disk.open(&self.results()) {
            Ok((file, _)) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(error),
        };
        let rows: Result<_, csv::Error> = csv::Reader::from_reader(file).deserialize().collect();
        rows.map_err(|error| {
            io::Error::other(format!("{error}: mend that line or delete the file"))
        })
    }

    /// Takes away the lines of epochs after `epoch`: a run resumed from there will write them
    /// again.
    ///
    /// # Errors
    /// When the system refuses, or the file is not as this program writes it.
    pub fn keep_rows_until(&self, epoch: u64) -> io::Result<()> {
        let (kept, later): (Vec<_>, Vec<_>) =
            self.rows()?.into_iter().partition(|row| row.epoch <= epoch);
        if later.is_empty() { Ok(()) } else { self.write_rows(&kept) }
    }

    /// Writes `results.csv` anew, whole or not at all.
    fn write_rows(&self, rows: &[EpochRow]) -> io::Result<()> {
        write_beside_on(self.disk(), &self.results(), |file| {
            let mut writer = csv::Writer::from_writer(file);
            for row in rows {
                writer.serialize(row)?;
            }
            writer.flush()
        })
    }
}
