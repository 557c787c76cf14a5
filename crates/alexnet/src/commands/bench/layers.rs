//! Where the time of a step goes, layer by layer.

use alexnet_network::{LayerSummary, Network, Part, Plan};
use alexnet_ops::Device;
use serde::Serialize;

use super::ceilings::Ceilings;
use super::recorder::Recorder;
use crate::commands::{print_table, table};
use crate::terminal::{print, print_lines};

/// Where a step's median time goes.
#[derive(Serialize)]
pub(super) struct Profile {
    layers: Vec<Row>,
    /// Losses and the gradient of the logits. None in inference, as the update.
    loss_ms: Option<f64>,
    /// Looking whether everything is finite.
    check_ms: Option<f64>,
    /// The update of all that is not updated in its layer's backward time: linear layers' weights
    /// are.
    update_ms: Option<f64>,
    /// The rest: images in, logits out.
    other_ms: f64,
}

/// What is computed in one go: a layer, or one with the ReLU that follows it.
#[derive(Serialize)]
struct Row {
    name: String,
    kind: &'static str,
    /// Of one image's forward pass, computed directly.
    macs: usize,
    forward: Pass,
    /// None in inference.
    backward: Option<Pass>,
    /// Both passes' share of the step.
    share: f64,
}

/// One way through a layer.
#[derive(Serialize)]
struct Pass {
    ms: f64,
    /// A direct computation's multiply-adds, twice, over the time: a device that needs fewer may
    /// pass its ceiling. None where there are none to count.
    effective_gflops: Option<f64>,
    /// Twice the products really summed up, over the time: beside the ceiling it says how well the
    /// device is used.
    actual_gflops: Option<f64>,
    /// What has to be read and written, each array once, over the time.
    gb_per_s: f64,
}

impl Pass {
    fn new(ms: f64, macs: usize, products: usize, floats: usize) -> Self {
        let gflops = |products: usize| (products > 0).then(|| 2e-6 * products as f64 / ms);
        let gb_per_s = 1e-6 * (floats * size_of::<f32>()) as f64 / ms;
        Self { ms, effective_gflops: gflops(macs), actual_gflops: gflops(products), gb_per_s }
    }
}

impl Profile {
    /// What `recorder` heard of the last `steps` steps of `network`, whose median is `median_ms`.
    pub(super) fn new<D: Device>(
        recorder: &Recorder,
        network: &Network<D>,
        steps: usize,
        median_ms: f64,
    ) -> Self {
        let plan = network.plan();
        let time = |part| recorder.median_ms(part, steps);
        let count = plan.layers.iter().filter_map(|layer| layer.step).max().map_or(0, |at| at + 1);
        let row = |step| {
            let parts = [Part::Forward(step), Part::Backward(step), Part::FusedUpdate(step)];
            let [forward_ms, backward_ms, fused_ms] = parts.map(time);
            let forward_ms = forward_ms?;
            let backward_ms = backward_ms.map(|ms| ms + fused_ms.unwrap_or_default());
            let [forward, backward, fused] = parts.map(|part| network.products(part));
            let backward = backward + fused_ms.map_or(0, |_| fused);
            let work = Work::of(plan, step);
            Some(Row {
                share: (forward_ms + backward_ms.unwrap_or_default()) / median_ms,
                forward: Pass::new(forward_ms, work.forward_macs, forward, work.forward_floats),
                backward: backward_ms
                    .map(|ms| Pass::new(ms, work.backward_macs, backward, work.backward_floats)),
                macs: work.forward_macs / plan.batch,
                name: work.name,
                kind: work.kind,
            })
        };
        let layers: Vec<Row> = (0..count).filter_map(row).collect();
        let [loss_ms, check_ms, update_ms] = [Part::Loss, Part::Check, Part::Update].map(time);
        let in_layers = layers.iter().map(|row| row.share * median_ms).sum::<f64>();
        let beside = [loss_ms, check_ms, update_ms].into_iter().flatten().sum::<f64>();
        let named = in_layers + beside;
        Self { layers, loss_ms, check_ms, update_ms, other_ms: (median_ms - named).max(0.0) }
    }

    /// The table for a person, the machine's ceilings beneath.
    pub(super) fn print(&self, median_ms: f64, ceilings: &Ceilings) -> anyhow::Result<()> {
        let trained = self.loss_ms.is_some();
        let mut header = vec!["layer", "macs", "forward", "GFLOP/s", "actual", "GB/s"];
        if trained {
            header.extend(["backward", "GFLOP/s", "actual", "GB/s"]);
        }
        header.push("share");
        let mut rows = table(&header);
        rows.align_right(1..header.len());
        for row in &self.layers {
            let mut cells = vec![row.name.clone(), in_millions(row.macs)];
            [Some(&row.forward), row.backward.as_ref()].into_iter().flatten().for_each(|pass| {
                let [effective, actual] = [pass.effective_gflops, pass.actual_gflops]
                    .map(|gflops| gflops.map_or(String::new(), |gflops| format!("{gflops:.0}")));
                cells.extend([in_ms(pass.ms), effective, actual, format!("{:.1}", pass.gb_per_s)]);
            });
            cells.push(in_percent(row.share));
            rows.add_row(cells);
        }
        let others = [("loss", self.loss_ms), ("check", self.check_ms), ("update", self.update_ms)];
        for (name, ms) in others.into_iter().chain([("other", Some(self.other_ms))]) {
            let Some(ms) = ms else { continue };
            let mut cells = vec![String::new(); header.len()];
            (cells[0], cells[2]) = (name.to_owned(), in_ms(ms));
            cells[header.len() - 1] = in_percent(ms / median_ms);
            rows.add_row(cells);
        }
        print("")?;
        print_table(&rows)?;
        let Ceilings { matrix_product_gflops, memory_read_gb_per_s } = ceilings;
        print_lines(&format!(
            "\nThis machine's ceilings: {matrix_product_gflops:.0} GFLOP/s in a matrix product, \
             {memory_read_gb_per_s:.1} GB/s read from memory.\n\
             Times are in ms. GFLOP/s are twice a direct computation's multiply-adds (macs, of one \
             image)\nover the time, actual ones twice the products that were not saved. GB/s are all \
             arrays read or\nwritten, once each."
        ))
    }
}

/// What the passes of one step compute and move, at the plan's batch.
struct Work {
    name: String,
    kind: &'static str,
    forward_macs: usize,
    backward_macs: usize,
    /// Values read and written, each array once.
    forward_floats: usize,
    backward_floats: usize,
}

impl Work {
    fn of(plan: &Plan, step: usize) -> Self {
        let first = plan.layers.iter().position(|layer| layer.step == Some(step)).unwrap_or(0);
        let layers: Vec<&LayerSummary> =
            plan.layers.iter().filter(|layer| layer.step == Some(step)).collect();
        let names: Vec<&str> = layers.iter().map(|layer| layer.name.as_str()).collect();
        let LayerSummary { kind, output, parameters: weights, macs, .. } = plan.layers[first];
        let before = first.checked_sub(1).map(|before| plan.layers[before].output);
        let input = before.map_or(plan.image_len(), |[h, w, c]| h * w * c) * plan.batch;
        let output = output.iter().product::<usize>() * plan.batch;
        // A backward pass makes two gradients where there are weights, but the images need none.
        let is_first = first == 0;
        let gradients = if is_first { 1 } else { 2 };
        let d_input = if is_first { 0 } else { input };
        let backward_floats = match kind {
            "dropout" | "max_pool" | "average_pool" => output + d_input,
            // Weights and velocity are read and written.
            "linear" => output + input + d_input + 4 * weights,
            _ => output + input + d_input + 2 * weights,
        };
        Self {
            name: names.join("+"),
            kind,
            forward_macs: macs * plan.batch,
            backward_macs: gradients * macs * plan.batch,
            forward_floats: input + output + weights,
            backward_floats,
        }
    }
}

fn in_millions(macs: usize) -> String {
    if macs == 0 { String::new() } else { format!("{:.1} M", macs as f64 / 1e6) }
}

fn in_ms(ms: f64) -> String {
    format!("{ms:.2}")
}

fn in_percent(share: f64) -> String {
    format!("{:.1} %", share * 100.0)
}

#[cfg(test)]
mod tests {
    use alexnet_network::{Initialisation, Model, ModelConfig, ModelName, Purpose};

    use super::*;

    #[test]
    fn the_work_of_all_steps_is_that_of_the_network() {
        for model in ModelName::ALL {
            let batch_norm = model == ModelName::Modern;
            let image_size = model.native_image_size();
            let config = ModelConfig {
                model,
                classes: 10,
                image_size,
                width: 1.0,
                batch_norm,
                dropout: None,
            };
            let model = Model::new(config).expect("a model");
            let plan = Plan::new(&model, 2, Purpose::Training, Initialisation::Model);
            let plan = plan.expect("a plan");
            let steps = plan.layers.iter().filter_map(|layer| layer.step).max().expect("steps");
            let work: Vec<Work> = (0..=steps).map(|step| Work::of(&plan, step)).collect();
            let macs = |of: fn(&Work) -> usize| work.iter().map(of).sum::<usize>() / plan.batch;
            assert_eq!(macs(|work| work.forward_macs), plan.macs(), "{config:?}");
            let backward = 2 * plan.macs() - plan.layers[0].macs;
            assert_eq!(macs(|work| work.backward_macs), backward, "{config:?}");
            let named: Vec<&str> = work.iter().flat_map(|work| work.name.split('+')).collect();
            let layers = plan.layers.iter().filter(|layer| layer.step.is_some());
            assert_eq!(named, layers.map(|layer| &layer.name[..]).collect::<Vec<_>>());
            // fc8: ten classes of 4096 features.
            let last = work.last().expect("steps");
            assert_eq!(last.forward_floats, 2 * 4096 + 2 * 10 + 4097 * 10, "{config:?}");
            assert_eq!(last.backward_floats, 2 * 2 * 4096 + 2 * 10 + 4 * 4097 * 10, "{config:?}");
        }
    }
}
