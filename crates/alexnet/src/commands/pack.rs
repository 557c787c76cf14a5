//! `alexnet data pack`: a data set in a few large files, read faster than it is decoded.

use std::path::Path;

use alexnet_data::{
    Encoding, Fit, JPEG_QUALITY, PackOutcome, PackSettings, PackSize, PackWriter, SHARD_IMAGES,
    open,
};

use super::with_commas;
use crate::arguments::{EncodingName, PackArguments, PackFlags};
use crate::{Ended, interrupt, terminal};

pub(crate) fn run(PackArguments { work, pack }: &PackArguments) -> anyhow::Result<Ended> {
    let dataset = open(&work.data, work.val_fraction)?;
    interrupt::listen()?;
    let writer = PackWriter::begin(&dataset, settings(pack), &work.out)?;
    write(writer, work.workers, &work.out)
}

pub(super) fn settings(flags: &PackFlags) -> PackSettings {
    let fit = flags.fit.map_or(Fit::ShorterSide, Fit::from);
    let encoding = match flags.encoding.unwrap_or(EncodingName::Raw) {
        EncodingName::Original => Encoding::Original,
        EncodingName::Jpeg => Encoding::Jpeg(flags.quality.unwrap_or(JPEG_QUALITY)),
        EncodingName::Raw => Encoding::Raw,
    };
    PackSettings {
        size: flags.resize_size.map(|side| PackSize { fit, side }),
        encoding,
        shard_images: flags.shard_images.unwrap_or(SHARD_IMAGES),
    }
}

pub(super) fn write(writer: PackWriter, workers: usize, out: &Path) -> anyhow::Result<Ended> {
    let bar = terminal::bar(writer.shards() as u64, "shards");
    let outcome = writer.run(workers, &mut |done| {
        bar.set_position(done);
        !interrupt::requested()
    })?;
    bar.finish_and_clear();
    report(&outcome, out)?;
    Ok(Ended::Done)
}

fn report(outcome: &PackOutcome, out: &Path) -> anyhow::Result<()> {
    let PackOutcome { train, val, reused_shards, bytes, unreadable } = outcome;
    for path in unreadable {
        terminal::note(&format!("alexnet: {path} cannot be decoded and is stored as it is"));
    }
    if *reused_shards > 0 {
        terminal::note(&format!("{reused_shards} shards were there already."));
    }
    let (train, val, out) = (with_commas(*train), with_commas(*val), out.display());
    let megabytes = with_commas((bytes >> 20) as usize);
    terminal::print(&format!(
        "{out}: {train} training and {val} validation images, {megabytes} MiB"
    ))
}
