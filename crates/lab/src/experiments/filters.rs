//! The first layer's filters, by tower: figure 3, and how much colour there is in each half.

use alexnet_figures::Picture;
use alexnet_network::Array;
use alexnet_ops::Device;
use alexnet_ops::conformance::value;

use super::{effect, recipe, with_spread};
use crate::experiment::Experiment;
use crate::finding::{Drawing, Finding, Table};
use crate::models::small_alexnet;
use crate::statistics::Estimate;
use crate::workbench::{LabError, Workbench};

const SEEDS: u64 = 3;
/// Twice that of the other experiments: 12 filters a tower.
const WIDTH: f32 = 0.25;
/// Random ways to part the filters in two halves, to compare the towers' with.
const PARTINGS: usize = 2000;

pub(crate) fn run<D: Device + Clone>(bench: &mut Workbench<'_, D>) -> Result<Finding, LabError> {
    let seeds = bench.seeds(SEEDS);
    let recipe = recipe(small_alexnet(bench.classes.len(), WIDTH)?, bench.size);
    let here = bench.here(&seeds, &recipe)?;
    let mut table = Table::new(&[
        "seed",
        "share of colour, tower 1",
        "tower 2",
        "random halves as far apart, %",
    ]);
    let (mut excess, mut drawings) = (Vec::new(), Vec::new());
    for seed in seeds {
        let trained = bench.train_whole("two towers", &recipe, seed)?;
        let weights = trained.network.weights();
        let Some(first) = weights.first() else { continue };
        let colours = colour_shares(first);
        let (grey, colour) = colours.split_at(colours.len() / 2);
        let parted = Parting::of(&colours);
        table.row([
            seed.to_string(),
            with_spread(grey, 3),
            with_spread(colour, 3),
            format!("{:.0}", 100.0 * parted.as_far),
        ]);
        excess.push(parted.distance - parted.expected);
        if drawings.is_empty() {
            let picture = filters_picture(first);
            drawings.push(Drawing { name: "filters.png".into(), bytes: picture.to_png()? });
        }
    }
    Ok(Finding {
        experiment: Experiment::Filters,
        here,
        there: "ILSVRC-2012: 96 filters of 11 by 11 by 3 after 90 epochs; by eye, in every run"
            .into(),
        table,
        effects: vec![effect(
            "share of colour by which the towers differ, beyond random halves of the same filters",
            "plain to the eye",
            excess,
        )],
        remarks: vec![
            "A filter's share of colour is the part of its squared weights that changes nothing in \
             a grey image: 0 of a grey filter, 2/3 of one whose weights are random."
                .into(),
            "In the picture of the first seed, each half is a tower, one above the other; the same \
             scale for all filters, as in the paper's figure 3."
                .into(),
        ],
        drawings,
    })
}

/// Of each filter in `weights` (K, 3, R, S).
fn colour_shares(weights: &Array) -> Vec<f64> {
    let taps: usize = weights.shape[2..].iter().product();
    let share = |filter: &[f32]| {
        let (mut colour, mut all) = (0.0, 0.0);
        for tap in 0..taps {
            let rgb = [0, 1, 2].map(|channel| f64::from(filter[channel * taps + tap]));
            let grey = rgb.iter().sum::<f64>() / 3.0;
            colour += rgb.iter().map(|level| (level - grey).powi(2)).sum::<f64>();
            all += rgb.iter().map(|level| level.powi(2)).sum::<f64>();
        }
        colour / f64::max(all, f64::MIN_POSITIVE)
    };
    weights.values.chunks_exact(3 * taps).map(share).collect()
}

/// How far apart the means of two halves are, beside random halves.
#[derive(Clone, Copy, Debug)]
struct Parting {
    distance: f64,
    /// Of random halves, in the mean.
    expected: f64,
    /// The share of random halves that are at least as far apart.
    as_far: f64,
}

impl Parting {
    fn of(values: &[f64]) -> Self {
        let half = values.len() / 2;
        let apart = |order: &[usize]| {
            let mean = |part: &[usize]| {
                Estimate::of(&part.iter().map(|&index| values[index]).collect::<Vec<f64>>()).mean
            };
            (mean(&order[..half]) - mean(&order[half..])).abs()
        };
        let mut order: Vec<usize> = (0..values.len()).collect();
        let distance = apart(&order);
        let random: Vec<f64> = (0..PARTINGS as u32)
            .map(|parting| {
                order.sort_by(|&a, &b| value(a, parting).total_cmp(&value(b, parting)));
                apart(&order)
            })
            .collect();
        let as_far = random.iter().filter(|&&other| other >= distance).count();
        let as_far = as_far as f64 / random.len() as f64;
        Self { distance, expected: Estimate::of(&random).mean, as_far }
    }
}

/// Pixels a side of a weight, and between filters.
const ENLARGED: usize = 4;
const GAP: usize = 4;
/// Rows of the picture in each half.
const ROWS_A_HALF: usize = 2;

/// All filters, one scale: the most negative weight is black, the most positive white.
fn filters_picture(weights: &Array) -> Picture {
    let [count, _, side, _] = weights.shape[..] else { return empty() };
    let least = weights.values.iter().copied().fold(f32::INFINITY, f32::min);
    let most = weights.values.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let columns = count.div_ceil(2 * ROWS_A_HALF);
    let cell = side * ENLARGED + GAP;
    let (width, height) = (columns * cell + GAP, 2 * ROWS_A_HALF * cell + 2 * GAP);
    let mut rgb = vec![255; width * height * 3];
    for filter in 0..count {
        let (half, place) = (filter / (count / 2).max(1), filter % (count / 2).max(1));
        let left = GAP + place % columns * cell;
        let top = GAP + (half * ROWS_A_HALF + place / columns) * cell + half * GAP;
        for y in 0..side * ENLARGED {
            for x in 0..side * ENLARGED {
                for channel in 0..3 {
                    let tap = ((filter * 3 + channel) * side + y / ENLARGED) * side + x / ENLARGED;
                    let level =
                        (weights.values[tap] - least) / (most - least).max(f32::MIN_POSITIVE);
                    rgb[((top + y) * width + left + x) * 3 + channel] = (level * 255.0) as u8;
                }
            }
        }
    }
    Picture::new(width, height, rgb).unwrap_or_else(empty)
}

/// One white pixel, for weights that are no filters.
fn empty() -> Picture {
    Picture::new(1, 1, vec![255; 3]).expect("three bytes a pixel")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn grey_filters_have_no_colour_and_halves_that_differ_are_told_from_random_ones() {
        let filter = |rgb: [f32; 3]| rgb.into_iter().flat_map(|level| [level, -level]).collect();
        let filters: [Vec<f32>; 3] = [[1.0; 3], [1.0, 0.0, 0.0], [1.0, -1.0, 0.0]].map(filter);
        let weights = Array {
            name: "conv1.weight".into(),
            shape: vec![3, 3, 1, 2],
            values: filters.concat(),
        };
        let found = colour_shares(&weights);
        for (found, expected) in found.iter().zip([0.0, 2.0 / 3.0, 1.0]) {
            assert!((found - expected).abs() < 1e-9, "{found}");
        }
        let apart: Vec<f64> = (0..24).map(|i| f64::from(i / 12) + 0.01 * f64::from(i)).collect();
        let mixed: Vec<f64> = (0..24).map(|i| f64::from(i % 2)).collect();
        assert!(Parting::of(&apart).as_far < 0.01);
        assert!(Parting::of(&mixed).as_far > 0.5);
    }
}
