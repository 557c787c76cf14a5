//! Convolution as the definition says: every output is a sum over kernel rows, kernel columns and
//! the input channels of its group.
//!
//! `x (N, H, W, C)`, `weights (K, R, S, C/groups)`, `y (N, P, Q, K)`.

use crate::device::Activation;
use crate::real::Real;
use crate::shape::ConvShape;

pub(super) fn forward<T: Real>(
    y: &mut [T],
    x: &[T],
    weights: &[T],
    bias: &[T],
    activation: Activation,
    shape: &ConvShape,
) {
    for (out, bias) in y[..shape.output_len()].iter_mut().zip(bias[..shape.out_c].iter().cycle()) {
        *out = *bias;
    }
    for_each_product(shape, |out, at, weight| y[out] += x[at] * weights[weight]);
    if activation == Activation::Relu {
        for out in &mut y[..shape.output_len()] {
            *out = super::elementwise::rectified(*out);
        }
    }
}

pub(super) fn backward_input<T: Real>(d_x: &mut [T], d_y: &[T], weights: &[T], shape: &ConvShape) {
    d_x[..shape.input_len()].fill(T::default());
    for_each_product(shape, |out, at, weight| d_x[at] += d_y[out] * weights[weight]);
}

pub(super) fn backward_weights<T: Real>(
    d_weights: &mut [T],
    d_bias: &mut [T],
    d_y: &[T],
    x: &[T],
    shape: &ConvShape,
) {
    d_weights[..shape.weights_len()].fill(T::default());
    for_each_product(shape, |out, at, weight| d_weights[weight] += d_y[out] * x[at]);
    super::linear::sum_rows(&mut d_bias[..shape.out_c], &d_y[..shape.output_len()]);
}

/// Calls `visit(y index, x index, weight index)` once for every product of the convolution. Forward
/// and both gradients are this one list of products, summed into a different one of the three.
fn for_each_product(shape: &ConvShape, mut visit: impl FnMut(usize, usize, usize)) {
    let ConvShape { batch, in_h, in_w, in_c, out_h, out_w, out_c, kernel, groups, .. } = *shape;
    let (group_in, group_out) = (in_c / groups, out_c / groups);
    for n in 0..batch {
        for p in 0..out_h {
            for q in 0..out_w {
                for k in 0..out_c {
                    let out = ((n * out_h + p) * out_w + q) * out_c + k;
                    let first_channel = k / group_out * group_in;
                    for r in 0..kernel {
                        let Some(row) = shape.tap(p, r, in_h) else { continue };
                        for s in 0..kernel {
                            let Some(column) = shape.tap(q, s, in_w) else { continue };
                            let at = ((n * in_h + row) * in_w + column) * in_c + first_channel;
                            let weight = ((k * kernel + r) * kernel + s) * group_in;
                            for c in 0..group_in {
                                visit(out, at + c, weight + c);
                            }
                        }
                    }
                }
            }
        }
    }
}
