//! What single images are.

use std::path::Path;

use super::report::{Case, Cases, FindingKind};
use super::scan::{Facts, Scan};
use crate::decode::{Colours, DecodeError, Format};
use crate::sources::extension;

/// Images that cannot be read.
pub(super) fn unreadable<'s>(scan: &Scan<'s>, found: &mut Cases<'s>) {
    for (image, facts) in scan.all() {
        let (kind, reason) = match facts {
            Facts::Read(_) => continue,
            Facts::Undecodable(reason) if *reason == DecodeError::Empty => {
                (FindingKind::Empty, reason.to_string())
            }
            Facts::Undecodable(reason) => (FindingKind::Unreadable, reason.to_string()),
            Facts::Unreadable(reason) => (FindingKind::Unreadable, reason.clone()),
        };
        found.add(kind, Case::of_image(scan.reference(image), Some(reason)));
    }
}

/// Images that are read, but not as everybody would expect.
pub(super) fn odd<'s>(scan: &Scan<'s>, found: &mut Cases<'s>) {
    for (_, image, read) in scan.readable() {
        // Bare pixels have no oddities.
        let Some(header) = read.header else { continue };
        let mut add = |kind, detail: Option<String>| {
            found.add(kind, Case::of_image(scan.reference(image), detail));
        };
        let path = image.sample.content.path();
        if let (Some(named), actual) = (format_of_name(&path), header.format)
            && named != actual
        {
            add(FindingKind::WrongExtension, Some(format!("is a {}", name(actual))));
        }
        match header.colours {
            Colours::Plain => {}
            Colours::Grey => add(FindingKind::Grey, None),
            Colours::DeepGrey => add(FindingKind::DeepGrey, None),
            Colours::Alpha => add(FindingKind::Alpha, None),
            Colours::Cmyk => add(FindingKind::Cmyk, Some("CMYK".into())),
            Colours::Ycck => add(FindingKind::Cmyk, Some("YCCK".into())),
        }
        if header.orientation != 1 {
            add(FindingKind::Orientation, Some(format!("orientation {}", header.orientation)));
        }
    }
}

/// The format that a file's name promises.
fn format_of_name(path: &Path) -> Option<Format> {
    match &*extension(path) {
        "jpg" | "jpeg" => Some(Format::Jpeg),
        "png" => Some(Format::Png),
        _ => None,
    }
}

fn name(format: Format) -> &'static str {
    match format {
        Format::Jpeg => "JPEG",
        Format::Png => "PNG",
    }
}
