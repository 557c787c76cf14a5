//! The program as a user types it: results on standard output, one clear line for every mistake,
//! exit codes.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::LazyLock;

use assert_cmd::Command;
use serde_json::Value;
use tempfile::TempDir;

/// A tiny data set and a run on it, shared by all tests, never changed.
struct Fixture {
    folder: TempDir,
}

static FIXTURE: LazyLock<Fixture> = LazyLock::new(|| {
    let folder = tempfile::tempdir().expect("a folder");
    let set = ["data", "sample", "set", "--train-per-class", "2", "--val-per-class", "1"];
    alexnet(folder.path(), &set).assert().success();
    let train = alexnet(folder.path(), &train_tiny(&["set", "--epochs", "1"])).assert().success();
    let told = String::from_utf8(train.get_output().stderr.clone()).expect("text");
    assert!(told.contains("best.safetensors") && told.contains("Try next"), "{told}");
    Fixture { folder }
});

impl Fixture {
    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }
    fn weights(&self) -> String {
        self.path("runs/train/exp1/weights/best.safetensors").display().to_string()
    }
    fn set(&self) -> String {
        self.path("set").display().to_string()
    }
    /// A copy of the data set that a test may spoil.
    fn spoilable_set(&self) -> TempDir {
        let copy = tempfile::tempdir().expect("a folder");
        copy_tree(&self.path("set"), copy.path());
        copy
    }
}

fn copy_tree(from: &Path, to: &Path) {
    fs::create_dir_all(to).expect("a folder");
    for entry in fs::read_dir(from).expect("listed").flatten() {
        let target = to.join(entry.file_name());
        if entry.path().is_dir() {
            copy_tree(&entry.path(), &target);
        } else {
            fs::copy(entry.path(), target).expect("copied");
        }
    }
}

fn alexnet(folder: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_alexnet"));
    command.current_dir(folder).args(arguments);
    command
}

/// The smallest network and images there are.
fn train_tiny<'a>(arguments: &[&'a str]) -> Vec<&'a str> {
    let tiny = ["train", "--width", "0.02", "--image-size", "63", "--batch-size", "8"];
    [&tiny, arguments].concat()
}

/// Runs in a fresh folder and returns (exit code, standard output, standard error).
fn run(arguments: &[&str]) -> (i32, String, String) {
    let folder = tempfile::tempdir().expect("a folder");
    run_in(folder.path(), arguments)
}

fn run_in(folder: &Path, arguments: &[&str]) -> (i32, String, String) {
    let output = alexnet(folder, arguments).output().expect("it runs");
    let text = |bytes| String::from_utf8(bytes).expect("text");
    (output.status.code().unwrap_or(-1), text(output.stdout), text(output.stderr))
}

/// Asserts a failure told in one line that has all of `words`.
fn assert_refused(arguments: &[&str], words: &[&str]) {
    let (code, _, told) = run(arguments);
    assert_eq!(code, 1, "{arguments:?}: {told}");
    let line = told.lines().last().unwrap_or_default();
    assert!(line.starts_with("alexnet: ") && !told.contains("panicked"), "{told}");
    for word in words {
        assert!(line.contains(word), "'{word}' is not in: {line}");
    }
}

fn json(arguments: &[&str]) -> Value {
    let (code, out, told) = run(arguments);
    assert_eq!(code, 0, "{told}");
    serde_json::from_str(&out).expect("JSON")
}

fn assert_keys(value: &Value, keys: &[&str]) {
    for key in keys {
        assert!(!value[key].is_null(), "no '{key}' in {value}");
    }
}

#[test]
fn summary_prints_every_model_s_published_size() {
    let arguments = ["summary", "--model", "paper", "--format", "json"];
    let summary = json(&arguments);
    assert_eq!(summary["model"], "paper");
    assert_eq!(summary["params"], 60_965_224);
    assert_eq!(summary["macs"], 724_406_816);
    assert_keys(&summary["layers"][0], &["name", "kind", "output", "params", "macs"]);
    let (code, table, _) = run(&["summary"]);
    assert_eq!(code, 0);
    assert!(table.contains("62,378,344") && table.contains("1,135,256,096"), "{table}");
}

#[test]
fn a_run_leaves_everything_behind_that_it_promises() {
    let run = FIXTURE.path("runs/train/exp1");
    let files = [
        "args.toml",
        "env.json",
        "log.txt",
        "weights/best.safetensors",
        "weights/last.safetensors",
    ];
    for file in files {
        assert!(run.join(file).is_file(), "{file}");
    }
    assert_eq!(fs::read_dir(run.join("checkpoints")).expect("listed").count(), 1);
    let results = fs::read_to_string(run.join("results.csv")).expect("read");
    let header = "epoch,step,time_s,train/loss,val/loss,metrics/accuracy_top1,\
                  metrics/accuracy_top5,lr,images_per_s,data_wait";
    assert_eq!(results.lines().next(), Some(header));
    assert_eq!(results.lines().count(), 2);
    let log = fs::read_to_string(run.join("log.txt")).expect("read");
    assert!(log.contains("Epoch: [1]  [1/3]  eta: ") && log.contains("Test: Acc@1 "), "{log}");
}

#[test]
fn a_run_is_repeated_bit_for_bit_from_its_own_args() {
    let args = FIXTURE.path("runs/train/exp1/args.toml").display().to_string();
    let folder = tempfile::tempdir().expect("a folder");
    let set = FIXTURE.set();
    let (code, _, told) = run_in(folder.path(), &["train", &set, "-c", &args]);
    assert_eq!(code, 0, "{told}");
    let again = folder.path().join("runs/train/exp1/weights/last.safetensors");
    let first = FIXTURE.path("runs/train/exp1/weights/last.safetensors");
    assert!(fs::read(again).expect("read") == fs::read(first).expect("read"));
}

#[test]
fn evaluation_reports_the_figures_of_training_and_scripts_can_read_them() {
    let (set, weights) = (FIXTURE.set(), FIXTURE.weights());
    let found = json(&["eval", &set, "--weights", &weights, "--format", "json"]);
    assert_keys(&found, &["images", "loss", "top1_accuracy", "top5_accuracy"]);
    assert_eq!(found["images"], 12);
    let results = fs::read_to_string(FIXTURE.path("runs/train/exp1/results.csv")).expect("read");
    let row: Vec<f64> =
        results.lines().nth(1).expect("a row").split(',').map(|v| v.parse().expect(v)).collect();
    assert!((found["loss"].as_f64().expect("a number") - row[4]).abs() < 1e-6, "{found}");
    assert_eq!(found["top1_accuracy"].as_f64(), Some(row[5]));
    // An ensemble of a network with itself is that network.
    let twice = json(&["eval", &set, "--weights", &weights, &weights, "--format", "json"]);
    assert!((twice["loss"].as_f64().expect("a number") - row[4]).abs() < 1e-6, "{twice}");
}

#[test]
fn predictions_come_in_every_format_from_files_and_folders() {
    let (set, weights) = (FIXTURE.set(), FIXTURE.weights());
    let validation = format!("{set}/val");
    let predict = |more: &[&str]| {
        let (code, out, told) =
            run(&[&["predict", &validation, "--weights", &weights], more].concat());
        assert_eq!(code, 0, "{told}");
        out
    };
    let all: Value =
        serde_json::from_str(&predict(&["--format", "json", "--logits"])).expect("JSON");
    assert_eq!(all.as_array().expect("a list").len(), 12);
    assert_keys(&all[0], &["path", "predictions", "logits"]);
    assert_keys(&all[0]["predictions"][0], &["index", "class", "probability"]);
    assert_eq!(all[0]["predictions"].as_array().expect("a list").len(), 5);
    let lines = predict(&["--format", "jsonl", "-k", "2"]);
    assert_eq!(lines.lines().count(), 12);
    let line: Value = serde_json::from_str(lines.lines().next().expect("a line")).expect("JSON");
    assert_eq!(line["path"], all[0]["path"]);
    assert!(line["logits"].is_null());
    let csv = predict(&["--format", "csv", "--top_k=1"]);
    assert_eq!(csv.lines().next(), Some("path,rank,index,class,probability"));
    assert_eq!(csv.lines().count(), 13);
    assert_eq!(predict(&["--top-k", "3"]).lines().count(), 12 * 4);
}

#[test]
fn bench_measures_all_three_tasks() {
    let keys = [
        "task",
        "model",
        "batch_size",
        "device",
        "precision",
        "threads",
        "steps",
        "median_ms",
        "min_ms",
        "images_per_s",
        "peak_rss_bytes",
    ];
    for task in ["train", "infer", "data"] {
        let small = ["--width", "0.02", "--image-size", "63", "--batch-size", "4", "--steps", "2"];
        let found = json(&[&["bench", task, "--format", "json"], &small[..]].concat());
        assert_keys(&found, &keys);
        assert!(found["median_ms"].as_f64().is_some_and(|ms| ms > 0.0), "{found}");
    }
}

#[test]
fn bench_says_where_a_step_s_time_goes_beside_the_machine_s_ceilings() {
    let small = ["--width", "0.1", "--image-size", "63", "--batch-size", "4", "--steps", "3"];
    for (task, backward) in [("train", true), ("infer", false)] {
        let found = json(&[&["bench", task, "--format", "json"], &small[..]].concat());
        let number = |value: &Value| value.as_f64().unwrap_or_else(|| panic!("{value} in {found}"));
        for ceiling in ["matrix_product_gflops", "memory_read_gb_per_s"] {
            assert!(number(&found[ceiling]) > 0.0, "{found}");
        }
        let layers = found["layers"].as_array().expect("a list");
        let names: Vec<_> = layers.iter().filter_map(|layer| layer["name"].as_str()).collect();
        assert_eq!(&names[..3], ["conv1+relu1", "pool1", "conv2+relu2"], "{found}");
        assert_eq!(names.last(), Some(&"fc8"), "{found}");
        let mut ms = number(&found["other_ms"]);
        for layer in layers {
            assert_keys(layer, &["kind", "macs", "share"]);
            assert!(number(&layer["forward"]["gb_per_s"]) > 0.0, "{layer}");
            assert_eq!(layer["backward"].is_null(), !backward, "{layer}");
            ms += number(&layer["forward"]["ms"]);
            ms += layer["backward"]["ms"].as_f64().unwrap_or_default();
        }
        assert!(number(&layers[0]["forward"]["effective_gflops"]) > 0.0, "{found}");
        assert_eq!(found["update_ms"].is_null(), !backward, "{found}");
        ms += found["update_ms"].as_f64().unwrap_or_default();
        ms += found["loss_ms"].as_f64().unwrap_or_default();
        ms += found["check_ms"].as_f64().unwrap_or_default();
        // Medians of parts do not add up to the median of their sums, but nearly.
        let step = number(&found["median_ms"]);
        assert!((0.5..2.0).contains(&(ms / step)), "{ms} ms in parts of {step} ms: {found}");
    }
    let (_, table, _) = run(&[&["bench", "train"], &small[..]].concat());
    assert!(table.contains("conv1+relu1") && table.contains("ceilings: "), "{table}");
    let alone =
        json(&[&["bench", "train", "--steps-only", "--format", "json"], &small[..]].concat());
    assert!(alone["median_ms"].is_number() && alone["layers"].is_null(), "{alone}");
    assert!(alone["matrix_product_gflops"].is_null(), "{alone}");
}

#[test]
fn a_stopped_run_exits_with_130_and_is_resumed_to_the_same_end() {
    let folder = tempfile::tempdir().expect("a folder");
    let set = FIXTURE.set();
    let long = train_tiny(&[&set, "--epochs", "300", "--name", "long", "--lr", "0.001"]);
    let mut child = std::process::Command::new(env!("CARGO_BIN_EXE_alexnet"))
        .current_dir(folder.path())
        .args(&long)
        .stderr(std::process::Stdio::null())
        .spawn()
        .expect("it runs");
    let results = folder.path().join("runs/train/long/results.csv");
    while !results.exists() {
        assert!(child.try_wait().expect("a status").is_none(), "it ended early");
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
    let signalled =
        std::process::Command::new("kill").args(["-INT", &child.id().to_string()]).status();
    assert!(signalled.expect("kill").success());
    assert_eq!(child.wait().expect("a status").code(), Some(130));
    let rows = fs::read_to_string(&results).expect("read").lines().count();
    let (code, _, told) = run_in(
        folder.path(),
        &["train", "--resume", "runs/train/long", "--epochs", &rows.to_string()],
    );
    assert_eq!(code, 0, "{told}");
    assert!(told.contains("Resumed at epoch"), "{told}");
    assert_eq!(fs::read_to_string(&results).expect("read").lines().count(), rows + 1);
}

/// The figures of a run's `args.toml` are flags, so what is written there is what was used.
#[test]
fn the_precision_is_chosen_by_every_computing_command_and_recorded() {
    let (set, weights) = (FIXTURE.set(), FIXTURE.weights());
    let folder = tempfile::tempdir().expect("a folder");
    let train = train_tiny(&[&set, "--epochs", "1", "--precision", "bf16", "--name", "half"]);
    let (code, _, told) = run_in(folder.path(), &train);
    assert_eq!(code, 0, "{told}");
    let args = folder.path().join("runs/train/half/args.toml");
    let args = fs::read_to_string(args).expect("read");
    assert!(args.contains("precision = \"bf16\""), "{args}");
    let args = fs::read_to_string(FIXTURE.path("runs/train/exp1/args.toml")).expect("read");
    assert!(args.contains("precision = \"f32\""), "{args}");
    let loss = |precision| {
        let eval = ["eval", &set, "--weights", &weights, "--format", "json"];
        let found = json(&[&eval[..], &["--precision", precision]].concat());
        found["loss"].as_f64().expect("a number")
    };
    let (exact, rounded) = (loss("f32"), loss("bf16"));
    assert!((exact - rounded).abs() < 0.02 * exact, "{exact} in f32, {rounded} in bf16");
    let set = format!("{set}/val");
    let predict = ["predict", &set, "--weights", &weights, "--precision", "bf16"];
    assert_eq!(run(&predict).0, 0);
    let small = ["--width", "0.02", "--image-size", "63", "--batch-size", "4", "--steps", "2"];
    let bench = ["bench", "infer", "--format", "json", "--precision", "bf16"];
    assert_eq!(json(&[&bench[..], &small].concat())["precision"], "bf16");
}

#[test]
fn instructions_named_in_the_environment_are_used_and_wrong_ones_refused() {
    let small = ["--width", "0.02", "--image-size", "63", "--batch-size", "4", "--steps", "2"];
    let bench = [&["bench", "infer"], &small[..]].concat();
    let with = |isa: &str| {
        let folder = tempfile::tempdir().expect("a folder");
        let mut command = alexnet(folder.path(), &bench);
        let output = command.env("ALEXNET_ISA", isa).output().expect("it runs");
        let text = |bytes| String::from_utf8(bytes).expect("text");
        (output.status.code(), text(output.stdout), text(output.stderr))
    };
    let (code, out, told) = with("portable");
    assert_eq!(code, Some(0), "{told}");
    assert!(out.contains("portable"), "{out}");
    let (code, _, told) = with("");
    assert_eq!(code, Some(0), "empty is as if it were not set: {told}");
    for wrong in ["fast", "AVX2"] {
        let (code, _, told) = with(wrong);
        assert_eq!(code, Some(2), "{told}");
        let begins = format!("alexnet: ALEXNET_ISA is {wrong:?}, ");
        assert!(told.starts_with(&begins) && told.contains("portable"), "{told}");
        assert_eq!(told.lines().count(), 1, "{told}");
    }
    let help = run(&["train", "--help"]).1;
    for variable in ["ALEXNET_ISA", "ALEXNET_CUDA_PATH", "ALEXNET_CACHE_DIR"] {
        assert!(help.contains(variable), "{help}");
    }
}

#[test]
fn usage_mistakes_exit_with_2_and_name_the_flag() {
    let set = FIXTURE.set();
    let reference = ["bench", "infer", "--device", "reference", "--precision", "bf16"];
    let weights = FIXTURE.weights();
    let cases: [(&[&str], &str); 20] = [
        (&["train", &set, "--lr", "nan"], "--lr"),
        (&["train", &set, "--width", "nan"], "width"),
        (&["train", &set, "--image-size", "0"], "image size"),
        (&["train", &set, "--image-size", "4294967296"], "4294967296"),
        (&["train", &set, "--lr-scheduler", "step", "--lr-drops", "2"], "--lr-drops"),
        (&["train", &set, "--epochs", "0"], "--epochs"),
        (&["train", &set, "--model", "paper", "--batch-norm"], "batch normalisation"),
        (&["train", &set, "--name", "../escape"], "name of a folder"),
        (&["train", "--resume", "run", "-c", "args.toml"], "--config"),
        (&["data", "sample", "--train-per-class", "0"], "1.."),
        (&["train", "--epoch", "3"], "--epoch"),
        (&["train", "--batch-size", "0"], "at least 1"),
        (&["train", "--micro-batch", "70000"], "--micro-batch"),
        (&["eval", &set, "--weights", &weights, "--batch-size", "70000"], "--batch-size"),
        (&["bench", "data", "--data", &set, "--image-size", "99999999999"], "image size"),
        (&["data", "preview", &set, "--image-size", "0"], "image size"),
        (&["train", "--model", "resnet"], "torchvision"),
        (&["predict", "a.jpg"], "--weights"),
        (&reference, "--precision"),
        (&["fly"], "fly"),
    ];
    for (arguments, word) in cases {
        let (code, _, told) = run(arguments);
        assert_eq!(code, 2, "{arguments:?}: {told}");
        assert!(told.contains(word), "{told}");
    }
}

#[test]
fn data_that_is_not_as_it_should_be_is_refused_by_name() {
    let set = FIXTURE.spoilable_set();
    let root = set.path().display().to_string();
    let no_validation = train_tiny(&[&root]);
    fs::rename(set.path().join("val"), set.path().join("elsewhere")).expect("moved");
    assert_refused(&no_validation, &["val", &root]);
    fs::rename(set.path().join("elsewhere"), set.path().join("val")).expect("moved");

    fs::create_dir(set.path().join("train/unicorn")).expect("made");
    assert_refused(&train_tiny(&[&root]), &["unicorn", "image"]);
    fs::remove_dir(set.path().join("train/unicorn")).expect("removed");

    let empty = tempfile::tempdir().expect("a folder");
    let empty = empty.path().display().to_string();
    assert_refused(&train_tiny(&[&empty]), &["train", &empty]);
    assert_refused(&train_tiny(&["no-such-folder"]), &["no-such-folder"]);
    let batch = ["train", &root, "--batch-size", "500", "--image-size", "63", "--width", "0.02"];
    assert_refused(&batch, &["--batch-size is 500", "choose 24 or less"]);
}

#[test]
fn images_that_are_none_are_named_and_end_no_training() {
    let set = FIXTURE.spoilable_set();
    let class = set.path().join("train/blue-dotted-circle");
    let image = fs::read_dir(&class).expect("listed").flatten().next().expect("an image").path();
    let whole = fs::read(&image).expect("read");
    let name = image.file_name().expect("a name").to_str().expect("text");
    let cases: [(&[u8], &str); 3] =
        [(&whole[..whole.len() / 2], ""), (b"", ""), (b"hello, I am text", "68 65 6c 6c")];
    for (bytes, word) in cases {
        fs::write(&image, bytes).expect("written");
        let root = set.path().display().to_string();
        let (code, _, told) = run(&train_tiny(&[&root, "--epochs", "1"]));
        let line = told.lines().find(|line| line.contains(name)).unwrap_or_default();
        assert_eq!(code, 0, "{told}");
        assert!(line.contains(word) && line.contains("another is shown instead"), "{told}");
        let alone = image.display().to_string();
        assert_refused(&["predict", &alone, "--weights", &FIXTURE.weights()], &[name, word]);
    }
}

#[test]
fn more_images_that_are_none_than_ten_end_the_training_with_the_last_one_s_name() {
    let set = FIXTURE.spoilable_set();
    for class in fs::read_dir(set.path().join("train")).expect("listed").flatten() {
        let image = fs::read_dir(class.path()).expect("listed").flatten().next();
        fs::write(image.expect("an image").path(), b"no image").expect("written");
    }
    let root = set.path().display().to_string();
    let train = train_tiny(&[&root, "--epochs", "1"]);
    assert_refused(&train, &["more than 10 images of this epoch cannot be read", ".jpg"]);
}

#[test]
fn an_image_that_cannot_be_read_counts_as_wrong_in_evaluation() {
    let set = FIXTURE.spoilable_set();
    let class = set.path().join("val/blue-dotted-circle");
    let image = fs::read_dir(&class).expect("listed").flatten().next().expect("an image").path();
    let weights = FIXTURE.weights();
    let root = set.path().display().to_string();
    let eval = ["eval", &root, "--weights", &weights, "--format", "json"];
    fs::write(&image, b"no image").expect("written");
    let found = json(&eval);
    assert_eq!(found["images"], 12);
    let (_, _, told) = run(&eval);
    assert!(told.contains(&image.display().to_string()), "{told}");
    assert!(told.contains("it counts as wrong"), "{told}");
}

#[test]
fn ten_crops_are_measured_like_one() {
    let (set, weights) = (FIXTURE.set(), FIXTURE.weights());
    let eval = ["eval", &set, "--weights", &weights, "--format", "json", "--crops"];
    let [one, ten] = ["1", "10"].map(|crops| json(&[&eval[..], &[crops]].concat()));
    assert_eq!(one["images"], ten["images"]);
    assert_ne!(one["loss"], ten["loss"]);
    let (code, _, told) = run(&[&eval[..], &["5"]].concat());
    assert!(code == 2 && told.contains("it must be 1 or 10"), "{told}");
}

#[test]
fn a_packed_set_is_trained_on_like_its_folder() {
    let folder = tempfile::tempdir().expect("a folder");
    let set = FIXTURE.set();
    let pack = ["data", "pack", &set, "packed"];
    let (code, out, told) = run_in(folder.path(), &pack);
    assert_eq!(code, 0, "{told}");
    assert!(out.contains("packed: 24 training and 12 validation images"), "{out}");
    // Bare pixels of whole images: the network sees the same, to the last bit.
    let loss = |data: &str| {
        let train = train_tiny(&[data, "--epochs", "1", "--project", data]);
        let (code, _, told) = run_in(folder.path(), &train);
        assert_eq!(code, 0, "{told}");
        let results = folder.path().join(data).join("exp1/results.csv");
        let text = fs::read_to_string(results).expect("read");
        let row = text.lines().last().expect("a row").to_owned();
        row.split(',').nth(3).expect("a loss").to_owned()
    };
    let copy = FIXTURE.spoilable_set();
    assert_eq!(loss("packed"), loss(&copy.path().display().to_string()));
    let (code, _, told) = run_in(folder.path(), &["data", "pack", &set, "packed"]);
    assert!(code == 0 && told.contains("2 shards were there already"), "{told}");
    let other = ["data", "pack", &set, "packed", "--shard-images", "5"];
    let (code, _, told) = run_in(folder.path(), &other);
    assert!(code == 1 && told.contains("packed holds another set"), "{told}");
}

#[test]
fn what_no_run_could_use_is_not_printed_as_its_configuration() {
    let set = FIXTURE.set();
    let cases = [
        ("--width", "nan", "the width is NaN"),
        ("--dropout", "-1", "dropout is -1"),
        ("--image-size", "62", "an image of 62 pixels is too small"),
        ("--freeze", "conv9", "--freeze names"),
    ];
    for (flag, value, word) in cases {
        let given = format!("{flag}={value}");
        let (code, out, told) = run(&["train", &set, &given, "--print-config"]);
        assert_eq!((code, &*out), (2, ""), "{given}: {told}");
        assert!(told.contains(word), "{told}");
    }
}

#[test]
fn one_bad_image_does_not_keep_the_others_from_being_predicted() {
    let set = FIXTURE.spoilable_set();
    let bad = set.path().join("val/blue-dotted-circle/bad.jpg");
    fs::write(&bad, "no image").expect("written");
    let folder = set.path().join("val").display().to_string();
    let arguments = ["predict", &folder, "--weights", &FIXTURE.weights(), "--format", "jsonl"];
    // Of each image in turn, its path and how likely each class is.
    let predicted = |more: &[&str]| {
        let (code, out, told) = run(&[&arguments[..], &["-k", "12"], more].concat());
        assert_eq!((code, told.matches("bad.jpg").count()), (1, 1), "{told}");
        let of_line = |line: &str| {
            let found: Value = serde_json::from_str(line).expect("JSON");
            let ranked = found["predictions"].as_array().expect("a list").iter();
            let mut likely: Vec<_> = ranked
                .map(|of| (of["index"].as_u64(), of["probability"].as_f64().expect("a number")))
                .collect();
            likely.sort_by_key(|of| of.0);
            let likely: Vec<f64> = likely.into_iter().map(|of| of.1).collect();
            (found["path"].to_string(), likely)
        };
        out.lines().map(of_line).collect::<Vec<_>>()
    };
    let alone = predicted(&["--batch-size", "1"]);
    assert_eq!(alone.len(), 12);
    for more in [["--batch-size", "5"], ["--workers", "3"]] {
        for (one, other) in alone.iter().zip(predicted(&more)) {
            let is_close = |(a, b): (&f64, &f64)| (a - b).abs() < 1e-5;
            let same = one.0 == other.0 && one.1.iter().zip(&other.1).all(is_close);
            assert!(same, "{more:?}: {one:?} {other:?}");
        }
    }
}

#[test]
fn classes_are_matched_by_name_and_missing_or_strange_ones_are_refused() {
    let set = FIXTURE.spoilable_set();
    let root = set.path().display().to_string();
    let weights = FIXTURE.weights();
    fs::remove_dir_all(set.path().join("val/red-striped-cross")).expect("removed");
    let eval = ["eval", &root, "--weights", &weights];
    assert_refused(&eval, &["red-striped-cross", "--allow-missing-classes"]);
    let allowed = json(&[&eval[..], &["--allow-missing-classes", "--format", "json"]].concat());
    assert_eq!(allowed["images"], 11);
    let known = set.path().join("val/blue-dotted-circle");
    fs::rename(known, set.path().join("val/zebra")).expect("moved");
    assert_refused(&eval, &["zebra"]);
}

#[test]
fn weights_that_are_damaged_or_none_are_refused_by_name() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("w.safetensors");
    let weights = path.display().to_string();
    let predict = ["predict", &FIXTURE.set(), "--weights", &weights];
    assert_refused(&predict, &["w.safetensors", "cannot read"]);
    let mut bytes = fs::read(FIXTURE.weights()).expect("read");
    let last = bytes.len() - 100;
    bytes[last] ^= 1;
    fs::write(&path, &bytes).expect("written");
    assert_refused(&predict, &["w.safetensors", "damaged"]);
    fs::write(&path, &bytes[..200]).expect("written");
    assert_refused(&predict, &["w.safetensors", "not a whole weights file"]);
}

/// The file is small; the network it claims to hold would take a terabyte.
#[test]
fn weights_that_lie_about_their_model_take_no_memory() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("liar.safetensors");
    let file = alexnet::weights::ModelFile {
        config: alexnet::network::ModelConfig {
            model: alexnet::network::ModelName::Paper,
            classes: 2,
            image_size: 2000,
            width: 4.0,
            batch_norm: false,
            dropout: None,
        },
        classes: vec!["a".into(), "b".into()],
        preprocess: alexnet::data::Preprocess {
            fit: alexnet::data::Fit::ShorterSide,
            mean_image: None,
            resize: 2000,
            crop: 2000,
            mean: [0.0; 3],
            std: [1.0; 3],
        },
        weights: Vec::new(),
    };
    file.save(&path).expect("saved");
    let weights = path.display().to_string();
    let predict = ["predict", &FIXTURE.set(), "--weights", &weights];
    assert_refused(&predict, &["liar.safetensors", "conv1.bias", "missing"]);
}

#[test]
fn places_that_cannot_be_written_are_refused_and_nothing_is_left_there() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("file");
    fs::write(&file, "in the way").expect("written");
    let (set, project) = (FIXTURE.set(), file.display().to_string());
    assert_refused(&train_tiny(&[&set, "--project", &project]), &["cannot write", &project]);
    let sample = format!("{project}/set");
    assert_refused(&["data", "sample", &sample, "--train-per-class", "1"], &["cannot", &project]);
    assert_eq!(fs::read_dir(folder.path()).expect("listed").count(), 1);
}

#[test]
fn a_run_s_folder_is_never_overwritten_by_another_run() {
    let folder = FIXTURE.path("runs/train").display().to_string();
    let set = FIXTURE.set();
    let again = train_tiny(&[&set, "--project", &folder, "--name", "exp1"]);
    assert_refused(&again, &["exists", "--resume"]);
    let data = ["data", "sample", &set];
    assert_refused(&data, &[&set]);
}

#[cfg(unix)]
#[test]
fn a_run_that_another_process_trains_is_left_alone_and_resumed_when_that_has_ended() {
    let folder = tempfile::tempdir().unwrap();
    let set = FIXTURE.set();
    let begin = train_tiny(&[&set, "--epochs", "1", "--name", "held"]);
    alexnet(folder.path(), &begin).assert().success();
    let resume = ["train", "--resume", "runs/train/held", "--epochs", "2"];
    let results = folder.path().join("runs/train/held/results.csv");
    let before = fs::read(&results).unwrap();
    let held = fs::File::open(folder.path().join("runs/train/held/.lock")).unwrap();
    held.lock().unwrap();
    let (code, _, told) = run_in(folder.path(), &resume);
    assert!(code == 1 && told.contains("held is being trained by another process"), "{told}");
    assert_eq!(fs::read(&results).unwrap(), before);
    drop(held);
    let (code, _, told) = run_in(folder.path(), &resume);
    assert_eq!(code, 0, "{told}");
}

#[test]
fn closed_and_full_outputs_are_no_reason_to_panic() {
    let folder = tempfile::tempdir().expect("a folder");
    let (program, set, weights) = (env!("CARGO_BIN_EXE_alexnet"), FIXTURE.set(), FIXTURE.weights());
    let tiny = train_tiny(&[&set, "--epochs", "1"]).join(" ");
    let cases = [
        (format!("{program} eval {set} --weights {weights} > /dev/full"), 1),
        (format!("{program} eval {set} --weights {weights} >&-"), 0),
        (format!("{program} summary > /dev/full"), 1),
        (format!("set -o pipefail; {program} predict {set}/val --weights {weights} | head -1"), 0),
        (format!("{program} predict {set}/val --weights {weights} --format csv > /dev/full"), 1),
        (format!("{program} {tiny} 2>&-"), 0),
        (format!("set -o pipefail; {program} {tiny} 2>&1 | true"), 0),
    ];
    for (script, code) in cases {
        let mut bash = std::process::Command::new("bash");
        let output = bash.current_dir(folder.path()).args(["-c", &script]).output().expect("bash");
        let told = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(code), "{script}: {told}");
        assert!(!told.contains("panicked"), "{script}: {told}");
    }
}

#[cfg(unix)]
#[test]
fn a_pipe_among_the_images_is_passed_over() {
    let set = FIXTURE.spoilable_set();
    let pipe = set.path().join("train/blue-dotted-circle/pipe.jpg");
    assert!(std::process::Command::new("mkfifo").arg(&pipe).status().expect("mkfifo").success());
    let root = set.path().display().to_string();
    let (code, _, told) = run(&train_tiny(&[&root, "--epochs", "1"]));
    assert_eq!(code, 0, "{told}");
    assert!(told.contains("24 training"), "{told}");
}

#[test]
fn results_that_were_spoilt_are_named_with_the_line_and_the_way_out() {
    let folder = tempfile::tempdir().expect("a folder");
    let set = FIXTURE.set();
    let first = train_tiny(&[&set, "--epochs", "1", "--name", "spoilt"]);
    assert_eq!(run_in(folder.path(), &first).0, 0);
    let results = folder.path().join("runs/train/spoilt/results.csv");
    let text = fs::read_to_string(&results).expect("read");
    fs::write(&results, &text[..text.len() - 30]).expect("written");
    let resume = ["train", "--resume", "runs/train/spoilt", "--epochs", "2"];
    let (code, _, told) = run_in(folder.path(), &resume);
    assert_eq!(code, 1, "{told}");
    let line = told.lines().last().unwrap_or_default();
    assert!(line.contains("results.csv") && line.contains("mend"), "{told}");
}

/// A limit on file size stands in for a full disk: the system refuses to write on, in the middle of
/// a file.
#[cfg(unix)]
#[test]
fn a_disk_that_fills_up_is_named_and_leaves_no_half_written_file() {
    let folder = tempfile::tempdir().expect("a folder");
    let program = env!("CARGO_BIN_EXE_alexnet");
    let arguments = train_tiny(&["set", "--epochs", "1", "--name", "full"]).join(" ");
    let script = format!("trap '' XFSZ; ulimit -f 100; exec {program} {arguments}");
    copy_tree(&FIXTURE.path("set"), &folder.path().join("set"));
    let output = std::process::Command::new("bash")
        .current_dir(folder.path())
        .args(["-c", &script])
        .output()
        .expect("bash");
    let told = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(74), "{told}");
    let last = told.lines().last().unwrap_or_default();
    assert!(last.starts_with("alexnet: nothing was saved"), "{told}");
    assert!(last.contains("File too large") && last.contains("--resume runs/train/full"), "{told}");
    let weights = folder.path().join("runs/train/full/weights");
    assert_eq!(fs::read_dir(weights).expect("listed").count(), 0);
}
