//! Softmax and cross-entropy: `kernels/loss.cu`.

use alexnet_ops::LossShape;

use crate::driver::{Buffer, Gpu, Launch};
use crate::floats::Floats;
use crate::reduce::word;

/// The outputs, then the inputs.
pub(crate) fn softmax_cross_entropy(
    gpu: &Gpu,
    [losses, ranks]: [&mut Floats; 2],
    d_logits: &mut Floats,
    logits: &Floats,
    labels: &Buffer<u32>,
    shape: &LossShape,
) {
    let LossShape { images, classes, mean_over, smoothing } = *shape;
    let arguments = [
        losses.first_mut(images).into(),
        ranks.first_mut(images).into(),
        d_logits.values_mut(images * classes).into(),
        logits.values(images * classes).into(),
        labels.first(images).into(),
        word(classes).into(),
        (1.0 - smoothing).into(),
        (smoothing / classes as f32).into(),
        (mean_over as f32).into(),
    ];
    // A block an image, and a float for each of its threads to sum up.
    let launch = Launch::blocks(images).sharing(|threads| threads);
    gpu.launch("softmax_cross_entropy", launch, &arguments);
}
