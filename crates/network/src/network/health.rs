//! Nothing is updated before everything is known to be finite; what is not is found and named.
//!
//! A value that is not finite makes all that is computed from it NaN, for no operation lets one
//! pass for a number: so it reaches losses or gradients, unless dropout or a ReLU's gradient leaves
//! it out, and then nothing depends on it. Looking at losses, gradients, biases and running
//! statistics is enough. To say where it began, the step is computed once more, and looked at part by part.

use alexnet_ops::Device;

use super::{Batch, Network, Parameter, Part, Share};
use crate::plan::{ParameterRole, ParameterSpec, Step};

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

/// A step computed once more: the first that is not finite, when it was found.
#[derive(Default)]
pub(super) struct Walk {
    found: Option<NotFinite>,
}

impl<D: Device> Network<D> {
    /// All gradients of the batch, known to be finite.
    pub(super) fn form_sound_gradients(&mut self, batch: &Batch) -> Result<(), NotFinite> {
        self.keep_running();
        let formed = self.form_gradients(batch).and_then(|()| self.check_gradients());
        let Err(seen) = formed else {
            self.tell(Part::Check);
            return Ok(());
        };
        self.put_back_running();
        self.walk = Some(Walk::default());
        let again = self.form_gradients(batch).and_then(|()| self.check_gradients());
        let found = self.walk.take().and_then(|walk| walk.found);
        self.put_back_running();
        Err(found.or(again.err()).unwrap_or(NotFinite { repeats: false, ..seen }))
    }

    /// Whether the losses and logits of a part are finite.
    pub(super) fn check_losses(&self, share: Share) -> Result<(), NotFinite> {
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

    /// Whether all gradients are sound, those that are yet to be formed among them, and all that is
    /// small: biases, batch normalisation and its running statistics.
    fn check_gradients(&self) -> Result<(), NotFinite> {
        for index in (self.lowest..self.plan.steps.len()).rev() {
            self.check_gradients_of(index)?;
        }
        Ok(())
    }

    /// The same of one step's.
    fn check_gradients_of(&self, index: usize) -> Result<(), NotFinite> {
        let step = self.plan.steps[index];
        for at in step.parameters() {
            let Parameter { spec, values, gradient, .. } = &self.parameters[at];
            if let Some(gradient) = gradient {
                self.check("gradient", spec, gradient)?;
            }
            // What of them is spoilt need not reach a gradient; weights do.
            match spec.role {
                ParameterRole::Bias | ParameterRole::Affine => self.check("value", spec, values)?,
                ParameterRole::Running => self.check("running statistics", spec, values)?,
                ParameterRole::Weight => {}
            }
        }
        if self.plan.is_fused(index) { self.check_fused(index) } else { Ok(()) }
    }

    fn check(&self, what: &str, spec: &ParameterSpec, values: &D::Floats) -> Result<(), NotFinite> {
        let value = self.device.largest(values, spec.len());
        let what = || match spec.role {
            ParameterRole::Weight => format!("{what} of {}.weight", spec.layer),
            ParameterRole::Bias => format!("{what} of {}.bias", spec.layer),
            _ => format!("{what} of {}'s batch normalisation", spec.layer),
        };
        sound(f64::from(value), &spec.layer, what)
    }

    /// The gradient of a linear layer's weights is a sum of products of inputs and output gradients,
    /// one for each image: with the largest of both it has a bound before it is formed.
    fn check_fused(&self, index: usize) -> Result<(), NotFinite> {
        let count = self.share.count;
        let Step::Linear { shape, weights, .. } = self.plan.steps[index] else { return Ok(()) };
        let largest = |place: usize, features: usize| {
            f64::from(self.device.largest(&self.values[place], count * features))
        };
        let places = &self.plan.places;
        let x = largest(places.activations[index], shape.inputs);
        let d_y = largest(places.gradients[index + 1], shape.outputs);
        let layer = &self.parameters[weights].spec.layer;
        sound(x, layer, || format!("input of {layer}"))?;
        sound(count as f64 * x * d_y, layer, || format!("gradient of {layer}.weight"))
    }

    /// Looks at what a part of the walk has left, unless something was found before.
    pub(super) fn inspect(&mut self, part: Part) {
        if self.walk.as_ref().is_some_and(|walk| walk.found.is_none()) {
            let found = self.look_at(part).err();
            self.walk = Some(Walk { found });
        }
    }

    fn look_at(&self, part: Part) -> Result<(), NotFinite> {
        let (places, count) = (&self.plan.places, self.share.count);
        let finite = |place: usize, len: usize, layer: &str, what: &dyn Fn() -> String| {
            let value = self.device.largest(&self.values[place], len);
            let shown = if value.is_finite() { 0.0 } else { f64::from(value) };
            sound(shown, layer, what)
        };
        match part {
            Part::Input => {
                let len = count * self.plan.image_len();
                finite(places.activations[0], len, "input", &|| "input".to_owned())
            }
            Part::Forward(index) => {
                let step = self.plan.steps[index];
                for at in step.parameters() {
                    let Parameter { spec, values, .. } = &self.parameters[at];
                    self.check("value", spec, values)?;
                }
                let len = step.at(count, self.plan.batch).output_len();
                let layer = self.layer(index);
                finite(places.activations[index + 1], len, layer, &|| format!("output of {layer}"))
            }
            Part::Loss => {
                let last = self.plan.steps.len();
                let len = count * self.classes();
                let what = || "gradient of the loss".to_owned();
                finite(places.gradients[last], len, "loss", &what)
            }
            Part::Backward(index) => {
                if index > self.lowest {
                    let step = self.plan.steps[index - 1].at(count, self.plan.batch);
                    let (len, layer) = (step.output_len(), self.layer(index));
                    let what = || format!("gradient of the input of {layer}");
                    finite(places.gradients[index], len, layer, &what)?;
                }
                self.check_gradients_of(index)
            }
            Part::Check | Part::FusedUpdate(_) | Part::Update => Ok(()),
        }
    }

    /// The name of the layer that step `index` computes.
    fn layer(&self, index: usize) -> &str {
        let layer = self.plan.layers.iter().find(|layer| layer.step == Some(index));
        layer.map_or("a layer", |layer| &layer.name)
    }

    /// Running statistics are written in the forward pass, before anything is known.
    fn keep_running(&mut self) {
        for step in &self.plan.steps {
            if let Step::BatchNorm { running, statistics, .. } = *step {
                let Parameter { spec, values, .. } = &self.parameters[running];
                if !spec.frozen {
                    self.device.download(&mut self.running_before[statistics], values);
                }
            }
        }
    }

    fn put_back_running(&mut self) {
        for step in &self.plan.steps {
            if let Step::BatchNorm { running, statistics, .. } = *step {
                let Parameter { spec, values, .. } = &mut self.parameters[running];
                if !spec.frozen {
                    self.device.upload(values, &self.running_before[statistics]);
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
