//! The plan: every shape, size and parameter of a network at one batch size, computed once from its
//! table.

mod parameters;
mod planner;
mod purpose;
mod step;

pub use self::parameters::{ParameterRole, ParameterSpec, TensorSpec};
use self::planner::Planner;
pub use self::purpose::Purpose;
pub(crate) use self::step::Step;
use crate::initial::Initialisation;
use crate::models::{Model, ModelError, in_range};
use crate::places::Places;

/// Largest batch: the largest anyone has trained this network with (GradientFlow, 2019).
pub const BATCH_MAX: usize = 65_536;

/// How a network's steps run, and on what.
#[derive(Clone, Debug, PartialEq)]
pub struct Plan {
    /// The configured table.
    pub model: Model,
    /// Images at most in one pass.
    pub batch: usize,
    /// What for.
    pub purpose: Purpose,
    /// The table's rows with their sizes.
    pub layers: Vec<LayerSummary>,
    /// Everything that is learned, and running statistics, in the order of the layers.
    pub parameters: Vec<ParameterSpec>,
    /// What runs, first to last. A ReLU right after its sums is part of their step.
    pub(crate) steps: Vec<Step>,
    /// Where their outputs are kept, and the gradients of these.
    pub(crate) places: Places,
}

/// A table's row with what follows from the rows above.
#[derive(Clone, Debug, PartialEq)]
pub struct LayerSummary {
    /// `conv1`, `relu1`, `fc6`…: learned layers are numbered together, the others by kind.
    pub name: String,
    /// The kind of layer.
    pub kind: &'static str,
    /// Output of one image: height, width, channels.
    pub output: [usize; 3],
    /// Learned values, without running statistics.
    pub parameters: usize,
    /// Multiply-adds of one image's forward pass, in convolutions and linear layers.
    pub macs: usize,
    /// Place of the step that computes it: a ReLU right after sums has theirs, and a layer that
    /// changes nothing has none.
    pub step: Option<usize>,
}

impl Plan {
    /// Plans `model` for up to `batch` images at a time.
    ///
    /// # Errors
    /// When the image is too small for the table, or `batch` is not from 1 to [`BATCH_MAX`].
    pub fn new(
        model: &Model,
        batch: usize,
        purpose: Purpose,
        initialisation: Initialisation,
    ) -> Result<Self, ModelError> {
        in_range("the batch size", batch, 1, BATCH_MAX)?;
        let mut planner = Planner::new(model, batch, initialisation);
        for (index, row) in model.rows.iter().enumerate() {
            planner.add(index, row)?;
        }
        let mut plan = Self {
            model: model.clone(),
            batch,
            purpose,
            places: Places::default(),
            layers: planner.layers,
            parameters: planner.parameters,
            steps: planner.steps,
        };
        plan.places = Places::new(&plan.steps, plan.batch * plan.image_len(), plan.back());
        Ok(plan)
    }

    /// Learned values.
    pub fn parameter_count(&self) -> usize {
        self.layers.iter().map(|layer| layer.parameters).sum()
    }

    /// Multiply-adds of one image's forward pass.
    pub fn macs(&self) -> usize {
        self.layers.iter().map(|layer| layer.macs).sum()
    }

    /// Values of one input image (H, W, 3).
    pub fn image_len(&self) -> usize {
        self.model.config.image_size.pow(2) * IMAGE_CHANNELS
    }
}

/// Channels of an input image.
const IMAGE_CHANNELS: usize = 3;
