//! What the best weights answer to the run's validation images.

use std::path::Path;

use alexnet_data::{
    Loader, LoaderConfig, Order, Preprocess, Sample, Unreadable, View, open, open_split,
};
use alexnet_figures::{BarChart, Gallery, HeatMap, Mark, Picture, label};
use alexnet_ops::Device;
use alexnet_predict::{Predictor, inference_plan};
use alexnet_weights::ModelFile;
use anyhow::{Context, ensure};

use super::Figures;
use crate::arguments::FiguresArguments;
use crate::commands::{print_table, table, with_commas};
use crate::flags::TrainFlags;
use crate::interrupt;
use crate::machine::check_room;
use crate::measuring::{Judged, Likeliest, Measured, measure, write_mistakes};
use crate::terminal::print;

/// Pairs in the table on standard output; the file has all.
const CONFUSED_PRINTED: usize = 10;
/// Pictures in a row of the worst mistakes.
const MISTAKES_IN_A_ROW: usize = 6;

/// Draws all that needs the network and its validation images.
pub(super) fn draw<D: Device>(
    figures: &mut Figures,
    device: D,
    (path, file): (&Path, ModelFile),
    run: &Path,
    arguments: &FiguresArguments,
) -> anyhow::Result<()> {
    let samples = validation_images(run, &file.classes, arguments)?;
    let (classes, preprocess) = (file.classes.clone(), file.preprocess.clone());
    let plan = inference_plan(path, &file, arguments.batch_size)?;
    check_room(&device, &plan, 0, &path.display().to_string(), &["--batch-size"])?;
    let network = Predictor::new(device, path, file, plan)?.into_network();
    let config = evaluation(&preprocess, arguments.batch_size, arguments.workers);
    let loader = Loader::new(samples.clone(), config)?;
    let measured = measure(&mut [network], &loader, samples.len())?;
    let answers = Answers { classes: &classes, samples: &samples, measured: &measured };
    answers.draw_confusion(figures)?;
    answers.draw_classes(figures)?;
    answers.draw_mistakes(figures, &preprocess, arguments.mistakes)?;
    figures.unless_refused(answers.print_most_confused())
}

/// The images the run was validated with, labelled by the weights' classes.
fn validation_images(
    run: &Path,
    classes: &[String],
    arguments: &FiguresArguments,
) -> anyhow::Result<Vec<Sample>> {
    let saved = run.join("args.toml");
    ensure!(saved.is_file(), "{} is not there to name the data", saved.display());
    let flags = TrainFlags::default().over(&saved)?;
    let data = arguments.data.clone().or(flags.data);
    let data = data.with_context(|| format!("{} names no data", saved.display()))?;
    let aside = flags.val_fraction.filter(|&fraction| fraction > 0.0);
    if aside.is_none() {
        return Ok(open_split(&data, None, classes)?.split.samples);
    }
    let dataset = open(&data, aside)?;
    ensure!(
        dataset.classes == classes,
        "the classes of {} are not those of the weights: --data says where the run's are",
        data.display()
    );
    Ok(dataset.val.samples)
}

/// Images as they are evaluated.
fn evaluation(preprocess: &Preprocess, batch_size: usize, workers: usize) -> LoaderConfig {
    LoaderConfig {
        batch_size,
        workers,
        seed: 0,
        augment: View::Centre.into(),
        unreadable: Unreadable::Blank,
        preprocess: preprocess.clone(),
        order: Order::Sequential,
    }
}

struct Answers<'a> {
    classes: &'a [String],
    samples: &'a [Sample],
    measured: &'a Measured,
}

impl Answers<'_> {
    fn draw_confusion(&self, figures: &mut Figures) -> anyhow::Result<()> {
        let share = |images: u64, of: u64| images as f64 / of.max(1) as f64;
        let pairs = self.measured.confusion.pairs();
        let cells = pairs
            .iter()
            .map(|p| (p.class as usize, p.taken_for as usize, share(p.images, p.of)))
            .collect();
        let map = HeatMap {
            title: format!(
                "Share of each class's images by answer: {} of {} right",
                with_commas(right(self.measured)),
                with_commas(self.measured.metrics.images as usize)
            ),
            rows: "what it is".into(),
            columns: "what was answered".into(),
            names: self.classes.to_vec(),
            cells,
        };
        figures.write("confusion_matrix.png", &map.draw().to_png()?)?;
        figures.write_by("confusion_matrix.csv", |path| {
            self.measured.write_confusion(path, self.classes)
        })?;
        figures.write_by("most_confused.csv", |path| {
            self.measured.write_most_confused(path, self.classes)
        })
    }

    /// Classes by accuracy, the best first; those without images last.
    fn draw_classes(&self, figures: &mut Figures) -> anyhow::Result<()> {
        let results = self.measured.confusion.classes().iter().zip(self.classes);
        let mut bars: Vec<(String, f64)> = results
            .map(|(result, class)| {
                (class.clone(), result.top1 as f64 / result.images as f64 * 100.0)
            })
            .collect();
        bars.sort_by(|a, b| b.1.partial_cmp(&a.1).unwrap_or(a.1.is_nan().cmp(&b.1.is_nan())));
        let all = self.measured.metrics.top1_accuracy * 100.0;
        let chart = BarChart {
            title: "Validation accuracy by class".into(),
            x_label: "top-1 accuracy, %".into(),
            y_label: format!("{} classes", with_commas(self.classes.len())),
            bars,
            marks: vec![Mark { name: format!("all {all:.1} %"), value: all }],
        };
        figures.write("per_class.svg", chart.to_svg()?.as_bytes())?;
        figures.write_by("per_class.csv", |path| self.measured.write_per_class(path, self.classes))
    }

    /// The wrong answers that cost most, with what the network saw.
    fn draw_mistakes(
        &self,
        figures: &mut Figures,
        preprocess: &Preprocess,
        count: usize,
    ) -> anyhow::Result<()> {
        let mistakes = self.measured.worst(count);
        figures.write_by("worst_mistakes.csv", |path| {
            write_mistakes(path, &mistakes, self.samples, self.classes)
        })?;
        let of = |mistake: &(Judged, Likeliest)| self.samples[mistake.0.sample].clone();
        let shown: Vec<Sample> = mistakes.iter().map(of).collect();
        let loader = Loader::new(shown, evaluation(preprocess, 1, 0))?;
        let side = preprocess.crop as usize;
        let mut pictures = Vec::new();
        let mut images = loader.epoch(0, 0);
        for mistake in &mistakes {
            interrupt::check()?;
            let batch = images.next_batch().context("there is an image for each mistake")??;
            let picture = Picture::new(side, side, preprocess.denormalise(&batch.images.values()));
            pictures.push((picture.context("a picture is a square")?, self.lines(mistake)));
        }
        let title = match mistakes.len() {
            0 => "No image was answered wrong".to_owned(),
            count => format!("The {count} wrong answers with the highest loss"),
        };
        let gallery = Gallery { title, columns: MISTAKES_IN_A_ROW, pictures };
        figures.write("worst_mistakes.png", &gallery.draw()?.to_png()?)
    }

    fn lines(&self, (judged, answer): &(Judged, Likeliest)) -> Vec<String> {
        let class = |class: u32| label(class as usize, &self.classes[class as usize]);
        let percent = |probability: f64| format!("{:.1} %", probability * 100.0);
        vec![
            format!("is {}", class(judged.label)),
            format!("  {}", percent(answer.of_label)),
            format!("not {}", class(answer.predicted)),
            format!("  {}", percent(answer.probability)),
        ]
    }

    fn print_most_confused(&self) -> anyhow::Result<()> {
        let pairs = self.measured.confusion.most_confused();
        if pairs.is_empty() {
            return print("No class was taken for another.");
        }
        let mut rows = table(&["class", "taken for", "images", "of"]);
        for pair in pairs.iter().take(CONFUSED_PRINTED) {
            let [class, taken_for] =
                [pair.class, pair.taken_for].map(|class| &self.classes[class as usize]);
            rows.add_row([class, taken_for, &pair.images.to_string(), &pair.of.to_string()]);
        }
        print_table(&rows)
    }
}

/// Images answered right.
fn right(measured: &Measured) -> usize {
    measured.confusion.classes().iter().map(|class| class.top1 as usize).sum()
}
