//! Files that are there whole or not at all: weights, checkpoints, results, packed sets.

use std::fs::{self, File};
use std::io;
use std::path::Path;

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
    let folder = path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let mut temporary = unfinished_file(folder)?;
    let filled = fill(temporary.as_file_mut())?;
    temporary.as_file().sync_all()?;
    temporary.persist(path).map_err(|error| error.error)?;
    sync_folder(folder)?;
    Ok(filled)
}

/// A new file, as readable as any the user makes (temporary files are private unless told).
#[cfg(unix)]
fn unfinished_file(folder: &Path) -> io::Result<tempfile::NamedTempFile> {
    use std::os::unix::fs::PermissionsExt;
    let usual = fs::Permissions::from_mode(0o666); // less the user's umask
    tempfile::Builder::new().prefix(UNFINISHED_PREFIX).permissions(usual).tempfile_in(folder)
}

#[cfg(not(unix))]
fn unfinished_file(folder: &Path) -> io::Result<tempfile::NamedTempFile> {
    tempfile::Builder::new().prefix(UNFINISHED_PREFIX).tempfile_in(folder)
}

/// Deletes what writers that were killed left in `folder`. Call it where no writer is at work.
///
/// # Errors
/// When the system refuses.
pub fn clear_unfinished(folder: &Path) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        if entry.file_name().to_string_lossy().starts_with(UNFINISHED_PREFIX) {
            fs::remove_file(entry.path())?;
        }
    }
    Ok(())
}

/// Makes a rename last through a power cut.
#[cfg(unix)]
fn sync_folder(folder: &Path) -> io::Result<()> {
    File::open(folder)?.sync_all()
}

#[cfg(not(unix))]
fn sync_folder(_: &Path) -> io::Result<()> {
    Ok(())
}
