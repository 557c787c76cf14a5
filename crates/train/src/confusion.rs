//! Which classes were taken for which.

use std::collections::HashMap;

use crate::evaluate::Answer;
use crate::metrics::TOP;

/// Counts of true and answered classes. Only pairs that occur take memory: there are at most as many
/// as images, however many classes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Confusion {
    classes: Vec<ClassResult>,
    /// Images by (what they show, what was answered).
    pairs: HashMap<(u32, u32), u64>,
}

/// How one class's images went.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ClassResult {
    /// Its images.
    pub images: u64,
    /// Those answered right.
    pub top1: u64,
    /// Those whose class is among the five likeliest.
    pub top5: u64,
}

/// One class taken for another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Confused {
    /// What the images show.
    pub class: u32,
    /// What was answered.
    pub taken_for: u32,
    /// How many there are.
    pub images: u64,
    /// Of so many of the class.
    pub of: u64,
}

impl Confusion {
    /// Nothing counted yet, of so many classes.
    pub fn new(classes: usize) -> Self {
        Self { classes: vec![ClassResult::default(); classes], pairs: HashMap::new() }
    }

    /// Counts one image. One that could not be read is counted among its class's, but taken for
    /// nothing.
    pub fn add(&mut self, answer: &Answer<'_>) {
        let class = &mut self.classes[answer.label as usize];
        class.images += 1;
        if let Some(ranked) = answer.answer {
            class.top1 += u64::from(ranked.rank < 1);
            class.top5 += u64::from(ranked.rank < TOP);
            *self.pairs.entry((answer.label, ranked.predicted)).or_default() += 1;
        }
    }

    /// Of each class.
    pub fn classes(&self) -> &[ClassResult] {
        &self.classes
    }

    /// Pairs that occur, right ones included: by class, then by answer.
    pub fn pairs(&self) -> Vec<Confused> {
        let pair = |(&(class, taken_for), &images): (&(u32, u32), &u64)| {
            let of = self.classes[class as usize].images;
            Confused { class, taken_for, images, of }
        };
        let mut pairs: Vec<_> = self.pairs.iter().map(pair).collect();
        pairs.sort_by_key(|pair| (pair.class, pair.taken_for));
        pairs
    }

    /// Pairs of different classes, the most frequent first; equals by class, then by answer.
    pub fn most_confused(&self) -> Vec<Confused> {
        let mut pairs = self.pairs();
        pairs.retain(|pair| pair.class != pair.taken_for);
        pairs.sort_by_key(|pair| std::cmp::Reverse(pair.images)); // keeps the order of equals
        pairs
    }

    /// For each class, what it was most often taken for, if it ever was.
    pub fn most_often_taken_for(&self) -> Vec<Option<Confused>> {
        let mut most = vec![None; self.classes.len()];
        for pair in self.most_confused() {
            most[pair.class as usize].get_or_insert(pair);
        }
        most
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::evaluate::Ranked;

    /// `answered` is (label, predicted class, rank of the label), or no prediction.
    fn confusion(classes: usize, answered: &[(u32, Option<(u32, usize)>)]) -> Confusion {
        let mut confusion = Confusion::new(classes);
        for (sample, &(label, answer)) in answered.iter().enumerate() {
            let answer =
                answer.map(|(predicted, rank)| Ranked { probabilities: &[], predicted, rank });
            confusion.add(&Answer { sample, label, loss: 0.0, answer });
        }
        confusion
    }

    #[test]
    fn images_are_counted_by_class_and_by_what_they_were_taken_for() {
        let answered = [
            (0, Some((0, 0))),
            (0, Some((2, 1))),
            (0, Some((2, 7))),
            (0, Some((1, 4))),
            (2, Some((0, 5))),
            (2, None),
        ];
        let confusion = confusion(4, &answered);
        let result = |images, top1, top5| ClassResult { images, top1, top5 };
        let expected = [result(4, 1, 3), result(0, 0, 0), result(2, 0, 0), result(0, 0, 0)];
        assert_eq!(confusion.classes(), expected);
        let pair = |class, taken_for, images, of| Confused { class, taken_for, images, of };
        let wrong = [pair(0, 2, 2, 4), pair(0, 1, 1, 4), pair(2, 0, 1, 2)];
        assert_eq!(confusion.most_confused(), wrong);
        assert_eq!(confusion.pairs().len(), 4);
        let most = [Some(wrong[0]), None, Some(wrong[2]), None];
        assert_eq!(confusion.most_often_taken_for(), most);
    }
}
