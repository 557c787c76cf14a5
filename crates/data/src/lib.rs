//! Datasets read, pixels decoded and varied, batches made ahead of the network.
//!
//! ```text
//! folder of images  --open-->  Dataset  --Loader-->  Batch (N, crop, crop, 3)
//! one image file    --read_image-->  Image  --Preprocess::evaluate-->  (crop, crop, 3)
//! ```
//!
//! Training-time evaluation, the commands and a server all go through [`decode`] and
//! [`Preprocess::evaluate`], so that one file always becomes the same numbers.
//! Whatever a file holds, the worst it can cause is an error that names it.

#![forbid(unsafe_code)]

mod error;

mod dataset;
mod parquet;
mod sample;
mod sources;
mod tar;

mod contain;
mod decode;
mod image;
mod jpeg;
mod png;

mod augment;
mod begun;
mod colour;
mod pack;
mod parallel;
mod passed_over;
mod preprocess;
mod random;
mod resize;

mod loader;
mod pictures;

mod check;
mod sample_set;
mod statistics;
mod survey;

mod file_system;
mod text;
mod tree;
mod whole_file;

pub use augment::{Augment, SampleKey, View};
pub use check::{
    Case, CheckReport, Finding, FindingKind, IMBALANCE_MAX, ImageReference, Imbalance, Severity,
    Sizes, SplitReport, check, left_out,
};
pub use colour::ColourNoise;
pub use dataset::{Dataset, OpenedSplit, Split, open, open_split};
pub use decode::{
    DecodeError, MAX_FILE_BYTES, MAX_IMAGE_PIXELS, MAX_SIDE_PIXELS, decode, read_image,
};
pub use error::DataError;
pub use file_system::{Disk, FileSystem, NewFile, Place};
pub use image::Image;
pub use loader::{
    BATCHES_AHEAD, Batch, Epoch, Loader, LoaderConfig, Order, Unreadable, UnreadableImage,
    unreadable_budget,
};
pub use pack::{
    Encoding, JPEG_QUALITY, PackOutcome, PackSettings, PackSize, PackWriter, Packing, SHARD_IMAGES,
    pack,
};
pub use parallel::Progress;
pub use parquet::{Cell, Table};
pub use passed_over::PassedOver;
pub use pictures::{Pictures, Pixels};
pub use preprocess::{
    Fit, IMAGENET_MEAN, IMAGENET_STD, MAX_RESIZE_PIXELS, MeanImage, MeanPart, Preprocess,
    PreprocessError,
};
pub use sample::{Content, Form, Layout, Part, Sample, Store, read_at};
pub use sample_set::{SampleSet, SampleSplit};
pub use sources::{Downloads, FoundImages, Verdict, find_images, read_names};
pub use statistics::{Statistics, statistics};
pub use survey::{ClassImages, NamedSplit, Survey, survey};
pub use text::{quoted, read_text};
pub use tree::{TreeOutcome, TreeWriter};
pub use whole_file::{
    check_writable, clear_unfinished, clear_unfinished_on, create_folders_on, is_unfinished,
    write_beside, write_beside_on,
};
