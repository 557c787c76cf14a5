//! What lies at a path, taken as it is: [`crate::open`] refuses what `train` could not use, a survey
//! shows it.

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};

use serde::Serialize;

use crate::dataset::{Split, no_train, set_aside, stem};
use crate::error::DataError;
use crate::pack::Packing;
use crate::sources::{Listing, Source, TEST, TRAIN, VAL, Wanted, recognise};

/// Everything with a class that lies at a path.
#[derive(Clone, Debug, PartialEq)]
pub struct Survey {
    /// What was opened.
    pub root: PathBuf,
    /// What it was recognised as: `folders`, `lists`, `packed`, `cifar-10` and so on.
    pub kind: &'static str,
    /// Class names; the labels of all splits are indices into them. Those that are learnt come
    /// first, in their order.
    pub classes: Vec<String>,
    /// So many of the classes are learnt: the others occur only in images to measure with.
    pub learnt_classes: usize,
    /// The images to learn from first.
    pub splits: Vec<NamedSplit>,
    /// A `test` that cannot be listed, and why.
    pub left_out: Option<String>,
    /// Names of splits that may each be meant to measure with, if there is more than one.
    pub rivals: Vec<String>,
    /// How it was packed, if it was.
    pub packing: Option<Packing>,
}

/// A split and what it is for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NamedSplit {
    /// `train`; `val`, the images to measure with, whatever their folder is called; `test`, where
    /// there is one beside them; `all` of class folders that know no splits.
    pub name: &'static str,
    /// Its images.
    pub split: Split,
}

/// One class.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ClassImages {
    /// Its name.
    pub name: String,
    /// How many images each split has of it.
    pub images: BTreeMap<&'static str, usize>,
}

/// What class folders that know no splits are called.
const ALL: &str = "all";

/// Lists what lies at `root`, of whatever kind; with a `val_fraction` as [`crate::open`] divides it.
/// No image is read.
///
/// # Errors
/// Nothing there or nothing recognised, or a file that describes images and is damaged.
pub fn survey(root: &Path, val_fraction: Option<f64>) -> Result<Survey, DataError> {
    let source = recognise(root)?;
    let mut survey = Survey::empty(root, &*source);
    let train = source.list(Wanted::Train)?;
    let val = match val_fraction {
        None => source.list(Wanted::Validation)?,
        Some(_) => None,
    };
    let test = survey.test(&*source, &val)?;
    match (train, val_fraction) {
        (Some(train), _) => survey.add(TRAIN, train),
        (None, None) if val.is_some() => {}
        (None, fraction) => {
            let whole = source.list(Wanted::Named(""))?.filter(|whole| !whole.classes.is_empty());
            let whole = whole.ok_or_else(|| no_train(root, &*source))?;
            survey.add(if fraction.is_some() { TRAIN } else { ALL }, whole);
        }
    }
    if let (Some(fraction), Some(train)) = (val_fraction, survey.splits.first_mut()) {
        let split = set_aside(&mut train.split, fraction);
        survey.splits.push(NamedSplit { name: VAL, split });
    }
    for (name, listing) in [(VAL, val), (TEST, test)] {
        listing.into_iter().for_each(|listing| survey.add(name, listing));
    }
    Ok(survey)
}

impl Survey {
    fn empty(root: &Path, source: &dyn Source) -> Self {
        Self {
            root: root.to_path_buf(),
            kind: source.kind(),
            classes: Vec::new(),
            learnt_classes: 0,
            splits: Vec::new(),
            left_out: None,
            rivals: Vec::new(),
            packing: source.packing(),
        }
    }

    /// The split called `test`, if it is another than the one to measure with.
    ///
    /// # Errors
    /// When this machine cannot read now.
    fn test(
        &mut self,
        source: &dyn Source,
        val: &Option<Listing>,
    ) -> Result<Option<Listing>, DataError> {
        let first = |listing: &Listing| listing.samples.first().map(|it| it.content.path());
        match source.list(Wanted::Named(TEST)) {
            Ok(test) => Ok(test.filter(|test| val.as_ref().map(first) != Some(first(test)))),
            Err(error) if error.is_of_the_machine() => Err(error),
            // Often it holds images without classes, which nobody means to use.
            Err(error) => {
                self.left_out = Some(error.to_string());
                Ok(None)
            }
        }
    }

    /// Adds a split; its labels become indices into the common classes.
    fn add(&mut self, name: &'static str, listing: Listing) {
        let Listing { place: folder, classes, mut samples, passed_over, rivals, .. } = listing;
        if !rivals.is_empty() {
            self.rivals = [stem(&folder)].into_iter().chain(rivals).collect();
        }
        if self.splits.is_empty() {
            self.learnt_classes = classes.len();
            self.classes = classes;
        } else {
            let known: HashMap<String, u32> = self.classes.iter().cloned().zip(0..).collect();
            let mut labels: Vec<Option<u32>> =
                classes.iter().map(|class| known.get(class).copied()).collect();
            for sample in &mut samples {
                let own = sample.label as usize;
                sample.label = *labels[own].get_or_insert_with(|| {
                    self.classes.push(classes[own].clone());
                    self.classes.len() as u32 - 1
                });
            }
        }
        self.splits.push(NamedSplit { name, split: Split { folder, samples, passed_over } });
    }

    /// How many images each class has.
    #[must_use]
    pub fn class_images(&self) -> Vec<ClassImages> {
        let of_none = |name: &String| ClassImages { name: name.clone(), images: BTreeMap::new() };
        let mut classes: Vec<ClassImages> = self.classes.iter().map(of_none).collect();
        for split in &self.splits {
            for (class, count) in classes.iter_mut().zip(split.images_by_class(self.classes.len()))
            {
                class.images.insert(split.name, count);
            }
        }
        classes
    }

    /// The split of this name.
    #[must_use]
    pub fn split(&self, name: &str) -> Option<&NamedSplit> {
        self.splits.iter().find(|split| split.name == name)
    }

    /// The images that would be learnt from: `train`, or else `all`.
    #[must_use]
    pub fn learnt(&self) -> Option<&NamedSplit> {
        self.splits.first().filter(|first| first.name != VAL)
    }
}

impl NamedSplit {
    /// How many images it has of each of `classes` classes.
    #[must_use]
    pub fn images_by_class(&self, classes: usize) -> Vec<usize> {
        let mut counts = vec![0; classes];
        self.split.samples.iter().for_each(|sample| counts[sample.label as usize] += 1);
        counts
    }

    /// The bytes its images take where they are stored, as far as the system tells.
    #[must_use]
    pub fn stored_bytes(&self) -> u64 {
        self.split.samples.iter().filter_map(|sample| sample.content.stored_bytes()).sum()
    }
}
