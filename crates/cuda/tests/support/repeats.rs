//! Operations that a device may remember: whether they are those asked for, whatever comes between.

use alexnet_cuda::{Cuda, Floats, Recording, catch};
use alexnet_ops::conformance::{self, Case, compare};
use alexnet_ops::{Activation, ConvShape, Device, Dropout, DropoutKey, Reference};

use super::TOO_MANY;
use super::shapes::by_eights;

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
