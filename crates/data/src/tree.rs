//! Trees of class folders, written: what `ImageFolder` and everyone else reads.
//!
//! ```text
//! out/train/<class>/<name>    out/val/<class>/<name>
//! out/prepared.json           what it was made of
//! ```
//!
//! An image keeps its bytes, bare pixels become PNG files. It keeps its name where that is the name
//! of an image file anywhere and another image of the class has not got it; else it has its number
//! in the split, before the name or in its place. Until all is whole it lies in `out/.preparing`,
//! so that no other program takes a part for the set, and the plan is called `preparing.json`.
//! There a class is whole or not there: a run that was ended at any moment is taken up where it was.

use std::collections::{HashMap, HashSet};
use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::begun::{Claim, begin, finish};
use crate::dataset::Dataset;
use crate::decode::begins_as_image;
use crate::error::DataError;
use crate::parallel::{Progress, Tell, try_map};
use crate::png;
use crate::preprocess::PreprocessError;
use crate::sample::{Content, Form, Sample};
use crate::sources::{TRAIN, VAL, is_hidden, is_image, sorted_entries};
use crate::whole_file::{clear_unfinished, fill_beside, rename_synced};

/// The file that says what a tree was made of.
pub(crate) const MANIFEST: &str = "prepared.json";
/// Its name while the tree is being written.
pub(crate) const PLAN: &str = "preparing.json";
/// Where the splits are until they are whole.
const WORK: &str = ".preparing";
/// The folders of the splits.
const SPLITS: [&str; 2] = [TRAIN, VAL];
/// Longest name that is kept, in bytes: file systems take 255, and a number may be put before it.
const NAME_BYTES_MAX: usize = 200;

/// `preparing.json` and `prepared.json`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Plan {
    format: String,
    version: u32,
    /// Fingerprints of both splits.
    source: String,
    classes: usize,
    train: usize,
    val: usize,
}

/// What writing a tree came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TreeOutcome {
    /// Training images.
    pub train: usize,
    /// Images to measure with.
    pub val: usize,
    /// Class folders of both splits.
    pub folders: usize,
    /// Those that were there already.
    pub reused_folders: usize,
    /// Files of this run that are neither JPEG nor PNG, whatever their names say, and were copied as they
    /// are.
    pub no_images: Vec<PathBuf>,
}

/// A data set on its way into class folders.
pub struct TreeWriter<'a> {
    out: PathBuf,
    plan: Plan,
    folders: Vec<ClassFolder<'a>>,
    _claim: Claim,
}

/// One class of one split.
struct ClassFolder<'a> {
    split: &'static str,
    class: &'a str,
    images: Vec<(String, &'a Sample)>,
}

impl<'a> TreeWriter<'a> {
    /// Makes the folder `out`, or takes up what an earlier run with the same images left in it.
    ///
    /// # Errors
    /// A folder that holds something else, or a class whose name cannot be that of a folder.
    pub fn begin(dataset: &'a Dataset, out: &Path) -> Result<Self, DataError> {
        if let Some(class) = dataset.classes.iter().find(|class| !is_plain(class)) {
            return Err(DataError::FolderName { class: class.clone() });
        }
        let plan = Plan {
            format: "alexnet-tree".into(),
            version: 1,
            source: dataset.fingerprint(),
            classes: dataset.classes.len(),
            train: dataset.train.samples.len(),
            val: dataset.val.samples.len(),
        };
        let claim = begin(out, PLAN, MANIFEST, &plan)?;
        let [train, val] = SPLITS;
        let mut folders = class_folders(train, &dataset.classes, &dataset.train.samples);
        folders.extend(class_folders(val, &dataset.classes, &dataset.val.samples));
        Ok(Self { out: out.to_path_buf(), plan, folders, _claim: claim })
    }

    /// How many class folders there will be.
    #[must_use]
    pub fn folders(&self) -> usize {
        self.folders.len()
    }

    /// Writes what is not there yet by `workers` threads. `progress` counts class folders, and is asked
    /// before each image whether to go on.
    ///
    /// # Errors
    /// An image whose bytes cannot be had (whether they decode is not asked), a class folder that
    /// was altered since it was written, a full disk, or a request to stop.
    pub fn run(self, workers: usize, progress: Progress) -> Result<TreeOutcome, DataError> {
        for split in SPLITS {
            let home = self.home(split);
            fs::create_dir_all(&home).map_err(DataError::io("create", &home))?;
            clear_unfinished(&home).map_err(DataError::io("clear", &home))?;
        }
        let work = |folder: &ClassFolder, tell: Tell| write(&self.home(folder.split), folder, tell);
        let written = try_map(&self.folders, workers, work, progress)?;
        self.finish()?;
        Ok(TreeOutcome {
            train: self.plan.train,
            val: self.plan.val,
            folders: self.folders.len(),
            reused_folders: written.iter().filter(|folder| folder.reused).count(),
            no_images: written.into_iter().flat_map(|folder| folder.no_images).collect(),
        })
    }

    /// Where a split is, or is being made.
    fn home(&self, split: &str) -> PathBuf {
        let whole = self.out.join(split);
        if whole.is_dir() { whole } else { self.out.join(WORK).join(split) }
    }

    /// Puts the splits into their places, and last of all names the tree whole.
    fn finish(&self) -> Result<(), DataError> {
        let (out, work) = (&self.out, self.out.join(WORK));
        for split in SPLITS {
            let (made, whole) = (work.join(split), out.join(split));
            if made.is_dir() {
                rename_synced(&made, &whole).map_err(DataError::io("write", &whole))?;
            }
        }
        if work.is_dir() {
            fs::remove_dir(&work).map_err(DataError::io("remove", &work))?;
        }
        finish(out, PLAN, MANIFEST, &self.plan)
    }
}

/// One class folder made.
#[derive(Default)]
struct Written {
    /// It was there already.
    reused: bool,
    no_images: Vec<PathBuf>,
}

/// Writes a class into the folder of its split, if it is not there already.
fn write(home: &Path, folder: &ClassFolder, tell: Tell) -> Result<Written, DataError> {
    let place = home.join(folder.class);
    let mut written = Written { reused: place.is_dir(), ..Written::default() };
    if written.reused {
        return match is_whole(&place, folder)? {
            true => Ok(written),
            false => Err(DataError::Altered { path: place }),
        };
    }
    fill_beside(&place, |beside| {
        folder.images.iter().try_for_each(|(name, sample)| {
            if !tell(0) {
                return Err(DataError::StoppedReading);
            }
            let bytes = file_bytes(&sample.content)?;
            if !begins_as_image(&bytes) {
                written.no_images.push(sample.content.path());
            }
            fs::write(beside.join(name), bytes).map_err(DataError::io("write", &place.join(name)))
        })
    })?;
    Ok(written)
}

/// The file of an image: its own, or that of its pixels.
fn file_bytes(content: &Content) -> Result<Vec<u8>, DataError> {
    match content.read_encoded()? {
        Some(bytes) => Ok(bytes),
        None => png::encode(&content.read_image()?)
            .map_err(|error| PreprocessError::Encode(error.to_string()).into()),
    }
}

/// Whether all images are there, as long as they should be, and nothing else.
fn is_whole(place: &Path, folder: &ClassFolder) -> Result<bool, DataError> {
    let mut missing: HashMap<&OsStr, &Sample> =
        folder.images.iter().map(|(name, sample)| (OsStr::new(name), *sample)).collect();
    for path in sorted_entries(place)? {
        let Some(sample) = path.file_name().and_then(|name| missing.remove(name)) else {
            return Ok(false);
        };
        let len = fs::metadata(&path).map_err(DataError::io("read", &path))?.len();
        if file_len(&sample.content).is_some_and(|expected| expected != len) {
            return Ok(false);
        }
    }
    Ok(missing.is_empty())
}

/// The classes of a split that have images there.
fn class_folders<'a>(
    split: &'static str,
    classes: &'a [String],
    samples: &'a [Sample],
) -> Vec<ClassFolder<'a>> {
    let mut by_class = vec![Vec::new(); classes.len()];
    for (number, sample) in samples.iter().enumerate() {
        by_class[sample.label as usize].push((number, sample));
    }
    let folder = |(class, members): (&'a String, Vec<_>)| ClassFolder {
        split,
        class,
        images: with_names(&members),
    };
    let folders = classes.iter().zip(by_class).filter(|(_, members)| !members.is_empty());
    folders.map(folder).collect()
}

/// The images of a class with the names they get, each once, whatever the case of its letters; in
/// the order in which they lie in an archive, so that it is read through.
fn with_names<'a>(members: &[(usize, &'a Sample)]) -> Vec<(String, &'a Sample)> {
    let mut taken = HashSet::new();
    let named = members.iter().map(|&(number, sample)| {
        let mut name = file_name(number, &sample.content);
        while !taken.insert(name.to_lowercase()) {
            name = format!("{number:09}-{name}");
        }
        (name, sample)
    });
    let mut named: Vec<_> = named.collect();
    named.sort_by(|(_, a), (_, b)| place(a).cmp(&place(b)));
    named
}

/// Where an image lies in which archive; nothing of others, which are left in their order.
fn place(sample: &Sample) -> Option<(&Path, u64)> {
    match &sample.content {
        Content::Part(part) => Some((part.store.path(), part.start)),
        Content::File(_) | Content::Cell(_) => None,
    }
}

/// How long an image's file is to be, if that is known.
fn file_len(content: &Content) -> Option<u64> {
    content.stored_bytes().filter(|_| !is_bare_pixels(content))
}

fn is_bare_pixels(content: &Content) -> bool {
    matches!(content, Content::Part(part) if part.form != Form::Encoded)
}

/// What an image is called, or else its number; with the ending of an image file.
fn file_name(number: usize, content: &Content) -> String {
    let path = content.path();
    let own = path.file_name().and_then(OsStr::to_str).filter(|name| is_plain(name));
    let name = own.map_or_else(|| format!("{number:09}"), str::to_owned);
    match is_image(Path::new(&name)) {
        _ if is_bare_pixels(content) => format!("{name}.png"),
        true => name,
        false => format!("{name}.jpg"),
    }
}

/// Whether a file or folder may have the name on any system, and is looked at then.
fn is_plain(name: &str) -> bool {
    let forbidden = |c: char| c.is_control() || r#"/\:*?"<>|"#.contains(c);
    let ends_well = !name.is_empty() && !name.ends_with([' ', '.']);
    ends_well
        && name.len() <= NAME_BYTES_MAX
        && !is_hidden(Path::new(name))
        && !name.contains(forbidden)
}
