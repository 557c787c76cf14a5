//! Updates in place, of many arrays at once, and held back: whether they are those promised.

use alexnet_cuda::{Cuda, Floats, Recording, catch};
use alexnet_ops::conformance;
use alexnet_ops::{Bound, Device, LinearShape, SgdStep, SgdUpdate, UpdateRule};

use super::TOO_MANY;
use super::shapes::linear_by_eights;

/// All of it.
#[track_caller]
pub(super) fn updates_are_those_promised(device: &Cuda) {
    updates_in_place_are_gradients_and_updates(device);
    updates_are_held_back(device);
    many_updates_are_those_of_each(device);
    many_are_those_asked_for_when_repeated(device);
}

fn updates_in_place_are_gradients_and_updates(device: &Cuda) {
    let odd = LinearShape { batch: 5, inputs: 37, outputs: 150 };
    for shape in linear_by_eights().into_iter().chain([odd]) {
        for rule in [UpdateRule::Paper, UpdateRule::PyTorch] {
            let step = SgdStep { rule, learning_rate: 0.1, momentum: 0.9, weight_decay: 0.05 };
            let [fused, stored] = updated_both_ways(device, &shape, &step, |update| update());
            assert!(fused == stored, "other bits where the gradient is formed: {shape:?} {rule:?}");
        }
    }
}

/// Whether many arrays updated at once have the bits of each updated by itself: with roundings and without,
/// of one run, a part of one, one piece and more, by both rules, some at layer-wise rates.
fn many_updates_are_those_of_each(device: &Cuda) {
    let up = |mut array: Floats, len, salt| {
        device.upload(&mut array, &conformance::values(len, salt, 1.0));
        array
    };
    let lens = [8, 3, 4096, 9001];
    let mut both = [0, 1].map(|_| {
        lens.map(|len| {
            let new = if len % 2 == 0 { Cuda::weights } else { Cuda::floats };
            [up(new(device, len), len, 1), up(device.floats(len), len, 2)]
        })
    });
    let gradients = lens.map(|len| up(device.floats(len), len, 3));
    let step = |number: usize| SgdStep {
        rule: if number.is_multiple_of(3) { UpdateRule::Paper } else { UpdateRule::PyTorch },
        learning_rate: 0.1 / (1 + number) as f32,
        momentum: 0.9,
        weight_decay: 0.05,
    };
    let trust = |number: usize| number.is_multiple_of(2).then_some(0.3);
    let [together, alone] = &mut both;
    let arrays = together.iter_mut().zip(&gradients).zip(lens).enumerate();
    device.sgd_updates(arrays.map(|(number, (([weights, velocity], gradient), len))| SgdUpdate {
        weights,
        velocity,
        gradient,
        step: step(number),
        trust: trust(number),
        len,
    }));
    for (number, ((arrays, gradient), len)) in
        alone.iter_mut().zip(&gradients).zip(lens).enumerate()
    {
        let ([weights, velocity], step, trust) = (arrays, step(number), trust(number));
        device.sgd_update(SgdUpdate { weights, velocity, gradient, step, trust, len });
    }
    for (number, len) in lens.into_iter().enumerate() {
        let [together, alone] = both.each_ref().map(|arrays| bits_of(device, &arrays[number], len));
        assert!(together == alone, "array {number} of {len}");
    }
}

/// Whether updates of many arrays, and what looks at many, are of those asked for where a device may
/// remember them, and others come between.
fn many_are_those_asked_for_when_repeated(device: &Cuda) {
    const LEN: usize = 8;
    let new = |value: f32| {
        let mut array = device.floats(LEN);
        device.upload(&mut array, &[value; LEN]);
        array
    };
    let rule = UpdateRule::PyTorch;
    let step = SgdStep { rule, learning_rate: 1.0, momentum: 0.0, weight_decay: 0.0 };
    let gradient = new(1.0);
    let mut arrays = [0, 1].map(|_| [new(0.0), new(0.0)]);
    let mut recordings = [0, 1].map(|_| Recording::default());
    let mut found = device.floats(1);
    for times in 1..=4_u8 {
        for (number, recording) in recordings.iter_mut().enumerate() {
            while device.begin_repeat(recording, 0) {
                let [weights, velocity] = &mut arrays[number];
                let gradient = &gradient;
                let (trust, len) = (None, LEN);
                let update = SgdUpdate { weights, velocity, gradient, step, trust, len };
                device.sgd_updates([update].into_iter());
                device.largest(&mut found, [(&arrays[number][0], LEN)].into_iter());
                if device.end_repeat(recording) {
                    break;
                }
            }
            let mut seen = [[0.0; LEN], [0.0; LEN]];
            device.download(&mut seen[0], &arrays[number][0]);
            device.download(&mut seen[1][..1], &found);
            assert_eq!(
                (seen[0], seen[1][0]),
                ([-f32::from(times); LEN], f32::from(times)),
                "{number}"
            );
        }
    }
}

/// Whether updates that are held back leave all bits as they were where a magnitude exceeds its bound, be it
/// by itself or with the one before, or is none, and are done otherwise, and after.
fn updates_are_held_back(device: &Cuda) {
    let bounds = [(10.0, false), (10.0, false), (30.0, true)]
        .map(|(largest, paired)| Bound { largest, paired });
    let shape = LinearShape { batch: 8, inputs: 16, outputs: 24 };
    let rule = UpdateRule::PyTorch;
    let step = SgdStep { rule, learning_rate: 0.1, momentum: 0.9, weight_decay: 0.05 };
    let before = updated_both_ways(device, &shape, &step, |_| {}).concat();
    let after = updated_both_ways(device, &shape, &step, |update| update()).concat();
    assert!(before != after);
    for (magnitudes, sound) in [
        ([10.0, 10.0, 3.0], true),
        ([10.0, 5.0, 6.5], false),
        ([10.5, 1.0, 1.0], false),
        ([1.0, f32::NAN, 0.0], false),
        ([f32::INFINITY, 0.0, 0.0], false),
        ([0.0, 0.0, f32::INFINITY], false),
    ] {
        assert_eq!(Bound::all_hold(&bounds, &magnitudes), sound, "{magnitudes:?}");
        let mut found = device.floats(bounds.len());
        device.upload(&mut found, &magnitudes);
        let held = updated_both_ways(device, &shape, &step, |update| {
            let known = device.begin_updates(&found, &bounds, &mut [0.0; 3]);
            update();
            device.end_updates();
            assert_eq!((known, device.judged()), (None, sound), "{magnitudes:?}");
        });
        let expected = if sound { &after } else { &before };
        assert!(held.concat() == *expected, "{magnitudes:?}");
    }
    // An error in their midst ends that, too.
    let mut found = device.floats(bounds.len());
    device.upload(&mut found, &[f32::NAN; 3]);
    device.begin_updates(&found, &bounds, &mut [0.0; 3]);
    assert!(catch(|| device.floats(TOO_MANY)).is_err(), "it has {TOO_MANY} numbers");
    assert!(updated_both_ways(device, &shape, &step, |update| update()).concat() == after);
}

/// Bits of weights and velocity after an update in place, and after that of a stored gradient, each done
/// by `doing`.
fn updated_both_ways(
    device: &Cuda,
    shape: &LinearShape,
    step: &SgdStep,
    doing: impl Fn(&mut dyn FnMut()),
) -> [Vec<u32>; 2] {
    let LinearShape { batch, inputs, outputs } = *shape;
    let len = inputs * outputs;
    let up = |mut array: Floats, len, salt| {
        device.upload(&mut array, &conformance::values(len, salt, 1.0));
        array
    };
    let x = up(device.values(batch * inputs), batch * inputs, 1);
    let d_y = up(device.values(batch * outputs), batch * outputs, 2);
    let before = || [up(device.weights(len), len, 3), up(device.floats(len), len, 4)];
    let [mut fused, mut stored] = [before(), before()];
    let [weights, velocity] = &mut fused;
    doing(&mut || device.linear_backward_update(weights, velocity, &d_y, &x, step, shape));
    let (mut gradient, mut d_bias) = (device.floats(len), device.floats(outputs));
    device.linear_backward_weights(&mut gradient, &mut d_bias, &d_y, &x, shape);
    let [weights, velocity] = &mut stored;
    doing(&mut || {
        let (gradient, step, trust) = (&gradient, *step, None);
        let (weights, velocity) = (&mut *weights, &mut *velocity);
        device.sgd_update(SgdUpdate { weights, velocity, gradient, step, trust, len });
    });
    [fused, stored].map(|arrays| bits_of(device, &arrays, len))
}

fn bits_of(device: &Cuda, arrays: &[Floats], len: usize) -> Vec<u32> {
    let mut values = vec![0.0_f32; len];
    let mut bits = Vec::new();
    for array in arrays {
        device.download(&mut values, array);
        bits.extend(values.iter().map(|value| value.to_bits()));
    }
    bits
}
