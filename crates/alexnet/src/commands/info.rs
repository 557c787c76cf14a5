//! `alexnet data info`: what a data set is, without reading its images.

use alexnet_data::{ClassImages, Encoding, Fit, NamedSplit, Packing, Survey, survey};
use serde::Serialize;

use super::{print_json, print_table, table, with_commas};
use crate::arguments::{Format, InfoArguments};
use crate::{Ended, terminal};

/// Classes listed for a person; JSON has all.
const CLASSES_SHOWN: usize = 20;

#[derive(Serialize)]
struct Info {
    data: String,
    kind: &'static str,
    images: usize,
    bytes: u64,
    splits: Vec<SplitInfo>,
    classes: Vec<ClassImages>,
    #[serde(skip_serializing_if = "Option::is_none")]
    packing: Option<Packing>,
    #[serde(skip_serializing_if = "Option::is_none")]
    left_out: Option<String>,
}

#[derive(Serialize)]
struct SplitInfo {
    name: &'static str,
    place: String,
    images: usize,
    bytes: u64,
}

pub(crate) fn run(arguments: &InfoArguments) -> anyhow::Result<Ended> {
    let info = Info::of(survey(&arguments.data, arguments.val_fraction)?);
    match arguments.format {
        Format::Json => print_json(&info)?,
        Format::Table => print(&info)?,
    }
    Ok(Ended::Done)
}

impl Info {
    fn of(survey: Survey) -> Self {
        let split = |named: &NamedSplit| SplitInfo {
            name: named.name,
            place: named.split.folder.display().to_string(),
            images: named.split.samples.len(),
            bytes: named.stored_bytes(),
        };
        let splits: Vec<SplitInfo> = survey.splits.iter().map(split).collect();
        Self {
            data: survey.root.display().to_string(),
            kind: survey.kind,
            images: splits.iter().map(|split| split.images).sum(),
            bytes: splits.iter().map(|split| split.bytes).sum(),
            classes: survey.class_images(),
            splits,
            packing: survey.packing,
            left_out: survey.left_out,
        }
    }
}

fn print(info: &Info) -> anyhow::Result<()> {
    print_head(&info.data, info.kind, info.classes.len())?;
    if let Some(packing) = &info.packing {
        terminal::print(&in_words(packing))?;
    }
    terminal::print("")?;
    let mut rows = table(&["split", "images", "MiB", "where"]);
    rows.align_right(1..3);
    for SplitInfo { name, place, images, bytes } in &info.splits {
        let megabytes = format!("{:.1}", *bytes as f64 / f64::from(1 << 20));
        rows.add_row([*name, &with_commas(*images), &megabytes, place]);
    }
    print_table(&rows)?;
    if let Some(reason) = &info.left_out {
        terminal::print(&format!("test is left out: {reason}"))?;
    }
    terminal::print("")?;
    let splits: Vec<&str> = info.splits.iter().map(|split| split.name).collect();
    print_classes(&splits, &info.classes)
}

/// What was recognised.
pub(super) fn print_head(data: &str, kind: &str, classes: usize) -> anyhow::Result<()> {
    let classes = match classes {
        1 => "1 class".to_owned(),
        many => format!("{} classes", with_commas(many)),
    };
    terminal::print(&format!("{data}: {kind}, {classes}"))
}

/// The images of each class in each split.
pub(super) fn print_classes(splits: &[&str], classes: &[ClassImages]) -> anyhow::Result<()> {
    let mut rows = table(&[&["class"], splits].concat());
    rows.align_right(1..splits.len() + 1);
    for ClassImages { name, images } in classes.iter().take(CLASSES_SHOWN) {
        let counts =
            splits.iter().map(|split| with_commas(images.get(split).copied().unwrap_or(0)));
        rows.add_row([name.clone()].into_iter().chain(counts));
    }
    print_table(&rows)?;
    match classes.len().saturating_sub(CLASSES_SHOWN) {
        0 => Ok(()),
        more => terminal::print(&format!("and {} more", with_commas(more))),
    }
}

/// `bare pixels, shorter side 256, 3 shards of at most 1,024 images`
fn in_words(packing: &Packing) -> String {
    let Packing { settings, shards, unreadable } = packing;
    let encoding = match settings.encoding {
        Encoding::Original => "files as they were".to_owned(),
        Encoding::Jpeg(quality) => format!("JPEG of quality {quality}"),
        Encoding::Raw => "bare pixels".to_owned(),
    };
    let size = settings.size.map_or("sizes as they were".to_owned(), |size| match size.fit {
        Fit::ShorterSide => format!("shorter side {}", size.side),
        Fit::CentreSquare => format!("centre square of {}", size.side),
        Fit::Warp => format!("warped to {0} x {0}", size.side),
    });
    let shards = if *shards == 1 { "1 shard".into() } else { format!("{shards} shards") };
    let most = with_commas(settings.shard_images);
    let unreadable = match unreadable {
        0 => String::new(),
        some => format!("; {some} images could not be decoded"),
    };
    format!("{encoding}, {size}, {shards} of at most {most} images{unreadable}")
}
