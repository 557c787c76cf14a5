//! ILSVRC-2012 as it is downloaded: read where it lies, nothing is unpacked.
//!
//! ```text
//! root/ILSVRC2012_img_train.tar         1000 tars, n01440764.tar and so on, one a class
//! root/ILSVRC2012_img_val.tar           50,000 images, in no order
//! root/ILSVRC2012_devkit_t12.tar.gz     or the folder it unpacks to
//! ```
//!
//! A folder `train/` or `val/` wins over the tar of its name. Classes are the leaves of the devkit's
//! tree, called by their wnids and sorted by their bytes. A training image is called
//! `<wnid>/<name>`, as in the folders that others unpack it to. The ground truth goes by the names
//! of the validation images in ascending order, which is not that of the tar.

mod devkit;
mod matlab;
mod published;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::{Lack, Listing, Source, TRAIN, VAL, VALIDATION, Wanted, folder, malformed};
use crate::error::DataError;
use crate::sample::{Content, Form, Part, Sample, Store};
use crate::tar::{Member, inner_members, members};

use devkit::Devkit;
pub use published::{Downloads, Verdict};

const TRAIN_TAR: &str = "ILSVRC2012_img_train.tar";
const VAL_TAR: &str = "ILSVRC2012_img_val.tar";
/// What the set to measure with is called here, and what others call it.
const VAL_NAMES: &[&str] = VALIDATION.split_at(3).0;
/// Images and classes of the real validation set.
const REAL_SIZE: (usize, usize) = (50_000, 1000);
/// The real set's first images: their ids in the ground truth, and their classes' ranks.
const REAL_START: [(u32, u32); 4] = [(490, 65), (361, 970), (171, 230), (822, 809)];

/// The folder with the downloads.
struct Ilsvrc {
    root: PathBuf,
    /// What else is in it.
    folders: Box<dyn Source>,
}

pub(super) fn recognise(root: &Path) -> Result<Option<Box<dyn Source>>, DataError> {
    let to_read = |tar: &str, folder: &str| root.join(tar).is_file() && !root.join(folder).is_dir();
    if !to_read(TRAIN_TAR, TRAIN) && !to_read(VAL_TAR, VAL) {
        return Ok(None);
    }
    let source =
        |folders| Box::new(Ilsvrc { root: root.to_path_buf(), folders }) as Box<dyn Source>;
    Ok(folder::recognise(root)?.map(source))
}

impl Source for Ilsvrc {
    fn kind(&self) -> &'static str {
        "ilsvrc-2012"
    }

    fn list(&self, wanted: Wanted) -> Result<Option<Listing>, DataError> {
        let (tar, folder) = match wanted {
            Wanted::Train | Wanted::Named(TRAIN) => (TRAIN_TAR, TRAIN),
            Wanted::Validation => (VAL_TAR, VAL),
            Wanted::Named(name) if VAL_NAMES.contains(&name) => (VAL_TAR, VAL),
            Wanted::Named(_) => return Ok(None),
        };
        if self.root.join(folder).is_dir() {
            return self.folders.list(Wanted::Named(folder));
        }
        let path = self.root.join(tar);
        if !path.is_file() {
            return Ok(None);
        }
        let devkit = Devkit::read(&self.root)?;
        if tar == TRAIN_TAR { training(path, devkit) } else { validation(path, devkit) }.map(Some)
    }

    fn splits(&self) -> Vec<&'static str> {
        let tars = [(TRAIN, TRAIN_TAR), (VAL, VAL_TAR)].into_iter();
        let is_there = |&(folder, tar): &(&str, &str)| {
            self.root.join(folder).is_dir() || self.root.join(tar).is_file()
        };
        tars.filter(is_there).map(|(split, _)| split).collect()
    }

    fn remedy(&self, lack: Lack) -> String {
        match lack {
            Lack::Train => format!("add {TRAIN_TAR}, or {TRAIN}/<class>/ in its place"),
            Lack::Validation => format!("add {VAL_TAR}, or {VAL}/<class>/ in its place"),
            Lack::Classes => format!("unpack all of {TRAIN_TAR}, or remove {TRAIN}/"),
        }
    }
}

/// The images of the tar of tars, by class, then by name.
fn training(path: PathBuf, devkit: Devkit) -> Result<Listing, DataError> {
    let mut tars = members(&path)?;
    tars.sort_by(|a, b| a.name.cmp(&b.name));
    check_classes(&path, &tars, &devkit)?;
    let store = Store::file(&path);
    let mut samples = Vec::new();
    for (label, (tar, leaf)) in (0..).zip(tars.iter().zip(&devkit.leaves)) {
        let mut images = inner_members(&path, tar)?;
        images.sort_by(|a, b| a.name.cmp(&b.name));
        if images.len() as u64 != leaf.images {
            let reason = format!(
                "it holds {} images, the devkit counts {}: it is not whole, download it anew",
                images.len(),
                leaf.images
            );
            return Err(malformed(&path, &tar.name, reason));
        }
        check_names(&path, &tar.name, &images)?;
        samples.extend(images.into_iter().map(|image| {
            let name = format!("{}/{}", leaf.wnid, image.name);
            Sample { content: content(&store, name, &image), label }
        }));
    }
    Ok(Listing { place: path, classes: devkit.into_wnids(), samples, ..Listing::default() })
}

/// Whether the sorted `tars` are those of the leaves.
fn check_classes(path: &Path, tars: &[Member], devkit: &Devkit) -> Result<(), DataError> {
    let wnids: Vec<&str> = tars.iter().map(|tar| wnid(&tar.name)).collect();
    let leaves: Vec<&str> = devkit.leaves.iter().map(|leaf| &*leaf.wnid).collect();
    if wnids == leaves {
        return Ok(());
    }
    let absent = leaves.iter().find(|leaf| !wnids.contains(leaf));
    let (place, reason) = match absent {
        Some(leaf) => (format!("{leaf}.tar"), "this class of the devkit is not in it"),
        None => {
            let surplus = wnids.iter().zip(&leaves).position(|(wnid, leaf)| wnid != leaf);
            let surplus = &tars[surplus.unwrap_or(leaves.len())];
            (surplus.name.clone(), "no class of the devkit, or one that came before")
        }
    };
    let reason = format!("{reason}: it is not {TRAIN_TAR} or not whole, download it anew");
    Err(malformed(path, place, reason))
}

/// Whether the sorted images of a tar each have a name of their own: one that is there twice stands in the
/// place of one that is missing, and the count is right.
fn check_names(path: &Path, place: &str, images: &[Member]) -> Result<(), DataError> {
    let doubled = images.windows(2).find(|pair| pair[0].name == pair[1].name);
    doubled.map_or(Ok(()), |pair| {
        let reason = format!(
            "it holds {} twice, and so another image not at all: download it anew",
            pair[0].name
        );
        Err(malformed(path, place, reason))
    })
}

/// `n01440764` of `n01440764.tar`.
fn wnid(name: &str) -> &str {
    let base = name.rsplit('/').next().unwrap_or(name);
    base.strip_suffix(".tar").unwrap_or(base)
}

/// The images of the flat tar, by name.
fn validation(path: PathBuf, devkit: Devkit) -> Result<Listing, DataError> {
    let mut images = members(&path)?;
    images.retain(|image| folder::is_image(Path::new(&image.name)));
    images.sort_by(|a, b| a.name.cmp(&b.name));
    let labels = devkit.validation_labels(images.len())?;
    check_names(&path, "its images", &images)?;
    if (images.len(), devkit.leaves.len()) == REAL_SIZE {
        check_start(&devkit, &labels)?;
    }
    let store = Store::file(&path);
    let sample = |(image, label): (Member, u32)| Sample {
        content: content(&store, image.name.clone(), &image),
        label,
    };
    let samples = images.into_iter().zip(labels).map(sample).collect();
    Ok(Listing { place: path, classes: devkit.into_wnids(), samples, ..Listing::default() })
}

/// Whether the labels are those that all the world has for these images.
fn check_start(devkit: &Devkit, labels: &[u32]) -> Result<(), DataError> {
    for (line, (&label, (id, rank))) in (1..).zip(labels.iter().zip(REAL_START)) {
        let found = devkit.leaves[label as usize].id;
        if (found, label) != (id, rank) {
            let reason = format!(
                "id {found} is class {label} of 0 to 999, but ILSVRC-2012 has id {id} here, class \
                 {rank}: it is another file, download the devkit anew"
            );
            return Err(devkit.ground_truth_fault(line, reason));
        }
    }
    Ok(())
}

fn content(store: &Arc<Store>, name: String, member: &Member) -> Content {
    Content::Part(Part {
        store: Arc::clone(store),
        name: name.into(),
        start: member.start,
        len: member.len,
        form: Form::Encoded,
        crc32: None,
    })
}
