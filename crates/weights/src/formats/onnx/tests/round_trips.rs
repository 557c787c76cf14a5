//! What goes out comes back: by the entry this program writes, and by the graph alone.

use alexnet_data::MeanPart;
use alexnet_network::{Array, Conv, Fill, Layer, Linear, Model, ModelConfig, ModelName};

use super::models::{config, configs, model_file, plan, with_mean_image, written};
use crate::formats::OnnxOptions;
use crate::formats::found::Found;
use crate::formats::onnx::read;
use crate::formats::onnx::schema::model;
use crate::protobuf::{Fault, Slice};

fn found(bytes: &[u8]) -> Result<Found, Fault> {
    read(Slice::of_file(bytes))
}

/// The file without its metadata, which stands last.
pub(super) fn anonymous(mut bytes: Vec<u8>) -> Vec<u8> {
    let fields = Slice::of_file(&bytes).fields().map(Result::unwrap);
    let last = fields.last().expect("fields");
    assert_eq!(last.number, model::METADATA_PROPS);
    bytes.truncate(last.offset as usize);
    bytes
}

/// A model's rows as a reader finds them: without initial values.
fn plain_rows(config: ModelConfig) -> Vec<Layer> {
    let (weights, bias) = (Fill::Constant(0.0), Fill::Constant(0.0));
    let mut rows = Model::new(config).expect("a table").rows;
    for row in &mut rows {
        match row {
            Layer::Conv(conv) => *conv = Conv { weights, bias, ..*conv },
            Layer::Linear(linear) => *linear = Linear { weights, bias, ..*linear },
            _ => {}
        }
    }
    rows
}

/// A row with the expected alpha, where its own is that but for what a window's size rounds away.
fn to_rounding(found: Layer, expected: Layer) -> Layer {
    match (found, expected) {
        (Layer::Lrn(region, size, alpha, beta, k), Layer::Lrn(_, _, wanted, _, _))
            if (alpha - wanted).abs() <= f32::EPSILON * wanted =>
        {
            Layer::Lrn(region, size, wanted, beta, k)
        }
        _ => found,
    }
}

/// The file's arrays under the names of their layers.
fn by_layer(config: ModelConfig, mut arrays: Vec<Array>) -> Vec<Array> {
    let plan = plan(config);
    let tensors = plan.parameters.iter().flat_map(|parameter| {
        parameter.tensors.iter().map(|tensor| (&parameter.layer, parameter.role, &tensor.name))
    });
    for (array, (layer, role, name)) in arrays.iter_mut().zip(tensors) {
        let suffix = name.rsplit('.').next().expect("a suffix");
        let layer = match role {
            alexnet_network::ParameterRole::Weight | alexnet_network::ParameterRole::Bias => {
                layer.clone()
            }
            _ => layer.replace("conv", "bn"),
        };
        array.name = format!("{layer}.{suffix}");
    }
    arrays
}

const OPTIONS: [OnnxOptions; 2] = [
    OnnxOptions { preprocess: false, softmax: false },
    OnnxOptions { preprocess: true, softmax: true },
];

#[test]
fn every_model_comes_back_by_its_own_entry() {
    for config in configs(0.1) {
        let file = model_file(config);
        for options in OPTIONS {
            let found = found(&written(&file, options)).expect("read");
            let description = found.description.expect("an entry");
            assert_eq!(description.model, config);
            assert_eq!(description.classes, file.classes);
            assert_eq!(description.preprocess, file.preprocess);
            assert_eq!(found.image_size, Some(config.image_size));
            assert_eq!(found.arrays, file.weights, "{config:?}");
        }
    }
}

#[test]
fn every_model_comes_back_by_its_graph_alone() {
    for config in configs(0.1) {
        let file = model_file(config);
        for options in OPTIONS {
            let found = found(&anonymous(written(&file, options))).expect("read");
            assert_eq!(found.description, None);
            assert_eq!(found.image_size, Some(config.image_size));
            let rows = found.rows.expect("a graph");
            for (index, (found, row)) in rows.iter().zip(plain_rows(config)).enumerate() {
                assert_eq!(to_rounding(*found, row), row, "row {index} of {config:?}");
            }
            assert_eq!(rows.len(), plain_rows(config).len());
            assert_eq!(found.arrays, by_layer(config, file.weights.clone()), "{config:?}");
        }
    }
}

#[test]
fn a_dropout_of_another_share_comes_back() {
    for (model, rate) in [(ModelName::Paper, 0.25), (ModelName::Modern, 0.3)] {
        let config = ModelConfig { dropout: Some(rate), ..config(model, 0.05) };
        let bytes = anonymous(written(&model_file(config), OnnxOptions::default()));
        assert_eq!(found(&bytes).expect("read").rows, Some(plain_rows(config)));
    }
}

#[test]
fn a_mean_image_comes_back_and_is_passed_over() {
    let file = with_mean_image(model_file(config(ModelName::Caffe, 0.05)), MeanPart::Crop);
    let bytes = written(&file, OnnxOptions { preprocess: true, softmax: false });
    let description = found(&bytes).expect("read").description.expect("an entry");
    assert_eq!(description.preprocess, file.preprocess);
    let rows = found(&anonymous(bytes)).expect("read").rows;
    assert_eq!(rows, Some(plain_rows(file.config)));
}

#[test]
fn the_same_model_makes_the_same_bytes() {
    let file = model_file(config(ModelName::Original, 0.05));
    assert_eq!(written(&file, OPTIONS[1]), written(&file, OPTIONS[1]));
}

#[test]
fn arrays_of_another_network_are_not_written() {
    let mut file = model_file(config(ModelName::Modern, 0.05));
    let mut refused = |reason: &str, change: &dyn Fn(&mut Vec<Array>)| {
        change(&mut file.weights);
        let result = crate::formats::onnx::write(&file, OPTIONS[0], &mut std::io::sink());
        let error = result.expect_err("refused");
        assert!(error.to_string().contains(reason), "{error}");
    };
    refused("features.0.weight has shape [8, 3, 121, 1]", &|arrays| {
        arrays[0].shape = vec![8, 3, 121, 1];
    });
    refused("features.0.weight is missing", &|arrays| drop(arrays.remove(0)));
}
