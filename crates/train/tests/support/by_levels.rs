//! A processor that images reach as bytes.

use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex};

use alexnet_cpu::Cpu;
use alexnet_ops::{
    Activation, AveragePoolShape, BatchNormShape, ConvShape, Device, Dropout, Levels, LinearShape,
    LossShape, LrnShape, MaxPoolShape, Picture, Saturation, SgdStep, SgdUpdate,
};

type Floats = <Cpu as Device>::Floats;
type Bytes = <Cpu as Device>::Bytes;
type Labels = <Cpu as Device>::Labels;

/// The processor.
#[derive(Clone)]
pub(crate) struct ByLevels {
    pub(crate) cpu: Cpu,
    /// Whether it says so.
    pub(crate) prefers: bool,
    /// Whether it says that it computes while others are asked for.
    pub(crate) by_itself: bool,
    /// Whether it takes the next image's figures for an image's own.
    pub(crate) misled: bool,
    /// Images that came as bytes.
    pub(crate) came: Arc<AtomicUsize>,
    /// Those of them that were resized here.
    pub(crate) resized: Arc<AtomicUsize>,
    /// What was brought ahead, as it was then.
    pub(crate) brought: Arc<Mutex<Option<Brought>>>,
    /// How often that was used.
    pub(crate) used: Arc<AtomicUsize>,
}

pub(crate) type Brought = (Vec<u8>, Vec<Picture>);

/// Passes operations on.
macro_rules! passed_on {
    ($(fn $name:ident($($argument:ident: $type:ty),*) $(-> $output:ty)?;)*) => {
        $(fn $name(&self, $($argument: $type),*) $(-> $output)? {
            self.cpu.$name($($argument),*)
        })*
    };
}

impl Device for ByLevels {
    type Floats = Floats;
    type Bytes = Bytes;
    type Labels = Labels;
    type Recording = ();

    fn largest<'a>(&self, found: &mut Floats, arrays: impl Iterator<Item = (&'a Floats, usize)>) {
        self.cpu.largest(found, arrays);
    }

    fn name(&self) -> String {
        self.cpu.name()
    }

    fn prefers_levels(&self) -> bool {
        self.prefers
    }

    fn is_asynchronous(&self) -> bool {
        self.by_itself
    }

    fn upload_levels(&self, dst: &mut Floats, levels: Levels<'_>, reader: Option<&ConvShape>) {
        self.came.fetch_add(levels.pictures.len(), Relaxed);
        let mut pictures = levels.pictures.to_vec();
        self.resized
            .fetch_add(pictures.iter().filter(|of| !is_whole(of, levels.side)).count(), Relaxed);
        if self.misled {
            let mut figures: Vec<_> = pictures.iter().map(|picture| picture.normalise).collect();
            figures.rotate_left(1);
            pictures.iter_mut().zip(figures).for_each(|(of, figures)| of.normalise = figures);
        }
        self.cpu.upload_levels(dst, Levels { pictures: &pictures, ..levels }, reader);
    }

    fn bring_levels(&self, levels: Levels<'_>) -> u64 {
        let brought = (levels.slots.to_vec(), levels.pictures.to_vec());
        *self.brought.lock().expect("one thread") = Some(brought);
        0
    }

    fn upload_brought(
        &self,
        dst: &mut Floats,
        _: u64,
        levels: Levels<'_>,
        reader: Option<&ConvShape>,
    ) {
        let brought = self.brought.lock().expect("one thread").clone();
        let (slots, pictures) = brought.expect("something was brought");
        self.used.fetch_add(1, Relaxed);
        self.upload_levels(dst, Levels { slots: &slots, pictures: &pictures, ..levels }, reader);
    }

    passed_on! {
        fn floats(len: usize) -> Floats;
        fn bytes(len: usize) -> Bytes;
        fn labels(len: usize) -> Labels;
        fn upload(dst: &mut Floats, src: &[f32]);
        fn upload_labels(dst: &mut Labels, src: &[u32]);
        fn download(dst: &mut [f32], src: &Floats);
        fn settle(weights: &mut Floats);
        fn conv_forward(y: &mut Floats, x: &Floats, w: &Floats, b: &Floats, a: Activation,
            shape: &ConvShape);
        fn conv_backward_input(d_x: &mut Floats, d_y: &Floats, w: &Floats, shape: &ConvShape);
        fn conv_backward_weights(d_w: &mut Floats, d_b: &mut Floats, d_y: &Floats, x: &Floats,
            shape: &ConvShape);
        fn linear_forward(y: &mut Floats, x: &Floats, w: &Floats, b: &Floats, a: Activation,
            shape: &LinearShape);
        fn linear_backward_input(d_x: &mut Floats, d_y: &Floats, w: &Floats, shape: &LinearShape);
        fn linear_backward_weights(d_w: &mut Floats, d_b: &mut Floats, d_y: &Floats, x: &Floats,
            shape: &LinearShape);
        fn linear_backward_add(d_w: &mut Floats, d_b: &mut Floats, d_y: &Floats, x: &Floats,
            shape: &LinearShape);
        fn linear_backward_bias(d_b: &mut Floats, d_y: &Floats, shape: &LinearShape);
        fn linear_backward_update(w: &mut Floats, v: &mut Floats, d_y: &Floats, x: &Floats,
            step: &SgdStep, shape: &LinearShape);
        fn relu_forward(y: &mut Floats, x: &Floats, len: usize);
        fn relu_backward(d: &mut Floats, y: &Floats, factor: f32, len: usize);
        fn saturation_forward(y: &mut Floats, x: &Floats, curve: Saturation, len: usize);
        fn saturation_backward(d: &mut Floats, y: &Floats, curve: Saturation, len: usize);
        fn max_pool_forward(y: &mut Floats, at: &mut Bytes, x: &Floats, shape: &MaxPoolShape);
        fn max_pool_backward(d_x: &mut Floats, d_y: &Floats, at: &Bytes, shape: &MaxPoolShape);
        fn average_pool_forward(y: &mut Floats, x: &Floats, shape: &AveragePoolShape);
        fn average_pool_backward(d_x: &mut Floats, d_y: &Floats, shape: &AveragePoolShape);
        fn lrn_forward(y: &mut Floats, x: &Floats, shape: &LrnShape);
        fn lrn_backward(d_x: &mut Floats, d_y: &Floats, x: &Floats, shape: &LrnShape);
        fn batch_norm_train(y: &mut Floats, statistics: &mut Floats, running: &mut Floats,
            x: &Floats, affine: &Floats, activation: Activation, shape: &BatchNormShape);
        fn batch_norm_evaluate(y: &mut Floats, x: &Floats, affine: &Floats, running: &Floats,
            activation: Activation, shape: &BatchNormShape);
        fn batch_norm_backward(d_x: &mut Floats, d_affine: &mut Floats, d_y: &Floats, x: &Floats,
            affine: &Floats, statistics: &Floats, shape: &BatchNormShape);
        fn dropout(y: &mut Floats, x: &Floats, dropout: Dropout, len: usize);
        fn softmax_cross_entropy(found: [&mut Floats; 2], d_logits: &mut Floats, logits: &Floats,
            labels: &Labels, shape: &LossShape);
        fn sgd_update(update: SgdUpdate<'_, Floats>);
        fn copy(dst: &mut Floats, src: &Floats, len: usize);
        fn add(sums: &mut Floats, values: &Floats, len: usize);
    }
}

/// Whether a picture came as it is.
fn is_whole(picture: &Picture, side: usize) -> bool {
    *picture == Picture::whole(side as u32, picture.normalise)
}
