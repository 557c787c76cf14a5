//! Batches made ahead of the network, by a few threads, in order.
//!
//! All threads work on one batch, each on one image after another, which it decodes and varies
//! straight into its place. So the first batch is ready as soon as all threads together can make
//! it; memory is bounded by [`BATCHES_AHEAD`] batches and one decoded image a thread. An image that
//! cannot be read ends no epoch: [`Unreadable`]. A machine that cannot read does.
//! Threads without work sleep. What a batch holds does not depend on how many there are.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, Builder, JoinHandle};
use std::time::Instant;

use crossbeam_channel::{Receiver, Sender, unbounded};
use rand::RngExt;
use rand::seq::SliceRandom;

use crate::augment::{Augment, SampleKey};
use crate::error::DataError;
use crate::pictures::{Pictures, Pixels, Place};
use crate::preprocess::Preprocess;
use crate::random::{Purpose, generator};
use crate::sample::{Reader, Sample};

/// So many batches are being made or wait for the network.
pub const BATCHES_AHEAD: usize = 3;

/// So many other images are tried in an unreadable one's place.
const REPLACEMENTS_MAX: u64 = 16;

/// What becomes of an image that cannot be read or decoded, where that is the image's fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unreadable {
    /// Another is shown in its place, the same whoever makes the batch: training. An epoch with
    /// more than `budget` of them is an error.
    Replace {
        /// The most in one epoch.
        budget: u64,
    },
    /// A blank one stands in its place and it is named in [`Batch::unreadable`]: evaluation, where
    /// it counts as wrong.
    Blank,
}

/// How many unreadable images an epoch of `images` may have unless told: 10, or one in 10,000.
#[must_use]
pub fn unreadable_budget(images: usize) -> u64 {
    (images as u64 / 10_000).max(10)
}

/// One image that could not be read.
#[derive(Debug)]
pub struct UnreadableImage {
    /// Its place in the batch.
    pub slot: usize,
    /// Its index in the split.
    pub sample: usize,
    /// The index of the one shown instead.
    pub replacement: Option<usize>,
    /// Why; names the file.
    pub error: DataError,
}

/// The order in which an epoch shows the samples.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// As in the split.
    Sequential,
    /// Shuffled anew in each epoch, by the seed and the epoch alone.
    Shuffled,
}

/// How batches are made.
#[derive(Clone, Debug, PartialEq)]
pub struct LoaderConfig {
    /// Images in a batch, at least 1; the last of an epoch may have fewer.
    pub batch_size: usize,
    /// Threads beside the caller's; with 0 the caller's own does the work.
    pub workers: usize,
    /// The run's seed.
    pub seed: u64,
    /// How each image is varied.
    pub augment: Augment,
    /// What becomes of one that cannot be read.
    pub unreadable: Unreadable,
    /// How each image is resized, cropped and normalised.
    pub preprocess: Preprocess,
    /// The order of the samples.
    pub order: Order,
}

/// N images and what they show.
#[derive(Debug, Default)]
pub struct Batch {
    /// (N, views, crop, crop, 3): [`crate::View::count`] views.
    pub images: Pictures,
    /// (N), indices into the classes.
    pub labels: Vec<u32>,
    /// (N), indices into the split.
    pub samples: Vec<usize>,
    /// Those that could not be read, by slot.
    pub unreadable: Vec<UnreadableImage>,
}

impl Batch {
    /// N, the number of images.
    #[must_use]
    pub fn len(&self) -> usize {
        self.labels.len()
    }

    /// Whether there is no image.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.labels.is_empty()
    }
}

/// Makes batches of a split's samples, epoch after epoch.
#[derive(Clone, Debug)]
pub struct Loader {
    samples: Arc<[Sample]>,
    config: Arc<LoaderConfig>,
    pixels: Pixels,
    /// Batches whose memory is used again.
    spare: Arc<Mutex<Vec<Batch>>>,
}

impl Loader {
    /// A loader of `samples`, a `Vec<Sample>` or one shared with others.
    ///
    /// # Errors
    /// As [`Augment::check`], since settings may come from a file.
    ///
    /// # Panics
    /// If `batch_size` is 0.
    pub fn new(
        samples: impl Into<Arc<[Sample]>>,
        config: LoaderConfig,
    ) -> Result<Loader, DataError> {
        assert!(config.batch_size > 0, "a batch has at least one image");
        config.augment.check(&config.preprocess)?;
        Ok(Loader {
            samples: samples.into(),
            config: Arc::new(config),
            pixels: Pixels::Values,
            spare: Arc::default(),
        })
    }

    /// The same loader, which uses the memory of `other`'s batches again, and `other` its.
    #[must_use]
    pub fn sharing_memory(self, other: &Loader) -> Loader {
        Loader { spare: Arc::clone(&other.spare), ..self }
    }

    /// The same loader, where this becomes of images that cannot be read.
    #[must_use]
    pub fn with_unreadable(self, unreadable: Unreadable) -> Loader {
        let config = LoaderConfig { unreadable, ..(*self.config).clone() };
        Loader { config: Arc::new(config), ..self }
    }

    /// The same loader, whose batches hold their pixels so, in place of [`Pixels::Values`]. A mean
    /// image has a mean for each pixel: where there is one, batches hold values all the same.
    #[must_use]
    pub fn with_pixels(self, pixels: Pixels) -> Loader {
        let as_values = self.config.preprocess.mean_image.is_some();
        Loader { pixels: if as_values { Pixels::Values } else { pixels }, ..self }
    }

    /// As what batches hold their pixels.
    #[must_use]
    pub fn pixels(&self) -> Pixels {
        self.pixels
    }

    /// Seconds in which one thread makes a batch, measured with the first of an epoch. Images that
    /// cannot be read are named when their turn comes, not here.
    #[must_use]
    pub fn batch_seconds(&self) -> f64 {
        let config = LoaderConfig { workers: 0, ..(*self.config).clone() };
        let alone = Loader { config: Arc::new(config), ..self.clone() };
        let mut epoch = alone.epoch(0, 0);
        let begin = Instant::now();
        let made = epoch.next_batch();
        let seconds = begin.elapsed().as_secs_f64();
        if let Some(Ok(batch)) = made {
            epoch.recycle(batch);
        }
        seconds
    }

    /// Images in a batch; the last of an epoch may have fewer.
    #[must_use]
    pub fn batch_size(&self) -> usize {
        self.config.batch_size
    }

    /// How many batches an epoch has.
    #[must_use]
    pub fn batches(&self) -> usize {
        self.samples.len().div_ceil(self.config.batch_size)
    }

    /// How many pictures each image becomes.
    #[must_use]
    pub fn views(&self) -> usize {
        self.config.augment.view.count()
    }

    /// Starts an epoch at its batch `first_batch`, 0 unless a run is resumed; its threads begin
    /// at once.
    #[must_use]
    pub fn epoch(&self, epoch: u64, first_batch: usize) -> Epoch {
        let source = Source { loader: self.clone(), epoch };
        let ahead = if self.config.workers > 0 { Ahead::new(&source) } else { None };
        let order = self.order(epoch);
        let mut epoch =
            Epoch { source, order, next_batch: first_batch, ahead, begun: 0, unreadable: 0 };
        epoch.make_ahead();
        epoch
    }

    /// The samples of an epoch, as indices into the split, in the order they are shown.
    #[must_use]
    pub fn order(&self, epoch: u64) -> Vec<usize> {
        let mut order: Vec<usize> = (0..self.samples.len()).collect();
        if self.config.order == Order::Shuffled {
            order.shuffle(&mut generator(self.config.seed, Purpose::Order, epoch, 0));
        }
        order
    }
}

/// One pass over the samples. Dropping it early ends its threads.
pub struct Epoch {
    source: Source,
    /// Indices into the split, in the order they are shown.
    order: Vec<usize>,
    /// The first batch that has not been begun.
    next_batch: usize,
    /// `None` if the caller's thread does the work.
    ahead: Option<Ahead>,
    /// How many batches are being made or wait.
    begun: usize,
    /// How many images so far could not be read.
    unreadable: u64,
}

impl Epoch {
    /// The next batch, or `None` at the end of the epoch. Waits if it is not ready.
    ///
    /// # Errors
    /// More unreadable images than [`Unreadable`] allows, or none readable in one's place; a machine
    /// that cannot read.
    pub fn next_batch(&mut self) -> Option<Result<Batch, DataError>> {
        let made = match &self.ahead {
            None => {
                let (first, batch) = self.begin_batch()?;
                self.source.fill(first, batch, &AtomicBool::new(false))
            }
            Some(_) if self.begun == 0 => return None,
            Some(ahead) => {
                let lost = || DataError::Worker { doing: "a batch".into() };
                let made = ahead.made.recv().unwrap_or_else(|_| Err(lost()));
                self.begun -= 1;
                self.make_ahead();
                made
            }
        };
        Some(made.and_then(|batch| self.within_budget(batch)))
    }

    fn within_budget(&mut self, batch: Batch) -> Result<Batch, DataError> {
        self.unreadable += batch.unreadable.len() as u64;
        match self.source.loader.config.unreadable {
            Unreadable::Replace { budget } if self.unreadable > budget => {
                let last = batch.unreadable.into_iter().next_back().map(|image| image.error);
                Err(DataError::TooManyUnreadable { budget, last: last.map(Box::new) })
            }
            _ => Ok(batch),
        }
    }

    /// Gives a batch's memory back for a later one.
    pub fn recycle(&mut self, batch: Batch) {
        locked(&self.source.loader.spare).push(batch);
    }

    fn make_ahead(&mut self) {
        while self.ahead.is_some() && self.begun < BATCHES_AHEAD {
            let Some((first, batch)) = self.begin_batch() else { break };
            self.begun += 1;
            if let Some(ahead) = &self.ahead {
                ahead.order(first, batch);
            }
        }
    }

    /// The next batch with its labels, its images yet to be made, and the place of its first image
    /// in the epoch.
    fn begin_batch(&mut self) -> Option<(u64, Batch)> {
        let Loader { samples, config, pixels, .. } = &self.source.loader;
        let members = self.order.chunks(config.batch_size).nth(self.next_batch)?;
        let first = (self.next_batch * config.batch_size) as u64;
        self.next_batch += 1;
        let mut batch = locked(&self.source.loader.spare).pop().unwrap_or_default();
        batch.samples.clear();
        batch.samples.extend_from_slice(members);
        batch.labels.clear();
        batch.labels.extend(members.iter().map(|&sample| samples[sample].label));
        batch.unreadable.clear();
        let (views, side) = config.picture_sizes();
        batch.images.make_room(*pixels, members.len() * views, side);
        Some((first, batch))
    }
}

/// What an image of this epoch is made from.
#[derive(Clone)]
struct Source {
    loader: Loader,
    epoch: u64,
}

impl LoaderConfig {
    /// Views of one image, and the side of each.
    fn picture_sizes(&self) -> (usize, usize) {
        (self.augment.view.count(), self.preprocess.crop as usize)
    }
}

/// Why a slot does not show the image that belongs there.
enum MakeError {
    /// What is shown instead: another image, or a blank one.
    Shown(Option<usize>, DataError),
    /// No image that can be read was found, or this machine can read none.
    Lost(DataError),
}

impl Source {
    /// One image, (views, crop, crop, 3), or what the loader's settings have shown in its place.
    fn make(
        &self,
        reader: &mut Reader,
        sample: usize,
        position: u64,
        mut place: Place<'_>,
    ) -> Result<(), MakeError> {
        let made = self.try_make(reader, sample, position, place.lend());
        let Err(error) = made else { return Ok(()) };
        match self.loader.config.unreadable {
            _ if error.is_of_the_machine() => Err(MakeError::Lost(error)),
            Unreadable::Blank => {
                place.blank(self.loader.config.preprocess.crop as usize);
                Err(MakeError::Shown(None, error))
            }
            Unreadable::Replace { .. } => Err(self.replace(reader, sample, position, error, place)),
        }
    }

    /// Shows another image: which, seed, epoch and sample decide.
    fn replace(
        &self,
        reader: &mut Reader,
        sample: usize,
        position: u64,
        error: DataError,
        mut place: Place<'_>,
    ) -> MakeError {
        let seed = self.loader.config.seed;
        let mut random = generator(seed, Purpose::Replacement, self.epoch, sample as u64);
        for _ in 0..REPLACEMENTS_MAX {
            let other = random.random_range(0..self.loader.samples.len());
            match self.try_make(reader, other, position, place.lend()) {
                Ok(()) => return MakeError::Shown(Some(other), error),
                Err(other) if other.is_of_the_machine() => return MakeError::Lost(other),
                Err(_) => {}
            }
        }
        MakeError::Lost(error)
    }

    fn try_make(
        &self,
        reader: &mut Reader,
        sample: usize,
        position: u64,
        place: Place<'_>,
    ) -> Result<(), DataError> {
        let Loader { samples, config, .. } = &self.loader;
        let (seed, epoch) = (config.seed, self.epoch);
        let key = SampleKey { seed, epoch, sample: sample as u64, position };
        // The decoders' panics are caught, and their file named, in `decode`; this is for our own.
        let made = catch_unwind(AssertUnwindSafe(|| {
            let image = reader.read(&samples[sample].content)?;
            let applied = config.augment.fill(&image, &config.preprocess, key, place);
            reader.recycle(image);
            Ok(applied?)
        }));
        made.unwrap_or_else(|_| Err(DataError::Worker { doing: format!("image {sample}") }))
    }

    /// Makes all images of a batch, unless told to stop. This thread works too.
    fn fill(&self, first: u64, mut batch: Batch, stop: &AtomicBool) -> Result<Batch, DataError> {
        let config = &self.loader.config;
        let mut images = std::mem::take(&mut batch.images);
        let (views, side) = config.picture_sizes();
        let slots = Mutex::new(images.places(views, side).enumerate());
        let failed = Mutex::new(Vec::new());
        let work = || {
            let mut reader = Reader::default();
            while !stop.load(Relaxed) {
                let Some((slot, place)) = locked(&slots).next() else { break };
                let position = first + slot as u64;
                if let Err(error) = self.make(&mut reader, batch.samples[slot], position, place) {
                    locked(&failed).push((slot, error));
                }
            }
        };
        thread::scope(|scope| {
            for index in 1..config.workers.min(batch.len()) {
                let thread = Builder::new().name(format!("loader-{index}"));
                if let Err(error) = thread.spawn_scoped(scope, work) {
                    // Those that started do the work.
                    tracing::warn!("the system allows {index} loader threads only: {error}");
                    break;
                }
            }
            work();
        });
        drop(slots);
        let mut failed = failed.into_inner().unwrap_or_else(PoisonError::into_inner);
        // So that what is said does not depend on the threads.
        failed.sort_unstable_by_key(|&(slot, _)| slot);
        for (slot, error) in failed {
            batch.record(slot, error, &self.loader.samples)?;
        }
        batch.images = images;
        Ok(batch)
    }
}

/// Nothing is half done behind a panic: what the locks guard are lists.
fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Batch {
    /// Notes what was shown in a slot.
    fn record(
        &mut self,
        slot: usize,
        made: MakeError,
        samples: &[Sample],
    ) -> Result<(), DataError> {
        match made {
            MakeError::Lost(error) => Err(error),
            MakeError::Shown(replacement, error) => {
                let sample = self.samples[slot];
                if let Some(other) = replacement {
                    self.samples[slot] = other;
                    self.labels[slot] = samples[other].label;
                }
                self.unreadable.push(UnreadableImage { slot, sample, replacement, error });
                Ok(())
            }
        }
    }
}

/// The threads that make batches ahead: one begins them and, as the others do, makes images.
struct Ahead {
    orders: Option<Sender<Begun>>,
    made: Receiver<Result<Batch, DataError>>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

/// A batch to be made, and the place of its first image in the epoch.
type Begun = (u64, Batch);

impl Ahead {
    /// `None` if the system allows no thread.
    fn new(source: &Source) -> Option<Ahead> {
        let (orders, ordered) = unbounded::<Begun>();
        let (done, made) = unbounded();
        let stop = Arc::new(AtomicBool::new(false));
        let (source, stopped) = (source.clone(), Arc::clone(&stop));
        let work = move || {
            for (first, batch) in ordered {
                let batch = source.fill(first, batch, &stopped);
                if stopped.load(Relaxed) || done.send(batch).is_err() {
                    return;
                }
            }
        };
        let thread = Builder::new().name("loader-0".into()).spawn(work);
        let warn = |error: &_| tracing::warn!("the system allows no loader thread: {error}");
        let thread = Some(thread.inspect_err(warn).ok()?);
        Some(Ahead { orders: Some(orders), made, stop, thread })
    }

    fn order(&self, first: u64, batch: Batch) {
        if let Some(orders) = &self.orders {
            // Should the thread have ended, the answer that never comes says so.
            let _ = orders.send((first, batch));
        }
    }
}

impl Drop for Ahead {
    /// Each thread ends after the image it is at.
    fn drop(&mut self) {
        self.stop.store(true, Relaxed);
        self.orders = None;
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::augment::View;

    #[test]
    fn a_panic_in_a_worker_is_an_error_and_the_thread_goes_on() {
        let preprocess = Preprocess {
            fit: crate::Fit::ShorterSide,
            resize: 2,
            crop: 1,
            mean: [0.0; 3],
            std: [1.0; 3],
            mean_image: None,
        };
        let config = LoaderConfig {
            batch_size: 1,
            workers: 1,
            seed: 0,
            augment: View::Centre.into(),
            unreadable: Unreadable::Blank,
            preprocess,
            order: Order::Sequential,
        };
        let loader = Loader::new(Vec::new(), config).unwrap().with_pixels(Pixels::Levels);
        let ahead = Ahead::new(&Source { loader, epoch: 0 }).unwrap();
        for _ in 0..3 {
            // There is no such sample: looking it up panics.
            let batch = Batch {
                images: Pictures::blank(Pixels::Levels, 1, 1),
                labels: vec![0],
                samples: vec![9],
                unreadable: Vec::new(),
            };
            ahead.order(0, batch);
            let batch = ahead.made.recv().unwrap().unwrap();
            let message = batch.unreadable[0].error.to_string();
            assert_eq!(message, "a loader thread failed while preparing image 9");
        }
    }
}
