//! Groups of a convolution that are laid out apart: each array once, and never what stood in it before.

use alexnet_cuda::{Cuda, Floats, Recording};
use alexnet_ops::conformance::{self, Case};
use alexnet_ops::{Activation, ConvShape, Device, Dropout};

use super::begun::{down, filled};
use super::shapes::by_eights;

/// A convolution in groups.
struct Layer<'d> {
    device: &'d Cuda,
    shape: ConvShape,
    weights: Floats,
    bias: Floats,
}

/// What a layer computes of an input and its output's gradient.
type Pass = fn(&Layer<'_>, [&Floats; 2]) -> Vec<f32>;

const PASSES: [(&str, Pass); 3] = [
    ("forward", |layer, [x, _]| layer.forward(x)),
    ("gradient of weights", |layer, [x, d_y]| layer.weights_gradient(x, d_y)),
    ("gradient of inputs", |layer, [_, d_y]| layer.input_gradient(d_y)),
];

impl<'d> Layer<'d> {
    fn new(device: &'d Cuda, shape: ConvShape) -> Self {
        let mut weights = device.weights(shape.weights_len());
        device.upload(&mut weights, &conformance::values(shape.weights_len(), 1, 1.0));
        Self { device, shape, weights, bias: device.floats(shape.out_c) }
    }

    fn forward(&self, x: &Floats) -> Vec<f32> {
        let Self { device, shape, weights, bias } = self;
        let mut y = device.values(shape.output_len());
        device.conv_forward(&mut y, x, weights, bias, Activation::Identity, shape);
        down(*device, &y, shape.output_len())
    }

    fn weights_gradient(&self, x: &Floats, d_y: &Floats) -> Vec<f32> {
        let Self { device, shape, .. } = self;
        let [mut d_weights, mut d_bias] =
            [shape.weights_len(), shape.out_c].map(|len| device.floats(len));
        device.conv_backward_weights(&mut d_weights, &mut d_bias, d_y, x, shape);
        down(*device, &d_weights, shape.weights_len())
    }

    fn input_gradient(&self, d_y: &Floats) -> Vec<f32> {
        let Self { device, shape, weights, .. } = self;
        let mut d_x = device.values(shape.input_len());
        device.conv_backward_input(&mut d_x, d_y, weights, shape);
        down(*device, &d_x, shape.input_len())
    }

    /// An input and an output's gradient.
    fn arrays(&self, salts: [u32; 2]) -> [Floats; 2] {
        let [x, d_y] = [self.shape.input_len(), self.shape.output_len()];
        [filled(self.device, x, salts[0]), filled(self.device, d_y, salts[1])]
    }

    /// The same numbers in arrays that nobody knows.
    fn anew(&self, arrays: [&Floats; 2]) -> [Floats; 2] {
        let mut copies = self.arrays([9, 9]);
        let lens = [self.shape.input_len(), self.shape.output_len()];
        for ((copy, array), len) in copies.iter_mut().zip(arrays).zip(lens) {
            self.device.upload(copy, &down(self.device, array, len));
        }
        copies
    }
}

/// Whether what is laid out is of what is there.
#[track_caller]
pub(crate) fn groups_are_of_what_is_there(device: &Cuda) {
    let Case::Conv(shape, _) = by_eights()[1] else { panic!("a convolution in groups") };
    if device.name().contains("cuDNN") {
        each_array_is_laid_out_once(device, shape);
    }
    groups_are_not_those_of_what_was_there(device, shape);
    groups_are_not_those_of_what_was_repeated(device, shape);
}

/// And each group is a convolution of its own.
fn each_array_is_laid_out_once(device: &Cuda, shape: ConvShape) {
    let layer = Layer::new(device, shape);
    let [x, d_y] = layer.arrays([2, 3]);
    let pass = || PASSES.iter().for_each(|(_, pass)| drop(pass(&layer, [&x, &d_y])));
    device.begin_timing();
    pass();
    pass();
    let timed = device.end_timing();
    let count = |part: &str| timed.iter().filter(|timed| timed.operation.contains(part)).count();
    // What the first pass laid out stands there for the second.
    assert_eq!((count("part_groups"), count("join_groups")), (2, 4));
    assert_eq!((count("16 to 8 maps"), count("48 to 24 maps")), (2 * 3 * shape.groups, 0));
}

/// Whoever writes an array, and whatever else is laid out.
fn groups_are_not_those_of_what_was_there(device: &Cuda, shape: ConvShape) {
    type Between<'b> = &'b dyn Fn([&mut Floats; 2]);
    let layer = Layer::new(device, shape);
    // Of the same arrays two groups in place of three.
    let other = Layer::new(device, ConvShape { in_c: 32, out_c: 16, groups: 2, ..shape });
    let [len_x, len_y] = [shape.input_len(), shape.output_len()];
    let between: [(&str, Between<'_>); 6] = [
        ("nothing", &|_| {}),
        ("another input", &|[x, _]| device.upload(x, &conformance::values(len_x, 4, 1.0))),
        ("another gradient", &|[_, d_y]| {
            device.dropout(d_y, &filled(device, len_y, 5), Dropout::Scaled(1.0), len_y)
        }),
        ("a forward pass", &|[x, _]| drop(layer.forward(x))),
        ("a gradient of inputs", &|[_, d_y]| drop(layer.input_gradient(d_y))),
        ("another layer's gradients", &|[x, d_y]| drop(other.weights_gradient(x, d_y))),
    ];
    let passes = PASSES.map(|pass| [(&layer, pass), (&other, pass)]).concat();
    for (what, between) in between {
        for &(of, (name, pass)) in &passes {
            let [mut x, mut d_y] = layer.arrays([2, 3]);
            layer.forward(&x);
            layer.weights_gradient(&x, &d_y);
            between([&mut x, &mut d_y]);
            let found = pass(of, [&x, &d_y]);
            let [x, d_y] = layer.anew([&x, &d_y]);
            assert!(found == pass(of, [&x, &d_y]), "{name} after {what}: {:?}", of.shape);
        }
    }
}

/// What is remembered writes arrays, and lays them out, unseen.
fn groups_are_not_those_of_what_was_repeated(device: &Cuda, shape: ConvShape) {
    let layer = Layer::new(device, shape);
    let len = shape.output_len();
    let mut source = device.values(len);
    let mut arrays = [0, 1].map(|_| (layer.arrays([2, 3]), device.values(shape.input_len())));
    let mut recordings = [0, 1].map(|_| Recording::default());
    // Each is done, remembered and repeated; the last that was asked for is not the last that was done.
    for (number, salt) in [0, 0, 0, 1, 1, 0, 1, 0].into_iter().zip(3..) {
        device.upload(&mut source, &conformance::values(len, salt, 1.0));
        let ([_, d_y], d_x) = &mut arrays[number];
        while device.begin_repeat(&mut recordings[number], 0) {
            device.dropout(d_y, &source, Dropout::Scaled(1.0), len);
            device.conv_backward_input(d_x, d_y, &layer.weights, &shape);
            if device.end_repeat(&mut recordings[number]) {
                break;
            }
        }
        let found = down(device, d_x, shape.input_len());
        for ([x, d_y], _) in &arrays {
            let gradient = layer.input_gradient(d_y);
            let [_, d_y] = layer.anew([x, d_y]);
            assert!(gradient == layer.input_gradient(&d_y), "afterwards, {salt}");
        }
        let expected = layer.input_gradient(&source);
        assert!(found == expected, "repeated, {salt}");
        // What stands there when the other is repeated.
        layer.input_gradient(&arrays[number].0[1]);
    }
}
