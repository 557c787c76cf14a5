//! `alexnet bench`: how fast this machine trains, predicts and loads, beside what it could do at
//! most.

mod ceilings;
mod layers;
mod loading;
mod operations;
mod recorder;

use std::time::Instant;

use alexnet_data::{Pictures, Pixels};
use alexnet_network::{Network, Pass, Purpose, StepBatch};
use alexnet_ops::conformance::values;
use alexnet_ops::{Device, Normalisation, Picture, SgdStep, UpdateRule};
use anyhow::ensure;
use serde::Serialize;

use self::ceilings::Ceilings;
use self::layers::Profile;
use self::operations::{Operation, print_operations};
use self::recorder::Recorder;
use super::print_json;
use crate::Ended;
use crate::arguments::{BenchArguments, BenchTask, Format};
use crate::device::{PrecisionName, on_device};
use crate::machine::{check_room, cores, peak_rss_bytes};
use crate::settings::UsageError;
use crate::terminal::print;

const NOT_ITS_OWN_CLOCK: &str =
    "--operations is for train and infer on a GPU (--device cuda), which times them itself";

/// Different images that a batch of bytes has.
const DRAWN_MAX: usize = 16;

/// The result.
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
    peak_rss_bytes: Option<u64>,
    /// None for loading, or if steps alone are asked for.
    #[serde(flatten)]
    network: Option<NetworkMeasured>,
}

/// What there is to say of a network. Ceilings are measured in the same run.
#[derive(Serialize)]
struct NetworkMeasured {
    /// Multiply-adds of the task, computed directly, twice, over the median time.
    gflops: f64,
    #[serde(flatten)]
    ceilings: Ceilings,
    #[serde(flatten)]
    profile: Profile,
    /// Of a GPU, if asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    operations: Option<Vec<Operation>>,
}

pub(crate) fn run(arguments: &BenchArguments) -> anyhow::Result<Ended> {
    let measured = match arguments.task {
        BenchTask::Train | BenchTask::Infer => {
            on_device!(arguments.device, |device| network(&device, arguments))?
        }
        BenchTask::Data => {
            ensure!(!arguments.operations, UsageError(NOT_ITS_OWN_CLOCK.into()));
            loading::measure(arguments)?
        }
    };
    match arguments.format {
        Format::Json => print_json(&measured)?,
        Format::Table => report(&measured)?,
    }
    Ok(Ended::Done)
}

fn network<D: Device + Clone>(device: &D, arguments: &BenchArguments) -> anyhow::Result<Measured> {
    let timed_alone = !arguments.operations || device.is_asynchronous();
    ensure!(timed_alone, UsageError(NOT_ITS_OWN_CLOCK.into()));
    if arguments.in_turn {
        device.take_turns();
    }
    let trained = arguments.task == BenchTask::Train;
    let purpose = if trained { Purpose::Training } else { Purpose::Inference };
    let plan = arguments.model.plan(arguments.batch_size, purpose)?;
    check_room(device, &plan, 0, "the network", &["--batch-size", "--image-size", "--width"])?;
    let images = pictures(device, arguments.batch_size, plan.model.config.image_size);
    let classes = plan.model.config.classes;
    let labels: Vec<u32> = (0..arguments.batch_size).map(|n| (n % classes) as u32).collect();
    let mut network = Network::new(device.clone(), plan, 0);
    network.keep(&images);
    // A rate of zero: the same work, and random labels lead nowhere.
    let sgd = SgdStep {
        rule: UpdateRule::PyTorch,
        learning_rate: 0.0,
        momentum: 0.9,
        weight_decay: 5e-4,
    };
    let mut step = 0;
    let mut run = |network: &mut Network<D>, recorder: &Recorder| {
        recorder.begin();
        if trained {
            let batch = StepBatch { images: (&images).into(), labels: &labels, seed: 0, step };
            network.begin_step(&batch, |_| sgd);
            // As in a run, the next step's images cross beside this one.
            network.bring(&images);
            network.finish_step(&batch)?;
        } else {
            network.forward(&images, Pass::Evaluate);
        }
        step += 1;
        Ok(())
    };
    // Where the device computes while the next part is asked for, to watch parts is to wait for each:
    // these are then other steps than those that are timed as a whole.
    let mut recorder = Recorder::default();
    if !device.is_asynchronous() && !arguments.steps_only {
        recorder = Recorder::of(&mut network);
    }
    let times = timed(arguments, || run(&mut network, &recorder))?;
    let task = if trained { "train" } else { "infer" };
    let measured = Measured::new(task, arguments, device.name(), &times, arguments.batch_size);
    if arguments.steps_only {
        return Ok(measured);
    }
    let mut operations = None;
    if arguments.operations {
        let step = || run(&mut network, &recorder);
        operations = Some(operations::timed(device, arguments.steps, step)?);
    }
    if device.is_asynchronous() {
        recorder = Recorder::of(&mut network);
        timed(arguments, || run(&mut network, &recorder))?;
    }
    let (plan, median_ms) = (network.plan(), measured.median_ms);
    // Backward is a forward's work twice: gradients of inputs and of weights; the first layer has
    // no former.
    let first = plan.layers.first().map_or(0, |layer| layer.macs);
    let image_macs = if trained { 3 * plan.macs() - first } else { plan.macs() };
    let measured_network = NetworkMeasured {
        gflops: 2e-6 * (image_macs * arguments.batch_size) as f64 / median_ms,
        ceilings: Ceilings::measure(device, measured.threads),
        profile: Profile::new(&recorder, &network, arguments.steps, median_ms),
        operations,
    };
    Ok(Measured { network: Some(measured_network), ..measured })
}

/// Random images in the form that a device wants them in.
fn pictures<D: Device>(device: &D, count: usize, side: usize) -> Pictures {
    let len = side * side * 3;
    match Pixels::preferred_by(device) {
        Pixels::Values => Pictures::Values(values(count * len, 1, 1.0)),
        Pixels::Levels => {
            // A few, again and again: of a thousand, the drawing would take longer than the steps.
            let drawn = values(count.min(DRAWN_MAX) * len, 1, 1.0);
            let drawn: Vec<u8> = drawn.iter().map(|value| ((value + 1.0) * 128.0) as u8).collect();
            let figures = Normalisation { mean: [127.5; 3], scale: [1.0 / 64.0; 3] };
            Pictures::Levels {
                slots: drawn.into_iter().cycle().take(count * len).collect(),
                pictures: vec![Picture::whole(side as u32, figures); count],
                side,
            }
        }
    }
}

/// Milliseconds of each timed step.
fn timed(
    arguments: &BenchArguments,
    mut step: impl FnMut() -> anyhow::Result<()>,
) -> anyhow::Result<Vec<f64>> {
    (0..arguments.warmup_steps).try_for_each(|_| step())?;
    clocked(arguments.steps, step)
}

/// Milliseconds of each of so many steps.
fn clocked(steps: usize, mut step: impl FnMut() -> anyhow::Result<()>) -> anyhow::Result<Vec<f64>> {
    let mut times = Vec::with_capacity(steps);
    for _ in 0..steps {
        let begin = Instant::now();
        step()?;
        times.push(begin.elapsed().as_secs_f64() * 1e3);
    }
    Ok(times)
}

/// Of at least one number, in rising order.
fn median(sorted: &[f64]) -> f64 {
    f64::midpoint(sorted[(sorted.len() - 1) / 2], sorted[sorted.len() / 2])
}

impl Measured {
    /// Steps of `batch_size` images that took these `times`, in milliseconds.
    fn new(
        task: &'static str,
        arguments: &BenchArguments,
        device: String,
        times: &[f64],
        batch_size: usize,
    ) -> Self {
        let mut sorted = times.to_vec();
        sorted.sort_by(f64::total_cmp);
        let median_ms = median(&sorted);
        let threads = arguments.device.threads;
        let config = arguments.model.config();
        Self {
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
            peak_rss_bytes: peak_rss_bytes(),
            network: None,
        }
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
    if let Some(NetworkMeasured { gflops, ceilings, .. }) = &measured.network {
        let ceiling = ceilings.matrix_product_gflops;
        let share = gflops / ceiling * 100.0;
        let beside = format!("{share:.0} % of this machine's matrix product ({ceiling:.0})");
        print(&format!("  {gflops:.0} effective GFLOP/s, {beside}"))?;
    }
    if let Some(bytes) = measured.peak_rss_bytes {
        print(&format!("  {} MiB of memory at most", bytes >> 20))?;
    }
    let Some(network) = &measured.network else { return Ok(()) };
    network.profile.print(*median_ms, &network.ceilings)?;
    network.operations.as_ref().map_or(Ok(()), |found| print_operations(found, *median_ms))
}
