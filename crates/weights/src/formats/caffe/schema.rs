//! The part of `caffe.proto` that a network of this kind needs: fields by their numbers.
//!
//! Caffe has had three ways of writing a layer. The first, of 2013, is refused; the second
//! (`V1LayerParameter`, whose types are numbers) is that of the files BVLC published; the third
//! (`LayerParameter`) is written since 2015. The messages within are the same in both.

use crate::outline::Paths;

/// `NetParameter`.
pub(super) mod net {
    pub(in super::super) const NAME: u32 = 1;
    pub(in super::super) const LAYERS_V1: u32 = 2;
    pub(in super::super) const INPUT_DIM: u32 = 4;
    pub(in super::super) const INPUT_SHAPE: u32 = 8;
    pub(in super::super) const LAYER: u32 = 100;
}

/// Where a layer's message has what.
#[derive(Clone, Copy, Debug)]
pub(super) struct Dialect {
    pub(super) name: u32,
    pub(super) kind: u32,
    pub(super) bottom: u32,
    pub(super) top: u32,
    pub(super) blobs: u32,
    pub(super) convolution: u32,
    pub(super) inner_product: u32,
    pub(super) lrn: u32,
    pub(super) pooling: u32,
    pub(super) dropout: u32,
    pub(super) relu: u32,
    pub(super) transform: u32,
    /// Messages whose field [`DATA_CROP_SIZE`] is the side of what is cut from an image.
    pub(super) data: [u32; 2],
    pub(super) input: Option<u32>,
    /// A layer as it was written in 2013.
    pub(super) oldest: Option<u32>,
}

/// `LayerParameter`.
pub(super) const LAYER: Dialect = Dialect {
    name: 1,
    kind: 2,
    bottom: 3,
    top: 4,
    blobs: 7,
    convolution: 106,
    inner_product: 117,
    lrn: 118,
    pooling: 121,
    dropout: 108,
    relu: 123,
    transform: 100,
    data: [107, 115],
    input: Some(143),
    oldest: None,
};

/// `V1LayerParameter`.
pub(super) const LAYER_V1: Dialect = Dialect {
    name: 4,
    kind: 5,
    bottom: 2,
    top: 3,
    blobs: 6,
    convolution: 10,
    inner_product: 17,
    lrn: 18,
    pooling: 19,
    dropout: 12,
    relu: 30,
    transform: 36,
    data: [11, 15],
    input: None,
    oldest: Some(1),
};

/// `BlobProto`.
pub(super) mod blob {
    pub(in super::super) const NUM: u32 = 1;
    pub(in super::super) const CHANNELS: u32 = 2;
    pub(in super::super) const HEIGHT: u32 = 3;
    pub(in super::super) const WIDTH: u32 = 4;
    pub(in super::super) const DATA: u32 = 5;
    pub(in super::super) const SHAPE: u32 = 7;
    pub(in super::super) const DOUBLE_DATA: u32 = 8;
}

/// Where a net has its long lists of numbers.
pub(crate) const NUMBERS: &Paths = &[
    &[net::LAYER, LAYER.blobs, blob::DATA],
    &[net::LAYER, LAYER.blobs, blob::DOUBLE_DATA],
    &[net::LAYERS_V1, LAYER_V1.blobs, blob::DATA],
    &[net::LAYERS_V1, LAYER_V1.blobs, blob::DOUBLE_DATA],
];
/// Where a mean image has them.
pub(crate) const NUMBERS_OF_MEAN: &Paths = &[&[blob::DATA], &[blob::DOUBLE_DATA]];

/// `BlobShape` and `InputParameter`: sizes, and shapes.
pub(super) const SHAPE_DIM: u32 = 1;
pub(super) const INPUT_SHAPE: u32 = 1;

/// `ConvolutionParameter`.
pub(super) mod convolution {
    pub(in super::super) const NUM_OUTPUT: u32 = 1;
    pub(in super::super) const BIAS_TERM: u32 = 2;
    pub(in super::super) const PAD: u32 = 3;
    pub(in super::super) const KERNEL_SIZE: u32 = 4;
    pub(in super::super) const GROUP: u32 = 5;
    pub(in super::super) const STRIDE: u32 = 6;
    pub(in super::super) const PAD_HW: [u32; 2] = [9, 10];
    pub(in super::super) const KERNEL_HW: [u32; 2] = [11, 12];
    pub(in super::super) const STRIDE_HW: [u32; 2] = [13, 14];
    pub(in super::super) const AXIS: u32 = 16;
    pub(in super::super) const DILATION: u32 = 18;
}

/// `InnerProductParameter`.
pub(super) mod inner_product {
    pub(in super::super) const NUM_OUTPUT: u32 = 1;
    pub(in super::super) const BIAS_TERM: u32 = 2;
    pub(in super::super) const AXIS: u32 = 5;
    pub(in super::super) const TRANSPOSE: u32 = 6;
}

/// `LRNParameter`.
pub(super) mod lrn {
    pub(in super::super) const LOCAL_SIZE: u32 = 1;
    pub(in super::super) const ALPHA: u32 = 2;
    pub(in super::super) const BETA: u32 = 3;
    pub(in super::super) const NORM_REGION: u32 = 4;
    pub(in super::super) const K: u32 = 5;
    /// `NormRegion`.
    pub(in super::super) const ACROSS_CHANNELS: u64 = 0;
}

/// `PoolingParameter`.
pub(super) mod pooling {
    pub(in super::super) const POOL: u32 = 1;
    pub(in super::super) const KERNEL_SIZE: u32 = 2;
    pub(in super::super) const STRIDE: u32 = 3;
    pub(in super::super) const PAD: u32 = 4;
    pub(in super::super) const KERNEL_HW: [u32; 2] = [5, 6];
    pub(in super::super) const STRIDE_HW: [u32; 2] = [7, 8];
    pub(in super::super) const PAD_HW: [u32; 2] = [9, 10];
    pub(in super::super) const GLOBAL_POOLING: u32 = 12;
    pub(in super::super) const ROUND_MODE: u32 = 13;
    /// `PoolMethod` and `RoundMode`.
    pub(in super::super) const MAX: u64 = 0;
    pub(in super::super) const CEIL: u64 = 0;
    pub(in super::super) const FLOOR: u64 = 1;
}

/// `DropoutParameter`.
pub(super) mod dropout {
    pub(in super::super) const RATIO: u32 = 1;
    pub(in super::super) const SCALE_TRAIN: u32 = 2;
}

/// `ReLUParameter`.
pub(super) const RELU_NEGATIVE_SLOPE: u32 = 1;
/// `TransformationParameter`.
pub(super) const TRANSFORM_CROP_SIZE: u32 = 3;
/// `DataParameter` and `ImageDataParameter`.
pub(super) const DATA_CROP_SIZE: u32 = 5;

/// What a `V1LayerParameter.LayerType` is called in `LayerParameter`, of those that a net of this
/// kind may have.
pub(super) fn kind_of_v1(number: u64) -> Option<&'static str> {
    Some(match number {
        1 => "Accuracy",
        4 => "Convolution",
        5 => "Data",
        6 => "Dropout",
        8 => "Flatten",
        9 => "HDF5Data",
        12 => "ImageData",
        14 => "InnerProduct",
        15 => "LRN",
        17 => "Pooling",
        18 => "ReLU",
        19 => "Sigmoid",
        20 => "Softmax",
        21 => "SoftmaxWithLoss",
        22 => "Split",
        23 => "TanH",
        24 => "WindowData",
        29 => "MemoryData",
        32 => "DummyData",
        36 => "Silence",
        _ => return None,
    })
}
