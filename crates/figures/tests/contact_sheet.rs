//! A sheet shows every picture where it belongs, pixel for pixel, and says what it is.

#![allow(clippy::unwrap_used)] // In helpers too, where the lint does not know a test.

use alexnet_figures::{ContactSheet, FigureError, Picture, SheetRow};

/// A picture unlike any of another number.
fn picture(side: usize, number: usize) -> Picture {
    let level = |at: usize| (number * 37 + at * 11 + at / side) as u8;
    Picture::new(side, side, (0..side * side * 3).map(level).collect()).unwrap()
}

fn sheet(side: usize, captions: [&str; 2]) -> ContactSheet {
    let row = |(index, caption): (usize, &str)| SheetRow {
        caption: caption.into(),
        pictures: (0..3).map(|column| picture(side, index * 3 + column)).collect(),
    };
    ContactSheet {
        title: "title".into(),
        columns: ["one", "two", "three"].map(String::from).to_vec(),
        rows: captions.into_iter().enumerate().map(row).collect(),
    }
}

fn pixel(picture: &Picture, x: usize, y: usize) -> &[u8] {
    let at = (y * picture.width() + x) * 3;
    &picture.rgb()[at..at + 3]
}

/// The corner at which `part` is found in `sheet`, each of its pixels a square of `factor`.
fn place(sheet: &Picture, part: &Picture, factor: usize) -> Option<(usize, usize)> {
    let (width, height) = (part.width() * factor, part.height() * factor);
    let corners = (0..=sheet.height() - height)
        .flat_map(|top| (0..=sheet.width() - width).map(move |left| (left, top)));
    let is_at = |&(left, top): &(usize, usize)| {
        (0..height).all(|y| {
            (0..width)
                .all(|x| pixel(sheet, left + x, top + y) == pixel(part, x / factor, y / factor))
        })
    };
    corners.into_iter().find(is_at)
}

#[test]
fn pictures_stand_in_rows_and_columns_pixel_for_pixel() {
    for (side, factor) in [(130, 1), (128, 1), (70, 2), (43, 3)] {
        let drawn = sheet(side, ["a", "b"]).draw().unwrap();
        let places: Vec<(usize, usize)> =
            (0..6).map(|number| place(&drawn, &picture(side, number), factor).unwrap()).collect();
        for number in 0..6 {
            let (row, column) = (number / 3, number % 3);
            assert_eq!(places[number].1, places[row * 3].1, "top of {number} at {side}");
            assert_eq!(places[number].0, places[column].0, "left of {number} at {side}");
        }
        let step = side * factor;
        assert!(places[1].0 > places[0].0 + step && places[3].1 > places[0].1 + step);
        assert_eq!(place(&drawn, &picture(side, 6), factor), None, "a picture that is not there");
    }
}

#[test]
fn captions_are_drawn_below_their_own_row_and_nowhere_else() {
    let [first, other] = [["cat", "dog"], ["cat", "owl"]].map(|it| sheet(130, it).draw().unwrap());
    let lines = |a: &Picture, b: &Picture| -> Vec<usize> {
        let width = a.width() * 3;
        let rows = a.rgb().chunks(width).zip(b.rgb().chunks(width)).enumerate();
        rows.filter(|(_, (a, b))| a != b).map(|(y, _)| y).collect()
    };
    let differ = lines(&first, &other);
    let second_row = place(&first, &picture(130, 3), 1).unwrap().1;
    let below = second_row + 130..first.height();
    assert!(!differ.is_empty() && differ.iter().all(|y| below.contains(y)), "{differ:?}");
}

#[test]
fn a_sheet_comes_back_from_its_png() {
    let drawn = sheet(20, ["a", "b"]).draw().unwrap();
    let read = image::load_from_memory(&drawn.to_png().unwrap()).unwrap().into_rgb8();
    assert_eq!((read.width() as usize, read.height() as usize), (drawn.width(), drawn.height()));
    assert_eq!(read.into_raw(), drawn.rgb());
}

#[test]
fn a_sheet_without_pictures_is_a_sheet_and_one_too_large_is_refused() {
    assert!(ContactSheet::default().draw().unwrap().to_png().is_ok());
    let row = SheetRow { caption: String::new(), pictures: vec![picture(256, 0)] };
    let long = ContactSheet { rows: vec![row; 2000], ..ContactSheet::default() };
    let refused = long.draw().unwrap_err();
    assert!(matches!(refused, FigureError::TooLarge { .. }), "{refused}");
    assert!(refused.to_string().contains("ask for fewer"), "{refused}");
    assert_eq!(Picture::new(2, 2, vec![0; 11]), None);
}
