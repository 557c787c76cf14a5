//! Event files have TensorBoard's own bytes, and a resumed run leaves no step in them twice.

#![allow(clippy::unwrap_used)] // In helpers too, where the lint does not know a test.

use std::collections::BTreeMap;
use std::fs::{self, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};

use alexnet_train::{
    EpochRow, Event, EventFile, Metrics, Progress, RunFolder, StepReport, What, read_events,
};

/// Written by `goldens/make_events.py` with TensorBoard's own writer.
const GOLDEN: &[u8] = include_bytes!("../../../goldens/events/scalars.tfevents");

fn scalars(pairs: &[(&str, f32)]) -> What {
    What::Scalars(pairs.iter().map(|&(tag, value)| (tag.to_owned(), value)).collect())
}

/// What the script wrote.
fn golden_events() -> Vec<Event> {
    let event = |wall_time, step, what| Event { wall_time, step, what };
    vec![
        event(1_700_000_000.0, 0, What::Version("brain.Event:2".into())),
        event(1_700_000_000.25, 10, scalars(&[("step/train_loss", 2.5), ("step/lr", 0.01)])),
        event(1_700_000_001.5, 300, scalars(&[("train/loss", 0.0), ("métrique", -1e-20)])),
        event(1_700_000_002.0, 301, What::Start),
        event(1_700_000_003.0, 450_000, scalars(&[("odd", f32::NAN), ("high", f32::INFINITY)])),
    ]
}

#[test]
fn events_have_the_bytes_that_tensorboard_s_own_writer_gives_them() {
    let bytes: Vec<u8> = golden_events().iter().flat_map(Event::to_record).collect();
    assert_eq!(bytes, GOLDEN);
}

#[test]
fn events_of_tensorboard_s_own_writer_are_read() {
    let read = read_events(GOLDEN).unwrap();
    assert_eq!(format!("{:?}", read.events), format!("{:?}", golden_events())); // NaN is not itself
    assert_eq!(read.whole_bytes, GOLDEN.len() as u64);
}

#[test]
fn a_file_is_read_up_to_what_is_cut_off_or_damaged() {
    let mut ends = vec![0];
    for event in golden_events() {
        ends.push(ends.last().unwrap() + event.to_record().len());
    }
    for cut in 0..GOLDEN.len() {
        let read = read_events(&GOLDEN[..cut]).unwrap();
        let whole = ends.iter().filter(|&&end| 0 < end && end <= cut).count();
        assert_eq!((read.events.len(), read.whole_bytes), (whole, ends[whole] as u64), "{cut}");
        let mut damaged = GOLDEN.to_vec();
        damaged[cut] ^= 0x10;
        let read = read_events(&damaged[..]).unwrap();
        assert_eq!(read.whole_bytes, *ends.iter().rfind(|&&end| end <= cut).unwrap() as u64);
    }
}

#[test]
fn a_length_that_lies_takes_no_memory() {
    let mut record = golden_events()[0].to_record();
    let honest = read_events(&record[..]).unwrap();
    assert_eq!(honest.events.len(), 1);
    record[..8].copy_from_slice(&u64::MAX.to_le_bytes());
    assert_eq!(read_events(&record[..]).unwrap().events.len(), 0);
}

/// A run's folder and what its trainer would tell of it: epochs of four steps.
struct Run {
    root: tempfile::TempDir,
    folder: RunFolder,
}

impl Run {
    fn new() -> Self {
        let root = tempfile::tempdir().unwrap();
        let folder = RunFolder::create(root.path()).unwrap();
        Self { root, folder }
    }

    /// Trains from one step to another, telling of every step, and of epochs in the trainer's order:
    /// `results.csv` first. Stops before the last epoch is told of if `killed`.
    fn train(&self, from: u64, to: u64, killed: bool) {
        let progress = Progress { epoch: from / 4, step: from, ..Progress::default() };
        self.folder.keep_rows_until(progress.epoch).unwrap();
        let mut events = EventFile::open(&self.folder, &progress).unwrap();
        for step in from + 1..=to {
            events.add_step(&report(step)).unwrap();
            if step.is_multiple_of(4) {
                self.folder.add_rows(&[row(step)]).unwrap();
                if !(killed && step == to) {
                    events.add_epoch(&row(step)).unwrap();
                }
            }
        }
    }

    fn file(&self) -> PathBuf {
        let mut files = Vec::new();
        for entry in fs::read_dir(self.root.path()).unwrap().flatten() {
            if entry.file_name().to_str().unwrap().contains("tfevents") {
                files.push(entry.path());
            }
        }
        assert_eq!(files.len(), 1, "{files:?}");
        files.remove(0)
    }
}

/// A step's figures: a function of its number alone, as training is.
fn report(step: u64) -> StepReport {
    let metrics = Metrics { images: 8, loss: 0.0, top1_accuracy: 0.0, top5_accuracy: 0.0 };
    StepReport {
        epoch: (step - 1) / 4 + 1,
        step_in_epoch: (step - 1) % 4 + 1,
        steps_per_epoch: 4,
        images: 8,
        loss: 1.0 / step as f64,
        epoch_metrics: metrics,
        learning_rate: 0.01,
        step_s: 0.1,
        data_s: 0.0,
    }
}

fn row(step: u64) -> EpochRow {
    EpochRow {
        epoch: step / 4,
        step,
        time_s: 1.0,
        train_loss: 2.0 / step as f64,
        val_loss: 3.0 / step as f64,
        top1_accuracy: 0.5,
        top5_accuracy: 1.0,
        lr: 0.01,
        images_per_s: 80.0,
        data_wait: 0.0,
    }
}

/// What TensorBoard shows: for each tag, steps and values, what a start declares void left out.
fn shown(file: &Path) -> BTreeMap<String, Vec<(u64, f32)>> {
    let read = read_events(fs::File::open(file).unwrap()).unwrap();
    assert_eq!(read.whole_bytes, fs::metadata(file).unwrap().len());
    let mut shown: BTreeMap<String, Vec<(u64, f32)>> = BTreeMap::new();
    for event in read.events {
        match event.what {
            What::Scalars(scalars) => scalars
                .into_iter()
                .for_each(|(tag, value)| shown.entry(tag).or_default().push((event.step, value))),
            What::Start => {
                shown.values_mut().for_each(|points| points.retain(|&(step, _)| step < event.step))
            }
            What::Version(_) | What::Other => {}
        }
    }
    shown
}

#[test]
fn a_run_is_shown_under_the_names_of_its_results() {
    let run = Run::new();
    run.train(0, 8, false);
    let shown = shown(&run.file());
    let tags: Vec<&str> = shown.keys().map(String::as_str).collect();
    let expected = [
        "data_wait",
        "images_per_s",
        "lr",
        "metrics/accuracy_top1",
        "metrics/accuracy_top5",
        "step/lr",
        "step/train_loss",
        "train/loss",
        "val/loss",
    ];
    assert_eq!(tags, expected);
    assert_eq!(shown["val/loss"], [(4, 0.75), (8, 0.375)]);
    assert_eq!(shown["step/train_loss"].len(), 8);
    assert_eq!(shown["step/train_loss"][3], (4, 0.25));
}

#[test]
fn a_resumed_run_is_shown_as_one_that_was_not_interrupted() {
    let whole = Run::new();
    whole.train(0, 12, false);
    let expected = shown(&whole.file());
    for stopped in [1, 3, 4, 5, 8, 9] {
        // From a checkpoint that is as old as the stop or older, after a stop or a kill.
        for resumed in [stopped, stopped - 1, stopped / 2, 0] {
            for killed in [false, true] {
                let run = Run::new();
                run.train(0, stopped, killed);
                run.train(resumed, 12, false);
                let found = shown(&run.file());
                assert_eq!(found, expected, "{stopped} {resumed} {killed}");
            }
        }
    }
}

#[test]
fn a_record_that_a_kill_cut_off_is_taken_away() {
    let whole = Run::new();
    whole.train(0, 8, false);
    let record = Event { wall_time: 1.0, step: 7, what: scalars(&[("lr", 1.0)]) }.to_record();
    for cut in 1..record.len() {
        let run = Run::new();
        run.train(0, 6, false);
        let mut file = OpenOptions::new().append(true).open(run.file()).unwrap();
        file.write_all(&record[..cut]).unwrap();
        run.train(6, 8, false);
        assert_eq!(shown(&run.file()), shown(&whole.file()), "{cut}");
    }
}

#[test]
fn a_run_begun_without_an_event_file_gets_its_epochs_from_its_results() {
    let run = Run::new();
    run.train(0, 8, false);
    let expected = shown(&run.file());
    fs::remove_file(run.file()).unwrap();
    run.train(8, 8, false);
    let found = shown(&run.file());
    assert_eq!(found["val/loss"], expected["val/loss"]);
    assert_eq!(found["lr"], expected["lr"]);
}

#[test]
fn an_epoch_that_is_undone_with_its_last_step_is_shown_once() {
    let run = Run::new();
    run.train(0, 8, false);
    // The checkpoint of step 8 was of before the epoch's end.
    run.folder.keep_rows_until(1).unwrap();
    let progress = Progress { epoch: 1, step: 8, ..Progress::default() };
    EventFile::open(&run.folder, &progress).unwrap().add_epoch(&row(8)).unwrap();
    assert_eq!(shown(&run.file())["val/loss"], [(4, 0.75), (8, 0.375)]);
}
