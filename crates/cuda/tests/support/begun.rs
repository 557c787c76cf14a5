//! Sums down columns that are begun where an array is written: the gradient of a bias takes them, and the mean
//! of a normalisation, and never those of something else.

use alexnet_cuda::{Cuda, Floats, Recording};
use alexnet_ops::conformance::{self, compare};
use alexnet_ops::{
    Activation, BatchNormShape, Device, Dropout, LinearShape, MaxPoolShape, Reference,
};

use super::TOLERANCE_BF16;

/// What a dropout multiplied by, so that the gradient is rounded once more.
const DROPOUT_FACTOR: f32 = 0.75;

/// A gradient of so many rows and columns, a ReLU's output over it, and a bias.
struct Layer<'d> {
    device: &'d Cuda,
    shape: LinearShape,
    y: Floats,
}

impl<'d> Layer<'d> {
    fn new(device: &'d Cuda, rows: usize, columns: usize) -> Self {
        let shape = LinearShape { batch: rows, inputs: 2, outputs: columns };
        Self { device, shape, y: formed(device, Activation::Relu, &shape) }
    }

    fn len(&self) -> usize {
        self.shape.batch * self.shape.outputs
    }

    /// A gradient that passed the ReLU and the dropout behind it.
    fn passed(&self, salt: u32) -> Floats {
        let mut d = filled(self.device, self.len(), salt);
        self.device.relu_backward(&mut d, &self.y, DROPOUT_FACTOR, self.len());
        d
    }

    /// A gradient that passed a normalisation.
    fn given_back(&self, salt: u32) -> Floats {
        self.normalised_back(salt, Activation::Identity)
    }

    /// The same, and a ReLU before.
    fn given_back_rectified(&self, salt: u32) -> Floats {
        self.normalised_back(salt, Activation::Relu)
    }

    fn normalised_back(&self, salt: u32, activation: Activation) -> Floats {
        let LinearShape { batch: rows, outputs: channels, .. } = self.shape;
        let shape = BatchNormShape { rows, channels, epsilon: 1e-5, momentum: 0.1 };
        // Statistics of something else leave gradients whose sums are not 0.
        let [affine, statistics] = [5, 6].map(|salt| parameters(self.device, 2 * channels, salt));
        let [mut d_y, x] = [salt, 4].map(|salt| filled(self.device, self.len(), salt));
        let (mut d_x, mut d_affine) =
            (self.device.values(self.len()), self.device.floats(2 * channels));
        let (device, d, saved) = (self.device, &mut d_affine, &statistics);
        match activation {
            Activation::Identity => {
                device.batch_norm_backward(&mut d_x, d, &d_y, &x, &affine, saved, &shape);
            }
            Activation::Relu => {
                let (d, read, figures) = ([&mut d_x, d], [&x, &self.y], [&affine, saved]);
                device.rectified_batch_norm_backward(d, &mut d_y, read, figures, &shape);
            }
        }
        d_x
    }

    fn bias_gradient(&self, d: &Floats) -> Vec<f32> {
        let mut d_bias = self.device.floats(self.shape.outputs);
        self.device.linear_backward_bias(&mut d_bias, d, &self.shape);
        down(self.device, &d_bias, self.shape.outputs)
    }

    /// The same of these numbers in an array that nobody knows.
    fn bias_gradient_anew(&self, d: &Floats) -> Vec<f32> {
        self.bias_gradient(&copied(self.device, d, self.len()))
    }
}

/// What a linear layer gives.
fn formed(device: &Cuda, activation: Activation, shape: &LinearShape) -> Floats {
    let LinearShape { batch, inputs, outputs } = *shape;
    let (x, bias) = (filled(device, batch * inputs, 1), parameters(device, outputs, 3));
    let mut weights = device.weights(inputs * outputs);
    device.upload(&mut weights, &conformance::values(inputs * outputs, 2, 1.0));
    let mut y = device.values(batch * outputs);
    device.linear_forward(&mut y, &x, &weights, &bias, activation, shape);
    y
}

/// Mean and deviation down the columns.
fn statistics(device: &Cuda, x: &Floats, [rows, channels]: [usize; 2]) -> Vec<f32> {
    let shape = BatchNormShape { rows, channels, epsilon: 1e-5, momentum: 0.1 };
    let affine = parameters(device, 2 * channels, 5);
    let [mut statistics, mut running] = [0, 1].map(|_| device.floats(2 * channels));
    let mut y = device.values(rows * channels);
    let (saved, plain) = (&mut statistics, Activation::Identity);
    device.batch_norm_train(&mut y, saved, &mut running, x, &affine, plain, &shape);
    down(device, &statistics, 2 * channels)
}

/// To what bf16 holds.
fn rounded(number: f32) -> f32 {
    f32::from_bits(number.to_bits() & 0xffff_0000)
}

pub(super) fn filled(device: &Cuda, len: usize, salt: u32) -> Floats {
    let mut array = device.values(len);
    device.upload(&mut array, &conformance::values(len, salt, 1.0));
    array
}

pub(super) fn parameters(device: &Cuda, len: usize, salt: u32) -> Floats {
    let mut array = device.floats(len);
    device.upload(&mut array, &conformance::values(len, salt, 1.0));
    array
}

/// These numbers in an array that nobody knows.
fn copied(device: &Cuda, array: &Floats, len: usize) -> Floats {
    let mut copy = device.values(len);
    device.upload(&mut copy, &down(device, array, len));
    copy
}

pub(super) fn down<D: Device>(device: &D, array: &D::Floats, len: usize) -> Vec<f32> {
    let mut found = vec![0.0; len];
    device.download(&mut found, array);
    found
}

/// Whether sums that were begun are used, where they are sums of what is there, and only there.
#[track_caller]
pub(crate) fn begun_sums_are_of_what_is_there(device: &Cuda) {
    what_passed_a_relu_and_dropout_is_what_both_let_through(device);
    what_passed_a_layer_has_the_bits_of_sums_formed_later(device);
    means_have_the_bits_of_means_formed_later(device);
    what_a_pooling_gave_back_has_the_sums_of_what_is_stored(device);
    begun_sums_are_not_those_of_what_was_there(device);
    begun_sums_are_not_those_of_what_was_repeated(device);
    begun_means_are_not_those_of_what_was_repeated(device);
}

/// One block, one round, and two; and no runs of eight.
const SIZES: [[usize; 2]; 4] = [[5, 16], [300, 48], [6000, 16], [7, 10]];

/// A gradient that such a layer gave back.
type Way<'d> = fn(&Layer<'d>, u32) -> Floats;

fn what_passed_a_relu_and_dropout_is_what_both_let_through(device: &Cuda) {
    for [rows, columns] in SIZES {
        let layer = Layer::new(device, rows, columns);
        let [mut expected, y] = [&filled(device, layer.len(), 3), &layer.y]
            .map(|array| down(device, array, layer.len()));
        Reference::<f32>::new().relu_backward(&mut expected, &y, DROPOUT_FACTOR, layer.len());
        let found = down(device, &layer.passed(3), layer.len());
        let differs = compare("ReLU and dropout", "d_x", &expected, &found, TOLERANCE_BF16);
        assert_eq!(differs, None, "{rows} x {columns}");
    }
}

fn what_passed_a_layer_has_the_bits_of_sums_formed_later<'d>(device: &'d Cuda) {
    let ways: [(&str, Way<'d>); 3] = [
        ("ReLU", Layer::passed),
        ("normalisation", Layer::given_back),
        ("rectified normalisation", Layer::given_back_rectified),
    ];
    for (name, way) in ways {
        for [rows, columns] in SIZES {
            let layer = Layer::new(device, rows, columns);
            let d = way(&layer, 3);
            let (begun, anew) = (layer.bias_gradient(&d), layer.bias_gradient_anew(&d));
            assert!(begun == anew, "begun by {name}: {rows} x {columns}: {begun:?} {anew:?}");
            assert!(begun.iter().any(|&sum| sum != 0.0));
        }
        let layer = Layer::new(device, 6000, 16);
        let rounds = |d: &Floats| {
            device.begin_timing();
            layer.bias_gradient(d);
            device.end_timing().iter().filter(|timed| timed.operation.starts_with("sum")).count()
        };
        assert_eq!((rounds(&way(&layer, 3)), rounds(&filled(device, layer.len(), 3))), (1, 2));
    }
}

/// Of what a bias was added to, and of what was written in its place. A device that takes the smallest
/// layers in pieces begins these sums, too.
fn means_have_the_bits_of_means_formed_later(device: &Cuda) {
    for (sizes @ [batch, outputs], is_written) in
        SIZES.map(|sizes| [(sizes, false), (sizes, true)]).concat()
    {
        let len = batch * outputs;
        let mut y =
            formed(device, Activation::Identity, &LinearShape { batch, inputs: 2, outputs });
        if is_written {
            device.dropout(&mut y, &filled(device, len, 4), Dropout::Scaled(0.5), len);
        }
        let found = statistics(device, &y, sizes);
        let anew = statistics(device, &copied(device, &y, len), sizes);
        assert!(found == anew, "begun means: {sizes:?} {is_written}: {found:?} {anew:?}");
    }
}

/// Inputs of even and odd sides, windows that stick out, and channels that are no runs of eight; of maxima
/// as they are, and of those that passed a ReLU.
fn what_a_pooling_gave_back_has_the_sums_of_what_is_stored(device: &Cuda) {
    for (in_h, in_w, out_h, out_w, channels) in
        [(13, 13, 6, 6, 16), (8, 7, 4, 3, 24), (4, 9, 1, 4, 8), (7, 7, 3, 3, 10)]
    {
        let (batch, size, stride) = (5, 3, 2);
        let shape = MaxPoolShape { batch, in_h, in_w, out_h, out_w, channels, size, stride };
        // Few maxima are above 0.
        let x: Vec<f32> = conformance::values(shape.input_len(), 1, 1.0);
        let x: Vec<f32> = x.iter().map(|x| rounded(x - 0.75)).collect();
        let d_y: Vec<f32> = conformance::values(shape.output_len(), 2, 1.0);
        let d_y: Vec<f32> = d_y.iter().map(|&d_y| rounded(d_y)).collect();
        for rectified in [false, true] {
            let mut d_x = device.values(shape.input_len());
            let found = given_back(device, &mut d_x, [&x, &d_y], rectified, &shape);
            let reference = Reference::<f32>::new();
            let mut there = reference.values(shape.input_len());
            let expected = given_back(&reference, &mut there, [&x, &d_y], rectified, &shape);
            let difference = conformance::compare("pooled", "d_x", &expected, &found, 1e-2);
            assert!(difference.is_none(), "{shape:?} {rectified}: {difference:?}");
            let layer = Layer::new(device, batch * in_h * in_w, channels);
            let (begun, anew) = (layer.bias_gradient(&d_x), layer.bias_gradient_anew(&d_x));
            let difference = conformance::compare("begun", "d_bias", &anew, &begun, 1e-6);
            assert!(difference.is_none(), "{shape:?} {rectified}: {difference:?}");
        }
    }
}

fn given_back<D: Device>(
    device: &D,
    d_x: &mut D::Floats,
    arrays: [&[f32]; 2],
    rectified: bool,
    shape: &MaxPoolShape,
) -> Vec<f32> {
    let [x, mut d_y] = arrays.map(|numbers| {
        let mut array = device.values(numbers.len());
        device.upload(&mut array, numbers);
        array
    });
    let mut y = device.values(shape.output_len());
    let mut positions = device.bytes(shape.output_len());
    device.max_pool_forward(&mut y, &mut positions, &x, shape);
    if rectified {
        device.rectified_max_pool_backward(d_x, &mut d_y, &y, &positions, shape);
    } else {
        device.max_pool_backward(d_x, &d_y, &positions, shape);
    }
    down(device, d_x, shape.input_len())
}

/// Writes an array.
type Write<'w> = &'w dyn Fn(&mut Floats);

/// Whoever writes the array, and whatever else is summed up.
fn begun_sums_are_not_those_of_what_was_there(device: &Cuda) {
    let layer = Layer::new(device, 6000, 16);
    let (len, other) = (layer.len(), filled(device, layer.len(), 4));
    let before = layer.bias_gradient(&layer.passed(3));
    let between: [(&str, Write<'_>); 5] = [
        ("upload", &|d| device.upload(d, &conformance::values(len, 4, 1.0))),
        ("scale", &|d| device.dropout(d, &other, Dropout::Scaled(0.5), len)),
        ("relu_forward", &|d| device.relu_forward(d, &other, len)),
        ("another ReLU", &|d| device.relu_backward(d, &other, 1.0, len)),
        ("the same again", &|d| {
            device.dropout(d, &other, Dropout::Scaled(0.5), len);
            device.relu_backward(d, &layer.y, 1.0, len);
        }),
    ];
    for (name, write) in between {
        let mut d = layer.passed(3);
        write(&mut d);
        let (found, expected) = (layer.bias_gradient(&d), layer.bias_gradient_anew(&d));
        assert!(found == expected && found != before, "{name}");
    }
    let d = layer.passed(3);
    let another = layer.bias_gradient(&layer.passed(4));
    assert!(layer.bias_gradient(&d) == before && another != before, "another array's");
    // Rows of another length.
    let d = layer.passed(3);
    let wider = Layer::new(device, 3000, 32);
    assert!(wider.bias_gradient(&d) == wider.bias_gradient_anew(&d));
}

/// What is remembered writes arrays, and begins sums, unseen.
fn begun_sums_are_not_those_of_what_was_repeated(device: &Cuda) {
    let layer = Layer::new(device, 6000, 16);
    let len = layer.len();
    let mut source = device.values(len);
    let mut gradients = [0, 1].map(|_| (device.values(len), device.floats(layer.shape.outputs)));
    let mut recordings = [0, 1].map(|_| Recording::default());
    // Each is done, remembered and repeated; the last that was asked for is not the last that was done.
    let order = [0, 0, 0, 1, 1, 0, 1, 0];
    let salts = 3..3 + order.len() as u32;
    let expected: Vec<_> =
        salts.clone().map(|salt| layer.bias_gradient(&layer.passed(salt))).collect();
    for ((number, salt), expected) in order.into_iter().zip(salts).zip(expected) {
        device.upload(&mut source, &conformance::values(len, salt, 1.0));
        let (d, d_bias) = &mut gradients[number];
        while device.begin_repeat(&mut recordings[number], 0) {
            device.dropout(d, &source, Dropout::Scaled(1.0), len);
            device.relu_backward(d, &layer.y, DROPOUT_FACTOR, len);
            device.linear_backward_bias(d_bias, d, &layer.shape);
            if device.end_repeat(&mut recordings[number]) {
                break;
            }
        }
        for (d, _) in &gradients {
            assert!(layer.bias_gradient(d) == layer.bias_gradient_anew(d), "afterwards, {salt}");
        }
        let found = down(device, &gradients[number].1, layer.shape.outputs);
        assert!(found == expected, "repeated, {salt}");
    }
}

/// The same of what a bias was added to, and of its mean.
fn begun_means_are_not_those_of_what_was_repeated(device: &Cuda) {
    let sizes @ [rows, channels] = [6000, 16];
    let (len, inputs) = (rows * channels, 2);
    let linear = LinearShape { batch: rows, inputs, outputs: channels };
    let norm = BatchNormShape { rows, channels, epsilon: 1e-5, momentum: 0.1 };
    let [affine, bias] = [5, 3].map(|salt| parameters(device, 2 * channels, salt));
    let mut weights = device.weights(inputs * channels);
    device.upload(&mut weights, &conformance::values(inputs * channels, 2, 1.0));
    let [mut x, mut y, mut normal] = [rows * inputs, len, len].map(|len| device.values(len));
    let [mut saved, mut running] = [0, 1].map(|_| device.floats(2 * channels));
    let mut recording = Recording::default();
    for salt in 3..8 {
        device.upload(&mut x, &conformance::values(rows * inputs, salt, 1.0));
        while device.begin_repeat(&mut recording, 0) {
            let activation = Activation::Identity;
            device.linear_forward(&mut y, &x, &weights, &bias, activation, &linear);
            let (found, kept) = (&mut normal, &mut saved);
            device.batch_norm_train(found, kept, &mut running, &y, &affine, activation, &norm);
            if device.end_repeat(&mut recording) {
                break;
            }
        }
        let found = down(device, &saved, 2 * channels);
        assert!(found == statistics(device, &y, sizes), "afterwards, {salt}");
        assert!(found == statistics(device, &copied(device, &y, len), sizes), "repeated, {salt}");
    }
}
