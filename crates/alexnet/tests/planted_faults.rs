//! Errors that a device could really make, planted one at a time: the goldens of PyTorch and the
//! conformance suite must each see every one, and see it where it is.

mod support {
    pub(crate) mod check;
    pub(crate) mod faulty;
    pub(crate) mod goldens;
}

use alexnet_ops::conformance::{self, Failure};
use support::faulty::{Fault, Faulty};
use support::{check::check, goldens::Goldens};

/// A fault, and where it is to be seen.
struct Planted {
    fault: Fault,
    /// How the names of the golden cases begin.
    golden: &'static str,
    /// How the names of the conformance cases begin.
    conformance: &'static [&'static str],
    /// The outputs that may differ.
    outputs: &'static [&'static str],
}

const fn planted(
    fault: Fault,
    golden: &'static str,
    conformance: &'static [&'static str],
    outputs: &'static [&'static str],
) -> Planted {
    Planted { fault, golden, conformance, outputs }
}

const PLANTED: [Planted; 11] = [
    planted(Fault::WrongLrnTerm, "lrn_", &["Lrn(", "ConvLrn("], &["d_x"]),
    planted(Fault::LrnWindowAcrossTowers, "lrn_", &["Lrn(", "ConvLrn("], &["y", "d_x"]),
    planted(Fault::SlopeOfTheOtherCurve, "sigmoid", &["Saturation("], &["d_x"]),
    planted(Fault::PoolTieToLast, "max_pool_", &["MaxPool("], &["d_x"]),
    // Alone, and pooled or normalised at once.
    planted(Fault::SwappedGroups, "conv_", &["Conv"], &["y", "y_relu", "d_x", "d_x of each map"]),
    planted(Fault::MissingBiasGradient, "conv_", &["Conv("], &["d_bias"]),
    planted(Fault::StaleWeightGradient, "linear", &["Linear("], &["d_weights"]),
    planted(Fault::BiasedRunningVariance, "batch_norm_", &["BatchNorm("], &["running"]),
    planted(Fault::DropoutScaleForgotten, "dropout_", &["Dropout(", "LinearDropout("], &["y"]),
    planted(Fault::LossGradientSummed, "softmax_", &["SoftmaxCrossEntropy("], &["d_logits"]),
    planted(Fault::MomentumForgotten, "sgd_", &["Sgd("], &["weights", "velocity"]),
];

/// Holds that a suite saw the fault, and in no other operation or output.
fn assert_seen(suite: &str, planted: &Planted, operations: &[&str], failures: &[Failure]) {
    let Planted { fault, outputs, .. } = planted;
    assert!(!failures.is_empty(), "{suite}: {fault:?} passes unseen");
    for failure in failures {
        let begins = |operation: &&str| failure.case.starts_with(operation);
        let there = operations.iter().any(begins) && outputs.contains(&failure.output);
        assert!(there, "{suite}: {fault:?} shows in {failure:#?}");
    }
}

#[test]
fn both_suites_see_every_planted_fault_in_its_own_operation() {
    let goldens = Goldens::read();
    for planted in &PLANTED {
        let device = Faulty::with(planted.fault);
        assert_seen("goldens", planted, &[planted.golden], &check(&device, &goldens));
        assert_seen("conformance", planted, planted.conformance, &conformance::check(&device));
    }
}

/// PyTorch has no such operation, so that there is no golden of it alone; those of training go
/// through the two operations it stands for.
#[test]
fn the_conformance_suite_sees_a_fault_in_an_update_without_a_gradient() {
    let fault = Fault::LinearDecayForgotten;
    let planted = planted(fault, "", &["LinearUpdate("], &["weights", "velocity"]);
    let failures = conformance::check(&Faulty::with(fault));
    assert_seen("conformance", &planted, planted.conformance, &failures);
}

#[test]
fn neither_suite_complains_of_the_same_device_without_a_fault() {
    let device = Faulty::sound();
    let (goldens, conformance) = (check(&device, &Goldens::read()), conformance::check(&device));
    assert!(goldens.is_empty(), "goldens: {goldens:#?}");
    assert!(conformance.is_empty(), "conformance: {conformance:#?}");
}
