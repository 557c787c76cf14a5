//! A processor that spoils one element of what one operation writes.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex};

use alexnet_cpu::Cpu;
use alexnet_ops::{
    Activation, AveragePoolShape, BatchNormShape, ConvShape, Device, Dropout, LinearShape,
    LossShape, LrnShape, MaxPoolShape, Saturation, SgdStep, SgdUpdate,
};

/// What is planted, and where.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Spoilt {
    /// Arrays written before it in the pass; the images are the first.
    pub(crate) array: usize,
    /// The element, as a share of all.
    pub(crate) place: f64,
    pub(crate) value: f32,
    /// Whether it comes back when the pass is computed again.
    pub(crate) repeats: bool,
}

/// What a test asks and is told.
#[derive(Default)]
pub(crate) struct Fault {
    pub(crate) spoilt: Mutex<Option<Spoilt>>,
    /// Arrays written in the pass so far.
    pub(crate) written: AtomicUsize,
    /// Whether the processor hides that a value is not finite.
    pub(crate) hidden: AtomicBool,
}

type Floats = <Cpu as Device>::Floats;
type Bytes = <Cpu as Device>::Bytes;
type Labels = <Cpu as Device>::Labels;

/// The processor.
pub(crate) struct Spoiling {
    cpu: Cpu,
    /// Floats of the images whose upload begins a pass.
    images: usize,
    fault: Arc<Fault>,
}

impl Spoiling {
    pub(crate) fn new(cpu: Cpu, images: usize, fault: Arc<Fault>) -> Self {
        Self { cpu, images, fault }
    }

    /// Notes an array of `len`, and spoils it if it is its turn.
    fn wrote(&self, array: &mut Floats, len: usize) {
        let number = self.fault.written.fetch_add(1, Relaxed);
        let mut planned = self.fault.spoilt.lock().expect("one thread");
        if let Some(spoilt) = planned.filter(|spoilt| spoilt.array == number) {
            array[(spoilt.place * len as f64) as usize] = spoilt.value;
            *planned = planned.filter(|spoilt| spoilt.repeats);
        }
    }
}

/// Passes operations on, and notes the arrays they wrote: `=> y: len`.
macro_rules! spoiling {
    ($(fn $name:ident($($argument:ident: $type:ty),*) $(-> $output:ty)?
        $(=> $($array:ident: $len:expr),+)?;)*) => {
        $(fn $name(&self, $($argument: $type),*) $(-> $output)? {
            let result = self.cpu.$name($($argument),*);
            $($(self.wrote($array, $len);)+)?
            result
        })*
    };
}

impl Device for Spoiling {
    type Floats = Floats;
    type Bytes = Bytes;
    type Labels = Labels;
    type Recording = ();

    fn name(&self) -> String {
        self.cpu.name()
    }

    fn upload(&self, dst: &mut Floats, src: &[f32]) {
        self.cpu.upload(dst, src);
        if src.len() == self.images {
            self.fault.written.store(0, Relaxed);
            self.wrote(dst, src.len());
        }
    }

    fn largest<'a>(&self, found: &mut Floats, arrays: impl Iterator<Item = (&'a Floats, usize)>) {
        let hidden = self.fault.hidden.load(Relaxed);
        let seen = arrays.map(|(values, len)| (values, if hidden { 0 } else { len }));
        self.cpu.largest(found, seen);
    }

    fn softmax_cross_entropy(
        &self,
        [losses, ranks]: [&mut Floats; 2],
        d_logits: &mut Floats,
        logits: &Floats,
        labels: &Labels,
        shape: &LossShape,
    ) {
        let found = [&mut *losses, ranks];
        self.cpu.softmax_cross_entropy(found, d_logits, logits, labels, shape);
        self.wrote(losses, shape.images);
        self.wrote(d_logits, shape.images * shape.classes);
    }

    spoiling! {
        fn floats(len: usize) -> Floats;
        fn bytes(len: usize) -> Bytes;
        fn labels(len: usize) -> Labels;
        fn upload_labels(dst: &mut Labels, src: &[u32]);
        fn download(dst: &mut [f32], src: &Floats);
        fn conv_forward(y: &mut Floats, x: &Floats, w: &Floats, b: &Floats, a: Activation,
            shape: &ConvShape) => y: shape.output_len();
        fn conv_backward_input(d_x: &mut Floats, d_y: &Floats, w: &Floats, shape: &ConvShape)
            => d_x: shape.input_len();
        fn conv_backward_weights(d_w: &mut Floats, d_b: &mut Floats, d_y: &Floats, x: &Floats,
            shape: &ConvShape) => d_w: shape.weights_len(), d_b: shape.out_c;
        fn linear_forward(y: &mut Floats, x: &Floats, w: &Floats, b: &Floats, a: Activation,
            shape: &LinearShape) => y: shape.batch * shape.outputs;
        fn linear_backward_input(d_x: &mut Floats, d_y: &Floats, w: &Floats, shape: &LinearShape)
            => d_x: shape.batch * shape.inputs;
        fn linear_backward_weights(d_w: &mut Floats, d_b: &mut Floats, d_y: &Floats, x: &Floats,
            shape: &LinearShape) => d_w: shape.inputs * shape.outputs, d_b: shape.outputs;
        fn linear_backward_add(d_w: &mut Floats, d_b: &mut Floats, d_y: &Floats, x: &Floats,
            shape: &LinearShape) => d_w: shape.inputs * shape.outputs, d_b: shape.outputs;
        fn linear_backward_bias(d_b: &mut Floats, d_y: &Floats, shape: &LinearShape)
            => d_b: shape.outputs;
        fn linear_backward_update(w: &mut Floats, v: &mut Floats, d_y: &Floats, x: &Floats,
            step: &SgdStep, shape: &LinearShape);
        fn relu_forward(y: &mut Floats, x: &Floats, len: usize) => y: len;
        fn relu_backward(d: &mut Floats, y: &Floats, factor: f32, len: usize) => d: len;
        fn saturation_forward(y: &mut Floats, x: &Floats, curve: Saturation, len: usize)
            => y: len;
        fn saturation_backward(d: &mut Floats, y: &Floats, curve: Saturation, len: usize)
            => d: len;
        fn max_pool_forward(y: &mut Floats, at: &mut Bytes, x: &Floats, shape: &MaxPoolShape)
            => y: shape.output_len();
        fn max_pool_backward(d_x: &mut Floats, d_y: &Floats, at: &Bytes, shape: &MaxPoolShape)
            => d_x: shape.input_len();
        fn average_pool_forward(y: &mut Floats, x: &Floats, shape: &AveragePoolShape)
            => y: shape.output_len();
        fn average_pool_backward(d_x: &mut Floats, d_y: &Floats, shape: &AveragePoolShape)
            => d_x: shape.input_len();
        fn lrn_forward(y: &mut Floats, x: &Floats, shape: &LrnShape) => y: shape.len();
        fn lrn_backward(d_x: &mut Floats, d_y: &Floats, x: &Floats, shape: &LrnShape)
            => d_x: shape.len();
        fn batch_norm_train(y: &mut Floats, statistics: &mut Floats, running: &mut Floats,
            x: &Floats, affine: &Floats, activation: Activation, shape: &BatchNormShape)
            => y: shape.rows * shape.channels, statistics: 2 * shape.channels,
               running: 2 * shape.channels;
        fn batch_norm_evaluate(y: &mut Floats, x: &Floats, affine: &Floats, running: &Floats,
            activation: Activation, shape: &BatchNormShape) => y: shape.rows * shape.channels;
        fn batch_norm_backward(d_x: &mut Floats, d_affine: &mut Floats, d_y: &Floats, x: &Floats,
            affine: &Floats, statistics: &Floats, shape: &BatchNormShape)
            => d_x: shape.rows * shape.channels, d_affine: 2 * shape.channels;
        fn dropout(y: &mut Floats, x: &Floats, dropout: Dropout, len: usize) => y: len;
        fn sgd_update(update: SgdUpdate<'_, Floats>);
        fn copy(dst: &mut Floats, src: &Floats, len: usize);
        fn add(sums: &mut Floats, values: &Floats, len: usize) => sums: len;
    }
}
