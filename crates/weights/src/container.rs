//! Named arrays and a JSON text, to a file and back.

use std::collections::HashMap;
use std::fmt::Display;
use std::io::{self, BufReader, BufWriter, Read, Write};
use std::path::{Path, PathBuf};

use alexnet_data::{FileSystem, write_beside_on};
use alexnet_network::Array;
use safetensors::tensor::{Dtype, Metadata, TensorInfo};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::formats::RecogniseError;
use crate::stream::{self, Checked, Tensors};
use crate::values::{self, NotFinite};

/// Bytes written or read back at a time.
const BUFFER_BYTES: usize = 1 << 20;

/// The metadata entry this program reads and writes.
const METADATA_KEY: &str = "alexnet";

/// A reason may quote names that stand in the file: they end no line and steer no terminal.
fn one_line(reason: impl Display) -> String {
    let mut line = String::new();
    for c in reason.to_string().chars() {
        if c.is_control() { line.extend(c.escape_default()) } else { line.push(c) }
    }
    line
}

/// Why a weights file was not read or written.
#[derive(Debug, thiserror::Error)]
pub enum WeightsError {
    /// The system refused.
    #[error("cannot {action} {}: {reason}", path.display())]
    Io {
        /// `read`, `write` or `read back`.
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
    #[error("{} is not a whole weights file: {}", path.display(), one_line(reason))]
    Malformed {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// A sound file of tensors that are none of the networks'.
    #[error("{}: {}", path.display(), one_line(reason))]
    Unrecognised {
        /// The file.
        path: PathBuf,
        /// Why.
        reason: RecogniseError,
    },
    /// A mean image that does not go with the network's images.
    #[error("{} cannot be subtracted: {}", path.display(), one_line(reason))]
    MeanImage {
        /// The mean image's file.
        path: PathBuf,
        /// Why.
        reason: String,
    },
    /// Not as many class names as there are outputs.
    #[error("{} has {outputs} outputs, and {given} class names were given", path.display())]
    ClassCount {
        /// The file.
        path: PathBuf,
        /// How many names.
        given: usize,
        /// How many outputs.
        outputs: usize,
    },
    /// A whole file whose description this version of the program does not know.
    #[error(
        "{} was written by another version of this program: {}",
        path.display(),
        one_line(reason)
    )]
    OtherVersion {
        /// The file.
        path: PathBuf,
        /// What is unlike.
        reason: serde_json::Error,
    },
    /// A run's state where weights were expected.
    #[error(
        "{} is a checkpoint, from which a run is resumed, and no weights file: take \
         weights/last.safetensors or weights/best.safetensors of its run",
        path.display()
    )]
    Checkpoint {
        /// The file.
        path: PathBuf,
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

/// What a file was when it was written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Written {
    /// Its length.
    pub bytes: u64,
    /// CRC-32 of all of it.
    pub crc32: u32,
}

/// Writes `arrays` by their names, sorted, and their `description` to `path`, whole or not at all.
///
/// # Errors
/// When the system refuses or a value is no number; `path` is then as it was.
pub fn write<'a>(
    disk: &dyn FileSystem,
    path: &Path,
    arrays: impl IntoIterator<Item = (String, &'a Array)>,
    description: &impl Serialize,
) -> Result<Written, WeightsError> {
    let failed =
        |reason: io::Error| WeightsError::Io { action: "write", path: path.into(), reason };
    let mut arrays: Vec<_> = arrays.into_iter().collect();
    arrays.sort_by(|(a, _), (b, _)| a.cmp(b));
    if let Some((tensor, index, value)) = arrays.iter().find_map(|(_, array)| not_finite(array)) {
        return Err(WeightsError::NotFinite { path: path.into(), tensor, index, value });
    }
    let description = serde_json::to_string(description).map_err(|e| failed(e.into()))?;
    let header = header(&arrays, description).map_err(failed)?;
    write_beside_on(disk, path, |file| {
        let file = BufWriter::with_capacity(BUFFER_BYTES, file);
        let mut counted = Counted { file, bytes: 0, crc: crc32fast::Hasher::new() };
        counted.write_all(&(header.len() as u64).to_le_bytes())?;
        counted.write_all(&header)?;
        for (_, array) in &arrays {
            counted.write_all(bytemuck::cast_slice(&array.values))?;
        }
        counted.flush()?;
        Ok(Written { bytes: counted.bytes, crc32: counted.crc.finalize() })
    })
    .map_err(failed)
}

/// The header of a safetensors file of arrays that are sorted by name, padded to eight bytes.
fn header(arrays: &[(String, &Array)], description: String) -> io::Result<Vec<u8>> {
    let mut crc = Checksum::of(&description);
    let (mut tensors, mut end) = (Vec::with_capacity(arrays.len()), 0);
    for (name, array) in arrays {
        crc.add(&stream::checksum(name, array));
        let start = end;
        end += size_of_val(&array.values[..]);
        let (dtype, shape) = (Dtype::F32, array.shape.clone());
        tensors.push((name.clone(), TensorInfo { dtype, shape, data_offsets: (start, end) }));
    }
    let envelope = serde_json::to_string(&Envelope { checksum: crc.text(), description })?;
    let entries = HashMap::from([(METADATA_KEY.to_owned(), envelope)]);
    let metadata = Metadata::new(Some(entries), tensors).map_err(io::Error::other)?;
    let mut header = serde_json::to_vec(&metadata)?;
    header.resize(header.len().next_multiple_of(8), b' ');
    Ok(header)
}

/// Sees what goes into a file.
struct Counted<W: Write> {
    file: W,
    bytes: u64,
    crc: crc32fast::Hasher,
}

impl<W: Write> Write for Counted<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.file.write(bytes)?;
        self.bytes += written as u64;
        self.crc.update(&bytes[..written]);
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

/// Reads a file again that was just written, without keeping it.
///
/// # Errors
/// When it cannot be read, or is not what was written.
pub fn read_back(disk: &dyn FileSystem, path: &Path, written: Written) -> Result<(), WeightsError> {
    let failed = |reason| WeightsError::Io { action: "read back", path: path.into(), reason };
    let (file, _) = disk.open(path).map_err(failed)?;
    let mut found = Counted { file: io::sink(), bytes: 0, crc: crc32fast::Hasher::new() };
    let mut file = BufReader::with_capacity(BUFFER_BYTES, file.take(written.bytes + 1));
    io::copy(&mut file, &mut found).map_err(failed)?;
    if (Written { bytes: found.bytes, crc32: found.crc.finalize() }) == written {
        return Ok(());
    }
    let reason = "what was just written to it does not come back".to_owned();
    Err(WeightsError::Malformed { path: path.into(), reason })
}

/// Reads what [`write()`] wrote: the arrays, sorted by name, and the description.
///
/// # Errors
/// When the file is unreadable, malformed, damaged, of another kind, or of another version.
pub fn read<T: DeserializeOwned>(
    disk: &dyn FileSystem,
    path: &Path,
) -> Result<(Vec<Array>, T), WeightsError> {
    let (arrays, description) = read_any(disk, path)?;
    let description = description.ok_or_else(|| WeightsError::Foreign { path: path.into() })?;
    Ok((arrays, parse(path, &description)?))
}

/// As [`read`], of any safetensors file, with the description as it is written: a file that another
/// program wrote has none, and nothing says that it is what was written.
///
/// # Errors
/// As there.
pub(crate) fn read_any(
    disk: &dyn FileSystem,
    path: &Path,
) -> Result<(Vec<Array>, Option<String>), WeightsError> {
    let Tensors { arrays, metadata } = stream::read(disk, path)?;
    let description = match metadata.get(METADATA_KEY) {
        None => None,
        Some(envelope) => Some(described(path, envelope, &arrays)?),
    };
    Ok((arrays.into_iter().map(|checked| checked.array).collect(), description))
}

/// The description in an envelope whose checksum matches.
fn described(path: &Path, envelope: &str, arrays: &[Checked]) -> Result<String, WeightsError> {
    let malformed = |reason: String| WeightsError::Malformed { path: path.into(), reason };
    let Envelope { checksum, description } =
        serde_json::from_str(envelope).map_err(|e| malformed(format!("its metadata: {e}")))?;
    let mut crc = Checksum::of(&description);
    arrays.iter().for_each(|array| crc.add(&array.crc));
    if crc.text() != checksum {
        return Err(malformed("its checksum does not match: it was damaged after writing".into()));
    }
    Ok(description)
}

/// What the description of a whole file says.
///
/// # Errors
/// When this version does not know what stands there.
pub(crate) fn parse<T: DeserializeOwned>(
    path: &Path,
    description: &str,
) -> Result<T, WeightsError> {
    serde_json::from_str(description)
        .map_err(|reason| WeightsError::OtherVersion { path: path.into(), reason })
}

/// The first value of an array that is no number.
fn not_finite(array: &Array) -> Option<(String, usize, f32)> {
    let NotFinite { index, value } = values::check(&array.values).err()?;
    Some((array.name.clone(), index, value))
}

/// CRC-32 over description, and names, shapes and values in the order of the names.
struct Checksum(crc32fast::Hasher);

impl Checksum {
    fn of(description: &str) -> Self {
        let mut crc = crc32fast::Hasher::new();
        crc.update(description.as_bytes());
        Self(crc)
    }

    /// With that of an array behind it.
    fn add(&mut self, array: &crc32fast::Hasher) {
        self.0.combine(array);
    }

    fn text(self) -> String {
        format!("{:08x}", self.0.finalize())
    }
}
