//! Images that the device brings beside what it computes, or keeps.

use std::ops::Range;

use alexnet_ops::{ConvShape, Device, Images};

use super::{Network, Pass};
use crate::plan::Step;

/// Levels that the device was asked to bring: its number for them, where they were in memory, and for
/// how long that says anything.
pub(super) struct Brought {
    number: u64,
    at: Range<usize>,
    stay: Stay,
}

/// How long images that were brought are those of passes over the same memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stay {
    OneStep,
    OneEvaluation,
    UntilOthersCome,
}

impl Stay {
    /// Whether a pass is among those that they are meant for.
    fn is_for(self, pass: Pass) -> bool {
        match self {
            Self::OneStep => pass != Pass::Evaluate,
            Self::OneEvaluation => pass == Pass::Evaluate,
            Self::UntilOthersCome => true,
        }
    }
}

impl<D: Device> Network<D> {
    /// Has the device bring the images of the next step of training beside what it computes, where it
    /// can. They must not change until then; a pass over others brings those.
    pub fn bring<'i>(&mut self, images: impl Into<Images<'i>>) {
        self.bring_for(images.into(), Stay::OneStep);
    }

    /// The same of the next pass of evaluation.
    pub fn bring_to_evaluate<'i>(&mut self, images: impl Into<Images<'i>>) {
        self.bring_for(images.into(), Stay::OneEvaluation);
    }

    /// Has the device keep images for every pass over them, where it can, until others come. They must
    /// not change as long.
    pub fn keep<'i>(&mut self, images: impl Into<Images<'i>>) {
        self.bring_for(images.into(), Stay::UntilOthersCome);
    }

    fn bring_for(&mut self, images: Images<'_>, stay: Stay) {
        // What is taken in parts is brought in parts.
        let whole = images.count(self.plan.image_len()) <= self.plan.batch;
        if let (true, Images::Levels(levels)) = (whole, images) {
            let number = self.device.bring_levels(levels);
            self.brought = Some(Brought { number, at: addresses(levels.slots), stay });
        }
    }

    /// Whatever was brought or kept is no longer that of any pass.
    pub fn forget_brought(&mut self) {
        self.brought = None;
    }

    /// Images to a place: from the host, unless they were brought for this pass.
    pub(super) fn upload(&mut self, images: Images<'_>, place: usize, pass: Pass) {
        let reader = self.reader(images.count(self.plan.image_len()));
        let place = &mut self.values[place];
        let Images::Levels(levels) = images else {
            return images.upload(&self.device, place);
        };
        let meant = self
            .brought
            .take()
            .filter(|brought| brought.at == addresses(levels.slots) && brought.stay.is_for(pass));
        let Some(brought) = meant else {
            return self.device.upload_levels(place, levels, reader.as_ref());
        };
        self.device.upload_brought(place, brought.number, levels, reader.as_ref());
        if brought.stay == Stay::UntilOthersCome {
            self.brought = Some(brought);
        }
    }

    /// The convolution that is all that reads so many images; nothing where it is not, or somebody looks at
    /// them.
    fn reader(&self, images: usize) -> Option<ConvShape> {
        match self.plan.steps.first()?.at(images, self.plan.batch) {
            Step::Conv { shape, .. } if !self.is_watched() => Some(shape),
            _ => None,
        }
    }
}

/// Where levels are in the host's memory.
fn addresses(levels: &[u8]) -> Range<usize> {
    let first = levels.as_ptr().addr();
    first..first + levels.len()
}
