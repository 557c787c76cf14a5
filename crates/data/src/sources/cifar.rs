//! CIFAR-10 and CIFAR-100 as their makers give them out, in the binary version.
//!
//! ```text
//! root/data_batch_1.bin ... data_batch_5.bin    root/train.bin
//! root/test_batch.bin                           root/test.bin
//! root/batches.meta.txt                         root/fine_label_names.txt
//! ```
//!
//! or in the folder that the archive unpacks to. A record is a class (of CIFAR-100 a coarse and a
//! fine one, of which the fine one counts), then 1024 bytes each of red, green and blue, rows from
//! the top: <https://www.cs.toronto.edu/~kriz/cifar.html>. The names are one a line.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use super::{Lack, Listing, Source, TEST, TRAIN, Wanted, list, malformed};
use crate::error::DataError;
use crate::sample::{Content, Form, Layout, Part, Sample, Store};

/// Pixels a side.
const SIDE: u32 = 32;
/// Of one image.
const PIXEL_BYTES: u64 = 3 * (SIDE as u64) * (SIDE as u64);

/// One of the two sets.
struct Kind {
    name: &'static str,
    /// The folder that its archive unpacks to.
    folder: &'static str,
    train: &'static [&'static str],
    test: &'static [&'static str],
    names: &'static str,
    /// Of one record; the last is the class.
    label_bytes: u64,
}

const CIFAR_10: Kind = Kind {
    name: "cifar-10",
    folder: "cifar-10-batches-bin",
    train: &[
        "data_batch_1.bin",
        "data_batch_2.bin",
        "data_batch_3.bin",
        "data_batch_4.bin",
        "data_batch_5.bin",
    ],
    test: &["test_batch.bin"],
    names: "batches.meta.txt",
    label_bytes: 1,
};
const CIFAR_100: Kind = Kind {
    name: "cifar-100",
    folder: "cifar-100-binary",
    train: &["train.bin"],
    test: &["test.bin"],
    names: "fine_label_names.txt",
    label_bytes: 2,
};

/// One of the sets, found.
struct Cifar {
    folder: PathBuf,
    kind: &'static Kind,
}

pub(super) fn recognise_10(root: &Path) -> Result<Option<Box<dyn Source>>, DataError> {
    Ok(recognise(root, &CIFAR_10))
}

pub(super) fn recognise_100(root: &Path) -> Result<Option<Box<dyn Source>>, DataError> {
    Ok(recognise(root, &CIFAR_100))
}

fn recognise(root: &Path, kind: &'static Kind) -> Option<Box<dyn Source>> {
    for folder in [root.to_path_buf(), root.join(kind.folder)] {
        let cifar = Cifar { folder, kind };
        // Other programs too write a `train.bin`: the names make it sure.
        let is_known = cifar.folder.join(kind.names).is_file() || kind.label_bytes == 1;
        if is_known && (cifar.has_any(kind.train) || cifar.has_any(kind.test)) {
            return Some(Box::new(cifar));
        }
    }
    None
}

impl Source for Cifar {
    fn kind(&self) -> &'static str {
        self.kind.name
    }

    fn list(&self, wanted: Wanted) -> Result<Option<Listing>, DataError> {
        let files = match wanted {
            Wanted::Train | Wanted::Named(TRAIN) => self.kind.train,
            Wanted::Validation | Wanted::Named(TEST) => self.kind.test,
            Wanted::Named(_) => return Ok(None),
        };
        if !self.has_any(files) {
            return Ok(None);
        }
        let named_by = existing(self.folder.join(self.kind.names))?;
        let classes = list::read_names(&named_by)?;
        let mut samples = Vec::new();
        for file in files {
            // One of five left out would go unseen.
            let path = existing(self.folder.join(file))?;
            self.read_records(&path, classes.len(), &mut samples)?;
        }
        let (place, named_by) = (self.folder.clone(), Some(named_by));
        Ok(Some(Listing { place, classes, named_by, samples, ..Listing::default() }))
    }

    fn splits(&self) -> Vec<&'static str> {
        let Kind { train, test, .. } = self.kind;
        let files = [(TRAIN, train), (TEST, test)].into_iter();
        files.filter(|(_, files)| self.has_any(files)).map(|(split, _)| split).collect()
    }

    fn remedy(&self, lack: Lack) -> String {
        let Kind { name, train, test, names, .. } = self.kind;
        let put = |files: &[&str]| {
            format!("put {} of {name} into {}", files.join(", "), self.folder.display())
        };
        match lack {
            Lack::Train => put(train),
            Lack::Validation => put(test),
            Lack::Classes => format!("name each in {names}, one a line, and add records of it"),
        }
    }
}

impl Cifar {
    fn has_any(&self, files: &[&str]) -> bool {
        files.iter().any(|file| self.folder.join(file).is_file())
    }

    /// Appends the records of `path`, of which only the classes are read.
    fn read_records(
        &self,
        path: &Path,
        classes: usize,
        samples: &mut Vec<Sample>,
    ) -> Result<(), DataError> {
        let label_bytes = self.kind.label_bytes;
        let record = label_bytes + PIXEL_BYTES;
        let mut file = File::open(path).map_err(DataError::io("read", path))?;
        let len = file.metadata().map_err(DataError::io("read", path))?.len();
        if len == 0 || len % record != 0 {
            let reason = format!("it should be whole records of {record} bytes: restore it");
            return Err(malformed(path, format!("{len} bytes"), reason));
        }
        let store = Store::file(path);
        for number in 0..len / record {
            let start = number * record + label_bytes;
            let mut label = [0];
            file.seek(SeekFrom::Start(start - 1)).map_err(DataError::io("read", path))?;
            file.read_exact(&mut label).map_err(DataError::io("read", path))?;
            let [label] = label;
            if usize::from(label) >= classes {
                let names = self.kind.names;
                let reason = format!("class {label} is not one of the {classes} in {names}");
                return Err(malformed(path, format!("byte {}", start - 1), reason));
            }
            let form = Form::Pixels { width: SIDE, height: SIDE, layout: Layout::Planar };
            let name = number.to_string().into();
            let store = store.clone();
            let part = Part { store, name, start, len: PIXEL_BYTES, form, crc32: None };
            samples.push(Sample { content: Content::Part(part), label: label.into() });
        }
        Ok(())
    }
}

fn existing(path: PathBuf) -> Result<PathBuf, DataError> {
    if path.is_file() { Ok(path) } else { Err(DataError::Missing { path }) }
}
