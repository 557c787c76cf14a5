//! What networks answer to a split's images, and the tables that are made of it.

use std::io::Write;
use std::path::Path;

use alexnet_data::{DataError, Loader, Sample, write_beside};
use alexnet_network::Network;
use alexnet_ops::Device;
use alexnet_train::{Answer, Confusion, Metrics, TOP, evaluate_each};
use anyhow::Context;
use serde::Serialize;

use crate::{interrupt, terminal};

/// All that was answered.
pub(crate) struct Measured {
    pub(crate) metrics: Metrics,
    pub(crate) confusion: Confusion,
    /// For each image, in the order of the split.
    pub(crate) judged: Vec<Judged>,
}

/// What was answered to one image.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Judged {
    pub(crate) sample: usize,
    pub(crate) label: u32,
    pub(crate) loss: f64,
    /// `None` if the image could not be read.
    pub(crate) answer: Option<Likeliest>,
}

/// The likeliest class of an image that could be read.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Likeliest {
    pub(crate) predicted: u32,
    pub(crate) probability: f64,
    /// Of the class that it shows.
    pub(crate) of_label: f64,
    /// Classes before that one.
    pub(crate) rank: usize,
}

impl Judged {
    fn new(answer: &Answer<'_>) -> Self {
        let Answer { sample, label, loss, answer } = *answer;
        let answer = answer.map(|ranked| Likeliest {
            predicted: ranked.predicted,
            probability: ranked.probabilities[ranked.predicted as usize],
            of_label: ranked.probabilities[label as usize],
            rank: ranked.rank,
        });
        Self { sample, label, loss, answer }
    }
}

/// Shows all of `loader`'s images to the networks, together, with a bar on the terminal; Ctrl-C ends it
/// after a batch.
pub(crate) fn measure<D: Device>(
    networks: &mut [Network<D>],
    loader: &Loader,
    images: usize,
) -> anyhow::Result<Measured> {
    let bar = terminal::bar(images as u64, "images");
    let mut confusion = Confusion::new(networks[0].classes());
    let mut judged = Vec::with_capacity(images);
    let answered = |answer: &Answer<'_>| {
        confusion.add(answer);
        judged.push(Judged::new(answer));
    };
    let metrics = evaluate_each(networks, loader, answered, |batch, images| {
        batch.unreadable.iter().for_each(|image| bar.suspend(|| terminal::unreadable(image)));
        bar.set_position(images);
        if interrupt::requested() { Err(DataError::StoppedReading) } else { Ok(()) }
    })?;
    bar.finish_and_clear();
    Ok(Measured { metrics, confusion, judged })
}

/// How many of the likeliest classes count as found: five, or all if there are fewer.
pub(crate) fn top_k(classes: usize) -> usize {
    TOP.min(classes)
}

#[derive(Serialize)]
struct PredictionRow<'a> {
    path: String,
    label: &'a str,
    predicted: Option<&'a str>,
    probability: Option<f64>,
    correct: bool,
    rank: Option<usize>,
    top5: bool,
}

#[derive(Serialize)]
struct ClassRow<'a> {
    class: &'a str,
    images: u64,
    top1_accuracy: Option<f64>,
    top5_accuracy: Option<f64>,
    most_often_taken_for: Option<&'a str>,
    times: u64,
}

#[derive(Serialize)]
struct ConfusedRow<'a> {
    class: &'a str,
    taken_for: &'a str,
    images: u64,
    of: u64,
    share: f64,
}

#[derive(Serialize)]
struct MistakeRow<'a> {
    path: String,
    label: &'a str,
    probability_of_label: f64,
    predicted: &'a str,
    probability: f64,
    loss: f64,
}

impl Measured {
    /// A line an image. Of one that could not be read, what was answered is empty. `rank` is the
    /// label's place among the answers, 1 if right.
    pub(crate) fn write_predictions(
        &self,
        path: &Path,
        samples: &[Sample],
        classes: &[String],
    ) -> anyhow::Result<()> {
        let row = |judged: &Judged| PredictionRow {
            path: samples[judged.sample].content.path().display().to_string(),
            label: &classes[judged.label as usize],
            predicted: judged.answer.map(|answer| &*classes[answer.predicted as usize]),
            probability: judged.answer.map(|answer| answer.probability),
            correct: judged.answer.is_some_and(|answer| answer.rank == 0),
            rank: judged.answer.map(|answer| answer.rank + 1),
            top5: judged.answer.is_some_and(|answer| answer.rank < TOP),
        };
        write_rows(path, self.judged.iter().map(row))
    }

    /// A line a class; of one without images, the accuracies are empty.
    pub(crate) fn write_per_class(&self, path: &Path, classes: &[String]) -> anyhow::Result<()> {
        let most = self.confusion.most_often_taken_for();
        let results = self.confusion.classes().iter().zip(classes).zip(&most);
        let rows = results.map(|((result, class), most)| {
            let share =
                |right: u64| (result.images > 0).then(|| right as f64 / result.images as f64);
            ClassRow {
                class,
                images: result.images,
                top1_accuracy: share(result.top1),
                top5_accuracy: share(result.top5),
                most_often_taken_for: most.map(|pair| &*classes[pair.taken_for as usize]),
                times: most.map_or(0, |pair| pair.images),
            }
        });
        write_rows(path, rows)
    }

    /// A line and a column a class: how many images of the line's were taken for the column's.
    pub(crate) fn write_confusion(&self, path: &Path, classes: &[String]) -> anyhow::Result<()> {
        let pairs = self.confusion.pairs();
        let mut rest = &pairs[..];
        write_csv(path, |csv| {
            csv.write_field("class")?;
            csv.write_record(classes)?;
            for (label, class) in classes.iter().enumerate() {
                let own = rest.iter().take_while(|pair| pair.class as usize == label).count();
                let (own, others) = rest.split_at(own);
                let mut counts = vec![0; classes.len()];
                own.iter().for_each(|pair| counts[pair.taken_for as usize] = pair.images);
                csv.write_field(class)?;
                csv.write_record(counts.iter().map(u64::to_string))?;
                rest = others;
            }
            Ok(())
        })
    }

    /// A line for each pair of different classes, the most frequent first.
    pub(crate) fn write_most_confused(
        &self,
        path: &Path,
        classes: &[String],
    ) -> anyhow::Result<()> {
        let rows = self.confusion.most_confused();
        let rows = rows.iter().map(|pair| ConfusedRow {
            class: &classes[pair.class as usize],
            taken_for: &classes[pair.taken_for as usize],
            images: pair.images,
            of: pair.of,
            share: pair.images as f64 / pair.of as f64,
        });
        write_rows(path, rows)
    }

    /// The images that were answered wrong, those with the highest loss first.
    pub(crate) fn worst(&self, count: usize) -> Vec<(Judged, Likeliest)> {
        let wrong = self.judged.iter().filter_map(|&judged| Some((judged, judged.answer?)));
        let mut wrong: Vec<_> = wrong.filter(|(_, answer)| answer.rank > 0).collect();
        wrong.sort_by(|a, b| b.0.loss.total_cmp(&a.0.loss)); // keeps the order of equals
        wrong.truncate(count);
        wrong
    }
}

/// A line for each of some wrong answers.
pub(crate) fn write_mistakes(
    path: &Path,
    mistakes: &[(Judged, Likeliest)],
    samples: &[Sample],
    classes: &[String],
) -> anyhow::Result<()> {
    let rows = mistakes.iter().map(|(judged, answer)| MistakeRow {
        path: samples[judged.sample].content.path().display().to_string(),
        label: &classes[judged.label as usize],
        probability_of_label: answer.of_label,
        predicted: &classes[answer.predicted as usize],
        probability: answer.probability,
        loss: judged.loss,
    });
    write_rows(path, rows)
}

fn write_rows(path: &Path, rows: impl Iterator<Item = impl Serialize>) -> anyhow::Result<()> {
    let mut rows = rows;
    write_csv(path, |csv| rows.try_for_each(|row| csv.serialize(row)))
}

/// Writes a CSV file, whole or not at all.
fn write_csv(
    path: &Path,
    write: impl FnOnce(&mut csv::Writer<&mut dyn Write>) -> csv::Result<()>,
) -> anyhow::Result<()> {
    let written = write_beside(path, |file| {
        let mut writer = csv::Writer::from_writer(file);
        write(&mut writer)?;
        writer.flush()
    });
    written.with_context(|| format!("cannot write {}", path.display()))
}
