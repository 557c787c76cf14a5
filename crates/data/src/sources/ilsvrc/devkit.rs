//! The devkit: which classes there are, and what the validation images show.
//!
//! ```text
//! data/meta.mat                                  synsets: ILSVRC2012_ID, WNID, num_children, ...
//! data/ILSVRC2012_validation_ground_truth.txt    one ILSVRC2012_ID a line
//! ```
//!
//! Of the tree's 1860 synsets the leaves are the classes: those without children, ids 1 to 1000.

use std::collections::HashMap;
use std::fs::{self, File};
use std::io::Read;
use std::path::{Path, PathBuf};

use flate2::read::MultiGzDecoder;

use super::matlab;
use crate::error::DataError;
use crate::sources::malformed;
use crate::tar::unpacked_members;

pub(super) const FOLDER: &str = "ILSVRC2012_devkit_t12";
pub(super) const ARCHIVE: &str = "ILSVRC2012_devkit_t12.tar.gz";
const META: &str = "data/meta.mat";
const GROUND_TRUTH: &str = "data/ILSVRC2012_validation_ground_truth.txt";
/// Largest devkit, and largest file of it, in bytes once unpacked; the real one has a few million.
const UNPACKED_BYTES_MAX: u64 = 64 << 20;

/// What is used of the devkit.
pub(crate) struct Devkit {
    /// The archive or the folder.
    path: PathBuf,
    /// The classes, sorted by the bytes of their wnids; a label is an index into them.
    pub(crate) leaves: Vec<Synset>,
    /// The text of the ground truth, if there is one.
    ground_truth: Option<Vec<u8>>,
}

/// A class as the devkit describes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Synset {
    /// `n01440764`.
    pub(crate) wnid: String,
    /// `ILSVRC2012_ID`, by which the ground truth calls it.
    pub(crate) id: u32,
    /// How many training images it has.
    pub(crate) images: u64,
}

impl Devkit {
    /// Reads the devkit that lies in `root`, unpacked or not.
    pub(crate) fn read(root: &Path) -> Result<Self, DataError> {
        let (folder, archive) = (root.join(FOLDER), root.join(ARCHIVE));
        let (path, [meta, ground_truth]) = match folder.is_dir() {
            true => {
                let file = |name: &str| read_file(&folder.join(name));
                let files = [file(META)?, file(GROUND_TRUTH)?];
                (folder, files)
            }
            false if archive.is_file() => {
                let files = unpack(&archive)?;
                (archive, files)
            }
            false => {
                let reason = format!("{ARCHIVE} is needed to know the classes: put it here");
                return Err(malformed(root, "devkit", reason));
            }
        };
        let absent = || malformed(&path, META, "it is not there: download the devkit anew");
        let leaves = leaves(&path, &meta.ok_or_else(absent)?)?;
        Ok(Self { path, leaves, ground_truth })
    }

    /// The class of each of the `images` validation images in the order of their names.
    pub(crate) fn validation_labels(&self, images: usize) -> Result<Vec<u32>, DataError> {
        let fault = |reason: String| malformed(&self.path, GROUND_TRUTH, reason);
        let bytes = self.ground_truth.as_ref();
        let bytes =
            bytes.ok_or_else(|| fault("it is not there: download the devkit anew".into()))?;
        let text = str::from_utf8(bytes).map_err(|_| fault("it is not text: restore it".into()))?;
        let by_id: HashMap<u32, u32> = self.leaves.iter().map(|leaf| leaf.id).zip(0..).collect();
        let mut labels = Vec::new();
        for (number, line) in (1..).zip(text.trim_end().lines()) {
            let known = line.trim().parse().ok().and_then(|id: u32| by_id.get(&id).copied());
            let unknown = || {
                let reason = "it should be the ILSVRC2012_ID of a class: download the devkit anew";
                self.ground_truth_fault(number, reason.into())
            };
            labels.push(known.ok_or_else(unknown)?);
        }
        if labels.len() != images {
            let reason = format!(
                "it has {} lines, but there are {images} validation images: one of both is not \
                 whole, download it anew",
                labels.len()
            );
            return Err(fault(reason));
        }
        Ok(labels)
    }

    /// What is wrong in a line of the ground truth, counted from 1.
    pub(crate) fn ground_truth_fault(&self, line: usize, reason: String) -> DataError {
        malformed(&self.path.join(GROUND_TRUTH), format!("line {line}"), reason)
    }

    /// The names of the classes.
    pub(crate) fn into_wnids(self) -> Vec<String> {
        self.leaves.into_iter().map(|leaf| leaf.wnid).collect()
    }
}

fn too_large(path: &Path, place: &str) -> DataError {
    let reason = format!("more than {UNPACKED_BYTES_MAX} bytes: it is no devkit, download it anew");
    malformed(path, place, reason)
}

/// A file's bytes, `None` if it is not there.
fn read_file(path: &Path) -> Result<Option<Vec<u8>>, DataError> {
    if !path.is_file() {
        return Ok(None);
    }
    if fs::metadata(path).map_err(DataError::io("read", path))?.len() > UNPACKED_BYTES_MAX {
        return Err(too_large(path, "its length"));
    }
    fs::read(path).map(Some).map_err(DataError::io("read", path))
}

/// `meta.mat` and the ground truth out of the archive.
fn unpack(archive: &Path) -> Result<[Option<Vec<u8>>; 2], DataError> {
    let file = File::open(archive).map_err(DataError::io("read", archive))?;
    let mut bytes = Vec::new();
    let unpacked = MultiGzDecoder::new(file).take(UNPACKED_BYTES_MAX + 1).read_to_end(&mut bytes);
    if unpacked.is_err() {
        let place = format!("byte {} unpacked", bytes.len());
        let reason = "its compression is damaged or not whole: download it anew";
        return Err(malformed(archive, place, reason));
    }
    if bytes.len() as u64 > UNPACKED_BYTES_MAX {
        return Err(too_large(archive, "unpacked"));
    }
    let members = unpacked_members(archive, &bytes)?;
    let file = |name: &str| {
        let member = members.iter().find(|member| member.name.ends_with(&format!("/{name}")))?;
        let start = member.start as usize;
        bytes.get(start..start + member.len as usize).map(<[u8]>::to_vec)
    };
    Ok([file(META), file(GROUND_TRUTH)])
}

/// The classes that `meta.mat` describes, sorted.
fn leaves(devkit: &Path, meta: &[u8]) -> Result<Vec<Synset>, DataError> {
    let path = devkit.join(META);
    let fault = |reason: String| malformed(&path, "synsets", reason);
    let synsets = matlab::records(meta, "synsets").map_err(fault)?;
    let large_id = "an ILSVRC2012_ID beyond all others: download the devkit anew";
    let mut leaves = Vec::new();
    for record in synsets.iter() {
        let number = |name| record.number(name).map_err(fault);
        if number("num_children")? > 0 {
            continue;
        }
        leaves.push(Synset {
            wnid: record.text("WNID").map_err(fault)?,
            id: u32::try_from(number("ILSVRC2012_ID")?).map_err(|_| fault(large_id.into()))?,
            images: number("num_train_images")?,
        });
    }
    leaves.sort_by(|a, b| a.wnid.cmp(&b.wnid));
    let mut ids: Vec<u32> = leaves.iter().map(|leaf| leaf.id).collect();
    ids.sort_unstable();
    let twice = leaves.windows(2).any(|pair| pair[0].wnid == pair[1].wnid)
        || ids.windows(2).any(|pair| pair[0] == pair[1]);
    match twice || leaves.is_empty() {
        true => Err(fault("no classes, or one of them twice: download the devkit anew".into())),
        false => Ok(leaves),
    }
}
