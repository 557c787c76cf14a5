//! The run's state: kept, and taken up again.
//!
//! A checkpoint holds all that the next step depends on. The saver's thread writes it while training
//! goes on; only what is heard of a save says whether the weights in it are the best that there are,
//! and one checkpoint at a time is in memory. So each save is waited for before the next begins.

use alexnet_ops::Device;
use alexnet_weights::ModelFile;

use super::Trainer;
use crate::checkpoint::Checkpoint;
use crate::config::TrainConfig;
use crate::error::TrainError;
use crate::observer::Observer;
use crate::saving::{Save, Saved, checkpoint_bytes};

impl<D: Device> Trainer<D> {
    /// Continues from a checkpoint of the same run. More or fewer epochs than first asked for, or
    /// another patience, are welcome; any other difference would make it another run.
    ///
    /// # Errors
    /// When it is of other settings or images, or `results.csv` cannot be brought to its state.
    pub fn restore(&mut self, checkpoint: Checkpoint) -> Result<(), TrainError> {
        self.check_images(&checkpoint)?;
        let TrainConfig { epochs, patience, .. } = self.config;
        let begun = TrainConfig { epochs, patience, ..checkpoint.config };
        if begun != self.config {
            let differences = self.config.differences_from(&begun);
            return Err(TrainError::OtherSettings { run: self.folder.root().into(), differences });
        }
        self.network.set_weights(&checkpoint.weights)?;
        self.network.set_velocities(&checkpoint.momentum)?;
        let path = self.folder.results();
        let trimmed = self.folder.keep_rows_until(checkpoint.progress.epoch);
        trimmed.map_err(|reason| TrainError::Results { path, reason })?;
        self.best_saved = checkpoint.progress.best;
        self.progress = checkpoint.progress;
        Ok(())
    }

    /// Whether a checkpoint is of these images. One of before validation images were kept is.
    fn check_images(&self, checkpoint: &Checkpoint) -> Result<(), TrainError> {
        let [train, val] = &self.fingerprints;
        let splits = [
            ("training", Some(&checkpoint.dataset), train),
            ("validation", checkpoint.validation.as_ref(), val),
        ];
        for (split, began, now) in splits {
            if let Some(began) = began.filter(|&began| began != now) {
                let (data, began, now) = (self.data.clone(), began.clone(), now.clone());
                return Err(TrainError::OtherImages { data, split, began, now });
            }
        }
        Ok(())
    }

    /// The network as it is, ready to predict.
    pub fn model_file(&self) -> ModelFile {
        ModelFile { weights: self.network.weights(), ..self.model_without_weights() }
    }

    pub(super) fn model_without_weights(&self) -> ModelFile {
        ModelFile {
            config: self.config.model,
            classes: self.classes.clone(),
            preprocess: self.config.preprocess.clone(),
            weights: Vec::new(),
        }
    }

    /// The run as it is.
    pub fn checkpoint(&self) -> Checkpoint {
        let [dataset, validation] = self.fingerprints.clone();
        Checkpoint {
            config: self.config.clone(),
            dataset,
            validation: Some(validation),
            progress: self.progress.clone(),
            weights: self.network.weights(),
            momentum: self.network.velocities(),
        }
    }

    /// Begins to save the run as it is.
    pub(super) fn save(&mut self, observer: &mut dyn Observer) -> Result<(), TrainError> {
        let checkpoint = self.next_checkpoint(observer)?;
        self.begin_save(None, checkpoint, observer)
    }

    /// The run as it is, when the one that was saved before is no longer in memory.
    pub(super) fn next_checkpoint(
        &mut self,
        observer: &mut dyn Observer,
    ) -> Result<Checkpoint, TrainError> {
        let before = self.saver.wait();
        self.hear(before, false, observer)?;
        Ok(self.checkpoint())
    }

    pub(super) fn begin_save(
        &mut self,
        model: Option<(ModelFile, bool)>,
        checkpoint: Checkpoint,
        observer: &mut dyn Observer,
    ) -> Result<(), TrainError> {
        let rows = self.unsaved_rows.clone();
        match self.saver.begin(Save { rows, model, checkpoint }) {
            Ok(()) => Ok(()),
            failed => self.hear(Some(Saved { result: failed, best: false }), false, observer),
        }
    }

    /// Takes note of what came of a save, which may be the last.
    pub(super) fn hear(
        &mut self,
        saved: Option<Saved>,
        is_last: bool,
        observer: &mut dyn Observer,
    ) -> Result<(), TrainError> {
        let Some(Saved { result, best }) = saved else { return Ok(()) };
        if result.is_ok() {
            self.unsaved_rows.clear();
        }
        if best {
            self.best_saved = self.progress.best;
        }
        // Weights that were not saved are not the best that there are.
        self.progress.best = self.best_saved;
        let bytes = checkpoint_bytes(self.network.plan());
        self.saver.judge(result, bytes, is_last, &mut |failure| observer.not_saved(failure))
    }
}
