//! Named arrays and a JSON text, to a file and back.

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use alexnet_data::write_beside;
use alexnet_network::Array;
use safetensors::tensor::{Dtype, SafeTensors, TensorView};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

/// Largest file read, in bytes: sixteen times AlexNet with its momentum.
pub const FILE_BYTES_MAX: u64 = 8 << 30;

/// The metadata entry this program reads and writes.
const METADATA_KEY: &str = "alexnet";

/// Why a weights file was not read or written.
#[derive(Debug, thiserror::Error)]
pub enum WeightsError {
    /// The system refused.
    #[error("cannot {action} {}: {reason}", path.display())]
    Io {
        /// `read` or `write`.
        action: &'static str,
        /// The file.
        path: PathBuf,
        /// Why.
        reason: io::Error,
    },
    /// What was to be written would be refused when read.
    #[error("{} was not written: tensor {tensor} holds {value} at element {index}", path.display())]
    NotFinite {
        /// The file.
        path: PathBuf,
        /// The tensor.
        tensor: String,
        /// Where in it.
        index: usize,
        /// Infinity or NaN.
        value: f32,
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
        |reason: io::Error| WeightsError::Io { action: "write", path: path.into(), reason };
    if let Some((tensor, index, value)) = arrays.iter().find_map(not_finite) {
        return Err(WeightsError::NotFinite { path: path.into(), tensor, index, value });
    }
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
    let bytes = safetensors::serialize(views, Some(metadata));
    let bytes = bytes.map_err(|error| failed(io::Error::other(error)))?;
    write_beside(path, |file| file.write_all(&bytes)).map_err(failed)
}

/// Reads what [`write()`] wrote: the arrays, sorted by name, and the description.
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
    let failed = |reason| WeightsError::Io { action: "read", path: path.into(), reason };
    let mut bytes = Vec::new();
    // Not what the system says of the file's size: a device has none, and a file may grow.
    let file = File::open(path).map_err(failed)?;
    let expected = file.metadata().map_err(failed)?.len().min(FILE_BYTES_MAX);
    bytes.try_reserve(expected as usize).map_err(|_| failed(io::ErrorKind::OutOfMemory.into()))?;
    file.take(FILE_BYTES_MAX + 1).read_to_end(&mut bytes).map_err(failed)?;
    if bytes.len() as u64 > FILE_BYTES_MAX {
        let reason = format!("it has more than the {FILE_BYTES_MAX} bytes read");
        return Err(WeightsError::Malformed { path: path.into(), reason });
    }
    Ok(bytes)
}

/// The first value of an array that is no number.
fn not_finite(array: &Array) -> Option<(String, usize, f32)> {
    let index = array.values.iter().position(|value| !value.is_finite())?;
    Some((array.name.clone(), index, array.values[index]))
}

fn array(name: &str, view: &TensorView) -> Result<Array, String> {
    if view.dtype() != Dtype::F32 {
        return Err(format!("tensor {name} is {:?}, but only F32 is read", view.dtype()));
    }
    let bytes = view.data().chunks_exact(size_of::<f32>());
    let values = bytes.map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]])).collect();
    let array = Array { name: name.to_owned(), shape: view.shape().to_vec(), values };
    match not_finite(&array) {
        Some((_, at, value)) => Err(format!("tensor {name} holds {value} at element {at}")),
        None => Ok(array),
    }
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
