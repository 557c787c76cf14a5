//! Charts hold what they are given, and are whole whatever that is.

#![allow(clippy::unwrap_used)] // In helpers too, where the lint does not know a test.

use std::collections::{BTreeMap, BTreeSet};

use alexnet_figures::{BARS_NAMED_MAX, BarChart, LINES_MAX, LineChart, Mark, Scale, Series};

fn series(name: &str, points: &[(f64, f64)]) -> Series {
    Series { name: name.into(), points: points.to_vec(), is_faint: false }
}

fn curves(series: Vec<Series>) -> LineChart {
    LineChart {
        title: "title".into(),
        x_label: "epoch".into(),
        y_label: "loss".into(),
        series,
        ..LineChart::default()
    }
}

fn bars(count: usize) -> BarChart {
    BarChart {
        title: "title".into(),
        x_label: "accuracy, %".into(),
        y_label: "class".into(),
        bars: (0..count).map(|index| (format!("class-{index}"), index as f64)).collect(),
        marks: vec![Mark { name: "chance".into(), value: 1.0 }],
    }
}

/// How often `part` stands in `text`.
fn count(text: &str, part: &str) -> usize {
    text.matches(part).count()
}

/// The points of the lines drawn in `colour`.
fn drawn(svg: &str, colour: &str) -> Vec<Vec<(f64, f64)>> {
    let lines = svg.lines().filter(|line| line.starts_with("<polyline") && line.contains(colour));
    lines
        .map(|line| {
            let points = line.split_once("points=\"").unwrap().1.split('"').next().unwrap();
            let pair = |pair: &str| {
                let (x, y) = pair.split_once(',').unwrap();
                (x.parse().unwrap(), y.parse().unwrap())
            };
            points.split_whitespace().map(pair).collect()
        })
        .collect()
}

const BLUE: &str = "#0072B2";
const ORANGE: &str = "#D55E00";

#[test]
fn a_curve_goes_through_its_points_in_proportion() {
    let line = series("a", &[(1.0, 4.0), (2.0, 2.0), (4.0, 0.0)]);
    let svg = curves(vec![line]).to_svg().unwrap();
    let points = &drawn(&svg, BLUE)[0];
    let [(x0, y0), (x1, y1), (x2, y2)] = points[..] else { panic!("{points:?}") };
    assert!((2.0 * (x1 - x0) - (x2 - x1)).abs() <= 2.0, "{points:?}");
    assert!(((y1 - y0) - (y2 - y1)).abs() <= 2.0, "{points:?}");
    assert!(y0 < y1 && x0 < x1, "upwards is up: {points:?}");
}

#[test]
fn a_logarithmic_axis_makes_equal_factors_equally_long() {
    let line = series("a", &[(0.0, 1e-6), (1.0, 1e-3), (2.0, 1.0), (3.0, 0.0), (4.0, -1.0)]);
    let chart = LineChart { y_scale: Scale::Log, ..curves(vec![line]) };
    let points = &drawn(&chart.to_svg().unwrap(), BLUE)[0];
    let [(_, y0), (_, y1), (_, y2)] = points[..] else { panic!("zero has a place: {points:?}") };
    assert!(((y1 - y0) - (y2 - y1)).abs() <= 2.0, "{points:?}");
}

#[test]
fn every_series_and_mark_is_drawn_and_named() {
    let lines = vec![series("one", &[(0.0, 1.0), (1.0, 2.0)]), series("two", &[(0.0, 3.0)])];
    let marks = vec![Mark { name: "published".into(), value: 9.0 }];
    let svg = LineChart { marks, ..curves(lines) }.to_svg().unwrap();
    for text in ["title", "epoch", "loss", "one", "two", "published"] {
        assert_eq!(count(&svg, &format!("\n{text}\n")), 1, "{text}: {svg}");
    }
    // A line in the chart and one in the legend; a single point is a dot.
    assert_eq!(drawn(&svg, BLUE).len(), 2);
    assert!(count(&svg, "<circle") == 3, "{svg}");
    assert!(svg.contains(ORANGE));
}

#[test]
fn numbers_that_are_none_are_left_out() {
    let odd = [f64::NAN, f64::INFINITY, f64::NEG_INFINITY, f64::MAX, f64::MIN];
    let points: Vec<_> = odd.iter().flat_map(|&odd| [(odd, 1.0), (1.0, odd)]).collect();
    let with = [&points[..], &[(1.0, 1.0), (2.0, 2.0)]].concat();
    let marks = vec![Mark { name: "nowhere".into(), value: f64::NAN }];
    let odd_chart = LineChart { marks, ..curves(vec![series("a", &with)]) };
    let plain = curves(vec![series("a", &[(1.0, 1.0), (2.0, 2.0)])]);
    assert_eq!(odd_chart.to_svg(), plain.to_svg());
    for scale in [Scale::Linear, Scale::Log] {
        let chart = LineChart { y_scale: scale, ..curves(vec![series("a", &points)]) };
        assert!(chart.to_svg().unwrap().ends_with("</svg>\n"));
    }
}

#[test]
fn charts_of_nothing_and_of_much_are_whole() {
    let many: Vec<_> = (0..40).map(|index| series(&format!("{index}"), &[(0.0, 1.0)])).collect();
    let long = series(&"long ".repeat(100), &[(0.0, 1e-300), (1e30, 1.0)]);
    for lines in [vec![], vec![series("", &[])], many, vec![long]] {
        let svg = curves(lines).to_svg().unwrap();
        assert!(svg.starts_with("<svg") && svg.ends_with("</svg>\n"), "{svg}");
    }
    for count in [0, 1, 2, BARS_NAMED_MAX, BARS_NAMED_MAX + 1, 1000] {
        let svg = bars(count).to_svg().unwrap();
        assert!(svg.ends_with("</svg>\n") && svg.len() < 60_000, "{count}: {}", svg.len());
    }
}

#[test]
fn text_cannot_break_out_of_a_chart() {
    let name = "<script>&\"'";
    let svg = curves(vec![series(name, &[(0.0, 1.0)]), series("b", &[])]).to_svg().unwrap();
    assert!(!svg.contains("<script"), "{svg}");
    assert!(svg.contains("&lt;script&gt;&amp;&quot;&apos;"), "{svg}");
}

#[test]
fn bars_are_as_long_as_their_values_and_named_while_there_is_room() {
    let svg = bars(5).to_svg().unwrap();
    let widths: Vec<f64> = svg
        .lines()
        .filter(|line| line.starts_with("<rect") && line.contains(BLUE))
        .map(|line| {
            let width = line.split_once(" width=\"").unwrap().1;
            width.split('"').next().unwrap().parse().unwrap()
        })
        .collect();
    assert_eq!(widths.len(), 5, "{svg}");
    for (index, width) in widths.iter().enumerate() {
        assert!((width - widths[4] * index as f64 / 4.0).abs() <= 1.5, "{widths:?}");
        assert_eq!(count(&svg, &format!("\nclass-{index}\n")), 1);
    }
    let many = bars(BARS_NAMED_MAX + 1).to_svg().unwrap();
    assert_eq!(count(&many, "class-"), 0);
    assert_eq!(count(&many, "<polygon"), 1);
}

/// The text of every element of a chart, which is XML by what its characters may be.
fn texts(svg: &str) -> Vec<&str> {
    let is_xml =
        |c: char| matches!(c, '\n' | ' '..='\u{d7ff}' | '\u{e000}'..='\u{fffd}' | '\u{10000}'..);
    assert!(svg.chars().all(is_xml), "{svg:?}");
    svg.lines().filter(|line| !line.starts_with('<')).collect()
}

#[test]
fn names_with_control_characters_are_seen_and_leave_a_chart_xml() {
    let name = "bell\u{7}\u{1} \u{1b}[2J\nline \u{ffff}";
    let seen = r"bell\u{7}\u{1} \u{1b}[2J\nline \u{ffff}";
    let marks = vec![Mark { name: name.into(), value: 1.0 }];
    let [title, x_label, y_label] = [name; 3].map(String::from);
    let bars = vec![(name.to_owned(), 1.0)];
    let bars = BarChart { title, x_label, y_label, bars, marks: marks.clone() };
    let [title, x_label, y_label] = [name; 3].map(String::from);
    let series = vec![series(name, &[(1.0, 2.0)])];
    let strengths = Some(["strong".into(), "faint".into()]);
    let y_scale = Scale::Linear;
    let lines = LineChart { title, x_label, y_label, series, strengths, marks, y_scale };
    for svg in [bars.to_svg().unwrap(), lines.to_svg().unwrap()] {
        let whole = texts(&svg).iter().filter(|&&text| text == seen).count();
        assert!(whole >= 4, "{svg}");
    }
}

/// The value of an attribute of a line of SVG.
fn attribute<'a>(line: &'a str, name: &str) -> &'a str {
    let value = line.split_once(&format!(" {name}=\"")).map_or("", |(_, value)| value);
    value.split('"').next().unwrap()
}

/// About where the level texts of a chart are, in pixels: left, right, top, bottom.
fn places(svg: &str) -> Vec<(&str, [f64; 4])> {
    let texts = svg.split("<text").skip(1).filter(|text| !text.contains("rotate"));
    texts
        .map(|text| {
            let mut lines = text.lines();
            let (head, name) = (lines.next().unwrap(), lines.next().unwrap());
            let number = |name| attribute(head, name).parse::<f64>().unwrap();
            let (x, y, size) = (number("x"), number("y"), number("font-size"));
            let width = name.chars().count() as f64 * size * 0.56;
            let left = match attribute(head, "text-anchor") {
                "start" => x,
                "end" => x - width,
                _ => x - width / 2.0,
            };
            // Half of the letters, all of them or nothing is below y.
            let middle = match attribute(head, "dy") {
                "0.5ex" => y,
                "0.76em" => y + size / 2.0,
                _ => y - size / 2.0,
            };
            (name, [left, left + width, middle - size / 2.0, middle + size / 2.0])
        })
        .collect()
}

/// Sees to it that texts are within the picture and none lies on another.
fn check_places(svg: &str) {
    let [width, height] = ["width", "height"].map(|name| attribute(svg, name).parse().unwrap());
    let places = places(svg);
    for (index, (name, [left, right, top, bottom])) in places.iter().enumerate() {
        let is_within = *left >= -1.0 && *right <= width && *top >= 0.0 && *bottom <= height + 1.0;
        assert!(is_within, "{name}: {left}..{right} x {top}..{bottom} of {width} x {height}");
        for (other, [from, to, above, below]) in &places[index + 1..] {
            let is_apart = right <= from || to <= left || bottom <= above || below <= top;
            assert!(is_apart, "{name} lies on {other}");
        }
    }
}

#[test]
fn no_text_of_a_chart_of_lines_lies_on_another() {
    for count in [1, 2, 7, 12, LINES_MAX, 60] {
        let name = |run: usize| format!("experiment-{run}-{}", "x".repeat(run));
        let line = |run, is_faint| Series { is_faint, ..series(&name(run), &[(1.0, 1.0986)]) };
        let lines = (0..count).flat_map(|run| [line(run, true), line(run, false)]).collect();
        let strengths = Some(["validation".into(), "training".into()]);
        let svg = LineChart { strengths, ..curves(lines) }.to_svg().unwrap();
        check_places(&svg);
        assert_eq!(svg.contains("more, not drawn"), count > LINES_MAX, "{svg}");
    }
}

#[test]
fn no_text_of_a_chart_of_bars_lies_on_another() {
    for count in [1, 3, BARS_NAMED_MAX, BARS_NAMED_MAX + 10] {
        for all in [0.0, 1.9, 50.0, 99.9] {
            let bars =
                (0..count).map(|index| (format!("c{index}"), 100.0 - index as f64)).collect();
            let marks = vec![Mark { name: format!("all {all:.1} %"), value: all }];
            let y_label = format!("{count} classes");
            check_places(&BarChart { bars, marks, y_label, ..self::bars(0) }.to_svg().unwrap());
        }
    }
}

/// Letters and their widths beside their size, in DejaVu Sans, or as fonts for their language have them.
const LETTERS: [(&str, f64); 7] = [
    ("W", 0.989),
    ("m", 0.975),
    ("o", 0.612),
    ("0", 0.637),
    ("i", 0.278),
    ("д", 0.692),
    ("猫", 1.0),
];

#[test]
fn a_name_that_is_too_long_is_cut_and_stays_within_the_picture() {
    for (letter, width) in LETTERS {
        let bars = vec![(letter.repeat(120), 50.0)];
        let svg = BarChart { bars, ..self::bars(0) }.to_svg().unwrap();
        let name = svg.split("<text").find(|text| text.contains('…')).unwrap();
        let number = |name| attribute(name, "x").parse::<f64>().unwrap();
        let size: f64 = attribute(name, "font-size").parse().unwrap();
        assert_eq!(attribute(name, "text-anchor"), "end", "{name}");
        let shown = count(name.lines().nth(1).unwrap(), letter) as f64;
        let left = number(name) - (shown * width + 1.0) * size;
        assert!(left >= 0.0, "{letter} begins at {left}: {name}");
        assert!(left < 60.0, "{letter} begins at {left}, and there was room for more: {name}");
    }
}

#[test]
fn no_line_of_a_mark_goes_through_a_value() {
    let values = (0..60).map(|index| (format!("class-{index}"), 20.0 + f64::from(index) / 4.0));
    let marks = vec![Mark { name: "all".into(), value: 30.0 }];
    let svg = BarChart { bars: values.collect(), marks, ..bars(0) }.to_svg().unwrap();
    let number = |element, name| attribute(element, name).parse::<f64>().unwrap();
    let elements: Vec<&str> = svg.split('<').collect();
    let last_dash = elements.iter().rposition(|of| of.starts_with("polyline")).unwrap();
    let x: f64 =
        attribute(elements[last_dash], "points").split(',').next().unwrap().parse().unwrap();
    let mut in_the_way = 0;
    for (at, value) in elements.iter().enumerate().filter(|(_, of)| of.contains("start")) {
        let digits = value.lines().nth(1).unwrap();
        let width = digits.chars().map(|c| if c == '.' { 0.32 } else { 0.637 }).sum::<f64>();
        let (left, right) = (number(value, "x"), number(value, "x") + width * 13.0);
        if digits.parse::<f64>().is_err() || !(left..right).contains(&x) {
            continue;
        }
        in_the_way += 1;
        let ground = elements[at - 1];
        assert!(at > last_dash && attribute(ground, "fill") == "#FFFFFF", "{digits}: {ground}");
        let covered = number(ground, "x")..number(ground, "x") + number(ground, "width") + 1.0;
        assert!(covered.contains(&left) && covered.contains(&right), "{digits}: {ground}");
    }
    assert!(in_the_way > 5, "{in_the_way} values at {x}: {svg}");
}

#[test]
fn no_two_names_of_a_chart_have_lines_that_look_alike() {
    let line = |index: usize| series(&format!("{index}"), &[(0.0, index as f64), (1.0, 0.0)]);
    let svg = curves((0..LINES_MAX).map(line).collect()).to_svg().unwrap();
    // Swatches are the level lines of three pixels: their colours and the lengths of their dashes.
    let swatches = svg.lines().filter(|line| attribute(line, "stroke-width") == "3");
    let mut looks: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    let mut dashes: BTreeMap<(String, String), Vec<String>> = BTreeMap::new();
    for swatch in swatches {
        let (colour, points) = (attribute(swatch, "stroke"), attribute(swatch, "points"));
        let y = points.split([',', ' ']).nth(1).unwrap().to_owned();
        let x: Vec<&str> = points.split([',', ' ']).step_by(2).collect();
        dashes.entry((y, colour.to_owned())).or_default().push(x.join(" "));
    }
    assert_eq!(dashes.len(), LINES_MAX, "{svg}");
    for ((_, colour), dash) in dashes {
        assert!(looks.entry(colour).or_default().insert(dash.join(", ")), "{dash:?}");
    }
}

#[test]
fn epochs_are_named_by_whole_numbers_only() {
    for epochs in 1..=12 {
        let points: Vec<_> = (1..=epochs).map(|epoch| (f64::from(epoch), 0.5)).collect();
        let chart = LineChart { x_label: "epochs".into(), ..curves(vec![series("", &points)]) };
        let svg = chart.to_svg().unwrap();
        // Names of values below the axis stand lower than all others.
        let below: Vec<&str> = svg
            .split("<text x=\"")
            .filter(|text| text.contains("text-anchor=\"middle\"") && text.contains("y=\"40"))
            .map(|text| text.lines().nth(1).unwrap())
            .collect();
        assert!(!below.is_empty(), "{svg}");
        let once: BTreeSet<&str> = below.iter().copied().collect();
        assert_eq!(once.len(), below.len(), "{below:?}");
        for text in below {
            assert!(text.parse::<f64>().is_ok_and(|value| value.fract() == 0.0), "{text}: {svg}");
        }
    }
}
