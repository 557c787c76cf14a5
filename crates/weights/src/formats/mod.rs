//! Weights as other programs keep them, in and out.
//!
//! ```text
//! .safetensors .pth .onnx .caffemodel  --read-->  Found  --recognise-->  ModelFile
//! ModelFile  --write-->  .safetensors .pth .onnx .caffemodel
//! ```
//!
//! A reader turns a file's bytes into named arrays in the order of our own files and says what else
//! stands there; which of the six networks it is, `recognise` alone decides. Nothing a file says is
//! believed: no code in it is run, nothing is allocated before the size is checked against the file,
//! and the file is read, never mapped, so that it may change beneath us and do no harm.

mod caffe;
mod found;
mod names;
mod numbers;
mod onnx;
mod opened;
mod pytorch;
mod recognise;
#[cfg(test)]
mod tests;

use std::ffi::OsStr;
use std::fmt;
use std::fs::File;
use std::io::Read;
use std::path::Path;

use alexnet_data::{Disk, write_beside};

pub use self::onnx::OnnxOptions;
pub use self::opened::{Known, Opened};
pub use self::recognise::RecogniseError;
use crate::container::{self, WeightsError};
use crate::model_file::{Description, ModelFile};
use crate::outline::{LEFT_BYTES_MIN, Outline, OutlineError, Paths};
use crate::protobuf::{Fault, Slice};
use found::Found;

/// Bytes of a file that tell its form.
const MAGIC_BYTES: usize = 512;
/// Where a tar archive says that it is one.
const TAR_MAGIC_OFFSET: usize = 257;
/// Largest file of protobuf's, in bytes: its lengths are 32 bits with a sign.
const PROTOBUF_BYTES_MAX: u64 = i32::MAX as u64;

/// A form of weights file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// This program's own, and Hugging Face's.
    Safetensors,
    /// What `torch.save` writes.
    Pytorch,
    /// Open Neural Network Exchange.
    Onnx,
    /// BVLC's Caffe.
    Caffe,
}

impl Format {
    /// Every form.
    pub const ALL: [Self; 4] = [Self::Safetensors, Self::Pytorch, Self::Onnx, Self::Caffe];

    /// How names of such files end; the first is the usual one.
    #[must_use]
    pub fn extensions(self) -> &'static [&'static str] {
        match self {
            Self::Safetensors => &["safetensors"],
            Self::Pytorch => &["pth", "pt", "bin"],
            Self::Onnx => &["onnx"],
            Self::Caffe => &["caffemodel"],
        }
    }

    /// The form that a file's name ends for.
    #[must_use]
    pub fn of_name(path: &Path) -> Option<Self> {
        let extension = path.extension().and_then(OsStr::to_str)?.to_ascii_lowercase();
        Self::ALL.into_iter().find(|format| format.extensions().contains(&&*extension))
    }

    /// The form of a file that begins with these bytes and has this name. Content goes first; what
    /// is protobuf has no mark of its own, and the name tells whose.
    #[must_use]
    pub fn of_content(begin: &[u8], path: &Path) -> Option<Self> {
        let is_pickle = |first: &u8| [0x80, b'(', b'}', b']', b'c'].contains(first);
        if begin.get(8) == Some(&b'{') {
            return Some(Self::Safetensors);
        }
        let is_tar = begin.get(TAR_MAGIC_OFFSET..).is_some_and(|rest| rest.starts_with(b"ustar"));
        if begin.starts_with(b"PK") || begin.first().is_some_and(is_pickle) || is_tar {
            return Some(Self::Pytorch);
        }
        let of_name = Self::of_name(path);
        match begin.first() {
            // Field 1 of ModelProto is a number, of NetParameter a text.
            Some(0x08) => Some(Self::Onnx),
            Some(0x0a) => of_name.or(Some(Self::Caffe)),
            _ => of_name,
        }
    }
}

impl fmt::Display for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Safetensors => "safetensors",
            Self::Pytorch => "PyTorch",
            Self::Onnx => "ONNX",
            Self::Caffe => "Caffe",
        })
    }
}

/// Reads weights of any form. What the file does not say itself, `known` says; what neither says is
/// as the network's makers had it.
///
/// # Errors
/// When the file is unreadable, malformed, or not of one of the six networks.
pub fn open(path: &Path, known: &Known) -> Result<Opened, WeightsError> {
    let unreadable = |reason| WeightsError::Io { action: "read", path: path.into(), reason };
    let mut begin = Vec::with_capacity(MAGIC_BYTES);
    let file = File::open(path).map_err(unreadable)?;
    file.take(MAGIC_BYTES as u64).read_to_end(&mut begin).map_err(unreadable)?;
    let format = Format::of_content(&begin, path).ok_or_else(|| {
        let reason = "it is none of safetensors, PyTorch, ONNX and Caffe".to_owned();
        WeightsError::Malformed { path: path.into(), reason }
    })?;
    let found = match format {
        Format::Safetensors => safetensors(path)?,
        Format::Pytorch => pytorch::read(path)?,
        Format::Onnx => protobuf(path, onnx::NUMBERS, onnx::read)?,
        Format::Caffe => protobuf(path, caffe::NUMBERS, caffe::read)?,
    };
    opened::complete(path, format, found, known)
}

/// Writes `file` in a form, whole or not at all.
///
/// # Errors
/// When the system refuses or the form has no place for such a network.
pub fn save(
    file: &ModelFile,
    path: &Path,
    format: Format,
    options: OnnxOptions,
) -> Result<(), WeightsError> {
    let failed = |reason| WeightsError::Io { action: "write", path: path.into(), reason };
    match format {
        Format::Safetensors => file.save(path),
        Format::Pytorch => write_beside(path, |out| pytorch::write(file, out)).map_err(failed),
        Format::Onnx => write_beside(path, |out| onnx::write(file, options, out)).map_err(failed),
        Format::Caffe => write_beside(path, |out| caffe::write(file, out)).map_err(failed),
    }
}

/// Writes the mean image of `file` as Caffe keeps it, if it has one; whether it has.
///
/// # Errors
/// When the system refuses.
pub fn save_mean_image(file: &ModelFile, path: &Path) -> Result<bool, WeightsError> {
    let Some(mean) = &file.preprocess.mean_image else { return Ok(false) };
    let side = file.preprocess.resize as usize;
    write_beside(path, |out| caffe::write_mean(side, &mean.levels, out))
        .map_err(|reason| WeightsError::Io { action: "write", path: path.into(), reason })?;
    Ok(true)
}

fn safetensors(path: &Path) -> Result<Found, WeightsError> {
    let (arrays, description) = container::read_any(&Disk, path)?;
    if let Some(description) = description {
        let description = Some(Description::parse(path, &description)?);
        return Ok(Found { arrays, description, ..Found::default() });
    }
    let names = arrays.iter().map(|array| &*array.name);
    let Some(prefix) = names::prefix(names).map(str::to_owned) else {
        let reason = format!("none of its {} tensors is AlexNet's", arrays.len());
        return Err(WeightsError::Malformed { path: path.into(), reason });
    };
    let own = |mut array: alexnet_network::Array| {
        array.name = names::own(&array.name, &prefix)?.to_owned();
        Some(array)
    };
    Ok(Found { arrays: arrays.into_iter().filter_map(own).collect(), ..Found::default() })
}

/// Reads a file of protobuf's, in which the lists of numbers at `paths` stay until they are asked for.
fn protobuf<T>(
    path: &Path,
    paths: &Paths,
    read: impl FnOnce(Slice) -> Result<T, Fault>,
) -> Result<T, WeightsError> {
    let failed = |reason| WeightsError::Io { action: "read", path: path.into(), reason };
    let malformed = |reason: String| WeightsError::Malformed { path: path.into(), reason };
    let file = File::open(path).map_err(failed)?;
    let len = file.metadata().map_err(failed)?.len();
    if len > PROTOBUF_BYTES_MAX {
        let reason = format!("it has {len} bytes, protobuf's files at most {PROTOBUF_BYTES_MAX}");
        return Err(malformed(reason));
    }
    let outline = Outline::read(file, len, paths, LEFT_BYTES_MIN).map_err(|error| match error {
        OutlineError::Io(reason) => failed(reason),
        OutlineError::Fault(fault) => malformed(fault.to_string()),
    })?;
    read(outline.slice()).map_err(|fault| malformed(fault.to_string()))
}
