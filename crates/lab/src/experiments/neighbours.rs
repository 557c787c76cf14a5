//! Nearest training images by the last hidden layer: figure 4, right, and a count.

use alexnet_data::{Loader, Pictures, Sample, View};
use alexnet_figures::{ContactSheet, Picture, SheetRow};
use alexnet_network::{Initialisation, Network, Pass, Plan, Purpose};
use alexnet_ops::Device;

use super::{differences, effect, recipe, with_spread};
use crate::experiment::Experiment;
use crate::finding::{Drawing, Finding, Table};
use crate::models::{PIXELS, up_to_last_hidden};
use crate::training::{BATCH, preprocess};
use crate::workbench::{LabError, Workbench};

const SEEDS: u64 = 3;
/// Nearest images looked at, as in the paper's figure.
const NEAREST: usize = 6;
/// Rows of the picture, as there.
const QUERIES: usize = 5;

/// A vector for each image of a split.
struct Vectors {
    len: usize,
    /// One after another.
    values: Vec<f32>,
}

pub(crate) fn run<D: Device + Clone>(bench: &mut Workbench<'_, D>) -> Result<Finding, LabError> {
    let seeds = bench.seeds(SEEDS);
    let recipe = recipe(bench.alexnet()?, bench.size);
    let here = bench.here(&seeds, &recipe)?;
    let loaders = [bench.train.clone(), bench.val.clone()]
        .map(|samples| bench.loader(samples, PIXELS, View::Centre, None));
    let [train, val] = loaders;
    let loaders = [train?, val?];
    let [train, val] = [pixels(&loaders[0])?, pixels(&loaders[1])?];
    let by_pixels = nearest(&val, &train);
    let pixel_share = 100.0 * bench.share_of_same_class(&by_pixels);
    let (mut shares, mut drawings) = (Vec::new(), Vec::new());
    for seed in seeds {
        let trained = bench.train_whole("the network", &recipe, seed)?;
        let [train, val] =
            [0, 1].map(|split| bench.features(&trained.network, &recipe.model, &loaders[split]));
        let by_features = nearest(&val?, &train?);
        shares.push(100.0 * bench.share_of_same_class(&by_features));
        if drawings.is_empty() {
            let sheet = bench.sheet(&loaders, &by_features, &by_pixels)?;
            let bytes = sheet.draw()?.to_png()?;
            drawings.push(Drawing { name: "neighbours.png".into(), bytes });
        }
    }
    let chance = 100.0 / bench.classes.len() as f64;
    let mut table = Table::new(&["nearest by", "of the same class, %"]);
    table.row(["the last hidden layer".into(), with_spread(&shares, 1)]);
    table.row(["pixels".into(), format!("{pixel_share:.1}")]);
    table.row(["chance".into(), format!("{chance:.1}")]);
    let by_pixels = vec![pixel_share; shares.len()];
    Ok(Finding {
        experiment: Experiment::Neighbours,
        here,
        there: "ILSVRC-2010: 4096 features of the whole network, L2; five test images, by eye"
            .into(),
        table,
        effects: vec![effect(
            &format!("per cent of the {NEAREST} nearest that are of the same class, beyond pixels"),
            "by eye: \"generally not close in L2\" in pixels",
            differences(&shares, &by_pixels),
        )],
        remarks: vec![format!(
            "All validation images are asked for their {NEAREST} nearest training images. The \
             picture has the first of {QUERIES} classes, of the first seed."
        )],
        drawings,
    })
}

impl<D: Device + Clone> Workbench<'_, D> {
    /// The last hidden layer's values for each image of a loader. Dropout would only scale them.
    fn features(
        &self,
        trained: &Network<D>,
        model: &alexnet_network::Model,
        images: &Loader,
    ) -> Result<Vectors, LabError> {
        let plan =
            Plan::new(&up_to_last_hidden(model), BATCH, Purpose::Inference, Initialisation::Model)?;
        let tensors: usize = plan.parameters.iter().map(|parameter| parameter.tensors.len()).sum();
        let weights = trained.weights();
        let mut network = Network::with_weights(self.device.clone(), plan, &weights[..tensors])?;
        let len = network.classes();
        vectors(images, len, |batch| network.forward(batch, Pass::Evaluate).to_vec())
    }

    /// The share of neighbours that are of their query's class.
    fn share_of_same_class(&self, neighbours: &[[usize; NEAREST]]) -> f64 {
        let same = neighbours.iter().zip(&self.val).map(|(nearest, query)| {
            nearest.iter().filter(|&&index| self.train[index].label == query.label).count()
        });
        same.sum::<usize>() as f64 / (neighbours.len() * NEAREST) as f64
    }

    /// Queries of different classes, each with its nearest by features and by pixels.
    fn sheet(
        &self,
        loaders: &[Loader; 2],
        by_features: &[[usize; NEAREST]],
        by_pixels: &[[usize; NEAREST]],
    ) -> Result<ContactSheet, LabError> {
        let [train, val] = [pixels(&loaders[0])?, pixels(&loaders[1])?];
        let classes = self.classes.len();
        let first_of =
            |class: usize| self.val.iter().position(|query| query.label as usize == class);
        let queries = (0..QUERIES.min(classes))
            .filter_map(|row| first_of(row * classes / QUERIES.min(classes)));
        let mut rows = Vec::new();
        for query in queries {
            for (by, neighbours) in [("hidden layer", by_features), ("pixels", by_pixels)] {
                let nearest = neighbours[query];
                let mut pictures = vec![picture(&val, query)];
                pictures.extend(nearest.iter().map(|&index| picture(&train, index)));
                let pictures = pictures.into_iter().flatten().collect();
                let class = |sample: &Sample| self.classes[sample.label as usize].clone();
                let own = class(&self.val[query]);
                let same =
                    nearest.iter().filter(|&&index| class(&self.train[index]) == own).count();
                let caption = format!("{own}, by {by}: {same} of {NEAREST} of the same class");
                rows.push(SheetRow { caption, pictures });
            }
        }
        let mut columns = vec!["query".to_owned()];
        columns.extend((1..=NEAREST).map(|rank| format!("nearest {rank}")));
        Ok(ContactSheet { title: "Nearest training images".into(), columns, rows })
    }
}

fn picture(images: &Vectors, index: usize) -> Option<Picture> {
    let levels = &images.values[index * images.len..][..images.len];
    Picture::new(PIXELS, PIXELS, preprocess(PIXELS).denormalise(levels))
}

/// The pixels themselves.
fn pixels(images: &Loader) -> Result<Vectors, LabError> {
    vectors(images, preprocess(PIXELS).image_len(), |batch| batch.values().into_owned())
}

/// What `of` makes of each batch.
fn vectors(
    images: &Loader,
    len: usize,
    mut of: impl FnMut(&Pictures) -> Vec<f32>,
) -> Result<Vectors, LabError> {
    let (mut values, mut epoch) = (Vec::new(), images.epoch(0, 0));
    while let Some(batch) = epoch.next_batch() {
        let batch = batch?;
        values.extend(of(&batch.images));
        epoch.recycle(batch);
    }
    Ok(Vectors { len, values })
}

/// For each query the nearest of `others` by L2, nearest first; there are at least so many.
fn nearest(queries: &Vectors, others: &Vectors) -> Vec<[usize; NEAREST]> {
    let of = |query: &[f32]| {
        let rows = others.values.chunks_exact(others.len);
        let mut all: Vec<(f32, usize)> = rows.map(|row| distance(query, row)).zip(0..).collect();
        all.sort_by(|a, b| a.0.total_cmp(&b.0));
        std::array::from_fn(|rank| all[rank].1)
    };
    queries.values.chunks_exact(queries.len).map(of).collect()
}

/// Squared, in sums of every eighth, so that it is done in vectors.
fn distance(a: &[f32], b: &[f32]) -> f32 {
    let mut sums = [0.0; 8];
    for (a, b) in a.chunks(8).zip(b.chunks(8)) {
        for (sum, (a, b)) in sums.iter_mut().zip(a.iter().zip(b)) {
            *sum += (a - b) * (a - b);
        }
    }
    sums.iter().sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_come_first() {
        let others = Vectors { len: 2, values: (0..16).map(|i| f32::from(i as u8)).collect() };
        let queries = Vectors { len: 2, values: vec![0.0, 1.0, 14.1, 15.0] };
        assert_eq!(nearest(&queries, &others), [[0, 1, 2, 3, 4, 5], [7, 6, 5, 4, 3, 2]]);
    }
}
