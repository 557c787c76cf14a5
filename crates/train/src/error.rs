//! Why a run ends early, in words its owner can act on.
//!
//! Every message is one line that names the file, the setting or the layer.

use std::io;
use std::path::PathBuf;

use alexnet_data::DataError;
use alexnet_network::{LoadError, ModelError, NotFinite};
use alexnet_weights::WeightsError;

/// Why a run ended early.
#[derive(Debug, thiserror::Error)]
pub enum TrainError {
    /// The table makes no network.
    #[error(transparent)]
    Model(#[from] ModelError),
    /// An image cannot be read.
    #[error(transparent)]
    Data(#[from] DataError),
    /// A file was not read or written.
    #[error(transparent)]
    Weights(#[from] WeightsError),
    /// A checkpoint's arrays are not this network's.
    #[error("the checkpoint does not fit the network: {0}")]
    Load(#[from] LoadError),
    /// `results.csv` could not be kept.
    #[error("cannot keep {}: {reason}", path.display())]
    Results {
        /// The file.
        path: PathBuf,
        /// Why.
        reason: io::Error,
    },
    /// Nothing was saved several times in a row, or at the run's end.
    #[error(
        "nothing was saved, {in_a_row} times in a row: {reason}. What was saved before is whole: \
         make room, then alexnet train --resume {}",
        alexnet_data::quoted(run)
    )]
    NotSaved {
        /// The run's folder.
        run: PathBuf,
        /// Failures in a row.
        in_a_row: u32,
        /// The last of them.
        reason: Box<TrainError>,
    },
    /// A checkpoint is of another run.
    #[error(
        "{} cannot be resumed with other settings than it began with ({differences}): let its \
         args.toml be as it was",
        run.display()
    )]
    OtherSettings {
        /// The run's folder.
        run: PathBuf,
        /// What was what and is what now.
        differences: String,
    },
    /// A checkpoint is of other images.
    #[error(
        "the {split} images of {} are not those this run began with ({began} then, {now} now): \
         restore them, or start a new run",
        data.display()
    )]
    OtherImages {
        /// The data set's folder.
        data: PathBuf,
        /// Which of its images.
        split: &'static str,
        /// Their fingerprint then.
        began: String,
        /// And now.
        now: String,
    },
    /// A setting is out of its bounds, or does not go with the other settings or with the data.
    #[error("{field} is {value}: it must {must}")]
    Misfit {
        /// The field, of [`crate::TrainConfig`] or of the [`alexnet_data::Dataset`].
        field: String,
        /// What it holds.
        value: String,
        /// What would do.
        must: String,
    },
    /// A step would not have the images it was promised.
    #[error(
        "the batch size is {batch_size}, but {} has only {images} training images: \
         choose {images} or less",
        folder.display()
    )]
    BatchTooLarge {
        /// Asked for.
        batch_size: usize,
        /// There.
        images: usize,
        /// Where they are.
        folder: PathBuf,
    },
    /// Something is no number any more. No update was made with it, and nothing was saved.
    #[error("{found}, at epoch {epoch}, step {step}; nothing was saved since{}", cure(found))]
    NotFinite {
        /// What, and in which layer.
        found: NotFinite,
        /// Counted from 1.
        epoch: u64,
        /// Counted from 1, since the run began.
        step: u64,
    },
}

/// What helps against values that are no numbers: nothing that one sets, where they do not repeat.
fn cure(found: &NotFinite) -> &'static str {
    if found.repeats { ". A lower learning rate or a longer warm-up is the usual cure" } else { "" }
}
