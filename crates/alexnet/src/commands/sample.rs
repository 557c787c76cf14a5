//! `alexnet data sample`: the built-in sample set, drawn as JPEG files.

use std::path::Path;

use alexnet_data::SampleSet;

use crate::arguments::SampleArguments;
use crate::{Ended, interrupt, terminal};

/// Where `train` looks for the set unless it is given a folder, and draws it if it is not there.
pub(crate) const DEFAULT_FOLDER: &str = "sample-set";

pub(crate) fn run(arguments: &SampleArguments) -> anyhow::Result<Ended> {
    let set = SampleSet {
        seed: arguments.seed,
        train_per_class: arguments.train_per_class,
        val_per_class: arguments.val_per_class,
        ..SampleSet::default()
    };
    write(&set, &arguments.folder)?;
    terminal::print(&arguments.folder.display().to_string())?;
    Ok(Ended::Done)
}

/// Draws `set` into `folder`, saying so.
pub(crate) fn write(set: &SampleSet, folder: &Path) -> anyhow::Result<()> {
    let classes = SampleSet::classes().len() as u32;
    let (train, val) = (set.train_per_class * classes, set.val_per_class * classes);
    interrupt::listen()?;
    terminal::note(&format!(
        "Drawing the sample set into {}: {classes} classes, {train} training and {val} \
         validation images.",
        folder.display()
    ));
    let bar = terminal::bar(u64::from(train + val), "images");
    set.write(folder, &mut |done, _| {
        bar.set_position(done);
        !interrupt::requested()
    })?;
    bar.finish_and_clear();
    Ok(())
}
