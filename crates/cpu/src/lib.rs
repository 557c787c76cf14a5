//! The network's operations on a CPU.
//!
//! Work is cut into pieces whose borders depend on shapes alone, each piece is computed by one
//! thread, and sums over pieces run in their order: so results are the same bits for any number of
//! threads.

#[cfg(target_arch = "x86_64")]
mod amx;
mod array;
mod batch_norm;
mod buffer;
mod conv;
mod disjoint;
mod dropout;
mod elementwise;
mod few_images;
#[cfg(all(test, target_os = "linux"))]
mod guarded;
mod isa;
mod linear;
mod loss;
mod lrn;
mod matmul;
mod microkernel;
mod panels;
mod pool;
mod reduce;
#[cfg(all(test, target_os = "linux"))]
mod samples;
mod scratch;
mod sgd;
mod simd;
mod threads;
mod toom_cook;
mod unfolded;
mod weight_gradient;
mod wide_rows;

use std::sync::Arc;

use alexnet_ops::{
    Activation, AveragePoolShape, BatchNormShape, ConvPass, ConvShape, Device, Dropout,
    LinearShape, LossShape, LrnShape, MaxPoolShape, Precision, Saturation, SgdStep, SgdUpdate,
};

pub use array::Array;
use buffer::Buffer;
pub use isa::{ISA_VARIABLE, Isa, IsaError};
use scratch::Scratch;
pub use threads::THREADS_MAX;
use threads::Threads;

/// A CPU with a fixed number of threads. Clones share the threads.
#[derive(Clone)]
pub struct Cpu {
    context: Arc<Context>,
}

/// What every operation computes with.
pub(crate) struct Context {
    pub(crate) isa: Isa,
    pub(crate) precision: Precision,
    pub(crate) threads: Threads,
    pub(crate) scratch: Scratch,
}

/// Why there is no such device.
#[derive(Debug, thiserror::Error)]
pub enum CpuError {
    /// The system would not start the threads asked for.
    #[error("cannot start {threads} compute threads ({source}): pass --threads with fewer")]
    Threads {
        /// How many were asked for.
        threads: usize,
        /// What the system said.
        source: std::io::Error,
    },
    /// Instructions were asked for by name that are not there.
    #[error(transparent)]
    Isa(#[from] IsaError),
}

impl Cpu {
    /// A device that computes in `f32` on `threads` threads (0 takes one per core), with the richest
    /// instructions there are or those that [`ISA_VARIABLE`] names.
    ///
    /// # Errors
    /// When there are more than [`THREADS_MAX`], the system refuses them, or the variable names no available instructions.
    pub fn new(threads: usize) -> Result<Self, CpuError> {
        Self::with(threads, Isa::choose()?, Precision::F32)
    }

    /// The same with these instructions and this precision.
    ///
    /// # Errors
    /// When there are more than [`THREADS_MAX`], or the system refuses them.
    ///
    /// # Panics
    /// When this processor lacks the instructions: they must be one of [`Isa::available`].
    pub fn with(threads: usize, isa: Isa, precision: Precision) -> Result<Self, CpuError> {
        assert!(Isa::available().contains(&isa), "this processor has no {isa}");
        let threads = threads::meant(threads);
        let started =
            Threads::new(threads).map_err(|source| CpuError::Threads { threads, source })?;
        let context =
            Context { isa, precision, scratch: Scratch::new(started.count()), threads: started };
        Ok(Self { context: Arc::new(context) })
    }

    /// How many threads compute.
    pub fn threads(&self) -> usize {
        self.context.threads.count()
    }

    /// The instructions computed with.
    pub fn isa(&self) -> Isa {
        self.context.isa
    }
}

impl Device for Cpu {
    type Floats = Array;
    type Bytes = Buffer<u8>;
    type Labels = Buffer<u32>;
    type Recording = ();

    fn name(&self) -> String {
        let precision = match self.context.precision {
            Precision::F32 => "",
            Precision::Bf16 => ", bf16",
        };
        format!("cpu ({} threads, {}{precision})", self.threads(), self.isa())
    }
    fn floats(&self, len: usize) -> Array {
        Array::zeroed(len)
    }
    fn bytes(&self, len: usize) -> Buffer<u8> {
        Buffer::array(len)
    }
    fn labels(&self, len: usize) -> Buffer<u32> {
        Buffer::array(len)
    }
    fn upload(&self, dst: &mut Array, src: &[f32]) {
        elementwise::copy(&self.context, &mut dst[..src.len()], src);
    }
    fn upload_labels(&self, dst: &mut Buffer<u32>, src: &[u32]) {
        dst[..src.len()].copy_from_slice(src);
    }
    fn download(&self, dst: &mut [f32], src: &Array) {
        dst.copy_from_slice(&src[..dst.len()]);
    }

    fn conv_forward(
        &self,
        y: &mut Array,
        x: &Array,
        weights: &Array,
        bias: &Array,
        activation: Activation,
        shape: &ConvShape,
    ) {
        conv::forward(&self.context, y, x, weights, bias, activation, shape);
    }
    fn conv_backward_input(
        &self,
        d_x: &mut Array,
        d_y: &Array,
        weights: &Array,
        shape: &ConvShape,
    ) {
        conv::backward_input(&self.context, d_x, d_y, weights, shape);
    }
    fn conv_backward_weights(
        &self,
        d_weights: &mut Array,
        d_bias: &mut Array,
        d_y: &Array,
        x: &Array,
        shape: &ConvShape,
    ) {
        conv::backward_weights(&self.context, d_weights, d_bias, d_y, x, shape);
    }

    fn conv_products(&self, shape: &ConvShape, pass: ConvPass) -> usize {
        conv::products(&self.context, shape, pass)
    }

    fn settle(&self, weights: &mut Array) {
        weights.settled = true;
    }
    fn linear_forward(
        &self,
        y: &mut Array,
        x: &Array,
        weights: &Array,
        bias: &Array,
        activation: Activation,
        shape: &LinearShape,
    ) {
        linear::forward(&self.context, y, x, weights, bias, activation, shape);
    }
    fn linear_backward_input(
        &self,
        d_x: &mut Array,
        d_y: &Array,
        weights: &Array,
        shape: &LinearShape,
    ) {
        linear::backward_input(&self.context, d_x, d_y, weights, shape);
    }
    fn linear_backward_weights(
        &self,
        d_weights: &mut Array,
        d_bias: &mut Array,
        d_y: &Array,
        x: &Array,
        shape: &LinearShape,
    ) {
        linear::backward_weights(&self.context, d_weights, d_bias, d_y, x, shape);
    }
    fn linear_backward_add(
        &self,
        d_weights: &mut Array,
        d_bias: &mut Array,
        d_y: &Array,
        x: &Array,
        shape: &LinearShape,
    ) {
        linear::backward_add(&self.context, d_weights, d_bias, d_y, x, shape);
    }
    fn linear_backward_update(
        &self,
        weights: &mut Array,
        velocity: &mut Array,
        d_y: &Array,
        x: &Array,
        step: &SgdStep,
        shape: &LinearShape,
    ) {
        linear::backward_update(&self.context, [weights, velocity], d_y, x, step, shape);
    }
    fn linear_backward_bias(&self, d_bias: &mut Array, d_y: &Array, shape: &LinearShape) {
        linear::backward_bias(&self.context, d_bias, d_y, shape);
    }

    fn relu_forward(&self, y: &mut Array, x: &Array, len: usize) {
        elementwise::relu(&self.context, &mut y[..len], &x[..len]);
    }
    fn relu_backward(&self, d: &mut Array, y: &Array, factor: f32, len: usize) {
        elementwise::relu_backward(&self.context, &mut d[..len], &y[..len], factor);
    }
    fn saturation_forward(&self, y: &mut Array, x: &Array, curve: Saturation, len: usize) {
        elementwise::saturation(&self.context, &mut y[..len], &x[..len], curve);
    }
    fn saturation_backward(&self, d: &mut Array, y: &Array, curve: Saturation, len: usize) {
        elementwise::saturation_backward(&self.context, &mut d[..len], &y[..len], curve);
    }

    fn max_pool_forward(
        &self,
        y: &mut Array,
        positions: &mut Buffer<u8>,
        x: &Array,
        shape: &MaxPoolShape,
    ) {
        pool::max_forward(&self.context, y, positions, x, shape);
    }
    fn max_pool_backward(
        &self,
        d_x: &mut Array,
        d_y: &Array,
        positions: &Buffer<u8>,
        shape: &MaxPoolShape,
    ) {
        pool::max_backward(&self.context, d_x, d_y, positions, shape);
    }
    fn average_pool_forward(&self, y: &mut Array, x: &Array, shape: &AveragePoolShape) {
        pool::average_forward(&self.context, y, x, shape);
    }
    fn average_pool_backward(&self, d_x: &mut Array, d_y: &Array, shape: &AveragePoolShape) {
        pool::average_backward(&self.context, d_x, d_y, shape);
    }

    fn lrn_forward(&self, y: &mut Array, x: &Array, shape: &LrnShape) {
        lrn::forward(&self.context, y, x, shape);
    }
    fn lrn_backward(&self, d_x: &mut Array, d_y: &Array, x: &Array, shape: &LrnShape) {
        lrn::backward(&self.context, d_x, d_y, x, shape);
    }

    fn batch_norm_train(
        &self,
        y: &mut Array,
        statistics: &mut Array,
        running: &mut Array,
        x: &Array,
        affine: &Array,
        activation: Activation,
        shape: &BatchNormShape,
    ) {
        batch_norm::train(&self.context, y, statistics, running, x, affine, activation, shape);
    }
    fn batch_norm_evaluate(
        &self,
        y: &mut Array,
        x: &Array,
        affine: &Array,
        running: &Array,
        activation: Activation,
        shape: &BatchNormShape,
    ) {
        batch_norm::evaluate(&self.context, y, x, affine, running, activation, shape);
    }
    fn batch_norm_backward(
        &self,
        d_x: &mut Array,
        d_affine: &mut Array,
        d_y: &Array,
        x: &Array,
        affine: &Array,
        statistics: &Array,
        shape: &BatchNormShape,
    ) {
        batch_norm::backward(&self.context, d_x, d_affine, d_y, x, affine, statistics, shape);
    }

    fn dropout(&self, y: &mut Array, x: &Array, dropout: Dropout, len: usize) {
        let (y, x, context) = (&mut y[..len], &x[..len], &self.context);
        match dropout {
            Dropout::Masked { rate, kept_scale, key } => {
                dropout::dropout(context, y, x, rate, kept_scale, key);
            }
            Dropout::Scaled(factor) => elementwise::scale(context, y, x, factor),
        }
    }

    fn softmax_cross_entropy(
        &self,
        [losses, ranks]: [&mut Array; 2],
        d_logits: &mut Array,
        logits: &Array,
        labels: &Buffer<u32>,
        shape: &LossShape,
    ) {
        let found = [&mut losses[..shape.images], &mut ranks[..shape.images]];
        loss::softmax_cross_entropy(&self.context, found, d_logits, logits, labels, shape);
    }

    fn sgd_update(&self, update: SgdUpdate<'_, Array>) {
        let SgdUpdate { weights, velocity, gradient, step, trust, len } = update;
        let (weights, gradient) = (&mut weights[..len], &gradient[..len]);
        let squares =
            || [&*weights, gradient].map(|array| elementwise::sum_of_squares(&self.context, array));
        let step = trust.map_or(step, |trust| step.at_layer_wise_rate(trust, squares()));
        elementwise::sgd(&self.context, weights, &mut velocity[..len], gradient, &step);
    }

    fn copy(&self, dst: &mut Array, src: &Array, len: usize) {
        dst[..len].copy_from_slice(&src[..len]);
    }
    fn add(&self, sums: &mut Array, values: &Array, len: usize) {
        elementwise::add(&self.context, &mut sums[..len], &values[..len]);
    }
    fn largest<'a>(&self, found: &mut Array, arrays: impl Iterator<Item = (&'a Array, usize)>) {
        for (found, (values, len)) in found.iter_mut().zip(arrays) {
            *found = elementwise::largest(&self.context, &values[..len]);
        }
    }
}
