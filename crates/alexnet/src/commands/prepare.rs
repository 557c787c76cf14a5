//! `alexnet data prepare`: ILSVRC-2012's files, or any data set, as class folders or packed.

use std::path::{Path, PathBuf};

use alexnet_data::{
    Dataset, Downloads, PackWriter, TreeOutcome, TreeWriter, Verdict, left_out, open,
};

use super::{pack, with_commas};
use crate::arguments::{PackFlags, PrepareArguments, Target};
use crate::settings::UsageError;
use crate::{Ended, interrupt, terminal};

/// Files that are no images, shown by name.
const FILES_SHOWN: usize = 3;

pub(crate) fn run(arguments: &PrepareArguments) -> anyhow::Result<Ended> {
    let PrepareArguments { work, to, .. } = arguments;
    if *to == Target::Tree && arguments.pack != PackFlags::default() {
        let problem = "--encoding, --resize-size, --fit, --quality and --shard-images say how a set \
                       is packed: pass --to pack, or leave them out";
        return Err(UsageError(problem.into()).into());
    }
    let settings = pack::settings(&arguments.pack)?;
    let dataset = open(&work.data, work.val_fraction)?;
    interrupt::listen()?;
    if let Some(files) = counted(&left_out(&dataset)?) {
        terminal::note(&format!("Left out, as no .jpg, .jpeg or .png in a class: {files}."));
    }
    // A folder that cannot be used is found before hours go into the downloads.
    match to {
        Target::Tree => {
            let writer = TreeWriter::begin(&dataset, &work.out)?;
            verify(&dataset, arguments)?;
            write(writer, work.workers, &work.out)
        }
        Target::Pack => {
            let writer = PackWriter::begin(&dataset, settings, &work.out)?;
            verify(&dataset, arguments)?;
            pack::write(writer, work.workers, &work.out)
        }
    }
}

/// Compares the downloads the set is read from, if it is, with the published ones.
fn verify(dataset: &Dataset, arguments: &PrepareArguments) -> anyhow::Result<()> {
    if arguments.no_verify {
        return Ok(());
    }
    let downloads = Downloads::of(dataset, &arguments.work.out)?;
    let bar = terminal::bar(downloads.bytes() >> 20, "MiB compared");
    let verdicts = downloads.verify(&mut |bytes| {
        bar.set_position(bytes >> 20);
        !interrupt::requested()
    })?;
    bar.finish_and_clear();
    for (path, verdict) in verdicts {
        let verdict = match verdict {
            Verdict::Verified => "has the published MD5",
            Verdict::VerifiedBefore => "had the published MD5 before and has not changed",
            Verdict::Other => "is not the published file, so nothing verifies it",
        };
        terminal::note(&format!("{} {verdict}.", path.display()));
    }
    Ok(())
}

fn write(writer: TreeWriter, workers: usize, out: &Path) -> anyhow::Result<Ended> {
    let bar = terminal::bar(writer.folders() as u64, "class folders");
    let outcome = writer.run(workers, &mut |done| {
        bar.set_position(done);
        !interrupt::requested()
    })?;
    bar.finish_and_clear();
    let TreeOutcome { train, val, folders, reused_folders, no_images } = outcome;
    if let Some(files) = counted(&no_images) {
        terminal::note(&format!("Copied as they are, though neither JPEG nor PNG: {files}."));
    }
    if reused_folders > 0 {
        terminal::note(&format!(
            "{} class folders were there already.",
            with_commas(reused_folders)
        ));
    }
    let [train, val, folders] = [train, val, folders].map(with_commas);
    terminal::print(&format!(
        "{}: {train} training and {val} validation images in {folders} class folders",
        out.display()
    ))?;
    Ok(Ended::Done)
}

/// How many files, and the first of them; nothing of none.
fn counted(files: &[PathBuf]) -> Option<String> {
    let shown: Vec<String> =
        files.iter().take(FILES_SHOWN).map(|path| path.display().to_string()).collect();
    let (shown, count) = (shown.join(", "), with_commas(files.len()));
    match files.len() {
        0 => None,
        1 => Some(format!("1 file, {shown}")),
        2..=FILES_SHOWN => Some(format!("{count} files, {shown}")),
        _ => Some(format!("{count} files, such as {shown}")),
    }
}
