//! `alexnet predict`: what images show.

use std::io;
use std::path::Path;

use alexnet_data::{FoundImages, find_images};
use alexnet_ops::Device;
use alexnet_predict::{Predictor, Ranked};
use serde::Serialize;

use super::{open_predictor, print_json};
use crate::arguments::{PredictArguments, PredictFormat};
use crate::device::on_device;
use crate::settings::UsageError;
use crate::terminal::{hand_over, note, print};
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

/// An image that cannot be read is reported and the others are still predicted; the exit code
/// tells.
fn predict<D: Device>(device: D, arguments: &PredictArguments) -> anyhow::Result<Ended> {
    let has_logits = matches!(arguments.format, PredictFormat::Json | PredictFormat::Jsonl);
    if arguments.logits && !has_logits {
        return Err(UsageError("--logits needs --format json or jsonl".into()).into());
    }
    let FoundImages { images, passed_over } = find_images(&arguments.paths)?;
    if !passed_over.is_empty() {
        note(&format!("alexnet: {passed_over}"));
    }
    let mut predictor = open_predictor(device, &arguments.weights, 1)?.1;
    let mut printer = Printer::new(arguments.format);
    let mut ended = Ended::Done;
    for path in &images {
        match predict_one(&mut predictor, path, arguments) {
            Ok(prediction) => printer.print(prediction)?,
            Err(error) => {
                note(&format!("alexnet: {}", one_line(&error)));
                ended = Ended::Incomplete;
            }
        }
    }
    printer.finish()?;
    Ok(ended)
}

fn predict_one<D: Device>(
    predictor: &mut Predictor<D>,
    path: &Path,
    arguments: &PredictArguments,
) -> anyhow::Result<Prediction> {
    let logits = predictor.predict(path)?;
    let predictions = predictor.top(&logits, arguments.top_k);
    let path = path.display().to_string();
    Ok(Prediction { path, predictions, logits: arguments.logits.then_some(logits) })
}

/// Prints each prediction as it is made; the JSON array alone waits for the last.
enum Printer {
    Table,
    Json(Vec<Prediction>),
    Jsonl,
    Csv(Box<csv::Writer<io::Stdout>>),
}

impl Printer {
    fn new(format: PredictFormat) -> Self {
        match format {
            PredictFormat::Table => Self::Table,
            PredictFormat::Json => Self::Json(Vec::new()),
            PredictFormat::Jsonl => Self::Jsonl,
            PredictFormat::Csv => Self::Csv(Box::new(csv::Writer::from_writer(io::stdout()))),
        }
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
                    writer.serialize(row)?;
                }
            }
        }
        Ok(())
    }

    fn finish(self) -> anyhow::Result<()> {
        match self {
            Self::Json(all) => print_json(&all),
            Self::Csv(mut writer) => Ok(writer.flush()?),
            Self::Table | Self::Jsonl => Ok(()),
        }
    }
}

#[derive(Serialize)]
struct CsvRow<'p> {
    path: &'p str,
    rank: usize,
    index: usize,
    class: &'p str,
    probability: f64,
}
