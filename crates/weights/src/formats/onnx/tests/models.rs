//! Model files to be written: every table, with weights that leave no term of it without effect.

use alexnet_data::{Fit, MeanImage, MeanPart, Preprocess};
use alexnet_network::{
    Initialisation, Model, ModelConfig, ModelName, Network, ParameterRole, Pass, Plan, Purpose,
};
use alexnet_ops::Reference;
use alexnet_ops::conformance::{value, values};

use crate::ModelFile;
use crate::formats::OnnxOptions;
use crate::formats::onnx::write::write;

/// A configuration at its model's own image size, of ten classes.
pub(super) fn config(model: ModelName, width: f32) -> ModelConfig {
    let image_size = model.native_image_size();
    ModelConfig { model, classes: 10, image_size, width, batch_norm: false, dropout: None }
}

/// What the round trips and the runtimes are held to: every model, and `modern` with batch
/// normalisation and at sizes with uneven windows of the average.
pub(super) fn configs(width: f32) -> Vec<ModelConfig> {
    let mut configs: Vec<_> = ModelName::ALL.map(|model| config(model, width)).into();
    let modern = config(ModelName::Modern, width);
    configs.push(ModelConfig { batch_norm: true, ..modern });
    for image_size in [64, 100, 231, 260] {
        configs.push(ModelConfig { image_size, ..modern });
    }
    for (model, image_size) in [(ModelName::Caffe, 200), (ModelName::Original, 201)] {
        configs.push(ModelConfig { image_size, ..config(model, width) });
    }
    configs
}

pub(super) fn plan(config: ModelConfig) -> Plan {
    let model = Model::new(config).expect("a table");
    Plan::new(&model, 1, Purpose::Inference, Initialisation::He).expect("a plan")
}

/// A file of He's weights and of biases, scales and statistics that are all different.
pub(super) fn model_file(config: ModelConfig) -> ModelFile {
    let plan = plan(config);
    let roles = plan.parameters.iter();
    let roles: Vec<_> = roles.flat_map(|spec| spec.tensors.iter().map(|_| spec.role)).collect();
    let mut weights = Network::new(Reference::<f32>::new(), plan, 1).weights();
    for (salt, (array, role)) in weights.iter_mut().zip(roles).enumerate() {
        let (offset, scale) = match role {
            ParameterRole::Weight => continue,
            ParameterRole::Bias => (0.0, 0.5),
            ParameterRole::Affine | ParameterRole::Running => (1.0, 0.5),
        };
        for (index, out) in array.values.iter_mut().enumerate() {
            *out = offset + scale * value(index, salt as u32);
        }
    }
    let crop = config.image_size as u32;
    ModelFile {
        config,
        classes: (0..config.classes).map(|class| format!("class {class}")).collect(),
        preprocess: Preprocess {
            fit: Fit::Warp,
            // An odd margin, of which the two parts of a mean image make different things.
            resize: crop + 15,
            crop,
            mean: [123.7, 116.3, 103.5],
            std: if is_of_levels(config) { [1.0; 3] } else { [58.4, 57.1, 57.4] },
            mean_image: None,
        },
        weights,
    }
}

/// The same, with a mean image of which this part counts.
pub(super) fn with_mean_image(mut file: ModelFile, part: MeanPart) -> ModelFile {
    let side = file.preprocess.resize as usize;
    let levels = values(side * side * 3, 9, 100.0).iter().map(|level| 120.0 + level).collect();
    file.preprocess.mean_image = Some(MeanImage { part, levels });
    file
}

/// Whether the model sees grey levels less their mean, as those of 2012 do: their normalisations
/// are too weak to be seen on smaller numbers.
pub(super) fn is_of_levels(config: ModelConfig) -> bool {
    !config.model.is_single_tower()
}

pub(super) fn written(file: &ModelFile, options: OnnxOptions) -> Vec<u8> {
    let mut bytes = Vec::new();
    write(file, options, &mut bytes).expect("written");
    bytes
}

/// Logits of images (N, H, W, 3) by the reference.
pub(super) fn logits(file: &ModelFile, images: &[f32]) -> Vec<f32> {
    let plan = plan(file.config);
    let image_len = plan.image_len();
    let network = Network::with_weights(Reference::<f32>::new(), plan, &file.weights);
    let mut network = network.expect("its own weights");
    let images = images.chunks(image_len);
    images.flat_map(|image| network.forward(image, Pass::Evaluate).to_vec()).collect()
}
