//! Nothing is updated before everything is known to be finite; what is not is found and named.
//!
//! A value that is not finite makes all that is computed from it NaN, for no operation lets one
//! pass for a number: so it reaches losses or gradients, unless dropout or a ReLU's gradient leaves
//! it out, and then nothing depends on it. Looking at losses, gradients, biases and running
//! statistics is enough. To say where it began, the step is computed once more, and looked at part by part.

use alexnet_ops::Device;

use super::{Network, Parameter, Part, Share, StepBatch};
use crate::plan::{ParameterRole, Plan, Step};

/// Gradients up to here are sound. A velocity gathers `1 / (1 − momentum)` of them at most, and the
/// rest of the range of `f32` is room for that.
const LARGEST: f64 = 1e30;

/// A step of training met a value that is not finite, or so large that an update could not be.
/// Nothing was updated.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[error("the {what} became {value}{}", if *.repeats { "" } else { NOT_AGAIN })]
pub struct NotFinite {
    /// The layer where it shows first, `conv1` or `pool2`; `input` for images, `loss` for losses.
    pub layer: String,
    /// What it is, in words, the layer's name among them: `gradient of conv3.weight`.
    pub what: String,
    /// The value, or the bound, that is not finite or too large.
    pub value: f32,
    /// Whether it was there again when the step was computed once more. Steps are the same to the
    /// bit, so if not, memory or processor are at fault.
    pub repeats: bool,
}

const NOT_AGAIN: &str = ", but not when the same step was computed again, which gives the same bits \
                         on a sound machine: suspect its memory or processor";

/// Something that must be sound before anything is updated: where it is, and values an image.
#[derive(Clone, Copy, Debug)]
pub(super) enum Look {
    Logits {
        place: usize,
        each: usize,
    },
    Losses,
    Gradient(usize),
    Value(usize),
    /// Of a linear layer whose gradient is formed with its update.
    Input {
        place: usize,
        each: usize,
        weights: usize,
    },
    /// Of the same layer, right after its input.
    OutputGradient {
        place: usize,
        each: usize,
        weights: usize,
    },
}

/// Everything that a step of training has looked at: losses, then all gradients, those that are yet
/// to be formed among them, and all that is small: biases, batch normalisation and its running
/// statistics.
pub(super) fn looks(plan: &Plan) -> Vec<Look> {
    let Some(back) = plan.back() else { return Vec::new() };
    let last = plan.steps.len();
    let (place, each) = (plan.places.activations[last], plan.model.config.classes);
    let mut looks = vec![Look::Logits { place, each }, Look::Losses];
    looks.extend((back.lowest..last).rev().flat_map(|index| looks_of(plan, index)));
    looks
}

/// The same of one step's.
fn looks_of(plan: &Plan, index: usize) -> Vec<Look> {
    let step = plan.steps[index];
    let mut looks = Vec::new();
    for at in step.parameters() {
        if plan.has_gradient(at) {
            looks.push(Look::Gradient(at));
        }
        if plan.parameters[at].role != ParameterRole::Weight {
            looks.push(Look::Value(at));
        }
    }
    if let (true, Step::Linear { shape, weights, .. }) = (plan.is_fused(index), step) {
        let [place, after] = [plan.places.activations[index], plan.places.gradients[index + 1]];
        looks.push(Look::Input { place, each: shape.inputs, weights });
        looks.push(Look::OutputGradient { place: after, each: shape.outputs, weights });
    }
    looks
}

/// A step computed once more: the first that is not finite, when it was found.
#[derive(Default)]
pub(super) struct Walk {
    found: Option<NotFinite>,
}

impl<D: Device> Network<D> {
    /// Whether all gradients of the batch, which were asked for, are finite.
    pub(super) fn check_gradients(&mut self, batch: &StepBatch<'_>) -> Result<(), NotFinite> {
        let formed = std::mem::replace(&mut self.formed, Ok(()));
        let Err(seen) = formed.and_then(|()| self.check_all()) else {
            self.tell(Part::Check);
            return Ok(());
        };
        self.put_back_running();
        self.walk = Some(Walk::default());
        let again = self.form_gradients(batch).and_then(|()| self.check_all());
        let found = self.walk.take().and_then(|walk| walk.found);
        self.put_back_running();
        Err(found.or(again.err()).unwrap_or(NotFinite { repeats: false, ..seen }))
    }

    /// Whether the losses and logits of a part are finite, on the host, which says of which image
    /// they are not.
    pub(super) fn check_losses(&mut self, share: Share) -> Result<(), NotFinite> {
        self.download_outputs(share);
        let Share { first, count, .. } = share;
        let classes = self.classes();
        let losses = self.host_losses[first..first + count].iter();
        let rows = self.host_logits[first * classes..].chunks_exact(classes);
        for (image, (&loss, logits)) in losses.zip(rows).enumerate() {
            let spoilt = logits.iter().find(|logit| !logit.is_finite());
            if let Some(&value) = spoilt.or(Some(&loss).filter(|loss| !loss.is_finite())) {
                let what = format!("loss of image {} of the batch", first + image + 1);
                return Err(NotFinite { layer: "loss".to_owned(), what, value, repeats: true });
            }
        }
        Ok(())
    }

    /// Whether everything that the plan has looked at is sound.
    fn check_all(&mut self) -> Result<(), NotFinite> {
        let looks = std::mem::take(&mut self.looks);
        let sound = self.check(&looks);
        self.looks = looks;
        sound
    }

    /// Has the device look at all of it before the host waits for what it found.
    fn check(&mut self, looks: &[Look]) -> Result<(), NotFinite> {
        let Self { parameters, values, losses, share, device, found, .. } = self;
        let (parameters, values, losses) = (&*parameters, &*values, &*losses);
        let arrays = looks.iter().map(|&look| match look {
            Look::Losses => (losses, share.count),
            Look::Gradient(at) => {
                let Parameter { spec, gradient, .. } = &parameters[at];
                (gradient.as_ref().expect("only what is there is looked at"), spec.len())
            }
            Look::Value(at) => (&parameters[at].values, parameters[at].spec.len()),
            Look::Logits { place, each }
            | Look::Input { place, each, .. }
            | Look::OutputGradient { place, each, .. } => (&values[place], share.count * each),
        });
        device.largest(found, arrays);
        let mut found = std::mem::take(&mut self.host_found);
        self.device.download(&mut found[..looks.len()], &self.found);
        let judged = looks.iter().enumerate().try_for_each(|(at, &look)| {
            let before = at.checked_sub(1).map_or(0.0, |before| found[before]);
            self.judge(look, f64::from(found[at]), f64::from(before))
        });
        self.host_found = found;
        judged
    }

    /// Whether a look's largest magnitude is sound; that of the look before is at hand.
    fn judge(&mut self, look: Look, largest: f64, before: f64) -> Result<(), NotFinite> {
        match look {
            Look::Logits { .. } | Look::Losses if largest.is_finite() => Ok(()),
            Look::Logits { .. } | Look::Losses => {
                self.check_losses(self.share)?;
                // What the device saw and the host does not is no sound step either.
                let (what, value) = ("losses of the batch".to_owned(), largest as f32);
                Err(NotFinite { layer: "loss".to_owned(), what, value, repeats: true })
            }
            Look::Gradient(at) => self.judge_parameter("gradient", at, largest),
            // What of them is spoilt need not reach a gradient; weights do.
            Look::Value(at) => match self.parameters[at].spec.role {
                ParameterRole::Running => self.judge_parameter("running statistics", at, largest),
                _ => self.judge_parameter("value", at, largest),
            },
            Look::Input { weights, .. } => {
                let layer = &self.parameters[weights].spec.layer;
                sound(largest, layer, || format!("input of {layer}"))
            }
            // The gradient of a linear layer's weights is a sum of products of inputs and output
            // gradients, one for each image: with the largest of both it has a bound before it is
            // formed.
            Look::OutputGradient { weights, .. } => {
                let layer = &self.parameters[weights].spec.layer;
                let bound = self.share.count as f64 * before * largest;
                sound(bound, layer, || format!("gradient of {layer}.weight"))
            }
        }
    }

    fn judge_parameter(&self, what: &str, at: usize, largest: f64) -> Result<(), NotFinite> {
        let spec = &self.parameters[at].spec;
        sound(largest, &spec.layer, || match spec.role {
            ParameterRole::Weight => format!("{what} of {}.weight", spec.layer),
            ParameterRole::Bias => format!("{what} of {}.bias", spec.layer),
            _ => format!("{what} of {}'s batch normalisation", spec.layer),
        })
    }

    /// Looks at what a part of the walk has left, unless something was found before.
    pub(super) fn inspect(&mut self, part: Part) {
        if self.walk.as_ref().is_some_and(|walk| walk.found.is_none()) {
            let found = self.look_at(part).err();
            self.walk = Some(Walk { found });
        }
    }

    fn look_at(&mut self, part: Part) -> Result<(), NotFinite> {
        let count = self.share.count;
        match part {
            Part::Input => {
                let len = count * self.plan.image_len();
                self.check_place(self.plan.places.activations[0], len, "input", "input".to_owned())
            }
            Part::Forward(index) => {
                let step = self.plan.steps[index];
                for at in step.parameters() {
                    self.check(&[Look::Value(at)])?;
                }
                let len = step.at(count, self.plan.batch).output_len();
                let layer = self.layer(index).to_owned();
                let place = self.plan.places.activations[index + 1];
                self.check_place(place, len, &layer, format!("output of {layer}"))
            }
            Part::Loss => {
                let place = self.plan.places.gradients[self.plan.steps.len()];
                let len = count * self.classes();
                self.check_place(place, len, "loss", "gradient of the loss".to_owned())
            }
            Part::Backward(index) => {
                if index > self.lowest {
                    let step = self.plan.steps[index - 1].at(count, self.plan.batch);
                    let layer = self.layer(index).to_owned();
                    let place = self.plan.places.gradients[index];
                    let what = format!("gradient of the input of {layer}");
                    self.check_place(place, step.output_len(), &layer, what)?;
                }
                self.check(&looks_of(&self.plan, index))
            }
            Part::Check | Part::FusedUpdate(_) | Part::Update => Ok(()),
        }
    }

    /// Whether the first `len` values of a place are finite.
    fn check_place(
        &mut self,
        place: usize,
        len: usize,
        layer: &str,
        what: String,
    ) -> Result<(), NotFinite> {
        self.device.largest(&mut self.found, [(&self.values[place], len)].into_iter());
        let mut found = [0.0];
        self.device.download(&mut found, &self.found);
        let shown = if found[0].is_finite() { 0.0 } else { f64::from(found[0]) };
        sound(shown, layer, || what.clone())
    }

    /// The name of the layer that step `index` computes.
    fn layer(&self, index: usize) -> &str {
        let layer = self.plan.layers.iter().find(|layer| layer.step == Some(index));
        layer.map_or("a layer", |layer| &layer.name)
    }

    /// Running statistics are written in the forward pass, before anything is known.
    pub(super) fn keep_running(&mut self) {
        for step in &self.plan.steps {
            if let Step::BatchNorm { running, statistics, .. } = *step {
                let Parameter { spec, values, .. } = &self.parameters[running];
                if !spec.frozen {
                    let before = &mut self.running_before[statistics];
                    self.device.copy(before, values, spec.len());
                }
            }
        }
    }

    fn put_back_running(&mut self) {
        for step in &self.plan.steps {
            if let Step::BatchNorm { running, statistics, .. } = *step {
                let Parameter { spec, values, .. } = &mut self.parameters[running];
                if !spec.frozen {
                    self.device.copy(values, &self.running_before[statistics], spec.len());
                }
            }
        }
    }
}

/// Whether a magnitude is sound.
fn sound(magnitude: f64, layer: &str, what: impl Fn() -> String) -> Result<(), NotFinite> {
    // A NaN is in no range.
    if (0.0..=LARGEST).contains(&magnitude) {
        return Ok(());
    }
    let (layer, value) = (layer.to_owned(), magnitude as f32);
    Err(NotFinite { layer, what: what(), value, repeats: true })
}
