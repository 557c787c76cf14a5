//! Each alarm is given where there is cause, once, and none on healthy runs.

#![allow(clippy::unwrap_used)] // In helpers too, where the lint does not know a test.

use std::path::Path;

use alexnet_train::{Alarm, Alarms, EpochRow, LayerUpdate, Metrics, RunFolder, StepReport};

const CLASSES: usize = 12;
/// Training images of each class.
const EQUAL: [u64; CLASSES] = [200; CLASSES];
const STEPS: u64 = 75;

fn row(epoch: u64, train_loss: f64, val_loss: f64, top1_accuracy: f64) -> EpochRow {
    EpochRow {
        epoch,
        step: epoch * STEPS,
        time_s: 6.0 * epoch as f64,
        train_loss,
        val_loss,
        top1_accuracy,
        top5_accuracy: 1.0,
        lr: 0.01,
        images_per_s: 400.0,
        data_wait: 0.003,
    }
}

fn layer(name: &str, relative: f64) -> LayerUpdate {
    LayerUpdate { layer: name.into(), relative }
}

/// Velocities after epoch 14 of a run on the sample set, at the rate of 0.01 that it began with.
fn healthy_layers() -> Vec<LayerUpdate> {
    let sizes = [1.1e-2, 7.9e-3, 3.9e-3, 2.5e-3, 2.0e-3, 2.9e-3, 2.8e-3, 1.0e-2];
    sizes.iter().enumerate().map(|(at, &size)| layer(&format!("layer {at}"), size)).collect()
}

/// What alarms say of an epoch whose steps all have one loss and one accuracy.
fn watch(
    alarms: &mut Alarms,
    row: &EpochRow,
    (loss, top1_accuracy): (f64, f64),
    layers: &[LayerUpdate],
) -> Vec<Alarm> {
    let mut given = Vec::new();
    for step_in_epoch in 1..=STEPS {
        let epoch_metrics = Metrics { images: 1, loss, top1_accuracy, top5_accuracy: 1.0 };
        given.extend(alarms.step(&StepReport {
            epoch: row.epoch,
            step_in_epoch,
            steps_per_epoch: STEPS,
            images: 32,
            loss,
            epoch_metrics,
            learning_rate: row.lr,
            step_s: 0.5,
            data_s: 0.5 * row.data_wait,
        }));
    }
    given.extend(alarms.epoch(row, layers));
    given
}

/// Watches `epochs` epochs of a run and returns what was said, with the epoch.
fn run(
    epochs: u64,
    of: impl Fn(u64) -> (EpochRow, (f64, f64), Vec<LayerUpdate>),
) -> Vec<(u64, Alarm)> {
    let mut alarms = Alarms::new(&EQUAL, 0.0, 480);
    let mut given = Vec::new();
    for epoch in 1..=epochs {
        let (row, steps, layers) = of(epoch);
        let now = watch(&mut alarms, &row, steps, &layers);
        given.extend(now.into_iter().map(|alarm| (epoch, alarm)));
    }
    given
}

/// The only alarm of a run, and that it says all of `words`.
fn assert_only(given: &[(u64, Alarm)], epoch: u64, words: &[&str]) {
    let [(found, alarm)] = given else { panic!("{given:?}") };
    let said = alarm.to_string();
    assert_eq!(*found, epoch, "{said}");
    for word in words {
        assert!(said.contains(word), "'{word}' is not in: {said}");
    }
}

#[test]
fn healthy_runs_give_no_alarm() {
    let records = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../records");
    for (record, classes, images) in
        [("2026-11-23-sample-set", 12, 480), ("2026-11-24-cifar10", 10, 10_000)]
    {
        let place = tempfile::tempdir().unwrap();
        let folder = RunFolder::create(place.path()).unwrap();
        std::fs::copy(records.join(record).join("results.csv"), folder.results()).unwrap();
        let rows = folder.rows().unwrap();
        assert!(rows.len() > 1);
        let mut alarms = Alarms::new(&vec![200; classes], 0.0, images);
        for row in &rows {
            let steps = (row.train_loss, row.top1_accuracy);
            assert_eq!(watch(&mut alarms, row, steps, &healthy_layers()), [], "{record}");
        }
    }
}

#[test]
fn a_loss_of_guessing_is_an_alarm_once_it_has_stayed() {
    let guess = (CLASSES as f64).ln();
    let flat =
        |loss: f64| run(8, |epoch| (row(epoch, loss, loss, 0.08), (loss, 0.08), healthy_layers()));
    assert_only(&flat(guess * 0.995), 4, &["2.47", "among 12 classes", "gives 2.485", "--lr"]);
    assert_eq!(flat(guess * 0.97), []);
    assert_eq!(flat(guess * 1.05), []);
}

#[test]
fn guessing_among_classes_of_different_sizes_or_with_smoothed_labels_is_known_too() {
    // Clothing photographs: `paper` stayed at 2.124 for thirty epochs.
    let photographs = [241, 123, 455, 184, 468, 290, 198, 202, 112, 795];
    let said = |smoothing: f32, loss: f64| {
        let mut alarms = Alarms::new(&photographs, smoothing, 341);
        let epochs = (1..=8).map(|epoch| row(epoch, loss, loss, 0.2375));
        epochs.flat_map(|row| watch(&mut alarms, &row, (loss, 0.26), &healthy_layers())).count()
    };
    assert_eq!([said(0.0, 2.124), said(0.0, 2.303), said(0.0, 2.0)], [1, 0, 0]);
    assert_eq!([said(0.1, 2.160), said(0.1, 2.124)], [1, 0]);
}

#[test]
fn validation_at_chance_while_training_is_not_is_an_alarm() {
    let at = |training: f64, validation: f64| {
        run(4, |epoch| {
            let loss = 1.0 / epoch as f64;
            (row(epoch, loss, 3.0, validation), (loss, training), healthy_layers())
        })
    };
    assert_only(&at(0.8, 0.08), 2, &["80.0 %", "8.00 %", "12 classes", "data check"]);
    assert_eq!(at(0.3, 0.08), [], "little is learnt yet");
    assert_eq!(at(0.8, 0.2), [], "some of it carries over");
}

#[test]
fn waiting_for_images_is_an_alarm() {
    let waiting = |share: f64| {
        run(3, |epoch| {
            let row = EpochRow { data_wait: share, ..row(epoch, 1.0 / epoch as f64, 1.0, 0.5) };
            (row, (1.0, 0.5), healthy_layers())
        })
    };
    assert_only(&waiting(0.34), 1, &["34 %", "epoch 1", "--workers", "data pack"]);
    assert_eq!(waiting(0.19), []);
    // A small set whose first batch takes half the epoch: 0.2 s of 0.4 s.
    let mut alarms = Alarms::new(&EQUAL, 0.0, 480);
    let short = EpochRow { data_wait: 0.5, ..row(1, 1.0, 1.0, 0.5) };
    assert_eq!(alarms.epoch(&short, &healthy_layers()), []);
}

#[test]
fn a_layer_that_does_not_move_while_others_do_is_an_alarm() {
    let with = |name: &str, size: f64| {
        let layers = move || [healthy_layers(), vec![layer(name, size)]].concat();
        run(4, |epoch| {
            let loss = 1.0 / epoch as f64;
            (row(epoch, loss, loss, 0.5), (loss, 0.5), layers())
        })
    };
    assert_only(&with("conv1", 1e-8), 2, &["conv1", "1e-8", "vanishes"]);
    assert_eq!(with("conv1", 1e-5), []);
    assert_only(&with("fc8", 2.0), 1, &["fc8", "2.0", "explodes"]);
    // At the end of a cosine all layers are still together.
    let mut alarms = Alarms::new(&EQUAL, 0.0, 480);
    for epoch in 1..4 {
        let still: Vec<_> = healthy_layers()
            .into_iter()
            .map(|layer| LayerUpdate { relative: layer.relative * 1e-9, ..layer })
            .collect();
        assert_eq!(alarms.epoch(&row(epoch, 1.0, 1.0, 0.5), &still), []);
    }
}

/// Validation is best after epoch 5, then gets worse.
fn overfitting(epoch: u64) -> EpochRow {
    let val_loss = 1.0 + 0.05 * (epoch as f64 - 5.0).abs();
    row(epoch, 2.0 / epoch as f64, val_loss, 0.6)
}

#[test]
fn a_validation_loss_that_rises_while_training_goes_on_is_an_alarm() {
    let given = run(30, |epoch| {
        let row = overfitting(epoch);
        let steps = (row.train_loss, 0.6);
        (row, steps, healthy_layers())
    });
    assert_only(&given, 15, &["1.000", "epoch 5", "1.500", "overfits", "best.safetensors"]);
    let level = run(30, |epoch| {
        let row = EpochRow { val_loss: 1.0, ..overfitting(epoch) };
        (row, (1.0, 0.6), healthy_layers())
    });
    assert_eq!(level, [], "it stays where it is");
}

#[test]
fn a_resumed_run_does_not_say_again_what_was_said() {
    let past: Vec<EpochRow> = (1..=20).map(overfitting).collect();
    for (known, expected) in [(20, 0), (14, 1)] {
        let mut alarms = Alarms::new(&EQUAL, 0.0, 480);
        alarms.recall(&past[..known]);
        let later = past[known..].iter().cloned().chain([overfitting(21)]);
        let given: Vec<_> = later.flat_map(|row| alarms.epoch(&row, &healthy_layers())).collect();
        assert_eq!(given.len(), expected, "{given:?}");
    }
}
