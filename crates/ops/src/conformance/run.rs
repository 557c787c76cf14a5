//! How a case runs on a device: inputs up, outputs poisoned, the operations, outputs down.

use super::{Case, Levels, Outputs, Windows, value, values};
use crate::{
    Activation, AveragePoolShape, Axis, BatchNormShape, ConvShape, Device, Dropout,
    Levels as ImageLevels, LinearShape, LossShape, LrnShape, MaxPoolShape, Normalisation, Picture,
    Saturation, SgdStep, SgdUpdate,
};

impl Case {
    /// Runs the case's operations and returns everything they wrote. Outputs are arrays a little
    /// longer than they need be.
    pub fn run<D: Device>(&self, device: &D) -> Outputs {
        self.run_on(&On { device, spare: 3, rounds: false })
    }

    /// The same from inputs that bf16 can hold: for devices that keep values so, which would else be
    /// judged by what their inputs lost.
    pub fn run_from_bf16<D: Device>(&self, device: &D) -> Outputs {
        self.run_on(&On { device, spare: 3, rounds: true })
    }

    /// The same with outputs exactly as long as the shape says: for devices whose memory shows
    /// whether anything beside an array is touched.
    pub fn run_exact<D: Device>(&self, device: &D) -> Outputs {
        self.run_on(&On { device, spare: 0, rounds: false })
    }

    fn run_on<D: Device>(&self, on: &On<D>) -> Outputs {
        match *self {
            Case::Images(images, side, windows) => on.images(images, side, windows),
            Case::Conv(shape, activation) => on.conv(&shape, activation),
            Case::ConvOfPictures(shape, windows) => on.conv_of_pictures(&shape, windows),
            Case::Linear(shape, activation) => on.linear(&shape, activation),
            Case::LinearDropout(shape, activation, dropout, planted) => {
                on.linear_dropout(&shape, (activation, dropout), planted)
            }
            Case::LinearUpdate(shape, step) => on.linear_update(&shape, &step),
            Case::Relu(len) => on.relu(len),
            Case::Saturation(len, curve) => on.saturation(len, curve),
            Case::MaxPool(shape, levels) => on.max_pool(&shape, levels),
            Case::ConvMaxPool(conv, pool) => on.conv_max_pool(&conv, &pool),
            Case::AveragePool(shape) => on.average_pool(&shape),
            Case::Lrn(shape) => on.lrn(&shape),
            Case::ConvLrn(conv, lrn, planted) => on.conv_lrn(&conv, &lrn, planted),
            Case::BatchNorm(shape, activation, planted) => {
                on.batch_norm(&shape, activation, planted)
            }
            Case::Dropout(len, dropout) => on.dropout(len, dropout),
            Case::SoftmaxCrossEntropy(shape, spread) => on.softmax_cross_entropy(&shape, spread),
            Case::Sgd(len, step, trust) => on.sgd(len, step, trust),
            Case::Largest(len) => on.largest(len),
            Case::NotFinite(value) => on.not_finite(value),
        }
    }
}

struct On<'d, D> {
    device: &'d D,
    /// Elements that outputs have besides.
    spare: usize,
    /// Whether inputs are rounded to bf16.
    rounds: bool,
}

/// The nearest number that bf16 holds, ties to even.
fn rounded(value: f32) -> f32 {
    let bits = value.to_bits();
    if value.is_nan() {
        return value;
    }
    f32::from_bits(bits.wrapping_add(0x7fff + (bits >> 16 & 1)) & 0xffff_0000)
}

/// [`values`], but of nine levels.
fn quarters(len: usize, salt: u32) -> Vec<f32> {
    values(len, salt, 4.0).into_iter().map(|value| value.round() / 4.0).collect()
}

/// A window of an image: the image itself, a part of a larger one, a part that becomes larger, one
/// that begins or ends at the image's edge, or between pixels.
fn picture(image: usize, side: usize, windows: Windows) -> Picture {
    let figure = |c: usize, salt| value(image * 3 + c, salt);
    let normalise = Normalisation {
        mean: std::array::from_fn(|c| 120.0 + 20.0 * figure(c, 2)),
        scale: std::array::from_fn(|c| 0.02 + 0.01 * figure(c, 3)),
    };
    let whole = side as u32;
    let part = |len, start| Axis { len, start: f64::from(start), extent: f64::from(whole) };
    let as_it_is = |kind: usize| match kind % 4 {
        0 => Axis::whole(whole),
        1 => part(3 * whole + 2, whole),
        2 => part(whole + 4, 4),
        _ => part(2 * whole, 0),
    };
    let any = |kind: usize| match kind % 7 {
        0 => Axis::whole(whole),
        1 => Axis { len: 3 * whole + 2, start: f64::from(whole), extent: f64::from(whole + 1) },
        2 => Axis { len: whole + 4, start: 1.0, extent: f64::from(whole.div_ceil(2)) },
        3 => Axis { len: 2 * whole, start: 0.0, extent: 1.7 * f64::from(whole) },
        4 => Axis { len: whole + 3, start: 2.3, extent: f64::from(whole) + 0.7 },
        5 => Axis { len: 1, start: 0.0, extent: 1.0 },
        _ => Axis { len: 7 * whole, start: 0.1, extent: 6.9 * f64::from(whole) },
    };
    let flip = image % 3 == 1;
    let [across, down] = match windows {
        Windows::Any => [any(image), any(image * 3)],
        Windows::AsTheyAre => [as_it_is(image), as_it_is(image * 3)],
    };
    Picture { across, down, flip, normalise }
}

/// Windows of images of many shapes, black and white among their levels, and figures of its own for each: the
/// images' slots, and the pictures.
fn pictures(images: usize, side: usize, windows: Windows) -> (Vec<u8>, Vec<Picture>) {
    let pictures: Vec<_> = (0..images).map(|image| picture(image, side, windows)).collect();
    let bytes = |picture: &Picture| {
        picture.cut(side).iter().map(ExactSizeIterator::len).product::<usize>() * 3
    };
    // Whatever is behind a cut is none of the picture's.
    let slot = pictures.iter().map(bytes).max().unwrap_or(0) + 5;
    let any = |at| ((value(at, 1) + 1.0) * 128.0) as u8;
    let extreme = |at: usize| if at.is_multiple_of(2) { 0 } else { 255 };
    let level = |at| if at % 5 < 2 { extreme(at) } else { any(at) };
    ((0..images * slot).map(level).collect(), pictures)
}

impl<D: Device> On<'_, D> {
    fn filled(&self, mut array: D::Floats, values: &[f32]) -> D::Floats {
        if self.rounds {
            let values: Vec<f32> = values.iter().copied().map(rounded).collect();
            self.device.upload(&mut array, &values);
        } else {
            self.device.upload(&mut array, values);
        }
        array
    }
    /// Activations or their gradients, to be read.
    fn up(&self, values: &[f32]) -> D::Floats {
        self.filled(self.device.values(values.len()), values)
    }
    fn input(&self, len: usize, salt: u32) -> D::Floats {
        self.up(&values(len, salt, 1.0))
    }
    /// The same to be written, full of NaN.
    fn poisoned(&self, len: usize) -> D::Floats {
        self.up(&vec![f32::NAN; len + self.spare])
    }
    /// Weights of a layer.
    fn weights(&self, len: usize, salt: u32) -> D::Floats {
        self.filled(self.device.weights(len), &values(len, salt, 1.0))
    }
    /// Other parameters, gradients of parameters and sums, to be read.
    fn parameters(&self, values: &[f32]) -> D::Floats {
        self.filled(self.device.floats(values.len()), values)
    }
    fn parameter(&self, len: usize, salt: u32) -> D::Floats {
        self.parameters(&values(len, salt, 1.0))
    }
    /// The same to be written, full of NaN.
    fn poisoned_parameter(&self, len: usize) -> D::Floats {
        self.parameters(&vec![f32::NAN; len + self.spare])
    }
    fn down(&self, array: &D::Floats, len: usize) -> Vec<f32> {
        let mut values = vec![0.0; len];
        self.device.download(&mut values, array);
        values
    }

    fn images(&self, images: usize, side: usize, windows: Windows) -> Outputs {
        let (slots, pictures) = pictures(images, side, windows);
        let levels = ImageLevels { slots: &slots, pictures: &pictures, side };
        let len = images * side * side * 3;
        let mut x = self.poisoned(len);
        self.device.upload_levels(&mut x, levels, None);
        let x = self.down(&x, len);
        let expected = levels.values();
        // Exact, but for the one rounding of a device that keeps values in bf16.
        let is = |x: f32, y: f32| x.to_bits() == y.to_bits();
        let same = |(&x, &y): (&f32, &f32)| is(x, y) || is(x, rounded(y));
        let others = x.iter().zip(&expected).filter(|&pair| !same(pair)).count();
        vec![("x", x), ("values of other bits", vec![others as f32])]
    }

    fn conv_of_pictures(&self, shape: &ConvShape, windows: Windows) -> Outputs {
        let (slots, pictures) = pictures(shape.batch, shape.in_h, windows);
        let levels = ImageLevels { slots: &slots, pictures: &pictures, side: shape.in_h };
        let (y_len, w_len) = (shape.output_len(), shape.weights_len());
        let mut x = self.poisoned(self.device.input_len(shape));
        self.device.upload_levels(&mut x, levels, Some(shape));
        let (weights, bias) = (self.weights(w_len, 2), self.parameter(shape.out_c, 3));
        let (mut y, d_y) = (self.poisoned(y_len), self.input(y_len, 4));
        let [mut d_weights, mut d_bias] =
            [w_len, shape.out_c].map(|len| self.poisoned_parameter(len));
        self.device.conv_forward(&mut y, &x, &weights, &bias, Activation::Identity, shape);
        self.device.conv_backward_weights(&mut d_weights, &mut d_bias, &d_y, &x, shape);
        vec![("y", self.down(&y, y_len)), ("d_weights", self.down(&d_weights, w_len))]
    }

    fn conv(&self, shape: &ConvShape, activation: Activation) -> Outputs {
        let (x_len, y_len, w_len) = (shape.input_len(), shape.output_len(), shape.weights_len());
        let (x, weights) = (self.input(x_len, 1), self.weights(w_len, 2));
        let (bias, d_y) = (self.parameter(shape.out_c, 3), self.input(y_len, 4));
        let (mut y, mut d_x) = (self.poisoned(y_len), self.poisoned(x_len));
        let [mut d_weights, mut d_bias] =
            [w_len, shape.out_c].map(|len| self.poisoned_parameter(len));
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
        let (x, mut weights) = (self.input(x_len, 1), self.weights(w_len, 2));
        let (bias, d_y) = (self.parameter(outputs, 3), self.input(y_len, 4));
        let (mut y, mut y_settled) = (self.poisoned(y_len), self.poisoned(y_len));
        let mut d_x = self.poisoned(x_len);
        let [mut d_weights, mut d_bias] = [w_len, outputs].map(|len| self.poisoned_parameter(len));
        self.device.linear_forward(&mut y, &x, &weights, &bias, activation, shape);
        self.device.settle(&mut weights);
        self.device.linear_forward(&mut y_settled, &x, &weights, &bias, activation, shape);
        self.device.linear_backward_input(&mut d_x, &d_y, &weights, shape);
        let mut sums = self.parameter(w_len, 5);
        let mut d_bias_again = self.poisoned_parameter(outputs);
        self.device.linear_backward_weights(&mut d_weights, &mut d_bias, &d_y, &x, shape);
        self.device.linear_backward_add(&mut sums, &mut d_bias_again, &d_y, &x, shape);
        vec![
            ("y", self.down(&y, y_len)),
            ("y of settled weights", self.down(&y_settled, y_len)),
            ("d_x", self.down(&d_x, x_len)),
            ("d_weights", self.down(&d_weights, w_len)),
            ("d_bias", self.down(&d_bias, outputs)),
            ("d_weights added", self.down(&sums, w_len)),
            ("d_bias beside them", self.down(&d_bias_again, outputs)),
        ]
    }

    /// Perhaps with this value for a bias.
    fn linear_dropout(
        &self,
        shape: &LinearShape,
        how: (Activation, Dropout),
        planted: Option<f32>,
    ) -> Outputs {
        let LinearShape { batch, inputs, outputs } = *shape;
        // Their sums are exact however they are formed, and so is which of them are negative.
        let x = self.up(&quarters(batch * inputs, 1));
        let weights = quarters(inputs * outputs, 2);
        let weights = self.filled(self.device.weights(weights.len()), &weights);
        let mut bias = quarters(outputs, 3);
        if let Some(value) = planted {
            bias[outputs / 2] = value;
        }
        let (bias, len) = (self.parameters(&bias), batch * outputs);
        let [mut y, mut sums] = [(); 2].map(|()| self.poisoned(len));
        let outputs = [&mut y, &mut sums];
        self.device.linear_dropout_forward(outputs, &x, [&weights, &bias], how, shape);
        let mut found = vec![("y", self.down(&y, len))];
        if let (Activation::Relu, Dropout::Masked { kept_scale, .. }) = how {
            let mut d = self.input(len, 4);
            self.device.relu_backward(&mut d, &y, kept_scale, len);
            found.push(("d_sums", self.down(&d, len)));
        }
        found
    }

    fn linear_update(&self, shape: &LinearShape, step: &SgdStep) -> Outputs {
        let LinearShape { batch, inputs, outputs } = *shape;
        let len = inputs * outputs;
        let (x, d_y) = (self.input(batch * inputs, 1), self.input(batch * outputs, 4));
        let (mut weights, mut velocity) = (self.weights(len, 2), self.parameter(len, 3));
        let mut d_bias = self.poisoned_parameter(outputs);
        self.device.linear_backward_update(&mut weights, &mut velocity, &d_y, &x, step, shape);
        self.device.linear_backward_bias(&mut d_bias, &d_y, shape);
        vec![
            ("weights", self.down(&weights, len)),
            ("velocity", self.down(&velocity, len)),
            ("d_bias", self.down(&d_bias, outputs)),
        ]
    }

    fn relu(&self, len: usize) -> Outputs {
        let (x, mut y) = (self.input(len, 1), self.poisoned(len));
        let [mut d, mut d_of_half] = [self.input(len, 2), self.input(len, 2)];
        self.device.relu_forward(&mut y, &x, len);
        self.device.relu_backward(&mut d, &y, 1.0, len);
        self.device.relu_backward(&mut d_of_half, &y, 0.5, len);
        let [d, d_of_half] = [d, d_of_half].map(|d| self.down(&d, len));
        vec![("y", self.down(&y, len)), ("d_x", d), ("d_x of a half", d_of_half)]
    }

    fn saturation(&self, len: usize, curve: Saturation) -> Outputs {
        // Where the curve is steep and where it bends; where it is flat, a slope of y is rounding.
        let x = self.up(&values(len, 1, 3.0));
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

    fn conv_max_pool(&self, conv: &ConvShape, pool: &MaxPoolShape) -> Outputs {
        let (x, weights) = (self.input(conv.input_len(), 1), self.weights(conv.weights_len(), 2));
        let (bias, y_len) = (self.parameter(conv.out_c, 3), pool.output_len());
        let (mut y, mut sums) = (self.poisoned(y_len), self.poisoned(conv.output_len()));
        let mut positions = self.device.bytes(y_len);
        let (outputs, shapes) = ([&mut y, &mut sums], (conv, pool));
        let parameters = [&weights, &bias];
        self.device.conv_max_pool_forward(outputs, &mut positions, &x, parameters, shapes);
        let (mut d_y, mut d_x) = (self.input(y_len, 4), self.poisoned(pool.input_len()));
        self.device.rectified_max_pool_backward(&mut d_x, &mut d_y, &y, &positions, pool);
        // Of sums that differ by rounding either may be the largest; so only what each map gets is
        // compared.
        let mut maps = vec![0.0; pool.channels];
        let d_x = self.down(&d_x, pool.input_len());
        d_x.iter().enumerate().for_each(|(at, d)| maps[at % pool.channels] += d);
        vec![("y", self.down(&y, y_len)), ("d_x of each map", maps)]
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

    /// Perhaps with this value for a bias.
    fn conv_lrn(&self, conv: &ConvShape, lrn: &LrnShape, planted: Option<f32>) -> Outputs {
        // Their sums are exact however they are formed, and so is which of them are negative.
        let (x, len) = (self.up(&quarters(conv.input_len(), 1)), lrn.len());
        let weights = quarters(conv.weights_len(), 2);
        let weights = self.filled(self.device.weights(weights.len()), &weights);
        let mut bias = quarters(conv.out_c, 3);
        if let Some(value) = planted {
            bias[conv.out_c / 2] = value;
        }
        let bias = self.parameters(&bias);
        let [mut y, mut sums, mut d_x] = [len; 3].map(|len| self.poisoned(len));
        let (outputs, parameters) = ([&mut y, &mut sums], [&weights, &bias]);
        self.device.conv_lrn_forward(outputs, &x, parameters, (conv, lrn));
        let d_y = self.input(len, 4);
        self.device.rectified_lrn_backward(&mut d_x, &d_y, [&sums, &bias], lrn);
        vec![("y", self.down(&y, len)), ("d_x", self.down(&d_x, len))]
    }

    /// Perhaps with this value for a shift.
    fn batch_norm(
        &self,
        shape: &BatchNormShape,
        activation: Activation,
        planted: Option<f32>,
    ) -> Outputs {
        let (len, pair) = (shape.rows * shape.channels, 2 * shape.channels);
        // Behind a ReLU of few levels, for none is so near to 0 that roundings say on which side it is.
        let x = match activation {
            Activation::Identity => self.input(len, 1),
            Activation::Relu => self.up(&quarters(len, 1)),
        };
        let mut d_y = self.input(len, 2);
        let mut affine = values(pair, 3, 1.0);
        if let Some(value) = planted {
            affine[shape.channels + shape.channels / 2] = value;
        }
        let affine = self.parameters(&affine);
        let old: Vec<f32> = (0..pair).map(|i| 1.0 + value(i, 4) / 2.0).collect();
        let mut running = self.parameters(&old);
        let (mut y, mut statistics) = (self.poisoned(len), self.poisoned_parameter(pair));
        let (mut d_x, mut d_affine) = (self.poisoned(len), self.poisoned_parameter(pair));
        let mut evaluated = self.poisoned(len);
        let (device, found, saved) = (self.device, &mut y, &mut statistics);
        device.batch_norm_evaluate(&mut evaluated, &x, &affine, &running, activation, shape);
        device.batch_norm_train(found, saved, &mut running, &x, &affine, activation, shape);
        let (d, d_pair, saved) = (&mut d_x, &mut d_affine, &statistics);
        match activation {
            Activation::Identity => {
                device.batch_norm_backward(d, d_pair, &d_y, &x, &affine, saved, shape);
            }
            Activation::Relu => {
                let (d, inputs, figures) = ([d, d_pair], [&x, &y], [&affine, saved]);
                device.rectified_batch_norm_backward(d, &mut d_y, inputs, figures, shape);
            }
        }
        vec![
            ("y", self.down(&y, len)),
            ("y in evaluation", self.down(&evaluated, len)),
            ("statistics", self.down(&statistics, pair)),
            ("running", self.down(&running, pair)),
            ("d_x", self.down(&d_x, len)),
            ("d_affine", self.down(&d_affine, pair)),
        ]
    }

    fn dropout(&self, len: usize, dropout: Dropout) -> Outputs {
        let (x, mut y) = (self.input(len, 1), self.poisoned(len));
        self.device.dropout(&mut y, &x, dropout, len);
        vec![("y", self.down(&y, len))]
    }

    fn softmax_cross_entropy(&self, shape: &LossShape, spread: f32) -> Outputs {
        let (batch, classes) = (shape.images, shape.classes);
        let logits = self.up(&values(batch * classes, 1, spread));
        let chosen: Vec<u32> = (0..batch).map(|n| ((n * 7 + 1) % classes) as u32).collect();
        let mut labels = self.device.labels(batch);
        self.device.upload_labels(&mut labels, &chosen);
        let [mut losses, mut ranks] = [(); 2].map(|()| self.poisoned_parameter(batch));
        let mut d_logits = self.poisoned(batch * classes);
        let found = [&mut losses, &mut ranks];
        self.device.softmax_cross_entropy(found, &mut d_logits, &logits, &labels, shape);
        vec![
            ("losses", self.down(&losses, batch)),
            ("ranks", self.down(&ranks, batch)),
            ("d_logits", self.down(&d_logits, batch * classes)),
        ]
    }

    fn sgd(&self, len: usize, step: SgdStep, trust: Option<f32>) -> Outputs {
        let (mut weights, mut velocity) = (self.weights(len, 1), self.parameter(len, 2));
        for salt in [3, 4] {
            let (weights, velocity) = (&mut weights, &mut velocity);
            let gradient = &self.parameter(len, salt);
            let update = SgdUpdate { weights, velocity, gradient, step, trust, len };
            self.device.sgd_update(update);
        }
        vec![("weights", self.down(&weights, len)), ("velocity", self.down(&velocity, len))]
    }

    /// Of values of which the last is the largest, and with a value that is not finite in turn.
    fn largest(&self, len: usize) -> Outputs {
        let mut x = values(len, 1, 1.0);
        x[len - 1] = -3.0;
        let mut sums = self.parameter(len, 2);
        self.device.add(&mut sums, &self.parameters(&x), len);
        let mut copy = self.poisoned_parameter(len);
        self.device.copy(&mut copy, &sums, len);
        let mut arrays = Vec::new();
        let mut look = |x: &[f32]| arrays.extend([self.up(x), self.parameters(x)]);
        look(&x);
        for value in [f32::NAN, -f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
            for at in [0, len / 2, len - 1] {
                let kept = std::mem::replace(&mut x[at], value);
                look(&x);
                x[at] = kept;
            }
        }
        // One of no length among them, for each is a thing of its own.
        let empty = self.up(&x);
        let lens = arrays.iter().map(|array| (array, len)).chain([(&empty, 0)]);
        let mut found = self.poisoned_parameter(arrays.len() + 1);
        self.device.largest(&mut found, lens);
        let mut largest = self.down(&found, arrays.len() + 1);
        // So that one case tells infinity from NaN.
        largest.iter_mut().filter(|found| found.is_infinite()).for_each(|found| *found = -1.0);
        vec![("sums", self.down(&sums, len)), ("copy", self.down(&copy, len)), ("largest", largest)]
    }

    fn not_finite(&self, value: f32) -> Outputs {
        let with = |len: usize, at: usize| {
            let mut values = values(len, 1, 1.0);
            values[at] = value;
            values
        };
        let planted = |len: usize, at: usize| self.up(&with(len, at));
        let spoilt_bias = |len: usize, at: usize| self.parameters(&with(len, at));
        const LEN: usize = 1_001;
        let relu = |at| {
            let mut y = self.poisoned(LEN);
            self.device.relu_forward(&mut y, &planted(LEN, at), LEN);
            ("ReLU", self.down(&y, LEN))
        };
        let max_pool = |at| {
            let shape = MaxPoolShape {
                batch: 1,
                in_h: 7,
                in_w: 7,
                out_h: 3,
                out_w: 3,
                channels: 37,
                size: 3,
                stride: 2,
            };
            let (x_len, y_len) = (shape.input_len(), shape.output_len());
            let (mut y, mut positions) = (self.poisoned(y_len), self.device.bytes(y_len));
            self.device.max_pool_forward(&mut y, &mut positions, &planted(x_len, at), &shape);
            ("max pooling", self.down(&y, y_len))
        };
        let mut outputs = vec![relu(0), relu(500), relu(LEN - 1)];
        // In a corner, in four windows at once, and in the last lanes.
        outputs.extend([max_pool(0), max_pool((2 * 7 + 2) * 37 + 5), max_pool(49 * 37 - 1)]);
        // A bias spoils all of an output's sums.
        for images in [1, 3, 40] {
            let shape = LinearShape { batch: images, inputs: 50, outputs: 21 };
            let (x, mut weights) = (self.input(images * 50, 2), self.weights(50 * 21, 3));
            for settled in [false, true] {
                if settled {
                    self.device.settle(&mut weights);
                }
                let (mut y, bias) = (self.poisoned(images * 21), spoilt_bias(21, 20));
                self.device.linear_forward(&mut y, &x, &weights, &bias, Activation::Relu, &shape);
                outputs.push(("ReLU behind a linear layer", self.down(&y, images * 21)));
            }
            let (kernel, pad, out_c) = (3, 1, 40);
            let shape = ConvShape {
                batch: images,
                in_h: 6,
                in_w: 6,
                in_c: 32,
                out_h: 6,
                out_w: 6,
                out_c,
                kernel,
                stride: 1,
                pad,
                groups: 1,
            };
            let (x, weights) =
                (self.input(shape.input_len(), 2), self.weights(shape.weights_len(), 3));
            let (mut y, bias) = (self.poisoned(shape.output_len()), spoilt_bias(out_c, 37));
            self.device.conv_forward(&mut y, &x, &weights, &bias, Activation::Relu, &shape);
            outputs.push(("ReLU behind a convolution", self.down(&y, shape.output_len())));
        }
        outputs
    }
}
