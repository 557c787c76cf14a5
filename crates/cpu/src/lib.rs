//! The network's operations on a CPU.
//!
//! Work is cut into pieces whose borders depend on shapes alone, each piece is computed by one
//! thread, and sums over pieces run in their order: so results are the same bits for any number of
//! threads.

mod amx;
mod array;
mod batch_norm;
mod buffer;
mod conv;
mod disjoint;
mod elementwise;
mod isa;
mod linear;
mod loss;
mod lrn;
mod matmul;
mod microkernel;
mod pool;
mod reduce;
mod scratch;
mod simd;
mod threads;
mod toom_cook;

use std::sync::{Arc, Mutex, PoisonError};

use alexnet_ops::{
    Activation, AveragePoolShape, BatchNormShape, ConvShape, Device, DropoutKey, LinearShape,
    LrnRegion, LrnShape, MaxPoolShape, Precision, SgdStep,
};
use rayon::ThreadPool;

pub use array::Array;
use buffer::Buffer;
pub use isa::{ISA_VARIABLE, Isa, IsaError};
use scratch::Scratch;
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
    pool: ThreadPool,
    unfolded: Mutex<Vec<f32>>,
}

/// Why there is no such device.
#[derive(Debug, thiserror::Error)]
pub enum CpuError {
    /// The system would not start the threads asked for.
    #[error("cannot start {threads} compute threads: {source}")]
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
    /// When the system refuses the threads, or the variable names no available instructions.
    pub fn new(threads: usize) -> Result<Self, CpuError> {
        Self::with(threads, Isa::choose()?, Precision::F32)
    }

    /// The same with these instructions and this precision.
    ///
    /// # Errors
    /// When the system refuses the threads.
    ///
    /// # Panics
    /// When this processor lacks the instructions: they must be one of [`Isa::available`].
    pub fn with(threads: usize, isa: Isa, precision: Precision) -> Result<Self, CpuError> {
        assert!(Isa::available().contains(&isa), "this processor has no {isa}");
        let started =
            Threads::new(threads).map_err(|source| CpuError::Threads { threads, source })?;
        let pool = rayon::ThreadPoolBuilder::new()
            .num_threads(started.count())
            .build()
            .expect("rayon goes away");
        let context = Context {
            isa,
            precision,
            scratch: Scratch::new(started.count()),
            threads: started,
            pool,
            unfolded: Mutex::default(),
        };
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

    /// Runs `work` on this device's threads.
    fn run<R: Send>(&self, work: impl FnOnce() -> R + Send) -> R {
        self.context.pool.install(work)
    }

    /// Runs `work` on this device's threads with the scratch array. It holds nothing between calls,
    /// so a panic elsewhere cannot have spoilt it.
    fn run_unfolding(&self, work: impl FnOnce(&mut Vec<f32>) + Send) {
        let mut guard = self.context.unfolded.lock().unwrap_or_else(PoisonError::into_inner);
        let unfolded = &mut *guard;
        self.run(|| work(unfolded));
    }
}

impl Device for Cpu {
    type Floats = Array;
    type Bytes = Buffer<u8>;
    type Labels = Buffer<u32>;

    fn name(&self) -> String {
        format!("cpu ({} threads, {})", self.threads(), self.isa())
    }
    fn floats(&self, len: usize) -> Array {
        Array::zeroed(len)
    }
    fn bytes(&self, len: usize) -> Buffer<u8> {
        Buffer::zeroed(len)
    }
    fn labels(&self, len: usize) -> Buffer<u32> {
        Buffer::zeroed(len)
    }
    fn upload(&self, dst: &mut Array, src: &[f32]) {
        dst[..src.len()].copy_from_slice(src);
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
        if toom_cook::suits(shape) {
            return toom_cook::forward(&self.context, y, x, weights, bias, activation, shape);
        }
        self.run_unfolding(|scratch| {
            conv::forward(y, x, weights, bias, activation, scratch, shape);
        });
    }
    fn conv_backward_input(
        &self,
        d_x: &mut Array,
        d_y: &Array,
        weights: &Array,
        shape: &ConvShape,
    ) {
        if toom_cook::suits(shape) && shape.stride == 1 {
            return toom_cook::backward_input(&self.context, d_x, d_y, weights, shape);
        }
        self.run_unfolding(|scratch| conv::backward_input(d_x, d_y, weights, scratch, shape));
    }
    fn conv_backward_weights(
        &self,
        d_weights: &mut Array,
        d_bias: &mut Array,
        d_y: &Array,
        x: &Array,
        shape: &ConvShape,
    ) {
        if toom_cook::suits(shape) {
            toom_cook::backward_weights(&self.context, d_weights, d_y, x, shape);
            let (d_bias, d_y) = (&mut d_bias[..shape.out_c], &d_y[..shape.output_len()]);
            if std::env::var("TOOM_NOBIAS").is_ok() { return; }
            return self.run(|| reduce::column_sums(d_bias, d_y));
        }
        self.run_unfolding(|scratch| {
            conv::backward_weights(d_weights, d_bias, d_y, x, scratch, shape);
        });
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
        self.run(|| linear::forward(y, x, weights, bias, activation, shape));
    }
    fn linear_backward_input(
        &self,
        d_x: &mut Array,
        d_y: &Array,
        weights: &Array,
        shape: &LinearShape,
    ) {
        self.run(|| linear::backward_input(d_x, d_y, weights, shape));
    }
    fn linear_backward_weights(
        &self,
        d_weights: &mut Array,
        d_bias: &mut Array,
        d_y: &Array,
        x: &Array,
        shape: &LinearShape,
    ) {
        self.run(|| linear::backward_weights(d_weights, d_bias, d_y, x, shape));
    }
    fn linear_backward_update(
        &self,
        weights: &mut Array,
        velocity: &mut Array,
        d_bias: &mut Array,
        d_y: &Array,
        x: &Array,
        step: &SgdStep,
        shape: &LinearShape,
    ) {
        let len = shape.inputs * shape.outputs;
        let mut gradient = self.floats(len);
        self.linear_backward_weights(&mut gradient, d_bias, d_y, x, shape);
        self.sgd_update(weights, velocity, &gradient, step, len);
    }

    fn relu_forward(&self, y: &mut Array, x: &Array, len: usize) {
        self.run(|| elementwise::relu(&mut y[..len], &x[..len]));
    }
    fn relu_backward(&self, d: &mut Array, y: &Array, len: usize) {
        self.run(|| elementwise::relu_backward(&mut d[..len], &y[..len]));
    }

    fn max_pool_forward(
        &self,
        y: &mut Array,
        positions: &mut Buffer<u8>,
        x: &Array,
        shape: &MaxPoolShape,
    ) {
        self.run(|| pool::max_forward(y, positions, x, shape));
    }
    fn max_pool_backward(
        &self,
        d_x: &mut Array,
        d_y: &Array,
        positions: &Buffer<u8>,
        shape: &MaxPoolShape,
    ) {
        self.run(|| pool::max_backward(d_x, d_y, positions, shape));
    }
    fn average_pool_forward(&self, y: &mut Array, x: &Array, shape: &AveragePoolShape) {
        self.run(|| pool::average_forward(y, x, shape));
    }
    fn average_pool_backward(&self, d_x: &mut Array, d_y: &Array, shape: &AveragePoolShape) {
        self.run(|| pool::average_backward(d_x, d_y, shape));
    }

    fn lrn_forward(&self, y: &mut Array, x: &Array, shape: &LrnShape) {
        self.run(|| match shape.region {
            LrnRegion::AcrossMaps { groups } => lrn::across_maps_forward(y, x, groups, shape),
            LrnRegion::SameMap => lrn::same_map_forward(y, x, shape),
        });
    }
    fn lrn_backward(&self, d_x: &mut Array, d_y: &Array, x: &Array, shape: &LrnShape) {
        self.run(|| match shape.region {
            LrnRegion::AcrossMaps { groups } => {
                lrn::across_maps_backward(d_x, d_y, x, groups, shape);
            }
            LrnRegion::SameMap => lrn::same_map_backward(d_x, d_y, x, shape),
        });
    }

    fn batch_norm_train(
        &self,
        y: &mut Array,
        statistics: &mut Array,
        running: &mut Array,
        x: &Array,
        affine: &Array,
        shape: &BatchNormShape,
    ) {
        self.run(|| batch_norm::train(y, statistics, running, x, affine, shape));
    }
    fn batch_norm_evaluate(
        &self,
        y: &mut Array,
        x: &Array,
        affine: &Array,
        running: &Array,
        shape: &BatchNormShape,
    ) {
        self.run(|| batch_norm::evaluate(y, x, affine, running, shape));
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
        self.run(|| batch_norm::backward(d_x, d_affine, d_y, x, affine, statistics, shape));
    }

    fn dropout(
        &self,
        y: &mut Array,
        x: &Array,
        rate: f32,
        kept_scale: f32,
        key: DropoutKey,
        len: usize,
    ) {
        self.run(|| elementwise::dropout(&mut y[..len], &x[..len], rate, kept_scale, key));
    }
    fn scale(&self, y: &mut Array, x: &Array, factor: f32, len: usize) {
        self.run(|| elementwise::scale(&mut y[..len], &x[..len], factor));
    }

    fn softmax_cross_entropy(
        &self,
        losses: &mut Array,
        d_logits: &mut Array,
        logits: &Array,
        labels: &Buffer<u32>,
        shape: &LinearShape,
    ) {
        self.run(|| loss::softmax_cross_entropy(losses, d_logits, logits, labels, shape));
    }

    fn sgd_update(
        &self,
        weights: &mut Array,
        velocity: &mut Array,
        gradient: &Array,
        step: &SgdStep,
        len: usize,
    ) {
        self.run(|| {
            elementwise::sgd(&mut weights[..len], &mut velocity[..len], &gradient[..len], step);
        });
    }
}
