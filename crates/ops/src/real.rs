//! The two floating-point types the reference runs in: `f32` to compare devices with, `f64` to
//! check gradients by finite differences.

use std::ops::{Add, AddAssign, Div, Mul, Neg, Sub};

/// A real number: `f32` or `f64`.
pub trait Real:
    Copy
    + PartialOrd
    + Default
    + Send
    + Sync
    + std::fmt::Debug
    + Add<Output = Self>
    + Sub<Output = Self>
    + Mul<Output = Self>
    + Div<Output = Self>
    + Neg<Output = Self>
    + AddAssign
    + 'static
{
    /// The nearest value of this type.
    fn from_f32(value: f32) -> Self;
    /// A count or an index as a number.
    fn from_usize(value: usize) -> Self;
    /// The nearest `f32`.
    fn to_f32(self) -> f32;
    /// The same value in `f64`.
    fn to_f64(self) -> f64;
    /// `self` to the power `exponent`.
    fn powf(self, exponent: Self) -> Self;
    /// The square root.
    fn sqrt(self) -> Self;
    /// e to the power `self`.
    fn exp(self) -> Self;
    /// The hyperbolic tangent.
    fn tanh(self) -> Self;
    /// The natural logarithm.
    fn ln(self) -> Self;
    /// Whether this is not a number.
    fn is_nan(self) -> bool;
}

macro_rules! real {
    ($type:ty) => {
        impl Real for $type {
            fn from_f32(value: f32) -> Self {
                value as $type
            }
            fn from_usize(value: usize) -> Self {
                value as $type
            }
            fn to_f32(self) -> f32 {
                self as f32
            }
            fn to_f64(self) -> f64 {
                self.into()
            }
            fn powf(self, exponent: Self) -> Self {
                self.powf(exponent)
            }
            fn sqrt(self) -> Self {
                self.sqrt()
            }
            fn exp(self) -> Self {
                self.exp()
            }
            fn tanh(self) -> Self {
                self.tanh()
            }
            fn ln(self) -> Self {
                self.ln()
            }
            fn is_nan(self) -> bool {
                self.is_nan()
            }
        }
    };
}

real!(f32);
real!(f64);
