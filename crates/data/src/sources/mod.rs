//! The forms in which people have their images, one file each.
//!
//! Every source answers one question: which images does the training set, or the set to measure
//! with, have, and of which classes. What it lists is told apart by class *names*; numbers are
//! given out once, in [`crate::dataset`].

mod cifar;
mod folder;
mod idx;
mod ilsvrc;
mod kaggle;
mod list;
mod pack;
mod parquet;
mod shards;
mod webdataset;

use std::path::{Path, PathBuf};

use crate::begun::refuse_unfinished;
use crate::error::DataError;
use crate::pack::Packing;
use crate::passed_over::PassedOver;
use crate::sample::Sample;

pub use folder::{FoundImages, find_images};
pub(crate) use folder::{extension, images_beneath, is_hidden, is_image, sorted_entries, walk};
pub use ilsvrc::{Downloads, Verdict};
pub use list::read_names;

/// What the set to learn from is called.
pub(crate) const TRAIN: &str = "train";
/// What the set to measure with is called.
pub(crate) const VAL: &str = "val";
/// What a set beside these two is called.
pub(crate) const TEST: &str = "test";
/// What the splits of a set may be called.
const SPLITS: [&str; 5] = [TRAIN, VAL, "valid", "validation", TEST];
/// What the set to measure with may be called.
const VALIDATION: &[&str] = SPLITS.split_at(1).1;

/// Which images are asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wanted<'a> {
    /// Those to learn from.
    Train,
    /// Those to measure with.
    Validation,
    /// Those of the split that the source calls so.
    Named(&'a str),
}

impl<'a> Wanted<'a> {
    /// What folders, lists and shards of the split may be called: the first that is there is taken.
    fn names(&'a self) -> &'a [&'a str] {
        match self {
            Wanted::Train => &[TRAIN],
            Wanted::Validation => VALIDATION,
            Wanted::Named(name) => std::slice::from_ref(name),
        }
    }
}

/// What a source may lack.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Lack {
    /// Images to learn from.
    Train,
    /// Images to measure with.
    Validation,
    /// Classes to tell apart.
    Classes,
}

/// The images of one split.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Listing {
    /// The file or folder they are in, for messages.
    pub(crate) place: PathBuf,
    /// Class names in the source's own order.
    pub(crate) classes: Vec<String>,
    /// The file that names the classes, if there is one.
    pub(crate) named_by: Option<PathBuf>,
    /// Labels are indices into `classes`.
    pub(crate) samples: Vec<Sample>,
    /// Files among them that are none.
    pub(crate) passed_over: PassedOver,
    /// What could be meant by the split as well, beside what was taken.
    pub(crate) rivals: Vec<String>,
}

/// A set of images in one of the forms.
pub(crate) trait Source {
    /// What kind of set it is, in a word; scripts rely on it.
    fn kind(&self) -> &'static str;

    /// Whether it was recognised by files that may as well be something else, and are.
    fn is_doubtful(&self) -> bool {
        false
    }

    /// How it was packed, if it was.
    fn packing(&self) -> Option<Packing> {
        None
    }

    /// The images of a split; `None` if the source has no such split.
    ///
    /// # Errors
    /// When it has one that cannot be read.
    fn list(&self, wanted: Wanted) -> Result<Option<Listing>, DataError>;

    /// The splits it has, as they can be asked for by name, in the order of [`SPLITS`].
    fn splits(&self) -> Vec<&'static str>;

    /// What to do where it lacks something: which files have it in a set of its form.
    fn remedy(&self, lack: Lack) -> String;
}

/// Recognises a source by what lies at a path; `None` if it is another kind.
type Recognise = fn(&Path) -> Result<Option<Box<dyn Source>>, DataError>;

/// Told by a name that nothing else has; whatever lies beside belongs to them.
const SURE: [Recognise; 2] = [pack::recognise, ilsvrc::recognise];
/// Of these one alone may be there, nor folders of classes beside it; such folders are what remains.
const KINDS: [Recognise; 6] = [
    cifar::recognise_10,
    cifar::recognise_100,
    idx::recognise,
    kaggle::recognise,
    parquet::recognise,
    webdataset::recognise,
];

/// The source at `root`.
///
/// # Errors
/// When nothing is there, or nothing that looks like images with classes, or half of a set, or sets
/// of two kinds, either of which may be meant.
pub(crate) fn recognise(root: &Path) -> Result<Box<dyn Source>, DataError> {
    if !root.exists() {
        return Err(DataError::Missing { path: root.to_path_buf() });
    }
    refuse_unfinished(root)?;
    for kind in SURE {
        if let Some(source) = kind(root)? {
            return Ok(source);
        }
    }
    let mut found = Vec::new();
    for kind in KINDS {
        found.extend(kind(root)?);
    }
    if found.is_empty() || folder::has_classes(root)? {
        found.extend(folder::recognise(root)?);
    }
    if found.len() > 1 {
        // Of an archive that is no shard it does not matter beside what it lies.
        found.retain(|source| !source.is_doubtful());
    }
    let mut found = found.into_iter();
    match (found.next(), found.next()) {
        (Some(source), None) => Ok(source),
        (Some(first), Some(second)) => Err(DataError::SeveralKinds {
            root: root.to_path_buf(),
            first: first.kind(),
            second: second.kind(),
        }),
        (None, _) => Err(DataError::NotAFolder { path: root.to_path_buf() }),
    }
}

/// Says what is wrong, and what to do, at a place of a file.
fn malformed(path: &Path, place: impl Into<String>, reason: impl Into<String>) -> DataError {
    let (place, reason) = (place.into(), reason.into());
    DataError::Malformed { path: path.to_path_buf(), place, reason }
}
