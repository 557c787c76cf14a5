//! What holds where nothing was typed: the recipe's word, as far as it depends on what was.

use alexnet_data::{MAX_RESIZE_PIXELS, MeanPart};
use alexnet_network::ModelName;
use alexnet_train::{Recipe, RecipeMean, Schedule};

use super::limits::has_mean_image;
use crate::flags::{AugmentName, FitName, SchedulerName, TrainFlags};
use crate::normalisation::{ColoursOf, Levels, Mean, NO_SCALING};

/// First cycle of warm restarts unless told, as SGDR's authors have it on CIFAR.
const FIRST_CYCLE_EPOCHS: f64 = 10.0;
/// Epochs a plateau waits unless told.
const PLATEAU_EPOCHS: u64 = 5;
/// Rates of `exponential-steps` unless told, and how far they fall: cuda-convnet2's for AlexNet.
pub(super) const EXPONENTIAL_STEPS: u64 = 4;
const EXPONENTIAL_FALL: f64 = 250.0;

/// What holds where flags are empty, as far as it depends on others that are not.
pub(super) struct Defaults {
    pub(super) recipe: Recipe,
    pub(super) model: ModelName,
    pub(super) image_size: usize,
    pub(super) resize_size: usize,
    pub(super) rates: Rates,
    pub(super) lr_min: f64,
    pub(super) fit: FitName,
    pub(super) augment: AugmentName,
    pub(super) mean: Mean,
    pub(super) std: Levels,
    pub(super) colours: ColoursOf,
}

impl Defaults {
    pub(super) fn of(flags: &TrainFlags) -> Self {
        let recipe = Recipe::of(flags.recipe.or(flags.model).unwrap_or(ModelName::Modern));
        let model = flags.model.unwrap_or(recipe.model);
        let native = model.native_image_size();
        let image_size = flags.image_size.unwrap_or(native);
        // 256 as everywhere since 2012, or as much in proportion.
        let resize_size = match image_size == native {
            true => 256,
            false => image_size.saturating_mul(8).div_ceil(7).min(MAX_RESIZE_PIXELS as usize),
        };
        let epochs = flags.epochs.unwrap_or(recipe.epochs);
        let mut rates = Rates::of(&recipe, epochs);
        rates.scheduler = flags.lr_scheduler.unwrap_or(rates.scheduler);
        match rates.scheduler {
            SchedulerName::WarmRestarts => rates.period = FIRST_CYCLE_EPOCHS,
            // Where the recipe has no drops of its own, those of the one that is known by them.
            SchedulerName::Drops if rates.drops.is_empty() => {
                rates.drops = Rates::of(&Recipe::of(ModelName::Original), epochs).drops;
            }
            _ => {}
        }
        let lr_min = match rates.scheduler {
            SchedulerName::ExponentialSteps => {
                flags.lr.unwrap_or(recipe.sgd.learning_rate) / EXPONENTIAL_FALL
            }
            _ => 0.0,
        };
        let fit = flags.fit.unwrap_or(recipe.fit.into());
        let augment = flags.augment.unwrap_or(recipe.view.into());
        let (mean, std, colours) = colours_of(recipe.mean);
        let mean = match mean {
            // As near as it gets where there is no mean image.
            Mean::Image(_) if !has_mean_image(fit, augment) => Mean::Levels(Levels::Data),
            mean => mean,
        };
        Self {
            recipe,
            model,
            image_size,
            resize_size,
            rates,
            lr_min,
            fit,
            augment,
            mean,
            std,
            colours,
        }
    }
}

/// What a recipe's schedule says to each flag, for a run of so many epochs.
pub(super) struct Rates {
    pub(super) scheduler: SchedulerName,
    pub(super) period: f64,
    pub(super) drops: Vec<f64>,
    pub(super) patience: u64,
}

impl Rates {
    fn of(recipe: &Recipe, epochs: u64) -> Self {
        let mut rates = Self {
            scheduler: SchedulerName::Constant,
            period: epochs as f64 / 3.0, // the rate drops twice, as torchvision's
            drops: Vec::new(),
            patience: PLATEAU_EPOCHS,
        };
        rates.scheduler = match recipe.schedule(epochs) {
            Schedule::Constant => SchedulerName::Constant,
            Schedule::Step { period, .. } => {
                rates.period = period;
                SchedulerName::Step
            }
            Schedule::Drops { at, .. } => {
                rates.drops = at.into_owned();
                SchedulerName::Drops
            }
            Schedule::ExponentialSteps { .. } => SchedulerName::ExponentialSteps,
            Schedule::Polynomial { .. } => SchedulerName::Polynomial,
            Schedule::Plateau { patience, .. } => {
                rates.patience = patience;
                SchedulerName::Plateau
            }
            Schedule::Cosine { .. } => SchedulerName::Cosine,
            Schedule::WarmRestarts { .. } => SchedulerName::WarmRestarts,
        };
        rates
    }
}

/// What a recipe's mean says to `--mean`, `--std` and `--colour-noise-from`.
fn colours_of(mean: RecipeMean) -> (Mean, Levels, ColoursOf) {
    match mean {
        RecipeMean::ImageAtCrop => (Mean::Image(MeanPart::Crop), NO_SCALING, ColoursOf::Data),
        RecipeMean::ImageCentre => (Mean::Image(MeanPart::Centre), NO_SCALING, ColoursOf::Data),
        RecipeMean::Imagenet => {
            (Mean::Levels(Levels::Imagenet), Levels::Imagenet, ColoursOf::Imagenet)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::tests::decide;

    #[test]
    fn defaults_are_the_published_recipes_main_figures() {
        use ModelName::{Caffe, Original, Paper, Torchvision};
        use SchedulerName::{Drops, Plateau, Step};
        // model, epochs, batch, decay, bias rate and decay factors, schedule, resize, crop
        let cases = [
            (Original, 91, 128, 5e-4, 2.0, 0.0, Drops, 256, 224),
            (Paper, 90, 128, 5e-4, 1.0, 0.0, Plateau, 256, 227),
            (Caffe, 90, 256, 5e-4, 2.0, 0.0, Step, 256, 227),
            (Torchvision, 90, 256, 1e-4, 1.0, 1.0, Step, 256, 224),
        ];
        for (model, epochs, batch, decay, bias_rate, bias_decay, schedule, resize, crop) in cases {
            let flags = TrainFlags { model: Some(model), ..TrainFlags::default() };
            let s = decide(&flags).expect("decided");
            assert_eq!(
                (s.epochs, s.batch_size, s.resize_size, s.image_size),
                (epochs, batch, resize, crop),
                "{model}"
            );
            assert_eq!(
                (s.weight_decay, s.bias_lr_factor, s.bias_decay_factor, s.lr_scheduler),
                (decay, bias_rate, bias_decay, schedule),
                "{model}"
            );
        }
    }

    #[test]
    fn a_recipe_holds_for_another_model_and_what_is_typed_holds_above_it() {
        let flags = TrainFlags {
            recipe: Some(ModelName::Original),
            model: Some(ModelName::Modern),
            lr: Some(0.02),
            ..TrainFlags::default()
        };
        let s = decide(&flags).expect("decided");
        assert_eq!((s.recipe, s.model), (ModelName::Original, ModelName::Modern));
        assert_eq!((s.batch_norm, s.image_size), (false, 224));
        assert_eq!((s.shared_crops, s.lr, s.lr_drops.to_string()), (32, 0.02, "24,50,78".into()));
        assert_eq!(s.layer_lr.to_string(), "conv1=0.1@66,conv1=0@71");
        let config = s.train_config(10).expect("a configuration");
        let factors = [65.9, 66.0, 71.0].map(|position| config.layer_factor("conv1", position));
        assert_eq!((factors, config.layer_factor("conv2", 80.0)), ([1.0, 0.1, 0.0], 1.0));
        // A third of the epochs: the drops come in a third of the time.
        let flags = TrainFlags { epochs: Some(30), ..flags };
        let s = decide(&flags).expect("decided");
        assert_eq!(s.colour_noise_epochs, 22);
        assert!((s.lr_drops.0[0] - 24.0 / 91.0 * 30.0).abs() < 1e-9, "{:?}", s.lr_drops);
    }

    #[test]
    fn drops_of_a_recipe_that_has_none_are_those_of_the_2012_log_in_proportion() {
        let flags = TrainFlags {
            lr_scheduler: Some(SchedulerName::Drops),
            epochs: Some(182),
            ..TrainFlags::default()
        };
        assert_eq!(decide(&flags).expect("decided").lr_drops.to_string(), "48,100,156");
        let none = TrainFlags { lr_drops: Some("".parse().expect("epochs")), ..flags };
        assert_eq!(decide(&none).expect("decided").lr_drops.to_string(), "");
    }

    #[test]
    fn means_are_the_published_ones_where_images_and_crops_allow_it() {
        use ModelName::{Caffe, Caffenet, Modern, Original, Paper, Torchvision};
        let flags = |model| TrainFlags { model: Some(model), ..TrainFlags::default() };
        for (model, mean, std, colours) in [
            (Original, "image-centre", "1,1,1", ColoursOf::Data),
            (Paper, "image", "1,1,1", ColoursOf::Data),
            (Caffe, "image", "1,1,1", ColoursOf::Data),
            (Caffenet, "image", "1,1,1", ColoursOf::Data),
            (Modern, "imagenet", "imagenet", ColoursOf::Imagenet),
            (Torchvision, "imagenet", "imagenet", ColoursOf::Imagenet),
        ] {
            let s = decide(&flags(model)).expect("decided");
            assert_eq!(
                (s.mean.to_string(), s.std.to_string()),
                (mean.into(), std.into()),
                "{model}"
            );
            assert_eq!(s.colour_noise_from, colours, "{model}");
        }
        let anywhere = TrainFlags { fit: Some(FitName::ShorterSide), ..flags(Paper) };
        assert_eq!(decide(&anywhere).expect("decided").mean, Mean::Levels(Levels::Data));
        let typed = TrainFlags { mean: Some(Mean::Image(MeanPart::Crop)), ..anywhere };
        let refused = decide(&typed).expect_err("refused").to_string();
        assert!(refused.starts_with("--mean is image: it needs --fit"), "{refused}");
    }
}
