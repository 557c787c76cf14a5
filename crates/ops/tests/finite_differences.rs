//! The reference's gradients are the slopes of its forward pass: central differences in `f64`.
//!
//! Each check makes one number of an operation's output, `Σ dy · y`, and asks how it changes when
//! one input moves.

use alexnet_ops::conformance::value;
use alexnet_ops::{
    Activation, AveragePoolShape, BatchNormShape, ConvShape, Device, LinearShape, LossShape,
    LrnRegion, LrnShape, MaxPoolShape, Reference, Saturation,
};

/// Half the width of a difference, and the tolerances PyTorch's gradcheck uses with it.
const STEP: f64 = 1e-6;
const RELATIVE: f64 = 1e-3;
const ABSOLUTE: f64 = 1e-5;

fn reference() -> Reference<f64> {
    Reference::new()
}

fn input(len: usize, salt: u32) -> Vec<f64> {
    (0..len).map(|i| f64::from(value(i, salt))).collect()
}

fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

/// Holds `gradient` to the slopes of `output` around `at`.
fn assert_slopes(case: &str, at: &[f64], gradient: &[f64], output: impl Fn(&Vec<f64>) -> f64) {
    let mut moved = at.to_vec();
    for i in 0..at.len() {
        moved[i] = at[i] + STEP;
        let above = output(&moved);
        moved[i] = at[i] - STEP;
        let below = output(&moved);
        moved[i] = at[i];
        let slope = (above - below) / (2.0 * STEP);
        let allowed = ABSOLUTE + RELATIVE * slope.abs();
        assert!(
            (slope - gradient[i]).abs() <= allowed,
            "{case}: element {i}: gradient {}, slope {slope}",
            gradient[i]
        );
    }
}

#[test]
fn convolution_gradients_are_slopes() {
    let base = ConvShape {
        batch: 2,
        in_h: 7,
        in_w: 6,
        in_c: 4,
        out_h: 7,
        out_w: 6,
        out_c: 6,
        kernel: 3,
        stride: 1,
        pad: 1,
        groups: 1,
    };
    let cases = [
        base,
        ConvShape { groups: 2, ..base },
        ConvShape { kernel: 5, stride: 4, pad: 2, out_h: 2, out_w: 2, ..base },
        ConvShape { kernel: 4, stride: 3, pad: 0, out_h: 2, out_w: 2, ..base }, // sticks out
    ];
    for shape in cases {
        let x = input(shape.input_len(), 1);
        let w = input(shape.weights_len(), 2);
        let b = input(shape.out_c, 3);
        let d_y = input(shape.output_len(), 4);
        let forward = |x: &Vec<f64>, w: &Vec<f64>, b: &Vec<f64>| {
            let mut y = vec![0.0; shape.output_len()];
            reference().conv_forward(&mut y, x, w, b, Activation::Identity, &shape);
            dot(&y, &d_y)
        };
        let (mut d_x, mut d_w, mut d_b) = (x.clone(), w.clone(), b.clone());
        reference().conv_backward_input(&mut d_x, &d_y, &w, &shape);
        reference().conv_backward_weights(&mut d_w, &mut d_b, &d_y, &x, &shape);
        assert_slopes(&format!("d_x of {shape:?}"), &x, &d_x, |x| forward(x, &w, &b));
        assert_slopes(&format!("d_weights of {shape:?}"), &w, &d_w, |w| forward(&x, w, &b));
        assert_slopes(&format!("d_bias of {shape:?}"), &b, &d_b, |b| forward(&x, &w, b));
    }
}

#[test]
fn linear_and_relu_gradients_are_slopes() {
    let shape = LinearShape { batch: 3, inputs: 5, outputs: 4 };
    let (x, w, b, d_y) = (input(15, 1), input(20, 2), input(4, 3), input(12, 4));
    let forward = |x: &Vec<f64>, w: &Vec<f64>, b: &Vec<f64>| {
        let mut y = vec![0.0; 12];
        reference().linear_forward(&mut y, x, w, b, Activation::Relu, &shape);
        y
    };
    let mut d_sums = d_y.clone();
    reference().relu_backward(&mut d_sums, &forward(&x, &w, &b), 1.0, 12);
    let (mut d_x, mut d_w, mut d_b) = (x.clone(), w.clone(), b.clone());
    reference().linear_backward_input(&mut d_x, &d_sums, &w, &shape);
    reference().linear_backward_weights(&mut d_w, &mut d_b, &d_sums, &x, &shape);
    assert_slopes("d_x", &x, &d_x, |x| dot(&forward(x, &w, &b), &d_y));
    assert_slopes("d_weights", &w, &d_w, |w| dot(&forward(&x, w, &b), &d_y));
    assert_slopes("d_bias", &b, &d_b, |b| dot(&forward(&x, &w, b), &d_y));
}

#[test]
fn gradients_of_saturating_curves_are_slopes() {
    let (x, d_y) = (input(40, 1), input(40, 2));
    let x: Vec<f64> = x.iter().map(|x| 4.0 * x).collect();
    for curve in [Saturation::Tanh, Saturation::Sigmoid] {
        let forward = |x: &Vec<f64>| {
            let mut y = vec![0.0; 40];
            reference().saturation_forward(&mut y, x, curve, 40);
            y
        };
        let mut d_x = d_y.clone();
        reference().saturation_backward(&mut d_x, &forward(&x), curve, 40);
        assert_slopes(&format!("{curve:?}"), &x, &d_x, |x| dot(&forward(x), &d_y));
    }
}

#[test]
fn pooling_gradients_are_slopes() {
    for (out_h, size, stride) in [(3, 3, 2), (4, 2, 2), (4, 3, 2)] {
        let shape = MaxPoolShape {
            batch: 2,
            in_h: 8,
            in_w: 8,
            out_h,
            out_w: out_h,
            channels: 3,
            size,
            stride,
        };
        let (x, d_y) = (input(shape.input_len(), 1), input(shape.output_len(), 2));
        let forward = |x: &Vec<f64>| {
            let (mut y, mut positions) = (d_y.clone(), vec![0; shape.output_len()]);
            reference().max_pool_forward(&mut y, &mut positions, x, &shape);
            (dot(&y, &d_y), positions)
        };
        let mut d_x = x.clone();
        reference().max_pool_backward(&mut d_x, &d_y, &forward(&x).1, &shape);
        assert_slopes(&format!("{shape:?}"), &x, &d_x, |x| forward(x).0);
    }
    for (in_h, out_h) in [(7, 3), (1, 6), (6, 6)] {
        let shape = AveragePoolShape { batch: 2, in_h, in_w: 5, out_h, out_w: 2, channels: 3 };
        let (x, d_y) = (input(shape.input_len(), 1), input(shape.output_len(), 2));
        let mut d_x = x.clone();
        reference().average_pool_backward(&mut d_x, &d_y, &shape);
        assert_slopes(&format!("{shape:?}"), &x, &d_x, |x| {
            let mut y = d_y.clone();
            reference().average_pool_forward(&mut y, x, &shape);
            dot(&y, &d_y)
        });
    }
}

#[test]
fn local_response_normalisation_gradients_are_slopes() {
    let regions = [
        (LrnRegion::AcrossMaps { groups: 1 }, 5),
        (LrnRegion::AcrossMaps { groups: 2 }, 5),
        (LrnRegion::AcrossMaps { groups: 1 }, 4),
        (LrnRegion::SameMap, 3),
    ];
    for (region, size) in regions {
        let shape = LrnShape {
            batch: 2,
            height: 4,
            width: 3,
            channels: 8,
            region,
            size,
            alpha: 0.4,
            beta: 0.75,
            k: 1.0,
        };
        let (x, d_y) = (input(shape.len(), 1), input(shape.len(), 2));
        let mut d_x = x.clone();
        reference().lrn_backward(&mut d_x, &d_y, &x, &shape);
        assert_slopes(&format!("{shape:?}"), &x, &d_x, |x| {
            let mut y = d_y.clone();
            reference().lrn_forward(&mut y, x, &shape);
            dot(&y, &d_y)
        });
    }
}

#[test]
fn batch_normalisation_gradients_are_slopes() {
    let shape = BatchNormShape { rows: 9, channels: 4, epsilon: 1e-5, momentum: 0.1 };
    let (x, affine, d_y) = (input(36, 1), input(8, 2), input(36, 3));
    let forward = |x: &Vec<f64>, affine: &Vec<f64>| {
        let (mut y, mut statistics, mut running) = (d_y.clone(), vec![0.0; 8], vec![1.0; 8]);
        let (found, saved, plain) = (&mut y, &mut statistics, Activation::Identity);
        reference().batch_norm_train(found, saved, &mut running, x, affine, plain, &shape);
        (dot(&y, &d_y), statistics)
    };
    let (mut d_x, mut d_affine) = (x.clone(), affine.clone());
    let saved = forward(&x, &affine).1;
    reference().batch_norm_backward(&mut d_x, &mut d_affine, &d_y, &x, &affine, &saved, &shape);
    assert_slopes("d_x", &x, &d_x, |x| forward(x, &affine).0);
    assert_slopes("d_affine", &affine, &d_affine, |affine| forward(&x, affine).0);
}

#[test]
fn the_loss_gradient_is_the_slope_of_the_mean_loss() {
    let (logits, labels) = (input(15, 1), vec![4, 0, 2]);
    for smoothing in [0.0, 0.1] {
        let shape = LossShape { images: 3, classes: 5, mean_over: 7, smoothing };
        let forward = |logits: &Vec<f64>| {
            let (mut losses, mut ranks, mut d_logits) = (vec![0.0; 3], vec![0.0; 3], vec![0.0; 15]);
            let found = [&mut losses, &mut ranks];
            reference().softmax_cross_entropy(found, &mut d_logits, logits, &labels, &shape);
            (losses.iter().sum::<f64>() / 7.0, d_logits)
        };
        let what = format!("d_logits, smoothing {smoothing}");
        assert_slopes(&what, &logits, &forward(&logits).1, |logits| forward(logits).0);
    }
}

#[test]
#[should_panic(expected = "gradient")]
fn a_wrong_gradient_is_not_a_slope() {
    let x = input(6, 1);
    let half: Vec<f64> = x.clone();
    assert_slopes("Σ x², half of whose gradient is claimed", &x, &half, |x| dot(x, x));
}
