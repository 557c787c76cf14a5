//! The specification in code: every operation as the plainest loops that compute it.
//!
//! Nothing is fast here and nothing is clever. A reader learns an operation from these files, and
//! every device is compared with them. Generic over [`Real`]: `f32` to stand beside devices, `f64`
//! for finite differences.

mod batch_norm;
mod conv;
mod elementwise;
mod linear;
mod loss;
mod lrn;
mod pool;

use std::marker::PhantomData;

use crate::device::{Activation, Device, Dropout, Saturation};
use crate::real::Real;
use crate::shape::{
    AveragePoolShape, BatchNormShape, ConvShape, LinearShape, LossShape, LrnRegion, LrnShape,
    MaxPoolShape,
};
use crate::update::{SgdStep, SgdUpdate};

/// The plain-loop device. Its arrays are plain vectors.
#[derive(Clone, Copy, Debug, Default)]
pub struct Reference<T>(PhantomData<T>);

impl<T> Reference<T> {
    /// A reference device in this precision.
    pub fn new() -> Self {
        Self(PhantomData)
    }
}

impl<T: Real> Device for Reference<T> {
    type Floats = Vec<T>;
    type Bytes = Vec<u8>;
    type Labels = Vec<u32>;
    type Recording = ();

    fn name(&self) -> String {
        format!("reference ({})", std::any::type_name::<T>())
    }
    fn floats(&self, len: usize) -> Vec<T> {
        vec![T::default(); len]
    }
    fn bytes(&self, len: usize) -> Vec<u8> {
        vec![0; len]
    }
    fn labels(&self, len: usize) -> Vec<u32> {
        vec![0; len]
    }
    fn upload(&self, dst: &mut Vec<T>, src: &[f32]) {
        for (to, &from) in dst[..src.len()].iter_mut().zip(src) {
            *to = T::from_f32(from);
        }
    }
    fn upload_labels(&self, dst: &mut Vec<u32>, src: &[u32]) {
        dst[..src.len()].copy_from_slice(src);
    }
    fn download(&self, dst: &mut [f32], src: &Vec<T>) {
        for (to, from) in dst.iter_mut().zip(&src[..]) {
            *to = from.to_f32();
        }
    }

    fn conv_forward(
        &self,
        y: &mut Vec<T>,
        x: &Vec<T>,
        weights: &Vec<T>,
        bias: &Vec<T>,
        activation: Activation,
        shape: &ConvShape,
    ) {
        conv::forward(y, x, weights, bias, activation, shape);
    }
    fn conv_backward_input(
        &self,
        d_x: &mut Vec<T>,
        d_y: &Vec<T>,
        weights: &Vec<T>,
        shape: &ConvShape,
    ) {
        conv::backward_input(d_x, d_y, weights, shape);
    }
    fn conv_backward_weights(
        &self,
        d_weights: &mut Vec<T>,
        d_bias: &mut Vec<T>,
        d_y: &Vec<T>,
        x: &Vec<T>,
        shape: &ConvShape,
    ) {
        conv::backward_weights(d_weights, d_bias, d_y, x, shape);
    }

    fn linear_forward(
        &self,
        y: &mut Vec<T>,
        x: &Vec<T>,
        weights: &Vec<T>,
        bias: &Vec<T>,
        activation: Activation,
        shape: &LinearShape,
    ) {
        linear::forward(y, x, weights, bias, activation, shape);
    }
    fn linear_backward_input(
        &self,
        d_x: &mut Vec<T>,
        d_y: &Vec<T>,
        weights: &Vec<T>,
        shape: &LinearShape,
    ) {
        linear::backward_input(d_x, d_y, weights, shape);
    }
    fn linear_backward_weights(
        &self,
        d_weights: &mut Vec<T>,
        d_bias: &mut Vec<T>,
        d_y: &Vec<T>,
        x: &Vec<T>,
        shape: &LinearShape,
    ) {
        linear::backward_weights(d_weights, d_bias, d_y, x, shape);
    }
    fn linear_backward_add(
        &self,
        d_weights: &mut Vec<T>,
        d_bias: &mut Vec<T>,
        d_y: &Vec<T>,
        x: &Vec<T>,
        shape: &LinearShape,
    ) {
        let len = shape.inputs * shape.outputs;
        let mut gradient = self.floats(len);
        self.linear_backward_weights(&mut gradient, d_bias, d_y, x, shape);
        self.add(d_weights, &gradient, len);
    }
    fn linear_backward_update(
        &self,
        weights: &mut Vec<T>,
        velocity: &mut Vec<T>,
        d_y: &Vec<T>,
        x: &Vec<T>,
        step: &SgdStep,
        shape: &LinearShape,
    ) {
        let len = shape.inputs * shape.outputs;
        let (mut gradient, mut d_bias) = (self.floats(len), self.floats(shape.outputs));
        self.linear_backward_weights(&mut gradient, &mut d_bias, d_y, x, shape);
        let (gradient, step, trust) = (&gradient, *step, None);
        self.sgd_update(SgdUpdate { weights, velocity, gradient, step, trust, len });
    }
    fn linear_backward_bias(&self, d_bias: &mut Vec<T>, d_y: &Vec<T>, shape: &LinearShape) {
        linear::sum_rows(&mut d_bias[..shape.outputs], &d_y[..shape.batch * shape.outputs]);
    }

    fn relu_forward(&self, y: &mut Vec<T>, x: &Vec<T>, len: usize) {
        elementwise::relu(&mut y[..len], &x[..len]);
    }
    fn relu_backward(&self, d: &mut Vec<T>, y: &Vec<T>, factor: f32, len: usize) {
        elementwise::relu_backward(&mut d[..len], &y[..len], factor);
    }
    fn saturation_forward(&self, y: &mut Vec<T>, x: &Vec<T>, curve: Saturation, len: usize) {
        elementwise::saturation(&mut y[..len], &x[..len], curve);
    }
    fn saturation_backward(&self, d: &mut Vec<T>, y: &Vec<T>, curve: Saturation, len: usize) {
        elementwise::saturation_backward(&mut d[..len], &y[..len], curve);
    }

    fn max_pool_forward(
        &self,
        y: &mut Vec<T>,
        positions: &mut Vec<u8>,
        x: &Vec<T>,
        shape: &MaxPoolShape,
    ) {
        pool::max_forward(y, positions, x, shape);
    }
    fn max_pool_backward(
        &self,
        d_x: &mut Vec<T>,
        d_y: &Vec<T>,
        positions: &Vec<u8>,
        shape: &MaxPoolShape,
    ) {
        pool::max_backward(d_x, d_y, positions, shape);
    }
    fn average_pool_forward(&self, y: &mut Vec<T>, x: &Vec<T>, shape: &AveragePoolShape) {
        pool::average_forward(y, x, shape);
    }
    fn average_pool_backward(&self, d_x: &mut Vec<T>, d_y: &Vec<T>, shape: &AveragePoolShape) {
        pool::average_backward(d_x, d_y, shape);
    }

    fn lrn_forward(&self, y: &mut Vec<T>, x: &Vec<T>, shape: &LrnShape) {
        match shape.region {
            LrnRegion::AcrossMaps { groups } => lrn::across_maps_forward(y, x, groups, shape),
            LrnRegion::SameMap => lrn::same_map_forward(y, x, shape),
        }
    }
    fn lrn_backward(&self, d_x: &mut Vec<T>, d_y: &Vec<T>, x: &Vec<T>, shape: &LrnShape) {
        match shape.region {
            LrnRegion::AcrossMaps { groups } => {
                lrn::across_maps_backward(d_x, d_y, x, groups, shape);
            }
            LrnRegion::SameMap => lrn::same_map_backward(d_x, d_y, x, shape),
        }
    }

    fn batch_norm_train(
        &self,
        y: &mut Vec<T>,
        statistics: &mut Vec<T>,
        running: &mut Vec<T>,
        x: &Vec<T>,
        affine: &Vec<T>,
        activation: Activation,
        shape: &BatchNormShape,
    ) {
        batch_norm::train(y, statistics, running, x, affine, activation, shape);
    }
    fn batch_norm_evaluate(
        &self,
        y: &mut Vec<T>,
        x: &Vec<T>,
        affine: &Vec<T>,
        running: &Vec<T>,
        activation: Activation,
        shape: &BatchNormShape,
    ) {
        batch_norm::evaluate(y, x, affine, running, activation, shape);
    }
    fn batch_norm_backward(
        &self,
        d_x: &mut Vec<T>,
        d_affine: &mut Vec<T>,
        d_y: &Vec<T>,
        x: &Vec<T>,
        affine: &Vec<T>,
        statistics: &Vec<T>,
        shape: &BatchNormShape,
    ) {
        batch_norm::backward(d_x, d_affine, d_y, x, affine, statistics, shape);
    }

    fn dropout(&self, y: &mut Vec<T>, x: &Vec<T>, dropout: Dropout, len: usize) {
        elementwise::dropout(&mut y[..len], &x[..len], dropout);
    }

    fn softmax_cross_entropy(
        &self,
        [losses, ranks]: [&mut Vec<T>; 2],
        d_logits: &mut Vec<T>,
        logits: &Vec<T>,
        labels: &Vec<u32>,
        shape: &LossShape,
    ) {
        loss::softmax_cross_entropy([losses, ranks], d_logits, logits, labels, shape);
    }

    fn sgd_update(&self, update: SgdUpdate<'_, Vec<T>>) {
        let SgdUpdate { weights, velocity, gradient, step, trust, len } = update;
        let (weights, gradient) = (&mut weights[..len], &gradient[..len]);
        let squares = [&*weights, gradient].map(elementwise::sum_of_squares);
        let step = trust.map_or(step, |trust| step.at_layer_wise_rate(trust, squares));
        elementwise::sgd(weights, &mut velocity[..len], gradient, &step);
    }

    fn copy(&self, dst: &mut Vec<T>, src: &Vec<T>, len: usize) {
        dst[..len].copy_from_slice(&src[..len]);
    }
    fn add(&self, sums: &mut Vec<T>, values: &Vec<T>, len: usize) {
        elementwise::add(&mut sums[..len], &values[..len]);
    }
    fn largest<'a>(&self, found: &mut Vec<T>, arrays: impl Iterator<Item = (&'a Vec<T>, usize)>)
    where
        T: 'a,
    {
        for (found, (values, len)) in found.iter_mut().zip(arrays) {
            *found = elementwise::largest(&values[..len]);
        }
    }
}
