//! Named arrays and a JSON text, to a file and back.

use std::collections::HashMap;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use alexnet_network::Array;
use safetensors::tensor::{Dtype, SafeTensors, TensorView};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

/// Largest file read: sixteen times AlexNet with its momentum.
pub const FILE_BYTES_MAX: u64 = 8 << 30;

/// How the names of files begin that are still being written.
const UNFINISHED_PREFIX: &str = ".writing-";

/// The metadata entry this program reads and writes.
const METADATA_KEY: &str = "alexnet";

/// Why a weights file was not read or written.
#[derive(Debug, thiserror::Error)]
pub enum WeightsError {
    /// The system refused.
    #[error("cannot {action} {}: {source}", path.display())]
    Io {
        /// `read` or `write`.
        action: &'static str,
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Not a file of this kind, or a damaged one.
    #[error("{} is not a whole weights file: {reason}", path.display())]
    Malformed {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// A sound container that this program did not write.
    #[error("{} carries no '{METADATA_KEY}' entry: it was not written by this program", path.display())]
    Foreign {
        /// The file.
        path: PathBuf,
    },
}

/// What the metadata entry holds.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Envelope {
    /// CRC-32 of the description and all arrays, in hexadecimal.
    checksum: String,
    /// The description, as JSON text so that the checksum covers its very bytes.
    description: String,
}

/// Writes `arrays` and their `description` to `path`, whole or not at all.
///
/// # Errors
/// When the system refuses; `path` is then as it was.
pub fn write(
    path: &Path,
    arrays: &[Array],
    description: &impl Serialize,
) -> Result<(), WeightsError> {
    let failed =
        |source: io::Error| WeightsError::Io { action: "write", path: path.into(), source };
    let description = serde_json::to_string(description).map_err(|e| failed(e.into()))?;
    let checksum = checksum(&description, arrays);
    let envelope = serde_json::to_string(&Envelope { checksum, description });
    let metadata =
        HashMap::from([(METADATA_KEY.to_owned(), envelope.map_err(|e| failed(e.into()))?)]);
    let views: Result<Vec<_>, _> = arrays
        .iter()
        .map(|array| {
            let bytes = bytemuck::cast_slice(&array.values);
            TensorView::new(Dtype::F32, array.shape.clone(), bytes).map(|view| (&array.name, view))
        })
        .collect();
    let views = views.map_err(|e| failed(io::Error::other(e)))?;
    write_beside(path, |temporary| {
        safetensors::serialize_to_file(views, Some(metadata), temporary).map_err(
            |error| match error {
                safetensors::SafeTensorError::IoError(error) => error,
                other => io::Error::other(other),
            },
        )
    })
    .map_err(failed)
}

/// Writes a file beside its place, syncs it, and renames it there.
///
/// # Errors
/// When the system refuses; `path` is then as it was and nothing is left beside it.
pub fn write_beside(path: &Path, fill: impl FnOnce(&Path) -> io::Result<()>) -> io::Result<()> {
    let folder = path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let temporary = tempfile::Builder::new().prefix(UNFINISHED_PREFIX).tempfile_in(folder)?;
    fill(temporary.path())?;
    temporary.as_file().sync_all()?;
    make_readable(temporary.as_file())?;
    temporary.persist(path).map_err(|error| error.error)?;
    sync_folder(folder)
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

/// Temporary files are private; results are as readable as any file a user makes.
#[cfg(unix)]
fn make_readable(file: &File) -> io::Result<()> {
    use std::os::unix::fs::PermissionsExt;
    file.set_permissions(fs::Permissions::from_mode(0o644))
}

#[cfg(not(unix))]
fn make_readable(_: &File) -> io::Result<()> {
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

/// Reads what [`write`] wrote: the arrays, sorted by name, and the description.
///
/// # Errors
/// When the file is unreadable, malformed, damaged, or of another kind.
pub fn read<T: DeserializeOwned>(path: &Path) -> Result<(Vec<Array>, T), WeightsError> {
    let bytes = read_bytes(path)?;
    let malformed = |reason: String| WeightsError::Malformed { path: path.into(), reason };
    let (_, header) = SafeTensors::read_metadata(&bytes).map_err(|e| malformed(e.to_string()))?;
    let entry = header.metadata().as_ref().and_then(|entries| entries.get(METADATA_KEY));
    let entry = entry.ok_or_else(|| WeightsError::Foreign { path: path.into() })?;
    let envelope: Envelope =
        serde_json::from_str(entry).map_err(|e| malformed(format!("its metadata: {e}")))?;
    let tensors = SafeTensors::deserialize(&bytes).map_err(|e| malformed(e.to_string()))?;
    let mut arrays = Vec::with_capacity(tensors.len());
    for (name, view) in tensors.iter() {
        arrays.push(array(name, &view).map_err(malformed)?);
    }
    arrays.sort_by(|a, b| a.name.cmp(&b.name));
    if checksum(&envelope.description, &arrays) != envelope.checksum {
        return Err(malformed("its checksum does not match: it was damaged after writing".into()));
    }
    let description = serde_json::from_str(&envelope.description);
    Ok((arrays, description.map_err(|e| malformed(format!("its description: {e}")))?))
}

fn read_bytes(path: &Path) -> Result<Vec<u8>, WeightsError> {
    let failed = |source| WeightsError::Io { action: "read", path: path.into(), source };
    let size = fs::metadata(path).map_err(failed)?.len();
    if size > FILE_BYTES_MAX {
        let reason = format!("it has {size} bytes, more than the {FILE_BYTES_MAX} read");
        return Err(WeightsError::Malformed { path: path.into(), reason });
    }
    fs::read(path).map_err(failed)
}

fn array(name: &str, view: &TensorView) -> Result<Array, String> {
    if view.dtype() != Dtype::F32 {
        return Err(format!("tensor {name} is {:?}, but only F32 is read", view.dtype()));
    }
    let bytes = view.data().chunks_exact(size_of::<f32>());
    let values: Vec<f32> = bytes.map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]])).collect();
    if let Some(at) = values.iter().position(|value| !value.is_finite()) {
        return Err(format!("tensor {name} holds {} at element {at}", values[at]));
    }
    Ok(Array { name: name.to_owned(), shape: view.shape().to_vec(), values })
}

/// CRC-32 over description, names, shapes and values; independent of the arrays' order.
fn checksum(description: &str, arrays: &[Array]) -> String {
    let mut sorted: Vec<_> = arrays.iter().collect();
    sorted.sort_by(|a, b| a.name.cmp(&b.name));
    let mut crc = crc32fast::Hasher::new();
    crc.update(description.as_bytes());
    for array in sorted {
        crc.update(array.name.as_bytes());
        crc.update(format!("{:?}", array.shape).as_bytes());
        crc.update(bytemuck::cast_slice(&array.values));
    }
    format!("{:08x}", crc.finalize())
}
