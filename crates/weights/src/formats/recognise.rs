//! Which of the six networks a file holds, by the names and shapes of its tensors and, where there is
//! one, by its graph.

use std::collections::BTreeMap;

use alexnet_network::{
    Array, Conv, DropoutForm, Fill, Initialisation, Layer, Linear, LoadError, Model, ModelConfig,
    ModelError, ModelName, Plan, Purpose, TensorSpec, Units,
};
use alexnet_ops::Rounding;

use super::found::Found;
use super::names::by_layer;

/// Units of fc6 at width 1: the width follows from those a file has.
const HIDDEN_UNITS: f32 = 4096.0;

/// Why no network was recognised.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum RecogniseError {
    /// The arrays are those of several.
    #[error("its tensors fit {0}: say which it is with `alexnet convert IN OUT --model NAME`")]
    Several(String),
    /// The arrays are of no network, and this is what the nearest says.
    #[error("it is not {model}, which is nearest: {reason}")]
    Arrays {
        /// The nearest network.
        model: ModelName,
        /// What does not fit.
        reason: LoadError,
    },
    /// The arrays fit but the layers between them do not.
    #[error(
        "its tensors fit {model}, but its graph is another network's: {difference}; \
         `alexnet convert IN OUT --model {model}` takes it all the same"
    )]
    Graph {
        /// The network whose tensors fit.
        model: ModelName,
        /// The first layer that differs.
        difference: String,
    },
    /// The network asked for cannot be made.
    #[error("{0}")]
    Config(ModelError),
}

/// What a user says of a file that does not say it itself.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Hints {
    pub(crate) model: Option<ModelName>,
    pub(crate) image_size: Option<usize>,
}

/// The configuration of the network a file holds, and its arrays by that network's names.
///
/// # Errors
/// When no network, or more than one, has these arrays.
pub(crate) fn recognise(
    found: Found,
    hints: Hints,
) -> Result<(ModelConfig, Vec<Array>), RecogniseError> {
    if let Some(description) = &found.description {
        let config = description.model;
        let arrays = named(found.arrays, &plan(config).map_err(RecogniseError::Config)?);
        let arrays =
            arrays.map_err(|reason| RecogniseError::Arrays { model: config.model, reason })?;
        return Ok((config, arrays));
    }
    let mut fitting = Vec::new();
    let mut nearest: Option<(usize, RecogniseError)> = None;
    for config in candidates(&found, hints) {
        let plan = match plan(config) {
            Ok(plan) => plan,
            Err(error) => {
                nearest.get_or_insert((usize::MAX, RecogniseError::Config(error)));
                continue;
            }
        };
        match compare(&found.arrays, &plan) {
            (0, _) if fitting.iter().any(|of: &Plan| of.model.config.model == config.model) => {}
            (0, _) => fitting.push(plan),
            (differences, Some(reason)) => {
                let error = RecogniseError::Arrays { model: config.model, reason };
                if nearest.as_ref().is_none_or(|(least, _)| differences < *least) {
                    nearest = Some((differences, error));
                }
            }
            (_, None) => {}
        }
    }
    let plan = match (fitting.len(), nearest) {
        (0, Some((_, error))) => return Err(error),
        (1, _) if found.rows.is_none() => fitting.remove(0),
        _ => by_graph(fitting, &found, hints)?,
    };
    let config = plan.model.config;
    let arrays = named(found.arrays, &plan)
        .map_err(|reason| RecogniseError::Arrays { model: config.model, reason })?;
    Ok((config, arrays))
}

/// The plan that is compared with.
fn plan(config: ModelConfig) -> Result<Plan, ModelError> {
    Plan::new(&Model::new(config)?, 1, Purpose::Inference, Initialisation::Model)
}

/// Every network that the file may hold, at the width and with the classes its arrays have.
fn candidates(found: &Found, hints: Hints) -> Vec<ModelConfig> {
    let rows_of = |names: [&str; 2]| {
        let array = found.arrays.iter().find(|array| names.contains(&&*array.name))?;
        array.shape.first().copied()
    };
    let classes = rows_of(["fc8.weight", "classifier.6.weight"]).unwrap_or(1);
    let hidden = rows_of(["fc6.weight", "classifier.1.weight"]).unwrap_or(HIDDEN_UNITS as usize);
    let exact = hidden as f32 / HIDDEN_UNITS;
    // Widths are typed with few digits: 0.1 has 408 units, and 408 / 4096 is not 0.1.
    let typed = (exact * 100.0).round() / 100.0;
    let batch_norm = found.arrays.iter().any(|array| array.name.ends_with(".running_mean"));
    let models = ModelName::ALL.into_iter();
    let models = models.filter(|&model| hints.model.is_none_or(|hint| hint == model));
    let of = |model: ModelName, width| {
        let given = hints.image_size.or(found.image_size);
        let image_size = given.unwrap_or_else(|| model.native_image_size());
        ModelConfig { model, classes, image_size, width, batch_norm, dropout: None }
    };
    [typed, exact]
        .into_iter()
        .flat_map(|width| models.clone().map(move |model| of(model, width)))
        .collect()
}

/// The plan's tensors by every name a file may call them.
fn tensors_by_name(plan: &Plan) -> BTreeMap<String, &TensorSpec> {
    let pairs = plan.parameters.iter().flat_map(|of| of.tensors.iter().map(move |t| (of, t)));
    pairs.flat_map(|(of, t)| [(t.name.clone(), t), (by_layer(of, t), t)]).collect()
}

/// How many tensors are missing, left over or of another shape, and the first of them.
fn compare(arrays: &[Array], plan: &Plan) -> (usize, Option<LoadError>) {
    let known = tensors_by_name(plan);
    let mut missing: BTreeMap<&str, &TensorSpec> =
        known.values().map(|tensor| (&*tensor.name, *tensor)).collect();
    let mut differences = Vec::new();
    for Array { name, shape, .. } in arrays {
        let taken = known.get(name).and_then(|tensor| missing.remove(&*tensor.name));
        match taken {
            None => differences.push(LoadError::Unknown(name.clone())),
            Some(tensor) if tensor.shape != *shape => differences.push(LoadError::Shape {
                name: name.clone(),
                found: shape.clone(),
                expected: tensor.shape.clone(),
            }),
            Some(_) => {}
        }
    }
    differences.extend(missing.into_values().map(|tensor| LoadError::Missing {
        name: tensor.name.clone(),
        shape: tensor.shape.clone(),
    }));
    (differences.len(), differences.into_iter().next())
}

/// The arrays by the plan's names, in the plan's order.
fn named(mut arrays: Vec<Array>, plan: &Plan) -> Result<Vec<Array>, LoadError> {
    if let (_, Some(difference)) = compare(&arrays, plan) {
        return Err(difference);
    }
    let known = tensors_by_name(plan);
    arrays.iter_mut().for_each(|array| array.name.clone_from(&known[&array.name].name));
    let order: BTreeMap<&str, usize> = plan
        .parameters
        .iter()
        .flat_map(|of| &of.tensors)
        .enumerate()
        .map(|(place, tensor)| (&*tensor.name, place))
        .collect();
    arrays.sort_by_key(|array| order[&*array.name]);
    Ok(arrays)
}

/// Of networks with the same tensors, the one whose table is the file's graph.
fn by_graph(fitting: Vec<Plan>, found: &Found, hints: Hints) -> Result<Plan, RecogniseError> {
    let first = fitting[0].model.config.model;
    let Some(rows) = &found.rows else {
        let all: Vec<_> = fitting.iter().map(|plan| plan.model.config.model.as_str()).collect();
        return Err(RecogniseError::Several(all.join(", ")));
    };
    let graph = comparable(rows);
    let mut difference = String::new();
    for plan in fitting {
        let table = comparable(&plan.model.rows);
        match graph.iter().zip(&table).position(|(a, b)| !same(a, b)) {
            None if graph.len() == table.len() => return Ok(plan),
            _ if hints.model.is_some() => return Ok(plan),
            None => difference = format!("it has {} layers, not {}", graph.len(), table.len()),
            Some(at) => {
                difference = format!("layer {} is {:?}, not {:?}", at + 1, graph[at], table[at]);
            }
        }
    }
    Err(RecogniseError::Graph { model: first, difference })
}

/// A table without what a graph does not tell or tells in another way: initial values, inverted
/// dropout, an average over nothing, how windows end that divide their input.
fn comparable(rows: &[Layer]) -> Vec<Layer> {
    const NO_FILL: Fill = Fill::Constant(0.0);
    // Classic dropout is told: it multiplies in evaluation too.
    let untold = |row: &&Layer| {
        matches!(row, Layer::Dropout(_, DropoutForm::Inverted) | Layer::AveragePool(_))
    };
    let rows = rows.iter().filter(|row| !untold(row));
    rows.map(|row| match *row {
        Layer::Conv(conv) => {
            Layer::Conv(Conv { rounding: Rounding::Floor, weights: NO_FILL, bias: NO_FILL, ..conv })
        }
        Layer::MaxPool(size, stride, _) => Layer::MaxPool(size, stride, Rounding::Floor),
        // The arrays tell how many units there are.
        Layer::Linear(_) => {
            Layer::Linear(Linear { units: Units::Classes, weights: NO_FILL, bias: NO_FILL })
        }
        other => other,
    })
    .collect()
}

/// Whether two rows are one layer. Other programs keep alpha times the window's size, so that the
/// last bits of it may differ.
fn same(a: &Layer, b: &Layer) -> bool {
    match (a, b) {
        (
            Layer::Lrn(in_a, size_a, alpha_a, beta_a, k_a),
            Layer::Lrn(in_b, size_b, alpha_b, beta_b, k_b),
        ) => {
            let near = |a: f32, b: f32| (a - b).abs() <= 1e-5 * b.abs();
            (in_a, size_a) == (in_b, size_b)
                && near(*alpha_a, *alpha_b)
                && near(*beta_a, *beta_b)
                && near(*k_a, *k_b)
        }
        (a, b) => a == b,
    }
}

#[cfg(test)]
mod tests {
    use alexnet_ops::LrnRegion;

    use super::*;

    fn config(model: ModelName, width: f32, batch_norm: bool) -> ModelConfig {
        let image_size = model.native_image_size();
        ModelConfig { model, classes: 7, image_size, width, batch_norm, dropout: None }
    }

    /// What a file of this network's tensors says, by its names or by layer.
    fn found(config: ModelConfig, by_layers: bool) -> Found {
        let plan = plan(config).expect("a plan");
        let pairs = plan.parameters.iter().flat_map(|of| of.tensors.iter().map(move |t| (of, t)));
        let arrays = pairs.map(|(of, t)| {
            let name = if by_layers { by_layer(of, t) } else { t.name.clone() };
            Array { name, shape: t.shape.clone(), values: vec![0.5; t.len()] }
        });
        // Backwards: the order of a file does not matter.
        Found { arrays: arrays.rev().collect(), ..Found::default() }
    }

    #[test]
    fn every_network_is_recognised_by_its_tensors_and_where_four_share_them_by_its_graph() {
        for (model, width, batch_norm) in [
            (ModelName::Modern, 1.0 / 16.0, true),
            (ModelName::Modern, 0.1, false),
            (ModelName::Torchvision, 0.05, false),
            (ModelName::Original, 0.05, false),
            (ModelName::Paper, 0.05, false),
            (ModelName::Caffe, 0.05, false),
            (ModelName::Caffenet, 0.05, false),
        ] {
            let config = config(model, width, batch_norm);
            for by_layers in [false, true] {
                let mut found = found(config, by_layers);
                if !model.is_single_tower() {
                    let error = recognise(found.clone(), Hints::default()).expect_err("several");
                    let text = error.to_string();
                    assert!(text.contains("original, paper, caffe, caffenet"), "{text}");
                    let hints = Hints { model: Some(model), image_size: None };
                    assert_eq!(recognise(found.clone(), hints).expect("as said").0, config);
                    found.rows = Some(Model::new(config).expect("a model").rows);
                }
                let (recognised, arrays) = recognise(found, Hints::default()).expect("recognised");
                assert_eq!(recognised, config, "{model} by layers: {by_layers}");
                let plan = plan(config).expect("a plan");
                let names: Vec<_> =
                    plan.parameters.iter().flat_map(|of| &of.tensors).map(|t| &*t.name).collect();
                assert_eq!(arrays.iter().map(|a| &*a.name).collect::<Vec<_>>(), names);
            }
        }
    }

    #[test]
    fn what_does_not_fit_is_named_with_the_shape_expected() {
        let sound = found(config(ModelName::Torchvision, 0.05, false), false);
        let place = |name: &str| {
            sound.arrays.iter().position(|array| array.name == name).expect("a tensor")
        };
        let says = |change: &dyn Fn(&mut Vec<Array>), expected: &str| {
            let mut found = sound.clone();
            change(&mut found.arrays);
            let error = recognise(found, Hints::default()).expect_err("refused").to_string();
            assert!(error.contains(expected), "{error}");
        };
        says(
            &|arrays| drop(arrays.remove(place("features.3.weight"))),
            "not torchvision, which is nearest: tensor features.3.weight of shape [8, 8, 5, 5] is \
             missing",
        );
        says(
            &|arrays| arrays[place("features.8.bias")].shape = vec![9],
            "tensor features.8.bias has shape [9], but this network needs [16]",
        );
        says(
            &|arrays| {
                let (shape, values) = (vec![1], vec![0.0]);
                arrays.push(Array { name: "classifier.9.bias".into(), shape, values });
            },
            "tensor classifier.9.bias belongs to no layer",
        );
        // Under both of its names.
        says(
            &|arrays| {
                let twice =
                    Array { name: "conv1.bias".into(), ..arrays[place("features.0.bias")].clone() };
                arrays.push(twice);
            },
            "belongs to no layer",
        );
    }

    #[test]
    fn a_graph_of_other_layers_is_refused_unless_the_model_is_said() {
        let config = config(ModelName::Caffe, 0.05, false);
        let mut found = found(config, true);
        let mut rows = Model::new(config).expect("a model").rows;
        rows[2] = Layer::Lrn(LrnRegion::AcrossMaps { groups: 1 }, 3, 1e-4 / 5.0, 0.75, 1.0);
        found.rows = Some(rows);
        let error = recognise(found.clone(), Hints::default()).expect_err("refused").to_string();
        assert!(error.contains("its graph is another network's: layer 3 is Lrn"), "{error}");
        let hints = Hints { model: Some(ModelName::Caffe), image_size: None };
        assert_eq!(recognise(found, hints).expect("as said").0, config);
    }
}
