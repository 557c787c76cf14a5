//! When each part of a step was done, as the network tells.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use alexnet_network::{Network, Part};
use alexnet_ops::Device;

use super::median;

/// Each step's parts and their milliseconds, taken while the network runs.
#[derive(Clone, Default)]
pub(super) struct Recorder {
    record: Arc<Mutex<Record>>,
}

#[derive(Default)]
struct Record {
    last: Option<Instant>,
    steps: Vec<Vec<(Part, f64)>>,
}

impl Recorder {
    /// A recorder of every pass of `network` from now on.
    pub(super) fn of<D: Device>(network: &mut Network<D>) -> Self {
        let recorder = Self::default();
        let told = recorder.clone();
        network.watch(move |part| told.record().add(part));
        recorder
    }

    /// A step begins now.
    pub(super) fn begin(&self) {
        let mut record = self.record();
        record.steps.push(Vec::new());
        record.last = Some(Instant::now());
    }

    /// The median milliseconds of `part` over the last `steps` steps; of a part that never came,
    /// none.
    pub(super) fn median_ms(&self, part: Part, steps: usize) -> Option<f64> {
        let record = self.record();
        let timed = record.steps.iter().rev().take(steps).flatten();
        let mut times: Vec<f64> = timed.filter(|timed| timed.0 == part).map(|t| t.1).collect();
        times.sort_by(f64::total_cmp);
        (!times.is_empty()).then(|| median(&times))
    }

    fn record(&self) -> MutexGuard<'_, Record> {
        self.record.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Record {
    fn add(&mut self, part: Part) {
        let now = Instant::now();
        if let (Some(last), Some(step)) = (self.last.replace(now), self.steps.last_mut()) {
            step.push((part, (now - last).as_secs_f64() * 1e3));
        }
    }
}
