//! Parquet files with a column of images, as Hugging Face gives out its data sets.
//!
//! ```text
//! root/train-00000-of-00002.parquet    root/data/train-00000-of-00002.parquet    root/train/0000.parquet
//! root/test-00000-of-00001.parquet     root/data/test-00000-of-00001.parquet     root/test/0000.parquet
//! ```
//!
//! A row is an image: `image` is a JPEG or PNG file's bytes, or a structure of its `bytes` and its
//! `path`; `label` is its class. What the numbers in it mean stands in the file's metadata, where
//! the library `datasets` describes its columns; else as in [`super::list`]. Samples are in the
//! order of the files and of their rows.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::Arc;

use serde::Deserialize;

use super::list::{Classes, repeated};
use super::{Lack, Listing, Source, Wanted, malformed, shards};
use crate::error::DataError;
use crate::parquet::{Cell, Chosen, Place, RawFooter, Reader, TableBuilder};
use crate::sample::{Content, Form, Part, Sample, Store};

const EXTENSION: &str = "parquet";
/// The folder in a data set's repository.
const FOLDER: &str = "data";
/// What the columns may be called; others are found if the metadata says what they are.
const IMAGE: [&str; 2] = ["image", "img"];
const LABEL: [&str; 3] = ["label", "labels", "fine_label"];
/// Where `datasets` describes the columns.
const METADATA: &str = "huggingface";

const NO_CLASS: &str = "it has no class: leave the row out, or give it one";

/// A folder of Parquet files.
struct Tables {
    folder: PathBuf,
}

pub(super) fn recognise(root: &Path) -> Result<Option<Box<dyn Source>>, DataError> {
    for folder in [root.to_path_buf(), root.join(FOLDER)] {
        if shards::has_any(&folder, EXTENSION)? {
            return Ok(Some(Box::new(Tables { folder })));
        }
    }
    Ok(None)
}

impl Source for Tables {
    fn kind(&self) -> &'static str {
        "parquet"
    }

    fn list(&self, wanted: Wanted) -> Result<Option<Listing>, DataError> {
        let files = shards::find(&self.folder, wanted, EXTENSION)?;
        if files.is_empty() {
            return Ok(None);
        }
        check_count(&files)?;
        let mut rows = Rows::default();
        for file in &files {
            rows.read(file)?;
        }
        rows.listing(&self.folder, &files).map(Some)
    }

    fn splits(&self) -> Vec<&'static str> {
        shards::splits(&self.folder, EXTENSION)
    }

    fn remedy(&self, lack: Lack) -> String {
        shards::remedy(&self.folder, EXTENSION, lack, "add rows of each, with a label that says it")
    }
}

/// One of several files left out would go unseen, did not their names say how many they are.
fn check_count(files: &[PathBuf]) -> Result<(), DataError> {
    for file in files {
        let name = file.file_stem().and_then(|name| name.to_str()).unwrap_or_default();
        let Some((_, count)) = name.split_once("-of-") else { continue };
        let digits = count.find(|c: char| !c.is_ascii_digit()).unwrap_or(count.len());
        if count[..digits].parse().is_ok_and(|count: usize| count != files.len()) {
            let reason = format!("of so many files {} are there: download all", files.len());
            return Err(malformed(file, format!("of {}", &count[..digits]), reason));
        }
    }
    Ok(())
}

/// The rows of all files of a split.
#[derive(Default)]
struct Rows {
    found: Vec<Row>,
    table: TableBuilder,
    /// The classes' names, and the file that gave them.
    names: Option<(PathBuf, Vec<String>)>,
    files: usize,
}

struct Row {
    place: Place,
    file: usize,
    /// In its file.
    number: usize,
    name: Option<Rc<str>>,
    class: Class,
}

enum Class {
    Number(i64),
    Name(Rc<str>),
}

/// The columns of a file that matter.
struct Columns {
    image: Chosen,
    path: Option<Chosen>,
    label: Chosen,
}

/// How `datasets` describes columns: `{"info": {"features": {"label": {"_type": "ClassLabel",
/// "names": [...]}}}}`.
#[derive(Deserialize)]
struct Described {
    info: Info,
}

#[derive(Deserialize)]
struct Info {
    features: BTreeMap<String, serde_json::Value>,
}

impl Rows {
    fn read(&mut self, path: &Path) -> Result<(), DataError> {
        let raw = RawFooter::read(path)?;
        let reader = Reader::new(path, &raw)?;
        let features = features(path, &reader)?;
        let columns = choose(path, &reader, &features)?;
        self.take_names(path, names(path, &features, &columns.label)?)?;
        let mut number = 0;
        // Some programs write a group without rows, and pages there or none, for an empty table.
        for group in (0..reader.groups()).filter(|&group| reader.rows(group) > 0) {
            let places = reader.images(group, &columns.image, &mut self.table)?;
            let names = match &columns.path {
                Some(column) => reader.texts(group, column)?,
                None => vec![None; places.len()],
            };
            let classes = classes(&reader, group, &columns.label)?;
            for ((place, name), class) in places.into_iter().zip(names).zip(classes) {
                let class = class.ok_or_else(|| {
                    let place = format!("row group {group}, row {number} of the file");
                    malformed(path, place, NO_CLASS)
                })?;
                self.found.push(Row { place, file: self.files, number, name, class });
                number += 1;
            }
        }
        self.files += 1;
        Ok(())
    }

    /// All files of a split number their classes alike.
    fn take_names(&mut self, path: &Path, names: Option<Vec<String>>) -> Result<(), DataError> {
        let first = self.files == 0;
        match (&self.names, names) {
            (None, Some(names)) if first => self.names = Some((path.to_path_buf(), names)),
            (Some((_, known)), Some(names)) if *known == names => {}
            (None, None) => {}
            _ => {
                let reason = "it names other classes than the files before it: download all anew";
                return Err(malformed(path, format!("metadata {METADATA}"), reason));
            }
        }
        Ok(())
    }

    fn listing(self, folder: &Path, files: &[PathBuf]) -> Result<Listing, DataError> {
        let Rows { found, table, names, .. } = self;
        let fault = |row: &Row, reason: String| {
            malformed(&files[row.file], format!("row {}, its class", row.number), reason)
        };
        let (labels, classes, named_by) = match names {
            Some((file, names)) => {
                let label = |row: &Row| row.class.label(&names).map_err(|it| fault(row, it));
                (found.iter().map(label).collect::<Result<Vec<u32>, _>>()?, names, Some(file))
            }
            None => {
                let word = |row: &Row| match row.class {
                    Class::Number(..0) => Err(fault(row, NO_CLASS.into())),
                    _ => Ok(row.class.word()),
                };
                // Rows are many, classes few.
                let words = found.iter().map(word).collect::<Result<BTreeSet<String>, _>>()?;
                let entries: Vec<_> = words.iter().map(|word| (0, "", &**word)).collect();
                let classes = Classes::of(&entries, folder)?;
                let label = |row: &Row| {
                    classes.label(&row.class.word()).map_err(|reason| fault(row, reason))
                };
                let labels = found.iter().map(label).collect::<Result<_, _>>()?;
                (labels, classes.names, classes.named_by)
            }
        };
        let table = Arc::new(table.build());
        let stores: Vec<Arc<Store>> = files.iter().map(|path| Store::file(path)).collect();
        let sample = |(row, label): (Row, u32)| {
            let name = row.image_name();
            let content = match row.place {
                Place::Bytes(range) => Content::Part(Part {
                    store: Arc::clone(&stores[row.file]),
                    name,
                    start: range.start,
                    len: range.end - range.start,
                    form: Form::Encoded,
                    crc32: None,
                }),
                Place::Packed { page, value } => {
                    Content::Cell(Cell { table: Arc::clone(&table), page, value, name })
                }
            };
            Sample { content, label }
        };
        let samples = found.into_iter().zip(labels).map(sample).collect();
        let place = folder.to_path_buf();
        Ok(Listing { place, classes, named_by, samples, ..Listing::default() })
    }
}

impl Row {
    /// What messages call it: its path as the table has it, or the number of its row.
    fn image_name(&self) -> Box<str> {
        let path = self.name.as_deref().map(|path| path.trim_start_matches(['/', '\\', '.']));
        match path.filter(|path| !path.is_empty()) {
            Some(path) => path.into(),
            None => self.number.to_string().into(),
        }
    }
}

impl Class {
    /// As lists have it.
    fn word(&self) -> String {
        match self {
            Class::Number(number) => number.to_string(),
            Class::Name(name) => name.to_string(),
        }
    }

    /// Which of the names it means.
    fn label(&self, names: &[String]) -> Result<u32, String> {
        let at = match self {
            Class::Number(number) => usize::try_from(*number).ok(),
            Class::Name(name) => names.iter().position(|known| **known == **name),
        };
        let at = at.filter(|&at| at < names.len());
        let unknown = || format!("{} is not one of the {} classes", self.word(), names.len());
        at.map(|at| at as u32).ok_or_else(unknown)
    }
}

/// A row group's classes.
fn classes(
    reader: &Reader,
    group: usize,
    column: &Chosen,
) -> Result<Vec<Option<Class>>, DataError> {
    Ok(match reader.is_numbers(column) {
        true => {
            let numbers = reader.numbers(group, column)?.into_iter();
            numbers.map(|number| number.map(Class::Number)).collect()
        }
        false => {
            let names = reader.texts(group, column)?.into_iter();
            names.map(|name| name.map(Class::Name)).collect()
        }
    })
}

/// The columns as `datasets` describes them; none if it did not write the file.
fn features(
    path: &Path,
    reader: &Reader,
) -> Result<BTreeMap<String, serde_json::Value>, DataError> {
    let Some(json) = reader.metadata(METADATA) else { return Ok(BTreeMap::new()) };
    let described: Result<Described, _> = serde_json::from_slice(json);
    described.map(|described| described.info.features).map_err(|_| {
        let reason = "it does not describe the columns as the library datasets does: write it anew";
        malformed(path, format!("metadata {METADATA}"), reason)
    })
}

/// The columns of images, their paths and their classes.
fn choose(
    path: &Path,
    reader: &Reader,
    features: &BTreeMap<String, serde_json::Value>,
) -> Result<Columns, DataError> {
    let image = |name: &str| {
        let inner = reader.column(name, Some("bytes")).filter(|it| reader.is_bytes(it));
        let path = reader.column(name, Some("path")).filter(|it| reader.is_bytes(it));
        let plain = || reader.column(name, None).filter(|it| reader.is_bytes(it));
        inner.map(|inner| (inner, path)).or_else(|| plain().map(|plain| (plain, None)))
    };
    let label = |name: &str| {
        let column = reader.column(name, None)?;
        (reader.is_numbers(&column) || reader.is_bytes(&column)).then_some(column)
    };
    let described = |kind: &str| only(features, kind).into_iter();
    let mut images = IMAGE.into_iter().chain(described("Image")).filter_map(image);
    let mut labels = LABEL.into_iter().chain(described("ClassLabel")).filter_map(label);
    let lacks = |what: &str| malformed(path, "schema", format!("it has no column {what}"));
    let (image, path) = images.next().ok_or_else(|| {
        lacks("image of bytes, or of a structure with bytes: name the images' column so")
    })?;
    let label = labels
        .next()
        .ok_or_else(|| lacks("label of whole numbers or names: name the classes' column so"))?;
    Ok(Columns { image, path, label })
}

/// The only column that is described as being of this kind.
fn only<'a>(features: &'a BTreeMap<String, serde_json::Value>, kind: &str) -> Option<&'a str> {
    let mut found = features.iter().filter(|(_, feature)| feature["_type"] == kind);
    match (found.next(), found.next()) {
        (Some((name, _)), None) => Some(name),
        _ => None,
    }
}

/// What the numbers in the column of classes mean, if that is said.
fn names(
    path: &Path,
    features: &BTreeMap<String, serde_json::Value>,
    label: &Chosen,
) -> Result<Option<Vec<String>>, DataError> {
    let Some(names) = features.get(label.name()).and_then(|feature| feature.get("names")) else {
        return Ok(None);
    };
    let name = |name: &serde_json::Value| {
        let name = name.as_str().filter(|name| !name.contains(char::is_control))?;
        Some(name.to_owned())
    };
    let names: Option<Vec<String>> =
        names.as_array().and_then(|names| names.iter().map(name).collect());
    let fault = |reason: String| malformed(path, format!("metadata {METADATA}"), reason);
    let no_text = || fault("a class's name is no plain text: name it anew".into());
    let names = names.ok_or_else(no_text)?;
    match repeated(&names) {
        None => Ok(Some(names)),
        Some((first, at)) => {
            let name = &names[at];
            let reason = format!("classes {first} and {at} are both called {name}: name one anew");
            Err(fault(reason))
        }
    }
}
