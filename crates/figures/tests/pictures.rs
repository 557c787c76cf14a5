//! Filters, tables and galleries show what they are given, whatever its size.

#![allow(clippy::unwrap_used)] // In helpers too, where the lint does not know a test.

use alexnet_figures::{FigureError, Filters, Gallery, HeatMap, Picture};

fn pixel(picture: &Picture, x: usize, y: usize) -> [u8; 3] {
    let at = (y * picture.width() + x) * 3;
    picture.rgb()[at..at + 3].try_into().unwrap()
}

#[test]
fn filters_stand_in_rows_of_sixteen_at_one_common_scale() {
    // Filter k is all k, but red everywhere is k + 1: 20 filters of 2 x 2.
    let weights: Vec<f32> = (0..20)
        .flat_map(|k| [k + 1, k, k].into_iter().flat_map(|level| [level as f32; 4]))
        .collect();
    let filters = Filters::new(2, &weights).unwrap();
    assert_eq!(filters.count(), 20);
    let drawn = filters.draw();
    // A row of 16 filters of 2 pixels and 17 gaps of one, each pixel a square.
    let factor = drawn.width() / 49;
    assert_eq!((drawn.width(), drawn.height()), (49 * factor, 7 * factor));
    assert!(drawn.width() >= 700, "{factor}");
    let at = |x: usize, y: usize| pixel(&drawn, x * factor + factor / 2, y * factor + factor / 2);
    let level = |value: f64| (value / 20.0 * 255.0).round() as u8;
    for k in 0..20 {
        let (left, top) = (1 + k % 16 * 3, 1 + k / 16 * 3);
        let expected = [level(k as f64 + 1.0), level(k as f64), level(k as f64)];
        for (x, y) in [(0, 0), (1, 0), (0, 1), (1, 1)] {
            assert_eq!(at(left + x, top + y), expected, "filter {k}");
        }
        assert_eq!(at(left - 1, top), [0; 3], "no gap left of {k}");
        assert_eq!(at(left, top + 2), [0; 3], "no gap below {k}");
    }
}

#[test]
fn saturation_is_that_of_the_pixels_drawn() {
    let grey = [0.0, 1.0, 0.5, 0.25].repeat(3);
    let red = [[1.0; 4], [0.0; 4], [0.0; 4]].concat();
    let filters = Filters::new(2, &[grey, red].concat()).unwrap();
    assert_eq!(filters.saturation(0..1), 0.0);
    assert_eq!(filters.saturation(1..2), 1.0);
    assert_eq!(filters.saturation(0..2), 0.5);
}

#[test]
fn weights_that_are_no_filters_are_refused_and_odd_ones_drawn() {
    for (side, count) in [(0, 12), (2, 0), (2, 11), (usize::MAX, 12)] {
        assert_eq!(Filters::new(side, &vec![0.0; count]), None, "{side} {count}");
    }
    for odd in [[0.0; 3], [f32::NAN; 3], [f32::INFINITY, 1.0, f32::NEG_INFINITY]] {
        assert_eq!(Filters::new(1, &odd).unwrap().draw().to_png().unwrap()[..4], *b"\x89PNG");
    }
}

fn heat_map(count: usize, cells: Vec<(usize, usize, f64)>) -> HeatMap {
    HeatMap {
        title: "title".into(),
        rows: "true class".into(),
        columns: "answer".into(),
        names: (0..count).map(|index| format!("class {index}")).collect(),
        cells,
    }
}

/// Pixels of a colour, as (x, y) from the first of them.
fn found(picture: &Picture, colour: [u8; 3]) -> Vec<(usize, usize)> {
    let places = (0..picture.height()).flat_map(|y| (0..picture.width()).map(move |x| (x, y)));
    places.filter(|&(x, y)| pixel(picture, x, y) == colour).collect()
}

/// The darkest colour: all of a row.
const ALL: [u8; 3] = [8, 29, 88];

#[test]
fn a_cell_stands_in_its_row_and_column() {
    let count = 24;
    let corner = |row, column| {
        let drawn = heat_map(count, vec![(row, column, 1.0)]).draw();
        // The scale beside the table has that colour too, in its first row alone.
        let cell: Vec<_> = found(&drawn, ALL);
        let bottom = cell.iter().map(|at| at.1).max().unwrap();
        let left = cell.iter().filter(|at| at.1 == bottom).map(|at| at.0).min().unwrap();
        (left, bottom)
    };
    let (left, bottom) = corner(0, 0);
    for (row, column) in [(3, 0), (0, 5), (7, 20), (23, 23)] {
        assert_eq!(corner(row, column), (left + column * 40, bottom + row * 40), "{row} {column}");
    }
}

#[test]
fn tables_of_two_classes_and_of_thousands_are_drawn() {
    for count in [0, 1, 2, 12, 60, 61, 100, 1000, 1921, 22_000] {
        let diagonal = (0..count).map(|index| (index, index, 0.5)).collect();
        let drawn = heat_map(count, diagonal).draw();
        assert!(drawn.width() < 1600 && drawn.height() < 1600, "{count}: {}", drawn.width());
        assert!(drawn.to_png().unwrap().len() < 200_000, "{count}");
    }
    // Beyond the names nothing is drawn.
    assert_eq!(heat_map(2, vec![(2, 0, 1.0)]).draw(), heat_map(2, vec![]).draw());
}

#[test]
fn a_pixel_of_many_cells_is_the_largest_of_them() {
    let cells = vec![(0, 0, 1.0), (1, 1, 0.01), (0, 1, 0.2)];
    let one = heat_map(4000, cells).draw();
    let other = heat_map(4000, vec![(0, 0, 1.0)]).draw();
    assert_eq!(one, other);
}

#[test]
fn a_gallery_shows_each_picture_once_with_its_lines() {
    let colours = [[200, 0, 0], [0, 200, 0], [0, 0, 200]];
    let picture = |colour: [u8; 3]| Picture::new(2, 2, colour.repeat(4)).unwrap();
    let pictures: Vec<_> = colours.map(|colour| (picture(colour), vec!["a".into()])).to_vec();
    let gallery = Gallery { title: "title".into(), columns: 2, pictures };
    let drawn = gallery.draw().unwrap();
    let corners = colours.map(|colour| found(&drawn, colour)[0]);
    assert!(corners[0].1 == corners[1].1 && corners[0].0 < corners[1].0, "{corners:?}");
    assert!(corners[2].0 == corners[0].0 && corners[2].1 > corners[0].1, "{corners:?}");
    for colour in colours {
        assert_eq!(found(&drawn, colour).len(), 128 * 128);
    }
    let other = Gallery { pictures: vec![(picture(colours[0]), vec!["b".into()])], ..gallery };
    assert_ne!(other.draw().unwrap(), drawn);
}

#[test]
fn galleries_of_nothing_are_drawn_and_huge_ones_refused() {
    assert!(Gallery::default().draw().is_ok());
    let large = Picture::new(2000, 2000, vec![0; 12_000_000]).unwrap();
    let gallery = Gallery { columns: 8, pictures: vec![(large, vec![]); 30], ..Gallery::default() };
    assert!(matches!(gallery.draw(), Err(FigureError::TooLarge { .. })));
}
