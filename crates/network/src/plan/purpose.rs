//! What a plan is for: which of its parameters learn, what is kept for that, and what it takes.

use super::{ParameterRole, ParameterSpec, Plan, Step};
use crate::models::ModelError;
use crate::places::{Back, Places};

/// What the plan's buffers must serve.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// What the backward pass reads is kept for it. A linear layer's weights are updated where their
    /// gradient is formed, and the gradient is not stored.
    Training,
    /// As training, but every gradient is kept until the update: to be looked at, or changed.
    Gradients,
    /// As that, and a step may have more images than the plan's batch: they are taken in parts, and
    /// the parts' gradients are summed. Batch normalisation normalises each part by itself.
    Accumulate,
    /// Nothing is kept but the last output, and weights are not expected to change often.
    Inference,
}

impl Purpose {
    /// Whether a backward pass follows.
    pub(crate) fn is_training(self) -> bool {
        self != Self::Inference
    }
}

impl Plan {
    /// The same plan with layers (`conv1` to `fc8`) that never learn: their arrays have no gradient
    /// and no velocity, their batch normalisation normalises with its running statistics and leaves
    /// them alone, and the way back ends at the first layer that learns.
    ///
    /// # Errors
    /// When there is no such layer, or none is left that learns.
    pub fn freeze(mut self, layers: &[impl AsRef<str>]) -> Result<Self, ModelError> {
        for layer in layers.iter().map(AsRef::as_ref) {
            let mut own = self.parameters.iter_mut().filter(|spec| spec.layer == layer).peekable();
            if own.peek().is_none() {
                return Err(ModelError::NoLayer {
                    layer: layer.to_owned(),
                    layers: self.model.learned_layers().join(", "),
                });
            }
            own.for_each(|spec| spec.frozen = true);
        }
        if self.parameters.iter().all(|spec| spec.frozen) {
            return Err(ModelError::NothingLearns);
        }
        self.places = Places::new(&self.steps, self.batch * self.image_len(), self.back());
        Ok(self)
    }

    /// The way back, where there is one.
    pub(crate) fn back(&self) -> Option<Back> {
        let learns = |step: &Step| step.parameters().any(|p| !self.parameters[p].frozen);
        let lowest = self.steps.iter().position(learns).unwrap_or(self.steps.len());
        let fused = self.purpose == Purpose::Training;
        self.purpose.is_training().then_some(Back { lowest, fused })
    }

    /// Whether step `index` is a linear layer whose weights are updated where their gradient is
    /// formed.
    pub(crate) fn is_fused(&self, index: usize) -> bool {
        let fused = |weights: usize| self.has_velocity(weights) && !self.has_gradient(weights);
        matches!(self.steps[index], Step::Linear { weights, .. } if fused(weights))
    }

    /// Floats of activations, their gradients, parameters, their gradients, sums and momentum, in bytes:
    /// what the network's own arrays take, but for what a device has images laid out in beyond their number.
    pub fn bytes(&self) -> usize {
        self.bytes_where(size_of::<f32>(), size_of::<f32>())
    }

    /// The same where values take so many bytes a number, and weights so many.
    pub fn bytes_where(&self, value_bytes: usize, weight_bytes: usize) -> usize {
        let parameter = |(index, spec): (usize, &ParameterSpec)| {
            let beside = [self.has_velocity(index), self.has_gradient(index), self.has_sum(index)];
            let beside = beside.into_iter().filter(|&is_there| is_there).count();
            let is_weight = spec.role == ParameterRole::Weight;
            let own = if is_weight { weight_bytes } else { size_of::<f32>() };
            (own + beside * size_of::<f32>()) * spec.len()
        };
        let parameters: usize = self.parameters.iter().enumerate().map(parameter).sum();
        parameters + self.places.lens.iter().sum::<usize>() * value_bytes
    }

    /// Whether all gradients are stored.
    pub(crate) fn keeps_gradients(&self) -> bool {
        matches!(self.purpose, Purpose::Gradients | Purpose::Accumulate)
    }

    /// Whether parameter `index` is trained.
    pub(crate) fn has_velocity(&self, index: usize) -> bool {
        let ParameterSpec { role, frozen, .. } = self.parameters[index];
        self.purpose.is_training() && role != ParameterRole::Running && !frozen
    }

    /// Whether its gradient is stored.
    pub(crate) fn has_gradient(&self, index: usize) -> bool {
        self.has_velocity(index) && (self.keeps_gradients() || !self.is_linear(index))
    }

    /// Whether its gradients of parts are summed in an array of their own. A linear layer's weights
    /// have theirs summed where they are formed.
    pub(crate) fn has_sum(&self, index: usize) -> bool {
        self.purpose == Purpose::Accumulate && self.has_velocity(index) && !self.is_linear(index)
    }

    /// Whether it is read far more often than written, and by an operation that can use that.
    pub(crate) fn is_settled(&self, index: usize) -> bool {
        !self.purpose.is_training() && self.is_linear(index)
    }

    /// Whether parameter `index` is a linear layer's weights.
    fn is_linear(&self, index: usize) -> bool {
        let of = |step: &Step| matches!(step, Step::Linear { weights, .. } if *weights == index);
        self.steps.iter().any(of)
    }
}
