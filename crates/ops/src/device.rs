//! The contract between the network and whatever computes it.

use serde::{Deserialize, Serialize};

use crate::images::Levels;
use crate::shape::{
    AveragePoolShape, BatchNormShape, ConvShape, LinearShape, LossShape, LrnShape, MaxPoolShape,
};
use crate::update::{Bound, SgdStep, SgdUpdate};

/// What happens to a layer's sums on their way out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Activation {
    /// Nothing.
    Identity,
    /// [`Device::relu_forward`], fused so that the sums are written once.
    Relu,
}

/// A nonlinearity that flattens out on both sides: what the paper compares ReLU with (§3.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Saturation {
    /// `tanh(x)`.
    Tanh,
    /// `1 / (1 + e⁻ˣ)`.
    Sigmoid,
}

/// What one dropout mask depends on, and nothing else: no generator is shared or advanced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DropoutKey {
    /// The run's seed.
    pub seed: u64,
    /// The training step, counted from the first of the run.
    pub step: u64,
    /// Which dropout of the network, counted from 0.
    pub layer: u32,
    /// Elements of the layer that come before the first one here: not 0 where a batch is taken in
    /// parts.
    pub first: usize,
}

/// What dropout does to an array.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Dropout {
    /// In training: `x · kept_scale` where [`crate::philox::keeps`] keeps the element, else 0. Forward
    /// and backward are the same under the same key, so no mask is stored.
    Masked {
        /// The share that is dropped.
        rate: f32,
        /// What the others are multiplied by.
        kept_scale: f32,
        /// What the mask depends on.
        key: DropoutKey,
    },
    /// In evaluation: `x · factor`, as classic dropout does at test time (paper §4.2).
    Scaled(f32),
}

/// An operation that a device has timed.
#[derive(Clone, Debug, PartialEq)]
pub struct Timed {
    /// What the device calls it.
    pub operation: String,
    /// What it took.
    pub seconds: f64,
}

/// What products are formed in. Sums, master weights and what is computed element by element are
/// `f32` always; between two operations, a device may keep values in the precision of its products.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Precision {
    /// Products as accurate as `f32` sums: within 1e-5 (relative L2) of the exact result.
    #[default]
    F32,
    /// Factors rounded to bf16 where the device gains by it: within 1e-2.
    Bf16,
}

/// What a device has to say that keeps its arrays in memory of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OwnMemory {
    /// What is free of it.
    pub free_bytes: usize,
    /// What a number takes in an array of [`Device::values`].
    pub value_bytes: usize,
    /// What a number takes in an array of [`Device::weights`].
    pub weight_bytes: usize,
}

/// One of the three results that a convolution's step needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ConvPass {
    /// The output.
    Forward,
    /// The gradient of the input.
    BackwardInput,
    /// The gradients of weights and bias.
    BackwardWeights,
}

/// Everything a device must be able to do.
///
/// Outputs come first, then inputs, then the shape. A backward operation is named for the gradient
/// it makes and takes `d_`-prefixed arrays. Every output is overwritten whole, whatever stood in
/// it, and arrays may be longer than the shape says: the plan sizes them for the largest batch.
/// Shapes are the plan's promise; a device asserts them. Results do not depend on how many threads
/// a device uses.
pub trait Device {
    /// An array of real numbers on the device.
    type Floats;
    /// An array of bytes on the device: positions within pooling windows.
    type Bytes;
    /// An array of class indices on the device.
    type Labels;
    /// Operations that a device remembers: [`Self::begin_repeat`].
    type Recording: Default;

    /// The device in a few words, for a person.
    fn name(&self) -> String;

    /// The memory that its arrays take, if it is not the host's.
    fn own_memory(&self) -> Option<OwnMemory> {
        None
    }
    /// Whether operations return before they are done.
    fn is_asynchronous(&self) -> bool {
        false
    }
    /// From now on does one operation when the other is done, as devices do that have no choice: to see what
    /// it is worth to do some beside each other. What was remembered before stays as it was.
    fn take_turns(&self) {}
    /// Returns when everything that was asked for is done.
    fn finish(&self) {}
    /// Whether something that was asked for is not done yet.
    fn is_busy(&self) -> bool {
        false
    }

    /// Begins to time every operation by itself, on a device that is its own clock.
    fn begin_timing(&self) {}
    /// What was timed since, in the order in which it was asked for; nothing where the host's clock does.
    fn end_timing(&self) -> Vec<Timed> {
        Vec::new()
    }

    /// Begins operations that are the same on the same arrays whenever this recording comes, but for
    /// the step of all dropout keys among them, which is `step`; and that neither bring anything from
    /// the host nor take anything there. Says whether they are to be asked for; if not, the device
    /// remembered them, and does them again, with this step. Where nothing is dropped any step will do.
    fn begin_repeat(&self, _recording: &mut Self::Recording, _step: u64) -> bool {
        true
    }
    /// Ends the operations that were asked for. Says whether they count; if not, they were to be
    /// remembered and could not be, and are begun anew.
    fn end_repeat(&self, _recording: &mut Self::Recording) -> bool {
        true
    }

    /// `len` zeros.
    fn floats(&self, len: usize) -> Self::Floats;
    /// `len` zeros for what flows through the network, activations and their gradients: a device that
    /// computes in [`Precision::Bf16`] may keep them so. Where the contract speaks of `x`, `y`, logits
    /// and their gradients, it means these.
    fn values(&self, len: usize) -> Self::Floats {
        self.floats(len)
    }
    /// `len` zeros for the weights of a convolution or linear layer, of which a device that computes
    /// in [`Precision::Bf16`] may keep a rounded copy beside.
    fn weights(&self, len: usize) -> Self::Floats {
        self.floats(len)
    }
    /// `len` zero bytes.
    fn bytes(&self, len: usize) -> Self::Bytes;
    /// `len` labels, all 0.
    fn labels(&self, len: usize) -> Self::Labels;
    /// Copies `src` to the beginning of `dst`.
    fn upload(&self, dst: &mut Self::Floats, src: &[f32]);
    /// Makes pictures at the beginning of `dst`, (N, side, side, 3), each resized and normalised as its
    /// [`Picture`](crate::Picture) says, to the bit. Unless a device knows better, the numbers are made
    /// on the host, in plain loops.
    ///
    /// With a `reader`, that convolution's operations alone read `dst` until it is written again, and it has
    /// the [`Self::input_len`] of that convolution, or of one of more images: so a device may lay them out as
    /// the convolution wants them.
    fn upload_levels(
        &self,
        dst: &mut Self::Floats,
        levels: Levels<'_>,
        _reader: Option<&ConvShape>,
    ) {
        self.upload(dst, &levels.values());
    }
    /// Numbers that an array has room for in which [`Self::upload_levels`] makes the inputs of this
    /// convolution.
    fn input_len(&self, shape: &ConvShape) -> usize {
        shape.input_len()
    }
    /// Whether images reach the device faster by [`Self::upload_levels`] than by [`Self::upload`].
    fn prefers_levels(&self) -> bool {
        false
    }
    /// Begins to bring levels to the device, beside whatever it computes; returns when they were read.
    /// They stay there until others come, of whomever, and have a number that no others get. A hint:
    /// [`Self::upload_brought`] has the same result without.
    fn bring_levels(&self, _levels: Levels<'_>) -> u64 {
        0
    }
    /// [`Self::upload_levels`] of what was brought with this number, which the caller gives once more,
    /// for it may be there no longer.
    fn upload_brought(
        &self,
        dst: &mut Self::Floats,
        _number: u64,
        levels: Levels<'_>,
        reader: Option<&ConvShape>,
    ) {
        self.upload_levels(dst, levels, reader);
    }
    /// Copies `src` to the beginning of `dst`.
    fn upload_labels(&self, dst: &mut Self::Labels, src: &[u32]);
    /// Copies the beginning of `src` to all of `dst`, when everything before it is done.
    fn download(&self, dst: &mut [f32], src: &Self::Floats);
    /// Begins to bring the first `len` elements to the host, when everything before it is done; with a
    /// number that no others get. A hint: [`Self::end_download`] has the same result without.
    fn begin_download(&self, _src: &Self::Floats, _len: usize) -> u64 {
        0
    }
    /// [`Self::download`] of what was begun with this number, waiting for nothing that was asked for after
    /// it. The array, which the caller gives once more for what was begun may be there no longer, must hold
    /// the same still.
    fn end_download(&self, dst: &mut [f32], _number: u64, src: &Self::Floats) {
        self.download(dst, src);
    }

    /// `y = activation(x * weights + bias)`: cross-correlation, as everywhere in this field.
    fn conv_forward(
        &self,
        y: &mut Self::Floats,
        x: &Self::Floats,
        weights: &Self::Floats,
        bias: &Self::Floats,
        activation: Activation,
        shape: &ConvShape,
    );
    /// Gradient of the input from the gradient of the sums.
    fn conv_backward_input(
        &self,
        d_x: &mut Self::Floats,
        d_y: &Self::Floats,
        weights: &Self::Floats,
        shape: &ConvShape,
    );
    /// Gradients of weights and bias from the gradient of the sums.
    fn conv_backward_weights(
        &self,
        d_weights: &mut Self::Floats,
        d_bias: &mut Self::Floats,
        d_y: &Self::Floats,
        x: &Self::Floats,
        shape: &ConvShape,
    );

    /// Products of two factors that the device sums up in this pass: another number than the
    /// convolution's multiply-adds where it computes in another way. Transforms are not counted.
    fn conv_products(&self, shape: &ConvShape, _pass: ConvPass) -> usize {
        shape.macs()
    }

    /// Says that a linear layer's `weights` will be read many times before they are written again: a
    /// device may keep them in other orders as well. No result depends on it but within
    /// [`Precision::Bf16`].
    fn settle(&self, _weights: &mut Self::Floats) {}
    /// `y = activation(x · weightsᵀ + bias)`.
    fn linear_forward(
        &self,
        y: &mut Self::Floats,
        x: &Self::Floats,
        weights: &Self::Floats,
        bias: &Self::Floats,
        activation: Activation,
        shape: &LinearShape,
    );
    /// [`Self::linear_forward`] and then [`Self::dropout`], within rounding. What is left in `sums`, which
    /// is as long as `y`, is the device's matter.
    fn linear_dropout_forward(
        &self,
        [y, sums]: [&mut Self::Floats; 2],
        x: &Self::Floats,
        [weights, bias]: [&Self::Floats; 2],
        (activation, dropout): (Activation, Dropout),
        shape: &LinearShape,
    ) {
        self.linear_forward(sums, x, weights, bias, activation, shape);
        self.dropout(y, sums, dropout, shape.batch * shape.outputs);
    }
    /// Gradient of the input from the gradient of the sums.
    fn linear_backward_input(
        &self,
        d_x: &mut Self::Floats,
        d_y: &Self::Floats,
        weights: &Self::Floats,
        shape: &LinearShape,
    );
    /// Gradients of weights and bias from the gradient of the sums.
    fn linear_backward_weights(
        &self,
        d_weights: &mut Self::Floats,
        d_bias: &mut Self::Floats,
        d_y: &Self::Floats,
        x: &Self::Floats,
        shape: &LinearShape,
    );
    /// As [`Self::linear_backward_weights`], but the gradient of the weights is added to what stands
    /// in `d_weights`.
    fn linear_backward_add(
        &self,
        d_weights: &mut Self::Floats,
        d_bias: &mut Self::Floats,
        d_y: &Self::Floats,
        x: &Self::Floats,
        shape: &LinearShape,
    );
    /// [`Self::linear_backward_weights`] and then [`Self::sgd_update`] of the weights, to the bit,
    /// without the gradient of the weights ever being stored.
    fn linear_backward_update(
        &self,
        weights: &mut Self::Floats,
        velocity: &mut Self::Floats,
        d_y: &Self::Floats,
        x: &Self::Floats,
        step: &SgdStep,
        shape: &LinearShape,
    );
    /// The gradient of the bias alone, to the bit that of [`Self::linear_backward_weights`].
    fn linear_backward_bias(
        &self,
        d_bias: &mut Self::Floats,
        d_y: &Self::Floats,
        shape: &LinearShape,
    );

    /// `y = max(0, x)` over `len` elements; of what is not finite, NaN: −∞ must not pass for a 0.
    fn relu_forward(&self, y: &mut Self::Floats, x: &Self::Floats, len: usize);
    /// Turns the gradient of `y` into that of a ReLU's input, in place: `d · factor`, zero where `y` is
    /// zero. `y` is the ReLU's output, and the factor 1; or what dropout made of it, which multiplied by
    /// the factor what it kept.
    fn relu_backward(&self, d: &mut Self::Floats, y: &Self::Floats, factor: f32, len: usize);

    /// `y = curve(x)` over `len` elements.
    fn saturation_forward(
        &self,
        y: &mut Self::Floats,
        x: &Self::Floats,
        curve: Saturation,
        len: usize,
    );
    /// Turns the gradient of the curve's output `y` into that of its input, in place: times
    /// `1 − y²` for tanh, times `y · (1 − y)` for the sigmoid.
    fn saturation_backward(
        &self,
        d: &mut Self::Floats,
        y: &Self::Floats,
        curve: Saturation,
        len: usize,
    );

    /// The largest value of each window and its position `row · size + column` in it; the first of
    /// equals, in reading order, as PyTorch and Caffe take it. NaN where an input of the window is not finite: −∞ must not hide
    /// behind a larger one.
    fn max_pool_forward(
        &self,
        y: &mut Self::Floats,
        positions: &mut Self::Bytes,
        x: &Self::Floats,
        shape: &MaxPoolShape,
    );
    /// [`Self::conv_forward`] of `x` with ReLU and then [`Self::max_pool_forward`], within rounding.
    /// What is left in `sums`, which is as long as the convolution's output, is the device's matter:
    /// adding a bias and cutting off what is negative, it may do to each window's maximum alone.
    fn conv_max_pool_forward(
        &self,
        [y, sums]: [&mut Self::Floats; 2],
        positions: &mut Self::Bytes,
        x: &Self::Floats,
        [weights, bias]: [&Self::Floats; 2],
        (conv, pool): (&ConvShape, &MaxPoolShape),
    ) {
        self.conv_forward(sums, x, weights, bias, Activation::Relu, conv);
        self.max_pool_forward(y, positions, sums, pool);
    }
    /// Each window's gradient goes to the position it came from; where windows overlap they add.
    fn max_pool_backward(
        &self,
        d_x: &mut Self::Floats,
        d_y: &Self::Floats,
        positions: &Self::Bytes,
        shape: &MaxPoolShape,
    );

    /// [`Self::relu_backward`] of rectified maxima `y`, which are as they were found with `positions`,
    /// and then [`Self::max_pool_backward`]. What is left in `d_y` is the device's matter.
    fn rectified_max_pool_backward(
        &self,
        d_x: &mut Self::Floats,
        d_y: &mut Self::Floats,
        y: &Self::Floats,
        positions: &Self::Bytes,
        shape: &MaxPoolShape,
    ) {
        self.relu_backward(d_y, y, 1.0, shape.output_len());
        self.max_pool_backward(d_x, d_y, positions, shape);
    }

    /// Adaptive average pooling.
    fn average_pool_forward(
        &self,
        y: &mut Self::Floats,
        x: &Self::Floats,
        shape: &AveragePoolShape,
    );
    /// Each cell's gradient is spread evenly over the inputs it averaged.
    fn average_pool_backward(
        &self,
        d_x: &mut Self::Floats,
        d_y: &Self::Floats,
        shape: &AveragePoolShape,
    );

    /// Local response normalisation.
    fn lrn_forward(&self, y: &mut Self::Floats, x: &Self::Floats, shape: &LrnShape);
    /// Its input gradient; sums are computed again from `x` rather than kept.
    fn lrn_backward(
        &self,
        d_x: &mut Self::Floats,
        d_y: &Self::Floats,
        x: &Self::Floats,
        shape: &LrnShape,
    );
    /// [`Self::conv_forward`] of `x` with ReLU and then [`Self::lrn_forward`], within rounding. What is
    /// left in `sums`, which is as long as `y`, is for [`Self::rectified_lrn_backward`] alone: adding a
    /// bias and cutting off what is negative, a device may do anew each time that it reads them.
    fn conv_lrn_forward(
        &self,
        [y, sums]: [&mut Self::Floats; 2],
        x: &Self::Floats,
        [weights, bias]: [&Self::Floats; 2],
        (conv, lrn): (&ConvShape, &LrnShape),
    ) {
        self.conv_forward(sums, x, weights, bias, Activation::Relu, conv);
        self.lrn_forward(y, sums, lrn);
    }
    /// [`Self::lrn_backward`] of what [`Self::conv_lrn_forward`] left in `sums`, with the same bias, and
    /// then [`Self::relu_backward`]: the gradient of the convolution's sums.
    fn rectified_lrn_backward(
        &self,
        d_x: &mut Self::Floats,
        d_y: &Self::Floats,
        [sums, _bias]: [&Self::Floats; 2],
        shape: &LrnShape,
    ) {
        self.lrn_backward(d_x, d_y, sums, shape);
        self.relu_backward(d_x, sums, 1.0, shape.len());
    }

    /// Normalises by the batch's own mean and (biased) variance, then scales and shifts by
    /// `affine`, then does the activation. `affine` is scale then shift, `running` mean then unbiased variance, `statistics`
    /// this batch's mean then `1/√(variance + ε)`, kept for the backward pass: 2·C values each.
    fn batch_norm_train(
        &self,
        y: &mut Self::Floats,
        statistics: &mut Self::Floats,
        running: &mut Self::Floats,
        x: &Self::Floats,
        affine: &Self::Floats,
        activation: Activation,
        shape: &BatchNormShape,
    );
    /// The same by the running statistics.
    fn batch_norm_evaluate(
        &self,
        y: &mut Self::Floats,
        x: &Self::Floats,
        affine: &Self::Floats,
        running: &Self::Floats,
        activation: Activation,
        shape: &BatchNormShape,
    );
    /// Gradients of input, scale and shift for [`Device::batch_norm_train`], from the gradient of what was
    /// normalised, before any activation.
    fn batch_norm_backward(
        &self,
        d_x: &mut Self::Floats,
        d_affine: &mut Self::Floats,
        d_y: &Self::Floats,
        x: &Self::Floats,
        affine: &Self::Floats,
        statistics: &Self::Floats,
        shape: &BatchNormShape,
    );
    /// [`Self::relu_backward`] of rectified outputs `y`, which [`Self::batch_norm_train`] made of `x` by the
    /// same figures, and then [`Self::batch_norm_backward`]: the ReLU lets through exactly what it let
    /// through forward. What is left in `d_y` is the device's matter.
    fn rectified_batch_norm_backward(
        &self,
        [d_x, d_affine]: [&mut Self::Floats; 2],
        d_y: &mut Self::Floats,
        [x, y]: [&Self::Floats; 2],
        [affine, statistics]: [&Self::Floats; 2],
        shape: &BatchNormShape,
    ) {
        self.relu_backward(d_y, y, 1.0, shape.rows * shape.channels);
        self.batch_norm_backward(d_x, d_affine, d_y, x, affine, statistics, shape);
    }

    /// What dropout makes of `len` elements.
    fn dropout(&self, y: &mut Self::Floats, x: &Self::Floats, dropout: Dropout, len: usize);

    /// Per image `−Σ target · ln softmax(logits)` into the first array, how many classes come before its
    /// label ([`crate::rank`]) into the second, and the gradient of the losses' mean. Targets and what the
    /// mean is over the shape says.
    fn softmax_cross_entropy(
        &self,
        losses_and_ranks: [&mut Self::Floats; 2],
        d_logits: &mut Self::Floats,
        logits: &Self::Floats,
        labels: &Self::Labels,
        shape: &LossShape,
    );

    /// One step of gradient descent on one parameter, in place.
    fn sgd_update(&self, update: SgdUpdate<'_, Self::Floats>);

    /// The same of many parameters.
    fn sgd_updates<'a>(&self, updates: impl Iterator<Item = SgdUpdate<'a, Self::Floats>>)
    where
        Self::Floats: 'a,
    {
        updates.for_each(|update| self.sgd_update(update));
    }

    /// Copies `len` parameters or sums.
    fn copy(&self, dst: &mut Self::Floats, src: &Self::Floats, len: usize);
    /// Adds `values` to `sums`, `len` elements.
    fn add(&self, sums: &mut Self::Floats, values: &Self::Floats, len: usize);
    /// The largest magnitude of so many values of each array, in turn, into `found`; NaN where one of
    /// them is.
    fn largest<'a>(
        &self,
        found: &mut Self::Floats,
        arrays: impl Iterator<Item = (&'a Self::Floats, usize)>,
    ) where
        Self::Floats: 'a;
    /// Judges magnitudes that [`Self::largest`] found, each by its bound, and holds the updates that are
    /// asked for up to [`Self::end_updates`] back unless all hold. Says whether they do; nothing where
    /// the device computes by itself: then updates are to be asked for without knowing, and
    /// [`Self::judged`] knows. `room` is for as many magnitudes.
    fn begin_updates(
        &self,
        found: &Self::Floats,
        bounds: &[Bound],
        room: &mut [f32],
    ) -> Option<bool> {
        self.download(&mut room[..bounds.len()], found);
        Some(Bound::all_hold(bounds, room))
    }
    /// Ends what [`Self::begin_updates`] began.
    fn end_updates(&self) {}
    /// Whether all bounds held, when a device that judges by itself has judged; it is not waited for
    /// what was asked for after that. Clones of a device judge one step at a time.
    fn judged(&self) -> bool {
        true
    }
}
