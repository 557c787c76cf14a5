//! The result of a check. The names of its parts are those of the JSON that scripts rely on.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

use serde::{Serialize, Serializer};

use crate::sample::Content;
use crate::survey::ClassImages;

/// What was found in a data set. Its cases point into the survey: of a set of which every image is
/// one, the paths and classes as text would take more memory than all else.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct CheckReport<'s> {
    /// What was checked.
    pub data: String,
    /// What it was recognised as.
    pub kind: &'static str,
    /// Side of the square that the network sees, in pixels.
    pub crop: u32,
    /// Each split.
    pub splits: Vec<SplitReport>,
    /// Each class, in the order of its labels.
    pub classes: Vec<ClassImages>,
    /// The largest and the smallest class of the training images that have any.
    pub imbalance: Option<Imbalance>,
    /// What was found, the worst first. A kind of which nothing was found is not listed.
    pub findings: Vec<Finding<'s>>,
}

impl CheckReport<'_> {
    /// How many cases of a severity were found.
    #[must_use]
    pub fn count(&self, severity: Severity) -> usize {
        let of_it = self.findings.iter().filter(|finding| finding.severity == severity);
        of_it.map(|finding| finding.cases.len()).sum()
    }
}

/// One split.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct SplitReport {
    /// `train`, `val`, `test` or `all`.
    pub name: &'static str,
    /// The file or folder it is in.
    pub place: String,
    /// How many images it lists.
    pub images: usize,
    /// How many of them can be read.
    pub readable: usize,
    /// Of those that can be read; none without any.
    pub sizes: Option<Sizes>,
}

/// Widths and heights in pixels, ordered by area.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Sizes {
    /// The least pixels.
    pub smallest: [u32; 2],
    /// As many images have less as have more.
    pub median: [u32; 2],
    /// The most pixels.
    pub largest: [u32; 2],
    /// How many have a side shorter than the crop, and are enlarged.
    pub smaller_than_crop: usize,
}

/// How unlike in size the classes of the training images are.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Imbalance {
    /// Name of the class with the most images.
    pub largest: String,
    /// Name of the class with the fewest.
    pub smallest: String,
    /// Images of the one over images of the other.
    pub ratio: f64,
}

/// All cases of one kind.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Finding<'s> {
    /// What is the matter.
    pub kind: FindingKind,
    /// How bad it is.
    pub severity: Severity,
    /// Every case, in the order of the data set.
    pub cases: Vec<Case<'s>>,
}

/// One case of a finding. Which parts it has depends on the kind.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Case<'s> {
    /// What is to be said of this case; cases of which the same is to be said share it.
    #[serde(skip_serializing_if = "Option::is_none", serialize_with = "as_text")]
    pub detail: Option<Arc<str>>,
    /// The image, or the copies of one picture.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub images: Vec<ImageReference<'s>>,
    /// Names of classes.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub classes: Vec<String>,
    /// A file or folder that is no image of the set.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub file: Option<String>,
}

/// One image of the set.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct ImageReference<'s> {
    /// Where it lies; as JSON its path, as all messages have it.
    #[serde(rename = "path", serialize_with = "as_path")]
    pub content: &'s Content,
    /// The split that lists it.
    pub split: &'static str,
    /// Name of its class.
    pub class: &'s str,
}

fn as_path<S: Serializer>(content: &&Content, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(&content.path().display())
}

fn as_text<S: Serializer>(detail: &Option<Arc<str>>, serializer: S) -> Result<S::Ok, S::Error> {
    detail.as_deref().serialize(serializer)
}

/// How bad a finding is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Severity {
    /// It spoils training or what is measured.
    Error,
    /// It may be meant, or not.
    Warning,
    /// Good to know.
    Note,
}

/// What may be found; the worst first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum FindingKind {
    /// Less than two classes.
    TooFewClasses,
    /// A class to be measured is none that is learnt.
    UnknownClass,
    /// A class without images to learn from.
    ClassWithoutTraining,
    /// Several splits may be meant to measure with.
    SeveralValidations,
    /// An image that cannot be decoded, and why.
    Unreadable,
    /// An image file of zero bytes.
    Empty,
    /// One picture in several classes.
    Contradiction,
    /// One picture among those learnt from and those measured with.
    Leak,

    /// No images to learn from, or none to measure with.
    MissingSplit,
    /// A class without images to measure with.
    ClassWithoutValidation,
    /// The largest class is [`super::IMBALANCE_MAX`] times the smallest.
    Imbalance,
    /// Class names that differ only in case, in spaces around or in how accents are written.
    SimilarNames,
    /// One picture several times in a class.
    Duplicate,
    /// An image of another format than its name says.
    WrongExtension,
    /// A grey PNG of 16 bits, whose levels above 255 are clipped.
    DeepGrey,
    /// EXIF says it is to be turned or mirrored, which is not done.
    Orientation,
    /// A file of a format that is not read, and so skipped.
    UnsupportedFormat,
    /// A link that leads nowhere, and is skipped.
    DeadLink,
    /// An image in no class, and so skipped.
    OutsideClasses,

    /// The split `test` cannot be listed.
    LeftOut,
    /// A JPEG of four inks.
    Cmyk,
    /// Grey levels only.
    Grey,
    /// Transparency, which is dropped.
    Alpha,
    /// A hidden file or folder, which is skipped.
    Hidden,
    /// A file that is no image.
    OtherFile,
    /// A class that has another number where names are sorted as people count.
    NaturalOrder,
}

impl FindingKind {
    /// How bad a finding of this kind is.
    #[must_use]
    pub fn severity(self) -> Severity {
        match self {
            kind if kind < Self::MissingSplit => Severity::Error,
            kind if kind < Self::LeftOut => Severity::Warning,
            _ => Severity::Note,
        }
    }
}

/// Cases on their way into a report.
#[derive(Default)]
pub(super) struct Cases<'s> {
    by_kind: BTreeMap<FindingKind, Vec<Case<'s>>>,
    /// Each that was given, once.
    details: HashSet<Arc<str>>,
}

impl<'s> Cases<'s> {
    pub(super) fn add(&mut self, kind: FindingKind, case: Case<'s>) {
        let detail = case.detail.map(|detail| match self.details.get(&detail) {
            Some(known) => Arc::clone(known),
            None => {
                self.details.insert(Arc::clone(&detail));
                detail
            }
        });
        self.by_kind.entry(kind).or_default().push(Case { detail, ..case });
    }

    pub(super) fn into_findings(self) -> Vec<Finding<'s>> {
        let finding = |(kind, cases): (FindingKind, _)| {
            let severity = kind.severity();
            Finding { kind, severity, cases }
        };
        self.by_kind.into_iter().map(finding).collect()
    }
}

impl<'s> Case<'s> {
    pub(super) fn of_detail(detail: &str) -> Self {
        Self { detail: Some(detail.into()), ..Self::default() }
    }

    pub(super) fn of_image(image: ImageReference<'s>, detail: Option<String>) -> Self {
        Self { detail: detail.map(Arc::from), images: vec![image], ..Self::default() }
    }

    pub(super) fn of_classes(classes: Vec<String>, detail: Option<String>) -> Self {
        Self { detail: detail.map(Arc::from), classes, ..Self::default() }
    }

    pub(super) fn of_file(file: String) -> Self {
        Self { file: Some(file), ..Self::default() }
    }
}
