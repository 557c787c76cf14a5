//! Files of one kind that together are a set, by split: in a folder of the split's name, or named
//! after it, or, where there are no splits, all that are there.
//!
//! ```text
//! root/train-000000.tar    root/train/000000.tar    root/000000.tar (nothing but shards)
//! root/val-000000.tar      root/val/000000.tar
//! ```

use std::path::{Path, PathBuf};

use super::folder::sorted_entries;
use super::{Lack, SPLITS, TRAIN, VAL, VALIDATION, Wanted};
use crate::error::DataError;

/// Whether shards of this extension lie in `root`.
pub(super) fn has_any(root: &Path, extension: &str) -> Result<bool, DataError> {
    let train = root.join(TRAIN);
    // Archives often stay beside the folders that were unpacked from them.
    if !root.is_dir() || (train.is_dir() && of_kind(&train, extension)?.is_empty()) {
        return Ok(false);
    }
    let mut found = !unsplit(root, extension)?.is_empty();
    for split in SPLITS {
        found = found || !of_split(root, split, extension)?.is_empty();
    }
    Ok(found)
}

/// The shards of a split in their order; none if there is no such split.
pub(super) fn find(
    root: &Path,
    wanted: Wanted,
    extension: &str,
) -> Result<Vec<PathBuf>, DataError> {
    for name in wanted.names() {
        let shards = match name.is_empty() {
            true => unsplit(root, extension)?,
            false => of_split(root, name, extension)?,
        };
        if !shards.is_empty() {
            return Ok(shards);
        }
    }
    Ok(Vec::new())
}

/// The splits that have shards.
pub(super) fn splits(root: &Path, extension: &str) -> Vec<&'static str> {
    let has_shards =
        |split: &&str| of_split(root, split, extension).is_ok_and(|shards| !shards.is_empty());
    SPLITS.into_iter().filter(has_shards).collect()
}

/// What to add where something is lacking: shards, or, for classes, what says them in shards of this kind.
pub(super) fn remedy(root: &Path, extension: &str, lack: Lack, classes: &str) -> String {
    match lack {
        Lack::Train => train_remedy(root, extension),
        Lack::Validation => validation_remedy(root, extension),
        Lack::Classes => classes.to_owned(),
    }
}

/// Where shards to learn from are to be where there are none.
fn train_remedy(root: &Path, extension: &str) -> String {
    let put = put(root, TRAIN, "", extension);
    match unsplit(root, extension).unwrap_or_default().is_empty() {
        true => put,
        false => format!("{put}; or pass --val-fraction to divide all .{extension} files"),
    }
}

/// Where shards to measure with are to be where there are none.
fn validation_remedy(root: &Path, extension: &str) -> String {
    let others = format!(" (or {}-)", VALIDATION[1..].join("-, "));
    put(root, VAL, &others, extension)
}

fn put(root: &Path, split: &str, others: &str, extension: &str) -> String {
    format!(
        "put {split}-*.{extension}{others} into {}, or .{extension} files into {}",
        root.display(),
        root.join(split).display()
    )
}

/// A shard named after what is measured with, of any kind, that lies in `root`.
pub(super) fn validation_beside(root: &Path) -> Option<PathBuf> {
    let kinds = ["tar", "parquet"].into_iter();
    let shards =
        kinds.flat_map(|kind| VALIDATION.iter().map(move |split| named_after(root, split, kind)));
    shards.flat_map(Result::unwrap_or_default).next()
}

/// The shards in the folder of a split, or else those named after it, sorted.
fn of_split(root: &Path, split: &str, extension: &str) -> Result<Vec<PathBuf>, DataError> {
    let folder = root.join(split);
    if folder.is_dir() {
        return of_kind(&folder, extension);
    }
    named_after(root, split, extension)
}

/// Those named after a split, sorted.
fn named_after(root: &Path, split: &str, extension: &str) -> Result<Vec<PathBuf>, DataError> {
    let is_of_split = |path: &PathBuf| {
        let name = path.file_stem().and_then(|name| name.to_str()).unwrap_or_default();
        name.strip_prefix(split).is_some_and(|rest| rest.is_empty() || rest.starts_with(['-', '_']))
    };
    Ok(of_kind(root, extension)?.into_iter().filter(is_of_split).collect())
}

/// The shards of a folder that knows no splits: it holds no folder that could be meant instead.
fn unsplit(root: &Path, extension: &str) -> Result<Vec<PathBuf>, DataError> {
    for entry in sorted_entries(root)? {
        if entry.is_dir() {
            return Ok(Vec::new());
        }
    }
    for split in SPLITS {
        if !of_split(root, split, extension)?.is_empty() {
            return Ok(Vec::new());
        }
    }
    of_kind(root, extension)
}

fn of_kind(folder: &Path, extension: &str) -> Result<Vec<PathBuf>, DataError> {
    let is_it =
        |path: &PathBuf| path.extension().is_some_and(|found| found == extension) && path.is_file();
    Ok(sorted_entries(folder)?.into_iter().filter(is_it).collect())
}
