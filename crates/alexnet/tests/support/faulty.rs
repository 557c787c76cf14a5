//! A device with one planted fault: the reference, but for one operation that errs as a real bug
//! would. It shows what a suite is worth.

use alexnet_ops::{
    Activation, AveragePoolShape, BatchNormShape, ConvShape, Device, Dropout, LinearShape,
    LossShape, LrnRegion, LrnShape, MaxPoolShape, Reference, Saturation, SgdStep, SgdUpdate,
};

/// What is wrong with a [`Faulty`] device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// The gradient of local response normalisation leaves out the sums an input is part of.
    WrongLrnTerm,
    /// The window of local response normalisation crosses the border between towers.
    LrnWindowAcrossTowers,
    /// The gradient of the sigmoid is taken as that of tanh.
    SlopeOfTheOtherCurve,
    /// Max pooling sends the gradient to the last of equals.
    PoolTieToLast,
    /// A convolution's output group reads the next group's input.
    SwappedGroups,
    /// A convolution's bias gradient stays zero.
    MissingBiasGradient,
    /// A linear layer's weight gradient is added to what stood in the array.
    StaleWeightGradient,
    /// The running variance takes the batch's biased one.
    BiasedRunningVariance,
    /// Dropout does not scale what it keeps.
    DropoutScaleForgotten,
    /// The gradient of the loss is of the sum over the batch, not of the mean.
    LossGradientSummed,
    /// The update forgets the velocity.
    MomentumForgotten,
    /// The update of a linear layer's weights from the gradient's tiles forgets the decay.
    LinearDecayForgotten,
}

/// The reference device, with one fault or none.
pub(crate) struct Faulty {
    fault: Option<Fault>,
    sound: Reference<f32>,
}

impl Faulty {
    /// A device with this fault.
    pub(crate) fn with(fault: Fault) -> Self {
        Self { fault: Some(fault), sound: Reference::new() }
    }
    /// A device without one.
    pub(crate) fn sound() -> Self {
        Self { fault: None, sound: Reference::new() }
    }
    fn has(&self, fault: Fault) -> bool {
        self.fault == Some(fault)
    }
    /// The shape that the faulty normalisation works by.
    fn lrn_shape(&self, shape: &LrnShape) -> LrnShape {
        match shape.region {
            LrnRegion::AcrossMaps { .. } if self.has(Fault::LrnWindowAcrossTowers) => {
                LrnShape { region: LrnRegion::AcrossMaps { groups: 1 }, ..*shape }
            }
            _ => *shape,
        }
    }
}

type Floats = Vec<f32>;
type Bytes = Vec<u8>;
type Labels = Vec<u32>;

/// Passes operations on to the sound device as they are.
macro_rules! sound {
    ($(fn $name:ident($($argument:ident: $type:ty),*) $(-> $output:ty)?;)*) => {
        $(fn $name(&self, $($argument: $type),*) $(-> $output)? {
            self.sound.$name($($argument),*)
        })*
    };
}

impl Device for Faulty {
    type Floats = Floats;
    type Bytes = Bytes;
    type Labels = Labels;
    type Recording = ();

    fn largest<'a>(&self, found: &mut Floats, arrays: impl Iterator<Item = (&'a Floats, usize)>) {
        self.sound.largest(found, arrays);
    }

    fn name(&self) -> String {
        format!("{} with {:?}", self.sound.name(), self.fault)
    }

    sound! {
        fn floats(len: usize) -> Floats;
        fn bytes(len: usize) -> Bytes;
        fn labels(len: usize) -> Labels;
        fn upload(dst: &mut Floats, src: &[f32]);
        fn upload_labels(dst: &mut Labels, src: &[u32]);
        fn download(dst: &mut [f32], src: &Floats);
        fn conv_backward_input(d_x: &mut Floats, d_y: &Floats, w: &Floats, shape: &ConvShape);
        fn linear_forward(y: &mut Floats, x: &Floats, weights: &Floats, bias: &Floats,
            activation: Activation, shape: &LinearShape);
        fn linear_backward_input(d_x: &mut Floats, d_y: &Floats, w: &Floats, shape: &LinearShape);
        fn linear_backward_add(d_weights: &mut Floats, d_bias: &mut Floats, d_y: &Floats,
            x: &Floats, shape: &LinearShape);
        fn linear_backward_bias(d_bias: &mut Floats, d_y: &Floats, shape: &LinearShape);
        fn copy(dst: &mut Floats, src: &Floats, len: usize);
        fn add(sums: &mut Floats, values: &Floats, len: usize);
        fn relu_forward(y: &mut Floats, x: &Floats, len: usize);
        fn relu_backward(d: &mut Floats, y: &Floats, factor: f32, len: usize);
        fn saturation_forward(y: &mut Floats, x: &Floats, curve: Saturation, len: usize);
        fn max_pool_backward(d_x: &mut Floats, d_y: &Floats, at: &Bytes, shape: &MaxPoolShape);
        fn average_pool_forward(y: &mut Floats, x: &Floats, shape: &AveragePoolShape);
        fn average_pool_backward(d_x: &mut Floats, d_y: &Floats, shape: &AveragePoolShape);
        fn batch_norm_evaluate(y: &mut Floats, x: &Floats, affine: &Floats, running: &Floats,
            activation: Activation, shape: &BatchNormShape);
        fn batch_norm_backward(d_x: &mut Floats, d_affine: &mut Floats, d_y: &Floats, x: &Floats,
            affine: &Floats, statistics: &Floats, shape: &BatchNormShape);
    }

    fn saturation_backward(&self, d: &mut Floats, y: &Floats, curve: Saturation, len: usize) {
        let faulty = self.has(Fault::SlopeOfTheOtherCurve);
        let curve = if faulty { Saturation::Tanh } else { curve };
        self.sound.saturation_backward(d, y, curve, len);
    }

    fn conv_forward(
        &self,
        y: &mut Floats,
        x: &Floats,
        weights: &Floats,
        bias: &Floats,
        activation: Activation,
        shape: &ConvShape,
    ) {
        let mut x = x.clone();
        if self.has(Fault::SwappedGroups) {
            let pixels = x[..shape.input_len()].chunks_mut(shape.in_c);
            pixels.for_each(|channels| channels.rotate_left(shape.in_c / shape.groups));
        }
        self.sound.conv_forward(y, &x, weights, bias, activation, shape);
    }

    fn conv_backward_weights(
        &self,
        d_weights: &mut Floats,
        d_bias: &mut Floats,
        d_y: &Floats,
        x: &Floats,
        shape: &ConvShape,
    ) {
        self.sound.conv_backward_weights(d_weights, d_bias, d_y, x, shape);
        if self.has(Fault::MissingBiasGradient) {
            d_bias[..shape.out_c].fill(0.0);
        }
    }

    fn linear_backward_weights(
        &self,
        d_weights: &mut Floats,
        d_bias: &mut Floats,
        d_y: &Floats,
        x: &Floats,
        shape: &LinearShape,
    ) {
        let stale = d_weights.clone();
        self.sound.linear_backward_weights(d_weights, d_bias, d_y, x, shape);
        if self.has(Fault::StaleWeightGradient) {
            d_weights.iter_mut().zip(stale).for_each(|(gradient, stale)| *gradient += stale);
        }
    }
    fn linear_backward_update(
        &self,
        weights: &mut Floats,
        velocity: &mut Floats,
        d_y: &Floats,
        x: &Floats,
        step: &SgdStep,
        shape: &LinearShape,
    ) {
        let forgotten = self.has(Fault::LinearDecayForgotten);
        let weight_decay = if forgotten { 0.0 } else { step.weight_decay };
        let step = SgdStep { weight_decay, ..*step };
        self.sound.linear_backward_update(weights, velocity, d_y, x, &step, shape);
    }

    fn max_pool_forward(
        &self,
        y: &mut Floats,
        positions: &mut Bytes,
        x: &Floats,
        shape: &MaxPoolShape,
    ) {
        self.sound.max_pool_forward(y, positions, x, shape);
        if self.has(Fault::PoolTieToLast) {
            move_to_last_of_equals(positions, y, x, shape);
        }
    }

    fn lrn_forward(&self, y: &mut Floats, x: &Floats, shape: &LrnShape) {
        self.sound.lrn_forward(y, x, &self.lrn_shape(shape));
    }

    fn lrn_backward(&self, d_x: &mut Floats, d_y: &Floats, x: &Floats, shape: &LrnShape) {
        self.sound.lrn_backward(d_x, d_y, x, &self.lrn_shape(shape));
        if self.has(Fault::WrongLrnTerm) {
            // dy · s^−β alone: y / x is s^−β.
            self.sound.lrn_forward(d_x, x, shape);
            let gradients = d_x.iter_mut().zip(d_y).zip(x);
            gradients.for_each(|((d_x, d_y), x)| *d_x *= d_y / x);
        }
    }

    fn batch_norm_train(
        &self,
        y: &mut Floats,
        statistics: &mut Floats,
        running: &mut Floats,
        x: &Floats,
        affine: &Floats,
        activation: Activation,
        shape: &BatchNormShape,
    ) {
        let old = running.clone();
        self.sound.batch_norm_train(y, statistics, running, x, affine, activation, shape);
        if self.has(Fault::BiasedRunningVariance) {
            let unbiased_to_biased = (shape.rows - 1) as f32 / shape.rows as f32;
            for c in shape.channels..2 * shape.channels {
                let kept = old[c] * (1.0 - shape.momentum);
                running[c] = kept + (running[c] - kept) * unbiased_to_biased;
            }
        }
    }

    fn dropout(&self, y: &mut Floats, x: &Floats, dropout: Dropout, len: usize) {
        let dropout = match dropout {
            Dropout::Masked { rate, key, .. } if self.has(Fault::DropoutScaleForgotten) => {
                Dropout::Masked { rate, kept_scale: 1.0, key }
            }
            dropout => dropout,
        };
        self.sound.dropout(y, x, dropout, len);
    }

    fn softmax_cross_entropy(
        &self,
        found: [&mut Floats; 2],
        d_logits: &mut Floats,
        logits: &Floats,
        labels: &Labels,
        shape: &LossShape,
    ) {
        self.sound.softmax_cross_entropy(found, d_logits, logits, labels, shape);
        if self.has(Fault::LossGradientSummed) {
            d_logits.iter_mut().for_each(|gradient| *gradient *= shape.images as f32);
        }
    }

    fn sgd_update(&self, update: SgdUpdate<'_, Floats>) {
        let forgotten = self.has(Fault::MomentumForgotten);
        let momentum = if forgotten { 0.0 } else { update.step.momentum };
        let step = SgdStep { momentum, ..update.step };
        self.sound.sgd_update(SgdUpdate { step, ..update });
    }
}

/// Points every window of `x (N, H, W, C)` at the last of the values equal to its maximum in
/// `y (N, P, Q, C)`.
fn move_to_last_of_equals(positions: &mut [u8], y: &[f32], x: &[f32], shape: &MaxPoolShape) {
    let MaxPoolShape { in_h, in_w, out_h, out_w, channels, size, stride, .. } = *shape;
    for out in 0..shape.output_len() {
        let (place, c) = (out / channels, out % channels);
        let (n, p, q) = (place / (out_h * out_w), place / out_w % out_h, place % out_w);
        for position in 0..size * size {
            let row = p * stride + position / size;
            let column = q * stride + position % size;
            let inside = row < in_h && column < in_w;
            if inside && x[((n * in_h + row) * in_w + column) * channels + c] == y[out] {
                positions[out] = position as u8;
            }
        }
    }
}
