//! `alexnet data statistics`: what the colours of a data set's training images are like.

use alexnet_data::{Fit, Preprocess, Sample, Statistics, open, statistics};
use serde::Serialize;

use super::{print_json, print_table, table, with_commas};
use crate::arguments::{Format, StatisticsArguments};
use crate::{Ended, interrupt, terminal};

/// In grey levels.
#[derive(Serialize)]
struct Found {
    images: u64,
    unreadable: u64,
    mean: [f32; 3],
    std: [f32; 3],
    /// Unit vectors times deviations, the largest first.
    components: [[f32; 3]; 3],
}

pub(crate) fn run(arguments: &StatisticsArguments) -> anyhow::Result<Ended> {
    let dataset = open(&arguments.data, arguments.val_fraction)?;
    let (fit, side): (Fit, _) = (arguments.fit.into(), arguments.resize_size);
    let (mean, std) = ([0.0; 3], [1.0; 3]);
    let preprocess = Preprocess { fit, resize: side, crop: side, mean, std, mean_image: None };
    let found = measured(&dataset.train.samples, &preprocess, arguments.workers)?;
    let Statistics { images, unreadable, mean, std, components, .. } = found;
    match arguments.format {
        Format::Json => print_json(&Found { images, unreadable, mean, std, components })?,
        Format::Table => {
            let mut rows = table(&["", "red", "green", "blue"]);
            let named = [("mean", mean), ("deviation", std)].into_iter();
            let components =
                ["component 1", "component 2", "component 3"].into_iter().zip(components);
            for (name, levels) in named.chain(components) {
                let levels = levels.map(|level| format!("{level:.3}"));
                rows.add_row(std::iter::once(name.to_owned()).chain(levels));
            }
            print_table(&rows)?;
            let images = with_commas(images as usize);
            terminal::print(&format!("{images} training images, levels 0 to 255"))?;
        }
    }
    Ok(Ended::Done)
}

/// Reads all images, with a bar; Ctrl-C ends it. Says how many cannot be read.
pub(super) fn measured(
    samples: &[Sample],
    preprocess: &Preprocess,
    workers: usize,
) -> anyhow::Result<Statistics> {
    interrupt::listen()?;
    let bar = terminal::bar(samples.len() as u64, "images");
    let found = statistics(samples, preprocess, workers, &mut |done| {
        bar.set_position(done);
        !interrupt::requested()
    })?;
    bar.finish_and_clear();
    if found.unreadable > 0 {
        let count = with_commas(found.unreadable as usize);
        terminal::note(&format!("alexnet: {count} images cannot be read and are left out"));
    }
    Ok(found)
}
