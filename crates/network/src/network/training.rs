//! A step of training: forward, loss, backward, update.

use alexnet_ops::{Device, Images, LossShape, SgdStep, SgdUpdate};

use super::health::NotFinite;
use super::{Network, Parameter, Part, Pass, Repeated, Share, TOO_FEW, steps};
use crate::plan::{ParameterRole, ParameterSpec, Purpose};

/// What a step of training is about.
#[derive(Clone, Copy)]
pub struct StepBatch<'b> {
    /// (N, H, W, 3)
    pub images: Images<'b>,
    /// (N)
    pub labels: &'b [u32],
    /// The run's seed.
    pub seed: u64,
    /// The training step, counted from the first of the run.
    pub step: u64,
}

/// What a step of training found of each of its images.
#[derive(Clone, Copy, Debug)]
pub struct Scores<'n> {
    /// Cross-entropy (N).
    pub losses: &'n [f32],
    /// How many classes come before the label (N), whole numbers ([`alexnet_ops::rank`]).
    pub ranks: &'n [f32],
}

impl StepBatch<'_> {
    fn pass(&self) -> Pass {
        Pass::Train { seed: self.seed, step: self.step }
    }
}

impl<D: Device> Network<D> {
    /// One step of training: forward, loss, backward, update by the figures `sgd` gives for each
    /// parameter. Returns what it found of each image. With [`Purpose::Accumulate`] there may be
    /// more images than the plan's batch: the step is that of all of them.
    ///
    /// # Errors
    /// When a loss, a gradient or a running statistic is not finite. Then nothing was updated:
    /// weights, velocities and running statistics are to the bit what they were.
    pub fn train_step<'i>(
        &mut self,
        images: impl Into<Images<'i>>,
        labels: &[u32],
        seed: u64,
        step: u64,
        sgd: impl Fn(&ParameterSpec) -> SgdStep,
    ) -> Result<Scores<'_>, NotFinite> {
        let batch = StepBatch { images: images.into(), labels, seed, step };
        self.begin_step(&batch, sgd);
        self.finish_step(&batch)
    }

    /// Asks the device for all of [`Self::train_step`], an update that it does only if everything is
    /// sound among the rest. [`Self::finish_step`] tells what came of it: where a device computes by
    /// itself, the host has time for other things between.
    pub fn begin_step(&mut self, batch: &StepBatch<'_>, sgd: impl Fn(&ParameterSpec) -> SgdStep) {
        self.form_and_judge(batch);
        if self.formed.is_ok() && self.sound != Some(false) {
            self.tell(Part::Check);
            self.update(sgd);
        }
        self.device.end_updates();
    }

    /// What came of the step that [`Self::begin_step`] has begun with the same batch.
    ///
    /// # Errors
    /// As [`Self::train_step`].
    pub fn finish_step(&mut self, batch: &StepBatch<'_>) -> Result<Scores<'_>, NotFinite> {
        self.check_step(batch)?;
        Ok(self.scores())
    }

    /// The first half of a training step, forward, loss and all gradients; [`Self::update`] is the
    /// second. Both halves together have the bits of [`Self::train_step`].
    ///
    /// # Errors
    /// As [`Self::train_step`].
    ///
    /// # Panics
    /// When the plan does not keep all gradients.
    pub fn gradient_step<'i>(
        &mut self,
        images: impl Into<Images<'i>>,
        labels: &[u32],
        seed: u64,
        step: u64,
    ) -> Result<Scores<'_>, NotFinite> {
        assert!(self.plan.keeps_gradients(), "{TOO_FEW}");
        let batch = StepBatch { images: images.into(), labels, seed, step };
        self.form_and_judge(&batch);
        self.device.end_updates();
        self.finish_step(&batch)
    }

    /// Moves every parameter that learns along its gradient.
    pub fn update(&mut self, sgd: impl Fn(&ParameterSpec) -> SgdStep) {
        for index in (self.lowest..self.plan.steps.len()).rev() {
            if self.plan.is_fused(index) {
                self.fused_update(index, &sgd);
                self.tell(Part::FusedUpdate(index));
            }
        }
        self.device.sgd_updates(self.parameters.iter_mut().filter_map(|parameter| {
            let Parameter { spec, values, velocity, gradient, .. } = parameter;
            let (velocity, gradient) = (velocity.as_mut()?, gradient.as_ref()?);
            let trust = self.trust.filter(|_| spec.role == ParameterRole::Weight);
            let (step, len) = (sgd(spec), spec.len());
            Some(SgdUpdate { weights: values, velocity, gradient, step, trust, len })
        }));
        self.tell(Part::Update);
    }

    /// What the last step found. Of a batch in parts it was fetched part by part.
    fn scores(&mut self) -> Scores<'_> {
        let Share { count, of, .. } = self.share;
        let (losses, ranks) = (&mut self.host_losses[..of], &mut self.host_ranks[..of]);
        if count == of {
            // They came with the verdict, and the update goes on meanwhile.
            let [coming_losses, coming_ranks] = self.coming;
            self.device.end_download(losses, coming_losses, &self.losses);
            self.device.end_download(ranks, coming_ranks, &self.ranks);
        }
        Scores { losses, ranks }
    }

    /// Forward, loss and backward over every part of the batch, and the sum of what they give.
    /// Stops after losses that are not finite.
    pub(super) fn form_gradients(&mut self, batch: &StepBatch<'_>) -> Result<(), NotFinite> {
        let of = batch.labels.len();
        assert!(self.plan.purpose.is_training(), "a plan for inference has no gradients");
        for share in self.shares(of) {
            self.share = share;
            let Share { first, count, .. } = share;
            self.device.upload_labels(&mut self.labels, &batch.labels[first..first + count]);
            self.enter(batch.images, batch.pass(), share);
            if count == of {
                self.repeat(self.repeated(batch), batch.step, |network| {
                    network.loss(batch, share);
                    network.backward(batch, share);
                });
            } else {
                self.loss(batch, share);
                self.check_losses(share)?;
                self.backward(batch, share);
                self.add_gradients(first == 0);
            }
        }
        if of > self.plan.batch {
            self.exchange_sums();
        }
        Ok(())
    }

    /// What forward, loss and backward of a batch that is taken as a whole repeat. A plan that may take
    /// one in parts has gradients and their sums change places.
    fn repeated(&self, batch: &StepBatch<'_>) -> Option<Repeated> {
        let (count, seed) = (batch.labels.len(), Some(batch.seed));
        let by_levels = matches!(batch.images, Images::Levels(_));
        (self.plan.purpose != Purpose::Accumulate).then_some(Repeated { count, seed, by_levels })
    }

    /// A forward pass over images that are there, and the loss of each; leaves the logits' gradient for
    /// [`Self::backward`].
    fn loss(&mut self, batch: &StepBatch<'_>, share: Share) {
        let Share { first, count, of } = share;
        // What is computed once more keeps what was there the first time.
        if first == 0 && self.walk.is_none() {
            self.keep_running();
        }
        self.forward_steps(batch.pass(), share);
        let (classes, smoothing) = (self.classes(), self.label_smoothing);
        let shape = LossShape { images: count, classes, mean_over: of, smoothing };
        let (places, last) = (&self.plan.places, self.plan.steps.len());
        let (logits, d_logits) =
            steps::pair(&mut self.values, places.activations[last], places.gradients[last]);
        let found = [&mut self.losses, &mut self.ranks];
        self.device.softmax_cross_entropy(found, d_logits, logits, &self.labels, &shape);
        self.tell(Part::Loss);
    }

    /// The list of steps read upwards, from the gradient of the logits to that of the first
    /// weights that learn.
    fn backward(&mut self, batch: &StepBatch<'_>, share: Share) {
        for index in (self.lowest..self.plan.steps.len()).rev() {
            self.backward_step(index, batch.pass(), share);
            self.tell(Part::Backward(index));
        }
    }

    /// Adds the gradients of a part to the sums, or begins them.
    fn add_gradients(&mut self, is_first: bool) {
        if is_first {
            return self.exchange_sums();
        }
        for Parameter { spec, gradient, sum, .. } in &mut self.parameters {
            if let (Some(gradient), Some(sum)) = (gradient, sum) {
                self.device.add(sum, gradient, spec.len());
            }
        }
    }

    fn exchange_sums(&mut self) {
        for Parameter { gradient, sum, .. } in &mut self.parameters {
            if sum.is_some() {
                std::mem::swap(gradient, sum);
            }
        }
    }
}
