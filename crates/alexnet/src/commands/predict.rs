//! `alexnet predict`: what images show.

use std::io;
use std::path::Path;

use alexnet_data::{PassedOver, find_images};
use alexnet_ops::Device;
use alexnet_predict::{Ranked, likeliest};
use anyhow::Context;
use serde::Serialize;

use super::{open_predictor, print_json};
use crate::arguments::{PredictArguments, PredictFormat};
use crate::device::on_device;
use crate::settings::UsageError;
use crate::terminal::{NOT_PRINTED, hand_over, note, print};
use crate::{Ended, one_line};

/// One image's result.
#[derive(Serialize)]
struct Prediction {
    path: String,
    predictions: Vec<Ranked>,
    #[serde(skip_serializing_if = "Option::is_none")]
    logits: Option<Vec<f32>>,
}

pub(crate) fn run(arguments: &PredictArguments) -> anyhow::Result<Ended> {
    on_device!(arguments.device, |device| predict(device, arguments))
}

/// A path that is not there or an image that cannot be read is reported and the others are still
/// predicted; the exit code tells.
fn predict<D: Device>(device: D, arguments: &PredictArguments) -> anyhow::Result<Ended> {
    let has_logits = matches!(arguments.format, PredictFormat::Json | PredictFormat::Jsonl);
    if arguments.logits && !has_logits {
        return Err(UsageError("--logits needs --format json or jsonl".into()).into());
    }
    let mut failures = 0;
    let mut failed = |error: &anyhow::Error| {
        note(&format!("alexnet: {}", one_line(error)));
        failures += 1;
    };
    let (mut images, mut passed_over) = (Vec::new(), PassedOver::default());
    for path in &arguments.paths {
        match find_images(path) {
            Ok(found) => {
                images.extend(found.images);
                passed_over = passed_over.and(&found.passed_over);
            }
            Err(error) if error.is_of_the_machine() => return Err(error.into()),
            Err(error) => failed(&error.into()),
        }
    }
    if !passed_over.is_empty() {
        note(&format!("alexnet: {passed_over}"));
    }
    let at_a_time = arguments.batch_size.min(images.len().max(1));
    let mut predictor = open_predictor(device, &arguments.weights, at_a_time)?.1;
    let classes = predictor.classes().to_vec();
    let mut printer = Printer::new(arguments.format)?;
    // One image is sooner read than a thread is started.
    let workers = if images.len() > 1 { arguments.workers } else { 0 };
    predictor.predict_each(&images, workers, |path, logits| match logits {
        Ok(logits) => printer.print(Prediction::new(path, &classes, logits, arguments)),
        Err(error) => {
            failed(&error.into());
            Ok(())
        }
    })?;
    printer.finish()?;
    Ok(if failures == 0 { Ended::Done } else { Ended::Incomplete })
}

impl Prediction {
    fn new(path: &Path, classes: &[String], logits: &[f32], arguments: &PredictArguments) -> Self {
        Self {
            path: path.display().to_string(),
            predictions: likeliest(classes, logits, arguments.top_k),
            logits: arguments.logits.then(|| logits.to_vec()),
        }
    }
}

/// Prints each prediction as it is made; the JSON array alone waits for the last.
enum Printer {
    Table,
    Json(Vec<Prediction>),
    Jsonl,
    Csv(Box<csv::Writer<io::Stdout>>),
}

impl Printer {
    fn new(format: PredictFormat) -> anyhow::Result<Self> {
        Ok(match format {
            PredictFormat::Table => Self::Table,
            PredictFormat::Json => Self::Json(Vec::new()),
            PredictFormat::Jsonl => Self::Jsonl,
            PredictFormat::Csv => {
                let mut writer =
                    csv::WriterBuilder::new().has_headers(false).from_writer(io::stdout());
                // Also where no image follows: a table without rows has its columns.
                written(writer.write_record(CSV_COLUMNS))?;
                Self::Csv(Box::new(writer))
            }
        })
    }

    fn print(&mut self, prediction: Prediction) -> anyhow::Result<()> {
        match self {
            Self::Json(all) => all.push(prediction),
            Self::Jsonl => hand_over(&serde_json::to_string(&prediction)?)?,
            Self::Table => {
                print(&prediction.path)?;
                for Ranked { class, probability, .. } in &prediction.predictions {
                    print(&format!("  {:>5.1} %  {class}", probability * 100.0))?;
                }
            }
            Self::Csv(writer) => {
                for (rank, ranked) in prediction.predictions.iter().enumerate() {
                    let Ranked { index, class, probability } = ranked;
                    let row = CsvRow {
                        path: &prediction.path,
                        rank: rank + 1,
                        index: *index,
                        class,
                        probability: *probability,
                    };
                    written(writer.serialize(row))?;
                }
            }
        }
        Ok(())
    }

    fn finish(self) -> anyhow::Result<()> {
        match self {
            Self::Json(all) => print_json(&all),
            Self::Csv(mut writer) => written(writer.flush().map_err(Into::into)),
            Self::Table | Self::Jsonl => Ok(()),
        }
    }
}

/// What came of writing CSV. The system's error is taken out of the format's, so that a reader who has
/// seen enough is known as one here too.
fn written(result: csv::Result<()>) -> anyhow::Result<()> {
    let of_the_system = |error: csv::Error| match error.into_kind() {
        csv::ErrorKind::Io(error) => error,
        other => io::Error::other(format!("{other:?}")),
    };
    result.map_err(of_the_system).context(NOT_PRINTED)
}

const CSV_COLUMNS: [&str; 5] = ["path", "rank", "index", "class", "probability"];

/// A row, in the order of [`CSV_COLUMNS`].
#[derive(Serialize)]
struct CsvRow<'p> {
    path: &'p str,
    rank: usize,
    index: usize,
    class: &'p str,
    probability: f64,
}
