//! `alexnet data check`: what is wrong with a data set, the worst first.

use alexnet_data::{
    Case, CheckReport, Finding, FindingKind, ImageReference, Severity, Sizes, SplitReport, check,
    survey,
};
use serde::Serialize;

use super::info::{print_classes, print_head};
use super::{print_json, print_table, table, with_commas};
use crate::arguments::{CheckArguments, Format};
use crate::{Ended, interrupt, machine, terminal};

/// Cases of an error or a warning shown to a person; JSON has all.
const CASES_SHOWN: usize = 5;
/// Cases of a note.
const NOTED_CASES_SHOWN: usize = 2;
/// Copies of one picture.
const COPIES_SHOWN: usize = 3;

/// The report as JSON, with its sums.
#[derive(Serialize)]
struct Counted<'r> {
    errors: usize,
    warnings: usize,
    notes: usize,
    #[serde(flatten)]
    report: &'r CheckReport<'r>,
}

pub(crate) fn run(arguments: &CheckArguments) -> anyhow::Result<Ended> {
    let survey = survey(&arguments.data, arguments.val_fraction)?;
    let images: usize = survey.splits.iter().map(|named| named.split.samples.len()).sum();
    let workers = arguments.workers.unwrap_or(machine::cores());
    interrupt::listen()?;
    let bar = terminal::bar(images as u64, "images");
    let report = check(&survey, arguments.image_size, workers, &mut |done| {
        bar.set_position(done);
        !interrupt::requested()
    })?;
    bar.finish_and_clear();
    let [errors, warnings, notes] =
        [Severity::Error, Severity::Warning, Severity::Note].map(|it| report.count(it));
    match arguments.format {
        Format::Json => print_json(&Counted { errors, warnings, notes, report: &report })?,
        Format::Table => print(&report)?,
    }
    let fails = errors > 0 || (arguments.strict && warnings > 0);
    Ok(if fails { Ended::Incomplete } else { Ended::Done })
}

fn print(report: &CheckReport<'_>) -> anyhow::Result<()> {
    print_head(&report.data, report.kind, report.classes.len())?;
    terminal::print("")?;
    print_splits(report)?;
    terminal::print("")?;
    let splits: Vec<&str> = report.splits.iter().map(|split| split.name).collect();
    print_classes(&splits, &report.classes)?;
    for (severity, title) in
        [(Severity::Error, "Errors"), (Severity::Warning, "Warnings"), (Severity::Note, "Notes")]
    {
        let findings = report.findings.iter().filter(|finding| finding.severity == severity);
        for (index, finding) in findings.enumerate() {
            if index == 0 {
                terminal::print_lines(&format!("\n{title}"))?;
            }
            print_finding(finding)?;
        }
    }
    terminal::print("")?;
    terminal::print(&conclusion(report.count(Severity::Error), report.count(Severity::Warning)))
}

fn print_splits(report: &CheckReport) -> anyhow::Result<()> {
    let smaller = format!("below {}", report.crop);
    let mut rows = table(&["split", "images", "smallest", "median", "largest", &smaller]);
    rows.align_right(1..6);
    for SplitReport { name, images, sizes, .. } in &report.splits {
        let shown = |[width, height]: [u32; 2]| format!("{width} x {height}");
        let [smallest, median, largest, smaller] = match *sizes {
            Some(Sizes { smallest, median, largest, smaller_than_crop }) => {
                let smaller = with_commas(smaller_than_crop);
                [shown(smallest), shown(median), shown(largest), smaller]
            }
            None => Default::default(),
        };
        rows.add_row([*name, &with_commas(*images), &smallest, &median, &largest, &smaller]);
    }
    print_table(&rows)
}

fn print_finding(finding: &Finding<'_>) -> anyhow::Result<()> {
    let cases = finding.cases.len();
    let [one, many] = headline(finding.kind);
    terminal::print(&format!("  {} {}", with_commas(cases), if cases == 1 { one } else { many }))?;
    let most = match finding.severity {
        Severity::Note => NOTED_CASES_SHOWN,
        Severity::Error | Severity::Warning => CASES_SHOWN,
    };
    for case in finding.cases.iter().take(most) {
        terminal::print(&format!("      {}", in_words(case)))?;
    }
    match cases.saturating_sub(most) {
        0 => Ok(()),
        more => terminal::print(&format!("      and {} more", with_commas(more))),
    }
}

/// What so many cases are, after their number: one, and several.
fn headline(kind: FindingKind) -> [&'static str; 2] {
    match kind {
        FindingKind::TooFewClasses => ["set has fewer than two classes"; 2],
        FindingKind::UnknownClass => [
            "class to measure is none that is learnt",
            "classes to measure are none that are learnt",
        ],
        FindingKind::ClassWithoutTraining => {
            ["class has no training images", "classes have no training images"]
        }
        FindingKind::SeveralValidations => {
            ["group of splits that may each be meant to measure with: rename or remove all but one";
                2]
        }
        FindingKind::Unreadable => ["image cannot be decoded", "images cannot be decoded"],
        FindingKind::Empty => ["image file has no bytes", "image files have no bytes"],
        FindingKind::Contradiction => {
            ["picture is in several classes", "pictures are in several classes"]
        }
        FindingKind::Leak => [
            "picture is both learnt from and measured with",
            "pictures are both learnt from and measured with",
        ],
        FindingKind::MissingSplit => {
            ["split is missing (train takes --val-fraction instead of val)", "splits are missing"]
        }
        FindingKind::ClassWithoutValidation => {
            ["class has no images to measure with", "classes have no images to measure with"]
        }
        FindingKind::Imbalance => ["class has many more images than another"; 2],
        FindingKind::SimilarNames => [
            "group of classes has nearly the same name",
            "groups of classes have nearly the same name",
        ],
        FindingKind::Duplicate => {
            ["picture is there more than once", "pictures are there more than once"]
        }
        FindingKind::WrongExtension => [
            "image is of another format than its name says, and read as what it is",
            "images are of another format than their names say, and read as what they are",
        ],
        FindingKind::DeepGrey => [
            "grey image has 16 bits, of which all above 255 is clipped, as Pillow does",
            "grey images have 16 bits, of which all above 255 is clipped, as Pillow does",
        ],
        FindingKind::Orientation => [
            "image lies on its side or is mirrored by EXIF, which is ignored, as torchvision does",
            "images lie on their side or are mirrored by EXIF, which is ignored, as torchvision does",
        ],
        FindingKind::UnsupportedFormat
        | FindingKind::DeadLink
        | FindingKind::OutsideClasses
        | FindingKind::Hidden
        | FindingKind::OtherFile => skipped(kind),
        FindingKind::LeftOut => ["split is left out"; 2],
        FindingKind::Cmyk => [
            "JPEG has four inks, converted as Pillow does",
            "JPEGs have four inks, converted as Pillow does",
        ],
        FindingKind::Grey => ["image is grey", "images are grey"],
        FindingKind::Alpha => [
            "image has transparency, which is dropped",
            "images have transparency, which is dropped",
        ],
        FindingKind::NaturalOrder => [
            "class has another number with tools that sort digits as numbers",
            "classes have other numbers with tools that sort digits as numbers",
        ],
    }
}

/// As [`headline`], of files that are not read.
fn skipped(kind: FindingKind) -> [&'static str; 2] {
    match kind {
        FindingKind::UnsupportedFormat => [
            "image is of a format that is not read, and skipped: convert it",
            "images are of formats that are not read, and skipped: convert them",
        ],
        FindingKind::DeadLink => [
            "link leads nowhere, and is skipped: restore what it leads to, or remove it",
            "links lead nowhere, and are skipped: restore what they lead to, or remove them",
        ],
        FindingKind::OutsideClasses => [
            "image lies outside of all classes, and is skipped",
            "images lie outside of all classes, and are skipped",
        ],
        FindingKind::Hidden => ["hidden file is skipped", "hidden files are skipped"],
        _ => ["other file is skipped", "other files are skipped"],
    }
}

fn in_words(case: &Case<'_>) -> String {
    let Case { detail, images, classes, file } = case;
    let named = match (&images[..], file) {
        ([], Some(file)) => file.clone(),
        ([], None) => classes.join(", "),
        ([image], _) => image.content.path().display().to_string(),
        (copies, _) => of_copies(copies),
    };
    match detail {
        Some(detail) if named.is_empty() => detail.to_string(),
        Some(detail) => format!("{named} {detail}"),
        None => named,
    }
}

/// `photos/train/cat/1.jpg (cat) = photos/train/dog/7.jpg (dog)`
fn of_copies(copies: &[ImageReference<'_>]) -> String {
    let shown = copies.iter().take(COPIES_SHOWN);
    let name = |image: &ImageReference<'_>| {
        format!("{} ({})", image.content.path().display(), image.class)
    };
    let shown: Vec<_> = shown.map(name).collect();
    let text = shown.join(" = ");
    match copies.len().saturating_sub(COPIES_SHOWN) {
        0 => text,
        more => format!("{text} and {more} more"),
    }
}

fn conclusion(errors: usize, warnings: usize) -> String {
    let counted = |count: usize, what: &str| match count {
        1 => format!("1 {what}"),
        _ => format!("{} {what}s", with_commas(count)),
    };
    match (errors, warnings) {
        (0, 0) => "Nothing found that would spoil training.".into(),
        (0, _) => {
            format!("Nothing found that would spoil training; {}.", counted(warnings, "warning"))
        }
        _ => format!("{}, {}.", counted(errors, "error"), counted(warnings, "warning")),
    }
}
