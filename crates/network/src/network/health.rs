//! Nothing is updated before everything is known to be finite; what is not is found and named.
//!
//! A value that is not finite makes all that is computed from it NaN, for no operation lets one
//! pass for a number: so it reaches losses or gradients, unless dropout or a ReLU's gradient leaves
//! it out, and then nothing depends on it. Looking at losses, gradients, biases and running
//! statistics is enough. To say where it began, the step is computed once more, and looked at part by part.

use alexnet_ops::{Bound, Device};

use super::{Network, Parameter, Part, Share, StepBatch};
use crate::plan::{ParameterRole, ParameterSpec, Plan, Step};

/// Gradients up to here are sound. A velocity gathers `1 / (1 − momentum)` of them at most, and the
/// rest of the range of `f32` is room for that.
const LARGEST: f32 = 1e30;

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

impl Look {
    /// How large its magnitude may be, with so many images.
    fn bound(self, count: usize) -> Bound {
        match self {
            Self::Logits { .. } | Self::Losses => Bound { largest: f32::MAX, paired: false },
            // The gradient of a linear layer's weights is a sum of products of inputs and output
            // gradients, one for each image: with the largest of both it has a bound before it is
            // formed.
            Self::OutputGradient { .. } => Bound { largest: LARGEST / count as f32, paired: true },
            _ => Bound { largest: LARGEST, paired: false },
        }
    }
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
    /// Forward, loss and backward, and whether everything that comes of them is sound, if the device
    /// says so already.
    pub(super) fn form_and_judge(&mut self, batch: &StepBatch<'_>) {
        self.formed = self.form_gradients(batch);
        if self.formed.is_err() {
            return;
        }
        let looks = std::mem::take(&mut self.looks);
        self.look(&looks);
        self.bounds.clear();
        self.bounds.extend(looks.iter().map(|look| look.bound(self.share.count)));
        self.looks = looks;
        self.sound = self.device.begin_updates(&self.found, &self.bounds, &mut self.host_found);
        // They come with the verdict, so that the host waits once.
        let images = self.share.count;
        self.coming = [&self.losses, &self.ranks].map(|of| self.device.begin_download(of, images));
    }

    /// Whether everything was sound; what was not is found by another pass.
    pub(super) fn check_step(&mut self, batch: &StepBatch<'_>) -> Result<(), NotFinite> {
        let formed = std::mem::replace(&mut self.formed, Ok(()));
        if formed.is_ok() && self.sound.unwrap_or_else(|| self.device.judged()) {
            return Ok(());
        }
        let seen = formed.and_then(|()| self.judge_all());
        self.put_back_running();
        self.walk = Some(Walk::default());
        let again = self.form_gradients(batch).and_then(|()| {
            self.look_at_all();
            self.judge_all()
        });
        let found = self.walk.take().and_then(|walk| walk.found);
        self.put_back_running();
        let once = |seen| NotFinite { repeats: false, ..seen };
        Err(found.or(again.err()).or(seen.err().map(once)).unwrap_or_else(unsound))
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

    /// Has the device look at everything that must be sound.
    fn look_at_all(&mut self) {
        let looks = std::mem::take(&mut self.looks);
        self.look(&looks);
        self.looks = looks;
    }

    /// Whether all of that is, on the host, which says what is not.
    fn judge_all(&mut self) -> Result<(), NotFinite> {
        let looks = std::mem::take(&mut self.looks);
        let judged = self.judge_each(&looks);
        self.looks = looks;
        judged
    }

    /// Has the device find the largest magnitude of each look.
    fn look(&mut self, looks: &[Look]) {
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
    }

    /// Whether the magnitudes found by these looks are sound.
    fn judge_each(&mut self, looks: &[Look]) -> Result<(), NotFinite> {
        let mut found = std::mem::take(&mut self.host_found);
        self.device.download(&mut found[..looks.len()], &self.found);
        let judged = looks.iter().enumerate().try_for_each(|(at, &look)| {
            let before = at.checked_sub(1).map_or(0.0, |before| found[before]);
            self.judge(look, found[at], before)
        });
        self.host_found = found;
        judged
    }

    /// Whether a look's largest magnitude is sound; that of the look before is at hand.
    fn judge(&mut self, look: Look, largest: f32, before: f32) -> Result<(), NotFinite> {
        if look.bound(self.share.count).holds(before, largest) {
            return Ok(());
        }
        let of = |at: usize| &self.parameters[at].spec;
        Err(match look {
            Look::Logits { .. } | Look::Losses => {
                self.check_losses(self.share)?;
                // What the device saw and the host does not is no sound step either.
                unsound()
            }
            Look::Gradient(at) => found_in("gradient", of(at), largest),
            // What of them is spoilt need not reach a gradient; weights do.
            Look::Value(at) => match of(at).role {
                ParameterRole::Running => found_in("running statistics", of(at), largest),
                _ => found_in("value", of(at), largest),
            },
            Look::Input { weights, .. } => {
                let layer = &of(weights).layer;
                not_finite(layer, format!("input of {layer}"), largest)
            }
            Look::OutputGradient { weights, .. } => {
                let (layer, count) = (&of(weights).layer, self.share.count as f32);
                let bound = count * before * largest;
                not_finite(layer, format!("gradient of {layer}.weight"), bound)
            }
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
                    self.look_and_judge(&[Look::Value(at)])?;
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
                self.look_and_judge(&looks_of(&self.plan, index))
            }
            Part::Check | Part::FusedUpdate(_) | Part::Update => Ok(()),
        }
    }

    fn look_and_judge(&mut self, looks: &[Look]) -> Result<(), NotFinite> {
        self.look(looks);
        self.judge_each(looks)
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
        if found[0].is_finite() { Ok(()) } else { Err(not_finite(layer, what, found[0])) }
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

/// What was found.
fn not_finite(layer: &str, what: String, value: f32) -> NotFinite {
    NotFinite { layer: layer.to_owned(), what, value, repeats: true }
}

/// The same in an array of a layer's.
fn found_in(what: &str, spec: &ParameterSpec, value: f32) -> NotFinite {
    let what = match spec.role {
        ParameterRole::Weight => format!("{what} of {}.weight", spec.layer),
        ParameterRole::Bias => format!("{what} of {}.bias", spec.layer),
        _ => format!("{what} of {}'s batch normalisation", spec.layer),
    };
    not_finite(&spec.layer, what, value)
}

/// The device has judged so, and nothing is found.
fn unsound() -> NotFinite {
    NotFinite { repeats: false, ..not_finite("loss", "losses of the batch".to_owned(), f32::NAN) }
}
