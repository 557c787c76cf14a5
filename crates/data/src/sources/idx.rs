//! MNIST, and the sets that took over its files (Fashion-MNIST, KMNIST, EMNIST's digits).
//!
//! ```text
//! root/train-images-idx3-ubyte    root/t10k-images-idx3-ubyte
//! root/train-labels-idx1-ubyte    root/t10k-labels-idx1-ubyte
//! ```
//!
//! each also with `.gz`, or spelt `train-images.idx3-ubyte`. An IDX file is two zero bytes, the
//! type of its values (8: unsigned bytes), its number of dimensions, each dimension as 4 bytes, the
//! highest first, then the values: <http://yann.lecun.com/exdb/mnist/>. The names of the classes
//! are the lines of `classes.txt`, or else the numbers.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use flate2::read::MultiGzDecoder;

use super::{Lack, Listing, Source, TEST, TRAIN, Wanted, list, malformed};
use crate::error::DataError;
use crate::sample::{Content, Form, Layout, Part, Sample, Store};

/// The most that labels or a `.gz` file may be once in memory, in bytes (2 GiB).
const UNPACKED_BYTES_MAX: u64 = 2 << 30;
/// What says that values are unsigned bytes.
const UNSIGNED_BYTE: u8 = 8;
/// Of the type and number of dimensions, and of each dimension.
const FIELD_BYTES: usize = 4;
/// What the test images' files are called.
const T10K: &str = "t10k";

/// A folder of IDX files.
struct Idx {
    root: PathBuf,
}

pub(super) fn recognise(root: &Path) -> Result<Option<Box<dyn Source>>, DataError> {
    let idx = Idx { root: root.to_path_buf() };
    let found = !idx.splits().is_empty();
    Ok(found.then(|| Box::new(idx) as Box<dyn Source>))
}

impl Source for Idx {
    fn kind(&self) -> &'static str {
        "idx"
    }

    fn list(&self, wanted: Wanted) -> Result<Option<Listing>, DataError> {
        let split = match wanted {
            Wanted::Train | Wanted::Named(TRAIN) => TRAIN,
            Wanted::Validation | Wanted::Named(TEST | T10K) => T10K,
            Wanted::Named(_) => return Ok(None),
        };
        let Ok(images_path) = self.images(split) else {
            return Ok(None);
        };
        let labels_path = find(&self.root, &format!("{split}-labels"), 1)?;
        let images = Images::open(&images_path)?;
        let labels = read_labels(&labels_path)?;
        if labels.len() as u64 != images.count {
            let (labels, images) = (labels.len(), images.count);
            let reason = format!(
                "it has {labels} labels, but {} has {images} images: restore both",
                images_path.display()
            );
            return Err(malformed(&labels_path, "byte 4", reason));
        }
        let classes = self.names(&labels_path, &labels)?;
        let named_by = Some(self.root.join(list::CLASSES)).filter(|path| path.is_file());
        let samples = (0..).zip(&labels).map(|(number, &label)| images.sample(number, label));
        Ok(Some(Listing {
            place: self.root.clone(),
            classes,
            named_by,
            samples: samples.collect(),
            ..Listing::default()
        }))
    }

    fn splits(&self) -> Vec<&'static str> {
        let files = [(TRAIN, TRAIN), (TEST, T10K)].into_iter();
        files.filter(|(_, files)| self.images(files).is_ok()).map(|(split, _)| split).collect()
    }

    fn remedy(&self, lack: Lack) -> String {
        let add = |split: &str| {
            format!("add {split}-images-idx3-ubyte and {split}-labels-idx1-ubyte, also with .gz")
        };
        match lack {
            Lack::Train => add(TRAIN),
            Lack::Validation => add(T10K),
            Lack::Classes => "add images of each, with labels that number them from 0".into(),
        }
    }
}

impl Idx {
    /// The file of a split's images.
    fn images(&self, split: &str) -> Result<PathBuf, DataError> {
        find(&self.root, &format!("{split}-images"), 3)
    }

    /// The lines of `classes.txt`, if they are enough, or else the numbers that occur.
    fn names(&self, labels_path: &Path, labels: &[u8]) -> Result<Vec<String>, DataError> {
        let path = self.root.join(list::CLASSES);
        if !path.is_file() {
            let most = labels.iter().copied().max().unwrap_or(0);
            return Ok((0..=most).map(|number| number.to_string()).collect());
        }
        let names = list::read_names(&path)?;
        match labels.iter().position(|&label| usize::from(label) >= names.len()) {
            None => Ok(names),
            Some(at) => {
                let (label, classes) = (labels[at], names.len());
                let reason = format!("class {label} is not one of the {classes} in classes.txt");
                Err(malformed(labels_path, format!("byte {}", head_bytes(1) + at), reason))
            }
        }
    }
}

/// The images of one file.
struct Images {
    store: Arc<Store>,
    count: u64,
    height: u32,
    width: u32,
}

impl Images {
    fn open(path: &Path) -> Result<Self, DataError> {
        let (head, len, store) = if is_packed(path) {
            let bytes = read_whole(path)?;
            let head = bytes[..bytes.len().min(head_bytes(3))].to_vec();
            (head, bytes.len() as u64, Store::unpacked(path, bytes))
        } else {
            let file = File::open(path).map_err(DataError::io("read", path))?;
            let len = file.metadata().map_err(DataError::io("read", path))?.len();
            let mut head = Vec::new();
            let first = file.take(head_bytes(3) as u64).read_to_end(&mut head);
            first.map_err(DataError::io("read", path))?;
            (head, len, Store::file(path))
        };
        let [count, height, width] = read_head(path, &head, len)?;
        Ok(Self { store, count: count.into(), height, width })
    }

    fn sample(&self, number: u64, label: u8) -> Sample {
        let (width, height) = (self.width, self.height);
        let len = u64::from(width) * u64::from(height);
        let part = Part {
            store: self.store.clone(),
            name: number.to_string().into(),
            start: head_bytes(3) as u64 + number * len,
            len,
            form: Form::Pixels { width, height, layout: Layout::Grey },
            crc32: None,
        };
        Sample { content: Content::Part(part), label: label.into() }
    }
}

fn read_labels(path: &Path) -> Result<Vec<u8>, DataError> {
    let bytes = read_whole(path)?;
    let [_count] = read_head(path, &bytes, bytes.len() as u64)?;
    Ok(bytes[head_bytes(1)..].to_vec())
}

/// The dimensions that `head`, the first bytes of a file of `len` bytes, says it has.
fn read_head<const DIMENSIONS: usize>(
    path: &Path,
    head: &[u8],
    len: u64,
) -> Result<[u32; DIMENSIONS], DataError> {
    let at = |byte: u64, reason: String| malformed(path, format!("byte {byte}"), reason);
    let expected = [0, 0, UNSIGNED_BYTE, DIMENSIONS as u8];
    if let Some(byte) = (0..head.len().min(FIELD_BYTES)).find(|&at| head[at] != expected[at]) {
        let (found, wanted) = (head[byte], expected[byte]);
        let reason = format!("it is {found}, an IDX file of such values has {wanted}: restore it");
        return Err(at(byte as u64, reason));
    }
    if head.len() < head_bytes(DIMENSIONS) {
        return Err(at(len, "it ends within its header: restore it".into()));
    }
    let mut dimensions = [0; DIMENSIONS];
    let mut values = 1_u64;
    for (number, dimension) in dimensions.iter_mut().enumerate() {
        let place = FIELD_BYTES * (1 + number);
        *dimension = (0..FIELD_BYTES).fold(0, |sum, byte| sum << 8 | u32::from(head[place + byte]));
        if *dimension == 0 {
            return Err(at(place as u64, "a dimension is 0: restore it".into()));
        }
        values = values.saturating_mul((*dimension).into());
    }
    let end = values.saturating_add(head_bytes(DIMENSIONS) as u64);
    if end != len {
        let reason = format!("it ends here, by its header it should at byte {end}: restore it");
        return Err(at(len, reason));
    }
    Ok(dimensions)
}

const fn head_bytes(dimensions: usize) -> usize {
    FIELD_BYTES * (1 + dimensions)
}

/// A file's bytes, unpacked.
fn read_whole(path: &Path) -> Result<Vec<u8>, DataError> {
    let file = File::open(path).map_err(DataError::io("read", path))?;
    let mut bytes = Vec::new();
    let limit = UNPACKED_BYTES_MAX + 1;
    if is_packed(path) {
        let damaged = |reason| malformed(path, "as gzip", format!("{reason}: restore it"));
        MultiGzDecoder::new(file).take(limit).read_to_end(&mut bytes).map_err(damaged)?;
    } else {
        file.take(limit).read_to_end(&mut bytes).map_err(DataError::io("read", path))?;
    }
    if bytes.len() as u64 > UNPACKED_BYTES_MAX {
        let reason = format!("it has more than {UNPACKED_BYTES_MAX} bytes, the limit: split it");
        return Err(malformed(path, "unpacked", reason));
    }
    Ok(bytes)
}

fn is_packed(path: &Path) -> bool {
    path.extension().is_some_and(|extension| extension == "gz")
}

/// The file `name` in one of its spellings.
///
/// # Errors
/// None of them is there.
fn find(root: &Path, name: &str, dimensions: usize) -> Result<PathBuf, DataError> {
    let spellings = ["-", "."].into_iter().flat_map(|dash| ["", ".gz"].map(|end| (dash, end)));
    let paths =
        spellings.map(|(dash, end)| root.join(format!("{name}{dash}idx{dimensions}-ubyte{end}")));
    let first = root.join(format!("{name}-idx{dimensions}-ubyte"));
    paths.into_iter().find(|path| path.is_file()).ok_or(DataError::Missing { path: first })
}
