//! Which classes there are, how many images each has, and what they are called.

use std::cmp::Ordering;
use std::collections::BTreeMap;

use unicode_normalization::UnicodeNormalization;

use super::IMBALANCE_MAX;
use super::report::{Case, Cases, FindingKind, Imbalance};
use crate::sources::{TRAIN, VAL};
use crate::survey::Survey;

/// The largest and the smallest class of the training images, or of all where there are no splits.
/// Classes without any are another matter.
pub(super) fn imbalance(survey: &Survey) -> Option<Imbalance> {
    let counts = survey.learnt()?.images_by_class(survey.learnt_classes);
    let counted = || counts.iter().copied().zip(&survey.classes).filter(|&(count, _)| count > 0);
    // Of equals the first.
    let (most, largest) = counted().reduce(|a, b| if b.0 > a.0 { b } else { a })?;
    let (least, smallest) = counted().min_by_key(|&(count, _)| count)?;
    let ratio = most as f64 / least as f64;
    Some(Imbalance { largest: largest.clone(), smallest: smallest.clone(), ratio })
}

/// Whatever classes lack.
pub(super) fn find(survey: &Survey, found: &mut Cases<'_>) {
    missing(survey, found);
    if let Some(Imbalance { largest, smallest, ratio }) = imbalance(survey)
        && ratio >= IMBALANCE_MAX
    {
        let detail = Some(format!("differ by a factor of {ratio:.1}"));
        found.add(FindingKind::Imbalance, Case::of_classes(vec![largest, smallest], detail));
    }
    similar(&survey.classes, found);
    natural(&survey.classes[..survey.learnt_classes], found);
    if !survey.rivals.is_empty() {
        let rivals = survey.rivals.join(", ");
        found.add(FindingKind::SeveralValidations, Case::of_detail(&rivals));
    }
    if let Some(reason) = &survey.left_out {
        found.add(FindingKind::LeftOut, Case::of_detail(reason));
    }
}

/// Splits that are not there, classes without images in one.
fn missing(survey: &Survey, found: &mut Cases) {
    let (learnt, others) = survey.classes.split_at(survey.learnt_classes);
    if learnt.len() < 2 {
        found.add(FindingKind::TooFewClasses, Case::of_classes(learnt.to_vec(), None));
    }
    let case = |class: &String| Case::of_classes(vec![class.clone()], None);
    others.iter().for_each(|class| found.add(FindingKind::UnknownClass, case(class)));
    let splits = [
        (TRAIN, FindingKind::ClassWithoutTraining, survey.learnt()),
        (VAL, FindingKind::ClassWithoutValidation, survey.split(VAL)),
    ];
    for (name, kind, split) in splits {
        if let Some(split) = split {
            let counts = split.images_by_class(survey.classes.len());
            let without = learnt.iter().zip(&counts).filter(|&(_, &count)| count == 0);
            without.for_each(|(class, _)| found.add(kind, case(class)));
        } else {
            found.add(FindingKind::MissingSplit, Case::of_detail(name));
        }
    }
}

/// Names that somebody, or some file system, will take for one.
fn similar(classes: &[String], found: &mut Cases) {
    let mut by_key: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for class in classes {
        let key = class.trim().nfc().collect::<String>().to_lowercase();
        by_key.entry(key).or_default().push(class.clone());
    }
    for classes in by_key.into_values().filter(|classes| classes.len() > 1) {
        found.add(FindingKind::SimilarNames, Case::of_classes(classes, None));
    }
}

/// Classes sorted by their bytes that tools which sort as people count will number otherwise.
fn natural(classes: &[String], found: &mut Cases) {
    if !classes.is_sorted() {
        return;
    }
    let mut order: Vec<usize> = (0..classes.len()).collect();
    order.sort_by(|&a, &b| natural_order(&classes[a], &classes[b]));
    let mut numbers = vec![0; classes.len()];
    order.into_iter().enumerate().for_each(|(number, class)| numbers[class] = number);
    for (label, (class, number)) in classes.iter().zip(numbers).enumerate() {
        if label != number {
            let detail = Some(format!("is number {label} here, {number} there"));
            found.add(FindingKind::NaturalOrder, Case::of_classes(vec![class.clone()], detail));
        }
    }
}

/// `class2` before `class10`: digits count as numbers, all else by its bytes.
fn natural_order(a: &str, b: &str) -> Ordering {
    pieces(a).cmp(pieces(b)).then_with(|| a.cmp(b))
}

#[derive(PartialEq, Eq, PartialOrd, Ord)]
enum Piece<'n> {
    /// How many digits, which are they; without leading zeros.
    Number(usize, &'n [u8]),
    Text(&'n [u8]),
}

fn pieces(name: &str) -> impl Iterator<Item = Piece<'_>> {
    let is_digit = u8::is_ascii_digit;
    name.as_bytes().chunk_by(move |a, b| is_digit(a) == is_digit(b)).map(move |piece| {
        if !is_digit(&piece[0]) {
            return Piece::Text(piece);
        }
        let zeros = piece.iter().take_while(|&&digit| digit == b'0').count();
        Piece::Number(piece.len() - zeros, &piece[zeros..])
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digits_are_sorted_as_numbers() {
        let sorted =
            ["", "2", "10", "a", "a-b", "class", "class2", "class010", "class10", "class10b"];
        for (a, b) in sorted.iter().zip(&sorted[1..]) {
            assert_eq!(natural_order(a, b), Ordering::Less, "{a:?} and {b:?}");
        }
    }
}
