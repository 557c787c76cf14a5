//! What a person sees while a run goes on: a bar on a terminal, plain lines elsewhere and in
//! `log.txt`.
//!
//! Whatever is said in a line may quote names that stand in files, weights' among them: they are shown
//! as text, and neither end the line nor steer the terminal.

use std::fs::File;
use std::io::{BufWriter, IsTerminal, Write};

use alexnet_data::UnreadableImage;
use alexnet_figures::legible;
use alexnet_train::{EpochRow, Observer, SAVES_FAILED_MAX, SaveFailure, StepReport};
use anyhow::Context;
use indicatif::{HumanDuration, ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde::Serialize;

use crate::measuring::top_k;

/// A line on standard error. A closed one is no reason to end.
pub(crate) fn note(line: &str) {
    let _ = writeln!(std::io::stderr(), "{}", legible(line));
}

/// Says which image could not be read, why, and what was shown instead.
pub(crate) fn unreadable(image: &UnreadableImage) {
    note(&unreadable_line(image));
}

fn unreadable_line(image: &UnreadableImage) -> String {
    let instead = match image.replacement {
        Some(_) => "another is shown instead",
        None => "it counts as wrong",
    };
    format!("alexnet: {}; {instead}", image.error)
}

/// What is said where a result cannot be handed over.
pub(crate) const NOT_PRINTED: &str = "cannot write to standard output";

/// A line of a command's result, on standard output.
pub(crate) fn print(line: &str) -> anyhow::Result<()> {
    hand_over(&legible(line))
}

/// Several lines of a command's result: text of ours that quotes nothing.
pub(crate) fn print_lines(text: &str) -> anyhow::Result<()> {
    text.split('\n').try_for_each(print)
}

/// A result in a form that programs read, as it is.
pub(crate) fn hand_over(text: &str) -> anyhow::Result<()> {
    writeln!(std::io::stdout(), "{text}").context(NOT_PRINTED)
}

/// As [`hand_over`], of what may be too large to be text as a whole first.
pub(crate) fn hand_over_json(value: &impl Serialize) -> anyhow::Result<()> {
    let write = || -> std::io::Result<()> {
        let mut out = BufWriter::new(std::io::stdout().lock());
        serde_json::to_writer_pretty(&mut out, value)?;
        writeln!(out)?;
        out.flush()
    };
    write().context(NOT_PRINTED)
}

/// A bar that counts to `length`, drawn on standard error if that is a terminal.
pub(crate) fn bar(length: u64, unit: &str) -> ProgressBar {
    let bar = ProgressBar::with_draw_target(Some(length), ProgressDrawTarget::stderr());
    bar.set_style(style(&format!("{{bar:32}} {{pos}}/{{len}} {unit} {{msg}}")));
    bar
}

fn style(template: &str) -> ProgressStyle {
    let style =
        ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar());
    style.progress_chars("━━╌")
}

/// Shows a run.
pub(crate) struct Display {
    epochs: u64,
    /// Likeliest classes that count for top-5.
    top_k: usize,
    print_freq: u64,
    /// Not drawn where there is no terminal.
    bar: ProgressBar,
    plain: bool,
    log: File,
    means: Means,
}

/// Means since the epoch began, for the figures in brackets.
#[derive(Default)]
struct Means {
    steps: u64,
    images: usize,
    seconds: f64,
    waited: f64,
}

impl Display {
    /// A display that also writes plain lines to `log`.
    pub(crate) fn new(epochs: u64, print_freq: usize, classes: usize, log: File) -> Self {
        let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr());
        bar.set_style(style("{prefix} {bar:24} {pos}/{len}  {msg}"));
        let plain = !std::io::stderr().is_terminal();
        Self {
            epochs,
            top_k: top_k(classes),
            print_freq: print_freq as u64,
            bar,
            plain,
            log,
            means: Means::default(),
        }
    }

    /// A line for all: the terminal or plain output, and the log.
    pub(crate) fn say(&mut self, line: &str) {
        if self.plain {
            note(line);
        } else {
            self.bar.suspend(|| note(line));
        }
        self.record(line);
    }

    /// A line for the log. A log that cannot be written does not stop a run.
    fn record(&mut self, line: &str) {
        if let Err(error) = writeln!(self.log, "{}", legible(line)) {
            tracing::debug!("log.txt: {error}");
        }
    }

    /// torchvision's line.
    fn plain_line(&self, report: &StepReport) -> String {
        let StepReport { epoch, step_in_epoch, steps_per_epoch, loss, learning_rate, .. } = report;
        let metrics = report.epoch_metrics;
        format!(
            "Epoch: [{epoch}]  [{step_in_epoch:>w$}/{steps_per_epoch}]  eta: {}  lr: {}  \
             img/s: {:.1}  loss: {loss:.4} ({:.4})  acc1: {:.2}  acc{k}: {:.2}  data: {:.4} ({:.4})",
            clock(self.eta_s(report)),
            shortened(*learning_rate),
            report.images as f64 / report.step_s,
            metrics.loss,
            metrics.top1_accuracy * 100.0,
            metrics.top5_accuracy * 100.0,
            report.data_s,
            self.means.waited / self.means.steps as f64,
            k = self.top_k,
            w = steps_per_epoch.to_string().len(),
        )
    }

    /// Seconds to the end of the run's training, at the epoch's mean pace.
    fn eta_s(&self, report: &StepReport) -> f64 {
        let left = (self.epochs - report.epoch) * report.steps_per_epoch
            + (report.steps_per_epoch - report.step_in_epoch);
        left as f64 * self.means.seconds / self.means.steps as f64
    }
}

impl Observer for Display {
    fn unreadable(&mut self, image: &UnreadableImage) {
        self.say(&unreadable_line(image));
    }

    fn step(&mut self, report: &StepReport) {
        self.means.steps += 1;
        self.means.images += report.images;
        self.means.seconds += report.step_s;
        self.means.waited += report.data_s;
        let due = report.step_in_epoch.is_multiple_of(self.print_freq)
            || report.step_in_epoch == report.steps_per_epoch;
        if due || self.means.steps == 1 {
            let line = self.plain_line(report);
            self.record(&line);
            if self.plain {
                note(&line);
            }
        }
        let metrics = report.epoch_metrics;
        self.bar.set_length(report.steps_per_epoch);
        self.bar.set_prefix(format!("epoch {}/{}", report.epoch, self.epochs));
        self.bar.set_message(format!(
            "loss {:.3}  top-1 {:.1} %  {:.0} images/s  waiting {:.0} %  eta {}",
            metrics.loss,
            metrics.top1_accuracy * 100.0,
            self.means.images as f64 / self.means.seconds,
            self.means.waited / self.means.seconds * 100.0,
            clock(self.eta_s(report)),
        ));
        self.bar.set_position(report.step_in_epoch);
    }

    fn validated(&mut self, images: u64, of: u64) {
        self.bar.set_length(of);
        self.bar.set_position(images);
        self.bar.set_message("validation images");
    }

    fn epoch(&mut self, row: &EpochRow, best: bool) {
        self.means = Means::default();
        let EpochRow { epoch, train_loss, val_loss, top1_accuracy, top5_accuracy, .. } = row;
        let (top1, top5, k) = (top1_accuracy * 100.0, top5_accuracy * 100.0, self.top_k);
        let mark = if best { "  best so far" } else { "" };
        let line = if self.plain {
            format!("Test: Acc@1 {top1:.2} Acc@{k} {top5:.2} loss {val_loss:.4}{mark}")
        } else {
            format!(
                "epoch {epoch:>3}/{}  train loss {train_loss:.4}  val loss {val_loss:.4}  \
                 top-1 {top1:5.2} %  top-{k} {top5:5.2} %  {:.0} images/s{mark}",
                self.epochs, row.images_per_s
            )
        };
        self.say(&line);
        if *epoch == self.epochs {
            self.bar.finish_and_clear();
        }
    }

    fn not_saved(&mut self, failure: &SaveFailure) {
        self.say(&not_saved_line(failure));
    }

    fn stop(&mut self) -> bool {
        crate::interrupt::requested()
    }
}

fn not_saved_line(failure: &SaveFailure) -> String {
    let SaveFailure { reason, in_a_row, ends, .. } = failure;
    let then = if *ends { "the run ends" } else { "training goes on" };
    let shortage = failure.shortage.map_or_else(String::new, |found| {
        let [needs, free] = [found.needs_bytes, found.free_bytes].map(|bytes| bytes >> 20);
        format!(" ({free} MiB free, {needs} MiB needed)")
    });
    format!(
        "alexnet: not saved: {reason}{shortage}; what was saved before is whole, {then}, \
         attempt {in_a_row} of {SAVES_FAILED_MAX}"
    )
}

/// Seconds as 1:02:03.
fn clock(seconds: f64) -> String {
    let seconds = seconds.max(0.0).round() as u64;
    format!("{}:{:02}:{:02}", seconds / 3600, seconds / 60 % 60, seconds % 60)
}

/// Seconds in words: "3 minutes".
pub(crate) fn in_words(seconds: f64) -> String {
    HumanDuration(std::time::Duration::from_secs_f64(seconds.max(0.0))).to_string()
}

/// A learning rate to four figures, without trailing zeros.
fn shortened(rate: f64) -> String {
    let digits = (4 - rate.abs().log10().ceil().clamp(-12.0, 4.0) as i32).max(0) as usize;
    let text = format!("{rate:.digits$}");
    if text.contains('.') {
        text.trim_end_matches('0').trim_end_matches('.').to_owned()
    } else {
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_and_times_read_well() {
        let rates =
            [(0.01, "0.01"), (0.0123456, "0.01235"), (1e-5, "0.00001"), (2.0, "2"), (0.0, "0")];
        for (rate, expected) in rates {
            assert_eq!(shortened(rate), expected);
        }
        assert_eq!(clock(3723.4), "1:02:03");
    }
}
