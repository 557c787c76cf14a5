//! A checkpoint becomes named arrays.

use std::cmp::Reverse;
use std::fs::File;
use std::io::{self, BufReader, Read, Seek, SeekFrom};
use std::path::Path;

use alexnet_network::Array;
use pytorch_reader::{DType, PytorchError, PytorchReader, Tensor};
use zip::{CompressionMethod, ZipArchive};

use super::DESCRIPTION_ENTRY;
use super::weigh::{weigh, weigh_old};
use crate::container::WeightsError;
use crate::formats::found::Found;
use crate::formats::names;
use crate::model_file::Description;
use crate::parallel::try_map;
use crate::stream::{FILE_BYTES_MAX, HEADER_BYTES_MAX, TENSORS_MAX};
use crate::values::{self, Kind, ValuesError};

/// How an archive begins.
const ZIP_MAGIC: [u8; 4] = *b"PK\x03\x04";
/// What all records of an archive begin with.
const ARCHIVE: &[u8] = b"PK";
/// How a tar archive's first header says what it is, and where that ends.
const TAR_MAGIC: &[u8] = b"ustar";
const BEGIN_BYTES: u64 = 262;
/// The pickle in an archive.
const PICKLE_ENTRY: &str = "data.pkl";
/// Most entries in an archive.
const ENTRIES_MAX: usize = 2 * TENSORS_MAX;
/// How an archive ends, without a comment: magic, numbers, among them that of entries.
const ARCHIVE_END_BYTES: usize = 22;
const ARCHIVE_END_MAGIC: [u8; 4] = *b"PK\x05\x06";

/// What a checkpoint says: the tensors of its network, and no others it may hold.
///
/// # Errors
/// When it is unreadable, malformed, not one `torch.save` writes, without a network of this kind, or
/// holds a value that is no number.
pub(crate) fn read(path: &Path) -> Result<Found, WeightsError> {
    let malformed = |reason: String| WeightsError::Malformed { path: path.into(), reason };
    let unreadable = |reason| WeightsError::Io { action: "read", path: path.into(), reason };
    let len = path.metadata().map_err(unreadable)?.len();
    if len > FILE_BYTES_MAX {
        return Err(malformed(format!("it has {len} bytes, the most read are {FILE_BYTES_MAX}")));
    }
    let description = description(path).map_err(malformed)?;
    let tensors = PytorchReader::new(path).map_err(|error| match error {
        PytorchError::Io(reason) if reason.raw_os_error().is_some() => unreadable(reason),
        other => malformed(other.to_string()),
    })?;
    let mut tensors: Vec<_> = tensors.into_tensors().into_iter().collect();
    tensors.sort_by(|(a, _), (b, _)| a.cmp(b));
    let prefix = names::prefix(tensors.iter().map(|(name, _)| &**name)).ok_or_else(|| {
        let few: Vec<_> = tensors.iter().take(5).map(|(name, _)| &**name).collect();
        malformed(format!("none of its {} tensors is AlexNet's: {}", tensors.len(), few.join(", ")))
    })?;
    let own = tensors.iter().filter_map(|(name, tensor)| Some((names::own(name, prefix)?, tensor)));
    let mut tensors: Vec<(&str, &Tensor)> = own.collect();
    check_lengths(&tensors, len).map_err(malformed)?;
    // One tensor has most of the bytes: whoever begins with it ends last.
    tensors.sort_by_key(|(_, tensor)| Reverse(tensor.byte_len()));
    let arrays = try_map(tensors, |(name, tensor)| array(name, tensor)).map_err(malformed)?;
    Ok(Found { arrays, description, ..Found::default() })
}

/// Looks at an archive before anything in it is read, and reads what this program wrote there.
fn description(path: &Path) -> Result<Option<Description>, String> {
    let said = |error: &dyn std::error::Error| error.to_string();
    let mut file = File::open(path).map_err(|error| said(&error))?;
    let mut begin = Vec::new();
    let mut beginning = file.by_ref().take(BEGIN_BYTES);
    beginning.read_to_end(&mut begin).map_err(|error| said(&error))?;
    file.rewind().map_err(|error| said(&error))?;
    if begin.ends_with(TAR_MAGIC) {
        let way_out = "load it with PyTorch and save it again";
        return Err(format!("it is an archive as PyTorch wrote until 2016: {way_out}"));
    }
    if !begin.starts_with(ARCHIVE) {
        return weigh_old(BufReader::new(file)).map(|()| None);
    }
    if !begin.starts_with(&ZIP_MAGIC) {
        return Err("it is an archive that does not begin with an entry".to_owned());
    }
    let listed = entries_listed(&mut file).map_err(|error| said(&error))?;
    let mut archive = ZipArchive::new(BufReader::new(file)).map_err(|error| said(&error))?;
    if usize::from(listed) != archive.len() || archive.len() > ENTRIES_MAX {
        let read = archive.len();
        return Err(format!(
            "it lists {listed} entries, of which {read} differ in name: every name must stand there \
             once, at most {ENTRIES_MAX} in all"
        ));
    }
    let Some(index) = check_entries(&mut archive)? else { return Ok(None) };
    let mut text = String::new();
    let entry = archive.by_index(index).map_err(|error| said(&error))?;
    entry.take(HEADER_BYTES_MAX).read_to_string(&mut text).map_err(|error| said(&error))?;
    let described = serde_json::from_str(&text);
    described.map(Some).map_err(|error| format!("its entry {DESCRIPTION_ENTRY}: {error}"))
}

/// How many entries the archive's end says there are; PyTorch writes no comment behind it. Asked
/// here because of equal names the library keeps one and does not tell.
fn entries_listed(file: &mut File) -> io::Result<u16> {
    let mut end = [0; ARCHIVE_END_BYTES];
    file.seek(SeekFrom::End(-(ARCHIVE_END_BYTES as i64)))?;
    file.read_exact(&mut end)?;
    file.rewind()?;
    if end[..4] != ARCHIVE_END_MAGIC {
        return Err(io::Error::other("it does not end as an archive does: it may be cut off"));
    }
    Ok(u16::from_le_bytes([end[10], end[11]]))
}

/// PyTorch stores entries as they are, under one folder: what is compressed may be a thousand times
/// as large as the file, and a name that climbs is someone's trick. Gives the index of the entry that
/// this program writes.
fn check_entries(archive: &mut ZipArchive<BufReader<File>>) -> Result<Option<usize>, String> {
    let (mut pickles, mut own) = (0, None);
    for index in 0..archive.len() {
        let entry = archive.by_index_raw(index).map_err(|error| error.to_string())?;
        let name = entry.name().map_err(|error| error.to_string())?.into_owned();
        let offset = entry.header_start();
        let refused = |reason: &str| Err(format!("at byte {offset}: entry {name:?} {reason}"));
        if entry.compression() != CompressionMethod::Stored
            || entry.size() != entry.compressed_size()
        {
            return refused("is compressed: PyTorch stores what it writes");
        }
        if name.split(['/', '\\']).any(|part| part == "..") || name.starts_with('/') {
            return refused("climbs out of the archive");
        }
        let last = name.rsplit('/').next();
        // As the library looks for it, whatever the name begins with.
        if name.ends_with(PICKLE_ENTRY) {
            pickles += 1;
            if pickles > 1 || entry.size() > HEADER_BYTES_MAX {
                return refused("is a second pickle, or larger than any network's");
            }
            weigh(BufReader::new(entry)).map_err(|reason| format!("at byte {offset}: {reason}"))?;
        }
        if last == Some(DESCRIPTION_ENTRY) {
            own = Some(index);
        }
    }
    Ok(own)
}

/// Whether tensors have no more bytes than the file's `len`: a view of a few bytes may pretend to be
/// large.
fn check_lengths(tensors: &[(&str, &Tensor)], len: u64) -> Result<(), String> {
    let mut room = len;
    for (name, tensor) in tensors {
        room = room.checked_sub(tensor.byte_len() as u64).ok_or_else(|| {
            let shape = tensor.shape();
            format!("tensor {name} of shape {shape:?} has more bytes than are in the file")
        })?;
    }
    Ok(())
}

/// The values of a tensor.
fn array(name: &str, tensor: &Tensor) -> Result<Array, String> {
    let kind = match tensor.dtype() {
        DType::F64 => Kind::F64,
        DType::F32 => Kind::F32,
        DType::F16 => Kind::F16,
        DType::BF16 => Kind::Bf16,
        other => {
            let reason = "only floats of 16, 32 and 64 bits are read";
            return Err(format!("tensor {name} is {other:?}: {reason}"));
        }
    };
    let bytes = tensor.read().map_err(|error| error.to_string())?;
    match values::of_bytes(&bytes, kind) {
        Ok(values) => Ok(Array { name: name.to_owned(), shape: tensor.shape().to_vec(), values }),
        Err(ValuesError::Io(error)) => Err(format!("tensor {name}: {error}")),
        Err(ValuesError::NotFinite(found)) => Err(format!("tensor {name} {found}")),
    }
}
