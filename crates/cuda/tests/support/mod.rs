//! What is asked of a device of this crate, emulated or real.

mod apart;
mod begun;
mod crossing;
mod rectified;
mod repeats;
mod shapes;
mod updates;

use alexnet_cuda::Cuda;
use alexnet_ops::conformance::{self, Case, Outputs, cases, compare};
use alexnet_ops::{Activation, Device, LinearShape, Reference};
pub(crate) use apart::groups_are_of_what_is_there;
pub(crate) use begun::begun_sums_are_of_what_is_there;
use crossing::what_crosses_is_what_was_given;
use rectified::a_normalised_relu_is_what_both_give;
pub(crate) use repeats::what_is_repeated_is_what_was_asked_for;
pub(crate) use shapes::{borders, by_eights};
use updates::updates_are_those_promised;

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

/// More numbers than there is room for.
const TOO_MANY: usize = 1 << 40;

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
    updates_are_those_promised(rounding);
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
    updates_are_those_promised(device);
    lays_out_what_is_there(device);
    begun_sums_are_of_what_is_there(device);
    a_normalised_relu_is_what_both_give(device);
    what_crosses_is_what_was_given(device);
}
