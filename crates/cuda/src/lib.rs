//! The network's operations on one NVIDIA GPU.
//!
//! Three floors. `driver` touches CUDA: it finds the libraries at run time, compiles the kernels and
//! offers arrays, launches and matrix products that are safe to call. The files beside this one say
//! in terms of those what each operation is. This file joins them to a [`Device`].
//!
//! Linear layers are products of cuBLAS, convolutions are cuDNN's where it is at hand and products where
//! it is not; everything else are kernels of our own, in CUDA C, under `kernels/`, among them linear layers
//! of a few images, and in bf16 their update with their gradient. Nothing of CUDA is needed to build, and a machine
//! without it gets an error value that says what is missing.
//!
//! Results are the same bits from run to run on the same kind of GPU with the same libraries: sums are
//! formed in an order that depends on shapes alone, and no memory is added to from two places.

mod blocks;
mod conv;
mod direct;
mod driver;
mod elementwise;
mod floats;
mod groups;
mod guard;
mod images;
mod kernels;
mod linear;
mod loss;
mod normalise;
mod pieces;
mod pool;
mod recording;
mod reduce;
mod scratch;
mod update;

use std::sync::{Arc, Mutex, MutexGuard};

use alexnet_ops::{
    Activation, AveragePoolShape, BatchNormShape, Bound, ConvShape, Device, Dropout, Levels,
    LinearShape, LossShape, LrnShape, MaxPoolShape, OwnMemory, Precision, Saturation, SgdStep,
    SgdUpdate, Timed,
};

pub use driver::{Architecture, Buffer, CudaError, Library, Source, catch, compile, find};
use driver::{Convolutions, Crossing, Gpu, Lane, read};
pub use floats::Floats;
use guard::Guard;
use images::Brought;
pub use kernels::source;
use pieces::Limits;
pub use recording::Recording;
use scratch::Scratch;

type Bytes = Buffer<u8>;

/// What products are formed in on a GPU.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Products {
    /// Of `f32` in full.
    F32,
    /// Of `f32` whose fractions are rounded to 10 bits, by the matrix units: within 2e-3.
    Tf32,
    /// Of bf16, in which what flows through the network is kept too: within 1e-2.
    Bf16,
}

impl From<Precision> for Products {
    fn from(precision: Precision) -> Self {
        match precision {
            Precision::F32 => Self::F32,
            Precision::Bf16 => Self::Bf16,
        }
    }
}

/// One GPU. Clones share it, its memory for images on their way among the rest; only one thread at a
/// time may have them compute.
///
/// The contract of [`Device`] has no errors. Where the GPU fails in the midst of an operation, for
/// instance because its memory is full, the operation ends as a panic does but silently, and
/// [`catch`], around everything that uses the device, makes an error of it.
#[derive(Clone)]
pub struct Cuda {
    engine: Arc<Mutex<Engine>>,
    name: Arc<str>,
}

/// What every operation computes with.
pub(crate) struct Engine {
    // Before the context goes.
    convolutions: Option<Convolutions>,
    crossing: Crossing,
    brought: Brought,
    guard: Guard,
    gpu: Gpu,
    scratch: Scratch,
    bf16: bool,
    limits: Limits,
}

impl Cuda {
    /// How many GPUs there are.
    ///
    /// # Errors
    /// When the driver is missing or does not work.
    pub fn count() -> Result<usize, CudaError> {
        Gpu::count()
    }

    /// The version of CUDA that the driver is for, 12.8 as (12, 8).
    ///
    /// # Errors
    /// When the driver is missing.
    pub fn driver_version() -> Result<(u32, u32), CudaError> {
        Gpu::driver_version()
    }

    /// The GPU of this number, counted from 0.
    ///
    /// # Errors
    /// When there is none, a library is missing, or the GPU cannot do what is asked for.
    pub fn new(index: usize, products: impl Into<Products>) -> Result<Self, CudaError> {
        let products = products.into();
        let gpu = Gpu::open(index, products)?;
        let bf16 = products == Products::Bf16;
        // Without it, or where it does not start, convolutions are products.
        let convolutions = Convolutions::open(&gpu, products).ok().flatten();
        let mut with = match products {
            Products::F32 => String::new(),
            Products::Tf32 => ", TF32".to_owned(),
            Products::Bf16 => ", bf16".to_owned(),
        };
        if convolutions.is_some() {
            let (major, minor) = Convolutions::version();
            with += &format!(", cuDNN {major}.{minor}");
        }
        let name = format!("cuda:{index} ({}{with})", gpu.name).into();
        let (scratch, limits) = (Scratch::default(), Limits::USUAL);
        let (crossing, brought) = (Crossing::open(&gpu)?, Brought::default());
        let guard = Guard::open(&gpu);
        let engine = Engine { convolutions, crossing, brought, guard, gpu, scratch, bf16, limits };
        Ok(Self { engine: Arc::new(Mutex::new(engine)), name })
    }

    /// Its compute capability.
    pub fn architecture(&self) -> Architecture {
        self.engine().gpu.architecture
    }

    /// All of its memory.
    pub fn memory_bytes(&self) -> usize {
        self.engine().gpu.memory_bytes
    }

    /// The same device, which from now on takes even small layers in many pieces, as it takes
    /// those that are too large for one. Slow: for tests.
    pub fn in_small_pieces(self) -> Self {
        self.engine().limits = Limits::TINY;
        self
    }

    /// The same device, which from now on remembers nothing and is asked for every operation: for tests.
    pub fn without_graphs(self) -> Self {
        self.engine().gpu.never_records();
        self
    }

    /// How often it was asked for what it remembered, and how often of those to begin beside updates.
    pub fn graphs_launched(&self) -> [u64; 2] {
        self.engine().gpu.played.get()
    }

    fn engine(&self) -> MutexGuard<'_, Engine> {
        self.engine.lock().unwrap_or_else(|poisoned| {
            // An operation ended in an error, and with it what it was part of.
            self.engine.clear_poison();
            let mut engine = poisoned.into_inner();
            engine.gpu.leaves_recording();
            engine.gpu.settles();
            engine.scratch.forget();
            engine.guard.end();
            engine
        })
    }
}

impl Engine {
    /// Has this lane do some work, unless another is asked for it.
    pub(crate) fn beside<R>(&mut self, lane: Lane, work: impl FnOnce(&mut Self) -> R) -> R {
        if self.gpu.lane() != Lane::Main {
            return work(self);
        }
        self.gpu.asks(lane);
        let done = work(self);
        self.gpu.returns();
        done
    }
}

impl Device for Cuda {
    type Floats = Floats;
    type Bytes = Bytes;
    type Labels = Buffer<u32>;
    type Recording = Recording;

    fn name(&self) -> String {
        self.name.to_string()
    }
    fn own_memory(&self) -> Option<OwnMemory> {
        let engine = self.engine();
        let [value_bytes, weight_bytes] = if engine.bf16 { [2, 6] } else { [4, 4] };
        Some(OwnMemory { free_bytes: engine.gpu.free_bytes(), value_bytes, weight_bytes })
    }
    fn is_asynchronous(&self) -> bool {
        true
    }
    fn take_turns(&self) {
        self.engine().gpu.in_one_lane.set(true);
    }
    fn finish(&self) {
        self.engine().gpu.wait();
    }
    fn is_busy(&self) -> bool {
        self.engine().gpu.is_busy()
    }
    fn begin_timing(&self) {
        self.engine().gpu.begin_timing();
    }
    fn end_timing(&self) -> Vec<Timed> {
        let timed = self.engine().gpu.end_timing().into_iter();
        timed.map(|(operation, seconds)| Timed { operation, seconds }).collect()
    }
    fn begin_repeat(&self, recording: &mut Recording, step: u64) -> bool {
        recording.begin(&mut self.engine(), step)
    }
    fn end_repeat(&self, recording: &mut Recording) -> bool {
        recording.end(&mut self.engine())
    }
    fn floats(&self, len: usize) -> Floats {
        Floats::wide(&self.engine().gpu, len)
    }
    fn values(&self, len: usize) -> Floats {
        let engine = self.engine();
        let kind = if engine.bf16 { Floats::rounded } else { Floats::wide };
        kind(&engine.gpu, len)
    }
    fn weights(&self, len: usize) -> Floats {
        let engine = self.engine();
        let kind = if engine.bf16 { Floats::both } else { Floats::wide };
        kind(&engine.gpu, len)
    }
    fn bytes(&self, len: usize) -> Bytes {
        self.engine().gpu.zeros(len)
    }
    fn labels(&self, len: usize) -> Buffer<u32> {
        self.engine().gpu.zeros(len)
    }
    fn upload(&self, dst: &mut Floats, src: &[f32]) {
        let Engine { gpu, scratch, .. } = &mut *self.engine();
        dst.upload(gpu, &mut scratch.crossing, src);
    }
    fn upload_levels(&self, dst: &mut Floats, levels: Levels<'_>, reader: Option<&ConvShape>) {
        let engine = &mut self.engine();
        if engine.gpu.gives_up() {
            return;
        }
        images::bring(engine, levels);
        images::make(engine, dst, reader);
    }
    fn prefers_levels(&self) -> bool {
        true
    }
    fn bring_levels(&self, levels: Levels<'_>) -> u64 {
        let engine = &mut self.engine();
        if engine.gpu.gives_up() {
            return 0;
        }
        images::bring(engine, levels)
    }
    fn input_len(&self, shape: &ConvShape) -> usize {
        direct::input_len(&self.engine(), shape)
    }
    fn upload_brought(
        &self,
        dst: &mut Floats,
        number: u64,
        levels: Levels<'_>,
        reader: Option<&ConvShape>,
    ) {
        let engine = &mut self.engine();
        if engine.gpu.gives_up() {
            return;
        }
        if engine.crossing.number() != number {
            images::bring(engine, levels);
        }
        images::make(engine, dst, reader);
    }
    fn begin_download(&self, src: &Floats, len: usize) -> u64 {
        let Engine { gpu, crossing, .. } = &mut *self.engine();
        crossing.begin_fetch(gpu, src.values(len).touch())
    }
    fn end_download(&self, dst: &mut [f32], number: u64, src: &Floats) {
        let Engine { gpu, crossing, .. } = &mut *self.engine();
        let src = src.values(dst.len());
        if let Some(come) = crossing.end_fetch(gpu, number, src.touch()) {
            read(dst, come, src);
        }
    }
    fn upload_labels(&self, dst: &mut Buffer<u32>, src: &[u32]) {
        let Engine { gpu, crossing, .. } = &mut *self.engine();
        crossing.send(gpu, dst.view_mut(), src);
    }
    fn download(&self, dst: &mut [f32], src: &Floats) {
        let Engine { gpu, crossing, .. } = &mut *self.engine();
        if gpu.gives_up() {
            return;
        }
        crossing.fetch(gpu, dst, src.values(dst.len()));
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
        conv::forward(&mut self.engine(), y, [x, weights, bias], activation, shape);
    }
    fn conv_backward_input(
        &self,
        d_x: &mut Floats,
        d_y: &Floats,
        weights: &Floats,
        shape: &ConvShape,
    ) {
        conv::backward_input(&mut self.engine(), d_x, d_y, weights, shape);
    }
    fn conv_backward_weights(
        &self,
        d_weights: &mut Floats,
        d_bias: &mut Floats,
        d_y: &Floats,
        x: &Floats,
        shape: &ConvShape,
    ) {
        conv::backward_weights(&mut self.engine(), [d_weights, d_bias], d_y, x, shape);
    }

    fn linear_forward(
        &self,
        y: &mut Floats,
        x: &Floats,
        weights: &Floats,
        bias: &Floats,
        activation: Activation,
        shape: &LinearShape,
    ) {
        let how = (activation, elementwise::NOTHING_DROPPED);
        linear::forward(&mut self.engine(), y, [x, weights, bias], how, shape);
    }
    fn linear_dropout_forward(
        &self,
        [y, _sums]: [&mut Floats; 2],
        x: &Floats,
        [weights, bias]: [&Floats; 2],
        how: (Activation, Dropout),
        shape: &LinearShape,
    ) {
        linear::forward(&mut self.engine(), y, [x, weights, bias], how, shape);
    }
    fn linear_backward_input(
        &self,
        d_x: &mut Floats,
        d_y: &Floats,
        weights: &Floats,
        shape: &LinearShape,
    ) {
        linear::backward_input(&mut self.engine(), d_x, d_y, weights, shape);
    }
    fn linear_backward_weights(
        &self,
        d_weights: &mut Floats,
        d_bias: &mut Floats,
        d_y: &Floats,
        x: &Floats,
        shape: &LinearShape,
    ) {
        let engine = &mut self.engine();
        linear::backward_weights(engine, d_weights, [d_y, x], false, shape);
        linear::backward_bias(engine, d_bias, d_y, shape);
    }
    fn linear_backward_add(
        &self,
        d_weights: &mut Floats,
        d_bias: &mut Floats,
        d_y: &Floats,
        x: &Floats,
        shape: &LinearShape,
    ) {
        let engine = &mut self.engine();
        linear::backward_weights(engine, d_weights, [d_y, x], true, shape);
        linear::backward_bias(engine, d_bias, d_y, shape);
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
        linear::backward_update(&mut self.engine(), [weights, velocity], [d_y, x], step, shape);
    }
    fn linear_backward_bias(&self, d_bias: &mut Floats, d_y: &Floats, shape: &LinearShape) {
        linear::backward_bias(&mut self.engine(), d_bias, d_y, shape);
    }

    fn relu_forward(&self, y: &mut Floats, x: &Floats, len: usize) {
        elementwise::map(&self.engine().gpu, "relu_forward", y.values_mut(len), x.values(len));
    }
    fn relu_backward(&self, d: &mut Floats, y: &Floats, factor: f32, len: usize) {
        elementwise::relu_backward(&mut self.engine(), d, y, factor, len);
    }
    fn saturation_forward(&self, y: &mut Floats, x: &Floats, curve: Saturation, len: usize) {
        elementwise::saturation(&self.engine().gpu, y.values_mut(len), x.values(len), curve);
    }
    fn saturation_backward(&self, d: &mut Floats, y: &Floats, curve: Saturation, len: usize) {
        let (d, y) = (d.values_mut(len), y.values(len));
        elementwise::saturation_backward(&self.engine().gpu, d, y, curve);
    }

    fn max_pool_forward(
        &self,
        y: &mut Floats,
        positions: &mut Bytes,
        x: &Floats,
        shape: &MaxPoolShape,
    ) {
        pool::max_forward(&mut self.engine(), y, positions, x, None, shape);
    }
    fn conv_max_pool_forward(
        &self,
        [y, sums]: [&mut Floats; 2],
        positions: &mut Bytes,
        x: &Floats,
        [weights, bias]: [&Floats; 2],
        (conv, pool): (&ConvShape, &MaxPoolShape),
    ) {
        let engine = &mut self.engine();
        conv::forward_sums(engine, sums, [x, weights], conv);
        pool::max_forward(engine, y, positions, sums, Some(bias), pool);
    }
    fn max_pool_backward(
        &self,
        d_x: &mut Floats,
        d_y: &Floats,
        positions: &Bytes,
        shape: &MaxPoolShape,
    ) {
        pool::max_backward(&mut self.engine(), d_x, d_y, false, positions, shape);
    }
    fn rectified_max_pool_backward(
        &self,
        d_x: &mut Floats,
        d_y: &mut Floats,
        _y: &Floats,
        positions: &Bytes,
        shape: &MaxPoolShape,
    ) {
        pool::max_backward(&mut self.engine(), d_x, d_y, true, positions, shape);
    }
    fn average_pool_forward(&self, y: &mut Floats, x: &Floats, shape: &AveragePoolShape) {
        pool::average_forward(&mut self.engine(), y, x, shape);
    }
    fn average_pool_backward(&self, d_x: &mut Floats, d_y: &Floats, shape: &AveragePoolShape) {
        pool::average_backward(&mut self.engine(), d_x, d_y, shape);
    }

    fn lrn_forward(&self, y: &mut Floats, x: &Floats, shape: &LrnShape) {
        normalise::lrn_forward(&mut self.engine(), y, x, shape);
    }
    fn lrn_backward(&self, d_x: &mut Floats, d_y: &Floats, x: &Floats, shape: &LrnShape) {
        normalise::lrn_backward(&mut self.engine(), d_x, d_y, x, shape);
    }
    fn conv_lrn_forward(
        &self,
        outputs: [&mut Floats; 2],
        x: &Floats,
        parameters: [&Floats; 2],
        shapes: (&ConvShape, &LrnShape),
    ) {
        normalise::conv_lrn_forward(&mut self.engine(), outputs, x, parameters, shapes);
    }
    fn rectified_lrn_backward(
        &self,
        d_x: &mut Floats,
        d_y: &Floats,
        sums_and_bias: [&Floats; 2],
        shape: &LrnShape,
    ) {
        normalise::rectified_lrn_backward(&mut self.engine(), d_x, d_y, sums_and_bias, shape);
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
        let (engine, outputs) = (&mut self.engine(), [y, statistics, running]);
        normalise::batch_norm_train(engine, outputs, [x, affine], activation, shape);
    }
    fn batch_norm_evaluate(
        &self,
        y: &mut Floats,
        x: &Floats,
        affine: &Floats,
        running: &Floats,
        activation: Activation,
        shape: &BatchNormShape,
    ) {
        let (engine, figures) = (&mut self.engine(), [affine, running]);
        normalise::batch_norm_evaluate(engine, y, x, figures, activation, shape);
    }
    fn batch_norm_backward(
        &self,
        d_x: &mut Floats,
        d_affine: &mut Floats,
        d_y: &Floats,
        x: &Floats,
        affine: &Floats,
        statistics: &Floats,
        shape: &BatchNormShape,
    ) {
        let (engine, inputs) = (&mut self.engine(), [d_y, x, affine, statistics]);
        let plain = Activation::Identity;
        normalise::batch_norm_backward(engine, [d_x, d_affine], inputs, plain, shape);
    }
    fn rectified_batch_norm_backward(
        &self,
        outputs: [&mut Floats; 2],
        d_y: &mut Floats,
        [x, _y]: [&Floats; 2],
        [affine, statistics]: [&Floats; 2],
        shape: &BatchNormShape,
    ) {
        let (engine, inputs) = (&mut self.engine(), [&*d_y, x, affine, statistics]);
        normalise::batch_norm_backward(engine, outputs, inputs, Activation::Relu, shape);
    }

    fn dropout(&self, y: &mut Floats, x: &Floats, dropout: Dropout, len: usize) {
        elementwise::dropout(&mut self.engine(), y.values_mut(len), x.values(len), dropout);
    }

    fn softmax_cross_entropy(
        &self,
        found: [&mut Floats; 2],
        d_logits: &mut Floats,
        logits: &Floats,
        labels: &Buffer<u32>,
        shape: &LossShape,
    ) {
        loss::softmax_cross_entropy(&self.engine().gpu, found, d_logits, logits, labels, shape);
    }

    fn sgd_update(&self, update: SgdUpdate<'_, Floats>) {
        update::update_many(&mut self.engine(), [update].into_iter());
    }
    fn sgd_updates<'a>(&self, updates: impl Iterator<Item = SgdUpdate<'a, Floats>>) {
        update::update_many(&mut self.engine(), updates);
    }

    fn copy(&self, dst: &mut Floats, src: &Floats, len: usize) {
        self.engine().gpu.copy(dst.first_mut(len), src.first(len));
    }
    fn add(&self, sums: &mut Floats, values: &Floats, len: usize) {
        elementwise::add(&self.engine().gpu, sums.first_mut(len), values.first(len));
    }
    fn largest<'a>(&self, found: &mut Floats, arrays: impl Iterator<Item = (&'a Floats, usize)>) {
        let arrays: Vec<_> = arrays.map(|(values, len)| values.values(len)).collect();
        reduce::largest(&mut self.engine(), found.first_mut(arrays.len()), &arrays);
    }
    fn begin_updates(&self, found: &Floats, bounds: &[Bound], _room: &mut [f32]) -> Option<bool> {
        guard::judge(&mut self.engine(), found, bounds);
        None
    }
    fn end_updates(&self) {
        self.engine().guard.end();
    }
    fn judged(&self) -> bool {
        guard::judged(&mut self.engine())
    }
}
