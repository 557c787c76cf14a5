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

/// A bar that counts to `length` what `what` says, drawn on standard error if that is a terminal. A
/// narrow one shows no more of `what` than there is room for: a line that wraps is drawn again and
/// again.
pub(crate) fn bar(length: u64, what: &str) -> ProgressBar {
    ProgressBar::with_draw_target(Some(length), ProgressDrawTarget::stderr())
        .with_style(style("{bar:16} {pos}/{len} {wide_msg}"))
        .with_message(what.to_owned())
}

/// Draws `bar` at `position` of `length` with `message`: at once, so that no frame has one of them
/// from before.
pub(crate) fn show(bar: &ProgressBar, position: u64, length: u64, message: String) {
    bar.clone().with_message(message).update(|state| {
        state.set_len(length);
        state.set_pos(position);
    });
}

/// The bar of a run: what is known in one line, which a narrow terminal cuts from its end, and below
/// it a bar as wide as the terminal.
fn training_bar(target: ProgressDrawTarget) -> ProgressBar {
    ProgressBar::with_draw_target(None, target)
        .with_style(style("{prefix} {percent:>3}%  {wide_msg}\n{wide_bar} {pos}/{len}"))
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
    /// From an epoch's first step to its end. Not drawn where there is no terminal.
    bar: Option<ProgressBar>,
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
        let plain = !std::io::stderr().is_terminal();
        Self {
            epochs,
            top_k: top_k(classes),
            print_freq: print_freq as u64,
            bar: None,
            plain,
            log,
            means: Means::default(),
        }
    }

    /// A line for all: the terminal or plain output, and the log.
    pub(crate) fn say(&mut self, line: &str) {
        self.leave_bar_if_stopping();
        match &self.bar {
            Some(bar) => bar.suspend(|| note(line)),
            None => note(line),
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

    /// The bar of the epoch, made when it is first drawn.
    fn bar(&mut self) -> &ProgressBar {
        self.leave_bar_if_stopping();
        self.bar.get_or_insert_with(|| training_bar(ProgressDrawTarget::stderr()))
    }

    /// Whoever wishes to stop is answered below the bar, which stays from then on as it was last drawn:
    /// another frame would wipe the answer out.
    fn leave_bar_if_stopping(&self) {
        if let Some(bar) = &self.bar
            && crate::interrupt::requested()
        {
            bar.set_draw_target(ProgressDrawTarget::hidden());
        }
    }

    /// What a bar says of a step: the most important first, all of it within 80 columns, and within
    /// 40 accuracy as a whole.
    fn facts(&self, report: &StepReport) -> String {
        let metrics = report.epoch_metrics;
        format!(
            "loss {:.2}  top-1 {:4.1}%  eta {}  {:.0} img/s  wait {:.0}%",
            metrics.loss,
            metrics.top1_accuracy * 100.0,
            clock(self.eta_s(report)),
            self.means.images as f64 / self.means.seconds,
            self.means.waited / self.means.seconds * 100.0,
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
        let prefix = format!("epoch {}/{}", report.epoch, self.epochs);
        let facts = self.facts(report);
        let bar = self.bar().clone().with_prefix(prefix);
        show(&bar, report.step_in_epoch, report.steps_per_epoch, facts);
    }

    fn validated(&mut self, images: u64, of: u64) {
        show(self.bar(), images, of, "validation images".into());
    }

    fn epoch(&mut self, row: &EpochRow, best: bool) {
        self.means = Means::default();
        let EpochRow { epoch, train_loss, val_loss, top1_accuracy, top5_accuracy, .. } = row;
        let (top1, top5, k) = (top1_accuracy * 100.0, top5_accuracy * 100.0, self.top_k);
        let line = if self.plain {
            let mark = if best { "  best so far" } else { "" };
            format!("Test: Acc@1 {top1:.2} Acc@{k} {top5:.2} loss {val_loss:.4}{mark}")
        } else {
            let (epochs, mark) = (self.epochs, if best { "  best" } else { "" });
            format!(
                "epoch {epoch:>w$}/{epochs}  loss {train_loss:.4}  val loss {val_loss:.4}  \
                 top-1 {top1:5.2} %  top-{k} {top5:5.2} %{mark}",
                w = epochs.to_string().len(),
            )
        };
        self.bar = None;
        self.say(&line);
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
    use std::sync::{Arc, Mutex};

    use alexnet_train::Metrics;
    use indicatif::TermLike;

    use super::*;

    /// A terminal of so many columns, and the lines that were drawn on it.
    #[derive(Clone, Debug)]
    struct Screen {
        columns: u16,
        drawn: Arc<Mutex<Vec<String>>>,
    }

    impl TermLike for Screen {
        fn width(&self) -> u16 {
            self.columns
        }
        fn move_cursor_up(&self, _: usize) -> std::io::Result<()> {
            Ok(())
        }
        fn move_cursor_down(&self, _: usize) -> std::io::Result<()> {
            Ok(())
        }
        fn move_cursor_right(&self, _: usize) -> std::io::Result<()> {
            Ok(())
        }
        fn move_cursor_left(&self, _: usize) -> std::io::Result<()> {
            Ok(())
        }
        fn write_line(&self, line: &str) -> std::io::Result<()> {
            self.write_str(line)
        }
        fn write_str(&self, text: &str) -> std::io::Result<()> {
            let is_line = !text.trim().is_empty();
            self.drawn.lock().expect("unspoilt").extend(is_line.then(|| text.to_owned()));
            Ok(())
        }
        fn clear_line(&self) -> std::io::Result<()> {
            Ok(())
        }
        fn flush(&self) -> std::io::Result<()> {
            Ok(())
        }
    }

    /// A run of `epochs` epochs on a terminal of `columns` columns, at half of its first.
    fn display(epochs: u64, columns: u16) -> (Display, Screen, StepReport) {
        let screen = Screen { columns, drawn: Arc::default() };
        let log = tempfile::tempfile().expect("a log");
        let mut display = Display::new(epochs, 1, 1000, log);
        display.plain = false;
        display.bar = Some(training_bar(ProgressDrawTarget::term_like(Box::new(screen.clone()))));
        let epoch_metrics =
            Metrics { images: 640_512, loss: 6.123, top1_accuracy: 0.123, top5_accuracy: 0.3 };
        let report = StepReport {
            epoch: 10.min(epochs),
            step_in_epoch: 5_004,
            steps_per_epoch: 10_009,
            images: 128,
            loss: 6.0,
            epoch_metrics,
            learning_rate: 0.01,
            step_s: 0.01,
            data_s: 0.002,
        };
        (display, screen, report)
    }

    fn drawn(screen: &Screen) -> Vec<String> {
        screen.drawn.lock().expect("unspoilt").clone()
    }

    #[test]
    fn a_bar_says_all_in_80_columns_and_in_40_how_good_the_network_is() {
        let (all, some) = (
            "epoch 10/90  50%  loss 6.12  top-1 12.3%  eta 2:14:17  12800 img/s  wait 20%",
            "epoch 10/90  50%  loss 6.12  top-1 12.3%",
        );
        for (columns, expected) in [(200, all), (80, all), (40, some)] {
            let (mut display, screen, report) = display(90, columns);
            display.step(&report);
            let [facts, bar] = &drawn(&screen)[..] else { panic!("{:?}", drawn(&screen)) };
            assert_eq!(facts, expected);
            assert!(bar.ends_with(" 5004/10009"), "{bar}");
            assert_eq!(bar.chars().count(), usize::from(columns), "{bar}");
        }
    }

    #[test]
    fn no_line_of_a_bar_is_wider_than_the_terminal() {
        for columns in 40..120 {
            let (mut display, screen, report) = display(1000, columns);
            display.step(&report);
            display.validated(1_000, 50_000);
            let target = ProgressDrawTarget::term_like(Box::new(screen.clone()));
            let bar = bar(1_281_167, "images of a set with a long name");
            bar.set_draw_target(target);
            bar.set_position(1_000_000);
            let is_wider = |line: &&String| line.chars().count() > usize::from(columns);
            let lines = drawn(&screen);
            assert_eq!(lines.iter().find(is_wider), None, "{columns} columns");
        }
    }

    #[test]
    fn no_frame_has_the_count_of_what_was_done_before() {
        let (mut display, screen, report) = display(90, 80);
        display.step(&report);
        display.validated(100, 50_000);
        display.step(&StepReport { step_in_epoch: 1, ..report });
        let lines = drawn(&screen);
        let frames: Vec<_> = lines
            .chunks(2)
            .map(|frame| {
                let is_validation = frame[0].ends_with("validation images");
                (is_validation, frame[1].rsplit(' ').next().expect("a count"))
            })
            .collect();
        assert_eq!(frames, [(false, "5004/10009"), (true, "100/50000"), (false, "1/10009")]);
    }

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
