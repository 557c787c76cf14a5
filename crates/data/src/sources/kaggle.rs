//! ILSVRC-2012 as Kaggle packs it, unpacked.
//!
//! ```text
//! root/ILSVRC/Data/CLS-LOC/train/<wnid>/*.JPEG
//! root/ILSVRC/Data/CLS-LOC/val/*.JPEG
//! root/LOC_val_solution.csv        ImageId,PredictionString: "n01751748 111 108 219 373 ..."
//! root/LOC_synset_mapping.txt      "n01440764 tench, Tinca tinca"
//! ```
//!
//! `ILSVRC` itself is as good a root: the tables are looked for in it and beside it. Classes are
//! called by their wnids. The test images have no classes that are known.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use super::folder::{FoundImages, class_folders, images_beneath};
use super::{Lack, Listing, Source, TEST, TRAIN, VAL, Wanted, malformed};
use crate::error::DataError;
use crate::sample::{Content, Sample};
use crate::text::read_text;

const IMAGES: &str = "Data/CLS-LOC";
const SOLUTION: &str = "LOC_val_solution.csv";
const SYNSETS: &str = "LOC_synset_mapping.txt";

/// The unpacked folder.
struct Kaggle {
    /// `.../Data/CLS-LOC`.
    images: PathBuf,
    /// Where the tables may lie.
    beside: Vec<PathBuf>,
}

pub(super) fn recognise(root: &Path) -> Result<Option<Box<dyn Source>>, DataError> {
    let inside = root.join("ILSVRC");
    let above = match (root.file_name(), root.parent()) {
        (Some(_), Some(parent)) => parent.to_path_buf(),
        _ => root.join(".."),
    };
    for (ilsvrc, other) in [(inside.as_path(), root), (root, &above)] {
        let images = ilsvrc.join(IMAGES);
        if images.is_dir() {
            let beside = vec![other.to_path_buf(), ilsvrc.to_path_buf()];
            return Ok(Some(Box::new(Kaggle { images, beside })));
        }
    }
    Ok(None)
}

impl Source for Kaggle {
    fn kind(&self) -> &'static str {
        "kaggle-ilsvrc"
    }

    fn list(&self, wanted: Wanted) -> Result<Option<Listing>, DataError> {
        let name = match wanted {
            Wanted::Train => TRAIN,
            Wanted::Validation => VAL,
            Wanted::Named(name) => name,
        };
        let folder = self.images.join(name);
        match name {
            _ if !folder.is_dir() => Ok(None),
            TRAIN => class_folders(folder).map(Some),
            TEST => {
                let reason = "its class was never published: measure with val";
                Err(malformed(&folder, "every image", reason))
            }
            name if name == VAL => self.validation(folder).map(Some),
            _ => Ok(None),
        }
    }

    fn splits(&self) -> Vec<&'static str> {
        [TRAIN, VAL].into_iter().filter(|split| self.images.join(split).is_dir()).collect()
    }

    fn remedy(&self, lack: Lack) -> String {
        match lack {
            Lack::Train => format!("unpack {} too", self.images.join(TRAIN).display()),
            Lack::Validation => format!("unpack {} too", self.images.join(VAL).display()),
            Lack::Classes => "unpack all of it".into(),
        }
    }
}

impl Kaggle {
    fn validation(&self, folder: PathBuf) -> Result<Listing, DataError> {
        let solution = self.table(SOLUTION)?;
        let mut wnids = read_solution(&solution)?;
        let mut classes = match self.table(SYNSETS) {
            Ok(path) => read_synsets(&path)?,
            Err(_) => wnids.values().map(|(_, wnid)| wnid.clone()).collect(),
        };
        classes.sort_unstable();
        classes.dedup();
        let mut samples = Vec::with_capacity(wnids.len());
        let FoundImages { images, passed_over } = images_beneath(&folder)?;
        for path in images {
            let id = path.file_stem().and_then(|id| id.to_str()).unwrap_or_default();
            let missing = || {
                let reason = "no line is of this image: restore the table, or remove the image";
                malformed(&solution, path.display().to_string(), reason)
            };
            let (line, wnid) = wnids.remove(id).ok_or_else(missing)?;
            let unknown = |_| {
                let reason = format!("{wnid} is not one of {SYNSETS}'s classes: restore both");
                malformed(&solution, format!("line {line}"), reason)
            };
            let label = classes.binary_search(&wnid).map_err(unknown)? as u32;
            samples.push(Sample { content: Content::File(path), label });
        }
        if let Some((id, (line, _))) = wnids.iter().min_by_key(|(_, (line, _))| *line) {
            let reason = format!("there is no {id}.JPEG in {}: unpack all of it", folder.display());
            return Err(malformed(&solution, format!("line {line}"), reason));
        }
        Ok(Listing { place: folder, classes, samples, passed_over, ..Listing::default() })
    }

    /// Where the table of that name is.
    fn table(&self, name: &str) -> Result<PathBuf, DataError> {
        let mut places = self.beside.iter().map(|folder| folder.join(name));
        let found = places.find(|path| path.is_file());
        let absent = || {
            let reason = format!("{name} is needed, put it into {}", self.beside[0].display());
            malformed(&self.images, VAL, reason)
        };
        found.ok_or_else(absent)
    }
}

/// The line and the wnid of each image.
fn read_solution(path: &Path) -> Result<HashMap<String, (u64, String)>, DataError> {
    let text = read_text(path)?;
    let fault = |line: u64| {
        let reason = "it should be an image's name, once, a comma and a class: download it anew";
        malformed(path, format!("line {line}"), reason)
    };
    let mut rows = csv::ReaderBuilder::new().flexible(true).from_reader(text.as_bytes());
    let mut wnids = HashMap::new();
    for row in rows.records() {
        let row = row.map_err(|error| fault(error.position().map_or(0, csv::Position::line)))?;
        let line = row.position().map_or(0, csv::Position::line);
        let wnid = row.get(1).and_then(|boxes| boxes.split_whitespace().next());
        let (Some(id), Some(wnid)) = (row.get(0), wnid) else {
            return Err(fault(line));
        };
        if wnids.insert(id.to_owned(), (line, wnid.to_owned())).is_some() {
            return Err(fault(line));
        }
    }
    Ok(wnids)
}

/// The first word of each line.
fn read_synsets(path: &Path) -> Result<Vec<String>, DataError> {
    let text = read_text(path)?;
    Ok(text.lines().filter_map(|line| line.split_whitespace().next()).map(str::to_owned).collect())
}
