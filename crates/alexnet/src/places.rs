//! Places that commands write to, looked at before the work begins.

use std::path::{Path, PathBuf};

use alexnet_data::{Disk, FileSystem, Place, Split, check_writable};
use anyhow::Context;

use crate::settings::UsageError;
use crate::terminal::{note, print};

/// A path, and what it was typed as: `--predictions`, `OUT`.
pub(crate) type Named<'a> = (&'a str, &'a Path);

/// An error if files to be written are among those to be read, are one another, or cannot be
/// written where they should.
pub(crate) fn check<'a>(
    outputs: &[Named<'a>],
    inputs: impl IntoIterator<Item = Named<'a>>,
) -> anyhow::Result<()> {
    let mut known: Vec<(Named, FileId)> = Vec::new();
    for &output in outputs {
        let Some(id) = FileId::of(output.1) else { continue };
        if let Some((other, _)) = known.iter().find(|(_, other)| *other == id) {
            return Err(same(output, other.0).into());
        }
        known.push((output, id));
    }
    // What is not there yet is no file that is read.
    known.retain(|((_, path), _)| path.exists());
    if !known.is_empty() {
        for (what, path) in inputs {
            let id = FileId::of(path);
            if let Some((output, _)) = known.iter().find(|(_, other)| Some(other) == id.as_ref()) {
                return Err(same(*output, what).into());
            }
        }
    }
    outputs.iter().try_for_each(|(_, path)| can_be_written(path))
}

/// As [`check`], beside the files of these splits' images.
pub(crate) fn check_images<'a>(
    outputs: &[Named<'a>],
    splits: impl IntoIterator<Item = &'a Split>,
) -> anyhow::Result<()> {
    if outputs.iter().all(|(_, path)| !path.exists()) {
        return Ok(());
    }
    let samples = splits.into_iter().flat_map(|split| split.samples.iter());
    let files: Vec<PathBuf> = samples.map(|sample| sample.content.path()).collect();
    check(outputs, files.iter().map(|path| ("an image of DATA", &**path)))
}

/// The paths of flags that were given.
pub(crate) fn given<'a, const N: usize>(
    flags: [(&'a str, &'a Option<PathBuf>); N],
) -> impl Iterator<Item = Named<'a>> {
    flags.into_iter().filter_map(|(flag, path)| Some((flag, path.as_deref()?)))
}

fn same((what, path): Named<'_>, other: &str) -> UsageError {
    UsageError(format!(
        "{what} {} is the same file as {other}, which it would replace: name another",
        path.display()
    ))
}

/// An error if a file cannot be written at `path`.
pub(crate) fn can_be_written(path: &Path) -> anyhow::Result<()> {
    check_writable(path).with_context(|| format!("cannot write {}", path.display()))
}

/// Whether `path` is no file to be replaced: a pipe, a device.
pub(crate) fn is_stream(path: &Path) -> bool {
    matches!(Disk.place(path), Ok(Place::Stream))
}

/// A line on what was written to `path`: on standard output, unless that may be what was written to.
pub(crate) fn tell(path: &Path, line: &str) -> anyhow::Result<()> {
    match is_stream(path) {
        true => note(line),
        false => print(line)?,
    }
    Ok(())
}

/// What a file is known by, through whatever links.
#[derive(PartialEq)]
enum FileId {
    /// Of one that is there: device and number on it.
    #[cfg(unix)]
    Inode(u64, u64),
    /// Its folder's own path, and its name.
    Path(PathBuf),
}

impl FileId {
    /// `None` of what is no file, and of a file whose folder is not there.
    fn of(path: &Path) -> Option<Self> {
        let Ok(Place::File(path)) = Disk.place(path) else { return None };
        #[cfg(unix)]
        if let Ok(found) = path.metadata() {
            use std::os::unix::fs::MetadataExt;
            return Some(Self::Inode(found.dev(), found.ino()));
        }
        let folder = path.parent()?;
        let folder = if folder.as_os_str().is_empty() { Path::new(".") } else { folder };
        Some(Self::Path(folder.canonicalize().ok()?.join(path.file_name()?)))
    }
}
