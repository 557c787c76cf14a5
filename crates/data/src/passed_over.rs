//! What lies among images, was perhaps meant to be one, and is not read.

use std::fmt;
use std::path::{Path, PathBuf};

use crate::sources::{extension, is_hidden};

/// Images in formats that are not read, by the extensions they go by.
const UNSUPPORTED: [&str; 16] = [
    "webp", "gif", "bmp", "tif", "tiff", "heic", "heif", "avif", "jxl", "jp2", "jfif", "jpe",
    "ppm", "pgm", "tga", "svg",
];

/// Files that were passed over where images were looked for. Displayed it says what they are and what
/// to do.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PassedOver {
    /// Images in formats that are not read, by their names.
    pub formats: usize,
    /// Links that lead nowhere.
    pub links: usize,
    /// One of them.
    pub example: Option<PathBuf>,
}

impl PassedOver {
    /// Whether nothing was.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.formats + self.links == 0
    }

    /// All of both.
    #[must_use]
    pub fn and(self, other: &Self) -> Self {
        Self {
            formats: self.formats + other.formats,
            links: self.links + other.links,
            example: self.example.or_else(|| other.example.clone()),
        }
    }

    /// Counts a file that is no image, if it was perhaps meant to be one.
    pub(crate) fn count(&mut self, path: &Path) {
        if is_hidden(path) {
            return;
        }
        if is_dead_link(path) {
            self.links += 1;
        } else if is_unsupported(path) {
            self.formats += 1;
        } else {
            return;
        }
        self.example.get_or_insert_with(|| path.to_path_buf());
    }
}

/// Whether it is an image in a format that is not read, by its name.
pub(crate) fn is_unsupported(path: &Path) -> bool {
    UNSUPPORTED.contains(&&*extension(path)) && path.is_file()
}

/// Whether nothing is where a link leads to.
pub(crate) fn is_dead_link(path: &Path) -> bool {
    path.is_symlink() && !path.exists()
}

impl fmt::Display for PassedOver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let formats = match self.formats {
            0 => None,
            1 => Some("1 image of another format".to_owned()),
            many => Some(format!("{many} images of other formats")),
        };
        let links = match self.links {
            0 => None,
            1 => Some("1 link that leads nowhere".to_owned()),
            many => Some(format!("{many} links that lead nowhere")),
        };
        let both: Vec<String> = [formats, links].into_iter().flatten().collect();
        let verb = if self.formats + self.links == 1 { "is" } else { "are" };
        write!(f, "{} {verb} left out", both.join(" and "))?;
        if let Some(example) = &self.example {
            write!(f, ", such as {}", example.display())?;
        }
        f.write_str(match (self.formats, self.links) {
            (_, 0) => ": convert to JPEG or PNG what should be read",
            (0, _) => ": restore or remove what they lead to",
            _ => ": convert to JPEG or PNG, or restore, what should be read",
        })
    }
}
