//! What is wrong, odd or surprising in a data set: every image is read and decoded once.
//!
//! ```text
//! Survey --scan--> facts of each image --images, copies, classes, strays--> CheckReport
//! ```
//!
//! Of an image 64 bytes of facts are kept and no pixel, so that a million images fit, and of a case
//! where its image is listed, not its name. What is found
//! does not depend on the number of threads.

mod classes;
mod copies;
mod images;
mod report;
mod scan;
mod strays;

use crate::error::DataError;
use crate::parallel::Progress;
use crate::survey::Survey;

pub use strays::left_out;

pub use report::{
    Case, CheckReport, Finding, FindingKind, ImageReference, Imbalance, Severity, Sizes,
    SplitReport,
};

/// Largest class over smallest, from which on it is worth a warning.
pub const IMBALANCE_MAX: f64 = 10.0;

/// Reads all images of `survey` by `workers` threads; `progress` counts them. `crop` is the side of
/// the square that the network sees.
///
/// # Errors
/// A folder that cannot be listed, a machine that cannot read, or a request to stop. An image that cannot
/// be read is a finding.
pub fn check<'s>(
    survey: &'s Survey,
    crop: u32,
    workers: usize,
    progress: Progress,
) -> Result<CheckReport<'s>, DataError> {
    let scan = scan::scan(survey, workers, progress)?;
    let mut found = report::Cases::default();
    images::unreadable(&scan, &mut found);
    images::odd(&scan, &mut found);
    copies::find(&scan, &mut found);
    classes::find(survey, &mut found);
    strays::find(survey, &mut found)?;
    let (splits, findings) = (scan.split_reports(crop), found.into_findings());
    Ok(CheckReport {
        data: survey.root.display().to_string(),
        kind: survey.kind,
        crop,
        splits,
        classes: survey.class_images(),
        imbalance: classes::imbalance(survey),
        findings,
    })
}
