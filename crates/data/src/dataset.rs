//! A data set: images to learn from and images to measure with, of the same classes.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use crate::error::DataError;
use crate::passed_over::PassedOver;
use crate::sample::Sample;
use crate::sources::{FoundImages, Lack, Listing, Source, Wanted, images_beneath, recognise};

/// The images to train on, or those to measure with.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Split {
    /// The file or folder they are in.
    pub folder: PathBuf,
    /// In the source's order; of folders by class, then by folder and file name.
    pub samples: Vec<Sample>,
    /// Files among them that were perhaps meant to be images, and are not read.
    pub passed_over: PassedOver,
}

impl Split {
    /// A CRC-32 of the class names, of each image's place beneath the folder, and of its label:
    /// tells other images, or others' labels, but not other pixels.
    #[must_use]
    pub fn fingerprint(&self, classes: &[String]) -> u32 {
        let mut crc = crc32fast::Hasher::new();
        for class in classes {
            crc.update(class.as_bytes());
            crc.update(&[0]);
        }
        for sample in &self.samples {
            crc.update(self.place(sample).as_os_str().as_encoded_bytes());
            crc.update(&sample.label.to_le_bytes());
        }
        crc.finalize()
    }

    /// Where an image lies beneath the folder.
    fn place(&self, sample: &Sample) -> PathBuf {
        let path = sample.content.path();
        path.strip_prefix(&self.folder).map(Path::to_path_buf).unwrap_or(path)
    }
}

/// Images to train from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Dataset {
    /// What was opened.
    pub root: PathBuf,
    /// Class names; a label is an index into them. Of folders sorted by their bytes.
    pub classes: Vec<String>,
    /// What is learnt from.
    pub train: Split,
    /// What is measured with.
    pub val: Split,
}

impl Dataset {
    /// Files of both splits that were perhaps meant to be images, and are not read.
    #[must_use]
    pub fn passed_over(&self) -> PassedOver {
        self.train.passed_over.clone().and(&self.val.passed_over)
    }

    /// [`Split::fingerprint`] of both splits, in hexadecimal.
    pub(crate) fn fingerprint(&self) -> String {
        let [train, val] = [&self.train, &self.val].map(|split| split.fingerprint(&self.classes));
        format!("{train:08x}{val:08x}")
    }
}

/// A split to be measured with a trained model's classes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OpenedSplit {
    /// Its images.
    pub split: Split,
    /// The classes that have no image in it.
    pub missing: Vec<String>,
}

/// Opens the data set at `root`, of whatever kind. The classes are those of the training images;
/// those of the others are matched by name.
///
/// With a `val_fraction`, that share of each class's training images, at least one, is set aside to
/// measure with, in place of any others; a bare folder of class folders will do then. Which images,
/// the names in the class decide: neither the seed nor the folder's place changes it.
///
/// # Errors
/// Nothing there or nothing recognised, fewer than two classes, a class without training images, a
/// validation image of an unknown class.
pub fn open(root: &Path, val_fraction: Option<f64>) -> Result<Dataset, DataError> {
    let source = recognise(root)?;
    let listing = match source.list(Wanted::Train)? {
        None if val_fraction.is_some() => source.list(Wanted::Named(""))?,
        listing => listing,
    };
    let train = listing.ok_or_else(|| no_train(root, &*source))?;
    if train.classes.len() < 2 {
        let (place, found) = (train.place, train.classes.len());
        let mut remedy = source.remedy(Lack::Classes);
        if !train.passed_over.is_empty() {
            remedy = format!("{remedy}; {}", train.passed_over);
        }
        return Err(DataError::TooFewClasses { place, found, remedy });
    }
    let classes = train.classes.clone();
    let named_by = train.named_by.clone();
    let OpenedSplit { split: mut train, missing } = matched(train, &classes)?;
    if let Some(class) = missing.into_iter().next() {
        return Err(without_images(&train.folder, class, named_by));
    }
    let val = if let Some(fraction) = val_fraction {
        let aside = set_aside(&mut train, fraction);
        if aside.samples.is_empty() {
            return Err(DataError::NothingToSetAside { root: root.to_path_buf() });
        }
        aside
    } else {
        let no_validation = || {
            let remedy = source.remedy(Lack::Validation);
            DataError::NoValidation { root: root.to_path_buf(), remedy }
        };
        let listing = source.list(Wanted::Validation)?.ok_or_else(no_validation)?;
        matched(without_rivals(root, listing)?, &classes)?.split
    };
    Ok(Dataset { root: root.to_path_buf(), classes, train, val })
}

/// Opens one split for evaluation: the one called `split` if given; else the one to measure with;
/// else, of a bare folder of class folders, all of it.
///
/// # Errors
/// Nothing found, an image that is of none of `classes`, or no image at all.
pub fn open_split(
    root: &Path,
    split: Option<&str>,
    classes: &[String],
) -> Result<OpenedSplit, DataError> {
    let source = recognise(root)?;
    if let Some(name) = split {
        let listing = source.list(Wanted::Named(name))?;
        return matched(listing.ok_or_else(|| no_such_split(root, &*source, name))?, classes);
    }
    if let Some(listing) = source.list(Wanted::Validation)? {
        return matched(without_rivals(root, listing)?, classes);
    }
    let whole = source
        .list(Wanted::Named(""))?
        .filter(|listing| listing.classes.iter().any(|name| classes.contains(name)));
    let example = classes.first().cloned().unwrap_or_default();
    let none = || {
        let remedy = source.remedy(Lack::Validation);
        DataError::NoSplit { root: root.to_path_buf(), remedy, example }
    };
    matched(whole.ok_or_else(none)?, classes)
}

/// Says where the training images of such a set should be.
pub(crate) fn no_train(root: &Path, source: &dyn Source) -> DataError {
    DataError::NoTrain { root: root.to_path_buf(), remedy: source.remedy(Lack::Train) }
}

/// Says which splits such a set has, where it has none of this name.
fn no_such_split(root: &Path, source: &dyn Source, name: &str) -> DataError {
    DataError::NoSuchSplit {
        root: root.to_path_buf(),
        kind: source.kind(),
        name: name.to_owned(),
        splits: source.splits(),
    }
}

/// A listing, unless there is another that it could be.
fn without_rivals(root: &Path, listing: Listing) -> Result<Listing, DataError> {
    match listing.rivals.first() {
        None => Ok(listing),
        Some(rival) => Err(DataError::SeveralValidations {
            root: root.to_path_buf(),
            taken: stem(&listing.place),
            rival: rival.clone(),
        }),
    }
}

/// A folder's name, a list's without its extension.
pub(crate) fn stem(place: &Path) -> String {
    place.file_stem().unwrap_or_default().display().to_string()
}

/// What is to do about a class of the training images at `place` that has none.
fn without_images(place: &Path, class: String, named_by: Option<PathBuf>) -> DataError {
    let folder = place.join(&class);
    match named_by {
        None if folder.is_dir() => match images_beneath(&folder) {
            Ok(FoundImages { passed_over, .. }) => DataError::NoImages { folder, passed_over },
            Err(error) => error,
        },
        None => DataError::NumberUnused { place: place.to_path_buf(), class },
        Some(named_by) => DataError::NameUnused { place: place.to_path_buf(), class, named_by },
    }
}

/// A listing with labels that are indices into `classes`.
fn matched(listing: Listing, classes: &[String]) -> Result<OpenedSplit, DataError> {
    let Listing { place: folder, classes: own, mut samples, passed_over, .. } = listing;
    if samples.is_empty() {
        return Err(DataError::NoImages { folder, passed_over });
    }
    let known: HashMap<&String, u32> = classes.iter().zip(0..).collect();
    let labels: Vec<Option<u32>> = own.iter().map(|name| known.get(name).copied()).collect();
    let mut present = vec![false; classes.len()];
    for sample in &mut samples {
        let own_label = sample.label as usize;
        let Some(label) = labels.get(own_label).copied().flatten() else {
            let folder = folder.join(own.get(own_label).map_or("?", |name| name));
            return Err(DataError::UnknownClass { folder, classes: classes.len() });
        };
        sample.label = label;
        present[label as usize] = true;
    }
    let absent = classes.iter().zip(&present).filter(|&(_, &present)| !present);
    let missing = absent.map(|(class, _)| class.clone()).collect();
    Ok(OpenedSplit { split: Split { folder, samples, passed_over }, missing })
}

/// Takes `fraction` of each class out of `train`: those whose names have the smallest CRC-32.
/// Of a class with a single image it stays.
pub(crate) fn set_aside(train: &mut Split, fraction: f64) -> Split {
    let mut by_class: HashMap<u32, Vec<(u32, PathBuf, usize)>> = HashMap::new();
    for (index, sample) in train.samples.iter().enumerate() {
        let name = train.place(sample);
        let hash = crc32fast::hash(name.as_os_str().as_encoded_bytes());
        by_class.entry(sample.label).or_default().push((hash, name, index));
    }
    let mut aside = vec![false; train.samples.len()];
    for members in by_class.values_mut() {
        members.sort_unstable();
        let wanted = (members.len() as f64 * fraction).round() as usize;
        let taken = wanted.max(1).min(members.len() - 1);
        members[..taken].iter().for_each(|&(_, _, index)| aside[index] = true);
    }
    let mut is_aside = aside.into_iter();
    let (val, rest) =
        std::mem::take(&mut train.samples).into_iter().partition(|_| is_aside.next() == Some(true));
    train.samples = rest;
    Split { folder: train.folder.clone(), samples: val, passed_over: PassedOver::default() }
}
