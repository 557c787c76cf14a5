//! A run seen and measured: figures, event files, alarms, tables of answers.

#![allow(clippy::unwrap_used)] // In helpers too, where the lint does not know a test.

#[path = "support/program.rs"]
mod program;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::LazyLock;

use alexnet::train::{What, read_events};
use program::alexnet;
use serde_json::Value;
use tempfile::TempDir;

/// The smallest network and images there are.
const TINY: [&str; 7] = ["train", "--width", "0.02", "--image-size", "63", "--batch-size", "8"];

/// A tiny data set and two runs on it, shared by all tests, never changed.
static FOLDER: LazyLock<TempDir> = LazyLock::new(|| {
    let folder = tempfile::tempdir().unwrap();
    let set = ["data", "sample", "set", "--train-per-class", "2", "--val-per-class", "2"];
    done(folder.path(), &set);
    done(folder.path(), &[&TINY[..], &["set", "--epochs", "2", "--print-freq", "2"]].concat());
    let paper = ["train", "set", "--model", "caffe", "--width", "0.02", "--image-size", "67"];
    let one = ["--epochs", "1", "--batch-size", "8", "--mean", "imagenet"];
    done(folder.path(), &[&paper[..], &one].concat());
    folder
});

fn path(name: &str) -> PathBuf {
    FOLDER.path().join(name)
}

fn text_of(name: &str) -> String {
    path(name).display().to_string()
}

const BEST: &str = "runs/train/exp1/weights/best.safetensors";

/// Runs to a good end; returns standard output and standard error.
fn done(folder: &Path, arguments: &[&str]) -> (String, String) {
    let (code, out, told) = program::run(alexnet(folder, arguments));
    assert_eq!(code, 0, "{arguments:?}: {told}");
    (out, told)
}

/// The lines of a CSV file, by the names of its columns.
fn rows(path: &Path) -> Vec<BTreeMap<String, String>> {
    let text = fs::read_to_string(path).unwrap();
    let mut lines = text.lines().map(|line| line.split(','));
    let names: Vec<&str> = lines.next().unwrap().collect();
    let row = |fields: std::str::Split<char>| {
        let fields: Vec<String> = fields.map(String::from).collect();
        assert_eq!(fields.len(), names.len());
        names.iter().map(|&name| name.to_owned()).zip(fields).collect()
    };
    lines.map(row).collect()
}

fn number(row: &BTreeMap<String, String>, name: &str) -> f64 {
    row[name].parse().unwrap()
}

/// `eval` of these weights with all its tables, in a folder of its own.
fn evaluated(weights: &[&str], data: &str) -> (TempDir, Value) {
    let folder = tempfile::tempdir().unwrap();
    let tables = ["--predictions", "p.csv", "--per-class", "c.csv", "--confusion", "m.csv"];
    let eval = [&["eval", data, "--format", "json"][..], &tables, &["--weights"], weights].concat();
    let (out, _) = done(folder.path(), &eval);
    (folder, serde_json::from_str(&out).unwrap())
}

#[test]
fn the_tables_of_eval_agree_with_its_figures_alone_and_together() {
    let (set, best) = (text_of("set"), text_of(BEST));
    let last = best.replace("best", "last");
    for weights in [vec![&*best], vec![&*best, &*last]] {
        let (folder, found) = evaluated(&weights, &set);
        let images = found["images"].as_u64().unwrap() as usize;
        let predictions = rows(&folder.path().join("p.csv"));
        assert_eq!(predictions.len(), images);
        let share = |is: &dyn Fn(&BTreeMap<String, String>) -> bool| {
            predictions.iter().filter(|row| is(row)).count() as f64 / images as f64
        };
        let top1 = found["top1_accuracy"].as_f64().unwrap();
        let top5 = found["top5_accuracy"].as_f64().unwrap();
        assert_eq!(share(&|row| row["correct"] == "true"), top1);
        assert_eq!(share(&|row| row["label"] == row["predicted"]), top1);
        assert_eq!(share(&|row| number(row, "rank") <= 5.0), top5);
        assert_eq!(share(&|row| row["top5"] == "true"), top5);
        assert_eq!(share(&|row| Path::new(&row["path"]).is_file()), 1.0);
        assert!(predictions.iter().all(|row| number(row, "probability") >= 1.0 / 12.0));
        let classes = rows(&folder.path().join("c.csv"));
        let right: f64 =
            classes.iter().map(|c| number(c, "images") * number(c, "top1_accuracy")).sum();
        assert!((right / images as f64 - top1).abs() < 1e-9);
        let confusion = rows(&folder.path().join("m.csv"));
        for class in &classes {
            let line = confusion.iter().find(|line| line["class"] == class["class"]).unwrap();
            let counted: f64 = line
                .iter()
                .filter(|(name, _)| *name != "class")
                .map(|(_, n)| n.parse::<f64>().unwrap())
                .sum();
            assert_eq!(counted, number(class, "images"));
            let own = number(line, &class["class"]);
            assert_eq!(own, number(class, "images") * number(class, "top1_accuracy"));
            let taken_for = &class["most_often_taken_for"];
            if !taken_for.is_empty() {
                assert_eq!(number(line, taken_for), number(class, "times"));
            }
        }
    }
}

#[test]
fn an_ensemble_s_answers_are_the_mean_of_its_members() {
    let (set, best) = (text_of("set"), text_of(BEST));
    let last = best.replace("best", "last");
    // Two epochs: unless the first was the best, these are the same.
    let probability = |weights: &[&str]| -> Vec<(String, f64)> {
        let (folder, _) = evaluated(weights, &set);
        let rows = rows(&folder.path().join("p.csv"));
        rows.iter().map(|row| (row["predicted"].clone(), number(row, "probability"))).collect()
    };
    let alone = probability(&[&best]);
    assert_eq!(alone, probability(&[&best, &best]));
    let (one, other, both) = (alone, probability(&[&last]), probability(&[&best, &last]));
    for ((one, other), both) in one.iter().zip(&other).zip(&both) {
        // The likeliest of the mean is at most as likely as the mean of the likeliest.
        assert!(both.1 <= (one.1 + other.1) / 2.0 + 1e-9, "{one:?} {other:?} {both:?}");
    }
}

#[test]
fn errors_stand_beside_the_published_ones_or_it_is_said_that_there_are_none() {
    let (set, best) = (text_of("set"), text_of(BEST));
    let (out, _) = done(FOLDER.path(), &["eval", &set, "--weights", &best]);
    assert!(out.contains("Test: Acc@1 ") && out.contains(" Acc@5 "), "{out}");
    assert!(out.contains("top-1 error ") && out.contains("top-5 error "), "{out}");
    assert!(out.contains("Published: no published figure for these classes"), "{out}");
    let (_, found) = evaluated(&[&best], &set);
    assert!(found["published"].is_null() && found["top5_counts"] == 5, "{found}");
    let errors = ["top1", "top5"].map(|k| {
        found[format!("{k}_accuracy")].as_f64().unwrap()
            + found[format!("{k}_error")].as_f64().unwrap()
    });
    assert_eq!(errors, [1.0, 1.0]);
}

#[test]
fn of_few_classes_all_count_and_the_label_says_how_many() {
    let folder = tempfile::tempdir().unwrap();
    for split in ["train", "val"] {
        for class in fs::read_dir(path("set").join(split)).unwrap().flatten().take(2) {
            let to = folder.path().join("two").join(split).join(class.file_name());
            fs::create_dir_all(&to).unwrap();
            for image in fs::read_dir(class.path()).unwrap().flatten() {
                fs::copy(image.path(), to.join(image.file_name())).unwrap();
            }
        }
    }
    let tiny = ["train", "two", "--width", "0.02", "--image-size", "63", "--batch-size", "2"];
    let (_, told) = done(folder.path(), &[&tiny[..], &["--epochs", "1"]].concat());
    assert!(told.contains(" Acc@2 100.00 ") && told.contains("  acc2: 100.00 "), "{told}");
    assert!(!told.contains("Acc@5") && !told.contains("acc5"), "{told}");
    let (out, _) = done(folder.path(), &["eval", "two", "--weights", BEST]);
    assert!(out.contains(" Acc@2 100.00 ") && out.contains("top-2 error 0.00 %"), "{out}");
    done(folder.path(), &["figures", "runs/train/exp1"]);
    let accuracy = || {
        let chart = folder.path().join("runs/train/exp1/figures/accuracy.svg");
        fs::read_to_string(chart).unwrap()
    };
    assert!(accuracy().contains("\ntop-2\n"), "{}", accuracy());
    // Without weights nobody knows how many classes there are.
    fs::remove_dir_all(folder.path().join("runs/train/exp1/weights")).unwrap();
    done(folder.path(), &["figures", "runs/train/exp1"]);
    assert!(accuracy().contains("\ntop-5 (or all)\n"), "{}", accuracy());
}

#[test]
fn an_image_that_cannot_be_read_has_a_line_without_an_answer() {
    let copy = tempfile::tempdir().unwrap();
    for class in fs::read_dir(path("set/val")).unwrap().flatten() {
        let to = copy.path().join("val").join(class.file_name());
        fs::create_dir_all(&to).unwrap();
        for image in fs::read_dir(class.path()).unwrap().flatten() {
            fs::copy(image.path(), to.join(image.file_name())).unwrap();
        }
    }
    let class = copy.path().join("val/blue-dotted-circle");
    let image = fs::read_dir(class).unwrap().flatten().next().unwrap().path();
    fs::write(&image, b"no image").unwrap();
    let (folder, found) = evaluated(&[&text_of(BEST)], &copy.path().display().to_string());
    assert_eq!(found["images"], 24);
    let rows = rows(&folder.path().join("p.csv"));
    let row = rows.iter().find(|row| row["path"] == image.display().to_string()).unwrap();
    assert!(row["predicted"].is_empty() && row["rank"].is_empty(), "{row:?}");
    assert!(row["correct"] == "false" && row["label"] == "blue-dotted-circle", "{row:?}");
}

/// The files of a folder, by name.
fn files(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).unwrap().flatten();
    let mut names: Vec<String> =
        entries.map(|entry| entry.file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

const CURVES: [&str; 3] = ["accuracy.svg", "learning_rate.svg", "loss.svg"];
const ANSWERS: [&str; 7] = [
    "confusion_matrix.csv",
    "confusion_matrix.png",
    "most_confused.csv",
    "per_class.csv",
    "per_class.svg",
    "worst_mistakes.csv",
    "worst_mistakes.png",
];

fn sorted(names: &[&[&str]]) -> Vec<String> {
    let mut names: Vec<String> = names.concat().into_iter().map(String::from).collect();
    names.sort();
    names
}

#[test]
fn a_run_is_drawn_whole_and_every_figure_opens() {
    let out = tempfile::tempdir().unwrap();
    let place = out.path().join("figures");
    let (said, _) =
        done(FOLDER.path(), &["figures", "runs/train/exp1", "--out", &place.display().to_string()]);
    let expected = sorted(&[&CURVES, &ANSWERS, &["filters.png"]]);
    assert_eq!(files(&place), expected);
    for name in &expected {
        assert!(said.contains(name.as_str()), "{said}");
        let bytes = fs::read(place.join(name)).unwrap();
        match Path::new(name).extension().unwrap().to_str().unwrap() {
            "png" => assert!(image::load_from_memory(&bytes).unwrap().width() > 100, "{name}"),
            "svg" => assert!(bytes.starts_with(b"<svg") && bytes.ends_with(b"</svg>\n"), "{name}"),
            _ => assert!(bytes.len() > 10, "{name}"),
        }
    }
    assert!(said.contains("filters of 11 x 11 pixels, mean saturation 0."), "{said}");
    assert!(said.contains("taken for"), "{said}");
    // Predictions in the tables are those of eval.
    let (folder, _) = evaluated(&[&text_of(BEST)], &text_of("set"));
    let read = |path: PathBuf| fs::read_to_string(path).unwrap();
    assert_eq!(read(place.join("per_class.csv")), read(folder.path().join("c.csv")));
    assert_eq!(read(place.join("confusion_matrix.csv")), read(folder.path().join("m.csv")));
    let mistakes = rows(&place.join("worst_mistakes.csv"));
    assert!(!mistakes.is_empty() && mistakes.iter().all(|row| row["label"] != row["predicted"]));
    let losses: Vec<f64> = mistakes.iter().map(|row| number(row, "loss")).collect();
    assert!(losses.is_sorted_by(|a, b| a >= b), "{losses:?}");
}

#[test]
fn two_towers_are_told_apart() {
    let out = tempfile::tempdir().unwrap();
    let place = out.path().display().to_string();
    let (said, _) = done(FOLDER.path(), &["figures", "runs/train/exp2", "--out", &place]);
    assert!(said.contains("in the first tower") && said.contains("in the second"), "{said}");
}

#[test]
fn several_runs_share_their_charts() {
    let out = tempfile::tempdir().unwrap();
    let place = out.path().display().to_string();
    let runs = ["figures", "runs/train/exp1", "runs/train/exp2", "--out", &place];
    done(FOLDER.path(), &runs);
    assert_eq!(files(out.path()), sorted(&[&CURVES]));
    for chart in CURVES {
        let svg = fs::read_to_string(out.path().join(chart)).unwrap();
        for run in ["exp1", "exp2"] {
            assert_eq!(svg.matches(&format!("\n{run}\n")).count(), 1, "{chart} names it once");
        }
    }
    let loss = fs::read_to_string(out.path().join("loss.svg")).unwrap();
    assert!(loss.contains("\ntraining\n") && loss.contains("\nvalidation\n"), "{loss}");
}

#[test]
fn more_runs_than_can_be_told_apart_are_not_passed_over_in_silence() {
    let folder = tempfile::tempdir().unwrap();
    let names: Vec<String> = (1..=23).map(|run| format!("run{run}")).collect();
    for name in &names {
        fs::create_dir(folder.path().join(name)).unwrap();
        let results = folder.path().join(name).join("results.csv");
        fs::copy(path("runs/train/exp1/results.csv"), results).unwrap();
    }
    let figures = |count: usize| {
        let runs = names[..count].iter().map(String::as_str);
        let (_, told) =
            done(folder.path(), &["figures"].into_iter().chain(runs).collect::<Vec<_>>());
        (told, fs::read_to_string(folder.path().join("figures/loss.svg")).unwrap())
    };
    let (told, svg) = figures(21);
    assert!(!told.contains("told apart") && svg.contains("\nrun21\n"), "{told}");
    let (told, svg) = figures(23);
    assert!(told.contains("curves of the first 21 of 23 runs"), "{told}");
    assert!(svg.contains("and 2 more, not drawn") && !svg.contains("run22"), "{svg}");
}

#[test]
fn a_run_without_curves_takes_none_from_the_others() {
    let folder = tempfile::tempdir().unwrap();
    let results = fs::read_to_string(path("runs/train/exp1/results.csv")).unwrap();
    let header = results.lines().next().unwrap();
    let emptied = format!("{header}\n1,3,0.5,1.5,,0.5,1.0,0.01,100.0,0.5\n");
    let runs = [("whole", &*results), ("begun", header), ("unvalidated", &*emptied)];
    for (run, results) in runs {
        fs::create_dir(folder.path().join(run)).unwrap();
        fs::write(folder.path().join(run).join("results.csv"), results).unwrap();
    }
    fs::create_dir(folder.path().join("bare")).unwrap();
    let all = ["figures", "begun", "whole", "bare", "unvalidated"];
    let (_, told) = done(folder.path(), &all);
    assert_eq!(files(&folder.path().join("figures")), sorted(&[&CURVES]), "{told}");
    for run in ["begun", "bare", "unvalidated"] {
        let line = format!("alexnet: no curves of {run}: ");
        assert_eq!(told.lines().filter(|told| told.starts_with(&line)).count(), 1, "{told}");
    }
    let svg = fs::read_to_string(folder.path().join("figures/loss.svg")).unwrap();
    assert!(svg.contains("whole") && !svg.contains("begun"), "{svg}");
    let (code, _, told) = program::run(alexnet(folder.path(), &["figures", "begun", "bare"]));
    assert!(code == 1 && told.contains("nothing to draw"), "{told}");
}

#[test]
fn what_a_run_has_left_is_drawn_and_the_rest_named() {
    let cases: [(&[&str], &[&str], &str); 3] = [
        (&["results.csv"], &CURVES, "holds no weights"),
        (&["results.csv", BEST_IN_RUN], &[&CURVES[..], &["filters.png"]].concat(), "args.toml"),
        (&[BEST_IN_RUN], &["filters.png"], "holds no epoch"),
    ];
    for (kept, expected, reason) in cases {
        let folder = tempfile::tempdir().unwrap();
        let run = folder.path().join("run");
        fs::create_dir_all(run.join("weights")).unwrap();
        for file in kept {
            fs::copy(path("runs/train/exp1").join(file), run.join(file)).unwrap();
        }
        let (_, told) = done(folder.path(), &["figures", "run"]);
        assert_eq!(files(&run.join("figures")), sorted(&[expected]), "{told}");
        let line = told.lines().find(|line| line.contains(reason));
        assert!(line.is_some_and(|line| line.starts_with("alexnet: no ")), "{told}");
    }
    let folder = tempfile::tempdir().unwrap();
    fs::create_dir(folder.path().join("run")).unwrap();
    for (run, reason) in [("run", "nothing to draw"), ("none", "none is no folder of a run")] {
        let (code, _, told) = program::run(alexnet(folder.path(), &["figures", run]));
        assert!(code == 1 && told.contains(reason), "{told}");
        assert!(!folder.path().join("run/figures").exists());
    }
}

const BEST_IN_RUN: &str = "weights/best.safetensors";

#[test]
fn a_run_s_event_file_has_its_results_and_its_steps() {
    let run = path("runs/train/exp1");
    let names = files(&run);
    let name = names.iter().find(|name| name.starts_with("events.out.tfevents.")).unwrap();
    let read = read_events(fs::File::open(run.join(name)).unwrap()).unwrap();
    assert_eq!(read.whole_bytes, fs::metadata(run.join(name)).unwrap().len());
    let mut shown: BTreeMap<String, Vec<(u64, f32)>> = BTreeMap::new();
    for event in read.events {
        if let What::Scalars(scalars) = event.what {
            for (tag, value) in scalars {
                shown.entry(tag).or_default().push((event.step, value));
            }
        }
    }
    for row in rows(&run.join("results.csv")) {
        let step = number(&row, "step") as u64;
        for tag in ["train/loss", "val/loss", "metrics/accuracy_top1", "lr", "data_wait"] {
            let expected = (step, number(&row, tag) as f32);
            assert!(shown[tag].contains(&expected), "{tag}: {:?}", shown[tag]);
        }
    }
    // Two epochs of three steps, every second and each epoch's last.
    let steps: Vec<u64> = shown["step/train_loss"].iter().map(|point| point.0).collect();
    assert_eq!(steps, [2, 3, 5, 6]);
}

#[test]
fn a_run_that_learns_nothing_is_said_to() {
    let folder = tempfile::tempdir().unwrap();
    let set = path("set").display().to_string();
    let rest =
        [&*set, "--epochs", "40", "--lr", "0", "--warmup-epochs", "0", "--batch-norm", "false"];
    let (_, told) = done(folder.path(), &[&TINY[..], &rest].concat());
    let alarms: Vec<&str> = told.lines().filter(|line| line.starts_with("Alarm")).collect();
    assert_eq!(alarms.len(), 1, "{alarms:?}");
    assert!(alarms[0].contains("gives 2.485"), "{alarms:?}");
    let log = fs::read_to_string(folder.path().join("runs/train/exp1/log.txt")).unwrap();
    assert!(log.contains(alarms[0]), "{log}");
}
