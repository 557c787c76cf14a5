//! What is asked of a device of this crate, emulated or real.

mod apart;
mod begun;
mod rectified;

use alexnet_cuda::{Cuda, Floats, Recording, catch};
use alexnet_ops::conformance::{self, Case, Outputs, cases, compare};
use alexnet_ops::{
    Activation, Axis, BatchNormShape, Bound, ConvShape, Device, Dropout, DropoutKey, Levels,
    LinearShape, LossShape, LrnRegion, LrnShape, Normalisation, Picture, Reference, SgdStep,
    SgdUpdate, UpdateRule,
};
pub(crate) use apart::groups_are_of_what_is_there;
use begun::begun_sums_are_of_what_is_there;
use rectified::a_normalised_relu_is_what_both_give;

/// Every case beside the plain loops, positions of maxima included: the gradient shows them.
#[track_caller]
pub(crate) fn agrees<D: Device>(device: &D, cases: &[Case], tolerance: f32) {
    let reference = Reference::<f32>::new();
    let run = |case: &Case| (case.run(&reference), case.run(device));
    same(cases, run, tolerance);
}

/// Whether what is expected and found of each case agrees.
#[track_caller]
fn same(cases: &[Case], run: impl Fn(&Case) -> (Outputs, Outputs), tolerance: f32) {
    let mut failures = Vec::new();
    for case in cases {
        let (expected, found) = run(case);
        for ((output, expected), (_, found)) in expected.iter().zip(&found) {
            failures.extend(compare(&format!("{case:?}"), output, expected, found, tolerance));
        }
    }
    assert!(failures.is_empty(), "{failures:#?}");
}

/// The project asks for 1e-2 in bf16, of which a rounding is up to 4e-3.
pub(crate) const TOLERANCE_BF16: f32 = 1e-2;
/// And 2e-3 in TF32, of which a rounding is up to 5e-4.
pub(crate) const TOLERANCE_TF32: f32 = 2e-3;

/// Convolutions that tensor cores take as they are and in blocks, with and without groups, and runs of
/// eight channels.
pub(crate) fn by_eights() -> Vec<Case> {
    let shape = ConvShape {
        batch: 3,
        in_h: 11,
        in_w: 9,
        in_c: 16,
        out_h: 11,
        out_w: 9,
        out_c: 24,
        kernel: 3,
        stride: 1,
        pad: 1,
        groups: 1,
    };
    let shapes = [
        shape,
        ConvShape { in_c: 48, groups: 3, kernel: 5, pad: 2, ..shape },
        // Some of the last rows and columns are seen by no window.
        ConvShape { out_h: 4, out_w: 3, stride: 3, pad: 0, ..shape },
        // In blocks: as the first layer of every model, and with a stride of 1.
        ConvShape {
            in_h: 31,
            in_w: 35,
            in_c: 3,
            out_h: 7,
            out_w: 8,
            kernel: 11,
            stride: 4,
            pad: 2,
            ..shape
        },
        ConvShape {
            in_h: 31,
            in_w: 35,
            in_c: 3,
            out_h: 6,
            out_w: 7,
            kernel: 11,
            stride: 4,
            pad: 0,
            ..shape
        },
        ConvShape { in_c: 5, ..shape },
        // In groups, with fewer outputs than inputs.
        ConvShape { in_c: 32, out_c: 48, groups: 2, out_h: 6, out_w: 5, stride: 2, ..shape },
        ConvShape {
            in_h: 8,
            in_w: 8,
            in_c: 1,
            out_h: 4,
            out_w: 4,
            kernel: 2,
            stride: 2,
            pad: 0,
            ..shape
        },
    ];
    let mut cases: Vec<Case> =
        shapes.into_iter().map(|shape| Case::Conv(shape, Activation::Relu)).collect();
    let linear = linear_by_eights().into_iter();
    cases.extend(linear.map(|shape| Case::Linear(shape, Activation::Relu)));
    cases
}

/// Linear layers whose gradients are formed where they are used: fewer images than are taken at a time,
/// and more, parts of a square and several squares; and more images than are taken so.
fn linear_by_eights() -> Vec<LinearShape> {
    let sizes = [[1, 48, 40], [8, 48, 40], [32, 128, 128], [70, 136, 264], [513, 16, 24]];
    sizes.map(|[batch, inputs, outputs]| LinearShape { batch, inputs, outputs }).to_vec()
}

/// Whether the device that rounds factors is near enough to the plain loops.
#[track_caller]
pub(crate) fn agrees_in_bf16(device: &Cuda, cases: &[Case], tolerance: f32) {
    let reference = Reference::<f32>::new();
    let run = |case: &Case| (case.run_from_bf16(&reference), case.run_from_bf16(device));
    same(cases, run, tolerance);
}

/// Whether the device that rounds factors is near enough to the plain loops, and another than the
/// one that does not.
#[track_caller]
pub(crate) fn bf16(exact: &Cuda, rounding: &Cuda) {
    for cases in [cases(), borders(), by_eights()] {
        let (curves, others): (Vec<Case>, Vec<Case>) =
            cases.into_iter().partition(|case| matches!(case, Case::Saturation(..)));
        agrees_in_bf16(rounding, &others, TOLERANCE_BF16);
        // The slope of tanh, 1 - y², has little left of a y near 1.
        agrees_in_bf16(rounding, &curves, 3.0 * TOLERANCE_BF16);
    }
    lays_out_what_is_there(rounding);
    begun_sums_are_of_what_is_there(rounding);
    a_normalised_relu_is_what_both_give(rounding);
    updates_in_place_are_gradients_and_updates(rounding);
    updates_are_held_back(rounding);
    many_updates_are_those_of_each(rounding);
    let shape = LinearShape { batch: 7, inputs: 33, outputs: 17 };
    let case = Case::Linear(shape, Activation::Identity);
    let (exact, found) = (case.run(exact), case.run(rounding));
    let difference = compare("bf16", "y", &exact[0].1, &found[0].1, 1e-4);
    assert!(difference.is_some(), "nothing was rounded");
}

/// Whether the device that rounds factors to TF32 is near enough to the plain loops, and another than
/// the one that does not.
#[track_caller]
pub(crate) fn tf32(exact: &Cuda, rounding: &Cuda) {
    agrees(rounding, &cases(), TOLERANCE_TF32);
    agrees(rounding, &by_eights(), TOLERANCE_TF32);
    // cuBLAS may take another way with smaller ones, and with odd ones.
    let shape = LinearShape { batch: 256, inputs: 256, outputs: 256 };
    let case = Case::Linear(shape, Activation::Identity);
    let (exact, found) = (case.run(exact), case.run(rounding));
    let difference = compare("TF32", "y", &exact[0].1, &found[0].1, 2e-5);
    assert!(difference.is_some(), "nothing was rounded");
}

/// Whether the weights' gradient is of the input that is there, when a forward pass laid out another
/// one in the same array.
#[track_caller]
pub(crate) fn lays_out_what_is_there(device: &Cuda) {
    let Case::Conv(shape, _) = by_eights()[3] else { panic!("the first layer") };
    let values = |len, salt| conformance::values(len, salt, 1.0);
    let filled = |mut array, len, salt| {
        device.upload(&mut array, &values(len, salt));
        array
    };
    let weights = filled(device.weights(shape.weights_len()), shape.weights_len(), 1);
    let bias = device.floats(shape.out_c);
    let d_y = filled(device.values(shape.output_len()), shape.output_len(), 2);
    let gradient = |between: &[u32]| {
        let mut x = device.values(shape.input_len());
        let mut y = device.values(shape.output_len());
        for &salt in between {
            device.upload(&mut x, &values(shape.input_len(), salt));
            device.conv_forward(&mut y, &x, &weights, &bias, Activation::Relu, &shape);
        }
        device.upload(&mut x, &values(shape.input_len(), 3));
        let (mut d_weights, mut d_bias) =
            (device.floats(shape.weights_len()), device.floats(shape.out_c));
        device.conv_backward_weights(&mut d_weights, &mut d_bias, &d_y, &x, &shape);
        let mut found = vec![0.0; shape.weights_len()];
        device.download(&mut found, &d_weights);
        found
    };
    assert_eq!(gradient(&[]), gradient(&[4]), "an input of before was taken");
    assert_eq!(gradient(&[]), gradient(&[3]));
}

/// Outputs to the bit.
fn same_bits(a: &Outputs, b: &Outputs) -> bool {
    let words = |outputs: &Outputs| -> Vec<u32> {
        outputs.iter().flat_map(|(_, values)| values.iter().map(|v| v.to_bits())).collect()
    };
    words(a) == words(b)
}

/// Whether results are the same again, masks and maxima those of the plain loops, and an update in
/// place what is promised of it.
#[track_caller]
pub(crate) fn bits(device: &Cuda) {
    what_is_repeated_is_what_was_asked_for(device);
    let reference = Reference::<f32>::new();
    for case in cases().into_iter().chain(by_eights()) {
        let once = case.run(device);
        assert!(same_bits(&once, &case.run(device)), "{case:?} differs from itself");
        if matches!(case, Case::Dropout(..) | Case::Relu(_) | Case::MaxPool(..)) {
            assert!(same_bits(&once, &case.run(&reference)), "{case:?}");
        }
    }
    updates_in_place_are_gradients_and_updates(device);
    updates_are_held_back(device);
    many_updates_are_those_of_each(device);
    many_are_those_asked_for_when_repeated(device);
    lays_out_what_is_there(device);
    begun_sums_are_of_what_is_there(device);
    a_normalised_relu_is_what_both_give(device);
    images_are_those_asked_for(device);
    labels_are_those_given(device);
}

/// Whether operations that the device may remember are those asked for, whatever comes between.
#[track_caller]
pub(crate) fn what_is_repeated_is_what_was_asked_for(device: &Cuda) {
    what_is_dropped_is_of_its_step(device);
    what_grows_while_it_is_remembered_is_remembered_later(device);
    an_error_while_operations_are_remembered_ends_that(device);
}

/// Whether operations that the device may remember have each step's masks, and are done once a step: also
/// where something comes between that no device can remember.
fn what_is_dropped_is_of_its_step(device: &Cuda) {
    const LEN: usize = 1000;
    let reference = Reference::<f32>::new();
    let masked = |step| {
        let key = DropoutKey { seed: 5, step, layer: 1, first: 0 };
        Dropout::Masked { rate: 0.5, kept_scale: 2.0, key }
    };
    let (x, shown) = (conformance::values(LEN, 1, 1.0), conformance::values(LEN, 2, 1.0));
    for between in [false, true] {
        let (mut here, mut there) = (device.floats(LEN), reference.floats(LEN));
        let [mut y, mut sums] = [0, 1].map(|_| device.floats(LEN));
        let [mut expected, mut expected_sums] = [0, 1].map(|_| reference.floats(LEN));
        device.upload(&mut here, &x);
        let mut recording = Recording::default();
        for step in [1, 2, 3, 4, 4, 9] {
            while device.begin_repeat(&mut recording, step) {
                device.dropout(&mut y, &here, masked(step), LEN);
                if between {
                    let mut seen = vec![0.0; LEN];
                    device.download(&mut seen, &y);
                    device.upload(&mut here, &shown);
                }
                device.add(&mut sums, &y, LEN);
                if device.end_repeat(&mut recording) {
                    break;
                }
            }
            reference.upload(&mut there, if between && step > 1 { &shown } else { &x });
            reference.dropout(&mut expected, &there, masked(step), LEN);
            reference.add(&mut expected_sums, &expected, LEN);
            let (mut found, mut wanted) = (vec![0.0; LEN], vec![0.0; LEN]);
            device.download(&mut found, &sums);
            reference.download(&mut wanted, &expected_sums);
            assert!(found == wanted, "step {step} was not repeated as it was asked for, {between}");
        }
    }
}

/// Whether operations that ask for more room than when they were done first are done all the same, and
/// are remembered from then on.
fn what_grows_while_it_is_remembered_is_remembered_later(device: &Cuda) {
    let Case::Conv(shape, _) = by_eights()[0] else { panic!("a convolution") };
    // Too few channels of a group for cuDNN: inputs are unfolded.
    let shape = ConvShape { in_c: 4, out_c: 4, groups: 2, ..shape };
    let largest = ConvShape { batch: 20, ..shape };
    let reference = Reference::<f32>::new();
    let values = |len, salt| conformance::values(len, salt, 1.0);
    let (x, w) = (values(largest.input_len(), 1), values(shape.weights_len(), 2));
    let [mut x_here, mut w_here] = [device.floats(x.len()), device.floats(w.len())];
    device.upload(&mut x_here, &x);
    device.upload(&mut w_here, &w);
    let mut y_here = device.floats(largest.output_len());
    let bias = device.floats(shape.out_c);
    let (mut x_there, mut w_there) = (reference.floats(x.len()), reference.floats(w.len()));
    reference.upload(&mut x_there, &x);
    reference.upload(&mut w_there, &w);
    let mut y_there = reference.floats(largest.output_len());
    let nothing = reference.floats(shape.out_c);
    let mut recording = Recording::default();
    let [before, _] = device.graphs_launched();
    for batch in [1, 20, 20, 20] {
        let shape = ConvShape { batch, ..shape };
        device.upload(&mut y_here, &vec![0.0; largest.output_len()]);
        while device.begin_repeat(&mut recording, 0) {
            let activation = Activation::Identity;
            device.conv_forward(&mut y_here, &x_here, &w_here, &bias, activation, &shape);
            if device.end_repeat(&mut recording) {
                break;
            }
        }
        reference.conv_forward(
            &mut y_there,
            &x_there,
            &w_there,
            &nothing,
            Activation::Identity,
            &shape,
        );
        let (mut found, mut expected) =
            (vec![0.0; shape.output_len()], vec![0.0; shape.output_len()]);
        device.download(&mut found, &y_here);
        reference.download(&mut expected, &y_there);
        let difference = compare("repeated", "y", &expected, &found, conformance::TOLERANCE);
        assert!(difference.is_none(), "{batch} images: {difference:?}");
    }
    let launched = device.graphs_launched()[0] - before;
    assert!(launched >= 2 || graphs() != "all", "{launched} graphs launched");
}

/// How much of graphs the stand-in for the driver can; a driver can all.
fn graphs() -> String {
    std::env::var("EMULATED_GRAPHS").unwrap_or_else(|_| "all".to_owned())
}

/// Whether a device does what it is asked for after an error came while it was remembering.
fn an_error_while_operations_are_remembered_ends_that(device: &Cuda) {
    const NUMBERS: [f32; 3] = [1.0, 2.0, 3.0];
    let check = |sums: &Floats, times: u8| {
        let mut seen = [0.0; 3];
        device.download(&mut seen, sums);
        assert_eq!(seen, NUMBERS.map(|number| number * f32::from(times)));
    };
    for full in [true, false] {
        let [mut sums, mut terms, held] = [0, 1, 2].map(|_| device.floats(3));
        device.upload(&mut terms, &NUMBERS);
        let mut recording = Recording::default();
        assert!(device.begin_repeat(&mut recording, 0));
        device.add(&mut sums, &terms, 3);
        assert!(device.end_repeat(&mut recording));
        // From here on it remembers, if it can.
        assert!(device.begin_repeat(&mut recording, 0));
        if full {
            assert!(catch(|| device.floats(TOO_MANY)).is_err(), "it has {TOO_MANY} numbers");
            // At once, and not from the next recording on.
            device.add(&mut sums, &terms, 3);
        } else {
            // As where somebody panics between two operations, and what he holds goes.
            device.add(&mut sums, &terms, 3);
            drop(held);
        }
        // What was to be remembered was not done.
        let done = if full || graphs() == "none" { 2 } else { 1 };
        let mut recording = Recording::default();
        for times in done + 1..done + 4 {
            while device.begin_repeat(&mut recording, 0) {
                device.add(&mut sums, &terms, 3);
                if device.end_repeat(&mut recording) {
                    break;
                }
            }
            check(&sums, times);
        }
    }
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
    let expected = values(&|x| device.upload_levels(x, levels(&one)));
    let ahead = values(&|x| {
        let number = device.bring_levels(levels(&one));
        device.upload_brought(x, number, levels(&one));
    });
    let overtaken = values(&|x| {
        let number = device.bring_levels(levels(&one));
        device.upload_levels(x, fewer);
        device.upload_brought(x, number, levels(&one));
    });
    assert!(ahead == expected && overtaken == expected);
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

/// More numbers than there is room for.
const TOO_MANY: usize = 1 << 40;

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

/// Lengths around 256 threads and groups of 64 values; rounds of sums one, two and three deep.
pub(crate) fn borders() -> Vec<Case> {
    let both = [Activation::Identity, Activation::Relu];
    let batch_norm = |shape| both.map(|activation| Case::BatchNorm(shape, activation, None));
    let mut cases = Vec::new();
    for len in [1, 63, 64, 65, 255, 256, 257, 64 * 64, 64 * 64 + 1] {
        cases.extend([
            Case::Largest(len),
            Case::Relu(len),
            Case::Dropout(len, Dropout::Scaled(0.3)),
        ]);
        let shape = LinearShape { batch: len, inputs: 2, outputs: 3 };
        cases.push(Case::Linear(shape, Activation::Relu));
        let (rows, channels, epsilon, momentum) = (len, 3, 1e-5, 0.1);
        cases.extend(batch_norm(BatchNormShape { rows, channels, epsilon, momentum }));
    }
    // Whole runs of eight channels in several groups of rows.
    let (rows, channels, epsilon, momentum) = (2100, 32, 1e-5, 0.1);
    cases.extend(batch_norm(BatchNormShape { rows, channels, epsilon, momentum }));
    for (channels, groups, size) in [(256, 2, 5), (258, 1, 9), (128, 1, 4), (7, 7, 3)] {
        let region = LrnRegion::AcrossMaps { groups };
        let (alpha, beta, k) = (0.3, 0.75, 1.0);
        cases.push(Case::Lrn(LrnShape {
            batch: 2,
            height: 3,
            width: 3,
            channels,
            region,
            size,
            alpha,
            beta,
            k,
        }));
    }
    // More steps than taps: inputs that no window sees get no gradient.
    cases.push(Case::Conv(
        ConvShape {
            batch: 3,
            in_h: 11,
            in_w: 9,
            in_c: 4,
            out_h: 3,
            out_w: 2,
            out_c: 6,
            kernel: 2,
            stride: 4,
            pad: 0,
            groups: 2,
        },
        Activation::Relu,
    ));
    cases
}
