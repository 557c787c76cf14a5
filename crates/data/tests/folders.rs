//! Datasets as people make them, and what they are told when something is missing.

#![allow(clippy::unwrap_used)] // In helpers too, where the lint does not know a test.

mod support;

use std::fs;
use std::path::{Path, PathBuf};

use alexnet_data::{find_images, open, open_split, survey};
use support::surveyed;
use tempfile::TempDir;

/// A folder with these files, each empty: listing does not look inside.
fn tree(files: &[&str]) -> TempDir {
    let root = tempfile::tempdir().unwrap();
    for file in files {
        let path = root.path().join(file);
        if file.ends_with('/') {
            fs::create_dir_all(path).unwrap();
        } else {
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, b"").unwrap();
        }
    }
    root
}

fn names(root: &Path, paths: &[PathBuf]) -> Vec<String> {
    paths.iter().map(|path| path.strip_prefix(root).unwrap().display().to_string()).collect()
}

fn owned(classes: &[&str]) -> Vec<String> {
    classes.iter().map(|class| class.to_string()).collect()
}

#[test]
fn samples_are_in_the_order_of_torchvisions_image_folder() {
    let root = tree(&[
        "train/cat/b.JPEG",
        "train/cat/a.png",
        "train/cat/B.jpg",
        "train/cat/more/0.jpg",
        "train/Dog/1.jpg",
        "train/Dog/notes.txt",
        "train/Dog/.hidden.jpg",
        "train/.cache/0.jpg",
        "val/cat/0.jpg",
    ]);
    let dataset = open(root.path(), None).unwrap();
    assert_eq!(dataset.classes, ["Dog", "cat"]);
    let (paths, labels): (Vec<_>, Vec<_>) = dataset
        .train
        .samples
        .into_iter()
        .map(|sample| (sample.content.path(), sample.label))
        .unzip();
    let expected = [
        "train/Dog/1.jpg",
        "train/cat/B.jpg",
        "train/cat/a.png",
        "train/cat/b.JPEG",
        "train/cat/more/0.jpg",
    ];
    assert_eq!(names(root.path(), &paths), expected);
    assert_eq!(labels, [0, 1, 1, 1, 1]);
    // A class may be absent from the validation images: labels go by name.
    assert_eq!(dataset.val.samples.len(), 1);
    assert_eq!(dataset.val.samples[0].label, 1);
}

#[test]
fn the_validation_split_goes_by_any_of_four_names() {
    let train = ["train/a/0.jpg", "train/b/0.jpg"];
    for name in ["val", "valid", "validation", "test"] {
        let val = format!("{name}/b/0.jpg");
        let root = tree(&[train[0], train[1], &val]);
        assert_eq!(open(root.path(), None).unwrap().val.folder, root.path().join(name));
    }
    let root = tree(&[train[0], train[1], "test/a/0.jpg", "valid/a/0.jpg"]);
    assert_eq!(open(root.path(), None).unwrap().val.folder, root.path().join("valid"));
}

#[test]
fn a_dataset_that_cannot_be_used_says_why_in_one_line() {
    let both = ["train/a/0.jpg", "train/b/0.jpg"];
    for (files, says) in [
        (&[][..], "is empty: a dataset has train/<class>/ and val/<class>/"),
        (
            &["a/0.jpg"],
            "has no training images: put them in train/<class>/, or pass --val-fraction",
        ),
        (&both, "but none to measure with: add one of val/, valid/, validation/ or test/, or pass"),
        (
            &["train/a/0.jpg", "val/a/0.jpg"],
            "train has 1 class(es), at least 2 are needed: put the images of each into a folder of",
        ),
        (
            &["train/0.jpg", "val/a/0.jpg"],
            "train holds images, such as 0.jpg, but no class folders",
        ),
        (&["train/x", "val/a/0.jpg"], "train has 0 class(es), at least 2 are needed"),
        (&[both[0], "train/b/", "val/a/0.jpg"], "train/b holds no .jpg, .jpeg or .png image"),
        (&[both[0], both[1], "val/a/"], "val holds no .jpg, .jpeg or .png image"),
        (&[both[0], both[1], "val/c/0.jpg"], "val/c is not one of the 2 known classes"),
    ] {
        let root = tree(files);
        let message = open(root.path(), None).unwrap_err().to_string();
        assert!(message.contains(says) && !message.contains('\n'), "{message}");
        assert!(message.starts_with(&root.path().display().to_string()), "{message}");
    }
    let message = open(Path::new("nowhere"), None).unwrap_err().to_string();
    assert_eq!(message, "nowhere does not exist");
}

/// A tree whose `.txt` files hold these lines.
fn lists(files: &[&str], texts: &[(&str, &str)]) -> TempDir {
    let root = tree(files);
    for (name, text) in texts {
        fs::write(root.path().join(name), text).unwrap();
    }
    root
}

#[test]
fn a_list_says_what_the_images_of_a_flat_folder_show() {
    let train = ["train/n2/0.jpg", "train/n1/0.jpg", "val/7.jpg", "val/my cat.jpg"];
    for (case, names, text) in [
        ("names", None, "7.jpg n2\n\nmy cat.jpg\tn1\n"),
        ("numbers count train's folders, sorted", None, "val/7.jpg 1\r\nval/my cat.jpg 0\r\n"),
        ("numbers count the lines of classes.txt", Some("n2\nn1\n"), "7.jpg 0\nmy cat.jpg 1"),
    ] {
        let root = lists(&train, &[("val.txt", text)]);
        if let Some(names) = names {
            fs::write(root.path().join("classes.txt"), names).unwrap();
        }
        let dataset = open(root.path(), None).unwrap();
        let found: Vec<_> =
            dataset.val.samples.iter().map(|s| (s.content.path(), s.label)).collect();
        let val = root.path().join("val");
        assert_eq!(found, [(val.join("7.jpg"), 1), (val.join("my cat.jpg"), 0)], "{case}");
    }
}

#[test]
fn numbers_in_lists_without_names_are_their_own_names() {
    let texts = [("train.txt", "a.jpg 0\nb.jpg 2\nc.jpg 1\n"), ("val.txt", "c.jpg 1\n")];
    let root = lists(&["a.jpg", "b.jpg", "c.jpg"], &texts);
    let dataset = open(root.path(), None).unwrap();
    assert_eq!(dataset.classes, ["0", "1", "2"]);
    assert_eq!(dataset.val.samples[0].label, 1);
}

#[test]
fn a_list_that_cannot_be_used_names_the_line() {
    for (text, says) in [
        ("0.jpg a\n1.jpg\n", "val.txt, line 2: it should be a path, a space and a class"),
        ("0.jpg a\n0.jpg c\n", "val.txt, line 2: c is not one of the 2 classes"),
        ("0.jpg 0\n0.jpg 2\n", "val.txt, line 2: 2 is not one of the 2 classes"),
        ("9.jpg a\n", "val.txt, line 1: there is no 9.jpg in"),
        ("\n", "val.txt, line 1: it names no image"),
    ] {
        let root = lists(&["train/a/0.jpg", "train/b/0.jpg", "val/0.jpg"], &[("val.txt", text)]);
        let message = open(root.path(), None).unwrap_err().to_string();
        assert!(message.contains(says) && !message.contains('\n'), "{message}");
    }
}

#[test]
fn a_number_that_is_another_class_s_name_is_refused() {
    let numbered: Vec<String> = (0..12).map(|class| format!("train/{class}/0.jpg")).collect();
    let mut files: Vec<&str> = numbered.iter().map(String::as_str).collect();
    files.push("val/0.jpg");
    let root = lists(&files, &[("val.txt", "0.jpg 1\n0.jpg 2\n")]);
    let message = open(root.path(), None).unwrap_err().to_string();
    let says = "val.txt, line 2: 2 is the name of class number 4, and number 2 is 10: begin the";
    assert!(message.contains(says), "{message}");

    let texts = [("classes.txt", "2\n1\n0\n"), ("train.txt", "0.jpg 1\n0.jpg 0\n")];
    let root = lists(&["0.jpg"], &texts);
    let message = open(root.path(), Some(0.5)).unwrap_err().to_string();
    assert!(message.contains("train.txt, line 2: 0 is the name of class number 2"), "{message}");
}

#[test]
fn folders_of_images_that_a_training_list_names_are_no_classes() {
    let texts = [
        ("train.txt", "images/0.jpg cat\nimages/1.jpg dog\n"),
        ("val.txt", "train/images/0.jpg cat\n"),
    ];
    let root = lists(&["train/images/0.jpg", "train/images/1.jpg"], &texts);
    assert_eq!(open(root.path(), None).unwrap().classes, ["cat", "dog"]);
}

#[test]
fn a_list_of_one_class_is_told_what_says_it() {
    let root = lists(&["0.jpg", "1.jpg"], &[("train.txt", "0.jpg cat\n1.jpg cat\n")]);
    let message = open(root.path(), Some(0.5)).unwrap_err().to_string();
    let says = "train.txt has 1 class(es), at least 2 are needed: add lines of images of each,";
    assert!(message.contains(says), "{message}");
}

#[test]
fn a_class_that_no_training_image_is_of_is_told_by_where_its_name_is_from() {
    let numbers = ("train.txt", "0.jpg 1\n0.jpg 2\n");
    for (texts, says) in [
        (vec![numbers], "train.txt is of class 0: classes are numbered from 0"),
        (
            vec![numbers, ("classes.txt", "a\nb\nc\n")],
            "classes.txt names: add images of it, or take the name out",
        ),
        (
            vec![numbers, ("classes.txt", "a\nb\na\n")],
            "classes.txt, line 3: a is the class of line 1 too: give each class a name",
        ),
        (vec![numbers, ("classes.txt", "a\n\nb\n")], "classes.txt, line 2: it names no class"),
    ] {
        let root = lists(&["0.jpg"], &texts);
        let message = open(root.path(), Some(0.5)).unwrap_err().to_string();
        assert!(message.contains(says) && !message.contains('\n'), "{says}: {message}");
    }
}

#[cfg(unix)]
#[test]
fn what_is_no_file_is_refused_in_a_list_before_it_is_read() {
    let root = lists(&["0.jpg"], &[("train.txt", "0.jpg a\npipe.jpg b\n")]);
    let pipe = root.path().join("pipe.jpg");
    if !std::process::Command::new("mkfifo").arg(&pipe).status().unwrap().success() {
        return; // Not every file system has them.
    }
    let message = open(root.path(), Some(0.5)).unwrap_err().to_string();
    assert!(message.contains("train.txt, line 2:"), "{message}");
    assert!(message.ends_with("pipe.jpg is no file: take it out"), "{message}");
}

#[test]
fn a_flat_validation_folder_is_refused_with_two_ways_out() {
    let root = tree(&["train/a/0.jpg", "train/b/0.jpg", "val/ILSVRC2012_val_00000001.JPEG"]);
    let message = open(root.path(), None).unwrap_err().to_string();
    for says in ["val holds images, such as ILSVRC2012_val_00000001.JPEG", "val.txt beside it"] {
        assert!(message.contains(says), "{message}");
    }
}

#[test]
fn images_are_set_aside_by_name_alone_and_of_every_class() {
    let files: Vec<String> = (0..40).map(|n| format!("{}/{n}.jpg", ["a", "b"][n % 2])).collect();
    let mut files: Vec<&str> = files.iter().map(String::as_str).collect();
    files.push("c/only.jpg");
    let aside = |root: &TempDir| {
        let dataset = open(root.path(), Some(0.25)).unwrap();
        let paths: Vec<_> = dataset.val.samples.iter().map(|s| s.content.path()).collect();
        let label = |label| dataset.val.samples.iter().filter(|s| s.label == label).count();
        assert_eq!([0, 1, 2].map(label), [5, 5, 0]);
        assert!(dataset.train.samples.iter().all(|s| !paths.contains(&s.content.path())));
        assert_eq!(dataset.train.samples.len() + paths.len(), 41);
        names(root.path(), &paths)
    };
    let first = tree(&files);
    // The same files elsewhere, written in another order.
    files.reverse();
    assert_eq!(aside(&first), aside(&tree(&files)));
    // Where every class has one image, there is nothing to set aside.
    let message = open(tree(&["a/0.jpg", "b/0.jpg"]).path(), Some(0.5)).unwrap_err().to_string();
    assert!(message.contains("each class has only one: add images"), "{message}");
    // Beside train/, what is there for validation is left alone.
    let root = tree(&["train/a/0.jpg", "train/a/1.jpg", "train/b/0.jpg", "test/a/9.jpg"]);
    let dataset = open(root.path(), Some(0.5)).unwrap();
    assert_eq!((dataset.train.samples.len(), dataset.val.samples.len()), (2, 1));
    assert!(dataset.val.samples[0].content.path().starts_with(root.path().join("train")));
}

#[test]
fn a_split_for_evaluation_is_found_where_it_lies() {
    let classes = owned(&["a", "b"]);
    for (files, split, folder) in [
        (&["test/b/0.jpg", "val/b/0.jpg"][..], None, "val"),
        (&["test/b/0.jpg", "val/b/0.jpg"], Some("test"), "test"),
        (&["b/0.jpg"], None, ""),
    ] {
        let root = tree(files);
        let opened = open_split(root.path(), split, &classes).unwrap();
        assert_eq!(opened.split.folder, root.path().join(folder));
        assert_eq!(opened.split.samples[0].label, 1);
        assert_eq!(opened.missing, ["a"]);
    }
}

#[test]
fn a_split_that_cannot_be_evaluated_says_why() {
    let classes = owned(&["a", "b"]);
    for (files, split, says) in [
        (&["c/0.jpg"][..], None, "add one of val/, valid/, validation/ or test/, or name"),
        (&["a/0.jpg", "c/0.jpg"], None, "c is not one of the 2 known classes"),
        (
            &["train/a/0.jpg", "val/a/0.jpg"],
            Some("test"),
            "holds a set of kind folders, which has no split \"test\": it has train, val",
        ),
        (&["a/0.jpg"], Some("test"), "no split \"test\": leave --split out to measure with all"),
        (&["val/a/notes.txt"], None, "val holds no .jpg"),
    ] {
        let root = tree(files);
        let message = open_split(root.path(), split, &classes).unwrap_err().to_string();
        assert!(message.contains(says), "{message}");
    }
}

#[test]
fn images_to_predict_are_files_as_given_and_folders_sorted() {
    let root = tree(&["z.jpg", "odd.name", "in/b.png", "in/a/1.jpg", "in/c.txt", "none/c.txt"]);
    let path = |name: &str| root.path().join(name);
    for (given, expected) in
        [("odd.name", ["odd.name"].as_slice()), ("in", &["in/b.png", "in/a/1.jpg"])]
    {
        let found = find_images(&path(given)).unwrap();
        assert_eq!(names(root.path(), &found.images), expected);
    }
    for (name, says) in [("none", "none holds no .jpg"), ("absent", "absent does not exist")] {
        let message = find_images(&path(name)).unwrap_err().to_string();
        assert!(message.contains(says), "{message}");
    }
}

#[cfg(unix)]
#[test]
fn where_all_that_is_there_is_left_out_the_error_tells_of_it() {
    let open_split = |root: &Path| open_split(root, None, &owned(&["a", "b"])).unwrap_err();
    let open = |root: &Path| open(root, None).unwrap_err();
    let find = |root: &Path| find_images(root).unwrap_err();
    let train = ["train/a/0.jpg", "train/b/", "val/a/0.jpg"];
    // The files, the links that lead nowhere, and what the error says before their example.
    type Case<'a> =
        (&'a dyn Fn(&Path) -> alexnet_data::DataError, &'a [&'a str], &'a [&'a str], &'a str);
    let cases: [Case; 5] = [
        (&find, &[], &["1.jpg", "2.jpg"], "image; 2 links that lead nowhere are left out"),
        (&open, &train, &["train/b/0.jpg"], "image; 1 link that leads nowhere is left out"),
        (&open, &["train/"], &["train/a"], "of its own; 1 link that leads nowhere is left out"),
        (
            &open_split,
            &["val/a/"],
            &["val/a/0.jpg"],
            "image; 1 link that leads nowhere is left out",
        ),
        (&open_split, &["val/a/0.gif"], &[], "image; 1 image of another format is left out"),
    ];
    for (error, files, links, says) in cases {
        let root = tree(files);
        let at = |name: &&str| root.path().join(name);
        links.iter().for_each(|link| std::os::unix::fs::symlink("/nowhere", at(link)).unwrap());
        let example = links.iter().chain(files).map(at).next().unwrap();
        let told = error(root.path()).to_string();
        let says = format!("{says}, such as {}: ", example.display());
        assert!(told.contains(&says) && !told.contains('\n'), "{told}");
    }
    let told = find(tree(&["notes.txt"]).path()).to_string();
    assert!(told.ends_with("png image: add images or remove it"), "not meant: {told}");
}

#[cfg(unix)]
#[test]
fn images_of_other_formats_and_links_that_lead_nowhere_are_counted_and_named() {
    use std::os::unix::fs::symlink;
    let root = tree(&[
        "train/a/0.jpg",
        "train/a/b.WEBP",
        "train/a/.hidden.gif",
        "train/a/notes.txt",
        "train/b/1.png",
        "val/a/2.jpg",
        "val/a/c.bmp",
    ]);
    let at = |name: &str| root.path().join(name);
    for link in ["train/b/2.jpg", "train/lost"] {
        symlink(at("nowhere"), at(link)).unwrap();
    }
    let dataset = open(root.path(), None).unwrap();
    let found = [&dataset.train.passed_over, &dataset.val.passed_over];
    assert_eq!(found.map(|it| (it.formats, it.links)), [(1, 2), (1, 0)]);
    let said = dataset.passed_over().to_string();
    let example = at("train/a/b.WEBP").display().to_string();
    let expected = format!(
        "2 images of other formats and 2 links that lead nowhere are left out, such as {example}:"
    );
    assert!(said.starts_with(&expected), "{said}");
    let opened = open_split(root.path(), None, &dataset.classes).unwrap();
    assert_eq!(opened.split.passed_over, dataset.val.passed_over);
    let predicted = find_images(&at("val")).unwrap();
    assert_eq!(predicted.passed_over, dataset.val.passed_over);
    let one = predicted.passed_over.to_string();
    assert!(one.starts_with("1 image of another format is left out, such as "), "{one}");
    assert!(find_images(&at("train/b/1.png")).unwrap().passed_over.is_empty());
}

#[test]
fn two_folders_that_may_both_be_meant_to_measure_with_are_refused_and_found() {
    for (also, both) in
        [("valid/a/9.jpg", "val and valid"), ("validation.txt", "val and validation")]
    {
        let root = tree(&["train/a/0.jpg", "train/b/1.jpg", "val/a/2.jpg", "test/a/3.jpg", also]);
        let names = || ["a".to_owned(), "b".to_owned()];
        let refused = open(root.path(), None).unwrap_err();
        assert!(refused.to_string().contains(&format!("has both {both}, ")), "{refused}");
        assert_eq!(
            open_split(root.path(), None, &names()).unwrap_err().to_string(),
            refused.to_string()
        );
        // What was named, or is not asked for, is no matter.
        assert_eq!(open_split(root.path(), Some("val"), &names()).unwrap().split.samples.len(), 1);
        let survey = survey(root.path(), None).unwrap();
        assert_eq!(survey.rivals.join(" and "), both);
        fs::remove_file(root.path().join(also)).unwrap();
        let _ = fs::remove_dir_all(root.path().join("valid"));
        assert!(open(root.path(), None).is_ok(), "a test beside val is another set");
    }
}

#[test]
fn a_mark_of_byte_order_is_no_part_of_a_list() {
    let root = tree(&["pictures/0.jpg", "pictures/1.jpg"]);
    for name in ["train.txt", "val.txt"] {
        let list = "\u{feff}pictures/0.jpg cat\npictures/1.jpg dog\n";
        fs::write(root.path().join(name), list).unwrap();
    }
    fs::write(root.path().join("classes.txt"), "\u{feff}cat\ndog\n").unwrap();
    let dataset = open(root.path(), None).unwrap();
    assert_eq!(
        (dataset.classes, dataset.train.samples.len()),
        (vec!["cat".into(), "dog".into()], 2)
    );
}

#[cfg(unix)]
#[test]
fn links_are_followed_and_one_that_leads_back_up_ends() {
    use std::os::unix::fs::symlink;
    let root = tree(&["real/0.jpg", "set/a/1.jpg"]);
    symlink(root.path().join("real"), root.path().join("set/linked")).unwrap();
    symlink(root.path().join("set"), root.path().join("set/a/up")).unwrap();
    let found = find_images(&root.path().join("set")).unwrap();
    assert_eq!(names(root.path(), &found.images), ["set/a/1.jpg", "set/linked/0.jpg"]);
}

#[test]
fn a_survey_shows_what_opening_refuses() {
    let named = |names: &[(&'static str, usize)]| names.to_vec();
    for (files, kind, splits, classes) in [
        // A test set beside the one to measure with; a class that is not learnt comes last.
        (
            &["train/a/1.jpg", "train/c/1.jpg", "valid/b/1.jpg", "test/a/1.jpg", "test/a/2.jpg"][..],
            "folders",
            named(&[("train", 2), ("val", 1), ("test", 2)]),
            3,
        ),
        // The test set is the one to measure with.
        (&["train/a/1.jpg", "test/a/1.jpg"], "folders", named(&[("train", 1), ("val", 1)]), 1),
        (&["a/1.jpg", "b/1.jpg", "b/2.jpg"], "folders", named(&[("all", 3)]), 2),
        (&["val/a/1.jpg"], "folders", named(&[("val", 1)]), 1),
        (&["train/a/1.jpg", "train/b/"], "folders", named(&[("train", 1)]), 2),
    ] {
        assert_eq!(surveyed(tree(files).path()), (kind, splits, classes), "{files:?}");
    }
    let root = lists(&["train/a/1.jpg", "val/1.jpg", "test/9.jpg"], &[("val.txt", "1.jpg a")]);
    assert_eq!(surveyed(root.path()), ("lists", vec![("train", 1), ("val", 1)], 1));
    let left_out = survey(root.path(), None).unwrap().left_out.unwrap();
    assert!(left_out.contains("test holds images, such as 9.jpg, but no class"), "{left_out}");
    let message = survey(tree(&["README"]).path(), None).unwrap_err().to_string();
    assert!(message.contains("has no training images"), "{message}");
}

#[test]
fn a_survey_sets_the_same_images_aside_as_opening_does() {
    let root = tree(&["a/1.jpg", "a/2.jpg", "a/3.jpg", "b/1.jpg", "b/2.jpg"]);
    let (opened, surveyed) =
        (open(root.path(), Some(0.4)).unwrap(), survey(root.path(), Some(0.4)).unwrap());
    let splits: Vec<_> = surveyed.splits.iter().map(|named| (named.name, &named.split)).collect();
    assert_eq!(splits, [("train", &opened.train), ("val", &opened.val)]);
}
