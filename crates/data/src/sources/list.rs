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

use std::collections::HashMap;
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

    let mut classes = Classes::of(&entries, beside)?;
    let mut samples = Vec::with_capacity(entries.len());
    for (line, path, class) in entries {
        let label = classes.label(class).map_err(|reason| malformed(line, reason))?;
        samples.push(Sample { content: Content::File(base.join(path)), label });
    }
    Ok(Listing { place: file.to_path_buf(), classes: classes.names, samples, ..Listing::default() })
}

/// The classes of a list.
pub(super) struct Classes {
    pub(super) names: Vec<String>,
    by_name: HashMap<String, u32>,
    /// Classes are given by number.
    numbered: bool,
}

impl Classes {
    pub(super) fn of(entries: &[(usize, &str, &str)], beside: &Path) -> Result<Self, DataError> {
        let numbers: Option<Vec<usize>> =
            entries.iter().map(|(_, _, class)| class.parse().ok()).collect();
        let given = given_names(beside)?;
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
        Ok(Self { names, by_name, numbered: numbers.is_some() })
    }

    pub(super) fn label(&mut self, class: &str) -> Result<u32, String> {
        if let Some(&label) = self.by_name.get(class) {
            return Ok(label);
        }
        let classes = self.names.len();
        match class.parse::<u32>() {
            Ok(number) if self.numbered && (number as usize) < classes => Ok(number),
            _ => Err(format!("{class} is not one of the {classes} classes")),
        }
    }
}

/// The names beside a list, if there are any.
fn given_names(beside: &Path) -> Result<Option<Vec<String>>, DataError> {
    for name in NAMES {
        let path = beside.join(name);
        if path.is_file() {
            return Ok(Some(read_names(&path)?));
        }
    }
    let train = beside.join(TRAIN);
    let folders: Vec<PathBuf> = match train.is_dir() {
        true => folder::sorted_entries(&train)?.into_iter().filter(|path| path.is_dir()).collect(),
        false => Vec::new(),
    };
    let name = |path: &PathBuf| path.file_name().and_then(|name| name.to_str()).map(str::to_owned);
    Ok((!folders.is_empty()).then(|| folders.iter().filter_map(name).collect()))
}

/// One class a line.
pub(super) fn read_names(path: &Path) -> Result<Vec<String>, DataError> {
    let text = read_text(path)?;
    let names: Vec<String> = text.lines().map(str::trim).map(str::to_owned).collect();
    let end = names.iter().rposition(|name| !name.is_empty()).map_or(0, |last| last + 1);
    Ok(names[..end].to_vec())
}
