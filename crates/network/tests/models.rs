//! The tables make the published networks.

use alexnet_network::{Initialisation, Model, ModelConfig, ModelError, ModelName, Plan, Purpose};

fn config(model: ModelName) -> ModelConfig {
    let image_size = model.native_image_size();
    ModelConfig { model, classes: 1000, image_size, width: 1.0, batch_norm: false, dropout: None }
}

fn plan(config: ModelConfig) -> Result<Plan, ModelError> {
    Plan::new(&Model::new(config)?, 1, Purpose::Inference, Initialisation::Model)
}

#[test]
fn parameters_and_multiply_adds_are_the_published_ones() {
    use ModelName::{Caffe, Caffenet, Modern, Original, Paper, Torchvision};
    let towers = (60_965_224, 724_406_816);
    let cases = [
        (Original, false, towers),
        (Paper, false, towers),
        (Caffe, false, towers),
        (Caffenet, false, towers),
        (Modern, false, (62_378_344, 1_135_256_096)),
        (Modern, true, (62_381_096, 1_135_256_096)),
        (Torchvision, false, (61_100_840, 714_188_480)),
    ];
    for (model, batch_norm, expected) in cases {
        let plan = plan(ModelConfig { batch_norm, ..config(model) }).expect("a plan");
        assert_eq!((plan.parameter_count(), plan.macs()), expected, "{model}, {batch_norm}");
    }
}

#[test]
fn every_model_passes_through_the_paper_s_sizes() {
    for model in ModelName::ALL {
        let plan = plan(config(model)).expect("a plan");
        let size =
            |name: &str| plan.layers.iter().find(|layer| layer.name == name).expect(name).output;
        let sides = ["conv1", "pool1", "conv2", "pool2", "conv3", "conv4", "conv5", "pool3"]
            .map(|name| size(name)[0]);
        assert_eq!(sides, [55, 27, 27, 13, 13, 13, 13, 6], "{model}");
        assert_eq!([size("fc6"), size("fc7"), size("fc8")].map(|s| s[2]), [4096, 4096, 1000]);
    }
}

#[test]
fn single_towers_take_any_image_from_63_pixels() {
    for model in [ModelName::Modern, ModelName::Torchvision] {
        for image_size in [63, 64, 97, 128, 300] {
            let plan = plan(ModelConfig { image_size, ..config(model) }).expect("a plan");
            let last = plan.layers.last().expect("layers").output;
            assert_eq!(last, [1, 1, 1000], "{model} at {image_size}");
        }
        let too_small = plan(ModelConfig { image_size: 62, ..config(model) });
        assert!(matches!(too_small, Err(ModelError::TooSmall { .. })), "{model}: {too_small:?}");
    }
}

#[test]
fn tensors_carry_the_names_other_tools_know() {
    let names = |config| -> Vec<String> {
        let plan = plan(config).expect("a plan");
        plan.parameters.into_iter().flat_map(|p| p.tensors).map(|t| t.name).collect()
    };
    let torchvision: Vec<String> = [0, 3, 6, 8, 10]
        .map(|n| format!("features.{n}"))
        .into_iter()
        .chain([1, 4, 6].map(|n| format!("classifier.{n}")))
        .flat_map(|layer| [format!("{layer}.weight"), format!("{layer}.bias")])
        .collect();
    assert_eq!(names(config(ModelName::Torchvision)), torchvision);
    assert_eq!(names(config(ModelName::Modern)), torchvision);
    let normed = names(ModelConfig { batch_norm: true, ..config(ModelName::Modern) });
    assert_eq!(
        normed[2..6],
        [
            "features.1.weight",
            "features.1.bias",
            "features.1.running_mean",
            "features.1.running_var"
        ]
    );
    let caffe = names(config(ModelName::Caffe));
    assert_eq!(caffe[..2], ["conv1.weight", "conv1.bias"]);
    assert_eq!(caffe[14..], ["fc8.weight", "fc8.bias"]);
}

#[test]
fn configurations_that_make_no_network_are_refused_with_the_reason() {
    let base = config(ModelName::Modern);
    let cases = [
        (ModelConfig { classes: 0, ..base }, "classes"),
        (ModelConfig { width: f32::NAN, ..base }, "width"),
        (ModelConfig { width: 0.0, ..base }, "width"),
        (ModelConfig { dropout: Some(1.0), ..base }, "dropout"),
        (ModelConfig { image_size: 5000, ..base }, "image size"),
        (ModelConfig { batch_norm: true, ..config(ModelName::Paper) }, "batch normalisation"),
        (ModelConfig { image_size: 9, ..config(ModelName::Caffe) }, "too small"),
    ];
    for (config, reason) in cases {
        let message = plan(config).expect_err(reason).to_string();
        assert!(message.contains(reason), "{message}");
    }
}
