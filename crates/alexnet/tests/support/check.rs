//! Runs every golden case on a device and compares what it writes with what PyTorch computed.
//!
//! Outputs are filled with NaN first, so that a place left unwritten, or added to, shows.
//! Letters as in `alexnet_ops`: N H W C input, P Q K output, R S kernel.

use std::collections::BTreeMap;

use alexnet_ops::conformance::{Failure, compare};
use alexnet_ops::{
    Activation, AveragePoolShape, BatchNormShape, ConvShape, Device, Dropout, DropoutKey,
    LinearShape, LossShape, LrnRegion, LrnShape, MaxPoolShape, Rounding, Saturation, SgdStep,
    SgdUpdate, UpdateRule, output_size,
};

use super::goldens::{Case, Goldens, LrnConstants, Operation, SgdSchedule};

/// Largest difference allowed, as a share of the output's largest magnitude: PyTorch computed in
/// f64, a device sums some hundred products in f32.
const TOLERANCE: f32 = 1e-4;

/// What a case wrote, by the output's name.
type Outputs = BTreeMap<&'static str, Vec<f32>>;

/// Runs every case of `goldens` on `device`; returns what differs.
pub(crate) fn check<D: Device>(device: &D, goldens: &Goldens) -> Vec<Failure> {
    let mut failures = Vec::new();
    for case in &goldens.cases {
        let (expected, found) = (goldens.expected(case), run(device, case));
        assert!(expected.keys().eq(found.keys()), "{}: other outputs than expected", case.name);
        for (&output, found) in &found {
            failures.extend(compare(&case.name, output, expected[output], found, TOLERANCE));
        }
    }
    failures
}

fn run<D: Device>(device: &D, case: &Case) -> Outputs {
    let on = On { device, case };
    match case.operation {
        Operation::Convolution { stride, pad, groups, rounding } => {
            on.convolution(&on.conv_shape(stride, pad, groups, rounding))
        }
        Operation::Linear {} => on.linear(),
        Operation::Relu {} => on.relu(),
        Operation::Tanh {} => on.saturation(Saturation::Tanh),
        Operation::Sigmoid {} => on.saturation(Saturation::Sigmoid),
        Operation::MaxPool { size, stride, rounding } => on.max_pool(size, stride, rounding),
        Operation::AveragePool {} => on.average_pool(),
        Operation::LrnAcrossMaps { groups, constants } => {
            on.lrn(LrnRegion::AcrossMaps { groups }, constants)
        }
        Operation::LrnSameMap(constants) => on.lrn(LrnRegion::SameMap, constants),
        Operation::BatchNormTrain { momentum, epsilon } => {
            on.batch_norm_train(&on.batch_norm_shape(momentum, epsilon))
        }
        Operation::BatchNormEvaluate { momentum, epsilon } => {
            on.batch_norm_evaluate(&on.batch_norm_shape(momentum, epsilon))
        }
        Operation::Dropout { rate, kept_scale, seed, step, layer } => {
            let key = DropoutKey { seed, step, layer, first: 0 };
            on.dropout(Dropout::Masked { rate, kept_scale, key })
        }
        Operation::Scale { factor } => on.dropout(Dropout::Scaled(factor)),
        Operation::SoftmaxCrossEntropy { ref labels, smoothing } => {
            on.softmax_cross_entropy(labels, smoothing)
        }
        Operation::SgdPaper(ref schedule) => on.sgd(UpdateRule::Paper, schedule),
        Operation::SgdPytorch(ref schedule) => on.sgd(UpdateRule::PyTorch, schedule),
    }
}

/// A case on a device.
struct On<'a, D> {
    device: &'a D,
    case: &'a Case,
}

/// Arrays up, and down again.
impl<D: Device> On<'_, D> {
    /// The shape of an input, in PyTorch's order.
    fn shape<const RANK: usize>(&self, input: &str) -> [usize; RANK] {
        self.case.inputs[input].shape[..].try_into().expect("an input of the operation's rank")
    }
    fn len(&self, input: &str) -> usize {
        self.case.inputs[input].shape.iter().product()
    }
    fn input(&self, name: &str) -> D::Floats {
        self.up(&self.case.inputs[name].draw())
    }
    /// Two inputs in one array, as batch normalisation holds its parameters.
    fn inputs(&self, first: &str, second: &str) -> D::Floats {
        self.up(&[self.case.inputs[first].draw(), self.case.inputs[second].draw()].concat())
    }
    fn up(&self, values: &[f32]) -> D::Floats {
        let mut array = self.device.floats(values.len());
        self.device.upload(&mut array, values);
        array
    }
    fn down(&self, array: &D::Floats, len: usize) -> Vec<f32> {
        let mut values = vec![0.0; len];
        self.device.download(&mut values, array);
        values
    }
    /// What `operation` leaves in arrays of these lengths, full of NaN before.
    fn written<const COUNT: usize>(
        &self,
        lens: [usize; COUNT],
        operation: impl FnOnce([&mut D::Floats; COUNT]),
    ) -> [Vec<f32>; COUNT] {
        let mut arrays = lens.map(|len| self.up(&vec![f32::NAN; len]));
        operation(arrays.each_mut());
        std::array::from_fn(|i| self.down(&arrays[i], lens[i]))
    }
}

/// Convolution and the linear layer.
impl<D: Device> On<'_, D> {
    fn conv_shape(
        &self,
        stride: usize,
        pad: usize,
        groups: usize,
        rounding: Rounding,
    ) -> ConvShape {
        let [batch, in_c, in_h, in_w] = self.shape("x");
        let [out_c, _, kernel, _] = self.shape("weights");
        let size = |input| output_size(input, kernel, stride, pad, rounding).expect("it fits");
        let (out_h, out_w) = (size(in_h), size(in_w));
        ConvShape { batch, in_h, in_w, in_c, out_h, out_w, out_c, kernel, stride, pad, groups }
    }

    fn convolution(&self, shape: &ConvShape) -> Outputs {
        let (x, weights) = (self.input("x"), self.input("weights"));
        let (bias, d_y) = (self.input("bias"), self.input("d_y"));
        let forward = |activation| {
            let [y] = self.written([shape.output_len()], |[y]| {
                self.device.conv_forward(y, &x, &weights, &bias, activation, shape);
            });
            y
        };
        let [d_x] = self.written([shape.input_len()], |[d_x]| {
            self.device.conv_backward_input(d_x, &d_y, &weights, shape);
        });
        let lens = [shape.weights_len(), shape.out_c];
        let [d_weights, d_bias] = self.written(lens, |[d_weights, d_bias]| {
            self.device.conv_backward_weights(d_weights, d_bias, &d_y, &x, shape);
        });
        BTreeMap::from([
            ("y", forward(Activation::Identity)),
            ("y_relu", forward(Activation::Relu)),
            ("d_x", d_x),
            ("d_weights", d_weights),
            ("d_bias", d_bias),
        ])
    }

    fn linear(&self) -> Outputs {
        let ([batch, inputs], [outputs]) = (self.shape("x"), self.shape("bias"));
        let shape = &LinearShape { batch, inputs, outputs };
        let (x, weights) = (self.input("x"), self.input("weights"));
        let (bias, d_y) = (self.input("bias"), self.input("d_y"));
        let forward = |activation| {
            let [y] = self.written([batch * outputs], |[y]| {
                self.device.linear_forward(y, &x, &weights, &bias, activation, shape);
            });
            y
        };
        let [d_x] = self.written([batch * inputs], |[d_x]| {
            self.device.linear_backward_input(d_x, &d_y, &weights, shape);
        });
        let lens = [inputs * outputs, outputs];
        let [d_weights, d_bias] = self.written(lens, |[d_weights, d_bias]| {
            self.device.linear_backward_weights(d_weights, d_bias, &d_y, &x, shape);
        });
        BTreeMap::from([
            ("y", forward(Activation::Identity)),
            ("y_relu", forward(Activation::Relu)),
            ("d_x", d_x),
            ("d_weights", d_weights),
            ("d_bias", d_bias),
        ])
    }
}

/// Pooling and normalisation.
impl<D: Device> On<'_, D> {
    fn max_pool(&self, size: usize, stride: usize, rounding: Rounding) -> Outputs {
        let [batch, channels, in_h, in_w] = self.shape("x");
        let side = |input| output_size(input, size, stride, 0, rounding).expect("it fits");
        let (out_h, out_w) = (side(in_h), side(in_w));
        let shape = &MaxPoolShape { batch, in_h, in_w, out_h, out_w, channels, size, stride };
        let (x, d_y) = (self.input("x"), self.input("d_y"));
        let mut positions = self.device.bytes(shape.output_len());
        let [y] = self.written([shape.output_len()], |[y]| {
            self.device.max_pool_forward(y, &mut positions, &x, shape);
        });
        let [d_x] = self.written([shape.input_len()], |[d_x]| {
            self.device.max_pool_backward(d_x, &d_y, &positions, shape);
        });
        BTreeMap::from([("y", y), ("d_x", d_x)])
    }

    fn average_pool(&self) -> Outputs {
        let [batch, channels, in_h, in_w] = self.shape("x");
        let [_, _, out_h, out_w] = self.shape("d_y");
        let shape = &AveragePoolShape { batch, in_h, in_w, out_h, out_w, channels };
        let (x, d_y) = (self.input("x"), self.input("d_y"));
        let [y] = self.written([shape.output_len()], |[y]| {
            self.device.average_pool_forward(y, &x, shape);
        });
        let [d_x] = self.written([shape.input_len()], |[d_x]| {
            self.device.average_pool_backward(d_x, &d_y, shape);
        });
        BTreeMap::from([("y", y), ("d_x", d_x)])
    }

    fn lrn(&self, region: LrnRegion, constants: LrnConstants) -> Outputs {
        let [batch, channels, height, width] = self.shape("x");
        let LrnConstants { size, alpha, beta, k } = constants;
        let shape = &LrnShape { batch, height, width, channels, region, size, alpha, beta, k };
        let (x, d_y) = (self.input("x"), self.input("d_y"));
        let [y] = self.written([shape.len()], |[y]| self.device.lrn_forward(y, &x, shape));
        let [d_x] = self.written([shape.len()], |[d_x]| {
            self.device.lrn_backward(d_x, &d_y, &x, shape);
        });
        BTreeMap::from([("y", y), ("d_x", d_x)])
    }

    fn batch_norm_shape(&self, momentum: f32, epsilon: f32) -> BatchNormShape {
        let [batch, channels, height, width] = self.shape("x");
        BatchNormShape { rows: batch * height * width, channels, epsilon, momentum }
    }

    fn batch_norm_train(&self, shape: &BatchNormShape) -> Outputs {
        let (x, d_y, affine) = (self.input("x"), self.input("d_y"), self.inputs("scale", "shift"));
        let mut running = self.inputs("running_mean", "running_variance");
        let lens = [self.len("x"), 2 * shape.channels];
        let [y, statistics] = self.written(lens, |[y, statistics]| {
            let (running, plain) = (&mut running, Activation::Identity);
            self.device.batch_norm_train(y, statistics, running, &x, &affine, plain, shape);
        });
        let saved = self.up(&statistics);
        let [d_x, d_affine] = self.written(lens, |[d_x, d_affine]| {
            self.device.batch_norm_backward(d_x, d_affine, &d_y, &x, &affine, &saved, shape);
        });
        let running = self.down(&running, 2 * shape.channels);
        BTreeMap::from([
            ("y", y),
            ("statistics", statistics),
            ("running", running),
            ("d_x", d_x),
            ("d_affine", d_affine),
        ])
    }

    fn batch_norm_evaluate(&self, shape: &BatchNormShape) -> Outputs {
        let (x, affine) = (self.input("x"), self.inputs("scale", "shift"));
        let running = self.inputs("running_mean", "running_variance");
        let [y] = self.written([self.len("x")], |[y]| {
            let plain = Activation::Identity;
            self.device.batch_norm_evaluate(y, &x, &affine, &running, plain, shape);
        });
        BTreeMap::from([("y", y)])
    }
}

/// Element by element, the loss, and the update.
impl<D: Device> On<'_, D> {
    fn relu(&self) -> Outputs {
        let (x, len) = (self.input("x"), self.len("x"));
        let [y] = self.written([len], |[y]| self.device.relu_forward(y, &x, len));
        let mut d = self.input("d_y");
        self.device.relu_backward(&mut d, &self.up(&y), 1.0, len);
        BTreeMap::from([("y", y), ("d_x", self.down(&d, len))])
    }

    fn saturation(&self, curve: Saturation) -> Outputs {
        let (x, len) = (self.input("x"), self.len("x"));
        let [y] = self.written([len], |[y]| self.device.saturation_forward(y, &x, curve, len));
        let mut d = self.input("d_y");
        self.device.saturation_backward(&mut d, &self.up(&y), curve, len);
        BTreeMap::from([("y", y), ("d_x", self.down(&d, len))])
    }

    fn dropout(&self, dropout: Dropout) -> Outputs {
        let (x, len) = (self.input("x"), self.len("x"));
        let [y] = self.written([len], |[y]| self.device.dropout(y, &x, dropout, len));
        BTreeMap::from([("y", y)])
    }

    fn softmax_cross_entropy(&self, labels: &[u32], smoothing: f32) -> Outputs {
        let [images, classes] = self.shape("x");
        let shape = &LossShape { images, classes, mean_over: images, smoothing };
        let (logits, mut chosen) = (self.input("x"), self.device.labels(images));
        self.device.upload_labels(&mut chosen, labels);
        let lens = [images, images, images * classes];
        let [losses, _, d_logits] = self.written(lens, |[losses, ranks, d_logits]| {
            let found = [losses, ranks];
            self.device.softmax_cross_entropy(found, d_logits, &logits, &chosen, shape);
        });
        BTreeMap::from([("losses", losses), ("d_logits", d_logits)])
    }

    /// Weights and velocity after every update.
    fn sgd(&self, rule: UpdateRule, schedule: &SgdSchedule) -> Outputs {
        let len = self.len("weights");
        let (mut weights, mut velocity) = (self.input("weights"), self.device.floats(len));
        let mut outputs = Outputs::new();
        let gradients = self.case.inputs["gradients"].draw();
        for (gradient, &learning_rate) in gradients.chunks(len).zip(&schedule.learning_rates) {
            let SgdSchedule { momentum, weight_decay, .. } = *schedule;
            let step = SgdStep { rule, learning_rate, momentum, weight_decay };
            self.device.sgd_update(SgdUpdate {
                weights: &mut weights,
                velocity: &mut velocity,
                gradient: &self.up(gradient),
                step,
                trust: None,
                len,
            });
            outputs.entry("weights").or_default().extend(self.down(&weights, len));
            outputs.entry("velocity").or_default().extend(self.down(&velocity, len));
        }
        outputs
    }
}
