//! A file becomes what it says: by this program's own entry where there is one, else by its graph.

use std::collections::HashMap;

use alexnet_network::{Array, Initialisation, Model, Plan, Purpose};

use super::graph::Graph;
use super::schema::{METADATA_KEY, entry, model, operator_set};
use super::tensor::Tensor;
use super::walk::walk;
use crate::formats::found::Found;
use crate::model_file::Description;
use crate::protobuf::{Fault, Slice};

/// The oldest operators read, ONNX 1.1 of 2018: before them, the same names meant other things.
const OPSET_MIN: u64 = 6;

/// What an ONNX file says.
///
/// # Errors
/// When it is malformed, or its graph is not a sequence of this network's layers.
pub(crate) fn read(file: Slice) -> Result<Found, Fault> {
    let (mut graph, mut opset, mut description) = (None, None, None);
    for part in file.fields() {
        let part = part?;
        match part.number {
            model::GRAPH if graph.is_none() => graph = Some(part.bytes()?),
            model::GRAPH => return Err(part.bytes()?.fault("a second graph")),
            model::OPSET_IMPORT => opset = operators(part.bytes()?)?.or(opset),
            model::METADATA_PROPS => description = own_entry(part.bytes()?)?.or(description),
            model::FUNCTIONS => {
                return Err(part.bytes()?.fault("a function of the file's own: inline them first"));
            }
            _ => {}
        }
    }
    let graph = graph.ok_or_else(|| file.fault("no graph: it is no ONNX model"))?;
    if opset.is_none_or(|opset| opset < OPSET_MIN) {
        let opset = opset.map_or("unknown operators".to_owned(), |opset| format!("opset {opset}"));
        return Err(graph.fault(format!("{opset}: from {OPSET_MIN} on are read, convert it")));
    }
    let graph = Graph::read(graph)?;
    let image_size = graph.image_size;
    if let Some(description) = description
        && let Some(arrays) = own_arrays(&description, &graph.constants)?
    {
        let description = Some(description);
        return Ok(Found { arrays, image_size, description, ..Found::default() });
    }
    let (rows, arrays) = walk(&graph, usize::try_from(file.file_len()).unwrap_or(usize::MAX))?;
    Ok(Found { arrays, rows: Some(rows), image_size, ..Found::default() })
}

/// The version of ONNX's own operators, if these bytes say it.
fn operators(slice: Slice) -> Result<Option<u64>, Fault> {
    let (mut domain, mut version) = ("", None);
    for part in slice.fields() {
        let part = part?;
        match part.number {
            operator_set::DOMAIN => domain = part.bytes()?.text()?,
            operator_set::VERSION => version = Some(part.varint()?),
            _ => {}
        }
    }
    Ok(version.filter(|_| matches!(domain, "" | "ai.onnx")))
}

/// What this program wrote about the file, if these bytes are that entry.
fn own_entry(slice: Slice) -> Result<Option<Description>, Fault> {
    let (mut key, mut text) = (None, None);
    for part in slice.fields() {
        let part = part?;
        match part.number {
            entry::KEY => key = Some(part.bytes()?.text()?),
            entry::VALUE => text = Some(part.bytes()?),
            _ => {}
        }
    }
    let Some(text) = text.filter(|_| key == Some(METADATA_KEY)) else { return Ok(None) };
    let description = serde_json::from_slice(text.bytes);
    let description = description.map_err(|error| {
        text.fault(format!("the entry '{METADATA_KEY}' is of another version: {error}"))
    })?;
    Ok(Some(description))
}

/// The described network's arrays, if all are there by name: a program that changed the graph may
/// have given them others.
fn own_arrays(
    description: &Description,
    constants: &HashMap<&str, Tensor>,
) -> Result<Option<Vec<Array>>, Fault> {
    let plan = Model::new(description.model)
        .and_then(|model| Plan::new(&model, 1, Purpose::Inference, Initialisation::Model));
    let Ok(plan) = plan else { return Ok(None) };
    let specs = || plan.parameters.iter().flat_map(|parameter| &parameter.tensors);
    let tensor = |name: &str| constants.get(name);
    if !specs().all(|spec| tensor(&spec.name).is_some_and(|tensor| tensor.shape == spec.shape)) {
        return Ok(None);
    }
    let tensors = specs().filter_map(|spec| tensor(&spec.name).map(|tensor| (spec, tensor)));
    let arrays = tensors.map(|(spec, tensor)| tensor.array(spec.name.clone(), false));
    arrays.collect::<Result<_, _>>().map(Some)
}
