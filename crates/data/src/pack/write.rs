//! Packing: shard by shard, each whole or not there.
//!
//! A shard is written under another name, brought to the disk, and only then given its own: first
//! the tar, then its index, which therefore says that the tar is whole. A run that was ended at any
//! moment is taken up where it was.

use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use super::index::to_csv;
use super::store::{Stored, UNREADABLE, preprocess, store};
use super::{
    Encoding, FORMAT, MANIFEST, Manifest, PLAN, PackSettings, Row, Shard, VERSION, read_index,
};
use crate::dataset::Dataset;
use crate::error::DataError;
use crate::parallel::{Progress, gather};
use crate::sample::Sample;
use crate::whole_file::{clear_unfinished, write_beside};

/// A tar consists of blocks of so many bytes.
const BLOCK_BYTES: u64 = 512;
/// Bytes gathered before they are handed to the system.
const BUFFER_BYTES: usize = 1 << 20;

/// What packing came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PackOutcome {
    /// Training images.
    pub train: usize,
    /// Images to measure with.
    pub val: usize,
    /// Shards that were there already.
    pub reused_shards: usize,
    /// Bytes of all tars.
    pub bytes: u64,
    /// Images that could not be decoded, stored as they were.
    pub unreadable: Vec<String>,
}

/// Packs `dataset` into the folder `out`, by `workers` threads; continues what an earlier run with
/// the same images and settings left. `progress` counts shards.
///
/// # Errors
/// A folder that holds something else, settings that no image can satisfy, an image file that
/// cannot be read at all (one that is merely damaged is stored as it is), a full disk, or a request
/// to stop.
pub fn pack(
    dataset: &Dataset,
    settings: PackSettings,
    out: &Path,
    workers: usize,
    progress: Progress,
) -> Result<PackOutcome, DataError> {
    let plan = plan(dataset, settings)?;
    begin(out, &plan)?;
    let shards = shards(dataset, settings.shard_images);
    let failed = AtomicBool::new(false);
    let add = |done: &mut Vec<Packed>, index: usize, shard: &Planned| {
        if failed.load(Ordering::Relaxed) {
            return;
        }
        let packed = pack_shard(out, settings, shard);
        failed.fetch_or(packed.is_err(), Ordering::Relaxed);
        done.push((index, packed));
    };
    let parts =
        gather(&shards, workers, Vec::new, add, progress).ok_or(DataError::StoppedReading)?;
    let mut packed: Vec<Packed> = parts.into_iter().flatten().collect();
    packed.sort_unstable_by_key(|&(index, _)| index);
    let packed: Vec<Done> = packed.into_iter().map(|(_, done)| done).collect::<Result<_, _>>()?;
    finish(out, plan, &shards, packed)
}

/// How many shards [`pack`] will make.
#[must_use]
pub fn shard_count(dataset: &Dataset, shard_images: usize) -> usize {
    shards(dataset, shard_images).len()
}

/// One shard to be made.
struct Planned<'a> {
    name: String,
    is_train: bool,
    /// The first image's place in the split.
    first: usize,
    samples: &'a [Sample],
}

/// One shard made.
struct Done {
    shard: Shard,
    unreadable: Vec<String>,
    reused: bool,
}

type Packed = (usize, Result<Done, DataError>);

fn shards(dataset: &Dataset, shard_images: usize) -> Vec<Planned<'_>> {
    let mut shards = Vec::new();
    for (split, is_train, source) in [("train", true, &dataset.train), ("val", false, &dataset.val)]
    {
        for (number, samples) in source.samples.chunks(shard_images).enumerate() {
            let (name, first) = (format!("{split}-{number:06}"), number * shard_images);
            shards.push(Planned { name, is_train, first, samples });
        }
    }
    shards
}

/// The manifest before any shard is made.
fn plan(dataset: &Dataset, settings: PackSettings) -> Result<Manifest, DataError> {
    if let Some(size) = settings.size {
        preprocess(size).check()?;
    }
    if settings.size.is_some() && settings.encoding == Encoding::Original {
        return Err(DataError::PackSettings);
    }
    let [train, val] = [&dataset.train, &dataset.val].map(|it| it.fingerprint(&dataset.classes));
    Ok(Manifest {
        format: FORMAT.into(),
        version: VERSION,
        source: format!("{train:08x}{val:08x}"),
        settings,
        classes: dataset.classes.clone(),
        train: Vec::new(),
        val: Vec::new(),
        unreadable: Vec::new(),
    })
}

/// Makes the folder, or sees that what is in it is the beginning of the same.
fn begin(out: &Path, plan: &Manifest) -> Result<(), DataError> {
    fs::create_dir_all(out).map_err(DataError::io("create", out))?;
    let file = out.join(PLAN);
    if file.is_file() {
        let text = fs::read(&file).map_err(DataError::io("read", &file))?;
        let begun: Option<Manifest> = serde_json::from_slice(&text).ok();
        return match begun {
            Some(begun) if begun == *plan => {
                clear_unfinished(out).map_err(DataError::io("clear", out))
            }
            _ => Err(DataError::OtherPack { path: out.to_path_buf() }),
        };
    }
    let mut entries = fs::read_dir(out).map_err(DataError::io("read", out))?;
    if entries.next().is_some() {
        return Err(DataError::NotEmpty { path: out.to_path_buf() });
    }
    write_whole(&file, &to_json(plan))
}

/// Names the set whole.
fn finish(
    out: &Path,
    plan: Manifest,
    shards: &[Planned],
    packed: Vec<Done>,
) -> Result<PackOutcome, DataError> {
    let reused_shards = packed.iter().filter(|done| done.reused).count();
    let mut manifest = plan;
    for (planned, done) in shards.iter().zip(packed) {
        let split = if planned.is_train { &mut manifest.train } else { &mut manifest.val };
        split.push(done.shard);
        manifest.unreadable.extend(done.unreadable);
    }
    let classes: String = manifest.classes.iter().map(|class| format!("{class}\n")).collect();
    write_whole(&out.join("classes.txt"), classes.as_bytes())?;
    write_whole(&out.join(MANIFEST), &to_json(&manifest))?;
    let plan = out.join(PLAN);
    fs::remove_file(&plan).map_err(DataError::io("remove", &plan))?;
    let images = |shards: &[Shard]| shards.iter().map(|shard| shard.images).sum();
    Ok(PackOutcome {
        train: images(&manifest.train),
        val: images(&manifest.val),
        reused_shards,
        bytes: manifest.train.iter().chain(&manifest.val).map(|shard| shard.bytes).sum(),
        unreadable: manifest.unreadable,
    })
}

fn to_json(manifest: &Manifest) -> Vec<u8> {
    // Strings, numbers and lists always have a form in JSON.
    serde_json::to_vec_pretty(manifest).unwrap_or_default()
}

fn pack_shard(out: &Path, settings: PackSettings, planned: &Planned) -> Result<Done, DataError> {
    let (tar_path, index_path) =
        (out.join(format!("{}.tar", planned.name)), out.join(format!("{}.csv", planned.name)));
    if let Some(done) = existing(&tar_path, &index_path, planned) {
        return Ok(done);
    }
    let filled = write_beside(&tar_path, |file| write_tar(file, settings, planned));
    let (rows, bytes) = filled.map_err(|error| match error {
        TarError::Image(error) => error,
        TarError::Write(reason) => DataError::io("write", &tar_path)(reason),
    })?;
    let index = to_csv(&rows).map_err(|error| {
        DataError::io("write", &index_path)(io::Error::other(error.to_string()))
    })?;
    write_whole(&index_path, &index)?;
    let (name, images) = (planned.name.clone(), rows.len());
    let shard = Shard { name, images, bytes, index_crc32: crc32fast::hash(&index) };
    Ok(Done { shard, unreadable: unreadable(&rows), reused: false })
}

/// What kept a tar from being written.
enum TarError {
    Image(DataError),
    Write(io::Error),
}

impl From<DataError> for TarError {
    fn from(error: DataError) -> Self {
        Self::Image(error)
    }
}

impl From<io::Error> for TarError {
    fn from(error: io::Error) -> Self {
        Self::Write(error)
    }
}

/// Writes the images of a shard; returns its index and its length.
fn write_tar(
    file: &mut File,
    settings: PackSettings,
    planned: &Planned,
) -> Result<(Vec<Row>, u64), TarError> {
    let mut tar = Tar::new(BufWriter::with_capacity(BUFFER_BYTES, file));
    let mut rows = Vec::with_capacity(planned.samples.len());
    for (sample, number) in planned.samples.iter().zip(planned.first..) {
        let stored = store(sample, settings)?;
        let name = format!("{number:09}{}", stored.extension);
        let Stored { header, bytes, width, height, .. } = &stored;
        let start = tar.append(&name, &[&**header, bytes].concat())? + header.len() as u64;
        tar.append(&format!("{number:09}.cls"), sample.label.to_string().as_bytes())?;
        rows.push(Row {
            name,
            start,
            len: bytes.len() as u64,
            width: *width,
            height: *height,
            label: sample.label,
            crc32: crc32fast::hash(bytes),
            path: sample.content.path().display().to_string(),
        });
    }
    Ok((rows, tar.finish()?))
}

/// A tar on its way that knows where its members lie.
struct Tar<W: Write> {
    builder: tar::Builder<W>,
    position: u64,
}

impl<W: Write> Tar<W> {
    fn new(file: W) -> Self {
        Self { builder: tar::Builder::new(file), position: 0 }
    }

    /// Adds a file; returns the position of its first byte.
    fn append(&mut self, name: &str, bytes: &[u8]) -> io::Result<u64> {
        let mut header = tar::Header::new_ustar();
        header.set_size(bytes.len() as u64);
        header.set_mode(0o644);
        self.builder.append_data(&mut header, name, bytes)?;
        // Our names are short: each member has one header.
        let start = self.position + BLOCK_BYTES;
        self.position = start + padded(bytes.len() as u64);
        Ok(start)
    }

    /// Writes the two blocks of zeros that end a tar; returns its length.
    fn finish(self) -> io::Result<u64> {
        self.builder.into_inner()?.flush()?;
        Ok(self.position + 2 * BLOCK_BYTES)
    }
}

/// Of the images of a shard those that could not be decoded.
fn unreadable(rows: &[Row]) -> Vec<String> {
    let is_unreadable = |row: &&Row| row.name.ends_with(UNREADABLE);
    rows.iter().filter(is_unreadable).map(|row| row.path.clone()).collect()
}

fn write_whole(path: &Path, bytes: &[u8]) -> Result<(), DataError> {
    write_beside(path, |file| file.write_all(bytes)).map_err(DataError::io("write", path))
}

/// A shard that an earlier run made: its index is there, which was written after the tar.
fn existing(tar: &Path, index: &Path, planned: &Planned) -> Option<Done> {
    let (rows, index_crc32) = read_index(index).ok()?;
    let bytes = fs::metadata(tar).ok()?.len();
    let last = rows.last()?;
    // Behind the last image its class, a header and a block, and the two blocks that end a tar.
    let whole = padded(last.start.checked_add(last.len)?) + 4 * BLOCK_BYTES;
    if rows.len() != planned.samples.len() || bytes != whole {
        return None;
    }
    let shard = Shard { name: planned.name.clone(), images: rows.len(), bytes, index_crc32 };
    Some(Done { shard, unreadable: unreadable(&rows), reused: true })
}

/// Rounded up to whole blocks.
fn padded(len: u64) -> u64 {
    len.next_multiple_of(BLOCK_BYTES)
}
