//! `alexnet data info`, `check` and `preview` as a user types them.

use std::collections::HashSet;
use std::fs;
use std::io::Cursor;
use std::path::Path;
use std::process::Output;

use alexnet::data::{
    Augment, Dataset, Fit, Loader, LoaderConfig, Order, Preprocess, Sample, SampleKey, SampleSet,
    Unreadable, View, open,
};
use alexnet::figures::{ContactSheet, Picture, SheetRow};
use assert_cmd::Command;
use image::codecs::png::{CompressionType, FilterType, PngEncoder};
use image::{ExtendedColorType, ImageEncoder};
use serde_json::{Value, json};
use tempfile::TempDir;

fn alexnet(folder: &Path, arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_alexnet"));
    command.current_dir(folder).args(arguments).output().expect("it runs")
}

fn code(output: &Output) -> i32 {
    output.status.code().expect("it ended by itself")
}

fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).expect("text")
}

fn json(output: &Output) -> Value {
    serde_json::from_slice(&output.stdout).expect("JSON")
}

fn sample_set(train_per_class: u32, val_per_class: u32) -> TempDir {
    let folder = tempfile::tempdir().expect("a folder");
    let set = SampleSet { train_per_class, val_per_class, side: 64, ..SampleSet::default() };
    set.write(&folder.path().join("set"), &mut |_, _| true).expect("drawn");
    folder
}

// ---------------------------------------------------------------- a set with every fault

fn golden(name: &str) -> Vec<u8> {
    let goldens = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../goldens/pixels");
    fs::read(goldens.join(name)).expect("a golden")
}

/// A picture unlike any of another number, as one of several PNG files that hold it.
fn png(number: u8, compression: CompressionType) -> Vec<u8> {
    let pixels: Vec<u8> = (0..9 * 7).flat_map(|at: u8| [number, at * 4, at % 9 * 20]).collect();
    let mut bytes = Cursor::new(Vec::new());
    PngEncoder::new_with_quality(&mut bytes, compression, FilterType::NoFilter)
        .write_image(&pixels, 9, 7, ExtendedColorType::Rgb8)
        .expect("encoded");
    bytes.into_inner()
}

fn plain(number: u8) -> Vec<u8> {
    png(number, CompressionType::Fast)
}

/// The same pixels in other bytes.
fn copy(number: u8) -> Vec<u8> {
    png(number, CompressionType::Best)
}

fn flipped(mut bytes: Vec<u8>, at: usize) -> Vec<u8> {
    bytes[at] ^= 4;
    bytes
}

fn write(root: &Path, name: &str, bytes: &[u8]) {
    let path = root.join(name);
    fs::create_dir_all(path.parent().expect("a folder")).expect("made");
    fs::write(path, bytes).expect("written");
}

/// A set with every fault there is, each planted at a known place.
fn faulty_set() -> TempDir {
    let folder = tempfile::tempdir().expect("a folder");
    let root = &folder.path().join("set");
    let baseline = golden("baseline.jpg");
    // 21 images of class1 against one of class10 and of Class2.
    (0..20).for_each(|n| write(root, &format!("train/class1/{n:02}.png"), &plain(n)));
    let files: [(&str, Vec<u8>); 30] = [
        ("train/class1/both.png", plain(50)),
        ("train/class10/both.png", copy(50)),
        ("train/Class2/1.png", plain(60)),
        ("train/class2/ok.png", plain(61)),
        ("train/class2/copy-a.png", plain(62)),
        ("train/class2/copy-b.png", copy(62)),
        ("train/class2/cut.jpg", baseline[..baseline.len() / 2].to_vec()),
        ("train/class2/damaged.png", flipped(plain(63), 60)),
        ("train/class2/empty.jpg", Vec::new()),
        ("train/class2/text.jpg", b"hello".to_vec()),
        ("train/class2/cmyk.jpg", golden("cmyk.jpg")),
        ("train/class2/ycck.jpg", golden("ycck.jpg")),
        ("train/class2/grey.jpg", golden("grey.jpg")),
        ("train/class2/turned.jpg", golden("exif-turned.jpg")),
        ("train/class2/alpha.png", golden("alpha.png")),
        ("train/class2/deep.png", golden("sixteen-bit-grey.png")),
        ("train/class2/jpeg.png", golden("subsampled.jpg")),
        ("train/class2/png.jpg", golden("portrait.png")),
        ("train/class2/photo.webp", b"RIFF".to_vec()),
        ("train/class2/notes.txt", b"...".to_vec()),
        ("train/class2/._ok.png", b"...".to_vec()),
        ("train/.DS_Store", b"...".to_vec()),
        ("train/loose.png", plain(64)),
        ("val/class1/new.png", plain(65)),
        ("val/class1/leaked.png", plain(3)),
        ("val/class2/mislabelled.png", plain(4)),
        ("val/class2/new.png", plain(66)),
        ("val/unheard-of/1.png", plain(67)),
        ("test/1.png", plain(68)),
        ("test/2.png", plain(69)),
    ];
    files.iter().for_each(|(name, bytes)| write(root, name, bytes));
    fs::create_dir(root.join("train/class3")).expect("made");
    folder
}

/// Kind, severity, and of each case its images, classes and file.
const FAULTS: [(&str, &str, &[&[&str]]); 22] = [
    ("unknown-class", "error", &[&["unheard-of"]]),
    ("class-without-training", "error", &[&["class3"]]),
    (
        "unreadable",
        "error",
        &[&["train/class2/cut.jpg"], &["train/class2/damaged.png"], &["train/class2/text.jpg"]],
    ),
    ("empty", "error", &[&["train/class2/empty.jpg"]]),
    (
        "contradiction",
        "error",
        &[
            &["train/class1/04.png", "val/class2/mislabelled.png"],
            &["train/class1/both.png", "train/class10/both.png"],
        ],
    ),
    (
        "leak",
        "error",
        &[
            &["train/class1/03.png", "val/class1/leaked.png"],
            &["train/class1/04.png", "val/class2/mislabelled.png"],
        ],
    ),
    ("class-without-validation", "warning", &[&["Class2"], &["class10"], &["class3"]]),
    ("imbalance", "warning", &[&["class1", "Class2"]]),
    ("similar-names", "warning", &[&["Class2", "class2"]]),
    ("duplicate", "warning", &[&["train/class2/copy-a.png", "train/class2/copy-b.png"]]),
    ("wrong-extension", "warning", &[&["train/class2/jpeg.png"], &["train/class2/png.jpg"]]),
    ("deep-grey", "warning", &[&["train/class2/deep.png"]]),
    ("orientation", "warning", &[&["train/class2/turned.jpg"]]),
    ("unsupported-format", "warning", &[&["train/class2/photo.webp"]]),
    ("outside-classes", "warning", &[&["train/loose.png"]]),
    ("left-out", "note", &[&[]]),
    ("cmyk", "note", &[&["train/class2/cmyk.jpg"], &["train/class2/ycck.jpg"]]),
    ("grey", "note", &[&["train/class2/grey.jpg"]]),
    ("alpha", "note", &[&["train/class2/alpha.png"]]),
    ("hidden", "note", &[&["train/.DS_Store"], &["train/class2/._ok.png"]]),
    ("other-file", "note", &[&["train/class2/notes.txt"]]),
    ("natural-order", "note", &[&["class10"], &["class2"], &["class3"]]),
];

/// What a case is about: paths beneath the set, or classes.
fn subjects(case: &Value) -> Vec<String> {
    let strings = |value: &Value| -> Vec<String> {
        let items = value.as_array().into_iter().flatten();
        items.map(|item| item.as_str().expect("a string").to_owned()).collect()
    };
    let beneath = |path: &Value| {
        let path = path.as_str().expect("a path");
        path.strip_prefix("set/").expect("beneath the set").to_owned()
    };
    let images = case["images"].as_array().into_iter().flatten();
    let mut all: Vec<String> = images.map(|image| beneath(&image["path"])).collect();
    all.extend(strings(&case["classes"]));
    all.extend(case.get("file").map(beneath));
    all
}

#[test]
fn every_planted_fault_is_in_the_json_with_its_path_and_nothing_else() {
    let folder = faulty_set();
    let output = alexnet(folder.path(), &["data", "check", "set", "--format", "json"]);
    assert_eq!(code(&output), 1, "{}", text(&output.stderr));
    let report = json(&output);
    let found: Vec<(&str, &str, Vec<Vec<String>>)> = report["findings"]
        .as_array()
        .expect("a list")
        .iter()
        .map(|finding| {
            let cases = finding["cases"].as_array().expect("a list");
            let name = |key: &str| finding[key].as_str().expect("a name");
            (name("kind"), name("severity"), cases.iter().map(subjects).collect())
        })
        .collect();
    assert_eq!(found.len(), FAULTS.len(), "{found:?}");
    for ((kind, severity, cases), found) in FAULTS.iter().zip(&found) {
        let cases: Vec<Vec<String>> =
            cases.iter().map(|case| case.iter().map(|part| (*part).to_owned()).collect()).collect();
        assert_eq!(found, &(*kind, *severity, cases));
    }
    assert_eq!([&report["errors"], &report["warnings"], &report["notes"]], [10, 12, 11]);
    let image = &report["findings"][5]["cases"][1]["images"][1];
    let expected = json!({
        "path": "set/val/class2/mislabelled.png", "split": "val", "class": "class2"
    });
    assert_eq!(image, &expected);
    let reason = report["findings"][2]["cases"][0]["detail"].as_str().expect("a reason");
    assert!(reason.contains("is a truncated JPEG"), "{reason}");
}

#[test]
fn the_json_counts_splits_classes_and_sizes() {
    let folder = faulty_set();
    let report = json(&alexnet(folder.path(), &["data", "check", "set", "--format", "json"]));
    assert_eq!([&report["data"], &report["kind"]], ["set", "folders"]);
    assert_eq!(report["crop"], 224);
    let train = &report["splits"][0];
    assert_eq!([&train["images"], &train["readable"]], [38, 34]);
    assert_eq!([&train["name"], &train["place"]], ["train", "set/train"]);
    assert_eq!(train["sizes"]["smallest"], json!([9, 7]));
    assert_eq!(train["sizes"]["smaller_than_crop"], 34);
    let classes = [("Class2", 1, 0), ("class1", 21, 2), ("class10", 1, 0), ("class2", 15, 2)];
    for (index, (name, train, val)) in classes.into_iter().enumerate() {
        let expected = json!({ "name": name, "images": { "train": train, "val": val } });
        assert_eq!(report["classes"][index], expected);
    }
    let expected = json!({ "largest": "class1", "smallest": "Class2", "ratio": 21.0 });
    assert_eq!(report["imbalance"], expected);
}

#[test]
fn a_person_reads_the_worst_first_and_how_much_is_not_shown() {
    let folder = faulty_set();
    let root = folder.path().join("set");
    (0..4).for_each(|n| write(&root, &format!("train/class2/more-{n}.jpg"), b"hello"));
    let output = alexnet(folder.path(), &["data", "check", "set"]);
    assert_eq!(code(&output), 1);
    let table = text(&output.stdout);
    let mut rest = table;
    for part in [
        "set: folders, 6 classes",
        "train      42",
        "class2         19    2",
        "Errors",
        "7 images cannot be decoded",
        "set/train/class2/cut.jpg is a truncated JPEG",
        "and 2 more",
        "set/train/class1/both.png (class1) = set/train/class10/both.png (class10)",
        "Warnings",
        "1 class has many more images than another",
        "class1, Class2 differ by a factor of 21.0",
        "Notes",
        "class10 is number 2 here, 4 there",
        "14 errors, 12 warnings.",
    ] {
        let at = rest.find(part).unwrap_or_else(|| panic!("no '{part}' in its place in {table}"));
        rest = &rest[at + part.len()..];
    }
}

#[test]
fn a_clean_set_passes_strictly_a_warning_fails_strictly_an_error_always() {
    let folder = sample_set(2, 1);
    let check = |more: &[&str]| alexnet(folder.path(), &[&["data", "check", "set"], more].concat());
    let clean = check(&["--strict", "--format", "json", "--image-size", "32"]);
    let report = json(&clean);
    assert_eq!((code(&clean), &report["findings"]), (0, &json!([])), "{report}");
    assert_eq!([&report["errors"], &report["warnings"], &report["notes"]], [0, 0, 0]);
    assert!(text(&check(&[]).stdout).contains("Nothing found that would spoil training."));

    let class = first_folder(&folder.path().join("set/train"));
    let image = fs::read_dir(&class).expect("listed").flatten().next().expect("an image").path();
    fs::copy(&image, class.join("copy.jpg")).expect("copied");
    assert_eq!([code(&check(&[])), code(&check(&["--strict"]))], [0, 1]);
    fs::write(class.join("empty.jpg"), b"").expect("written");
    assert_eq!([code(&check(&[])), code(&check(&["--strict"]))], [1, 1]);

    let nowhere = alexnet(folder.path(), &["data", "check", "nowhere"]);
    assert_eq!(code(&nowhere), 1);
    assert_eq!(text(&nowhere.stderr), "alexnet: nowhere does not exist\n");
    assert_eq!(code(&alexnet(folder.path(), &["data", "check"])), 2);
}

fn first_folder(folder: &Path) -> std::path::PathBuf {
    let mut folders: Vec<_> =
        fs::read_dir(folder).expect("listed").flatten().map(|entry| entry.path()).collect();
    folders.sort();
    folders.swap_remove(0)
}

// ---------------------------------------------------------------- info

#[test]
fn info_says_what_a_set_is_and_how_it_was_packed() {
    let folder = sample_set(2, 1);
    let bytes = |split: &str| -> u64 {
        let classes =
            fs::read_dir(folder.path().join("set").join(split)).expect("listed").flatten();
        let images =
            classes.flat_map(|class| fs::read_dir(class.path()).expect("listed").flatten());
        images.map(|image| image.metadata().expect("a size").len()).sum()
    };
    let info = json(&alexnet(folder.path(), &["data", "info", "set", "--format", "json"]));
    let splits = json!([
        { "name": "train", "place": "set/train", "images": 24, "bytes": bytes("train") },
        { "name": "val", "place": "set/val", "images": 12, "bytes": bytes("val") },
    ]);
    assert_eq!(
        (&info["kind"], &info["images"], &info["splits"]),
        (&json!("folders"), &json!(36), &splits)
    );
    assert_eq!(info["classes"].as_array().map(Vec::len), Some(12));
    assert_eq!(info["classes"][3]["images"], json!({ "train": 2, "val": 1 }));
    assert_eq!(info.get("packing"), None);

    let pack = ["data", "pack", "set", "packed", "--resize-size", "32", "--shard-images", "10"];
    assert_eq!(code(&alexnet(folder.path(), &pack)), 0);
    let info = json(&alexnet(folder.path(), &["data", "info", "packed", "--format", "json"]));
    let packing = json!({
        "settings": {
            "size": { "fit": "shorter-side", "side": 32 }, "encoding": "raw", "shard_images": 10
        },
        "shards": 5, "unreadable": 0,
    });
    assert_eq!((&info["kind"], &info["packing"]), (&json!("packed"), &packing));
    let table = alexnet(folder.path(), &["data", "info", "packed"]);
    let told = text(&table.stdout);
    assert!(told.contains("bare pixels, shorter side 32, 5 shards of at most 10 images"), "{told}");
}

#[test]
fn info_lists_the_first_classes_for_a_person_and_all_in_json() {
    let folder = tempfile::tempdir().expect("a folder");
    for class in 0..23 {
        write(folder.path(), &format!("set/train/{class:02}/1.jpg"), b"");
    }
    let told = alexnet(folder.path(), &["data", "info", "set"]);
    let told = text(&told.stdout);
    assert!(told.contains("set: folders, 23 classes") && told.contains("and 3 more"), "{told}");
    let info = json(&alexnet(folder.path(), &["data", "info", "set", "--format", "json"]));
    assert_eq!(info["classes"].as_array().map(Vec::len), Some(23));
}

// ---------------------------------------------------------------- preview

const SEED: u64 = 5;
const SIDE: u32 = 130;

/// What `--model torchvision --image-size 130` means, written down once more.
fn preprocess() -> Preprocess {
    Preprocess {
        fit: Fit::ShorterSide,
        resize: 149, // 8/7 of 130
        crop: SIDE,
        mean: [123.675, 116.28, 103.53],
        std: [58.395, 57.12, 57.375],
        mean_image: None,
    }
}

fn picture(input: &[f32]) -> Picture {
    let Preprocess { mean, std, .. } = preprocess();
    let level = |(at, value): (usize, &f32)| (value * std[at % 3] + mean[at % 3]).round() as u8;
    let side = SIDE as usize;
    Picture::new(side, side, input.iter().enumerate().map(level).collect()).expect("a square")
}

/// One training image of each class, those that the second epoch shows first.
fn chosen(dataset: &Dataset) -> Vec<usize> {
    let config = LoaderConfig {
        batch_size: 1,
        workers: 0,
        seed: SEED,
        augment: View::RandomResizedCrop.into(),
        unreadable: Unreadable::Blank,
        preprocess: preprocess(),
        order: Order::Shuffled,
    };
    let order = Loader::new(dataset.train.samples.clone(), config).expect("a loader").order(1);
    let mut seen = HashSet::new();
    order.into_iter().filter(|&sample| seen.insert(dataset.train.samples[sample].label)).collect()
}

/// The image evaluated, then varied for the second and the third epoch.
fn row(dataset: &Dataset, sample: usize) -> SheetRow {
    let Sample { content, label } = &dataset.train.samples[sample];
    let image = content.read_image().expect("an image");
    let mut input = vec![0.0; preprocess().image_len()];
    preprocess().evaluate(&image, &mut input).expect("evaluated");
    let mut pictures = vec![picture(&input)];
    for epoch in [1, 2] {
        let key = SampleKey { seed: SEED, epoch, sample: sample as u64, position: 0 };
        let augment = Augment::from(View::RandomResizedCrop);
        augment.apply(&image, &preprocess(), key, &mut input).expect("varied");
        pictures.push(picture(&input));
    }
    let path = content.path();
    let path = path.strip_prefix(&dataset.train.folder).expect("beneath").display();
    SheetRow { caption: format!("{}: {path}", dataset.classes[*label as usize]), pictures }
}

/// The sheet is made anew from the functions that define evaluation and variation, not by a loader.
#[test]
fn a_preview_shows_the_pixels_of_evaluation_and_of_each_epoch_under_their_captions() {
    let folder = sample_set(3, 1);
    let typed = "data preview set --out sheet.png --model torchvision --image-size 130 --seed 5 \
                 --rows 4 --views 2 --epoch 2";
    let output = alexnet(folder.path(), &typed.split_whitespace().collect::<Vec<_>>());
    let told = text(&output.stderr);
    assert_eq!((code(&output), text(&output.stdout)), (0, "sheet.png\n"), "{told}");
    let shown = image::open(folder.path().join("sheet.png")).expect("a picture").into_rgb8();

    let dataset = open(&folder.path().join("set"), None).expect("opened");
    let expected = ContactSheet {
        title: "torchvision: random-resized-crop of 130 pixels, shorter-side 149, seed 5".into(),
        columns: ["evaluation", "epoch 2", "epoch 3"].map(String::from).to_vec(),
        rows: chosen(&dataset).into_iter().take(4).map(|sample| row(&dataset, sample)).collect(),
    };
    let is_shown = |sheet: &ContactSheet| {
        let drawn = sheet.draw().expect("drawn");
        shown.width() as usize == drawn.width() && *shown.as_raw() == drawn.rgb()
    };
    assert!(is_shown(&expected), "another sheet");
    // A caption or a picture in another's place would be noticed.
    let mut swapped = expected.clone();
    swapped.rows[0].caption = expected.rows[1].caption.clone();
    assert!(!is_shown(&swapped));
    let mut swapped = expected;
    swapped.rows[0].pictures.swap(1, 2);
    assert!(!is_shown(&swapped));
}

/// What is subtracted and divided by is put back, so that only colour noise can be seen of it.
#[test]
fn a_preview_reads_the_training_images_where_training_does() {
    let folder = sample_set(2, 1);
    let preview = |more: &str| {
        let same = "data preview set --image-size 63 --fit centre-square --augment none --rows 3";
        let typed: Vec<_> = same.split(' ').chain(more.split_whitespace()).collect();
        let output = alexnet(folder.path(), &typed);
        let told = text(&output.stderr).to_owned();
        assert_eq!(code(&output), 0, "{more}: {told}");
        (fs::read(folder.path().join("preview.png")).expect("a sheet"), told)
    };
    let (plain, silent) = preview("");
    assert_eq!(silent, "");
    for flags in ["--mean image", "--mean image-centre --std data", "--mean data"] {
        let (sheet, told) = preview(flags);
        assert!(told.contains("Reading all 24 training images once"), "{flags}: {told}");
        assert!(sheet == plain, "{flags}");
    }
    let noises = ["imagenet", "data"]
        .map(|of| preview(&format!("--colour-noise 0.5 --colour-noise-from {of}")).0);
    assert!(noises[0] != noises[1] && noises[0] != plain, "noise along other colours");
}

#[test]
fn a_preview_takes_the_flags_of_train_and_refuses_what_no_sheet_can_hold() {
    let folder = sample_set(1, 1);
    let preview = |more: &[&str]| {
        alexnet(folder.path(), &[&["data", "preview", "set", "--rows", "2"], more].concat())
    };
    assert_eq!(code(&preview(&["--lr", "0.5", "--augment", "none", "--image-size", "63"])), 0);
    assert!(folder.path().join("preview.png").is_file());
    for (arguments, expected, says) in [
        (&["--views", "0"][..], 2, "it must be at least 1"),
        (&["--epoch", "0"], 2, "0 is not in 1.."),
        (&["--image-size", "2000", "--views", "99"], 2, "ask for fewer --rows or --views"),
        (&["--image-size", "100", "--resize-size", "50"], 2, "--resize-size is 50"),
        (&["--out", "no/such/folder.png"], 1, "cannot write no/such/folder.png"),
    ] {
        let output = preview(arguments);
        let told = text(&output.stderr);
        assert_eq!(code(&output), expected, "{arguments:?}: {told}");
        assert!(told.contains(says) && !told.contains("panicked"), "{told}");
    }
}

// ---------------------------------------------------------------- values that make no sense

#[test]
fn values_no_image_could_have_and_flags_without_effect_are_usage_mistakes() {
    let folder = sample_set(1, 1);
    let cases: [(&[&str], &str); 20] = [
        (&["train", "set", "--resize-size", "5000"], "--resize-size is 5000"),
        (&["train", "set", "--resize-size", "4294967296"], "--resize-size is 4294967296"),
        (&["train", "set", "--mean", "1,2,nan"], "--mean is 1,2,NaN: grey levels lie between"),
        (&["train", "set", "--mean", "1,2,300"], "--mean is 1,2,300"),
        (&["train", "set", "--mean", "1,2,1e30"], "--mean is 1,2,1000000000000000000000000000000"),
        (&["data", "preview", "set", "--std", "0,0,0"], "--std is 0,0,0"),
        (&["data", "statistics", "set", "--resize-size", "5000"], "--resize-size"),
        (&["data", "statistics", "set", "--resize-size", "0"], "--resize-size"),
        (&["data", "pack", "set", "out", "--resize-size", "5000"], "--resize-size"),
        (
            &["data", "pack", "set", "out", "--encoding", "original", "--resize-size", "64"],
            "--encoding original cannot keep the bytes of",
        ),
        (&["data", "pack", "set", "out", "--quality", "90"], "pass --encoding jpeg"),
        (&["data", "pack", "set", "out", "--fit", "warp"], "--resize-size"),
        (
            &["data", "prepare", "set", "out", "--to", "pack", "--quality", "90"],
            "pass --encoding jpeg",
        ),
        (&["bench", "train", "--steps", "99999999999"], "at most 1000000"),
        (&["bench", "data", "--warmup-steps", "99999999999"], "at most 1000000"),
        (&["bench", "infer", "--device", "cpu", "--operations"], "--operations is for"),
        (&["data", "check", "set", "--image-size", "0"], "--image-size <PIXELS>': 0 is not in 1.."),
        (&["convert", "in.pth", "out", "--image-size", "0"], "<PIXELS>': it must be at least 1"),
        (&["train", "set", "--colour-noise-epochs", "3"], "--colour-noise-epochs has no effect"),
        (
            &["data", "preview", "set", "--colour-noise-from", "data"],
            "--colour-noise-from has no effect with --colour-noise 0",
        ),
    ];
    for (arguments, says) in cases {
        let output = alexnet(folder.path(), arguments);
        let told = text(&output.stderr);
        assert_eq!(code(&output), 2, "{arguments:?}: {told}");
        assert!(told.contains(says), "{arguments:?}: {told}");
    }
    assert!(!folder.path().join("out").exists());
}
