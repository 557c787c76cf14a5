//! Files and folders that are there whole or not at all: weights, checkpoints, results, data sets.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::Path;

use crate::error::DataError;
use crate::text::read_text;

/// How the names of files begin that are still being written.
const UNFINISHED_PREFIX: &str = ".writing-";

/// Writes a file beside its place, syncs it, and renames it there. What `fill` returns is returned.
///
/// # Errors
/// When `fill` or the system refuses; `path` is then as it was and nothing is left beside it.
pub fn write_beside<T, E: From<io::Error>>(
    path: &Path,
    fill: impl FnOnce(&mut File) -> Result<T, E>,
) -> Result<T, E> {
    let folder = folder_of(path);
    let mut temporary = unfinished_file(folder)?;
    let filled = fill(temporary.as_file_mut())?;
    temporary.as_file().sync_all()?;
    temporary.persist(path).map_err(|error| error.error)?;
    sync_folder(folder)?;
    Ok(filled)
}

/// Writes a file of these bytes as [`write_beside`] does.
pub(crate) fn write_whole(path: &Path, bytes: &[u8]) -> Result<(), DataError> {
    write_beside(path, |file| file.write_all(bytes)).map_err(DataError::io("write", path))
}

/// As [`write_whole`], but a file that has these bytes is left alone: whoever is killed then leaves
/// nothing half-written beside what was whole before.
pub(crate) fn write_if_changed(path: &Path, bytes: &[u8]) -> Result<(), DataError> {
    let is_same = read_text(path).is_ok_and(|found| found.as_bytes() == bytes);
    if is_same { Ok(()) } else { write_whole(path, bytes) }
}

/// Fills a folder of files beside its place, syncs all of it, and renames it there.
///
/// # Errors
/// When `fill` or the system refuses, or there is such a folder that is not empty; `path` is then
/// as it was and nothing is left beside it.
pub(crate) fn fill_beside(
    path: &Path,
    fill: impl FnOnce(&Path) -> Result<(), DataError>,
) -> Result<(), DataError> {
    let folder = folder_of(path);
    let temporary = unfinished_folder(folder).map_err(DataError::io("create", path))?;
    fill(temporary.path())?;
    let rename = || -> io::Result<()> {
        sync_files(temporary.path())?;
        fs::rename(temporary.path(), path)?;
        sync_folder(folder)
    };
    rename().map_err(DataError::io("write", path))
    // What was renamed is no longer there for `temporary` to remove.
}

/// Brings a folder and the files in it to the disk, and whatever else waits for that disk: for
/// hundreds of files a tenth of the time that it takes one by one.
#[cfg(target_os = "linux")]
fn sync_files(folder: &Path) -> io::Result<()> {
    Ok(rustix::fs::syncfs(File::open(folder)?)?)
}

#[cfg(not(target_os = "linux"))]
fn sync_files(folder: &Path) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        File::options().write(true).open(entry?.path())?.sync_all()?;
    }
    sync_folder(folder)
}

fn folder_of(path: &Path) -> &Path {
    path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

fn unfinished_file(folder: &Path) -> io::Result<tempfile::NamedTempFile> {
    as_usual(tempfile::Builder::new().prefix(UNFINISHED_PREFIX), 0o666).tempfile_in(folder)
}

fn unfinished_folder(folder: &Path) -> io::Result<tempfile::TempDir> {
    as_usual(tempfile::Builder::new().prefix(UNFINISHED_PREFIX), 0o777).tempdir_in(folder)
}

/// As readable as anything the user makes (what is temporary is private unless told).
#[cfg(unix)]
fn as_usual<'a, 'b, 'c>(
    builder: &'c mut tempfile::Builder<'a, 'b>,
    mode: u32,
) -> &'c mut tempfile::Builder<'a, 'b> {
    use std::os::unix::fs::PermissionsExt;
    builder.permissions(fs::Permissions::from_mode(mode)) // less the user's umask
}

#[cfg(not(unix))]
fn as_usual<'a, 'b, 'c>(
    builder: &'c mut tempfile::Builder<'a, 'b>,
    _: u32,
) -> &'c mut tempfile::Builder<'a, 'b> {
    builder
}

/// Whether a writer that was killed, or is at work, gave a file or folder this name.
pub(crate) fn is_unfinished(name: &OsStr) -> bool {
    name.as_encoded_bytes().starts_with(UNFINISHED_PREFIX.as_bytes())
}

/// Deletes what writers that were killed left in `folder`. Call it where no writer is at work.
///
/// # Errors
/// When the system refuses.
pub fn clear_unfinished(folder: &Path) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        if !is_unfinished(&entry.file_name()) {
            continue;
        }
        match entry.file_type()?.is_dir() {
            true => fs::remove_dir_all(entry.path())?,
            false => fs::remove_file(entry.path())?,
        }
    }
    Ok(())
}

/// Makes a rename last through a power cut.
#[cfg(unix)]
pub(crate) fn sync_folder(folder: &Path) -> io::Result<()> {
    File::open(folder)?.sync_all()
}

#[cfg(not(unix))]
pub(crate) fn sync_folder(_: &Path) -> io::Result<()> {
    Ok(())
}
