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

/// Whether arrays come back as they were when they were asked for, fewer and more of them than are remembered
/// at a time; and as they are, where nothing was begun or it is there no longer. All are of one length, so that
/// nothing but their numbers tells them apart.
fn what_comes_back_is_what_was_there(device: &Cuda) {
    const LEN: usize = 50;
    let values = |salt: u32| conformance::values(LEN, salt, 1.0);
    let mut array = device.floats(LEN);
    let mut begun = Vec::new();
    for salt in 0..3 {
        device.upload(&mut array, &values(salt));
        begun.push((salt, device.begin_download(&array, LEN)));
    }
    let came = |number, array: &Floats| {
        let mut found = vec![0.0; LEN];
        device.end_download(&mut found, number, array);
        found
    };
    for (salt, number) in begun.into_iter().rev() {
        assert!(came(number, &array) == values(salt), "as it was: {salt}");
    }
    let arrays: Vec<Floats> = (0..20)
        .map(|salt| {
            let mut array = device.floats(LEN);
            device.upload(&mut array, &values(salt));
            array
        })
        .collect();
    let begun: Vec<u64> = arrays.iter().map(|array| device.begin_download(array, LEN)).collect();
    for (salt, (array, number)) in (0..).zip(arrays.iter().zip(begun)) {
        assert!(came(number, array) == values(salt) && came(0, array) == values(salt), "{salt}");
    }
}
