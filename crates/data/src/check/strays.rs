//! Files beside the images, which no command reads: some were perhaps meant to be.

use std::collections::HashSet;
use std::path::{Path, PathBuf};

use super::report::{Case, Cases, FindingKind};
use crate::error::DataError;
use crate::passed_over::{is_dead_link, is_unsupported};
use crate::sample::Content;
use crate::sources::{is_hidden, is_image, walk};
use crate::survey::Survey;

/// Looks through the folders whose files are the set's images.
pub(super) fn find(survey: &Survey, found: &mut Cases<'_>) -> Result<(), DataError> {
    let samples = survey.splits.iter().flat_map(|named| &named.split.samples);
    let used: HashSet<&Path> = samples
        .filter_map(|sample| match &sample.content {
            Content::File(path) => Some(path.as_path()),
            Content::Part(_) | Content::Cell(_) => None,
        })
        .collect();
    if used.is_empty() {
        return Ok(());
    }
    let mut seen = HashSet::new();
    let folders = survey.splits.iter().map(|named| &named.split.folder);
    for folder in folders.filter(|folder| folder.is_dir()) {
        if !seen.insert(folder) {
            continue;
        }
        let mut strays: Vec<PathBuf> = Vec::new();
        walk(folder, &mut |path| {
            if !used.contains(path.as_path()) {
                strays.push(path);
            }
        })?;
        strays.sort_unstable();
        for path in strays {
            found.add(kind(&path), Case::of_file(path.display().to_string()));
        }
    }
    Ok(())
}

fn kind(path: &Path) -> FindingKind {
    if is_hidden(path) {
        FindingKind::Hidden
    } else if is_dead_link(path) {
        FindingKind::DeadLink
    } else if is_image(path) && path.is_file() {
        FindingKind::OutsideClasses
    } else if is_unsupported(path) {
        FindingKind::UnsupportedFormat
    } else {
        FindingKind::OtherFile
    }
}
