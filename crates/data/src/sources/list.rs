//! A list of images: a text file, one image a line, as Caffe has them.
//!
//! ```text
//! ILSVRC2012_val_00000001.JPEG 65
//! photos/my cat.jpg cat
//! ```
//!
//! The last word of a line is the class: its name, or its number from 0. Numbers become names by
//! the line of `classes.txt` (or `synsets.txt`) beside the list, or else by the folders of `train/`
//! beside it, sorted by their bytes: the order of torchvision and of Caffe's lists. Without either
//! a number is its own name. A path is looked for beside the list, and in the folder of the list's
//! name (`val/` for `val.txt`).
//!
//! Where all classes of a list are numbers, a number is a place among the names, never a name: one
//! that is also the name of a class at another place is refused.

use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};

use super::{Listing, TRAIN, folder, malformed};
use crate::error::DataError;
use crate::sample::{Content, Sample};
use crate::text::read_text;

/// Where the names of numbered classes may stand.
const NAMES: [&str; 2] = [CLASSES, "synsets.txt"];
/// The file of class names, one a line.
pub(super) const CLASSES: &str = "classes.txt";
/// Most classes.
const CLASSES_MAX: usize = 1 << 20;

/// Reads the list `file` of images that lie beside it or in `folder`.
pub(super) fn read(file: &Path, folder: &Path) -> Result<Listing, DataError> {
    let text = read_text(file)?;
    let malformed = |line: usize, reason: String| malformed(file, format!("line {line}"), reason);
    let mut entries = Vec::new();
    for (number, line) in (1..).zip(text.lines()) {
        let line = line.trim();
        if line.is_empty() {
            continue;
        }
        let no_class = || malformed(number, "it should be a path, a space and a class".into());
        let (path, class) = line.rsplit_once([' ', '\t']).ok_or_else(no_class)?;
        entries.push((number, path.trim_end(), class));
    }
    let Some(&(first_line, first_path, _)) = entries.first() else {
        return Err(malformed(1, "it names no image".into()));
    };
    let beside = file.parent().unwrap_or(Path::new(""));
    let base = [beside, folder].into_iter().find(|base| base.join(first_path).exists());
    let absent = || {
        let places = format!("{} or {}", beside.display(), folder.display());
        malformed(first_line, format!("there is no {first_path} in {places}"))
    };
    let base = base.ok_or_else(absent)?;

    let classes = Classes::of(&entries, beside)?;
    let mut samples = Vec::with_capacity(entries.len());
    for (line, path, class) in entries {
        let label = classes.label(class).map_err(|reason| malformed(line, reason))?;
        let path = base.join(path);
        // To read from a pipe may take for ever.
        if fs::metadata(&path).is_ok_and(|found| !found.is_file()) {
            return Err(malformed(line, format!("{} is no file: take it out", path.display())));
        }
        samples.push(Sample { content: Content::File(path), label });
    }
    let Classes { names, named_by, .. } = classes;
    let place = file.to_path_buf();
    Ok(Listing { place, classes: names, named_by, samples, ..Listing::default() })
}

/// The classes of a list.
pub(super) struct Classes {
    pub(super) names: Vec<String>,
    /// The file, or the folder of folders, that the names are from, if they are from one.
    pub(super) named_by: Option<PathBuf>,
    by_name: HashMap<String, u32>,
    /// Of the names that are numbers.
    by_value: HashMap<usize, usize>,
    /// Classes are given by number.
    numbered: bool,
}

impl Classes {
    pub(super) fn of(entries: &[(usize, &str, &str)], beside: &Path) -> Result<Self, DataError> {
        let numbers: Option<Vec<usize>> =
            entries.iter().map(|(_, _, class)| class.parse().ok()).collect();
        let (given, named_by) = given_names(beside, numbers.is_some())?;
        let names = match (&numbers, given) {
            (_, Some(names)) => names,
            (Some(numbers), None) => {
                let most = numbers.iter().copied().max().unwrap_or(0);
                (0..=most.min(CLASSES_MAX)).map(|number| number.to_string()).collect()
            }
            (None, None) => {
                let mut names: Vec<String> =
                    entries.iter().map(|(_, _, class)| (*class).to_owned()).collect();
                names.sort_unstable();
                names.dedup();
                names
            }
        };
        let by_name = names.iter().cloned().zip(0..).collect();
        let value = |(at, name): (usize, &String)| Some((name.parse().ok()?, at));
        let by_value = names.iter().enumerate().filter_map(value).collect();
        Ok(Self { names, named_by, by_name, by_value, numbered: numbers.is_some() })
    }

    pub(super) fn label(&self, class: &str) -> Result<u32, String> {
        let unknown = || format!("{class} is not one of the {} classes", self.names.len());
        if !self.numbered {
            return self.by_name.get(class).copied().ok_or_else(unknown);
        }
        let number: usize = class.parse().map_err(|_| unknown())?;
        let counted = self.names.get(number);
        match self.by_value.get(&number) {
            Some(&at) if at != number => Err(format!(
                "{class} is the name of class number {at}{}: begin the names of classes with a \
                 letter (c{class}), and write the names here if they are meant",
                counted.map(|name| format!(", and number {class} is {name}")).unwrap_or_default()
            )),
            _ if counted.is_some() => Ok(number as u32),
            _ => Err(unknown()),
        }
    }
}

/// The names beside a list, if there are any, and what they are from. The folders of `train/`
/// are classes where numbers count them, or where no list says what lies in them.
fn given_names(
    beside: &Path,
    numbered: bool,
) -> Result<(Option<Vec<String>>, Option<PathBuf>), DataError> {
    for name in NAMES {
        let path = beside.join(name);
        if path.is_file() {
            return Ok((Some(read_names(&path)?), Some(path)));
        }
    }
    let train = beside.join(TRAIN);
    let is_asked = numbered || !beside.join(format!("{TRAIN}.txt")).is_file();
    let folders: Vec<PathBuf> = match is_asked && train.is_dir() {
        true => folder::sorted_entries(&train)?.into_iter().filter(|path| path.is_dir()).collect(),
        false => Vec::new(),
    };
    let name = |path: &PathBuf| path.file_name().and_then(|name| name.to_str()).map(str::to_owned);
    let names = (!folders.is_empty()).then(|| folders.iter().filter_map(name).collect());
    let named_by = (!folders.is_empty()).then_some(train);
    Ok((names, named_by))
}

/// The names of classes in a text file, one a line.
///
/// # Errors
/// A line without a name before the last, a name that was there before.
pub fn read_names(path: &Path) -> Result<Vec<String>, DataError> {
    let text = read_text(path)?;
    let names: Vec<String> = text.lines().map(str::trim).map(str::to_owned).collect();
    let end = names.iter().rposition(|name| !name.is_empty()).map_or(0, |last| last + 1);
    let names = names[..end].to_vec();
    let fault = |at: usize, reason: String| malformed(path, format!("line {}", at + 1), reason);
    if let Some(at) = names.iter().position(String::is_empty) {
        return Err(fault(at, "it names no class: name it, or remove the line".into()));
    }
    match repeated(&names) {
        None => Ok(names),
        Some((first, at)) => {
            let reason = format!("{} is the class of line {} too", names[at], first + 1);
            Err(fault(at, format!("{reason}: give each class a name of its own")))
        }
    }
}

/// The places of the first name that was there before: before, and again.
pub(super) fn repeated(names: &[String]) -> Option<(usize, usize)> {
    let mut places = HashMap::new();
    let mut named = names.iter().enumerate();
    named.find_map(|(at, name)| places.insert(name, at).map(|first| (first, at)))
}
