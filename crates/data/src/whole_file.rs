//! Files and folders that are there whole or not at all: weights, checkpoints, results, data sets.

use std::ffi::OsStr;
#[cfg(target_os = "linux")]
use std::fs::File;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use crate::error::DataError;
pub(crate) use crate::file_system::folder_of;
use crate::file_system::{
    Disk, FileSystem, NewFile, Place, UNFINISHED_PREFIX, as_usual, open_stream,
};
use crate::text::read_text;

/// Writes a file beside its place, syncs it, and renames it there. What `fill` returns is returned.
/// Links are followed, and what is no file, such as a pipe, is written to when all is there.
///
/// # Errors
/// When `fill` or the system refuses; a file is then as it was and nothing is left beside it.
pub fn write_beside<T, E: From<io::Error>>(
    path: &Path,
    fill: impl FnOnce(&mut dyn Write) -> Result<T, E>,
) -> Result<T, E> {
    write_beside_on(&Disk, path, fill)
}

/// As [`write_beside`], on another disk.
///
/// # Errors
/// As there. If the system refuses even to clear away, a file that is not taken for anything stays
/// until [`clear_unfinished_on`]; if it refuses only to sync the folder, the new file is in its
/// place, but not yet safe there.
pub fn write_beside_on<T, E: From<io::Error>>(
    disk: &dyn FileSystem,
    path: &Path,
    fill: impl FnOnce(&mut dyn Write) -> Result<T, E>,
) -> Result<T, E> {
    let Place::File(path) = disk.place(path)? else {
        return write_stream(path, fill);
    };
    let (unfinished, mut file) = Unfinished::create(disk, folder_of(&path))?;
    let filled = fill(&mut file)?;
    file.sync()?;
    drop(file); // Some systems rename no open file.
    unfinished.rename(&path)?;
    disk.sync_folder(folder_of(&path))?;
    Ok(filled)
}

/// Writes to what cannot be replaced, once all is made: its reader gets everything or nothing.
fn write_stream<T, E: From<io::Error>>(
    path: &Path,
    fill: impl FnOnce(&mut dyn Write) -> Result<T, E>,
) -> Result<T, E> {
    let mut whole = Vec::new();
    let filled = fill(&mut whole)?;
    open_stream(path)?.write_all(&whole)?;
    Ok(filled)
}

/// Whether [`write_beside`] can begin at `path`: for whoever works long before there is something
/// to write.
///
/// # Errors
/// Those that it would meet.
pub fn check_writable(path: &Path) -> io::Result<()> {
    match Disk.place(path)? {
        Place::File(path) => Unfinished::create(&Disk, folder_of(&path)).map(drop),
        Place::Stream => Ok(()),
    }
}

/// A file that is removed unless it gets its name.
struct Unfinished<'a> {
    disk: &'a dyn FileSystem,
    path: Option<PathBuf>,
}

impl<'a> Unfinished<'a> {
    fn create(disk: &'a dyn FileSystem, folder: &Path) -> io::Result<(Self, Box<dyn NewFile>)> {
        let (path, file) = disk.create_unfinished(folder)?;
        Ok((Self { disk, path: Some(path) }, file))
    }

    fn rename(mut self, to: &Path) -> io::Result<()> {
        if let Some(path) = &self.path {
            self.disk.rename(path, to)?;
        }
        self.path = None;
        Ok(())
    }
}

impl Drop for Unfinished<'_> {
    fn drop(&mut self) {
        if let Some(path) = &self.path
            && let Err(error) = self.disk.remove(path)
        {
            tracing::debug!("cannot remove {}: {error}", path.display());
        }
    }
}

/// Gives a file or folder another name in the same folder, for good.
pub(crate) fn rename_synced(from: &Path, to: &Path) -> io::Result<()> {
    Disk.rename(from, to)?;
    Disk.sync_folder(folder_of(to))
}

/// Makes a folder and those it lies in, for good, where they are not there.
///
/// # Errors
/// When the system refuses.
pub fn create_folders_on(disk: &dyn FileSystem, path: &Path) -> io::Result<()> {
    let created = match disk.create_folder(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound && path != folder_of(path) => {
            create_folders_on(disk, folder_of(path))?;
            disk.create_folder(path)
        }
        created => created,
    };
    match created {
        Ok(()) => disk.sync_folder(folder_of(path)),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        Err(error) => Err(error),
    }
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
    let temporary = unfinished_folder(folder_of(path)).map_err(DataError::io("create", path))?;
    fill(temporary.path())?;
    let synced = sync_files(temporary.path());
    let renamed = synced.and_then(|()| rename_synced(temporary.path(), path));
    renamed.map_err(DataError::io("write", path))
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
    for path in Disk.list(folder)? {
        match path.is_dir() {
            true => sync_files(&path)?,
            false => std::fs::File::options().write(true).open(path)?.sync_all()?,
        }
    }
    Disk.sync_folder(folder)
}

fn unfinished_folder(folder: &Path) -> io::Result<tempfile::TempDir> {
    let mut builder = tempfile::Builder::new();
    let made = as_usual(builder.prefix(UNFINISHED_PREFIX), 0o777).tempdir_in(folder);
    made.map_err(|error| error.kind().into()) // without a path that nobody asked for
}

/// Whether a writer that was killed, or is at work, gave a file or folder this name.
pub fn is_unfinished(name: &OsStr) -> bool {
    name.as_encoded_bytes().starts_with(UNFINISHED_PREFIX.as_bytes())
}

/// Deletes what writers that were killed left in `folder`. Call it where no writer is at work.
///
/// # Errors
/// When the system refuses.
pub fn clear_unfinished(folder: &Path) -> io::Result<()> {
    clear_unfinished_on(&Disk, folder)
}

/// As [`clear_unfinished`], on another disk.
///
/// # Errors
/// As there.
pub fn clear_unfinished_on(disk: &dyn FileSystem, folder: &Path) -> io::Result<()> {
    let entries = disk.list(folder)?;
    let unfinished = |path: &&PathBuf| path.file_name().is_some_and(is_unfinished);
    entries.iter().filter(unfinished).try_for_each(|path| disk.remove(path))
}
