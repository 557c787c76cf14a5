//! What crosses to the device and back beside what it computes: whether it is what was given.

use alexnet_cuda::{Cuda, Floats};
use alexnet_ops::conformance;
use alexnet_ops::{Axis, Device, Levels, LossShape, Normalisation, Picture};

/// Whether images, labels and what comes back are those that were given.
#[track_caller]
pub(super) fn what_crosses_is_what_was_given(device: &Cuda) {
    images_are_those_asked_for(device);
    labels_are_those_given(device);
    what_comes_back_is_what_was_there(device);
}

/// Whether labels are those that were given, though others come before anything is waited for.
fn labels_are_those_given(device: &Cuda) {
    const CLASSES: u32 = 5;
    let shape = LossShape { images: 3, classes: 5, mean_over: 3, smoothing: 0.0 };
    let logits = {
        let mut logits = device.values(15);
        device.upload(&mut logits, &conformance::values(15, 1, 1.0));
        logits
    };
    let (mut losses, mut ranks) = (device.floats(3), device.floats(3));
    let mut d_logits = device.values(15);
    let mut of = |labels| {
        let mut seen = vec![0.0; 15];
        let found = [&mut losses, &mut ranks];
        device.softmax_cross_entropy(found, &mut d_logits, &logits, labels, &shape);
        device.download(&mut seen, &d_logits);
        // The gradient of a label's class alone is below 0.
        seen.iter()
            .enumerate()
            .filter(|(_, d)| **d < 0.0)
            .map(|(at, _)| at as u32 % CLASSES)
            .collect::<Vec<_>>()
    };
    let given = [[0, 1, 2], [4, 3, 2], [1, 1, 4]];
    let mut there = given.map(|_| device.labels(3));
    for (there, given) in there.iter_mut().zip(&given) {
        device.upload_labels(there, given);
    }
    for (there, given) in there.iter().zip(&given) {
        assert_eq!(of(there), given);
    }
}

/// Whether images that were brought are there for whoever brought them, though others came since.
fn images_are_those_asked_for(device: &Cuda) {
    let normalise = Normalisation { mean: [10.0, 20.0, 30.0], scale: [0.5, 0.25, 2.0] };
    let part = Axis { len: 30, start: 7.5, extent: 3.0 };
    let turned = Picture { flip: true, ..Picture::whole(3, normalise) };
    let pictures = [Picture { across: part, ..turned }, Picture { down: part, ..turned }];
    let [one, other] = [3_u8, 5].map(|step| (0..120_u8).map(|at| at.wrapping_mul(step)).collect());
    let (one, other): (Vec<u8>, Vec<u8>) = (one, other);
    let levels = |slots| Levels { slots, pictures: &pictures, side: 3 };
    let fewer = Levels { slots: &other, pictures: &pictures[1..], side: 2 };
    let len = 2 * 3 * 3 * 3;
    let mut x = device.values(len);
    let mut values = |bring: &dyn Fn(&mut Floats)| {
        bring(&mut x);
        let mut values = vec![0.0; len];
        device.download(&mut values, &x);
        values
    };
    let expected = values(&|x| device.upload_levels(x, levels(&one), None));
    let ahead = values(&|x| {
        let number = device.bring_levels(levels(&one));
        device.upload_brought(x, number, levels(&one), None);
    });
    let overtaken = values(&|x| {
        let number = device.bring_levels(levels(&one));
        device.upload_levels(x, fewer, None);
        device.upload_brought(x, number, levels(&one), None);
    });
    assert!(ahead == expected && overtaken == expected);
}

/// Whether arrays come back as they were asked for, fewer and more of them than are remembered at a time, of
/// any length, and where nothing was begun.
fn what_comes_back_is_what_was_there(device: &Cuda) {
    let values = |number: usize| conformance::values(50 + number, number as u32, 1.0);
    for count in [1, 3, 20] {
        let arrays = (0..count).map(|number| {
            let mut array = device.floats(50 + number);
            device.upload(&mut array, &values(number));
            array
        });
        let arrays: Vec<Floats> = arrays.collect();
        let begun = arrays.iter().enumerate();
        let begun: Vec<u64> =
            begun.map(|(n, array)| device.begin_download(array, 50 + n)).collect();
        for (number, array) in arrays.iter().enumerate().rev() {
            for begun in [begun[number], 0] {
                let mut found = vec![0.0; 50 + number];
                device.end_download(&mut found, begun, array);
                assert!(found == values(number), "{number} of {count}");
            }
        }
    }
}
