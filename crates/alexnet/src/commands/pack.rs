//! `alexnet data pack`: a data set in a few large files, read faster than it is decoded.

use std::path::Path;

use alexnet_data::{
    Encoding, Fit, JPEG_QUALITY, PackOutcome, PackSettings, PackSize, PackWriter, SHARD_IMAGES,
    open,
};

use super::with_commas;
use crate::arguments::{EncodingName, PackArguments, PackFlags};
use crate::settings::UsageError;
use crate::{Ended, interrupt, terminal};

pub(crate) fn run(PackArguments { work, pack }: &PackArguments) -> anyhow::Result<Ended> {
    let settings = settings(pack)?;
    let dataset = open(&work.data, work.val_fraction)?;
    interrupt::listen()?;
    let writer = PackWriter::begin(&dataset, settings, &work.out)?;
    write(writer, work.workers, &work.out)
}

/// How a set is packed.
///
/// # Errors
/// Flags of which one would have no effect beside the others.
pub(super) fn settings(flags: &PackFlags) -> Result<PackSettings, UsageError> {
    let refused = |problem: &str| Err(UsageError(problem.to_owned()));
    let encoded_as = flags.encoding.unwrap_or(EncodingName::Raw);
    if encoded_as == EncodingName::Original && flags.resize_size.is_some() {
        return refused(
            "--resize-size makes other images, which --encoding original cannot keep the bytes of: \
             leave one of them out, or pass --encoding jpeg or raw",
        );
    }
    if encoded_as != EncodingName::Jpeg && flags.quality.is_some() {
        return refused("--quality is that of JPEG files: pass --encoding jpeg, or leave it out");
    }
    if flags.fit.is_some() && flags.resize_size.is_none() {
        return refused("--fit says how images are brought to --resize-size: pass both or neither");
    }
    let fit = flags.fit.map_or(Fit::ShorterSide, Fit::from);
    let encoding = match encoded_as {
        EncodingName::Original => Encoding::Original,
        EncodingName::Jpeg => Encoding::Jpeg(flags.quality.unwrap_or(JPEG_QUALITY)),
        EncodingName::Raw => Encoding::Raw,
    };
    Ok(PackSettings {
        size: flags.resize_size.map(|side| PackSize { fit, side }),
        encoding,
        shard_images: flags.shard_images.unwrap_or(SHARD_IMAGES),
    })
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
        terminal::note(&format!(
            "alexnet: {path} is stored as it is: it cannot be decoded, or would be too large"
        ));
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
