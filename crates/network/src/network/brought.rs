//! Images that the device brings beside what it computes, or keeps.

use std::ops::Range;

use alexnet_ops::{Device, Images};

use super::{Network, Pass};

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
        let place = &mut self.values[place];
        let Images::Levels(levels) = images else {
            return images.upload(&self.device, place);
        };
        let meant = self
            .brought
            .take()
            .filter(|brought| brought.at == addresses(levels.slots) && brought.stay.is_for(pass));
        let Some(brought) = meant else {
            return self.device.upload_levels(place, levels);
        };
        self.device.upload_brought(place, brought.number, levels);
        if brought.stay == Stay::UntilOthersCome {
            self.brought = Some(brought);
        }
    }
}

/// Where levels are in the host's memory.
fn addresses(levels: &[u8]) -> Range<usize> {
    let first = levels.as_ptr().addr();
    first..first + levels.len()
}
