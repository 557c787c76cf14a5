//! How a case runs on a device: inputs up, outputs poisoned, the operations, outputs down.

use super::{Case, Outputs, cases::Levels, value, values};
use crate::{
    Activation, AveragePoolShape, BatchNormShape, ConvShape, Device, DropoutKey, LinearShape,
    LrnShape, MaxPoolShape, Saturation, SgdStep,
};

impl Case {
    /// Runs the case's operations and returns everything they wrote. Outputs are arrays a little
    /// longer than they need be.
    pub fn run<D: Device>(&self, device: &D) -> Outputs {
        self.run_on(&On { device, spare: 3 })
    }

    /// The same with outputs exactly as long as the shape says: for devices whose memory shows
    /// whether anything beside an array is touched.
    pub fn run_exact<D: Device>(&self, device: &D) -> Outputs {
        self.run_on(&On { device, spare: 0 })
    }

    fn run_on<D: Device>(&self, on: &On<D>) -> Outputs {
        match *self {
            Case::Conv(shape, activation) => on.conv(&shape, activation),
            Case::Linear(shape, activation) => on.linear(&shape, activation),
            Case::LinearUpdate(shape, step) => on.linear_update(&shape, &step),
            Case::Relu(len) => on.relu(len),
            Case::Saturation(len, curve) => on.saturation(len, curve),
            Case::MaxPool(shape, levels) => on.max_pool(&shape, levels),
            Case::AveragePool(shape) => on.average_pool(&shape),
            Case::Lrn(shape) => on.lrn(&shape),
            Case::BatchNorm(shape) => on.batch_norm(&shape),
            Case::Dropout(len, rate, kept_scale, key) => on.dropout(len, rate, kept_scale, key),
            Case::Scale(len, factor) => on.scale(len, factor),
            Case::SoftmaxCrossEntropy(shape, spread) => on.softmax_cross_entropy(&shape, spread),
            Case::Sgd(len, step) => on.sgd(len, &step),
        }
    }
}

struct On<'d, D> {
    device: &'d D,
    /// Elements that outputs have besides.
    spare: usize,
}

impl<D: Device> On<'_, D> {
    /// An input array.
    fn up(&self, values: &[f32]) -> D::Floats {
        let mut array = self.device.floats(values.len());
        self.device.upload(&mut array, values);
        array
    }
    fn input(&self, len: usize, salt: u32) -> D::Floats {
        self.up(&values(len, salt, 1.0))
    }
    /// An output array, full of NaN.
    fn poisoned(&self, len: usize) -> D::Floats {
        self.up(&vec![f32::NAN; len + self.spare])
    }
    fn down(&self, array: &D::Floats, len: usize) -> Vec<f32> {
        let mut values = vec![0.0; len];
        self.device.download(&mut values, array);
        values
    }

    fn conv(&self, shape: &ConvShape, activation: Activation) -> Outputs {
        let (x_len, y_len, w_len) = (shape.input_len(), shape.output_len(), shape.weights_len());
        let (x, weights) = (self.input(x_len, 1), self.input(w_len, 2));
        let (bias, d_y) = (self.input(shape.out_c, 3), self.input(y_len, 4));
        let (mut y, mut d_x) = (self.poisoned(y_len), self.poisoned(x_len));
        let (mut d_weights, mut d_bias) = (self.poisoned(w_len), self.poisoned(shape.out_c));
        self.device.conv_forward(&mut y, &x, &weights, &bias, activation, shape);
        self.device.conv_backward_input(&mut d_x, &d_y, &weights, shape);
        self.device.conv_backward_weights(&mut d_weights, &mut d_bias, &d_y, &x, shape);
        vec![
            ("y", self.down(&y, y_len)),
            ("d_x", self.down(&d_x, x_len)),
            ("d_weights", self.down(&d_weights, w_len)),
            ("d_bias", self.down(&d_bias, shape.out_c)),
        ]
    }

    fn linear(&self, shape: &LinearShape, activation: Activation) -> Outputs {
        let LinearShape { batch, inputs, outputs } = *shape;
        let (x_len, y_len, w_len) = (batch * inputs, batch * outputs, inputs * outputs);
        let (x, mut weights) = (self.input(x_len, 1), self.input(w_len, 2));
        let (bias, d_y) = (self.input(outputs, 3), self.input(y_len, 4));
        let (mut y, mut y_settled) = (self.poisoned(y_len), self.poisoned(y_len));
        let mut d_x = self.poisoned(x_len);
        let (mut d_weights, mut d_bias) = (self.poisoned(w_len), self.poisoned(outputs));
        self.device.linear_forward(&mut y, &x, &weights, &bias, activation, shape);
        self.device.settle(&mut weights);
        self.device.linear_forward(&mut y_settled, &x, &weights, &bias, activation, shape);
        self.device.linear_backward_input(&mut d_x, &d_y, &weights, shape);
        self.device.linear_backward_weights(&mut d_weights, &mut d_bias, &d_y, &x, shape);
        vec![
            ("y", self.down(&y, y_len)),
            ("y of settled weights", self.down(&y_settled, y_len)),
            ("d_x", self.down(&d_x, x_len)),
            ("d_weights", self.down(&d_weights, w_len)),
            ("d_bias", self.down(&d_bias, outputs)),
        ]
    }

    fn linear_update(&self, shape: &LinearShape, step: &SgdStep) -> Outputs {
        let LinearShape { batch, inputs, outputs } = *shape;
        let len = inputs * outputs;
        let (x, d_y) = (self.input(batch * inputs, 1), self.input(batch * outputs, 4));
        let (mut weights, mut velocity) = (self.input(len, 2), self.input(len, 3));
        let mut d_bias = self.poisoned(outputs);
        let (w, v, d) = (&mut weights, &mut velocity, &mut d_bias);
        self.device.linear_backward_update(w, v, d, &d_y, &x, step, shape);
        vec![
            ("weights", self.down(&weights, len)),
            ("velocity", self.down(&velocity, len)),
            ("d_bias", self.down(&d_bias, outputs)),
        ]
    }

    fn relu(&self, len: usize) -> Outputs {
        let (x, mut y, mut d) = (self.input(len, 1), self.poisoned(len), self.input(len, 2));
        self.device.relu_forward(&mut y, &x, len);
        self.device.relu_backward(&mut d, &y, len);
        vec![("y", self.down(&y, len)), ("d_x", self.down(&d, len))]
    }

    fn saturation(&self, len: usize, curve: Saturation) -> Outputs {
        // From where the curve is steep to where it is flat.
        let x = self.up(&values(len, 1, 12.0));
        let (mut y, mut d) = (self.poisoned(len), self.input(len, 2));
        self.device.saturation_forward(&mut y, &x, curve, len);
        self.device.saturation_backward(&mut d, &y, curve, len);
        vec![("y", self.down(&y, len)), ("d_x", self.down(&d, len))]
    }

    fn max_pool(&self, shape: &MaxPoolShape, levels: Levels) -> Outputs {
        let (x_len, y_len) = (shape.input_len(), shape.output_len());
        let mut x = values(x_len, 1, 1.0);
        if levels == Levels::Five {
            x.iter_mut().for_each(|x| *x = (*x * 2.0).round());
        }
        let (x, d_y) = (self.up(&x), self.input(y_len, 2));
        let (mut y, mut d_x) = (self.poisoned(y_len), self.poisoned(x_len));
        let mut positions = self.device.bytes(y_len);
        self.device.max_pool_forward(&mut y, &mut positions, &x, shape);
        self.device.max_pool_backward(&mut d_x, &d_y, &positions, shape);
        vec![("y", self.down(&y, y_len)), ("d_x", self.down(&d_x, x_len))]
    }

    fn average_pool(&self, shape: &AveragePoolShape) -> Outputs {
        let (x_len, y_len) = (shape.input_len(), shape.output_len());
        let (x, d_y) = (self.input(x_len, 1), self.input(y_len, 2));
        let (mut y, mut d_x) = (self.poisoned(y_len), self.poisoned(x_len));
        self.device.average_pool_forward(&mut y, &x, shape);
        self.device.average_pool_backward(&mut d_x, &d_y, shape);
        vec![("y", self.down(&y, y_len)), ("d_x", self.down(&d_x, x_len))]
    }

    fn lrn(&self, shape: &LrnShape) -> Outputs {
        let len = shape.len();
        let (x, d_y) = (self.input(len, 1), self.input(len, 2));
        let (mut y, mut d_x) = (self.poisoned(len), self.poisoned(len));
        self.device.lrn_forward(&mut y, &x, shape);
        self.device.lrn_backward(&mut d_x, &d_y, &x, shape);
        vec![("y", self.down(&y, len)), ("d_x", self.down(&d_x, len))]
    }

    fn batch_norm(&self, shape: &BatchNormShape) -> Outputs {
        let (len, pair) = (shape.rows * shape.channels, 2 * shape.channels);
        let (x, d_y, affine) = (self.input(len, 1), self.input(len, 2), self.input(pair, 3));
        let old: Vec<f32> = (0..pair).map(|i| 1.0 + value(i, 4) / 2.0).collect();
        let mut running = self.up(&old);
        let (mut y, mut statistics) = (self.poisoned(len), self.poisoned(pair));
        let (mut d_x, mut d_affine) = (self.poisoned(len), self.poisoned(pair));
        let mut evaluated = self.poisoned(len);
        self.device.batch_norm_evaluate(&mut evaluated, &x, &affine, &running, shape);
        self.device.batch_norm_train(&mut y, &mut statistics, &mut running, &x, &affine, shape);
        let (d, saved) = (&d_y, &statistics);
        self.device.batch_norm_backward(&mut d_x, &mut d_affine, d, &x, &affine, saved, shape);
        vec![
            ("y", self.down(&y, len)),
            ("y in evaluation", self.down(&evaluated, len)),
            ("statistics", self.down(&statistics, pair)),
            ("running", self.down(&running, pair)),
            ("d_x", self.down(&d_x, len)),
            ("d_affine", self.down(&d_affine, pair)),
        ]
    }

    fn dropout(&self, len: usize, rate: f32, kept_scale: f32, key: DropoutKey) -> Outputs {
        let (x, mut y) = (self.input(len, 1), self.poisoned(len));
        self.device.dropout(&mut y, &x, rate, kept_scale, key, len);
        vec![("y", self.down(&y, len))]
    }

    fn scale(&self, len: usize, factor: f32) -> Outputs {
        let (x, mut y) = (self.input(len, 1), self.poisoned(len));
        self.device.scale(&mut y, &x, factor, len);
        vec![("y", self.down(&y, len))]
    }

    fn softmax_cross_entropy(&self, shape: &LinearShape, spread: f32) -> Outputs {
        let (batch, classes) = (shape.batch, shape.outputs);
        let logits = self.up(&values(batch * classes, 1, spread));
        let chosen: Vec<u32> = (0..batch).map(|n| ((n * 7 + 1) % classes) as u32).collect();
        let mut labels = self.device.labels(batch);
        self.device.upload_labels(&mut labels, &chosen);
        let (mut losses, mut d_logits) = (self.poisoned(batch), self.poisoned(batch * classes));
        self.device.softmax_cross_entropy(&mut losses, &mut d_logits, &logits, &labels, shape);
        vec![
            ("losses", self.down(&losses, batch)),
            ("d_logits", self.down(&d_logits, batch * classes)),
        ]
    }

    fn sgd(&self, len: usize, step: &SgdStep) -> Outputs {
        let (mut weights, mut velocity) = (self.input(len, 1), self.input(len, 2));
        for salt in [3, 4] {
            self.device.sgd_update(&mut weights, &mut velocity, &self.input(len, salt), step, len);
        }
        vec![("weights", self.down(&weights, len)), ("velocity", self.down(&velocity, len))]
    }
}
