//! Folders and lists.
//!
//! ```text
//! root/train/<class>/*.jpg    root/train.txt
//! root/val/<class>/*.jpg      root/val.txt      or valid, validation, test
//! ```
//!
//! A list wins over the folder of its name, so that images which lie in one flat folder get their
//! classes from it ([`list`]). Of folders the order is that of torchvision's `ImageFolder`: classes
//! by the bytes of their names, images by folder, then by name. Hidden files and folders are
//! skipped, links are followed.

use std::collections::HashSet;
use std::fs;
use std::path::{Path, PathBuf};

use super::{Lack, Listing, SPLITS, Source, TEST, TRAIN, Wanted, list, shards};
use crate::error::DataError;
use crate::passed_over::{PassedOver, is_dead_link};
use crate::sample::{Content, Sample};

/// Which files are images, whatever the case of their letters.
const EXTENSIONS: [&str; 3] = ["jpg", "jpeg", "png"];
/// What archives made on other systems leave behind.
const LEFT_BEHIND: &str = "__MACOSX";

/// A folder of splits, or of classes.
struct Folder {
    root: PathBuf,
}

pub(super) fn recognise(root: &Path) -> Result<Option<Box<dyn Source>>, DataError> {
    if !root.is_dir() {
        return Ok(None);
    }
    if sorted_entries(root)?.is_empty() {
        return Err(DataError::EmptyDataset { root: root.to_path_buf() });
    }
    Ok(Some(Box::new(Folder { root: root.to_path_buf() })))
}

/// Whether there are folders of classes at `root` or in its `train` or what it is measured with; but
/// for a `test`, which may be another set.
pub(super) fn has_classes(root: &Path) -> Result<bool, DataError> {
    if !root.is_dir() {
        return Ok(false);
    }
    for split in SPLITS.into_iter().filter(|&split| split != TEST).map(|split| root.join(split)) {
        if split.is_dir() && has_image_folders(&split, 1)? {
            return Ok(true);
        }
    }
    has_image_folders(root, 2)
}

/// Whether at least so many folders in `folder`, but for splits, have images right in them.
fn has_image_folders(folder: &Path, least: usize) -> Result<bool, DataError> {
    let mut found = 0;
    for entry in sorted_entries(folder)? {
        let is_split = SPLITS.iter().any(|split| entry.ends_with(split));
        if entry.is_dir() && !is_split && sorted_entries(&entry)?.iter().any(|it| is_image(it)) {
            found += 1;
        }
        if found >= least {
            return Ok(true);
        }
    }
    Ok(false)
}

impl Source for Folder {
    fn kind(&self) -> &'static str {
        if SPLITS.iter().any(|name| self.is_list(name)) { "lists" } else { "folders" }
    }

    fn list(&self, wanted: Wanted) -> Result<Option<Listing>, DataError> {
        for name in wanted.names() {
            if name.is_empty() {
                return class_folders(self.root.clone()).map(Some);
            }
            let (file, folder) = (self.root.join(format!("{name}.txt")), self.root.join(name));
            let listing = if file.is_file() {
                list::read(&file, &folder)?
            } else if folder.is_dir() {
                class_folders(folder)?
            } else {
                continue;
            };
            return Ok(Some(Listing { rivals: self.rivals(name, wanted), ..listing }));
        }
        Ok(None)
    }

    fn splits(&self) -> Vec<&'static str> {
        SPLITS.into_iter().filter(|split| self.has(split)).collect()
    }

    fn remedy(&self, lack: Lack) -> String {
        match lack {
            Lack::Train => "put them in train/<class>/, or pass --val-fraction if it holds the \
                            class folders itself"
                .into(),
            Lack::Validation => self.validation_remedy(),
            Lack::Classes if self.is_list(TRAIN) => {
                "add lines of images of each, which end in its name".into()
            }
            Lack::Classes => "put the images of each into a folder of its own".into(),
        }
    }
}

impl Folder {
    /// Whether there is a list or a folder of this name.
    fn has(&self, name: &str) -> bool {
        self.is_list(name) || self.root.join(name).is_dir()
    }

    fn is_list(&self, name: &str) -> bool {
        self.root.join(format!("{name}.txt")).is_file()
    }

    fn validation_remedy(&self) -> String {
        let add = "add one of val/, valid/, validation/ or test/";
        match shards::validation_beside(&self.root) {
            None => add.into(),
            Some(shard) => format!(
                "{add}; {} is not read beside class folders: bring its images into val/<class>/",
                shard.display()
            ),
        }
    }

    /// What could be meant by the wanted split as well as what is called `taken`. A `test` beside the
    /// images to measure with is another set.
    fn rivals(&self, taken: &str, wanted: Wanted) -> Vec<String> {
        let names = wanted.names().iter().filter(|&&name| name != taken && name != TEST);
        names.filter(|name| self.has(name)).map(|&name| name.to_owned()).collect()
    }
}

/// Images that were asked for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FoundImages {
    /// Their paths.
    pub images: Vec<PathBuf>,
    /// What lay among them and is not read.
    pub passed_over: PassedOver,
}

/// The images meant by a path: a file stands for itself, a folder for every image beneath it, sorted.
///
/// # Errors
/// A path that does not exist, a folder that holds no image.
pub fn find_images(path: &Path) -> Result<FoundImages, DataError> {
    if !path.exists() {
        return Err(DataError::Missing { path: path.into() });
    }
    if !path.is_dir() {
        let (images, passed_over) = (vec![path.into()], PassedOver::default());
        return Ok(FoundImages { images, passed_over });
    }
    let found = images_beneath(path)?;
    match found.images.is_empty() {
        true => Err(DataError::NoImages { folder: path.into(), passed_over: found.passed_over }),
        false => Ok(found),
    }
}

/// One class for each folder in `folder`.
pub(super) fn class_folders(folder: PathBuf) -> Result<Listing, DataError> {
    let (mut classes, mut samples) = (Vec::new(), Vec::new());
    let mut flat = None;
    let mut passed_over = PassedOver::default();
    for entry in sorted_entries(&folder)? {
        if !entry.is_dir() {
            // What it does not lead to may have been a class.
            if is_dead_link(&entry) {
                passed_over.count(&entry);
            }
            flat = flat.or(is_image(&entry).then_some(entry));
            continue;
        }
        let Some(name) = entry.file_name().and_then(|name| name.to_str()) else {
            return Err(DataError::NameNotUnicode { path: entry });
        };
        let label = classes.len() as u32;
        classes.push(name.to_owned());
        let found = images_beneath(&entry)?;
        passed_over = passed_over.and(&found.passed_over);
        let sample = |path| Sample { content: Content::File(path), label };
        samples.extend(found.images.into_iter().map(sample));
    }
    match flat {
        Some(image) if classes.is_empty() => Err(DataError::Flat { folder, image }),
        _ => {
            let place = folder;
            Ok(Listing { place, classes, samples, passed_over, ..Listing::default() })
        }
    }
}

/// Every image file in `folder` and the folders in it, by folder, then by name.
pub(crate) fn images_beneath(folder: &Path) -> Result<FoundImages, DataError> {
    let FoundImages { mut images, mut passed_over } = FoundImages::default();
    walk(folder, &mut |path| {
        if !is_hidden(&path) && is_image(&path) && path.is_file() {
            images.push(path);
        } else {
            passed_over.count(&path);
        }
    })?;
    let key = |path: &PathBuf| {
        let folder = path.parent().map(|parent| parent.as_os_str().to_owned());
        (folder, path.file_name().map(|name| name.to_owned()))
    };
    images.sort_by_cached_key(key);
    Ok(FoundImages { images, passed_over })
}

/// Shows `visit` all that is in `folder` and the folders in it but for those: files, and hidden
/// folders, which are not entered.
pub(crate) fn walk(folder: &Path, visit: &mut dyn FnMut(PathBuf)) -> Result<(), DataError> {
    let mut waiting = vec![folder.to_path_buf()];
    // A link may lead back up: every folder is read once, whatever it is called.
    let mut visited = HashSet::new();
    while let Some(folder) = waiting.pop() {
        let real = folder.canonicalize().map_err(DataError::io("read", &folder))?;
        if !visited.insert(real) {
            continue;
        }
        for entry in entries(&folder)? {
            if entry.is_dir() && !is_hidden(&entry) {
                waiting.push(entry);
            } else {
                visit(entry);
            }
        }
    }
    Ok(())
}

/// What is in `folder`, but for hidden names, sorted by the bytes of the names.
pub(crate) fn sorted_entries(folder: &Path) -> Result<Vec<PathBuf>, DataError> {
    let mut entries = entries(folder)?;
    entries.retain(|entry| !is_hidden(entry));
    Ok(entries)
}

/// All that is in `folder`, sorted.
fn entries(folder: &Path) -> Result<Vec<PathBuf>, DataError> {
    if !folder.exists() {
        return Err(DataError::Missing { path: folder.to_path_buf() });
    }
    if !folder.is_dir() {
        return Err(DataError::NotAFolder { path: folder.to_path_buf() });
    }
    let mut entries = Vec::new();
    for entry in fs::read_dir(folder).map_err(DataError::io("read", folder))? {
        entries.push(entry.map_err(DataError::io("read", folder))?.path());
    }
    entries.sort_by(|a, b| a.as_os_str().cmp(b.as_os_str()));
    Ok(entries)
}

/// Whether a file or folder is passed over for its name.
pub(crate) fn is_hidden(path: &Path) -> bool {
    let name = path.file_name().unwrap_or_default();
    name.as_encoded_bytes().starts_with(b".") || name == LEFT_BEHIND
}

/// Whether the name says so.
pub(crate) fn is_image(path: &Path) -> bool {
    EXTENSIONS.contains(&&*extension(path))
}

/// The extension in small letters, or nothing.
pub(crate) fn extension(path: &Path) -> String {
    let extension = path.extension().and_then(|extension| extension.to_str());
    extension.unwrap_or_default().to_ascii_lowercase()
}
