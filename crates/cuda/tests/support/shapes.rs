//! Cases for what is special about a GPU: runs of eight, whole blocks of threads and a little more.

use alexnet_ops::conformance::Case;
use alexnet_ops::{
    Activation, BatchNormShape, ConvShape, Dropout, LinearShape, LrnRegion, LrnShape,
};

/// Convolutions that tensor cores take as they are and in blocks, with and without groups, and runs of
/// eight channels.
pub(crate) fn by_eights() -> Vec<Case> {
    let shape = ConvShape {
        batch: 3,
        in_h: 11,
        in_w: 9,
        in_c: 16,
        out_h: 11,
        out_w: 9,
        out_c: 24,
        kernel: 3,
        stride: 1,
        pad: 1,
        groups: 1,
    };
    let shapes = [
        shape,
        ConvShape { in_c: 48, groups: 3, kernel: 5, pad: 2, ..shape },
        // Some of the last rows and columns are seen by no window.
        ConvShape { out_h: 4, out_w: 3, stride: 3, pad: 0, ..shape },
        // In blocks: as the first layer of every model, and with a stride of 1.
        ConvShape {
            in_h: 31,
            in_w: 35,
            in_c: 3,
            out_h: 7,
            out_w: 8,
            kernel: 11,
            stride: 4,
            pad: 2,
            ..shape
        },
        ConvShape {
            in_h: 31,
            in_w: 35,
            in_c: 3,
            out_h: 6,
            out_w: 7,
            kernel: 11,
            stride: 4,
            pad: 0,
            ..shape
        },
        ConvShape { in_c: 5, ..shape },
        // In groups, with fewer outputs than inputs.
        ConvShape { in_c: 32, out_c: 48, groups: 2, out_h: 6, out_w: 5, stride: 2, ..shape },
        ConvShape {
            in_h: 8,
            in_w: 8,
            in_c: 1,
            out_h: 4,
            out_w: 4,
            kernel: 2,
            stride: 2,
            pad: 0,
            ..shape
        },
    ];
    let mut cases: Vec<Case> =
        shapes.into_iter().map(|shape| Case::Conv(shape, Activation::Relu)).collect();
    let linear = linear_by_eights().into_iter();
    cases.extend(linear.map(|shape| Case::Linear(shape, Activation::Relu)));
    cases
}

/// Linear layers whose gradients are formed where they are used: fewer images than are taken at a time,
/// and more, parts of a square and several squares; and more images than are taken so.
pub(super) fn linear_by_eights() -> Vec<LinearShape> {
    let sizes = [[1, 48, 40], [8, 48, 40], [32, 128, 128], [70, 136, 264], [513, 16, 24]];
    sizes.map(|[batch, inputs, outputs]| LinearShape { batch, inputs, outputs }).to_vec()
}

/// Lengths around 256 threads and groups of 64 values; rounds of sums one, two and three deep.
pub(crate) fn borders() -> Vec<Case> {
    let both = [Activation::Identity, Activation::Relu];
    let batch_norm = |shape| both.map(|activation| Case::BatchNorm(shape, activation, None));
    let mut cases = Vec::new();
    for len in [1, 63, 64, 65, 255, 256, 257, 64 * 64, 64 * 64 + 1] {
        cases.extend([
            Case::Largest(len),
            Case::Relu(len),
            Case::Dropout(len, Dropout::Scaled(0.3)),
        ]);
        let shape = LinearShape { batch: len, inputs: 2, outputs: 3 };
        cases.push(Case::Linear(shape, Activation::Relu));
        let (rows, channels, epsilon, momentum) = (len, 3, 1e-5, 0.1);
        cases.extend(batch_norm(BatchNormShape { rows, channels, epsilon, momentum }));
    }
    // Whole runs of eight channels in several groups of rows.
    let (rows, channels, epsilon, momentum) = (2100, 32, 1e-5, 0.1);
    cases.extend(batch_norm(BatchNormShape { rows, channels, epsilon, momentum }));
    for (channels, groups, size) in [(256, 2, 5), (258, 1, 9), (128, 1, 4), (7, 7, 3)] {
        let region = LrnRegion::AcrossMaps { groups };
        let (alpha, beta, k) = (0.3, 0.75, 1.0);
        cases.push(Case::Lrn(LrnShape {
            batch: 2,
            height: 3,
            width: 3,
            channels,
            region,
            size,
            alpha,
            beta,
            k,
        }));
    }
    // More steps than taps: inputs that no window sees get no gradient.
    cases.push(Case::Conv(
        ConvShape {
            batch: 3,
            in_h: 11,
            in_w: 9,
            in_c: 4,
            out_h: 3,
            out_w: 2,
            out_c: 6,
            kernel: 2,
            stride: 4,
            pad: 0,
            groups: 2,
        },
        Activation::Relu,
    ));
    cases
}
