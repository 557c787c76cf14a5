//! The only place where an operation of the network is *defined*.
//!
//! Three things live here and nothing else: the contract every device keeps ([`Device`]), its
//! meaning in plain loops ([`Reference`]), and the suite each device must pass ([`conformance`]).
//! Nothing here touches a file, the clock, the environment or a global.
//!
//! Activations are channels-last: `(N, H, W, C)`, C fastest. Convolution weights are `(K, R, S,
//! C/groups)` and linear weights `(out, in)`, both with the last index fastest. Files keep another
//! order; `network` converts.
//!
//! Dimension letters used below: N batch, H W input height and width, C input channels, P Q output
//! height and width, K output channels, R S kernel height and width.

#![forbid(unsafe_code)]

pub mod conformance;
mod device;
mod images;
pub mod philox;
mod real;
mod reference;
mod resample;
mod shape;
mod softmax;
mod update;

pub use device::{
    Activation, ConvPass, Device, Dropout, DropoutKey, OwnMemory, Precision, Saturation, Timed,
};
pub use images::{Images, Levels, Normalisation, Picture};
pub use real::Real;
pub use reference::Reference;
pub use resample::{Axis, Filter, Grid, HALF_LEVEL, level_of};
pub use shape::{
    AveragePoolShape, BatchNormShape, ConvShape, LinearShape, LossShape, LrnRegion, LrnShape,
    MaxPoolShape, Rounding, output_size,
};
pub use softmax::{rank, softmax};
pub use update::{Bound, SgdStep, SgdUpdate, UpdateRule};
