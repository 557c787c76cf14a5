//! `alexnet data pack`: a data set in a few large files, read faster than it is decoded.

use alexnet_data::{Encoding, PackOutcome, PackSettings, PackSize, open, pack, shard_count};

use super::with_commas;
use crate::arguments::{EncodingName, PackArguments};
use crate::{Ended, interrupt, terminal};

pub(crate) fn run(arguments: &PackArguments) -> anyhow::Result<Ended> {
    let dataset = open(&arguments.data, arguments.val_fraction)?;
    let size = arguments.resize_size.map(|side| PackSize { fit: arguments.fit.into(), side });
    let encoding = match arguments.encoding {
        EncodingName::Original => Encoding::Original,
        EncodingName::Jpeg => Encoding::Jpeg(arguments.quality),
        EncodingName::Raw => Encoding::Raw,
    };
    let settings = PackSettings { size, encoding, shard_images: arguments.shard_images };
    interrupt::listen()?;
    let shards = shard_count(&dataset, settings.shard_images);
    let bar = terminal::bar(shards as u64, "shards");
    let outcome = pack(&dataset, settings, &arguments.out, arguments.workers, &mut |done| {
        bar.set_position(done);
        !interrupt::requested()
    })?;
    bar.finish_and_clear();
    report(&outcome, arguments)?;
    Ok(Ended::Done)
}

fn report(outcome: &PackOutcome, arguments: &PackArguments) -> anyhow::Result<()> {
    let PackOutcome { train, val, reused_shards, bytes, unreadable } = outcome;
    for path in unreadable {
        terminal::note(&format!("alexnet: {path} cannot be decoded and is stored as it is"));
    }
    if *reused_shards > 0 {
        terminal::note(&format!("{reused_shards} shards were there already."));
    }
    let (train, val, out) = (with_commas(*train), with_commas(*val), arguments.out.display());
    let megabytes = with_commas((bytes >> 20) as usize);
    terminal::print(&format!(
        "{out}: {train} training and {val} validation images, {megabytes} MiB"
    ))
}
