//! Datasets as folders: one folder per split, in it one folder per class, in it images.
//!
//! ```text
//! root/train/<class>/*.jpg
//! root/val/<class>/*.jpg      or valid/, validation/, test/
//! ```
//!
//! The order is that of torchvision's `ImageFolder`: classes by the bytes of their names, images
//! by folder, then by name. Hidden files and folders are skipped, links are followed.

use std::collections::HashSet;
use std::fs;
use std::path::{Path, PathBuf};

use crate::error::DataError;

const TRAIN: &str = "train";
/// The names of the validation split, the first that exists is taken.
const VALIDATION: [&str; 4] = ["val", "valid", "validation", "test"];
/// Which files are images, whatever the case of their letters.
const EXTENSIONS: [&str; 3] = ["jpg", "jpeg", "png"];

/// One image file and what it shows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sample {
    /// The image file.
    pub path: PathBuf,
    /// Index of its class.
    pub label: u32,
}

/// The images to train on, or those to measure with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Split {
    /// Where the class folders are.
    pub folder: PathBuf,
    /// By class, then by folder and file name.
    pub samples: Vec<Sample>,
}

/// A folder of images to train from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Dataset {
    /// The folder.
    pub root: PathBuf,
    /// Class names, sorted by their bytes; a label is an index into them.
    pub classes: Vec<String>,
    /// What is learnt from.
    pub train: Split,
    /// What is measured with.
    pub val: Split,
}

/// A split to be measured with a trained model's classes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OpenedSplit {
    /// Its images.
    pub split: Split,
    /// The classes that have no image in it.
    pub missing: Vec<String>,
}

/// Opens the dataset in `root`: `train/` and the first of `val/`, `valid/`, `validation/`,
/// `test/`. The classes are the folders of `train/`; those of the other are matched by name.
///
/// # Errors
/// A missing or empty folder, fewer than two classes, a class without training images, a
/// validation folder that is no class.
pub fn open(root: &Path) -> Result<Dataset, DataError> {
    if sorted_entries(root)?.is_empty() {
        return Err(DataError::EmptyDataset { root: root.to_path_buf() });
    }
    let folder = root.join(TRAIN);
    if !folder.is_dir() {
        return Err(DataError::NoTrain { root: root.to_path_buf() });
    }
    let classes = class_names(&folder)?;
    if classes.len() < 2 {
        return Err(DataError::TooFewClasses { folder, found: classes.len() });
    }
    let val_folder = validation_folder(root)
        .ok_or_else(|| DataError::NoValidation { root: root.to_path_buf() })?;

    let OpenedSplit { split: train, missing } = read_split(folder, &classes)?;
    if let Some(class) = missing.first() {
        return Err(DataError::NoImages { folder: train.folder.join(class) });
    }
    let val = read_split(val_folder, &classes)?.split;
    Ok(Dataset { root: root.to_path_buf(), classes, train, val })
}

/// Opens one split for evaluation: `root/<split>` if given; else the validation split beneath
/// `root`; else `root` itself if it holds a folder named after one of `classes`.
///
/// # Errors
/// Nothing found, a folder that is none of `classes`, or no image at all.
pub fn open_split(
    root: &Path,
    split: Option<&str>,
    classes: &[String],
) -> Result<OpenedSplit, DataError> {
    let entries = sorted_entries(root)?;
    if let Some(name) = split {
        return read_split(root.join(name), classes);
    }
    if let Some(folder) = validation_folder(root) {
        return read_split(folder, classes);
    }
    let names: HashSet<_> = entries.iter().filter_map(|entry| entry.file_name()).collect();
    if classes.iter().any(|class| names.contains(class.as_ref() as &std::ffi::OsStr)) {
        return read_split(root.to_path_buf(), classes);
    }
    let example = classes.first().cloned().unwrap_or_default();
    Err(DataError::NoSplit { root: root.to_path_buf(), example })
}

/// The images meant by `paths`: a file stands for itself, a folder for every image beneath it,
/// sorted.
///
/// # Errors
/// A path that does not exist, a folder that holds no image.
pub fn find_images(paths: &[PathBuf]) -> Result<Vec<PathBuf>, DataError> {
    let mut found = Vec::new();
    for path in paths {
        if !path.exists() {
            return Err(DataError::Missing { path: path.clone() });
        }
        if path.is_dir() {
            let images = images_beneath(path)?;
            if images.is_empty() {
                return Err(DataError::NoImages { folder: path.clone() });
            }
            found.extend(images);
        } else {
            found.push(path.clone());
        }
    }
    Ok(found)
}

fn validation_folder(root: &Path) -> Option<PathBuf> {
    VALIDATION.iter().map(|name| root.join(name)).find(|folder| folder.is_dir())
}

/// The folders in `folder`, sorted by the bytes of their names.
fn class_names(folder: &Path) -> Result<Vec<String>, DataError> {
    let folders = sorted_entries(folder)?.into_iter().filter(|entry| entry.is_dir());
    folders
        .map(|path| match path.file_name().and_then(|name| name.to_str()) {
            Some(name) => Ok(name.to_owned()),
            None => Err(DataError::NameNotUnicode { path }),
        })
        .collect()
}

/// The images of each of `classes` in `folder`.
fn read_split(folder: PathBuf, classes: &[String]) -> Result<OpenedSplit, DataError> {
    let present: HashSet<String> = class_names(&folder)?.into_iter().collect();
    let known: HashSet<&String> = classes.iter().collect();
    if let Some(name) = present.iter().filter(|name| !known.contains(name)).min() {
        let folder = folder.join(name);
        return Err(DataError::UnknownClass { folder, classes: classes.len() });
    }
    let (mut samples, mut missing) = (Vec::new(), Vec::new());
    for (label, class) in (0..).zip(classes) {
        let images = match present.contains(class) {
            true => images_beneath(&folder.join(class))?,
            false => Vec::new(),
        };
        if images.is_empty() {
            missing.push(class.clone());
        }
        samples.extend(images.into_iter().map(|path| Sample { path, label }));
    }
    if samples.is_empty() {
        return Err(DataError::NoImages { folder });
    }
    Ok(OpenedSplit { split: Split { folder, samples }, missing })
}

/// Every image file in `folder` and the folders in it, by folder, then by name.
fn images_beneath(folder: &Path) -> Result<Vec<PathBuf>, DataError> {
    let mut images = Vec::new();
    let mut waiting = vec![folder.to_path_buf()];
    // A link may lead back up: every folder is read once, whatever it is called.
    let mut visited = HashSet::new();
    while let Some(folder) = waiting.pop() {
        let real = folder.canonicalize().map_err(DataError::io("read", &folder))?;
        if !visited.insert(real) {
            continue;
        }
        for entry in sorted_entries(&folder)? {
            if entry.is_dir() {
                waiting.push(entry);
            } else if is_image(&entry) && entry.is_file() {
                images.push(entry);
            }
        }
    }
    let key = |path: &PathBuf| {
        let folder = path.parent().map(|parent| parent.as_os_str().to_owned());
        (folder, path.file_name().map(|name| name.to_owned()))
    };
    images.sort_by_cached_key(key);
    Ok(images)
}

/// What is in `folder`, but for hidden names, sorted by the bytes of the names.
fn sorted_entries(folder: &Path) -> Result<Vec<PathBuf>, DataError> {
    if !folder.exists() {
        return Err(DataError::Missing { path: folder.to_path_buf() });
    }
    if !folder.is_dir() {
        return Err(DataError::NotAFolder { path: folder.to_path_buf() });
    }
    let mut entries = Vec::new();
    for entry in fs::read_dir(folder).map_err(DataError::io("read", folder))? {
        let entry = entry.map_err(DataError::io("read", folder))?;
        if !entry.file_name().as_encoded_bytes().starts_with(b".") {
            entries.push(entry.path());
        }
    }
    entries.sort_by(|a, b| a.as_os_str().cmp(b.as_os_str()));
    Ok(entries)
}

fn is_image(path: &Path) -> bool {
    let extension = path.extension().and_then(|extension| extension.to_str());
    extension.is_some_and(|name| EXTENSIONS.iter().any(|known| name.eq_ignore_ascii_case(known)))
}
