//! Packing: shard by shard, each whole or not there.
//!
//! A shard is written under another name, brought to the disk, and only then given its own: first
//! the tar, then its index, which therefore says that the tar is whole. A run that was ended at any
//! moment is taken up where it was.

use std::fs;
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

use super::index::to_csv;
use super::store::{Stored, UNREADABLE, preprocess, store};
use super::{
    Encoding, FORMAT, MANIFEST, Manifest, PLAN, PackSettings, Plan, Row, Shard, VERSION, read_index,
};
use crate::begun::{Claim, begin, finish};
use crate::dataset::Dataset;
use crate::error::DataError;
use crate::parallel::{Progress, Tell, try_map};
use crate::sample::Sample;
use crate::sources::{TRAIN, VAL};
use crate::whole_file::{write_beside, write_if_changed, write_whole};

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

/// Packs `dataset` into the folder `out`, as [`PackWriter`] does.
///
/// # Errors
/// As [`PackWriter::begin`] and [`PackWriter::run`].
pub fn pack(
    dataset: &Dataset,
    settings: PackSettings,
    out: &Path,
    workers: usize,
    progress: Progress,
) -> Result<PackOutcome, DataError> {
    PackWriter::begin(dataset, settings, out)?.run(workers, progress)
}

/// A data set on its way into a folder.
pub struct PackWriter<'a> {
    out: PathBuf,
    plan: Plan,
    shards: Vec<Planned<'a>>,
    _claim: Claim,
}

impl<'a> PackWriter<'a> {
    /// Makes the folder `out`, or takes up what an earlier run with the same images and settings
    /// left in it.
    ///
    /// # Errors
    /// A folder that holds something else, or settings that no image can satisfy.
    pub fn begin(
        dataset: &'a Dataset,
        settings: PackSettings,
        out: &Path,
    ) -> Result<Self, DataError> {
        let plan = plan(dataset, settings)?;
        let claim = begin(out, PLAN, MANIFEST, &plan)?;
        let shards = shards(dataset, settings.shard_images);
        Ok(Self { out: out.to_path_buf(), plan, shards, _claim: claim })
    }

    /// How many shards there will be.
    #[must_use]
    pub fn shards(&self) -> usize {
        self.shards.len()
    }

    /// Writes what is not there yet by `workers` threads. `progress` counts shards, and is asked before
    /// each image whether to go on.
    ///
    /// # Errors
    /// An image file that cannot be read at all (one that is merely damaged is stored as it is), a
    /// full disk, or a request to stop.
    pub fn run(self, workers: usize, progress: Progress) -> Result<PackOutcome, DataError> {
        let work =
            |shard: &Planned, tell: Tell| pack_shard(&self.out, self.plan.settings, shard, tell);
        let packed = try_map(&self.shards, workers, work, progress)?;
        self.finish(packed)
    }

    /// Names the set whole.
    fn finish(self, packed: Vec<Done>) -> Result<PackOutcome, DataError> {
        let reused_shards = packed.iter().filter(|done| done.reused).count();
        let Plan { format, version, source, settings, classes } = self.plan;
        let (train, val, unreadable) = (Vec::new(), Vec::new(), Vec::new());
        let mut manifest =
            Manifest { format, version, source, settings, classes, train, val, unreadable };
        for (planned, done) in self.shards.iter().zip(packed) {
            let split = if planned.is_train { &mut manifest.train } else { &mut manifest.val };
            split.push(done.shard);
            manifest.unreadable.extend(done.unreadable);
        }
        let classes: String = manifest.classes.iter().map(|class| format!("{class}\n")).collect();
        write_if_changed(&self.out.join("classes.txt"), classes.as_bytes())?;
        finish(&self.out, PLAN, MANIFEST, &manifest)?;
        let images = |shards: &[Shard]| shards.iter().map(|shard| shard.images).sum();
        Ok(PackOutcome {
            train: images(&manifest.train),
            val: images(&manifest.val),
            reused_shards,
            bytes: manifest.train.iter().chain(&manifest.val).map(|shard| shard.bytes).sum(),
            unreadable: manifest.unreadable,
        })
    }
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

fn shards(dataset: &Dataset, shard_images: usize) -> Vec<Planned<'_>> {
    let mut shards = Vec::new();
    for (split, is_train, source) in [(TRAIN, true, &dataset.train), (VAL, false, &dataset.val)] {
        for (number, samples) in source.samples.chunks(shard_images).enumerate() {
            let (name, first) = (format!("{split}-{number:06}"), number * shard_images);
            shards.push(Planned { name, is_train, first, samples });
        }
    }
    shards
}

/// The manifest before any shard is made.
fn plan(dataset: &Dataset, settings: PackSettings) -> Result<Plan, DataError> {
    if let Some(size) = settings.size {
        preprocess(size).check()?;
    }
    if settings.size.is_some() && settings.encoding == Encoding::Original {
        return Err(DataError::PackSettings);
    }
    Ok(Plan {
        format: FORMAT.into(),
        version: VERSION,
        source: dataset.fingerprint(),
        settings,
        classes: dataset.classes.clone(),
    })
}

fn pack_shard(
    out: &Path,
    settings: PackSettings,
    planned: &Planned,
    tell: Tell,
) -> Result<Done, DataError> {
    let (tar_path, index_path) =
        (out.join(format!("{}.tar", planned.name)), out.join(format!("{}.csv", planned.name)));
    if let Some(done) = existing(&tar_path, &index_path, planned) {
        return Ok(done);
    }
    let filled = write_beside(&tar_path, |file| write_tar(file, settings, planned, tell));
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
    file: &mut dyn Write,
    settings: PackSettings,
    planned: &Planned,
    tell: Tell,
) -> Result<(Vec<Row>, u64), TarError> {
    let mut tar = Tar::new(BufWriter::with_capacity(BUFFER_BYTES, file));
    let mut rows = Vec::with_capacity(planned.samples.len());
    for (sample, number) in planned.samples.iter().zip(planned.first..) {
        if !tell(0) {
            return Err(TarError::Image(DataError::StoppedReading));
        }
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
