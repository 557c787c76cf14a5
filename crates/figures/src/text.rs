//! Lines of text, in Noto Sans Mono (SIL Open Font License), drawn beforehand as small pictures.

use noto_sans_mono_bitmap::{FontWeight, RasterHeight, get_raster, get_raster_width};

use crate::legible::legible;
use crate::picture::Picture;

/// What stands for a letter that the font lacks: it has Latin ones, accents included.
const UNKNOWN: char = '\u{fffd}';
/// What stands for a line's end that did not fit.
const CUT: &str = "..";

/// A name of a list as it is drawn in a picture: where the font lacks letters of it, its number in
/// the list, from 0, stands before it, so that no two names look alike.
#[must_use]
pub fn label(number: usize, name: &str) -> String {
    let name = legible(name);
    if name.chars().all(is_in_font) { name.into_owned() } else { format!("{number} {name}") }
}

/// How large and how heavy letters are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Style {
    Plain,
    Bold,
}

impl Style {
    fn font(self) -> (FontWeight, RasterHeight) {
        match self {
            Style::Plain => (FontWeight::Regular, RasterHeight::Size16),
            Style::Bold => (FontWeight::Bold, RasterHeight::Size16),
        }
    }

    /// Height of a line, in pixels.
    pub(crate) fn height(self) -> usize {
        self.font().1.val()
    }

    /// Width of `letters` letters, in pixels: all are equally wide.
    pub(crate) fn width(self, letters: usize) -> usize {
        let (weight, height) = self.font();
        letters * get_raster_width(weight, height)
    }
}

/// Writes `text` onto `picture` from (`left`, `top`) on, within `room` pixels; the end of a longer
/// one is cut off, which is seen.
pub(crate) fn write(
    picture: &mut Picture,
    text: &str,
    (left, top): (usize, usize),
    room: usize,
    style: Style,
    colour: [u8; 3],
) {
    draw(text, room, style, |x, y, opacity| picture.cover(left + x, top + y, colour, opacity));
}

/// As [`write`], but from (`left`, `bottom`) upwards.
pub(crate) fn write_upwards(
    picture: &mut Picture,
    text: &str,
    (left, bottom): (usize, usize),
    room: usize,
    style: Style,
    colour: [u8; 3],
) {
    draw(text, room, style, |x, y, opacity| {
        if let Some(row) = bottom.checked_sub(x + 1) {
            picture.cover(left + y, row, colour, opacity);
        }
    });
}

/// Tells `cover` of every pixel of the letters of a line, and how dark it is.
fn draw(text: &str, room: usize, style: Style, mut cover: impl FnMut(usize, usize, u8)) {
    let (weight, height) = style.font();
    let line = fitting(&legible(text), room / style.width(1));
    for (index, letter) in line.chars().enumerate() {
        let raster = get_raster(letter, weight, height);
        let Some(raster) = raster.or_else(|| get_raster(UNKNOWN, weight, height)) else { continue };
        let left = style.width(index);
        for (y, row) in raster.rows().enumerate() {
            for (x, &opacity) in row.iter().enumerate() {
                cover(left + x, y, opacity);
            }
        }
    }
}

fn is_in_font(letter: char) -> bool {
    let (weight, height) = Style::Plain.font();
    get_raster(letter, weight, height).is_some()
}

/// `text`, or as much of it as `letters` letters hold.
fn fitting(text: &str, letters: usize) -> String {
    if text.chars().count() <= letters {
        return text.to_owned();
    }
    let kept = letters.saturating_sub(CUT.len());
    text.chars().take(kept).chain(CUT.chars()).take(letters).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const SIZE: (usize, usize) = (200, 20);

    fn written(text: &str, room: usize) -> Picture {
        let mut picture = Picture::blank(SIZE.0, SIZE.1, [255; 3]);
        write(&mut picture, text, (3, 2), room, Style::Plain, [0; 3]);
        picture
    }

    #[test]
    fn every_letter_of_latin_names_is_drawn_and_no_two_alike() {
        let letters = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_.éüßñåøčşž";
        let mut drawn: Vec<Picture> = letters
            .chars()
            .chain([UNKNOWN])
            .map(|letter| written(&letter.to_string(), 50))
            .collect();
        let count = drawn.len();
        let is_dark = |picture: &Picture| picture.rgb().iter().any(|&level| level < 128);
        assert!(drawn.iter().all(is_dark), "a letter can hardly be seen");
        drawn.sort_by(|a, b| a.rgb().cmp(b.rgb()));
        drawn.dedup();
        assert_eq!(drawn.len(), count);
    }

    #[test]
    fn a_letter_the_font_lacks_has_a_sign_in_its_place() {
        assert_eq!(written("猫", 50), written("\u{fffd}", 50));
    }

    #[test]
    fn names_that_would_look_alike_are_told_apart_by_their_numbers() {
        let names = ["cat", "猫", "犬", "naïve", "e\u{301}"];
        let labels: Vec<String> = names.iter().enumerate().map(|(at, it)| label(at, it)).collect();
        assert_eq!(labels, ["cat", "1 猫", "2 犬", "naïve", "4 e\u{301}"]);
        assert_eq!(label(7, "bell\u{7}"), r"bell\u{7}");
    }

    #[test]
    fn text_upwards_is_text_turned() {
        let mut upwards = Picture::blank(SIZE.1, SIZE.0, [255; 3]);
        write_upwards(&mut upwards, "name", (2, SIZE.0 - 3), 100, Style::Plain, [0; 3]);
        let level = written("name", 100);
        for y in 0..SIZE.1 {
            for x in 0..SIZE.0 {
                let at = |picture: &Picture, x, y| picture.rgb()[(y * picture.width() + x) * 3];
                assert_eq!(at(&level, x, y), at(&upwards, y, SIZE.0 - 1 - x), "{x}, {y}");
            }
        }
    }

    #[test]
    fn text_that_does_not_fit_is_cut_where_it_is_seen() {
        let room = Style::Plain.width(5) + 1;
        for (text, expected) in [("three", "three"), ("sixsix", "six.."), ("", "")] {
            assert_eq!(written(text, room), written(expected, SIZE.0), "{text}");
        }
        assert_eq!(written("word", 0), written("", 0));
        // Nor is anything drawn beyond the picture.
        let mut small = Picture::blank(4, 4, [255; 3]);
        write(&mut small, "beyond", (2, 2), 1000, Style::Bold, [0; 3]);
    }
}
