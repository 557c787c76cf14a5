//! Batches made ahead of the network, by a few threads, in order.
//!
//! A job is one image: a thread decodes and varies it in a buffer of its own, then copies it to
//! its place in the batch. So the first batch is ready as soon as all threads together can make
//! it; memory is bounded by [`BATCHES_AHEAD`] batches and one decoded image a thread.
//! Threads without work sleep. What a batch holds does not depend on how many there are.

use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{Builder, JoinHandle};

use crossbeam_channel::{Receiver, Sender, bounded, unbounded};
use rand::seq::SliceRandom;

use crate::augment::{Augment, SampleKey};
use crate::error::DataError;
use crate::sample::Sample;
use crate::preprocess::Preprocess;
use crate::random::{Purpose, generator};

/// So many batches are being made or wait for the network.
pub const BATCHES_AHEAD: usize = 3;

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
    /// How each image is resized, cropped and normalised.
    pub preprocess: Preprocess,
    /// The order of the samples.
    pub order: Order,
}

/// N images and what they show.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Batch {
    /// (N, crop, crop, 3)
    pub images: Vec<f32>,
    /// (N), indices into the classes.
    pub labels: Vec<u32>,
    /// (N), indices into the split.
    pub samples: Vec<usize>,
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
}

impl Loader {
    /// A loader of `samples`, a `Vec<Sample>` or one shared with others.
    ///
    /// # Errors
    /// As [`Preprocess::check`], since its settings may come from a file.
    ///
    /// # Panics
    /// If `batch_size` is 0.
    pub fn new(
        samples: impl Into<Arc<[Sample]>>,
        config: LoaderConfig,
    ) -> Result<Loader, DataError> {
        assert!(config.batch_size > 0, "a batch has at least one image");
        config.preprocess.check()?;
        Ok(Loader { samples: samples.into(), config: Arc::new(config) })
    }

    /// How many batches an epoch has.
    #[must_use]
    pub fn batches(&self) -> usize {
        self.samples.len().div_ceil(self.config.batch_size)
    }

    /// Starts an epoch at its batch `first_batch`, 0 unless a run is resumed; its threads begin
    /// at once.
    #[must_use]
    pub fn epoch(&self, epoch: u64, first_batch: usize) -> Epoch {
        let source = Source { loader: self.clone(), epoch };
        let threads = (self.config.workers > 0).then(|| Threads::new(&source));
        let order = self.order(epoch);
        let mut epoch = Epoch {
            source,
            order,
            next_batch: first_batch,
            threads,
            ahead: VecDeque::new(),
            spare: Vec::new(),
        };
        epoch.make_ahead();
        epoch
    }

    fn order(&self, epoch: u64) -> Vec<usize> {
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
    threads: Option<Threads>,
    /// The batches that have been begun, the next one first.
    ahead: VecDeque<Receiver<Result<Batch, DataError>>>,
    /// Buffers to be used again.
    spare: Vec<Batch>,
}

impl Epoch {
    /// The next batch, or `None` at the end of the epoch. Waits if it is not ready.
    ///
    /// # Errors
    /// That of the batch's first image that could not be read or decoded.
    pub fn next_batch(&mut self) -> Option<Result<Batch, DataError>> {
        if self.threads.is_none() {
            return self.begin_batch().map(|batch| self.source.fill(batch));
        }
        let ready = self.ahead.pop_front()?;
        let lost = || DataError::Worker { doing: "a batch".into() };
        let batch = ready.recv().unwrap_or_else(|_| Err(lost()));
        self.make_ahead();
        Some(batch)
    }

    /// Gives a batch's memory back for a later one.
    pub fn recycle(&mut self, batch: Batch) {
        self.spare.push(batch);
    }

    fn make_ahead(&mut self) {
        if self.threads.is_none() {
            return;
        }
        while self.ahead.len() < BATCHES_AHEAD {
            let Some(batch) = self.begin_batch() else { break };
            if let Some(threads) = &self.threads {
                self.ahead.push_back(threads.fill(batch));
            }
        }
    }

    /// The next batch with its labels, its images yet to be made.
    fn begin_batch(&mut self) -> Option<Batch> {
        let Loader { samples, config } = &self.source.loader;
        let members = self.order.chunks(config.batch_size).nth(self.next_batch)?;
        self.next_batch += 1;
        let mut batch = self.spare.pop().unwrap_or_default();
        batch.samples.clear();
        batch.samples.extend_from_slice(members);
        batch.labels.clear();
        batch.labels.extend(members.iter().map(|&sample| samples[sample].label));
        batch.images.resize(members.len() * config.preprocess.image_len(), 0.0);
        Some(batch)
    }
}

/// What an image of this epoch is made from.
#[derive(Clone)]
struct Source {
    loader: Loader,
    epoch: u64,
}

impl Source {
    /// One image, (crop, crop, 3).
    fn make(&self, sample: usize, out: &mut [f32]) -> Result<(), DataError> {
        let Loader { samples, config } = &self.loader;
        let key = SampleKey { seed: config.seed, epoch: self.epoch, sample: sample as u64 };
        // The decoders' panics are caught, and their file named, in `decode`; this is for our own.
        let made = catch_unwind(AssertUnwindSafe(|| {
            let image = samples[sample].content.read_image()?;
            config.augment.apply(&image, &config.preprocess, key, out)?;
            Ok(())
        }));
        made.unwrap_or_else(|_| Err(DataError::Worker { doing: format!("image {sample}") }))
    }

    /// All images of a batch, on this thread.
    fn fill(&self, mut batch: Batch) -> Result<Batch, DataError> {
        let image_len = self.loader.config.preprocess.image_len();
        for (&sample, out) in batch.samples.iter().zip(batch.images.chunks_exact_mut(image_len)) {
            self.make(sample, out)?;
        }
        Ok(batch)
    }
}

/// One image to be made, and the batch it belongs to.
struct Job {
    slot: usize,
    sample: usize,
    filling: Arc<Filling>,
}

/// A batch on its way; sent off by whoever adds the last image.
struct Filling {
    state: Mutex<FillingState>,
    ready: Sender<Result<Batch, DataError>>,
}

struct FillingState {
    batch: Batch,
    left: usize,
    /// Of several errors the first slot's is kept, so that it does not depend on the threads.
    error: Option<(usize, DataError)>,
}

impl Filling {
    fn add(&self, slot: usize, image: &[f32], made: Result<(), DataError>) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        match made {
            Ok(()) => {
                let start = slot * image.len();
                state.batch.images[start..start + image.len()].copy_from_slice(image);
            }
            Err(error) => {
                if state.error.as_ref().is_none_or(|&(first, _)| slot < first) {
                    state.error = Some((slot, error));
                }
            }
        }
        state.left -= 1;
        if state.left == 0 {
            let batch = std::mem::take(&mut state.batch);
            let result = state.error.take().map_or(Ok(batch), |(_, error)| Err(error));
            // Nobody waits for it when the epoch has been dropped.
            let _ = self.ready.send(result);
        }
    }
}

/// The loader's threads, and the queue they share: at most [`BATCHES_AHEAD`] batches of jobs.
struct Threads {
    jobs: Option<Sender<Job>>,
    queue: Receiver<Job>,
    handles: Vec<JoinHandle<()>>,
}

impl Threads {
    fn new(source: &Source) -> Threads {
        let (jobs, queue) = unbounded::<Job>();
        let mut handles = Vec::new();
        for index in 0..source.loader.config.workers {
            let (source, queue) = (source.clone(), queue.clone());
            let builder = Builder::new().name(format!("loader-{index}"));
            match builder.spawn(move || work(&source, &queue)) {
                Ok(handle) => handles.push(handle),
                // Those that started do the work.
                Err(error) => {
                    tracing::warn!("the system allows {index} loader threads only: {error}");
                    break;
                }
            }
        }
        Threads { jobs: Some(jobs), queue, handles }
    }

    /// Has the batch's images made; the result arrives in the channel.
    fn fill(&self, batch: Batch) -> Receiver<Result<Batch, DataError>> {
        let (ready, receiver) = bounded(1);
        let samples = batch.samples.clone();
        let state = FillingState { left: batch.len(), batch, error: None };
        let filling = Arc::new(Filling { state: Mutex::new(state), ready });
        if self.handles.is_empty() {
            // No thread could be started: the channel closes unanswered, which is an error.
            return receiver;
        }
        for (slot, sample) in samples.into_iter().enumerate() {
            let job = Job { slot, sample, filling: Arc::clone(&filling) };
            if let Some(jobs) = &self.jobs {
                // The queue is open as long as `self` holds its other end.
                let _ = jobs.send(job);
            }
        }
        receiver
    }
}

impl Drop for Threads {
    /// Throws away the jobs not yet begun; each thread ends after the image it is at.
    fn drop(&mut self) {
        self.jobs = None;
        self.queue.try_iter().for_each(drop);
        for handle in self.handles.drain(..) {
            let _ = handle.join();
        }
    }
}

fn work(source: &Source, queue: &Receiver<Job>) {
    let mut image = vec![0.0; source.loader.config.preprocess.image_len()];
    for Job { slot, sample, filling } in queue {
        let made = source.make(sample, &mut image);
        filling.add(slot, &image, made);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_in_a_worker_is_an_error_and_the_thread_goes_on() {
        let preprocess = Preprocess { resize: 2, crop: 1, mean: [0.0; 3], std: [1.0; 3] };
        let (augment, order) = (Augment::None, Order::Sequential);
        let config =
            LoaderConfig { batch_size: 1, workers: 1, seed: 0, augment, preprocess, order };
        let loader = Loader::new(Vec::new(), config).unwrap();
        let threads = Threads::new(&Source { loader, epoch: 0 });
        for _ in 0..3 {
            // There is no such sample: looking it up panics.
            let batch = Batch { images: vec![0.0; 3], labels: vec![0], samples: vec![9] };
            let error = threads.fill(batch).recv().unwrap().unwrap_err();
            assert_eq!(error.to_string(), "a loader thread failed while preparing image 9");
        }
    }
}
