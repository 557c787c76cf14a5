//! Every direction against plain loops in `f64`, called past [`super::suits`]: what does not pay
//! must be right all the same.

use alexnet_ops::Reference;
use alexnet_ops::{Activation, ConvShape, Device, Precision};

use super::{backward_input, backward_weights, forward, is_possible};
use crate::{Cpu, Isa};

/// Largest relative L2 distance from the exact result.
const TOLERANCE: f64 = 1e-5;

/// The layers of AlexNet that are convolutions, for a few images.
const ALEXNET: [(&str, ConvShape); 6] = [
    ("conv1", layer(1, 224, 3, 96, 11, (4, 2), 1)),
    ("conv2", layer(1, 27, 96, 256, 5, (1, 2), 1)),
    ("conv2 in two towers", layer(1, 27, 96, 256, 5, (1, 2), 2)),
    ("conv3", layer(1, 13, 256, 384, 3, (1, 1), 1)),
    ("conv4", layer(1, 13, 384, 384, 3, (1, 1), 1)),
    ("conv5 in two towers", layer(2, 13, 384, 256, 3, (1, 1), 2)),
];

const fn layer(
    batch: usize,
    size: usize,
    in_c: usize,
    out_c: usize,
    kernel: usize,
    (stride, pad): (usize, usize),
    groups: usize,
) -> ConvShape {
    let out = (size + 2 * pad - kernel) / stride + 1;
    ConvShape {
        batch,
        in_h: size,
        in_w: size,
        in_c,
        out_h: out,
        out_w: out,
        out_c,
        kernel,
        stride,
        pad,
        groups,
    }
}

/// Numbers around zero that depend on `salt`.
fn numbers(len: usize, salt: u32) -> Vec<f32> {
    let mut state = salt.wrapping_mul(0x9E37_79B9) | 1;
    let next = || {
        state ^= state << 13;
        state ^= state >> 17;
        state ^= state << 5;
        (state >> 8) as f32 / (1 << 23) as f32 - 1.0
    };
    std::iter::repeat_with(next).take(len).collect()
}

/// The inputs of a layer: x, weights, bias and the gradient of y.
fn inputs(shape: &ConvShape) -> [Vec<f32>; 4] {
    let lengths = [shape.input_len(), shape.weights_len(), shape.out_c, shape.output_len()];
    let mut salt = 0;
    lengths.map(|len| {
        salt += 1;
        numbers(len, salt)
    })
}

/// Output, input gradient (stride 1) and gradients of weights and bias on `cpu`, of which every
/// element was NaN before.
fn found(cpu: &Cpu, shape: &ConvShape, activation: Activation) -> Vec<Vec<f32>> {
    let [x, weights, bias, d_y] = inputs(shape);
    let mut array = cpu.floats(weights.len());
    cpu.upload(&mut array, &weights);
    let lengths = [shape.output_len(), shape.input_len(), shape.weights_len(), shape.out_c];
    let mut outputs = lengths.map(|len| vec![f32::NAN; len]);
    let [y, d_x, d_weights, d_bias] = &mut outputs;
    forward(&cpu.context, y, &x, &array, &bias, activation, shape);
    backward_weights(&cpu.context, d_weights, d_bias, &d_y, &x, shape);
    if shape.stride == 1 {
        backward_input(&cpu.context, d_x, &d_y, &array, shape);
    } else {
        d_x.clear();
    }
    outputs.into()
}

/// The same by the reference.
fn expected(shape: &ConvShape, activation: Activation) -> Vec<Vec<f64>> {
    let [x, weights, bias, d_y] =
        inputs(shape).map(|values| values.into_iter().map(f64::from).collect::<Vec<_>>());
    let reference = Reference::<f64>::new();
    let [mut y, mut d_x, mut d_weights, mut d_bias] =
        [d_y.len(), x.len(), weights.len(), bias.len()].map(|len| vec![0.0; len]);
    reference.conv_forward(&mut y, &x, &weights, &bias, activation, shape);
    reference.conv_backward_input(&mut d_x, &d_y, &weights, shape);
    reference.conv_backward_weights(&mut d_weights, &mut d_bias, &d_y, &x, shape);
    vec![y, d_x, d_weights, d_bias]
}

/// Relative L2 distance.
fn distance(found: &[f32], expected: &[f64]) -> f64 {
    let squares = |values: &mut dyn Iterator<Item = f64>| values.map(|x| x * x).sum::<f64>().sqrt();
    let difference =
        squares(&mut found.iter().zip(expected).map(|(found, exact)| f64::from(*found) - exact));
    let size = squares(&mut expected.iter().copied());
    if size == 0.0 { difference } else { difference / size }
}

fn assert_close(cpu: &Cpu, shape: &ConvShape, expected: &[Vec<f64>], activation: Activation) {
    let found = found(cpu, shape, activation);
    for (name, (found, expected)) in
        ["y", "d_x", "d_weights", "d_bias"].into_iter().zip(found.iter().zip(expected))
    {
        let distance = distance(found, expected);
        assert!(distance <= TOLERANCE, "{name} {distance:e} {} {shape:?}", cpu.isa());
    }
}

fn cpus(threads: usize) -> Vec<Cpu> {
    let cpu = |isa| Cpu::with(threads, isa, Precision::F32).expect("threads");
    Isa::available().into_iter().filter(|isa| *isa != Isa::Amx).map(cpu).collect()
}

#[test]
fn alexnets_layers_are_accurate_in_every_direction() {
    for (name, shape) in ALEXNET {
        assert!(super::suits(&shape), "{name}");
        let expected = expected(&shape, Activation::Identity);
        for cpu in cpus(2) {
            assert_close(&cpu, &shape, &expected, Activation::Identity);
        }
    }
}

/// Odd shapes: every kernel and pad, sizes from one pixel on, channels that fill no vector.
fn odd_shapes() -> Vec<ConvShape> {
    let channels = [(1, 1), (3, 5), (17, 48), (48, 17), (2, 33), (20, 4)];
    let sizes = [(1, 1), (2, 7), (5, 4), (9, 13), (14, 8), (23, 19)];
    let mut shapes = Vec::new();
    for kernel in 2..=7 {
        for (index, (height, width)) in sizes.into_iter().enumerate() {
            for (pad, groups) in [(0, 1), (kernel / 2, 2), (kernel - 1, 3), (kernel, 1)] {
                let (from, to) = channels[(index + kernel + pad) % channels.len()];
                let out = |size: usize| (size + 2 * pad + 1).saturating_sub(kernel);
                shapes.push(ConvShape {
                    batch: 1 + (index + pad) % 3,
                    in_h: height,
                    in_w: width,
                    in_c: from * groups,
                    out_h: out(height),
                    out_w: out(width),
                    out_c: to * groups,
                    kernel,
                    stride: 1,
                    pad,
                    groups,
                });
            }
        }
    }
    for (kernel, stride, pad, channels) in
        [(11, 4, 2, 3), (5, 2, 0, 4), (3, 2, 1, 17), (7, 3, 7, 1), (4, 3, 2, 5), (8, 4, 3, 3)]
    {
        shapes.push(layer(2, 21, channels, 9, kernel, (stride, pad), 1));
        // The last window sticks out at the bottom and right.
        let shape = layer(1, 22, channels, 40, kernel, (stride, pad), 1);
        shapes.push(ConvShape { out_h: shape.out_h + 1, out_w: shape.out_w + 1, ..shape });
    }
    shapes.retain(|shape| shape.out_h * shape.out_w > 0);
    shapes
}

#[test]
fn every_shape_is_computed_with_every_set_of_instructions() {
    let cpus = cpus(2);
    for (index, shape) in odd_shapes().into_iter().enumerate() {
        assert!(is_possible(&shape), "{shape:?}");
        let activation = [Activation::Identity, Activation::Relu][index % 2];
        let expected = expected(&shape, activation);
        for cpu in &cpus {
            assert_close(cpu, &shape, &expected, activation);
        }
    }
}

#[test]
fn results_are_the_same_bits_for_any_number_of_threads() {
    let mut shapes = odd_shapes();
    shapes.extend([
        layer(5, 27, 32, 64, 5, (1, 2), 2),
        layer(17, 13, 48, 96, 3, (1, 1), 1),
        layer(3, 40, 16, 300, 3, (1, 1), 1),
        layer(9, 13, 200, 160, 3, (1, 1), 1),
    ]);
    let bits = |shape: &ConvShape, cpu: &Cpu| -> Vec<u32> {
        found(cpu, shape, Activation::Relu).concat().iter().map(|x| x.to_bits()).collect()
    };
    let one = cpus(1);
    for threads in [2, 3, 8] {
        for (many, one) in cpus(threads).iter().zip(&one) {
            for shape in shapes.iter().step_by(3).chain(&shapes[shapes.len() - 4..]) {
                assert_eq!(bits(shape, many), bits(shape, one), "{threads} threads {shape:?}");
            }
        }
    }
}

/// One image's kernels are half transformed, those of a batch are whole.
#[test]
fn an_image_gets_the_same_bits_alone_and_in_a_batch() {
    // Outputs of every cover: tiles of four to eight points.
    let sides = [2, 3, 4, 5, 6, 8, 9, 13, 14];
    let small = sides.map(|side| layer(9, side, 20, 40, 3, (1, 1), 1));
    let shapes = [layer(2, 13, 96, 70, 3, (1, 1), 2), layer(9, 21, 3, 40, 11, (4, 2), 1)];
    for shape in shapes.into_iter().chain(small) {
        let all = inputs(&shape);
        for cpu in cpus(2) {
            let mut weights = cpu.floats(shape.weights_len());
            cpu.upload(&mut weights, &all[1]);
            let results = |first: usize, batch: usize| {
                let shape = ConvShape { batch, ..shape };
                let (x, d_y) = (shape.input_len(), shape.output_len());
                let (mut y, mut d_x) = (vec![f32::NAN; d_y], vec![f32::NAN; x]);
                let (x_of, d_y_of) =
                    (&all[0][first * x / batch..][..x], &all[3][first * d_y / batch..]);
                forward(&cpu.context, &mut y, x_of, &weights, &all[2], Activation::Relu, &shape);
                if shape.stride == 1 {
                    let d_y_of = &d_y_of[..d_y];
                    backward_input(&cpu.context, &mut d_x, d_y_of, &weights, &shape);
                }
                [y, d_x].map(|values| values.iter().map(|x| x.to_bits()).collect::<Vec<_>>())
            };
            let batch = results(0, shape.batch);
            for image in 0..shape.batch {
                for (alone, all) in results(image, 1).iter().zip(&batch) {
                    let all = &all[image * alone.len()..][..alone.len()];
                    assert!(alone == all, "image {image} of {shape:?} on {}", cpu.isa());
                }
            }
        }
    }
}

#[test]
fn transformed_kernels_follow_the_weights() {
    let shape = layer(1, 9, 8, 8, 3, (1, 1), 1);
    let cpu = Cpu::with(1, Isa::Portable, Precision::F32).expect("threads");
    let [x, weights, bias, _] = inputs(&shape);
    let mut array = cpu.floats(weights.len());
    let output = |array: &crate::Array| {
        let mut y = vec![0.0; shape.output_len()];
        forward(&cpu.context, &mut y, &x, array, &bias, Activation::Identity, &shape);
        y
    };
    let of_zeros = output(&array);
    cpu.upload(&mut array, &weights);
    assert_ne!(of_zeros, output(&array));
}
