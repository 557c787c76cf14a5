//! A safetensors file becomes arrays as fast as it is read: every tensor goes from the file to its
//! place, and its part of the checksum is summed up by a second thread while the next one comes.

use std::collections::{BTreeSet, HashMap};
use std::fmt;
use std::io::{self, Read};
use std::path::Path;
use std::sync::mpsc;
use std::thread;

use alexnet_data::FileSystem;
use alexnet_network::Array;
use safetensors::tensor::{Dtype, Metadata, TensorInfo};
use serde::Deserialize;
use serde::de::{IgnoredAny, MapAccess, SeqAccess, Visitor};

use crate::container::WeightsError;
use crate::values::{self, Kind, ValuesError};

/// Largest file read, in bytes: sixteen times AlexNet with its momentum.
pub const FILE_BYTES_MAX: u64 = 8 << 30;
/// Largest header, in bytes: a thousand times that of this network.
pub const HEADER_BYTES_MAX: u64 = 1 << 22;
/// Most tensors in a file: AlexNet with momentum has some sixty.
pub const TENSORS_MAX: usize = 4096;
/// Most dimensions of a tensor: twice those of a kernel.
const DIMENSIONS_MAX: usize = 8;
/// What a header has beside tensors.
const METADATA: &str = "__metadata__";

/// The length of the header, before it.
const PREFIX_BYTES: u64 = 8;

/// What a safetensors file holds.
#[derive(Debug)]
pub(crate) struct Tensors {
    /// Each with the CRC-32 of name, shape and values; sorted by name.
    pub(crate) arrays: Vec<Checked>,
    /// What the file says of itself.
    pub(crate) metadata: HashMap<String, String>,
}

/// A tensor and its part of the checksum.
#[derive(Debug)]
pub(crate) struct Checked {
    pub(crate) array: Array,
    pub(crate) crc: crc32fast::Hasher,
}

/// Reads a whole safetensors file of 32-bit, 16-bit or bfloat16 tensors.
///
/// # Errors
/// When it is unreadable, malformed, cut off, or holds a value that is no number.
pub(crate) fn read(disk: &dyn FileSystem, path: &Path) -> Result<Tensors, WeightsError> {
    let (mut file, len) = disk.open(path).map_err(|reason| unreadable(path, reason))?;
    let header = header(&mut file, len).map_err(|fault| fault.of(path))?;
    let mut infos: Vec<_> = header.tensors().into_iter().collect();
    infos.sort_by_key(|(_, info)| info.data_offsets);
    let mut arrays = thread::scope(|scope| {
        let (sender, receiver) = mpsc::channel::<Array>();
        let checksums = move || receiver.into_iter().map(with_checksum).collect::<Vec<_>>();
        let checksums = thread::Builder::new().spawn_scoped(scope, checksums);
        let checksums = checksums.map_err(|reason| unreadable(path, reason))?;
        for (name, info) in infos {
            let array = tensor(&mut file, name, info).map_err(|fault| fault.of(path))?;
            sender.send(array).expect("the other thread takes all");
        }
        drop(sender);
        Ok(checksums.join().expect("a checksum never panics"))
    })?;
    arrays.sort_by(|a, b| a.array.name.cmp(&b.array.name));
    Ok(Tensors { arrays, metadata: header.metadata().clone().unwrap_or_default() })
}

/// Why reading ended early.
enum Fault {
    Io(io::Error),
    Malformed(String),
}

impl From<io::Error> for Fault {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::UnexpectedEof => Self::Malformed("it ends too early".into()),
            _ => Self::Io(error),
        }
    }
}

impl Fault {
    fn of(self, path: &Path) -> WeightsError {
        match self {
            Self::Io(reason) => unreadable(path, reason),
            Self::Malformed(reason) => malformed(path, reason),
        }
    }
}

fn unreadable(path: &Path, reason: io::Error) -> WeightsError {
    WeightsError::Io { action: "read", path: path.into(), reason }
}

fn malformed(path: &Path, reason: String) -> WeightsError {
    WeightsError::Malformed { path: path.into(), reason }
}

/// The header of a file of `len` bytes, whose tensors fill the rest of it.
fn header(file: &mut dyn Read, len: u64) -> Result<Metadata, Fault> {
    let refused = |reason: String| Err(Fault::Malformed(reason));
    if len > FILE_BYTES_MAX {
        return refused(format!("it has {len} bytes, the most read are {FILE_BYTES_MAX}"));
    }
    let mut prefix = [0; PREFIX_BYTES as usize];
    file.read_exact(&mut prefix)?;
    let header_len = u64::from_le_bytes(prefix);
    if header_len > HEADER_BYTES_MAX.min(len - PREFIX_BYTES.min(len)) {
        return refused(format!(
            "at byte 0: a header of {header_len} bytes in a file of {len} (at most \
             {HEADER_BYTES_MAX})"
        ));
    }
    let mut text = vec![0; header_len as usize];
    file.read_exact(&mut text)?;
    let read = |error: serde_json::Error| {
        let offset = PREFIX_BYTES as usize + error.column().saturating_sub(1);
        Fault::Malformed(format!("at byte {offset}: its header: {error}"))
    };
    serde_json::from_slice::<Names>(&text).map_err(read)?;
    let header: Metadata = serde_json::from_slice(&text).map_err(read)?;
    let end = header.tensors().values().map(|info| info.data_offsets.1).max().unwrap_or(0);
    let expected = PREFIX_BYTES + header_len + end as u64;
    if expected != len {
        return refused(format!("its header speaks of {expected} bytes, but it has {len}"));
    }
    Ok(header)
}

/// The names in a header, none of them twice: which of two another program would take is unknown.
struct Names;

impl<'de> Deserialize<'de> for Names {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(Self)
    }
}

impl<'de> Visitor<'de> for Names {
    type Value = Self;

    fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str("an object of tensors by name")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self, A::Error> {
        let mut names = BTreeSet::new();
        while let Some(name) = map.next_key::<String>()? {
            if name == METADATA {
                map.next_value::<IgnoredAny>()?;
            } else {
                map.next_value::<Entry>()?;
            }
            if names.len() == TENSORS_MAX {
                let reason = format!("more than the {TENSORS_MAX} tensors read");
                return Err(serde::de::Error::custom(reason));
            }
            if let Some(twice) = names.replace(name) {
                return Err(serde::de::Error::custom(format!("'{twice}' stands there twice")));
            }
        }
        Ok(self)
    }
}

/// A tensor's entry in a header, of few dimensions: a million of them would take fifty times the
/// header's size.
struct Entry;

impl<'de> Deserialize<'de> for Entry {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(Self)
    }
}

impl<'de> Visitor<'de> for Entry {
    type Value = Self;

    fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str("a tensor's type, shape and place")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self, A::Error> {
        while let Some(key) = map.next_key::<String>()? {
            if key == "shape" {
                map.next_value::<Dimensions>()?;
            } else {
                map.next_value::<IgnoredAny>()?;
            }
        }
        Ok(self)
    }
}

/// A shape.
struct Dimensions;

impl<'de> Deserialize<'de> for Dimensions {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_seq(Self)
    }
}

impl<'de> Visitor<'de> for Dimensions {
    type Value = Self;

    fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str("a shape")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut sizes: A) -> Result<Self, A::Error> {
        for _ in 0..=DIMENSIONS_MAX {
            if sizes.next_element::<IgnoredAny>()?.is_none() {
                return Ok(self);
            }
        }
        let reason = format!("a tensor of more than {DIMENSIONS_MAX} dimensions");
        Err(serde::de::Error::custom(reason))
    }
}

/// The next tensor of the file, whose header agreed that its shape takes these bytes of it.
fn tensor(file: &mut dyn Read, name: String, info: &TensorInfo) -> Result<Array, Fault> {
    let kind = match info.dtype {
        Dtype::F32 => Kind::F32,
        Dtype::F16 => Kind::F16,
        Dtype::BF16 => Kind::Bf16,
        other => {
            let reason = format!("tensor {name} is {other:?}: only F32, F16 and BF16 are read");
            return Err(Fault::Malformed(reason));
        }
    };
    match values::read(file, kind, info.shape.iter().product()) {
        Ok(values) => Ok(Array { name, shape: info.shape.clone(), values }),
        Err(ValuesError::Io(error)) => Err(error.into()),
        Err(ValuesError::NotFinite(found)) => {
            Err(Fault::Malformed(format!("tensor {name} {found}")))
        }
    }
}

fn with_checksum(array: Array) -> Checked {
    let crc = checksum(&array.name, &array);
    Checked { array, crc }
}

/// CRC-32 of the array's name in the file, its shape and values.
pub(crate) fn checksum(name: &str, array: &Array) -> crc32fast::Hasher {
    let mut crc = crc32fast::Hasher::new();
    crc.update(name.as_bytes());
    crc.update(format!("{:?}", array.shape).as_bytes());
    crc.update(bytemuck::cast_slice(&array.values));
    crc
}
