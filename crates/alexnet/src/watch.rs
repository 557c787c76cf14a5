//! All that watches a run: the display, the event file for TensorBoard, the alarms.

use alexnet_data::{Dataset, UnreadableImage};
use alexnet_train::{
    Alarms, EpochRow, EventError, EventFile, LayerUpdate, Observer, Progress, RunFolder,
    SaveFailure, StepReport,
};

use crate::terminal::Display;

/// Shows a run, records it, and speaks up when something is probably wrong.
pub(crate) struct Watch {
    /// What a person sees.
    pub(crate) display: Display,
    /// `None` once it could not be written.
    events: Option<EventFile>,
    alarms: Alarms,
    updates: Vec<LayerUpdate>,
    print_freq: u64,
}

impl Watch {
    /// A watch over a run that stands at `progress`. That there can be no event file does not stop a
    /// run: it is said.
    pub(crate) fn new(
        display: Display,
        folder: &RunFolder,
        progress: &Progress,
        dataset: &Dataset,
        label_smoothing: f32,
        print_freq: usize,
    ) -> Self {
        let mut class_images = vec![0; dataset.classes.len()];
        dataset.train.samples.iter().for_each(|sample| class_images[sample.label as usize] += 1);
        let validation_images = dataset.val.samples.len() as u64;
        let mut alarms = Alarms::new(&class_images, label_smoothing, validation_images);
        // Results that cannot be read end the run where they are written, with their name.
        alarms.recall(&folder.rows().unwrap_or_default());
        let print_freq = print_freq as u64;
        let mut watch = Self { display, events: None, alarms, updates: Vec::new(), print_freq };
        let opened = EventFile::open(folder, progress);
        watch.events = opened.map_err(|error| watch.give_up(&error)).ok();
        watch
    }

    /// Adds to the event file, or gives it up.
    fn record(&mut self, add: impl FnOnce(&mut EventFile) -> Result<(), EventError>) {
        let added = self.events.as_mut().map_or(Ok(()), add);
        if let Err(error) = added {
            self.give_up(&error);
        }
    }

    fn give_up(&mut self, error: &EventError) {
        self.events = None;
        self.display.say(&format!("alexnet: {error}; the run goes on without it"));
    }
}

impl Observer for Watch {
    fn unreadable(&mut self, image: &UnreadableImage) {
        self.display.unreadable(image);
    }

    fn step(&mut self, report: &StepReport) {
        self.display.step(report);
        let last = report.step_in_epoch == report.steps_per_epoch;
        if last || report.step_in_epoch.is_multiple_of(self.print_freq) {
            self.record(|events| events.add_step(report));
        }
        if let Some(alarm) = self.alarms.step(report) {
            self.display.say(&format!("Alarm    {alarm}."));
        }
    }

    fn validated(&mut self, images: u64, of: u64) {
        self.display.validated(images, of);
    }

    fn layers(&mut self, updates: &[LayerUpdate]) {
        self.updates = updates.to_vec();
    }

    fn epoch(&mut self, row: &EpochRow, best: bool) {
        self.display.epoch(row, best);
        self.record(|events| events.add_epoch(row));
        for alarm in self.alarms.epoch(row, &self.updates) {
            self.display.say(&format!("Alarm    {alarm}."));
        }
    }

    fn not_saved(&mut self, failure: &SaveFailure<'_>) {
        self.display.not_saved(failure);
    }

    fn stop(&mut self) -> bool {
        self.display.stop()
    }
}
