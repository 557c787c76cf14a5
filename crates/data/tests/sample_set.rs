//! The built-in sample set: whole, repeatable, and never half-written.

#![allow(clippy::unwrap_used)] // In helpers too, where the lint does not know a test.

use std::fs;

use alexnet_data::{SampleSet, SampleSplit, open};

const SMALL: SampleSet = SampleSet { seed: 5, train_per_class: 2, val_per_class: 1, side: 32 };

#[test]
fn a_written_set_opens_as_a_dataset_of_twelve_classes() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().join("new/set");
    let mut heard = Vec::new();
    SMALL
        .write(&root, &mut |done, total| {
            heard.push((done, total));
            true
        })
        .unwrap();

    let dataset = open(&root, None).unwrap();
    assert_eq!(dataset.classes, SampleSet::classes());
    assert_eq!(dataset.classes.len(), 12);
    assert!(dataset.classes.contains(&"red-striped-circle".to_owned()));
    assert_eq!(dataset.train.samples.len(), 24);
    assert_eq!(dataset.val.samples.len(), 12);
    assert!(heard.into_iter().eq((1..=36).map(|done| (done, 36))));
    assert!(root.join("README.txt").is_file());
    // The folder it was drawn in is gone.
    assert_eq!(fs::read_dir(folder.path().join("new")).unwrap().count(), 1);
    for sample in dataset.train.samples {
        let image = sample.content.read_image().unwrap();
        assert_eq!(image.width().min(image.height()), 32);
    }
}

#[test]
fn an_image_is_a_pure_function_of_what_it_is_asked_for() {
    let first = SMALL.draw(4, 1, SampleSplit::Train);
    assert_eq!(first, SMALL.draw(4, 1, SampleSplit::Train));
    let other_seed = SampleSet { seed: 6, ..SMALL };
    for other in [
        SMALL.draw(5, 1, SampleSplit::Train),
        SMALL.draw(4, 2, SampleSplit::Train),
        SMALL.draw(4, 1, SampleSplit::Val),
        other_seed.draw(4, 1, SampleSplit::Train),
    ] {
        assert_ne!(first, other);
    }
}

#[test]
fn a_folder_with_something_in_it_is_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    let kept = folder.path().join("thesis.txt");
    fs::write(&kept, b"years of work").unwrap();
    for occupied in [folder.path(), &kept] {
        let message = SMALL.write(occupied, &mut |_, _| true).unwrap_err().to_string();
        assert!(message.contains("exists and is not empty"), "{message}");
    }
    assert_eq!(fs::read(&kept).unwrap(), b"years of work");

    let empty = tempfile::tempdir().unwrap();
    SMALL.write(empty.path(), &mut |_, _| true).unwrap();
    assert!(open(empty.path(), None).is_ok());
}

#[test]
fn a_drawing_that_is_stopped_leaves_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let message = SMALL.write(&folder.path().join("set"), &mut |done, _| done < 3).unwrap_err();
    assert!(message.to_string().contains("stopped"), "{message}");
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
}
