//! Batch normalisation and the ReLU behind it as one operation: what both give one after the other.

use alexnet_cuda::{Cuda, Floats};
use alexnet_ops::conformance::compare;
use alexnet_ops::{Activation, BatchNormShape, Device};

use super::TOLERANCE_BF16;
use super::begun::{down, filled, parameters};

/// Whole runs of channels in one block and in several, and none.
const SIZES: [[usize; 2]; 3] = [[300, 48], [6000, 16], [70, 10]];

/// A normalisation of so many rows and channels, and its input.
struct Layer<'d> {
    device: &'d Cuda,
    shape: BatchNormShape,
    x: Floats,
    affine: Floats,
}

impl<'d> Layer<'d> {
    fn new(device: &'d Cuda, [rows, channels]: [usize; 2]) -> Self {
        let shape = BatchNormShape { rows, channels, epsilon: 1e-5, momentum: 0.1 };
        let (x, affine) = (filled(device, rows * channels, 1), parameters(device, 2 * channels, 2));
        Self { device, shape, x, affine }
    }

    fn len(&self) -> usize {
        self.shape.rows * self.shape.channels
    }

    /// Output and statistics.
    fn forward(&self, activation: Activation) -> [Floats; 2] {
        let pair = || self.device.floats(2 * self.shape.channels);
        let (mut y, mut statistics, mut running) = (self.device.values(self.len()), pair(), pair());
        let (found, saved, Self { x, affine, shape, .. }) = (&mut y, &mut statistics, self);
        self.device.batch_norm_train(found, saved, &mut running, x, affine, activation, shape);
        [y, statistics]
    }

    /// Input gradient, and those of scale and shift.
    fn back(&self, [y, statistics]: &[Floats; 2], is_one: bool) -> [Vec<f32>; 2] {
        let Self { device, shape, x, affine } = self;
        let (pair, mut d_y) = (2 * shape.channels, filled(device, self.len(), 3));
        let (mut d_x, mut d_affine) = (device.values(self.len()), device.floats(pair));
        let (d, d_pair) = (&mut d_x, &mut d_affine);
        if is_one {
            let (read, figures) = ([x, y], [affine, statistics]);
            device.rectified_batch_norm_backward([d, d_pair], &mut d_y, read, figures, shape);
        } else {
            device.relu_backward(&mut d_y, y, 1.0, self.len());
            device.batch_norm_backward(d, d_pair, &d_y, x, affine, statistics, shape);
        }
        [down(*device, &d_x, self.len()), down(*device, &d_affine, pair)]
    }
}

/// Outputs have the same bits; so has the gradient of the shift, a sum of what the ReLU lets through and
/// nothing else, which shows that the same is let through.
#[track_caller]
pub(crate) fn a_normalised_relu_is_what_both_give(device: &Cuda) {
    for sizes @ [_, channels] in SIZES {
        let layer = Layer::new(device, sizes);
        let [normal, _] = layer.forward(Activation::Identity);
        let forward = layer.forward(Activation::Relu);
        let mut y = device.values(layer.len());
        device.relu_forward(&mut y, &normal, layer.len());
        let [y, found] = [&y, &forward[0]].map(|y| down(device, y, layer.len()));
        assert!(y == found && y.contains(&0.0), "{sizes:?}: {y:?} {found:?}");

        let [[d_x, d_affine], [found, found_affine]] =
            [false, true].map(|is_one| layer.back(&forward, is_one));
        let shifts = channels..;
        assert_eq!(d_affine[shifts.clone()], found_affine[shifts], "{sizes:?}");
        let differs = |output, one: &[f32], other: &[f32]| {
            compare("a normalised ReLU", output, one, other, TOLERANCE_BF16)
        };
        assert_eq!(differs("d_x", &d_x, &found), None);
        assert_eq!(differs("d_affine", &d_affine, &found_affine), None);
    }
}
