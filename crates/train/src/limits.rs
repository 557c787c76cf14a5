//! What a run's settings may be: the bounds of each, and what they need of each other and of the data.

use alexnet_data::{Dataset, Split};
use alexnet_network::Model;

use crate::config::TrainConfig;
use crate::error::TrainError;
use crate::schedule::Schedule;

/// Largest learning rate, decay or factor: far beyond any that trains, and well within `f32`.
pub const RATE_MAX: f64 = 1e6;
/// Largest factor of a single layer: times the two largest of the others, it is still an `f32`.
pub const LAYER_FACTOR_MAX: f64 = 1e26;
/// Most of a target that is spread: beyond, the label is hardly a hint.
pub const SMOOTHING_MAX: f64 = 0.9;
/// Longest run and longest period.
pub const EPOCHS_MAX: f64 = 1e6;
/// Shortest time between drops or of a cycle: shorter ones would only burn time in counting cycles.
pub const PERIOD_MIN_EPOCHS: f64 = 0.01;

/// A field, what it is, and the least and the most that it may be.
type Bounds = (&'static str, f64, f64, f64);

/// Whether all settings lie within their bounds and go with each other, with the layers of `model`
/// and with the data.
///
/// # Errors
/// [`TrainError::Misfit`], which names the field.
pub(crate) fn check(
    config: &TrainConfig,
    model: &Model,
    dataset: &Dataset,
) -> Result<(), TrainError> {
    check_data(config, dataset)?;
    let (side, crop) = (config.model.image_size, config.preprocess.crop);
    if crop as usize != side {
        return Err(misfit("preprocess.crop", crop, format!("be model.image_size, {side}")));
    }
    for (field, value, least, most) in bounds(config).into_iter().chain(of_schedule(config)) {
        within(field, value, least, most)?;
    }
    if let Schedule::Drops { at, .. } = &config.schedule
        && !(at.iter().all(|&at| (0.0..=EPOCHS_MAX).contains(&at)) && at.is_sorted())
    {
        let must = format!("rise, from 0 up, to {EPOCHS_MAX} at most");
        return Err(misfit("schedule.at", format!("{at:?}"), must));
    }
    check_layer_rates(config, &model.learned_layers())
}

fn check_data(config: &TrainConfig, dataset: &Dataset) -> Result<(), TrainError> {
    let (outputs, classes) = (config.model.classes, dataset.classes.len());
    if outputs != classes {
        let must = format!("be {classes}, as many as the data set has");
        return Err(misfit("model.classes", outputs, must));
    }
    for (name, split) in [("train", &dataset.train), ("val", &dataset.val)] {
        check_split(name, split, classes)?;
    }
    Ok(())
}

fn check_split(name: &str, split: &Split, classes: usize) -> Result<(), TrainError> {
    if split.samples.is_empty() {
        return Err(misfit(format!("{name}.samples"), "empty", "hold an image at least"));
    }
    let strays = |label: u32| label as usize >= classes;
    match split.samples.iter().enumerate().find(|(_, sample)| strays(sample.label)) {
        Some((index, sample)) => {
            let must = format!("be less than {classes}, the number of classes");
            Err(misfit(format!("{name}.samples[{index}].label"), sample.label, must))
        }
        None => Ok(()),
    }
}

fn bounds(config: &TrainConfig) -> Vec<Bounds> {
    let (sgd, augment) = (&config.sgd, &config.augment);
    let many = f64::INFINITY;
    vec![
        ("epochs", config.epochs as f64, 1.0, EPOCHS_MAX),
        ("sgd.learning_rate", sgd.learning_rate, 0.0, RATE_MAX),
        ("sgd.momentum", sgd.momentum, 0.0, 1.0),
        ("sgd.weight_decay", sgd.weight_decay, 0.0, RATE_MAX),
        ("sgd.bias_rate_factor", sgd.bias_rate_factor, 0.0, RATE_MAX),
        ("sgd.bias_decay_factor", sgd.bias_decay_factor, 0.0, RATE_MAX),
        ("warmup_epochs", config.warmup_epochs, 0.0, EPOCHS_MAX),
        ("patience", config.patience.map_or(1.0, |epochs| epochs as f64), 1.0, many),
        ("label_smoothing", config.label_smoothing.into(), 0.0, SMOOTHING_MAX),
        ("micro_batch", config.micro_batch.map_or(1.0, |images| images as f64), 1.0, many),
        ("layer_wise_trust", config.layer_wise_trust.unwrap_or(0.0), 0.0, RATE_MAX),
        ("augment.shared", augment.shared as f64, 1.0, EPOCHS_MAX),
    ]
}

fn of_schedule(config: &TrainConfig) -> Vec<Bounds> {
    let drop = |gamma: f64| ("schedule.gamma", gamma, 0.0, 1.0);
    let down_to = |floor: f64| ("schedule.floor", floor, 0.0, 1.0);
    let every = |period: f64| ("schedule.period", period, PERIOD_MIN_EPOCHS, EPOCHS_MAX);
    match config.schedule {
        Schedule::Constant => vec![],
        Schedule::Step { period, gamma } => vec![every(period), drop(gamma)],
        Schedule::Drops { gamma, .. } | Schedule::Plateau { gamma, .. } => vec![drop(gamma)],
        Schedule::ExponentialSteps { steps, floor } => {
            vec![("schedule.steps", steps as f64, 1.0, EPOCHS_MAX), down_to(floor)]
        }
        Schedule::Polynomial { power, floor } => {
            vec![("schedule.power", power, 0.0, RATE_MAX), down_to(floor)]
        }
        Schedule::Cosine { floor } => vec![down_to(floor)],
        Schedule::WarmRestarts { period, growth, floor } => {
            vec![every(period), ("schedule.growth", growth, 1.0, EPOCHS_MAX), down_to(floor)]
        }
    }
}

fn check_layer_rates(config: &TrainConfig, layers: &[String]) -> Result<(), TrainError> {
    for (index, rate) in config.layer_rates.iter().enumerate() {
        let field = |of: &str| format!("layer_rates[{index}].{of}");
        if !layers.contains(&rate.layer) {
            let must = format!("be one of {}", layers.join(", "));
            return Err(misfit(field("layer"), format!("{:?}", rate.layer), must));
        }
        within(field("factor"), rate.factor, 0.0, LAYER_FACTOR_MAX)?;
        within(field("from_epoch"), rate.from_epoch, 0.0, EPOCHS_MAX)?;
    }
    Ok(())
}

fn within(field: impl Into<String>, value: f64, least: f64, most: f64) -> Result<(), TrainError> {
    match (least..=most).contains(&value) {
        true => Ok(()),
        false if most == f64::INFINITY => Err(misfit(field, value, format!("be {least} or more"))),
        false => Err(misfit(field, value, format!("lie between {least} and {most}"))),
    }
}

fn misfit(field: impl Into<String>, value: impl ToString, must: impl Into<String>) -> TrainError {
    TrainError::Misfit { field: field.into(), value: value.to_string(), must: must.into() }
}
