//! `alexnet summary`: a model's layers, sizes and costs.

use alexnet_network::{
    Initialisation, LayerSummary, Model, ModelConfig, ModelError, Plan, Purpose,
};
use serde::Serialize;

use super::{print_json, print_table, table, with_commas};
use crate::arguments::{Format, ModelFlags, SummaryArguments};
use crate::{Ended, terminal};

const MIB: f64 = (1 << 20) as f64;

#[derive(Serialize)]
struct Summary<'p> {
    model: &'static str,
    batch_norm: bool,
    classes: usize,
    image_size: usize,
    width: f32,
    params: usize,
    macs: usize,
    layers: Vec<Row<'p>>,
    batch_size: usize,
    training_bytes: usize,
    inference_bytes: usize,
}

#[derive(Serialize)]
struct Row<'p> {
    name: &'p str,
    kind: &'static str,
    /// Height, width, channels.
    output: [usize; 3],
    params: usize,
    macs: usize,
}

impl ModelFlags {
    /// The network these flags ask for.
    pub(crate) fn config(&self) -> ModelConfig {
        ModelConfig {
            model: self.model,
            classes: self.classes,
            image_size: self.image_size.unwrap_or(self.model.native_image_size()),
            width: self.width,
            batch_norm: self.batch_norm,
            dropout: None,
        }
    }

    /// Its plan.
    pub(crate) fn plan(&self, batch: usize, purpose: Purpose) -> Result<Plan, ModelError> {
        Plan::new(&Model::new(self.config())?, batch, purpose, Initialisation::Model)
    }
}

pub(crate) fn run(arguments: &SummaryArguments) -> anyhow::Result<Ended> {
    let training = arguments.model.plan(arguments.batch_size, Purpose::Training)?;
    let inference = arguments.model.plan(arguments.batch_size, Purpose::Inference)?;
    let config = training.model.config;
    let summary = Summary {
        model: config.model.as_str(),
        batch_norm: config.batch_norm,
        classes: config.classes,
        image_size: config.image_size,
        width: config.width,
        params: training.parameter_count(),
        macs: training.macs(),
        layers: training.layers.iter().map(Row::of).collect(),
        batch_size: arguments.batch_size,
        training_bytes: training.bytes(),
        inference_bytes: inference.bytes(),
    };
    match arguments.format {
        Format::Json => print_json(&summary)?,
        Format::Table => print(&summary)?,
    }
    Ok(Ended::Done)
}

impl<'p> Row<'p> {
    fn of(layer: &'p LayerSummary) -> Self {
        let LayerSummary { name, kind, output, parameters, macs, .. } = layer;
        Self { name, kind, output: *output, params: *parameters, macs: *macs }
    }
}

fn print(summary: &Summary) -> anyhow::Result<()> {
    let mut rows = table(&["layer", "kind", "output", "parameters", "multiply-adds"]);
    rows.align_right(3..5);
    let count = |n| if n == 0 { String::new() } else { with_commas(n) };
    for row in &summary.layers {
        let output = match row.output {
            [1, 1, features] => format!("{features}"),
            [h, w, c] => format!("{h} x {w} x {c}"),
        };
        rows.add_row([row.name, row.kind, &output, &count(row.params), &count(row.macs)]);
    }
    let input = format!("{0} x {0} x 3 pixels", summary.image_size);
    let (params, macs) = (with_commas(summary.params), with_commas(summary.macs));
    rows.add_row(["total", summary.model, &input, &params, &macs]);
    print_table(&rows)?;
    terminal::print_lines(&format!(
        "\nMemory at batch size {}: {:.0} MiB to train, {:.0} MiB to predict.",
        summary.batch_size,
        summary.training_bytes as f64 / MIB,
        summary.inference_bytes as f64 / MIB
    ))
}
