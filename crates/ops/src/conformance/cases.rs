//! The table of cases: small shapes that hold what is special about each operation of these
//! networks, and odd sizes that no network has.

use crate::{
    Activation, AveragePoolShape, BatchNormShape, ConvShape, Dropout, DropoutKey, LinearShape,
    LossShape, LrnRegion, LrnShape, MaxPoolShape, Rounding, Saturation, SgdStep, UpdateRule,
    output_size,
};

/// One operation, forward and backward, at one shape.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Case {
    /// So many pictures of this side, resized and normalised on the device: the very bits.
    Images(usize, usize, Windows),
    /// Convolution and its three gradients.
    Conv(ConvShape, Activation),
    /// A convolution of pictures that are made for it alone, and its weights' gradient.
    ConvOfPictures(ConvShape, Windows),
    /// A linear layer and its three gradients.
    Linear(LinearShape, Activation),
    /// A linear layer with dropout of its outputs, and what comes back through both where it has a ReLU;
    /// perhaps with a bias that is not finite.
    LinearDropout(LinearShape, Activation, Dropout, Option<f32>),
    /// A linear layer's weight gradient used for an update where it is formed.
    LinearUpdate(LinearShape, SgdStep),
    /// ReLU and its gradient over so many elements.
    Relu(usize),
    /// A saturating curve and its gradient over so many elements.
    Saturation(usize, Saturation),
    /// Max pooling and its gradient. With few levels in the input, ties are frequent.
    MaxPool(MaxPoolShape, Levels),
    /// A convolution whose ReLU is pooled, and what comes back through the pooling.
    ConvMaxPool(ConvShape, MaxPoolShape),
    /// Adaptive average pooling and its gradient.
    AveragePool(AveragePoolShape),
    /// Local response normalisation and its gradient.
    Lrn(LrnShape),
    /// A convolution whose ReLU is normalised, and what comes back through both; perhaps with a bias that
    /// is not finite.
    ConvLrn(ConvShape, LrnShape, Option<f32>),
    /// Batch normalisation in both modes and its gradients, through a ReLU, if it has one; perhaps with a
    /// shift that is not finite.
    BatchNorm(BatchNormShape, Activation, Option<f32>),
    /// Dropout of so many elements.
    Dropout(usize, Dropout),
    /// Loss and gradient; the factor spreads the logits.
    SoftmaxCrossEntropy(LossShape, f32),
    /// Two updates of so many elements, perhaps at a layer-wise rate.
    Sgd(usize, SgdStep, Option<f32>),
    /// Sums and largest magnitude of so many elements.
    Largest(usize),
    /// What becomes of a value that is not finite, in ReLU, alone and behind sums, and in max pooling.
    NotFinite(f32),
}

/// The windows of which pictures are made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Windows {
    /// Of many sizes.
    Any,
    /// As large as the pictures: nothing is left to resize.
    AsTheyAre,
}

/// How many different values an input takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Levels {
    /// As many as it has elements.
    Any,
    /// Five: windows are full of equals.
    Five,
}

/// Every case of the suite.
pub fn cases() -> Vec<Case> {
    // A pixel, part of a vector, odd sizes, and conv1's input of a small model.
    let images = [(1, 1), (3, 2), (3, 32), (9, 33), (20, 11), (3, 63)].into_iter();
    let mut cases: Vec<_> = images
        .flat_map(|(n, side)| {
            [Windows::Any, Windows::AsTheyAre].map(|of| Case::Images(n, side, of))
        })
        .collect();
    cases.extend(conv_cases());
    cases.extend(linear_cases());
    cases.extend(linear_dropout_cases());
    cases.extend(pool_cases());
    cases.extend(conv_pool_cases());
    cases.extend(lrn_cases());
    cases.extend(batch_norm_cases());
    cases.extend(conv_lrn_cases());
    cases.extend(elementwise_cases());
    cases
}

fn conv_cases() -> Vec<Case> {
    use Rounding::{Ceil, Floor};
    // batch, height, width, in, out, kernel, stride, pad, groups, rounding
    let rows = [
        (2, 35, 31, 3, 16, 11, 4, 2, 1, Floor), // conv1 of modern and torchvision
        (1, 32, 34, 3, 8, 11, 4, 0, 1, Ceil),   // conv1 of the 2012 code
        (2, 27, 27, 8, 12, 5, 1, 2, 1, Floor),  // conv2
        (3, 9, 7, 8, 12, 5, 1, 2, 2, Floor),    // conv2 in two towers
        (2, 13, 13, 24, 40, 3, 1, 1, 1, Floor), // conv3
        (2, 13, 13, 24, 16, 3, 1, 1, 2, Floor), // conv4 and conv5 in two towers
        (3, 6, 5, 6, 9, 3, 1, 1, 3, Floor),     // three groups of odd sizes
        (1, 5, 8, 7, 5, 2, 3, 1, 1, Floor),     // even kernel, stride over it
        (2, 1, 1, 5, 3, 3, 1, 1, 1, Floor),     // one pixel
        (5, 4, 4, 1, 1, 1, 1, 0, 1, Floor),     // one channel, one tap
        (1, 40, 40, 16, 300, 3, 1, 1, 1, Floor), // more than one tile of the CPU's products
        (5, 20, 20, 64, 2, 11, 1, 5, 1, Floor), // more than the CPU unfolds at a time
    ];
    let conv = |(batch, in_h, in_w, in_c, out_c, kernel, stride, pad, groups, rounding)| {
        let size = |input| output_size(input, kernel, stride, pad, rounding).unwrap_or(0);
        let (out_h, out_w) = (size(in_h), size(in_w));
        ConvShape { batch, in_h, in_w, in_c, out_h, out_w, out_c, kernel, stride, pad, groups }
    };
    let both = [Activation::Identity, Activation::Relu];
    let all = rows.map(conv).into_iter().flat_map(|shape| both.map(|a| Case::Conv(shape, a)));
    let pictures = [
        (2, 31, 31, 3, 16, 11, 4, 2, 1, Floor), // conv1
        (4, 33, 33, 3, 8, 11, 4, 0, 1, Floor),  // pixels that no window sees
        (7, 28, 28, 3, 8, 5, 2, 0, 1, Floor),   // the same by twos
        (1, 9, 9, 3, 8, 3, 1, 1, 1, Floor),     // blocks of one pixel
        (2, 12, 12, 3, 6, 3, 1, 1, 1, Floor),   // maps that are not by the eight
    ];
    let kinds = [Windows::AsTheyAre, Windows::Any];
    let pictures = pictures.map(conv).into_iter();
    all.chain(pictures.flat_map(|shape| kinds.map(|of| Case::ConvOfPictures(shape, of)))).collect()
}

fn linear_cases() -> Vec<Case> {
    let rows = [
        (1, 1, 1),
        (1, 300, 70),
        (2, 48, 9),
        (4, 56, 8),
        (7, 33, 17),
        (128, 40, 10),
        (400, 9, 520),
    ];
    let both = [Activation::Identity, Activation::Relu];
    let shapes = rows.map(|(batch, inputs, outputs)| LinearShape { batch, inputs, outputs });
    let linear = shapes.into_iter().flat_map(|shape| both.map(|a| Case::Linear(shape, a)));
    let rules = [UpdateRule::Paper, UpdateRule::PyTorch];
    let updates = shapes
        .into_iter()
        .flat_map(|shape| rules.map(|rule| Case::LinearUpdate(shape, update(rule))));
    linear.chain(updates).collect()
}

fn linear_dropout_cases() -> Vec<Case> {
    // images, in, out: of few images, of inputs by the eight and not; long rows, many outputs, and more
    let rows = [
        (1, 8, 1),
        (1, 50, 21),
        (1, 4_112, 6),
        (1, 40, 4_100),
        (2, 16, 8_190),
        (3, 72, 10),
        (3, 33, 17),
        (4, 520, 13),
        (5, 24, 16),
    ];
    let shapes = rows.map(|(batch, inputs, outputs)| LinearShape { batch, inputs, outputs });
    let masked = |first| masked(0.5, 2.0, first);
    let scaled = [
        (Activation::Identity, Dropout::Scaled(0.5)),
        (Activation::Relu, Dropout::Scaled(0.5)),
        (Activation::Relu, Dropout::Scaled(1.0)),
    ];
    let dropped = [
        (Activation::Identity, masked(0)),
        (Activation::Relu, masked(0)),
        (Activation::Relu, masked(10_001)),
    ];
    let in_ways = |shapes: &[LinearShape], ways: [(Activation, Dropout); 3]| -> Vec<Case> {
        let of = |&shape| {
            ways.map(|(activation, how)| Case::LinearDropout(shape, activation, how, None))
        };
        shapes.iter().flat_map(of).collect()
    };
    let [.., three, odd, _, five] = shapes;
    let sound = in_ways(&shapes, scaled).into_iter().chain(in_ways(&[odd, five], dropped));
    let spoilt = [three, odd, five].into_iter().flat_map(|shape| {
        [f32::NAN, f32::INFINITY, f32::NEG_INFINITY].into_iter().flat_map(move |planted| {
            [Dropout::Scaled(0.5), masked(0)]
                .map(|how| Case::LinearDropout(shape, Activation::Relu, how, Some(planted)))
        })
    });
    sound.chain(spoilt).collect()
}

/// Dropout in training, of elements from `first` on.
fn masked(rate: f32, kept_scale: f32, first: usize) -> Dropout {
    let key = DropoutKey { seed: 1 << 40, step: 9, layer: 1, first };
    Dropout::Masked { rate, kept_scale, key }
}

/// Figures that let every term show.
fn update(rule: UpdateRule) -> SgdStep {
    SgdStep { rule, learning_rate: 0.1, momentum: 0.9, weight_decay: 0.05 }
}

fn conv_pool_cases() -> Vec<Case> {
    // batch, side, in, out, kernel, stride, pad, groups
    let rows = [
        (2, 35, 3, 16, 11, 4, 2, 1),
        (2, 9, 8, 24, 5, 1, 2, 1),
        (1, 7, 6, 10, 3, 1, 1, 2), // no run of eight maps
    ];
    let case = |(batch, side, in_c, out_c, kernel, stride, pad, groups)| {
        let windows = |input, kernel, stride, pad| {
            output_size(input, kernel, stride, pad, Rounding::Floor).unwrap_or(0)
        };
        let out = windows(side, kernel, stride, pad);
        let pooled = windows(out, 3, 2, 0);
        let (in_h, in_w, out_h, out_w) = (side, side, out, out);
        let conv =
            ConvShape { batch, in_h, in_w, in_c, out_h, out_w, out_c, kernel, stride, pad, groups };
        let pool = MaxPoolShape {
            batch,
            in_h: out,
            in_w: out,
            out_h: pooled,
            out_w: pooled,
            channels: out_c,
            size: 3,
            stride: 2,
        };
        Case::ConvMaxPool(conv, pool)
    };
    rows.map(case).into()
}

fn pool_cases() -> Vec<Case> {
    use Rounding::{Ceil, Floor};
    // batch, height, width, channels, size, stride, rounding
    let max = [
        (2, 27, 27, 8, 3, 2, Floor),
        (1, 14, 12, 5, 3, 2, Ceil), // the last windows stick out
        (2, 6, 8, 3, 2, 2, Floor),  // without overlap
        (1, 7, 7, 1, 7, 7, Floor),
        (3, 9, 5, 17, 5, 1, Floor), // much overlap
    ];
    let max = max.into_iter().flat_map(|(batch, in_h, in_w, channels, size, stride, rounding)| {
        let out = |input| output_size(input, size, stride, 0, rounding).unwrap_or(0);
        let (out_h, out_w) = (out(in_h), out(in_w));
        let shape = MaxPoolShape { batch, in_h, in_w, out_h, out_w, channels, size, stride };
        [Case::MaxPool(shape, Levels::Any), Case::MaxPool(shape, Levels::Five)]
    });
    let average = [(2, 13, 9, 6, 6, 4), (1, 6, 6, 6, 6, 3), (2, 1, 1, 6, 6, 5), (1, 7, 5, 6, 2, 1)];
    let average = average.into_iter().map(|(batch, in_h, in_w, out_h, out_w, channels)| {
        Case::AveragePool(AveragePoolShape { batch, in_h, in_w, out_h, out_w, channels })
    });
    max.chain(average).collect()
}

fn lrn_cases() -> Vec<Case> {
    let across = |groups| LrnRegion::AcrossMaps { groups };
    // batch, height, width, channels, region, size, alpha, beta, k; a large alpha lets the sum show
    let rows = [
        (2, 3, 4, 12, across(2), 5, 1e-4 / 5.0, 0.75, 2.0),
        (2, 3, 3, 12, across(1), 5, 0.3, 0.75, 1.0),
        (1, 5, 2, 14, across(2), 5, 0.3, 0.75, 2.0),
        (1, 2, 2, 3, across(1), 5, 0.3, 0.75, 1.0), // fewer maps than the window
        (1, 2, 3, 9, across(1), 4, 0.3, 0.5, 1.0),  // an even window, another exponent
        (2, 3, 2, 8, across(1), 5, 0.3, 0.75, 1.0), // maps by the eight: one, two and three runs of them
        (1, 2, 3, 32, across(2), 5, 0.3, 0.6, 2.0),
        (2, 1, 3, 48, across(2), 5, 0.3, 0.75, 2.0),
        (2, 7, 6, 3, LrnRegion::SameMap, 5, 0.1, 0.75, 1.0),
        (1, 3, 2, 4, LrnRegion::SameMap, 5, 0.1, 0.75, 1.0), // a map smaller than the window
    ];
    let case = |(batch, height, width, channels, region, size, alpha, beta, k)| {
        Case::Lrn(LrnShape { batch, height, width, channels, region, size, alpha, beta, k })
    };
    rows.map(case).into()
}

fn batch_norm_cases() -> Vec<Case> {
    let shapes = [(2, 1), (50, 7), (1300, 16), (3, 130)].map(|(rows, channels)| BatchNormShape {
        rows,
        channels,
        epsilon: 1e-5,
        momentum: 0.1,
    });
    let plain = shapes.map(|shape| Case::BatchNorm(shape, Activation::Identity, None));
    // Of two rows' gradients nothing but roundings may be left.
    let [_, odd, eights, wide] = shapes;
    let rectified = [odd, eights, wide].map(|shape| Case::BatchNorm(shape, Activation::Relu, None));
    let spoilt = [odd, eights].into_iter().flat_map(|shape| {
        [f32::NAN, f32::INFINITY, f32::NEG_INFINITY]
            .map(|planted| Case::BatchNorm(shape, Activation::Relu, Some(planted)))
    });
    plain.into_iter().chain(rectified).chain(spoilt).collect()
}

fn conv_lrn_cases() -> Vec<Case> {
    let across = |groups| LrnRegion::AcrossMaps { groups };
    // batch, side, in, out, groups, region, size; the first has runs of eight maps in several blocks
    let rows = [
        (2, 9, 8, 48, 1, across(2), 5),
        (3, 3, 16, 32, 2, across(1), 5),
        (1, 4, 8, 10, 1, across(1), 5),
        (1, 3, 8, 16, 1, across(2), 3),
        (1, 5, 8, 8, 1, LrnRegion::SameMap, 5),
    ];
    let case = |(batch, side, in_c, out_c, groups, region, size)| {
        let [in_h, in_w, out_h, out_w] = [side; 4];
        let (kernel, stride, pad) = (1, 1, 0);
        let conv =
            ConvShape { batch, in_h, in_w, in_c, out_h, out_w, out_c, kernel, stride, pad, groups };
        let (height, width, channels, alpha, beta, k) = (side, side, out_c, 0.3, 0.75, 2.0);
        let lrn = LrnShape { batch, height, width, channels, region, size, alpha, beta, k };
        let planted = [None, Some(f32::NAN), Some(f32::INFINITY), Some(f32::NEG_INFINITY)];
        planted.map(|planted| Case::ConvLrn(conv, lrn, planted))
    };
    rows.into_iter().flat_map(case).collect()
}

fn elementwise_cases() -> Vec<Case> {
    let logits = |images, classes| LossShape { images, classes, mean_over: images, smoothing: 0.0 };
    let part = LossShape { mean_over: 64, ..logits(5, 100) };
    vec![
        Case::Relu(1),
        Case::Relu(40_001),
        Case::Saturation(7, Saturation::Tanh),
        Case::Saturation(40_001, Saturation::Tanh),
        Case::Saturation(40_001, Saturation::Sigmoid),
        Case::Dropout(1, masked(0.5, 1.0, 0)),
        Case::Dropout(40_003, masked(0.5, 2.0, 0)),
        Case::Dropout(1_001, masked(0.25, 4.0 / 3.0, 0)),
        Case::Dropout(40_003, masked(0.5, 2.0, 1)),
        Case::Dropout(2, masked(0.5, 2.0, 7)),
        Case::Dropout(1_001, masked(0.25, 1.0, 50_002)),
        Case::Dropout(40_001, Dropout::Scaled(0.5)),
        Case::SoftmaxCrossEntropy(logits(1, 2), 1.0),
        Case::SoftmaxCrossEntropy(logits(9, 1000), 5.0),
        Case::SoftmaxCrossEntropy(logits(4, 10), 1e4), // would overflow without taking the largest away
        Case::SoftmaxCrossEntropy(part, 5.0),
        Case::SoftmaxCrossEntropy(part, 0.0), // all logits are equal
        Case::SoftmaxCrossEntropy(LossShape { smoothing: 0.1, ..part }, 5.0),
        Case::SoftmaxCrossEntropy(LossShape { smoothing: 1.0, ..logits(3, 10) }, 50.0),
        Case::Sgd(1, update(UpdateRule::Paper), None),
        Case::Sgd(40_001, update(UpdateRule::Paper), None),
        Case::Sgd(40_001, update(UpdateRule::PyTorch), None),
        Case::Sgd(1, update(UpdateRule::Paper), Some(0.3)),
        Case::Sgd(40_001, update(UpdateRule::Paper), Some(0.3)),
        Case::Sgd(40_001, update(UpdateRule::PyTorch), Some(0.3)),
        Case::Largest(1),
        Case::Largest(40_001),
        Case::NotFinite(f32::NAN),
        Case::NotFinite(f32::INFINITY),
        Case::NotFinite(f32::NEG_INFINITY),
    ]
}
