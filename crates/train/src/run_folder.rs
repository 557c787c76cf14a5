//! A run's folder: `results.csv`, `weights/best.safetensors`, `weights/last.safetensors`,
//! `checkpoints/`. `args.toml`, `env.json` and `log.txt` beside them are the program's.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

/// The folder of one run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RunFolder {
    root: PathBuf,
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
        let folder = Self::at(root);
        fs::create_dir_all(folder.weights())?;
        fs::create_dir_all(folder.checkpoints())?;
        for place in [folder.root.clone(), folder.weights(), folder.checkpoints()] {
            alexnet_data::clear_unfinished(&place)?;
        }
        Ok(folder)
    }

    /// A run's folder as it is, to look at.
    pub fn at(root: &Path) -> Self {
        Self { root: root.to_path_buf() }
    }

    /// The folder itself.
    pub fn root(&self) -> &Path {
        &self.root
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

    /// Adds a line to `results.csv`.
    ///
    /// # Errors
    /// When the system refuses, or the file is not as this program writes it.
    pub fn add_row(&self, row: EpochRow) -> io::Result<()> {
        let mut rows = self.rows()?;
        rows.push(row);
        self.write_rows(&rows)
    }

    /// The lines of `results.csv`; none if there is no such file.
    ///
    /// # Errors
    /// When the file is unreadable or not as this program writes it.
    pub fn rows(&self) -> io::Result<Vec<EpochRow>> {
        let file = match File::open(self.results()) {
            Ok(file) => file,
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
        alexnet_data::write_beside(&self.results(), |file| {
            let mut writer = csv::Writer::from_writer(file);
            for row in rows {
                writer.serialize(row)?;
            }
            writer.flush()
        })
    }
}
