//! Files beside the images, which no command reads: some were perhaps meant to be.

use std::collections::HashSet;
use std::path::{Path, PathBuf};

use super::report::{Case, Cases, FindingKind};
use crate::dataset::{Dataset, Split};
use crate::error::DataError;
use crate::passed_over::{is_dead_link, is_unsupported};
use crate::sample::Content;
use crate::sources::{is_hidden, is_image, walk};
use crate::survey::Survey;

/// Looks through the folders whose files are the set's images.
pub(super) fn find(survey: &Survey, found: &mut Cases<'_>) -> Result<(), DataError> {
    let splits: Vec<&Split> = survey.splits.iter().map(|named| &named.split).collect();
    for path in beside(&splits)? {
        found.add(kind(&path), Case::of_file(path.display().to_string()));
    }
    Ok(())
}

/// The files in the folders of a set of files that are none of its images: none by their names, or in no
/// class. Hidden ones are not meant.
///
/// # Errors
/// A folder that cannot be listed.
pub fn left_out(dataset: &Dataset) -> Result<Vec<PathBuf>, DataError> {
    let mut files = beside(&[&dataset.train, &dataset.val])?;
    files.retain(|path| !is_hidden(path));
    Ok(files)
}

/// The files in the splits' folders that are none of their images, by folder, then by name.
fn beside(splits: &[&Split]) -> Result<Vec<PathBuf>, DataError> {
    let samples = splits.iter().flat_map(|split| &split.samples);
    let used: HashSet<&Path> = samples
        .filter_map(|sample| match &sample.content {
            Content::File(path) => Some(path.as_path()),
            Content::Part(_) | Content::Cell(_) => None,
        })
        .collect();
    let mut found: Vec<PathBuf> = Vec::new();
    if used.is_empty() {
        return Ok(found);
    }
    let mut seen = HashSet::new();
    let folders = splits.iter().map(|split| &split.folder);
    for folder in folders.filter(|folder| folder.is_dir()) {
        if !seen.insert(folder) {
            continue;
        }
        let first = found.len();
        walk(folder, &mut |path| {
            if !used.contains(path.as_path()) {
                found.push(path);
            }
        })?;
        found[first..].sort_unstable();
    }
    Ok(found)
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
