//! From values to places: the range of an axis and the round values it is labelled with.

use std::ops::Range;

use plotters::coord::ranged1d::{DefaultFormatting, KeyPointHint, Ranged};

use super::Scale;

/// Values farther from zero have no place: beside them nothing else could be seen.
const VALUE_MAX: f64 = 1e30;
/// Values nearer to zero have none on a logarithmic axis.
const LOG_VALUE_MIN: f64 = 1e-30;
/// Values on a logarithmic axis that are written out; others are powers of ten.
const LOG_DECIMAL: Range<f64> = 0.1..1e4;
/// Share of the range that is added at both ends.
const PADDING: f64 = 0.04;
/// Values that differ by less than this share of their size count as equal: what names them would
/// read the same.
const DISTINCT: f64 = 1e-6;
/// Range around equal values, as a share of their size; on a logarithmic axis a decade is.
const AROUND_EQUAL: f64 = 0.1;

/// One axis: which values it shows, and which of them it names.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Axis {
    scale: Scale,
    range: Range<f64>,
    ticks: Vec<f64>,
}

impl Axis {
    /// An axis that has room for all of `values` and names about `ticks` of them.
    pub(super) fn over(values: impl Iterator<Item = f64>, scale: Scale, ticks: usize) -> Self {
        let placed = values.filter(|&value| has_place(value, scale));
        let placed = placed.map(|value| onto(value, scale));
        let (low, high) = placed.fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), value| {
            (low.min(value), high.max(value))
        });
        let (low, high) = if low <= high { (low, high) } else { (0.0, 1.0) };
        let around = match (high - low, high.abs().max(low.abs()), scale) {
            (span, size, _) if span > size * DISTINCT => span * PADDING,
            (_, size, Scale::Linear) if size > 0.0 => size * AROUND_EQUAL / 2.0,
            _ => 0.5,
        };
        let (low, high) = (low - around, high + around);
        let ticks = match scale {
            Scale::Linear => round_values(low, high, ticks),
            Scale::Log => round_factors(low, high, ticks),
        };
        Self { scale, range: low..high, ticks }.naming_each_once()
    }

    /// The axis without names that read as the one before.
    fn naming_each_once(mut self) -> Self {
        let ticks = std::mem::take(&mut self.ticks);
        let mut named = Vec::new();
        for tick in ticks {
            let name = self.label(tick);
            if named.last() != Some(&name) {
                named.push(name);
                self.ticks.push(tick);
            }
        }
        self
    }

    /// An axis from `low` to `high` that names nothing.
    pub(super) fn bare(low: f64, high: f64) -> Self {
        Self { scale: Scale::Linear, range: low..high, ticks: Vec::new() }
    }

    /// The axis from its first value on, without room before it.
    pub(super) fn beginning_at(self, first: f64) -> Self {
        Self { range: onto(first, self.scale)..self.range.end, ..self }
    }

    /// The axis without the names of values that are no whole numbers.
    pub(super) fn naming_whole_values(mut self) -> Self {
        self.ticks.retain(|tick| tick.fract() == 0.0);
        self
    }

    /// Whether a value can be drawn.
    pub(super) fn has_place(&self, value: f64) -> bool {
        has_place(value, self.scale)
    }

    /// How a value it names is written.
    pub(super) fn label(&self, value: f64) -> String {
        match self.scale {
            Scale::Linear => number(value),
            Scale::Log if !LOG_DECIMAL.contains(&value) => format!("{value:e}"),
            Scale::Log => number(value),
        }
    }
}

impl Ranged for Axis {
    type FormatOption = DefaultFormatting;
    type ValueType = f64;

    fn map(&self, value: &f64, (first, last): (i32, i32)) -> i32 {
        let Range { start, end } = self.range;
        let share = (onto(*value, self.scale) - start) / (end - start);
        // A value without a place is at the edge; so is one beyond it.
        let share = if share.is_nan() { 0.0 } else { share.clamp(0.0, 1.0) };
        first + (f64::from(last - first) * share).round() as i32
    }

    fn key_points<Hint: KeyPointHint>(&self, _: Hint) -> Vec<f64> {
        self.ticks.clone()
    }

    fn range(&self) -> Range<f64> {
        let off = |value: f64| match self.scale {
            Scale::Linear => value,
            Scale::Log => 10f64.powf(value),
        };
        off(self.range.start)..off(self.range.end)
    }
}

/// Whether a value can be drawn on an axis of this scale.
pub(super) fn has_place(value: f64, scale: Scale) -> bool {
    match scale {
        Scale::Linear => value.abs() <= VALUE_MAX,
        Scale::Log => (LOG_VALUE_MIN..=VALUE_MAX).contains(&value),
    }
}

/// A value's place on a ruler of this scale.
fn onto(value: f64, scale: Scale) -> f64 {
    match scale {
        Scale::Linear => value,
        Scale::Log => value.log10(),
    }
}

/// About `count` multiples of 1, 2 or 5 times a power of ten between `low` and `high`.
fn round_values(low: f64, high: f64, count: usize) -> Vec<f64> {
    let raw = (high - low) / count.max(1) as f64;
    let power = 10f64.powf(raw.log10().floor());
    let factor = [1.0, 2.0, 5.0].into_iter().find(|factor| factor * power >= raw).unwrap_or(10.0);
    let step = factor * power;
    let (first, last) = ((low / step).ceil(), (high / step).floor());
    // Counted in whole steps, so that no sum of rounding errors becomes a label.
    let steps = 0..=(last - first).max(0.0) as usize;
    let decimals = (-step.log10().floor()).max(0.0) as i32;
    let exact = |value: f64| match 10f64.powi(decimals) {
        unit if unit.is_finite() => (value * unit).round() / unit,
        _ => value,
    };
    steps.map(|index| exact((first + index as f64) * step)).collect()
}

/// Values to name between 10 to the `low` and 10 to the `high`: powers of ten, or round values if
/// there are none or hardly any.
fn round_factors(low: f64, high: f64, count: usize) -> Vec<f64> {
    let powers = powers_of_ten(low, high, count);
    if powers.len() > 1 {
        return powers;
    }
    round_values(10f64.powf(low), 10f64.powf(high), count)
}

/// Powers of ten between the exponents `low` and `high`, about `count` of them at most; if there is
/// hardly one, also 2 and 5 times them.
fn powers_of_ten(low: f64, high: f64, count: usize) -> Vec<f64> {
    let factors: &[f64] = if high - low < 2.0 { &[1.0, 2.0, 5.0] } else { &[1.0] };
    let every = ((high - low) / count.max(1) as f64).ceil().max(1.0) as i32;
    let exponents = low.floor() as i32..=high.ceil() as i32;
    let powers = exponents.filter(|exponent| exponent.rem_euclid(every) == 0);
    let values = powers.flat_map(|exponent| {
        // Read, not computed: 1e-7, not 9.999999e-8.
        let power: f64 = format!("1e{exponent}").parse().unwrap_or(f64::NAN);
        factors.iter().map(move |factor| factor * power)
    });
    values.filter(|value| (low..=high).contains(&value.log10())).collect()
}

/// A value as people write it: `0.05`, `12,500`, `2e-7`.
pub(super) fn number(value: f64) -> String {
    match value.abs() {
        0.0 => "0".to_owned(),
        size if !(1e-4..1e7).contains(&size) => {
            let text = format!("{value:.3e}");
            let (digits, exponent) = text.split_once('e').unwrap_or((&text, "0"));
            format!("{}e{exponent}", trimmed(digits))
        }
        size if size >= 1e4 => with_commas(value),
        _ => trimmed(&format!("{value:.6}")).to_owned(),
    }
}

/// A value that was measured, to the three figures that a reader can use: `66.7`, `0.0123`, `12,500`.
pub(super) fn rounded(value: f64) -> String {
    let decimals = 2_i32.saturating_sub(value.abs().log10().floor() as i32).clamp(0, 17) as usize;
    // Through text, so that no digits of a product come back.
    number(format!("{value:.decimals$}").parse().unwrap_or(value))
}

fn trimmed(digits: &str) -> &str {
    if digits.contains('.') { digits.trim_end_matches('0').trim_end_matches('.') } else { digits }
}

/// A large value, without what stands behind the point.
fn with_commas(value: f64) -> String {
    let digits = format!("{:.0}", value.abs());
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    if value < 0.0 { format!("-{text}") } else { text }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn axes_are_labelled_with_round_values() {
        let cases: [(&[f64], Scale, &str); 10] = [
            (&[0.0, 1.0], Scale::Linear, "0 0.2 0.4 0.6 0.8 1"),
            (&[1.0, 15.0], Scale::Linear, "5 10 15"),
            (&[0.0, 450_000.0], Scale::Linear, "0 100,000 200,000 300,000 400,000"),
            (&[-0.3, 0.1], Scale::Linear, "-0.3 -0.2 -0.1 0 0.1"),
            (&[2e-8, 1e-7], Scale::Linear, "2e-8 4e-8 6e-8 8e-8 1e-7"),
            (&[1e-7, 1.0], Scale::Log, "1e-6 1e-4 1e-2 1"),
            (&[3.0, 60.0], Scale::Log, "5 10 20 50"),
            (&[1.0, 1e12], Scale::Log, "1 1000 1e6 1e9 1e12"),
            (&[], Scale::Linear, "0 0.2 0.4 0.6 0.8 1"),
            (&[f64::NAN, f64::INFINITY, 1e300, -1.0, 0.0], Scale::Log, "1 2 5 10"),
        ];
        for (values, scale, expected) in cases {
            let axis = Axis::over(values.iter().copied(), scale, 6);
            let labels: Vec<_> = axis.ticks.iter().map(|&tick| axis.label(tick)).collect();
            assert_eq!(labels.join(" "), expected, "{values:?} {scale:?}");
        }
    }

    #[test]
    fn measured_values_are_written_to_three_figures() {
        let cases = [
            (200.0 / 3.0, "66.7"),
            (100.0, "100"),
            (97.5, "97.5"),
            (99.96, "100"),
            (0.012_345, "0.0123"),
            (-100.0 / 3.0, "-33.3"),
            (12_345.6, "12,346"),
            (1.234_56e-9, "1.23e-9"),
            (0.0, "0"),
        ];
        for (value, expected) in cases {
            assert_eq!(rounded(value), expected, "{value}");
        }
    }

    #[test]
    fn an_axis_of_one_value_or_of_nearly_equal_ones_still_has_a_range() {
        for value in [0.0, 1.0, -3.5, 1e-300, 1e30, -1e30] {
            for values in [vec![value], vec![value, value * (1.0 + 1e-15)]] {
                let axis = Axis::over(values.iter().copied(), Scale::Linear, 6);
                assert!(axis.range.start < axis.range.end, "{values:?}: {axis:?}");
                assert!(axis.ticks.len() < 20, "{values:?}: {axis:?}");
            }
        }
    }

    #[test]
    fn no_two_values_of_an_axis_have_the_same_name() {
        let sizes = [0.0, 1.0, 3e-3, 0.33333, 1.0986123, 99.9, 12_345.6, 1e-4, 1.5e-8, 7e22];
        for (size, scale) in sizes.iter().flat_map(|&it| [(it, Scale::Linear), (it, Scale::Log)]) {
            for apart in [0.0, 1e-12, 1e-9, 1e-6, 3e-5, 1e-3, 0.3, 20.0] {
                let values = [size, size * (1.0 + apart)];
                let axis = Axis::over(values.into_iter(), scale, 6);
                let mut names: Vec<_> = axis.ticks.iter().map(|&tick| axis.label(tick)).collect();
                assert!(!names.is_empty() && names.len() < 15, "{values:?} {scale:?}: {names:?}");
                let count = names.len();
                names.sort();
                names.dedup();
                assert_eq!(names.len(), count, "{values:?} {scale:?}: {axis:?}");
            }
        }
    }

    #[test]
    fn values_stand_where_they_belong_and_never_beyond_the_edge() {
        let axis = Axis::over([0.0, 100.0].into_iter(), Scale::Linear, 6).beginning_at(0.0);
        assert_eq!(axis.map(&0.0, (10, 114)), 10);
        assert_eq!(axis.map(&100.0, (10, 114)), 110);
        assert_eq!(axis.map(&100.0, (114, 10)), 14);
        let axis = Axis::over([1e-4, 1.0].into_iter(), Scale::Log, 6);
        assert_eq!(axis.map(&1e-2, (0, 100)), 50);
        for value in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY, 0.0, -1.0] {
            assert!((0..=100).contains(&axis.map(&value, (0, 100))), "{value}");
        }
    }
}
