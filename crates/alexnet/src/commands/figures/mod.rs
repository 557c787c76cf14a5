//! `alexnet figures`: a run in pictures.

mod answers;
mod curves;

use std::fs;
use std::path::{Path, PathBuf};

use alexnet_data::{DataError, write_beside};
use alexnet_figures::Filters;
use alexnet_network::Array;
use alexnet_train::RunFolder;
use alexnet_weights::ModelFile;
use anyhow::{Context, ensure};

use self::curves::Curves;
use crate::arguments::FiguresArguments;
use crate::device::on_device;
use crate::terminal::{note, print};
use crate::{Ended, interrupt, one_line};

/// Where figures of several runs go.
const DEFAULT_FOLDER: &str = "figures";

pub(crate) fn run(arguments: &FiguresArguments) -> anyhow::Result<Ended> {
    interrupt::listen()?;
    let runs = &arguments.runs;
    for run in runs {
        ensure!(run.is_dir(), "{} is no folder of a run", run.display());
    }
    let folder = match (&arguments.out, &runs[..]) {
        (Some(out), _) => out.clone(),
        (None, [run]) => run.join("figures"),
        (None, _) => DEFAULT_FOLDER.into(),
    };
    let mut figures = Figures { folder, written: 0, is_refused: false };
    let weights = if let [run] = &runs[..] { Some((run, weights(run))) } else { None };
    let classes =
        weights.as_ref().and_then(|(_, it)| it.as_ref().ok()).map(|it| it.1.classes.len());
    figures.try_to("curves", |figures| Curves::of(runs).draw(figures, classes))?;
    if let Some((run, weights)) = weights {
        match weights {
            Ok((path, file)) => {
                figures.try_to("filters", |figures| draw_filters(figures, &file))?;
                figures.try_to("answers", |figures| {
                    on_device!(arguments.device, |device| {
                        answers::draw(figures, device, (&path, file), run, arguments)
                    })
                })?;
            }
            Err(error) => note(&format!("alexnet: no filters, no answers: {}", one_line(&error))),
        }
    }
    ensure!(figures.written > 0, "there is nothing to draw: was any epoch finished?");
    Ok(Ended::Done)
}

/// Where figures are written.
struct Figures {
    folder: PathBuf,
    written: usize,
    /// Whether something could not be written: no reason to leave it out and go on.
    is_refused: bool,
}

impl Figures {
    /// Draws what can be drawn; says why the rest cannot.
    ///
    /// # Errors
    /// When what was drawn cannot be written, this machine cannot read, or a signal came.
    fn try_to(
        &mut self,
        what: &str,
        draw: impl FnOnce(&mut Self) -> anyhow::Result<()>,
    ) -> anyhow::Result<()> {
        match draw(self) {
            Err(error) if !self.is_refused && !ends_all(&error) => {
                note(&format!("alexnet: no {what}: {}", one_line(&error)));
                Ok(())
            }
            ended => ended,
        }
    }

    /// Writes a figure, whole or not at all, and prints its path.
    fn write(&mut self, name: &str, bytes: &[u8]) -> anyhow::Result<()> {
        self.write_by(name, |path| {
            write_beside(path, |file| file.write_all(bytes))
                .with_context(|| format!("cannot write {}", path.display()))
        })
    }

    /// As [`write`](Self::write), by a function of the path.
    fn write_by(
        &mut self,
        name: &str,
        write: impl FnOnce(&Path) -> anyhow::Result<()>,
    ) -> anyhow::Result<()> {
        interrupt::check()?;
        let (folder, path) = (&self.folder, self.folder.join(name));
        let written = fs::create_dir_all(folder)
            .with_context(|| format!("cannot create {}", folder.display()))
            .and_then(|()| write(&path))
            .and_then(|()| print(&path.display().to_string()));
        self.written += usize::from(written.is_ok());
        self.unless_refused(written)
    }

    /// Remembers if something that was drawn or found could not be written.
    fn unless_refused(&mut self, written: anyhow::Result<()>) -> anyhow::Result<()> {
        self.is_refused |= written.is_err();
        written
    }
}

/// Whether an error is no reason to go on with other figures.
fn ends_all(error: &anyhow::Error) -> bool {
    interrupt::is_wish_to_stop(error)
        || error.downcast_ref().is_some_and(DataError::is_of_the_machine)
}

/// The run's best weights, or else its last.
fn weights(run: &Path) -> anyhow::Result<(PathBuf, ModelFile)> {
    let folder = RunFolder::at(run);
    let path = [folder.best(), folder.last()].into_iter().find(|path| path.is_file());
    let path = path.with_context(|| format!("{} holds no weights", folder.weights().display()))?;
    let file = ModelFile::load(&path)?;
    Ok((path, file))
}

/// The paper's figure 3.
fn draw_filters(figures: &mut Figures, file: &ModelFile) -> anyhow::Result<()> {
    let kernels: Vec<&Array> = file.weights.iter().filter(|array| array.shape.len() == 4).collect();
    let first = kernels.first().context("the weights hold no convolution")?;
    let filters = match first.shape[..] {
        [_, 3, height, width] if height == width => Filters::new(width, &first.values),
        _ => None,
    };
    let filters = filters.context("the first layer's kernels are no colour filters")?;
    figures.write("filters.png", &filters.draw().to_png()?)?;
    let (count, side) = (filters.count(), first.shape[3]);
    // The second layer of a tower sees half of the first layer's maps.
    let is_two_towers = kernels.get(1).is_some_and(|second| second.shape[1] * 2 == count);
    let line = if is_two_towers {
        let [one, other] = [0..count / 2, count / 2..count].map(|half| filters.saturation(half));
        format!("mean saturation {one:.3} in the first tower, {other:.3} in the second")
    } else {
        format!("mean saturation {:.3}", filters.saturation(0..count))
    };
    let told = print(&format!("{count} filters of {side} x {side} pixels, {line}"));
    figures.unless_refused(told)
}
