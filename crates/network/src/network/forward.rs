//! A pass forward: from images to logits.

use alexnet_ops::{Device, Images};

use super::{Network, Part, Pass, Repeated, Share};
use crate::places::is_joined;
use crate::plan::Purpose;

impl<D: Device> Network<D> {
    /// Logits (N, classes) of `images` (N, H, W, 3), N up to the plan's batch; any N with
    /// [`Purpose::Accumulate`].
    pub fn forward<'i>(&mut self, images: impl Into<Images<'i>>, pass: Pass) -> &[f32] {
        self.begin_forward(images, pass);
        self.logits()
    }

    /// Asks the device for a forward pass. [`Self::logits`] tells what came of it: where a device
    /// computes by itself, the host has time for other things between.
    pub fn begin_forward<'i>(&mut self, images: impl Into<Images<'i>>, pass: Pass) {
        let images = images.into();
        let of = images.count(self.plan.image_len());
        self.share = Share { first: 0, count: 0, of };
        for share in self.shares(of) {
            // What the part before has left is about to be written over.
            self.download_logits(self.share);
            self.share = share;
            self.forward_share(images, pass, share);
        }
    }

    /// Logits (N, classes) of the last pass forward, that of a step of training among them.
    pub fn logits(&mut self) -> &[f32] {
        self.download_logits(self.share);
        &self.host_logits[..self.share.of * self.classes()]
    }

    /// The parts in which a batch of `of` images is taken, and room for what they give.
    pub(super) fn shares(&mut self, of: usize) -> impl Iterator<Item = Share> + use<D> {
        let batch = self.plan.batch;
        assert!(of <= batch || self.plan.purpose == Purpose::Accumulate, "{TOO_MANY}");
        if of > self.host_losses.len() {
            self.host_losses.resize(of, 0.0);
            self.host_ranks.resize(of, 0.0);
            self.host_logits.resize(of * self.classes(), 0.0);
        }
        (0..of).step_by(batch).map(move |first| Share { first, count: batch.min(of - first), of })
    }

    /// The list of steps, from a part of the images to its logits.
    fn forward_share(&mut self, images: Images<'_>, pass: Pass, share: Share) {
        self.enter(images, pass, share);
        let by_levels = matches!(images, Images::Levels(_));
        let repeated = Repeated { count: share.count, seed: None, by_levels };
        let repeated = Some(repeated).filter(|_| pass == Pass::Evaluate);
        self.repeat(repeated, 0, |network| network.forward_steps(pass, share));
    }

    /// The images of a part, to where the first step reads them.
    pub(super) fn enter(&mut self, images: Images<'_>, pass: Pass, share: Share) {
        let Share { first, count, .. } = share;
        let place = self.plan.places.activations[0];
        let images = images.part(first..first + count, self.plan.image_len());
        self.upload(images, place, pass);
        self.tell(Part::Input);
    }

    /// Has the device do operations, which it may remember from an earlier time where they are repeated
    /// and nobody wants to know of their parts.
    pub(super) fn repeat(
        &mut self,
        repeated: Option<Repeated>,
        step: u64,
        mut operations: impl FnMut(&mut Self),
    ) {
        let Some(repeated) = repeated.filter(|_| !self.is_watched()) else {
            return operations(self);
        };
        let mut recording = self.recordings.remove(&repeated).unwrap_or_default();
        while self.device.begin_repeat(&mut recording, step) {
            operations(self);
            if self.device.end_repeat(&mut recording) {
                break;
            }
        }
        self.recordings.insert(repeated, recording);
    }

    /// Whether somebody sees parts one by one.
    pub(super) fn is_watched(&self) -> bool {
        self.watcher.is_some() || self.walk.is_some()
    }

    /// The steps, from the images on the device.
    pub(super) fn forward_steps(&mut self, pass: Pass, share: Share) {
        let mut from = self.plan.places.activations[0];
        let mut index = 0;
        while index < self.plan.steps.len() {
            if self.plan.steps[index].is_identity(pass) {
                index += 1;
                continue;
            }
            let next = self.plan.steps.get(index + 1).filter(|next| !next.is_identity(pass));
            let joined = next.is_some() && is_joined(&self.plan.steps, index) && !self.is_watched();
            let last = index + usize::from(joined);
            let to = self.plan.places.activations[last + 1];
            if joined {
                self.forward_joined(index, from, pass, share);
            } else {
                self.forward_step(index, from, to, pass, share);
                self.tell(Part::Forward(index));
            }
            (from, index) = (to, last + 1);
        }
    }

    /// Logits of a part, once it went forward.
    pub(super) fn download_logits(&mut self, share: Share) {
        let Share { first, count, .. } = share;
        let (classes, last) = (self.classes(), self.plan.places.activations[self.plan.steps.len()]);
        let logits = &mut self.host_logits[first * classes..(first + count) * classes];
        self.device.download(logits, &self.values[last]);
    }

    /// Losses and ranks of a part beside its logits.
    pub(super) fn download_outputs(&mut self, share: Share) {
        self.download_logits(share);
        let images = share.first..share.first + share.count;
        self.device.download(&mut self.host_losses[images.clone()], &self.losses);
        self.device.download(&mut self.host_ranks[images], &self.ranks);
    }
}

const TOO_MANY: &str = "only a plan that accumulates takes more images than its batch";
