//! Parquet files: the same images as in a folder, and whatever the file says, at worst an error.

#![allow(clippy::unwrap_used)] // In helpers too, where the lint does not know a test.

mod support;

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};

use alexnet_data::{
    Content, DataError, Dataset, Encoding, Fit, Image, Loader, LoaderConfig, NamedSplit, Order,
    PackSettings, Preprocess, Unreadable, View, check, open, open_split, pack, survey,
};
use flate2::Compression;
use flate2::write::GzEncoder;
use support::parquet::{Forged, Page, dictionary, levels, plain, v1, v2};
use support::{assert_says, golden, listed, surveyed, tree};
use tempfile::TempDir;

/// What pyarrow wrote, and how many of the images of each can be read where they lie. In pages of
/// version 2 it leaves as it is what does not get smaller.
const FORMS: [(&str, usize); 6] =
    [("snappy", 0), ("zstd", 2), ("gzip", 0), ("none", 24), ("none-v2", 24), ("binary", 0)];

fn form(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../goldens/parquet").join(name)
}

fn opened(name: &str) -> Dataset {
    open(&form(name), None).unwrap()
}

fn pixels(dataset: &Dataset) -> Result<Vec<Image>, DataError> {
    let samples = dataset.train.samples.iter().chain(&dataset.val.samples);
    samples.map(|sample| sample.content.read_image()).collect()
}

fn labels(dataset: &Dataset) -> Vec<u32> {
    dataset.train.samples.iter().chain(&dataset.val.samples).map(|s| s.label).collect()
}

#[test]
fn every_form_is_the_folder_of_the_same_images() {
    let folder = opened("folder");
    assert_eq!((folder.train.samples.len(), folder.val.samples.len()), (24, 6));
    for (name, in_place) in FORMS {
        let dataset = opened(name);
        assert_eq!(dataset.classes, folder.classes, "{name}");
        assert_eq!(labels(&dataset), labels(&folder), "{name}");
        assert!(pixels(&dataset).unwrap() == pixels(&folder).unwrap(), "{name}");
        let samples = dataset.train.samples.iter();
        let parts = samples.filter(|sample| matches!(sample.content, Content::Part(_)));
        assert_eq!(parts.count(), in_place, "{name}");
    }
}

#[test]
fn an_image_is_called_by_its_path_or_else_by_its_row() {
    let dataset = opened("snappy");
    let names = listed(&dataset.train, &dataset.classes);
    let file = "train-00000-of-00002.parquet";
    assert_eq!(names[2], (format!("{file}/blue/02.jpg"), "blue"));
    assert_eq!(names[3], (format!("{file}/3"), "blue"));
    assert_eq!(names[12], (format!("{file}/green/04.png"), "green"));
    assert_eq!(names[13], ("train-00001-of-00002.parquet/green/05.jpg".into(), "green"));
    let dataset = opened("binary");
    assert_eq!(listed(&dataset.train, &dataset.classes)[14].0, "train-1.parquet/1");
}

/// All numbers of an epoch, from its batch `first` on.
fn epoch(dataset: &Dataset, workers: usize, first: usize, seed: u64) -> (Vec<f32>, Vec<u32>) {
    let preprocess = Preprocess {
        fit: Fit::ShorterSide,
        resize: 8,
        crop: 6,
        mean: [128.0; 3],
        std: [64.0; 3],
        mean_image: None,
    };
    let config = LoaderConfig {
        batch_size: 5,
        workers,
        seed,
        augment: View::RandomResizedCrop.into(),
        unreadable: Unreadable::Replace { budget: 0 },
        preprocess,
        order: Order::Shuffled,
    };
    let mut epoch = Loader::new(&*dataset.train.samples, config).unwrap().epoch(2, first);
    let (mut images, mut labels) = (Vec::new(), Vec::new());
    while let Some(batch) = epoch.next_batch() {
        let batch = batch.unwrap();
        images.extend_from_slice(&batch.images.values());
        labels.extend(batch.labels);
    }
    (images, labels)
}

#[test]
fn the_network_sees_the_same_as_from_the_folder_with_any_number_of_workers_and_when_resumed() {
    let expected = epoch(&opened("folder"), 0, 0, 7);
    for (name, _) in FORMS {
        let dataset = opened(name);
        for workers in [0, 1, 4] {
            assert!(epoch(&dataset, workers, 0, 7) == expected, "{name}, {workers} workers");
        }
        let (images, labels) = epoch(&dataset, 4, 2, 7);
        assert!(images == expected.0[2 * 5 * 6 * 6 * 3..], "{name}, resumed");
        assert!(labels == expected.1[2 * 5..], "{name}, resumed");
    }
    // The comparison can tell epochs apart.
    assert!(epoch(&opened("snappy"), 0, 0, 8) != expected);
}

#[test]
fn a_table_can_be_packed() {
    let folder = tempfile::tempdir().unwrap();
    let settings = PackSettings { size: None, encoding: Encoding::Original, shard_images: 10 };
    let out = folder.path().join("packed");
    pack(&opened("snappy"), settings, &out, 2, &mut |_| true).unwrap();
    assert!(pixels(&open(&out, None).unwrap()).unwrap() == pixels(&opened("folder")).unwrap());
}

#[test]
fn splits_are_found_by_their_names() {
    let classes = ["blue", "green", "red"].map(String::from);
    for (name, split, images) in [
        ("snappy", Some("validation"), Some(6)),
        ("snappy", Some("train"), Some(24)),
        ("snappy", Some("test"), None),
        ("snappy", None, Some(6)),
        ("gzip", Some("test"), Some(6)),
        ("none", Some("validation"), Some(6)),
    ] {
        let opened = open_split(&form(name), split, &classes).ok();
        let found = opened.map(|opened| opened.split.samples.len());
        assert_eq!(found, images, "{split:?} of {name}");
    }
    let message = open_split(&form("snappy"), Some("test"), &classes).unwrap_err().to_string();
    let says = "kind parquet, which has no split \"test\": it has train, validation";
    assert!(message.ends_with(says), "{message}");
}

// ---------------------------------------------------------------- forged files

/// Two rows of the classes 1 and 0.
fn forged() -> Forged {
    let (a, b) = (golden("parquet/folder/train/red/00.png"), golden("pixels/rgb.png"));
    Forged::new(&[&a, &b], &[1, 0])
}

/// A set that learns from this file and measures with a good one.
fn with_train(train: &Forged) -> TempDir {
    let (train, val) = (train.bytes(), forged().bytes());
    tree(&[("train.parquet", &train[..]), ("validation.parquet", &val)])
}

/// Opens a set and decodes its images.
fn everything(root: &Path) -> Result<Vec<Image>, DataError> {
    open(root, None).and_then(|dataset| pixels(&dataset))
}

#[test]
fn a_forged_file_that_tells_the_truth_is_read() {
    let root = with_train(&forged());
    let expected = ["parquet/folder/train/red/00.png", "pixels/rgb.png"]
        .map(|name| alexnet_data::decode(&golden(name)).unwrap());
    assert!(everything(root.path()).unwrap()[..2] == expected);
    // A dictionary, levels of version 2, and a column that is never null.
    let [a, b] = [golden("parquet/folder/train/red/00.png"), golden("pixels/rgb.png")];
    let entries = dictionary(2, plain(&[&b, &a]));
    let indices = v2(2, 2, vec![4, 1, 1, 3, 0b01]).within(4, 8);
    for (repetition, pages) in [(0, vec![v1(2, plain(&[&a, &b]))]), (1, vec![entries, indices])] {
        let mut forged = forged();
        forged.columns[0].repetition = repetition;
        forged.columns[0].pages = pages;
        let root = with_train(&forged);
        assert!(everything(root.path()).unwrap()[..2] == expected, "{repetition}");
    }
}

#[test]
fn a_table_of_one_class_is_told_what_says_it() {
    let (a, b) = (golden("parquet/folder/train/red/00.png"), golden("pixels/rgb.png"));
    let root = with_train(&Forged::new(&[&a, &b], &[0, 0]));
    let message = open(root.path(), None).unwrap_err().to_string();
    let says =
        "has 1 class(es), at least 2 are needed: add rows of each, with a label that says it";
    assert!(message.ends_with(says), "{message}");
}

#[test]
fn numbers_without_names_are_lines_of_classes_txt_or_names_themselves() {
    let root = with_train(&forged());
    assert_eq!(open(root.path(), None).unwrap().classes, ["0", "1"]);
    fs::write(root.path().join("classes.txt"), "cat\ndog\n").unwrap();
    let dataset = open(root.path(), None).unwrap();
    assert_eq!(
        (&dataset.classes[..], dataset.train.samples[0].label),
        (&["cat".into(), "dog".into()][..], 1)
    );
}

fn described(names: &str) -> Vec<(&'static str, String)> {
    let json = format!(r#"{{"info": {{"features": {{"label": {{"names": {names}}}}}}}}}"#);
    vec![("other", "x".into()), ("huggingface", json)]
}

#[test]
fn names_in_the_metadata_are_what_numbers_mean_even_where_they_are_numbers_too() {
    let mut forged = forged();
    forged.metadata = described(r#"["1", "0"]"#);
    let root = with_train(&forged);
    let dataset = open(root.path(), None).unwrap();
    assert_eq!(
        (&dataset.classes[..], dataset.train.samples[0].label),
        (&["1".into(), "0".into()][..], 1)
    );
    for (metadata, says) in [
        (described(r#"["a"]"#), "row 0, its class: 1 is not one of the 1 classes"),
        (described(r#"["a", "a"]"#), "metadata huggingface: classes 0 and 1 are both called a"),
        (described(r#"["a", "b\n"]"#), "metadata huggingface: a class's name is no plain text"),
        (described("3"), "metadata huggingface: a class's name is no plain text"),
        (vec![("huggingface", "{".into())], "metadata huggingface: it does not describe"),
    ] {
        forged.metadata = metadata;
        let root = with_train(&forged);
        let message = everything(root.path()).unwrap_err().to_string();
        assert_says(&message, root.path(), &format!("train.parquet, {says}"), says);
    }
}

#[test]
fn files_of_a_split_number_their_classes_alike_and_all_are_there() {
    let mut first = forged();
    first.metadata = described(r#"["a", "b"]"#);
    let (first, second, val) = (first.bytes(), forged().bytes(), forged().bytes());
    let root = tree(&[
        ("train-0.parquet", &first[..]),
        ("train-1.parquet", &second),
        ("val.parquet", &val),
    ]);
    let message = everything(root.path()).unwrap_err().to_string();
    let says = "train-1.parquet, metadata huggingface: it names other classes";
    assert_says(&message, root.path(), says, says);
    for name in ["train-00000-of-00002.parquet", "train-00000-of-00002-0a1b.parquet"] {
        let root = tree(&[(name, &val[..]), ("val.parquet", &val)]);
        let message = everything(root.path()).unwrap_err().to_string();
        assert_says(&message, root.path(), "of 00002: of so many files 1 are there", name);
    }
}

#[test]
fn a_table_without_rows_holds_nothing_and_is_no_fault() {
    // As pyarrow writes it: no page, and no place for one.
    let mut none = Forged::new(&[], &[]);
    none.columns.iter_mut().for_each(|column| {
        column.pages.clear();
        column.says = vec![(6, 0), (7, 0), (9, 0)];
    });
    let (rows, none) = (forged().bytes(), none.bytes());
    let root = tree(&[
        ("train-0.parquet", &none[..]),
        ("train-1.parquet", &rows),
        ("train-2.parquet", &none),
        ("val.parquet", &rows),
    ]);
    assert_eq!(open(root.path(), None).unwrap().train.samples.len(), 2);
}

/// A lie, and what is said of it behind the file's name.
type Lie = (&'static str, fn(&mut Forged), &'static str);

/// Lies about where the columns are and what they hold.
const FOOTER_LIES: [Lie; 22] = [
    ("start", |f| f.columns[0].says = vec![(9, -5)], "row group 0, column 0: it lies outside"),
    ("start at 0", |f| f.columns[0].says = vec![(9, 0)], "row group 0, column 0: it lies outside"),
    (
        "far start",
        |f| f.columns[1].says = vec![(9, i64::MAX)],
        "row group 0, column 1: it lies outside",
    ),
    (
        "dictionary",
        |f| f.columns[0].says = vec![(11, -9)],
        "row group 0, column 0: it lies outside",
    ),
    ("length", |f| f.columns[0].says = vec![(7, -1)], "row group 0, column 0: it lies outside"),
    ("long", |f| f.columns[0].says = vec![(7, 1 << 40)], "row group 0, column 0: it lies outside"),
    (
        "longest",
        |f| f.columns[0].says = vec![(7, i64::MAX)],
        "row group 0, column 0: it lies outside",
    ),
    (
        "short",
        |f| f.columns[0].says = vec![(7, 9)],
        "row group 0, column image, byte 4: no page header",
    ),
    ("values", |f| f.columns[0].says = vec![(5, 3)], "row group 0, column 0: it has other than"),
    (
        "minus values",
        |f| f.columns[0].says = vec![(5, -2)],
        "row group 0, column 0: it has other than",
    ),
    ("type", |f| f.columns[1].says = vec![(1, 1)], "row group 0, column 1: it is of another type"),
    ("brotli", |f| f.columns[0].says = vec![(4, 4)], "it is compressed with Brotli: write it"),
    ("codec", |f| f.columns[0].says = vec![(4, 99)], "it is compressed with an unknown codec"),
    ("rows", |f| f.rows = [-2, -2], "row group 0: -2 rows"),
    ("sum", |f| f.rows = [2, 3], "footer: the row groups have 2 rows, the file 3"),
    ("more rows", |f| f.rows = [3, 3], "there is no page here, of 3 rows 2 are there"),
    ("millions", |f| f.rows = [1 << 40; 2], "footer: it has 1099511627776 rows, the limit is"),
    (
        "elsewhere",
        |f| f.columns[0].elsewhere = true,
        "row group 0, column 0: it lies in another file",
    ),
    ("encrypted", |f| f.columns[0].encrypted = true, "row group 0, column 0: it is encrypted"),
    ("children", |f| f.root_children = Some(3), "schema element 3: it should be there"),
    ("no children", |f| f.root_children = Some(-1), "schema element 1: it belongs to no other"),
    ("nulls", |f| f.columns[0].nulls = Some(1), "row group 0, column image: a row has no image"),
];

/// Changes the only page of the images.
fn page(forged: &mut Forged, change: impl FnOnce(Page) -> Page) {
    let page = forged.columns[0].pages.remove(0);
    forged.columns[0].pages.push(change(page));
}

/// Lies about pages.
const PAGE_LIES: [Lie; 20] = [
    (
        "longer",
        |f| page(f, |p| p.with(2, 900_000_000)),
        "byte 4: a page of 900000000 bytes, the limit",
    ),
    ("minus", |f| page(f, |p| p.with(2, -1)), "byte 4: no page header"),
    ("stored minus", |f| page(f, |p| p.with(3, -1)), "byte 4: no page header"),
    ("stored more", |f| page(f, |p| p.with(3, 2_000_000_000)), "its column ends before"),
    ("unequal", |f| page(f, |p| p.with(2, 100)), "but should have 100"),
    ("values", |f| page(f, |p| p.within(1, i64::from(i32::MAX))), "values in a page, the limit"),
    ("minus values", |f| page(f, |p| p.within(1, -1)), "byte 4: no page header"),
    ("fewer", |f| page(f, |p| p.within(1, 1)), "there is no page here, of 2 rows 1 are there"),
    ("more", |f| page(f, |p| p.within(1, 3)), "the pages before have 3 of 2 rows"),
    ("none", |f| page(f, |p| p.within(1, 0)), "there is no page here, of 2 rows 0 are there"),
    ("encoding", |f| page(f, |p| p.within(2, 6)), "values in encoding 6: write them plain"),
    ("levels", |f| page(f, |p| p.within(3, 4)), "levels in encoding 4"),
    ("kind", |f| page(f, |p| p.with(1, 7)), "a page of unknown kind 7"),
    (
        "crc",
        |f| f.columns[1].pages[0] = f.columns[1].pages[0].clone().with(4, 77),
        "column label, byte",
    ),
    ("no dictionary", |f| page(f, |p| p.within(2, 8)), "it points outside of its dictionary"),
    (
        "two dictionaries",
        |f| {
            f.columns[0].pages.insert(0, dictionary(1, plain(&[b"x"])));
            f.columns[0].pages.insert(0, dictionary(1, plain(&[b"x"])));
        },
        "a dictionary must come first",
    ),
    ("levels of v2", |f| page(f, |_| v2(2, 99, vec![4, 1])), "its levels have no place in it"),
    ("lists of v2", |f| page(f, |_| v2(2, 1, vec![4, 1]).within(6, 1)), "its levels have no place"),
    (
        "nulls of v2",
        |f| page(f, |_| v2(2, 2, vec![4, 1]).within(2, 1)),
        "column image: a row has no image",
    ),
    (
        "an index",
        |f| f.columns[0].pages = vec![v1(2, vec![1]).with(1, 1)],
        "there is no page here, of 2",
    ),
];

/// Lies in what pages hold.
const VALUE_LIES: [Lie; 9] = [
    (
        "length",
        |f| page(f, |_| v1(2, [levels(2, 1), vec![255; 8]].concat())),
        "it ends within its values",
    ),
    (
        "second",
        |f| page(f, |_| v1(2, [levels(2, 1), plain(&[b"a"])].concat())),
        "it ends within its values",
    ),
    ("levels", |f| page(f, |_| v1(2, vec![255, 255, 255, 127, 4, 1])), "it ends within its values"),
    (
        "few levels",
        |f| page(f, |_| v1(2, [levels(1, 1), plain(&[b"", b""])].concat())),
        "of each row whether",
    ),
    ("no levels", |f| page(f, |_| v1(2, Vec::new())), "it ends within its values"),
    (
        "a null",
        |f| page(f, |_| v1(2, levels(2, 0))),
        "row group 0, row 0, column image: a row has no image",
    ),
    ("labels", |f| f.columns[1].pages = vec![v1(2, vec![0; 15])], "column label, byte"),
    (
        "a wide entry",
        |f| {
            f.columns[0].pages = vec![
                dictionary(1, plain(&[b"x"])),
                v1(2, [levels(2, 1), vec![33, 4, 0]].concat()).within(2, 8),
            ]
        },
        "it points outside of its dictionary",
    ),
    (
        "an entry",
        |f| {
            f.columns[0].pages = vec![
                dictionary(1, plain(&[b"x"])),
                v1(2, [levels(2, 1), vec![1, 3, 0b10]].concat()).within(2, 8),
            ]
        },
        "it points outside of its dictionary",
    ),
];

#[test]
fn a_lie_is_told_by_file_and_place() {
    for (case, lie, says) in FOOTER_LIES.iter().chain(&PAGE_LIES).chain(&VALUE_LIES) {
        let mut forged = forged();
        lie(&mut forged);
        let root = with_train(&forged);
        let message = everything(root.path()).expect_err(case).to_string();
        assert_says(&message, root.path(), "train.parquet, ", case);
        assert_says(&message, root.path(), says, case);
    }
}

#[test]
fn columns_of_another_kind_are_not_taken_for_images_or_classes() {
    for (case, lie, says) in [
        ("name", (|f| f.columns[0].name = "picture") as fn(&mut Forged), "column image of bytes"),
        ("numbers", |f| f.columns[0].kind = 2, "column image of bytes"),
        ("list", |f| f.columns[0].repetition = 2, "column image of bytes"),
        ("class", |f| f.columns[1].name = "klass", "column label of whole numbers"),
        ("floats", |f| f.columns[1].kind = 5, "column label of whole numbers"),
    ] {
        let mut forged = forged();
        lie(&mut forged);
        let root = with_train(&forged);
        let message = everything(root.path()).unwrap_err().to_string();
        assert_says(
            &message,
            root.path(),
            &format!("train.parquet, schema: it has no {says}"),
            case,
        );
    }
    for (label, says) in [(-1, "row 0, its class: it has no class"), (1 << 40, "row 0, its class")]
    {
        let forged = Forged::new(&[b"", b"", b""], &[label, 0, 1]);
        let root = with_train(&forged);
        let message = everything(root.path()).unwrap_err().to_string();
        assert_says(&message, root.path(), &format!("train.parquet, {says}"), says);
    }
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut packed = GzEncoder::new(Vec::new(), Compression::default());
    packed.write_all(bytes).unwrap();
    packed.finish().unwrap()
}

fn snappy(bytes: &[u8]) -> Vec<u8> {
    snap::raw::Encoder::new().compress_vec(bytes).unwrap()
}

fn zstd(bytes: &[u8]) -> Vec<u8> {
    zstd::encode_all(bytes, 3).unwrap()
}

/// Parquet's numbers of the codecs.
const SNAPPY: i64 = 1;
const GZIP: i64 = 2;
const ZSTD: i64 = 6;
type Pack = fn(&[u8]) -> Vec<u8>;
const CODECS: [(i64, Pack); 3] = [(SNAPPY, snappy), (GZIP, gzip), (ZSTD, zstd)];

/// Two rows in a packed page of version 1.
fn packed_page(codec: i64, page: Page) -> TempDir {
    let mut forged = forged();
    forged.columns[0].says = vec![(4, codec)];
    forged.columns[0].pages = vec![page];
    with_train(&forged)
}

#[test]
fn a_packed_page_that_lies_is_told_when_an_image_in_it_is_read() {
    let null_behind = [levels(2, 0), Vec::new()].concat();
    let good = [levels(2, 1), plain(&[b"a", b"b"])].concat();
    let bomb = vec![0; 50 << 20];
    for (codec, pack) in CODECS {
        let page = |body: &[u8]| v1(2, body.to_vec()).packed(pack(body));
        for (case, page, says) in [
            ("a null", page(&null_behind), "column image, page at byte"),
            ("a bomb", page(&bomb).with(2, 100), "row group 0, column image, byte"),
            ("a promise", page(&good).with(2, 200 << 20), "hold the 209715200 bytes of its header"),
            ("a byte more", page(&good).with(2, good.len() as i64 + 1), "hold the 17 bytes of its"),
            ("a byte less", page(&good).with(2, good.len() as i64 - 1), "hold the 15 bytes of its"),
            ("junk", v1(2, good.clone()), "row group 0, column image, byte"),
            ("nothing", page(&good).packed(Vec::new()), "row group 0, column image, byte"),
            ("values", page(&[levels(2, 1), vec![255; 4]].concat()), "it ends within its values"),
        ] {
            let root = packed_page(codec, page);
            let dataset = open(root.path(), None).unwrap();
            let message = dataset.train.samples[0].content.read_image().unwrap_err().to_string();
            let case = format!("{case}, codec {codec}");
            assert_says(&message, root.path(), "train.parquet, row group 0, ", &case);
            assert_says(&message, root.path(), says, &case);
        }
    }
}

#[test]
fn an_image_beyond_the_limit_is_refused_before_it_is_copied() {
    let image = vec![0; (64 << 20) + 1];
    let body = [levels(2, 1), plain(&[&image, b""])].concat();
    let root = packed_page(SNAPPY, v1(2, body.clone()).packed(snappy(&body)));
    let dataset = open(root.path(), None).unwrap();
    let message = dataset.train.samples[0].content.read_image().unwrap_err().to_string();
    assert_says(&message, root.path(), "train.parquet/0 is larger than 64 MiB", "large");
}

// ---------------------------------------------------------------- damage

/// A copy of one of pyarrow's sets, with one file to learn from.
fn copy(name: &str) -> (TempDir, PathBuf, Vec<u8>) {
    let dataset = opened(name);
    let file = |content: &Content| {
        content.path().ancestors().find(|it| it.is_file()).unwrap().to_path_buf()
    };
    let [train, val] = [&dataset.train, &dataset.val].map(|split| file(&split.samples[0].content));
    let (train, val) = (fs::read(train).unwrap(), fs::read(val).unwrap());
    let root = tree(&[("train.parquet", &train[..]), ("validation.parquet", &val)]);
    let path = root.path().join("train.parquet");
    // The first of two files lacks the last class.
    let message = open(root.path(), None).unwrap_err().to_string();
    assert!(message.contains("red"), "{message}");
    fs::rename(root.path().join("validation.parquet"), root.path().join("train.parquet")).unwrap();
    fs::write(root.path().join("validation.parquet"), &val).unwrap();
    (root, path, val)
}

#[test]
fn a_file_cut_anywhere_is_refused() {
    for (name, _) in FORMS {
        let (root, path, whole) = copy(name);
        everything(root.path()).unwrap();
        for len in (0..whole.len()).step_by(7) {
            fs::write(&path, &whole[..len]).unwrap();
            let message = everything(root.path()).unwrap_err().to_string();
            let case = format!("{name} cut at {len}");
            assert_says(&message, root.path(), "train.parquet, byte ", &case);
        }
    }
}

#[test]
fn a_file_cut_after_it_was_opened_names_itself() {
    for (name, _) in FORMS {
        let (root, path, whole) = copy(name);
        let dataset = open(root.path(), None).unwrap();
        fs::write(&path, &whole[..100]).unwrap();
        let message = dataset.train.samples[5].content.read_image().unwrap_err().to_string();
        assert!(message.contains("train.parquet") && !message.contains('\n'), "{name}: {message}");
    }
}

/// Files of two bytes as images, so that nearly all of them is headers and footer.
fn tiny_files() -> Vec<Vec<u8>> {
    let body = [levels(2, 1), plain(&[b"a", b"b"])].concat();
    let indices = v1(2, [levels(2, 1), vec![1, 3, 0b10]].concat()).within(2, 8);
    let mut files = vec![
        (0, vec![v1(2, body.clone())]),
        (0, vec![dictionary(2, plain(&[b"a", b"b"])), indices]),
        (0, vec![v2(2, 2, [vec![4, 1], plain(&[b"a", b"b"])].concat())]),
    ];
    for (codec, pack) in CODECS {
        files.push((codec, vec![v1(2, body.clone()).packed(pack(&body))]));
    }
    let file = |(codec, pages): (i64, Vec<Page>)| {
        let mut forged = forged();
        forged.metadata = described(r#"["a", "b"]"#);
        forged.columns[0].says = vec![(4, codec)];
        forged.columns[0].pages = pages;
        forged.bytes()
    };
    files.into_iter().map(file).collect()
}

#[test]
fn any_bit_of_a_header_may_be_wrong_without_a_panic() {
    let mut wrong = 0;
    for (number, whole) in tiny_files().into_iter().enumerate() {
        let root = tree(&[("train.parquet", &whole[..])]);
        let path = root.path().join("train.parquet");
        let classes = ["a".to_owned(), "b".into()];
        let read = || {
            let samples = open_split(root.path(), Some("train"), &classes)?.split.samples;
            samples
                .iter()
                .map(|sample| sample.content.read_encoded())
                .collect::<Result<Vec<_>, _>>()
        };
        let (expected, mut refused) = (read().unwrap(), 0);
        assert_eq!(expected, [Some(b"a".to_vec()), Some(b"b".to_vec())]);
        let masks = [0x01, 0x10, 0x80, 0xff].into_iter();
        for (at, mask) in (0..whole.len()).flat_map(|at| masks.clone().map(move |mask| (at, mask)))
        {
            let mut bytes = whole.clone();
            bytes[at] ^= mask;
            fs::write(&path, bytes).unwrap();
            match read() {
                Ok(found) => wrong += usize::from(found != expected),
                Err(error) => {
                    refused += 1;
                    let message = error.to_string();
                    let case = format!("file {number}, byte {at} ^ {mask}: {message}");
                    assert!(message.contains(&*root.path().to_string_lossy()), "{case}");
                    assert!(!message.contains('\n') && !message.contains("decoder fail"), "{case}");
                }
            }
        }
        assert!(refused > whole.len(), "file {number}: {refused}");
    }
    // Changed images are seen where no checksum guards them, so the changes are real.
    assert!(wrong > 0);
}

#[test]
fn any_byte_of_what_pyarrow_wrote_may_be_wrong_without_a_panic() {
    for (name, _) in FORMS {
        let (root, path, whole) = copy(name);
        let expected = everything(root.path()).unwrap();
        let (mut refused, mut seen) = (0, 0);
        let step = 11;
        for at in (0..whole.len()).step_by(step) {
            let mut bytes = whole.clone();
            bytes[at] ^= [0x01, 0x80, 0xff][at % 3];
            fs::write(&path, bytes).unwrap();
            match everything(root.path()) {
                Ok(pixels) => seen += usize::from(pixels != expected),
                Err(error) => {
                    refused += 1;
                    let message = error.to_string();
                    assert!(message.contains(&*root.path().to_string_lossy()), "{message}");
                    let fails = message.contains("makes the decoder fail");
                    assert!(!message.contains('\n') && !fails, "{name}, byte {at}: {message}");
                }
            }
        }
        assert!(
            refused > whole.len() / step / 10,
            "{name}: {refused} refused, {seen} wrong pixels"
        );
    }
}

#[test]
fn what_is_no_parquet_file_is_told_by_its_first_or_last_byte() {
    let whole = forged().bytes();
    let len = whole.len();
    let with = |change: fn(&mut Vec<u8>)| {
        let mut bytes = whole.clone();
        change(&mut bytes);
        bytes
    };
    for (case, bytes, says) in [
        ("empty", Vec::new(), "byte 0: it does not begin with PAR1".to_owned()),
        ("text", b"hello hello hello".to_vec(), "byte 0: it does not begin with PAR1".into()),
        ("magic alone", b"PAR1".to_vec(), "byte 4: it does not end with PAR1".into()),
        ("twice the magic", b"PAR1PAR1".to_vec(), "byte 8: it does not end with PAR1".into()),
        ("no footer", b"PAR1\0\0\0\0PAR1".to_vec(), "footer, byte 0: no Parquet metadata".into()),
        (
            "a long footer",
            with(|b| {
                let at = b.len() - 5;
                b[at] = 0x7f;
            }),
            format!("byte {}: a footer of ", len - 8),
        ),
        (
            "encrypted",
            with(|b| {
                let at = b.len() - 1;
                b[at] = b'E';
            }),
            format!("byte {len}: its footer is encrypted"),
        ),
    ] {
        let root = with_train(&forged());
        fs::write(root.path().join("train.parquet"), bytes).unwrap();
        let message = everything(root.path()).unwrap_err().to_string();
        assert_says(&message, root.path(), &format!("train.parquet, {says}"), case);
    }
}

#[test]
fn a_survey_counts_images_and_the_bytes_they_take_and_a_check_reads_them_all() {
    let files = size(&form("folder"));
    for (name, _) in FORMS {
        let survey = survey(&form(name), None).unwrap();
        assert_eq!(
            surveyed(&form(name)),
            ("parquet", vec![("train", 24), ("val", 6)], 3),
            "{name}"
        );
        let images: u64 = survey.splits.iter().map(NamedSplit::stored_bytes).sum();
        // Small and plain images: packed together they take a third at least.
        assert!((files * 3 / 10..=files).contains(&images), "{name}: {images}, {files}");
        let report = check(&survey, 1, 2, &mut |_| true).unwrap();
        let readable: Vec<usize> = report.splits.iter().map(|split| split.readable).collect();
        assert_eq!(readable, [24, 6], "{name}");
    }
}

/// Of a file, or of all in a folder.
fn size(path: &Path) -> u64 {
    match fs::read_dir(path) {
        Ok(inner) => inner.map(|entry| size(&entry.unwrap().path())).sum(),
        Err(_) => fs::metadata(path).unwrap().len(),
    }
}
