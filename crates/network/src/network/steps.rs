//! One step of the plan on the device, forward and backward.

use alexnet_ops::{Activation, Device, Dropout, DropoutKey, SgdStep};

use super::{Network, Parameter, Pass, Share};
use crate::layer::DropoutForm;
use crate::places::{is_joined, reads_output_again};
use crate::plan::{ParameterSpec, Step};

const KEPT: &str = "a plan for training says so of every learned parameter";

impl<D: Device> Network<D> {
    /// Activation `to` of the network from activation `from`.
    pub(super) fn forward_step(
        &mut self,
        index: usize,
        from: usize,
        to: usize,
        pass: Pass,
        share: Share,
    ) {
        let (x, y) = pair(&mut self.values, from, to);
        let (device, values) = (&self.device, |p: usize| &self.parameters[p].values);
        match self.plan.steps[index].at(share.count, self.plan.batch) {
            Step::Conv { shape, activation, weights, bias } => {
                device.conv_forward(y, x, values(weights), values(bias), activation, &shape);
            }
            Step::Linear { shape, activation, weights, bias } => {
                device.linear_forward(y, x, values(weights), values(bias), activation, &shape);
            }
            Step::Relu { len } => device.relu_forward(y, x, len),
            Step::Saturation { curve, len } => device.saturation_forward(y, x, curve, len),
            Step::Lrn { shape } => device.lrn_forward(y, x, &shape),
            Step::MaxPool { shape, positions } => {
                device.max_pool_forward(y, &mut self.positions[positions], x, &shape);
            }
            Step::AveragePool { shape } => device.average_pool_forward(y, x, &shape),
            Step::BatchNorm { shape, activation, affine, running, statistics } => match pass {
                Pass::Train { .. } if !self.parameters[affine].spec.frozen => {
                    let statistics = &mut self.statistics[statistics];
                    let (affine, running) = pair(&mut self.parameters, affine, running);
                    let (affine, running) = (&affine.values, &mut running.values);
                    device.batch_norm_train(y, statistics, running, x, affine, activation, &shape);
                }
                _ => {
                    let (affine, running) = (values(affine), values(running));
                    device.batch_norm_evaluate(y, x, affine, running, activation, &shape);
                }
            },
            Step::Dropout { rate, form, ordinal, len } => {
                device.dropout(y, x, dropout((rate, form, ordinal), len, pass, share), len);
            }
        }
    }

    /// Steps `index` and `index + 1`, a layer and what is done to its outputs.
    pub(super) fn forward_joined(&mut self, index: usize, from: usize, pass: Pass, share: Share) {
        let places = &self.plan.places.activations;
        let (sums, y) = (places[index + 1], places[index + 2]);
        let steps =
            [index, index + 1].map(|at| self.plan.steps[at].at(share.count, self.plan.batch));
        let arrays = self.values.get_disjoint_mut([from, sums, y]).expect("three different places");
        let ([x, sums, y], device) = (arrays, &self.device);
        let values = |places: [usize; 2]| places.map(|at| &self.parameters[at].values);
        match steps {
            [
                Step::Conv { shape: conv, weights, bias, .. },
                Step::MaxPool { shape: pool, positions },
            ] => {
                let (positions, shapes) = (&mut self.positions[positions], (&conv, &pool));
                let parameters = values([weights, bias]);
                device.conv_max_pool_forward([y, sums], positions, x, parameters, shapes);
            }
            [Step::Conv { shape: conv, weights, bias, .. }, Step::Lrn { shape: lrn }] => {
                device.conv_lrn_forward([y, sums], x, values([weights, bias]), (&conv, &lrn));
            }
            [
                Step::Linear { shape, activation, weights, bias },
                Step::Dropout { rate, form, ordinal, len },
            ] => {
                let how = (activation, dropout((rate, form, ordinal), len, pass, share));
                device.linear_dropout_forward([y, sums], x, values([weights, bias]), how, &shape);
            }
            _ => {} // no others are joined
        }
    }

    /// Turns the gradient of step `index`'s output into that of its input, and takes its
    /// parameters' gradients where they are stored.
    pub(super) fn backward_step(&mut self, index: usize, pass: Pass, share: Share) {
        let (device, places) = (&self.device, &self.plan.places);
        let [x, y] = [0, 1].map(|next| places.activations[index + next]);
        let [d_x, d_y] = [0, 1].map(|next| places.gradients[index + next]);
        let step = self.plan.steps[index].at(share.count, self.plan.batch);
        let elsewhere = matches!(step, Step::MaxPool { .. } | Step::BatchNorm { .. })
            || self.normalised(index).is_some();
        let rectified = reads_output_again(&self.plan.steps, index);
        if rectified && !elsewhere {
            let (y, d_y) = pair(&mut self.values, y, d_y);
            device.relu_backward(d_y, y, step.kept_scale(), step.output_len());
        }
        match step {
            Step::Conv { shape, weights, bias, .. } => {
                let (weights, bias) = two(&mut self.parameters, weights, bias);
                if let (Some(d_weights), Some(d_bias)) = (&mut weights.gradient, &mut bias.gradient)
                {
                    let [x, d_y] = [x, d_y].map(|place| &self.values[place]);
                    device.conv_backward_weights(d_weights, d_bias, d_y, x, &shape);
                }
                if index > self.lowest {
                    let (d_y, d_x) = pair(&mut self.values, d_y, d_x);
                    device.conv_backward_input(d_x, d_y, &weights.values, &shape);
                }
            }
            Step::Linear { shape, weights, bias, .. } => {
                let (weights, bias) = two(&mut self.parameters, weights, bias);
                let (x, d) = (&self.values[x], &self.values[d_y]);
                match (&mut weights.gradient, &mut bias.gradient) {
                    (Some(d_weights), Some(d_bias)) if share.first == 0 => {
                        device.linear_backward_weights(d_weights, d_bias, d, x, &shape);
                    }
                    (Some(d_weights), Some(d_bias)) => {
                        device.linear_backward_add(d_weights, d_bias, d, x, &shape);
                    }
                    (None, Some(d_bias)) => device.linear_backward_bias(d_bias, d, &shape),
                    (_, None) => {} // frozen
                }
                if index > self.lowest {
                    let (d_y, d_x) = pair(&mut self.values, d_y, d_x);
                    device.linear_backward_input(d_x, d_y, &weights.values, &shape);
                }
            }
            Step::Relu { .. } => {} // in place: the gradient stays where it is
            Step::Dropout { .. } if rectified => {} // so it does
            Step::Saturation { curve, len } => {
                let (y, d_y) = pair(&mut self.values, y, d_y);
                device.saturation_backward(d_y, y, curve, len); // in place
            }
            Step::Lrn { shape } => {
                let bias = index.checked_sub(1).and_then(|before| self.normalised(before));
                let (x, d_y, d_x) = three(&mut self.values, x, d_y, d_x);
                match bias.map(|bias| &self.parameters[bias].values) {
                    Some(bias) => device.rectified_lrn_backward(d_x, d_y, [x, bias], &shape),
                    None => device.lrn_backward(d_x, d_y, x, &shape),
                }
            }
            Step::MaxPool { .. } => self.max_pool_backward(index, &step, [y, d_y, d_x]),
            Step::AveragePool { shape } => {
                let (d_y, d_x) = pair(&mut self.values, d_y, d_x);
                device.average_pool_backward(d_x, d_y, &shape);
            }
            Step::BatchNorm { .. } => self.batch_norm_backward(index, &step, [x, y, d_y, d_x]),
            Step::Dropout { rate, form, ordinal, len } => {
                let how = dropout((rate, form, ordinal), len, pass, share);
                let (d_y, d_x) = pair(&mut self.values, d_y, d_x);
                device.dropout(d_x, d_y, how, len);
            }
        }
    }

    /// The bias of step `index`, if that is a convolution and one operation with the normalisation of its
    /// ReLU, which then is the ReLU's way back too.
    fn normalised(&self, index: usize) -> Option<usize> {
        let steps = &self.plan.steps;
        match (steps[index], steps.get(index + 1)) {
            (Step::Conv { bias, .. }, Some(Step::Lrn { .. }))
                if is_joined(steps, index) && !self.is_watched() =>
            {
                Some(bias)
            }
            _ => None,
        }
    }

    /// From the places of output and output gradient to that of the input gradient.
    fn max_pool_backward(&mut self, index: usize, step: &Step, [y, d_y, d_x]: [usize; 3]) {
        let Step::MaxPool { shape, positions } = *step else { return };
        let (device, positions) = (&self.device, &self.positions[positions]);
        if reads_output_again(&self.plan.steps, index) {
            let (y, d_y, d_x) = three_of(&mut self.values, y, d_y, d_x);
            return device.rectified_max_pool_backward(d_x, d_y, y, positions, &shape);
        }
        let (d_y, d_x) = pair(&mut self.values, d_y, d_x);
        device.max_pool_backward(d_x, d_y, positions, &shape);
    }

    /// From the places of input, output and output gradient to that of the input gradient.
    fn batch_norm_backward(&mut self, index: usize, step: &Step, [x, y, d_y, d_x]: [usize; 4]) {
        let Step::BatchNorm { shape, affine, statistics, .. } = *step else { return };
        let (device, rectified) = (&self.device, reads_output_again(&self.plan.steps, index));
        let Parameter { values, gradient, .. } = &mut self.parameters[affine];
        if let Some(d_affine) = gradient {
            let saved = &self.statistics[statistics];
            if !rectified {
                let (x, d_y, d_x) = three(&mut self.values, x, d_y, d_x);
                return device.batch_norm_backward(d_x, d_affine, d_y, x, values, saved, &shape);
            }
            let arrays = self.values.get_disjoint_mut([x, y, d_y, d_x]);
            let [x, y, d_y, d_x] = arrays.expect("four different places");
            let (found, read, figures) = ([d_x, d_affine], [&*x, &*y], [&*values, saved]);
            return device.rectified_batch_norm_backward(found, d_y, read, figures, &shape);
        }
        if rectified {
            let (y, d_y) = pair(&mut self.values, y, d_y);
            device.relu_backward(d_y, y, 1.0, shape.rows * shape.channels);
        }
        // Frozen: d_x = d_y · scale / √(variance + ε), its evaluation without mean and shift.
        let [scale, variance] = &self.frozen_norms[&statistics];
        let (d_y, d_x) = pair(&mut self.values, d_y, d_x);
        let plain = Activation::Identity;
        device.batch_norm_evaluate(d_x, d_y, scale, variance, plain, &shape);
    }

    /// What the way back through frozen batch normalisations needs, which changes only with the network's
    /// weights.
    pub(super) fn take_frozen_norms(&mut self) {
        for step in &self.plan.steps {
            let Step::BatchNorm { shape, affine, running, statistics, .. } = *step else {
                continue;
            };
            let Some(slopes) = self.frozen_norms.get_mut(&statistics) else { continue };
            let (mean, shift) = (0..shape.channels, shape.channels..2 * shape.channels);
            for ((slope, parameter), blank) in
                slopes.iter_mut().zip([affine, running]).zip([shift, mean])
            {
                let mut values = vec![0.0; 2 * shape.channels];
                self.device.download(&mut values, &self.parameters[parameter].values);
                values[blank].fill(0.0);
                self.device.upload(slope, &values);
            }
        }
    }

    /// Updates a linear layer's weights where their gradient is formed.
    pub(super) fn fused_update(&mut self, index: usize, sgd: impl Fn(&ParameterSpec) -> SgdStep) {
        let places = &self.plan.places;
        let step = self.plan.steps[index].at(self.share.count, self.plan.batch);
        let Step::Linear { shape, weights, .. } = step else { return };
        let [x, d_y] = [places.activations[index], places.gradients[index + 1]];
        let [x, d_y] = [x, d_y].map(|place| &self.values[place]);
        let Parameter { spec, values, velocity, .. } = &mut self.parameters[weights];
        let velocity = velocity.as_mut().expect(KEPT);
        self.device.linear_backward_update(values, velocity, d_y, x, &sgd(spec), &shape);
    }
}

/// What a dropout of `len` outputs does in this pass to a part of the batch.
fn dropout(
    (rate, form, layer): (f32, DropoutForm, u32),
    len: usize,
    pass: Pass,
    share: Share,
) -> Dropout {
    match pass {
        Pass::Evaluate => Dropout::Scaled(form.evaluation_scale(rate)),
        Pass::Train { seed, step } => {
            let first = share.first * (len / share.count);
            let key = DropoutKey { seed, step, layer, first };
            Dropout::Masked { rate, kept_scale: form.kept_scale(rate), key }
        }
    }
}

/// Two different elements, the second to be written.
pub(super) fn pair<T>(items: &mut [T], read: usize, write: usize) -> (&T, &mut T) {
    let (read, write) = two(items, read, write);
    (read, write)
}

/// Two different elements, both to be written.
fn two<T>(items: &mut [T], one: usize, other: usize) -> (&mut T, &mut T) {
    let [one, other] = items.get_disjoint_mut([one, other]).expect("two different places");
    (one, other)
}

/// Three different elements, the last two to be written.
fn three_of<T>(items: &mut [T], read: usize, one: usize, other: usize) -> (&T, &mut T, &mut T) {
    let places = [read, one, other];
    let [read, one, other] = items.get_disjoint_mut(places).expect("three different places");
    (read, one, other)
}

/// Three different elements, the last to be written.
fn three<T>(items: &mut [T], one: usize, other: usize, write: usize) -> (&T, &T, &mut T) {
    let places = [one, other, write];
    let [one, other, write] = items.get_disjoint_mut(places).expect("three different places");
    (one, other, write)
}
