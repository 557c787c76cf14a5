//! The network's operations on a CPU.
//!
//! Convolutions and linear layers become matrix products (`matmul.rs`); everything else is a loop
//! over channels that the compiler vectorises. Work is cut into blocks whose borders depend on
//! shapes alone, each block is computed by one thread, and sums over blocks run in block order: so
//! results are the same bits for any number of threads.

mod batch_norm;
mod conv;
mod elementwise;
mod linear;
mod loss;
mod lrn;
mod matmul;
mod pool;
mod reduce;

use std::sync::{Arc, Mutex, PoisonError};

use alexnet_ops::{
    Activation, AveragePoolShape, BatchNormShape, ConvShape, Device, DropoutKey, LinearShape,
    LrnRegion, LrnShape, MaxPoolShape, SgdStep,
};
use rayon::ThreadPool;

/// A CPU with a fixed number of threads. Clones share the threads.
#[derive(Clone)]
pub struct Cpu {
    threads: Arc<ThreadPool>,
    /// Unfolded images of a convolution, kept between calls so that a step does not allocate them
    /// anew.
    unfolded: Arc<Mutex<Vec<f32>>>,
}

/// The system would not start the threads asked for.
#[derive(Debug, thiserror::Error)]
#[error("cannot start {threads} compute threads: {source}")]
pub struct ThreadError {
    threads: usize,
    source: rayon::ThreadPoolBuildError,
}

impl Cpu {
    /// A device that computes on `threads` threads; 0 takes one per core.
    ///
    /// # Errors
    /// When the system refuses the threads.
    pub fn new(threads: usize) -> Result<Self, ThreadError> {
        let pool = rayon::ThreadPoolBuilder::new()
            .num_threads(threads)
            .thread_name(|i| format!("compute-{i}"))
            .build()
            .map_err(|source| ThreadError { threads, source })?;
        Ok(Self { threads: Arc::new(pool), unfolded: Arc::default() })
    }

    /// How many threads compute.
    pub fn threads(&self) -> usize {
        self.threads.current_num_threads()
    }

    /// Runs `work` on this device's threads.
    fn run<R: Send>(&self, work: impl FnOnce() -> R + Send) -> R {
        self.threads.install(work)
    }

    /// Runs `work` on this device's threads with the scratch array. It holds nothing between calls,
    /// so a panic elsewhere cannot have spoilt it.
    fn run_unfolding(&self, work: impl FnOnce(&mut Vec<f32>) + Send) {
        let mut guard = self.unfolded.lock().unwrap_or_else(PoisonError::into_inner);
        let unfolded = &mut *guard;
        self.run(|| work(unfolded));
    }
}

impl Device for Cpu {
    type Floats = Vec<f32>;
    type Bytes = Vec<u8>;
    type Labels = Vec<u32>;

    fn name(&self) -> String {
        format!("cpu ({} threads)", self.threads())
    }
    fn floats(&self, len: usize) -> Vec<f32> {
        vec![0.0; len]
    }
    fn bytes(&self, len: usize) -> Vec<u8> {
        vec![0; len]
    }
    fn labels(&self, len: usize) -> Vec<u32> {
        vec![0; len]
    }
    fn upload(&self, dst: &mut Vec<f32>, src: &[f32]) {
        dst[..src.len()].copy_from_slice(src);
    }
    fn upload_labels(&self, dst: &mut Vec<u32>, src: &[u32]) {
        dst[..src.len()].copy_from_slice(src);
    }
    fn download(&self, dst: &mut [f32], src: &Vec<f32>) {
        dst.copy_from_slice(&src[..dst.len()]);
    }

    fn conv_forward(
        &self,
        y: &mut Vec<f32>,
        x: &Vec<f32>,
        weights: &Vec<f32>,
        bias: &Vec<f32>,
        activation: Activation,
        shape: &ConvShape,
    ) {
        self.run_unfolding(|scratch| {
            conv::forward(y, x, weights, bias, activation, scratch, shape);
        });
    }
    fn conv_backward_input(
        &self,
        d_x: &mut Vec<f32>,
        d_y: &Vec<f32>,
        weights: &Vec<f32>,
        shape: &ConvShape,
    ) {
        self.run_unfolding(|scratch| conv::backward_input(d_x, d_y, weights, scratch, shape));
    }
    fn conv_backward_weights(
        &self,
        d_weights: &mut Vec<f32>,
        d_bias: &mut Vec<f32>,
        d_y: &Vec<f32>,
        x: &Vec<f32>,
        shape: &ConvShape,
    ) {
        self.run_unfolding(|scratch| {
            conv::backward_weights(d_weights, d_bias, d_y, x, scratch, shape);
        });
    }

    fn linear_forward(
        &self,
        y: &mut Vec<f32>,
        x: &Vec<f32>,
        weights: &Vec<f32>,
        bias: &Vec<f32>,
        activation: Activation,
        shape: &LinearShape,
    ) {
        self.run(|| linear::forward(y, x, weights, bias, activation, shape));
    }
    fn linear_backward_input(
        &self,
        d_x: &mut Vec<f32>,
        d_y: &Vec<f32>,
        weights: &Vec<f32>,
        shape: &LinearShape,
    ) {
        self.run(|| linear::backward_input(d_x, d_y, weights, shape));
    }
    fn linear_backward_weights(
        &self,
        d_weights: &mut Vec<f32>,
        d_bias: &mut Vec<f32>,
        d_y: &Vec<f32>,
        x: &Vec<f32>,
        shape: &LinearShape,
    ) {
        self.run(|| linear::backward_weights(d_weights, d_bias, d_y, x, shape));
    }

    fn relu_forward(&self, y: &mut Vec<f32>, x: &Vec<f32>, len: usize) {
        self.run(|| elementwise::relu(&mut y[..len], &x[..len]));
    }
    fn relu_backward(&self, d: &mut Vec<f32>, y: &Vec<f32>, len: usize) {
        self.run(|| elementwise::relu_backward(&mut d[..len], &y[..len]));
    }

    fn max_pool_forward(
        &self,
        y: &mut Vec<f32>,
        positions: &mut Vec<u8>,
        x: &Vec<f32>,
        shape: &MaxPoolShape,
    ) {
        self.run(|| pool::max_forward(y, positions, x, shape));
    }
    fn max_pool_backward(
        &self,
        d_x: &mut Vec<f32>,
        d_y: &Vec<f32>,
        positions: &Vec<u8>,
        shape: &MaxPoolShape,
    ) {
        self.run(|| pool::max_backward(d_x, d_y, positions, shape));
    }
    fn average_pool_forward(&self, y: &mut Vec<f32>, x: &Vec<f32>, shape: &AveragePoolShape) {
        self.run(|| pool::average_forward(y, x, shape));
    }
    fn average_pool_backward(&self, d_x: &mut Vec<f32>, d_y: &Vec<f32>, shape: &AveragePoolShape) {
        self.run(|| pool::average_backward(d_x, d_y, shape));
    }

    fn lrn_forward(&self, y: &mut Vec<f32>, x: &Vec<f32>, shape: &LrnShape) {
        self.run(|| match shape.region {
            LrnRegion::AcrossMaps { groups } => lrn::across_maps_forward(y, x, groups, shape),
            LrnRegion::SameMap => lrn::same_map_forward(y, x, shape),
        });
    }
    fn lrn_backward(&self, d_x: &mut Vec<f32>, d_y: &Vec<f32>, x: &Vec<f32>, shape: &LrnShape) {
        self.run(|| match shape.region {
            LrnRegion::AcrossMaps { groups } => {
                lrn::across_maps_backward(d_x, d_y, x, groups, shape);
            }
            LrnRegion::SameMap => lrn::same_map_backward(d_x, d_y, x, shape),
        });
    }

    fn batch_norm_train(
        &self,
        y: &mut Vec<f32>,
        statistics: &mut Vec<f32>,
        running: &mut Vec<f32>,
        x: &Vec<f32>,
        affine: &Vec<f32>,
        shape: &BatchNormShape,
    ) {
        self.run(|| batch_norm::train(y, statistics, running, x, affine, shape));
    }
    fn batch_norm_evaluate(
        &self,
        y: &mut Vec<f32>,
        x: &Vec<f32>,
        affine: &Vec<f32>,
        running: &Vec<f32>,
        shape: &BatchNormShape,
    ) {
        self.run(|| batch_norm::evaluate(y, x, affine, running, shape));
    }
    fn batch_norm_backward(
        &self,
        d_x: &mut Vec<f32>,
        d_affine: &mut Vec<f32>,
        d_y: &Vec<f32>,
        x: &Vec<f32>,
        affine: &Vec<f32>,
        statistics: &Vec<f32>,
        shape: &BatchNormShape,
    ) {
        self.run(|| batch_norm::backward(d_x, d_affine, d_y, x, affine, statistics, shape));
    }

    fn dropout(
        &self,
        y: &mut Vec<f32>,
        x: &Vec<f32>,
        rate: f32,
        kept_scale: f32,
        key: DropoutKey,
        len: usize,
    ) {
        self.run(|| elementwise::dropout(&mut y[..len], &x[..len], rate, kept_scale, key));
    }
    fn scale(&self, y: &mut Vec<f32>, x: &Vec<f32>, factor: f32, len: usize) {
        self.run(|| elementwise::scale(&mut y[..len], &x[..len], factor));
    }

    fn softmax_cross_entropy(
        &self,
        losses: &mut Vec<f32>,
        d_logits: &mut Vec<f32>,
        logits: &Vec<f32>,
        labels: &Vec<u32>,
        shape: &LinearShape,
    ) {
        self.run(|| loss::softmax_cross_entropy(losses, d_logits, logits, labels, shape));
    }

    fn sgd_update(
        &self,
        weights: &mut Vec<f32>,
        velocity: &mut Vec<f32>,
        gradient: &Vec<f32>,
        step: &SgdStep,
        len: usize,
    ) {
        self.run(|| {
            elementwise::sgd(&mut weights[..len], &mut velocity[..len], &gradient[..len], step);
        });
    }
}
