//! A packed set: images brought to size once, in a few large files that anyone's tools open.
//!
//! ```text
//! pack.json           what it is: classes, settings, every shard with its sizes and checksums
//! classes.txt         one class a line
//! train-000000.tar    000000000.jpg 000000000.cls 000000001.jpg ...
//! train-000000.csv    one line an image: where it lies in the tar, its size, label and CRC-32
//! val-000000.tar      ...
//! ```
//!
//! The tars are WebDataset shards (`.cls` is the number of the class); bare pixels are `.npy`
//! arrays (height, width, 3). Why so: docs/decisions/008. An image is read at its position, without
//! walking the tar. `pack.json` is written last: without it there is no packed set, however much of
//! it is there.

mod index;
mod store;
mod write;

use serde::{Deserialize, Serialize};

use crate::preprocess::Fit;

pub(crate) use index::{Row, read_index};
pub use write::{PackOutcome, PackWriter, pack};

/// The file that says what a packed set is.
pub(crate) const MANIFEST: &str = "pack.json";
/// In its place while the set is being packed.
pub(crate) const PLAN: &str = "packing.json";
/// What `format` in it says.
pub(crate) const FORMAT: &str = "alexnet-pack";
/// The only version there is.
pub(crate) const VERSION: u32 = 1;
/// Images in a shard unless told: 200 MB of bare pixels at 256 x 256.
pub const SHARD_IMAGES: usize = 1024;
/// Quality of JPEG files unless told, as cuda-convnet2's tool has it.
pub const JPEG_QUALITY: u8 = 95;

/// How images are packed.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PackSettings {
    /// The size images are brought to; `None` keeps them as they are.
    pub size: Option<PackSize>,
    /// How they are stored.
    pub encoding: Encoding,
    /// Images in a shard, at least 1.
    pub shard_images: usize,
}

/// The size images are brought to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PackSize {
    /// What becomes of other shapes.
    pub fit: Fit,
    /// The side, in pixels.
    pub side: u32,
}

/// How an image is stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum Encoding {
    /// The bytes of its own file; only of images that keep their size.
    Original,
    /// A JPEG file of this quality, 1 to 100.
    Jpeg(u8),
    /// Bare pixels.
    Raw,
}

/// How a set was packed.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Packing {
    /// What was asked for.
    pub settings: PackSettings,
    /// How many tars it has.
    pub shards: usize,
    /// How many images could not be decoded and were stored as they were.
    pub unreadable: usize,
}

/// `packing.json`; the fields of `pack.json` that were decided before any image was packed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Plan {
    pub(crate) format: String,
    pub(crate) version: u32,
    /// Fingerprints of both splits.
    pub(crate) source: String,
    pub(crate) settings: PackSettings,
    pub(crate) classes: Vec<String>,
}

/// `pack.json`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Manifest {
    pub(crate) format: String,
    pub(crate) version: u32,
    /// What it was made of: fingerprints of both splits.
    pub(crate) source: String,
    pub(crate) settings: PackSettings,
    pub(crate) classes: Vec<String>,
    pub(crate) train: Vec<Shard>,
    pub(crate) val: Vec<Shard>,
    /// Images that could not be decoded: they are stored as they were.
    pub(crate) unreadable: Vec<String>,
}

/// One tar of a packed set and its index.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Shard {
    /// Name of both files, without the extension.
    pub(crate) name: String,
    pub(crate) images: usize,
    /// Length of the tar.
    pub(crate) bytes: u64,
    /// CRC-32 of the index file.
    pub(crate) index_crc32: u32,
}

impl Shard {
    pub(crate) fn tar(&self) -> String {
        format!("{}.tar", self.name)
    }

    pub(crate) fn index(&self) -> String {
        format!("{}.csv", self.name)
    }
}
