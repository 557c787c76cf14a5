//! `alexnet bench`: how fast this machine trains, predicts and loads, beside what it could do at
//! most.

use std::time::Instant;

use alexnet_data::{Augment, Loader, LoaderConfig, Order, Preprocess, SampleSet};
use alexnet_network::{Network, Pass, Purpose};
use alexnet_ops::conformance::values;
use alexnet_ops::{Activation, Device, LinearShape, SgdStep, UpdateRule};
use serde::Serialize;

use super::print_json;
use crate::Ended;
use crate::arguments::{BenchArguments, BenchTask, Format};
use crate::device::{PrecisionName, on_device};
use crate::machine::{check_memory, cores, peak_rss_bytes};
use crate::terminal::print;

/// The result. Ceilings are measured in the same run.
#[derive(Serialize)]
struct Measured {
    task: &'static str,
    model: &'static str,
    batch_size: usize,
    image_size: usize,
    width: f32,
    device: String,
    precision: PrecisionName,
    threads: usize,
    steps: usize,
    median_ms: f64,
    min_ms: f64,
    max_ms: f64,
    images_per_s: f64,
    /// Multiply-adds of the task, twice, over the median time. None for loading.
    gflops: Option<f64>,
    /// The same for one large matrix product.
    matrix_product_gflops: Option<f64>,
    peak_rss_bytes: Option<u64>,
}

pub(crate) fn run(arguments: &BenchArguments) -> anyhow::Result<Ended> {
    let measured = match arguments.task {
        BenchTask::Train | BenchTask::Infer => {
            on_device!(arguments.device, |device| network(&device, arguments))?
        }
        BenchTask::Data => loading(arguments)?,
    };
    match arguments.format {
        Format::Json => print_json(&measured)?,
        Format::Table => report(&measured)?,
    }
    Ok(Ended::Done)
}

fn network<D: Device + Clone>(device: &D, arguments: &BenchArguments) -> anyhow::Result<Measured> {
    let trained = arguments.task == BenchTask::Train;
    let purpose = if trained { Purpose::Training } else { Purpose::Inference };
    let plan = arguments.model.plan(arguments.batch_size, purpose)?;
    check_memory(plan.bytes(), "the network")?;
    let (config, macs) = (plan.model.config, plan.macs());
    // Backward is a forward's work twice: gradients of inputs and of weights; the first layer has
    // no former.
    let first = plan.layers.first().map_or(0, |layer| layer.macs);
    let image_macs = if trained { 3 * macs - first } else { macs };
    let images = values(arguments.batch_size * plan.image_len(), 1, 1.0);
    let labels: Vec<u32> = (0..arguments.batch_size).map(|n| (n % config.classes) as u32).collect();
    let mut network = Network::new(device.clone(), plan, 0);
    // A rate of zero: the same work, and random labels lead nowhere.
    let sgd = SgdStep {
        rule: UpdateRule::PyTorch,
        learning_rate: 0.0,
        momentum: 0.9,
        weight_decay: 5e-4,
    };
    let mut step = 0;
    let times = timed(arguments, || {
        if trained {
            network.train_step(&images, &labels, 0, step, |_| sgd);
        } else {
            network.forward(&images, Pass::Evaluate);
        }
        step += 1;
        Ok(())
    })?;
    let gflop = 2e-9 * (image_macs * arguments.batch_size) as f64;
    let (task, name) = (if trained { "train" } else { "infer" }, device.name());
    let ceiling = matrix_product_gflops(device);
    let measured = measured(task, arguments, name, &times, arguments.batch_size);
    let gflops = Some(gflop / (measured.median_ms / 1e3));
    Ok(Measured { gflops, matrix_product_gflops: Some(ceiling), ..measured })
}

/// Best of a few products of square matrices that do not fit the inner caches.
fn matrix_product_gflops<D: Device>(device: &D) -> f64 {
    const SIDE: usize = 1536;
    const ROUNDS: usize = 5;
    let shape = LinearShape { batch: SIDE, inputs: SIDE, outputs: SIDE };
    let array = |salt| {
        let mut array = device.floats(SIDE * SIDE);
        device.upload(&mut array, &values(SIDE * SIDE, salt, 1.0));
        array
    };
    let (x, weights, mut y) = (array(1), array(2), device.floats(SIDE * SIDE));
    let bias = device.floats(SIDE);
    let mut corner = [0.0];
    let best = (0..ROUNDS).map(|_| {
        let begin = Instant::now();
        device.linear_forward(&mut y, &x, &weights, &bias, Activation::Identity, &shape);
        device.download(&mut corner, &y);
        begin.elapsed().as_secs_f64()
    });
    2e-9 * (SIDE as f64).powi(3) / best.fold(f64::INFINITY, f64::min)
}

fn loading(arguments: &BenchArguments) -> anyhow::Result<Measured> {
    if let Some(root) = &arguments.data {
        return load(arguments, root);
    }
    let folder = tempfile::tempdir()?;
    let root = folder.path().join("set");
    let set = SampleSet { train_per_class: 40, val_per_class: 1, ..SampleSet::default() };
    set.write(&root, &mut |_, _| true)?;
    load(arguments, &root)
}

fn load(arguments: &BenchArguments, root: &std::path::Path) -> anyhow::Result<Measured> {
    let dataset = alexnet_data::open(root)?;
    let crop = u32::try_from(arguments.model.config().image_size)?;
    let config = LoaderConfig {
        batch_size: arguments.batch_size.min(dataset.train.samples.len()),
        workers: arguments.workers,
        seed: 0,
        augment: Augment::RandomResizedCrop,
        preprocess: Preprocess {
            resize: crop.saturating_mul(8).div_ceil(7),
            crop,
            mean: [127.5; 3],
            std: [64.0; 3],
        },
        order: Order::Shuffled,
    };
    let batch = config.batch_size;
    let loader = Loader::new(dataset.train.samples, config)?;
    let mut number = 0;
    let mut epoch = loader.epoch(number, 0);
    let times = timed(arguments, || {
        loop {
            match epoch.next_batch().transpose()? {
                Some(ready) if ready.len() == batch => {
                    epoch.recycle(ready);
                    return Ok(());
                }
                // The epoch's end: a part of a batch or none.
                _ => {
                    number += 1;
                    epoch = loader.epoch(number, 0);
                }
            }
        }
    })?;
    let name = format!("cpu ({} loader threads)", arguments.workers);
    let mut measured = measured("data", arguments, name, &times, batch);
    // Batches are made ahead, so single waits say little: the rate is over all of them.
    measured.images_per_s = (batch * times.len()) as f64 / (times.iter().sum::<f64>() / 1e3);
    Ok(Measured { threads: arguments.workers, ..measured })
}

/// Milliseconds of each timed step.
fn timed(
    arguments: &BenchArguments,
    mut step: impl FnMut() -> anyhow::Result<()>,
) -> anyhow::Result<Vec<f64>> {
    for _ in 0..arguments.warmup_steps {
        step()?;
    }
    let mut times = Vec::with_capacity(arguments.steps);
    for _ in 0..arguments.steps {
        let begin = Instant::now();
        step()?;
        times.push(begin.elapsed().as_secs_f64() * 1e3);
    }
    Ok(times)
}

fn measured(
    task: &'static str,
    arguments: &BenchArguments,
    device: String,
    times: &[f64],
    batch_size: usize,
) -> Measured {
    let mut sorted = times.to_vec();
    sorted.sort_by(f64::total_cmp);
    let middle = |at: usize| sorted[at.min(sorted.len() - 1)];
    let median_ms = f64::midpoint(middle((sorted.len() - 1) / 2), middle(sorted.len() / 2));
    let threads = arguments.device.threads;
    let config = arguments.model.config();
    Measured {
        task,
        model: config.model.as_str(),
        batch_size,
        image_size: config.image_size,
        width: config.width,
        device,
        precision: arguments.device.precision,
        threads: if threads == 0 { cores() } else { threads },
        steps: times.len(),
        median_ms,
        min_ms: sorted[0],
        max_ms: sorted[sorted.len() - 1],
        images_per_s: batch_size as f64 / (median_ms / 1e3),
        gflops: None,
        matrix_product_gflops: None,
        peak_rss_bytes: peak_rss_bytes(),
    }
}

fn report(measured: &Measured) -> anyhow::Result<()> {
    let Measured { task, model, batch_size, image_size, steps, device, .. } = measured;
    print(&format!("{task}: {model}, {image_size} pixels, batches of {batch_size}, {device}"))?;
    let Measured { median_ms, min_ms, max_ms, images_per_s, .. } = measured;
    print(&format!(
        "  median {median_ms:.1} ms, from {min_ms:.1} to {max_ms:.1} over {steps} steps"
    ))?;
    print(&format!("  {images_per_s:.1} images/s"))?;
    if let (Some(gflops), Some(ceiling)) = (measured.gflops, measured.matrix_product_gflops) {
        let share = gflops / ceiling * 100.0;
        let beside = format!("{share:.0} % of this machine's matrix product ({ceiling:.0})");
        print(&format!("  {gflops:.0} GFLOP/s, {beside}"))?;
    }
    if let Some(bytes) = measured.peak_rss_bytes {
        print(&format!("  {} MiB of memory at most", bytes >> 20))?;
    }
    Ok(())
}
