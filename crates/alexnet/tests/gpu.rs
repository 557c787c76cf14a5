//! `--device` and `doctor`, with a GPU that this machine's processor stands in for, without any, and,
//! where there is one, with a real one.

#![expect(clippy::print_stderr, reason = "a skipped test says so")]

#[path = "../../cuda/tests/emulator/mod.rs"]
mod emulator;
#[path = "support/remembered.rs"]
mod remembered;

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::LazyLock;

use alexnet::cpu::{Cpu, Isa};
use alexnet::cuda::{Cuda, CudaError};
use alexnet::network::{
    Initialisation, Model, ModelConfig, ModelName, Network, ParameterSpec, Pass, Plan, Purpose,
};
use alexnet::ops::conformance::values;
use alexnet::ops::{Device, Precision, SgdStep, UpdateRule};
use assert_cmd::Command;
use remembered::{Manner, STEPS, trained};
use tempfile::TempDir;

/// Stand-ins for CUDA's libraries, and a tiny data set.
static EMULATED: LazyLock<Option<(PathBuf, TempDir)>> = LazyLock::new(|| {
    let libraries = emulator::build("program", &[])?;
    let folder = tempfile::tempdir().expect("a folder");
    let set = ["data", "sample", "set", "--train-per-class", "2", "--val-per-class", "1"];
    alexnet(folder.path(), &set).assert().success();
    Some((libraries, folder))
});

/// Of a GPU that is there, an error is no reason to leave a test out.
fn skipped(error: &CudaError) {
    assert!(error.is_absence(), "{error}");
    eprintln!("SKIPPED: no GPU to run this on: {error}");
}

fn alexnet(folder: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_alexnet"));
    command.current_dir(folder).args(arguments);
    command
}

/// Exit code, standard output and standard error of the program where it finds the emulated GPU.
fn emulated(arguments: &[&str], variables: &[(&str, &str)]) -> Option<(i32, String, String)> {
    let (libraries, folder) = EMULATED.as_ref()?;
    let mut command = alexnet(folder.path(), arguments);
    command
        .env("LD_LIBRARY_PATH", libraries)
        .env("ALEXNET_CACHE_DIR", "")
        .envs(variables.iter().copied());
    Some(outcome(command))
}

fn outcome(mut command: Command) -> (i32, String, String) {
    let output = command.output().expect("it runs");
    let text = |bytes| String::from_utf8(bytes).expect("text");
    (output.status.code().unwrap_or(-1), text(output.stdout), text(output.stderr))
}

/// The smallest network and images there are, one epoch of three steps.
fn train<'a>(device: &'a str, name: &'a str) -> Vec<&'a str> {
    let tiny = ["train", "set", "--width", "0.02", "--image-size", "63", "--batch-size", "8"];
    [&tiny[..], &["--epochs", "1", "--device", device, "--name", name]].concat()
}

/// Training loss, validation loss and accuracy of a run's only epoch.
fn results(name: &str) -> Option<Vec<f64>> {
    let (_, folder) = EMULATED.as_ref()?;
    let path = folder.path().join("runs/train").join(name).join("results.csv");
    let text = fs::read_to_string(path).expect("a finished run has results");
    let mut lines = text.lines();
    let columns: Vec<&str> = lines.next().expect("a head").split(',').collect();
    let row: Vec<&str> = lines.next().expect("an epoch").split(',').collect();
    let value = |column: &str| {
        let index = columns.iter().position(|name| name.trim() == column).expect("a column");
        row[index].trim().parse().expect("a number")
    };
    Some(["train/loss", "val/loss", "metrics/accuracy_top1"].map(value).to_vec())
}

#[test]
fn a_run_on_the_gpu_is_the_run_of_the_plain_loops() {
    for device in ["cuda", "reference"] {
        let Some((code, _, told)) = emulated(&train(device, device), &[]) else { return };
        assert_eq!(code, 0, "{told}");
    }
    let (found, expected) = (results("cuda"), results("reference"));
    for (found, expected) in found.iter().flatten().zip(expected.iter().flatten()) {
        assert!((found - expected).abs() <= 1e-4 * expected.abs(), "{found} {expected}");
    }
    // Resumed as it was begun, and so written down.
    let (_, folder) = EMULATED.as_ref().expect("seen above");
    let settings = fs::read_to_string(folder.path().join("runs/train/cuda/args.toml"));
    assert!(settings.expect("settings").contains("device = \"cuda\""));
}

#[test]
fn tf32_is_a_gpu_s_and_a_processor_says_so_in_one_line() {
    let folder = tempfile::tempdir().expect("a folder");
    let bench = |device| ["bench", "infer", "--precision", "tf32", "--device", device];
    let tiny = ["--width", "0.02", "--image-size", "63", "--batch-size", "1", "--steps", "1"];
    let (code, _, told) = outcome(alexnet(folder.path(), &[&bench("cpu")[..], &tiny].concat()));
    assert_eq!(code, 2, "{told}");
    assert!(told.contains("--precision is tf32, which GPUs alone have"), "{told}");
    let on_gpu = [&bench("cuda")[..], &tiny, &["--format", "json"]].concat();
    let Some((code, out, told)) = emulated(&on_gpu, &[]) else { return };
    assert_eq!(code, 0, "{told}");
    assert!(out.contains("TF32") && out.contains("\"precision\": \"tf32\""), "{out}");
}

#[test]
fn auto_takes_the_gpu_if_there_is_one_that_can_be_used_and_says_so() {
    let says = |name, variables: &[(&str, &str)], words: &[&str]| {
        let Some((code, _, told)) = emulated(&train("auto", name), variables) else { return };
        assert_eq!(code, 0, "{told}");
        assert!(words.iter().all(|word| told.contains(word)), "{told}");
    };
    says("auto", &[], &["computing on cuda:0 (emulated GPU, cuDNN 9.19)"]);
    let old = [("EMULATED_CAPABILITY", "61")];
    says("old", &old, &["computing on the processor", "sm_75 and newer only"]);
}

#[test]
fn bench_times_every_operation_of_a_gpu_if_asked_to_and_of_nothing_else() {
    let tiny = ["bench", "train", "--width", "0.02", "--image-size", "63", "--batch-size", "8"];
    let asked = ["--steps", "2", "--warmup-steps", "1", "--operations"];
    let narrow = ["--device", "cuda", "--precision", "bf16", "--format", "json"];
    let Some((code, out, told)) = emulated(&[&tiny[..], &asked, &narrow].concat(), &[]) else {
        return;
    };
    assert_eq!(code, 0, "{told}");
    let measured: serde_json::Value = serde_json::from_str(&out).expect("JSON");
    let operations = measured["operations"].as_array().expect("operations");
    let of = |name: &str| {
        let of_name = |operation: &&serde_json::Value| {
            operation["name"].as_str().is_some_and(|found| found.starts_with(name))
        };
        operations.iter().filter(of_name).map(|found| found["count"].as_f64().expect("one")).sum()
    };
    // Three poolings; five convolutions and their gradients, but for that of the images; one launch for
    // all parameters but the linear layers' weights.
    let counts: [f64; 3] = ["bias_max_pool_forward", "convolution", "sgd_many"].map(of);
    assert_eq!(counts, [3.0, 14.0, 1.0], "{out}");
    // That is what every operation takes there.
    let all: f64 = operations.iter().map(|found| found["count"].as_f64().expect("one")).sum();
    let ms: f64 = operations.iter().map(|found| found["ms"].as_f64().expect("ms")).sum();
    assert!((ms - 250.0 * all).abs() < 1e-6 * ms, "{ms} {all}");

    let (code, _, told) =
        emulated(&[&tiny[..], &asked, &["--device", "cpu"]].concat(), &[]).expect("as before");
    assert_eq!(code, 2, "{told}");
    assert!(told.contains("--operations is for train and infer on a GPU"), "{told}");
}

#[test]
fn a_gpu_without_room_ends_the_run_with_one_line_that_says_what_to_do() {
    // What products work in, and a little.
    let variables = [("EMULATED_BYTES", "33754432")];
    let Some((code, _, told)) = emulated(&train("cuda", "full"), &variables) else { return };
    assert_eq!(code, 1, "{told}");
    let line = told.lines().last().unwrap_or_default();
    let expected = "alexnet: the network needs 1 MiB of the GPU's memory and more to work in, but 0 MiB are free";
    assert!(line.starts_with(expected), "{told}");
    assert!(line.contains("--batch-size") && !told.contains("panicked"), "{told}");
    // Before a folder was made for it.
    let (_, folder) = EMULATED.as_ref().expect("seen above");
    assert!(!folder.path().join("runs/train/full").exists());
    // What it works in is not known before.
    let variables = [("EMULATED_BYTES", "34554432")];
    let (code, _, told) = emulated(&train("cuda", "nearly"), &variables).expect("seen above");
    assert_eq!(code, 1, "{told}");
    let line = told.lines().last().unwrap_or_default();
    assert!(line.starts_with("alexnet: the GPU has no room for another"), "{told}");
    assert!(line.contains("--batch-size") && !told.contains("panicked"), "{told}");
}

#[test]
fn doctor_says_in_a_line_each_what_is_there_and_what_is_missing() {
    let Some((code, out, told)) = emulated(&["doctor"], &[]) else { return };
    assert_eq!(code, 0, "{told}");
    for line in [
        "GPU           cuda:0 (emulated GPU, cuDNN 9.19): sm_90, 8.0 GiB, can be used",
        "driver        for CUDA 12.8",
        "--device auto cuda:0 (emulated GPU, cuDNN 9.19)",
    ] {
        assert!(out.lines().any(|found| found == line), "{out}");
    }
    let none = emulated(&["doctor"], &[("EMULATED_GPUS", "0")]).expect("it was there before");
    assert!(none.1.contains("GPU           the driver finds no GPU"), "{}", none.1);
    assert!(none.1.contains("--device auto the processor"), "{}", none.1);
}

#[test]
fn without_a_gpu_its_device_is_refused_in_one_line_and_doctor_says_what_to_install() {
    let folder = tempfile::tempdir().expect("a folder");
    let (code, _, told) = outcome(alexnet(folder.path(), &train("cuda:x", "x")));
    assert_eq!(code, 2, "{told}");
    assert!(told.contains("auto, cpu, cuda, cuda:N or reference"), "{told}");
    if Cuda::count().is_ok() {
        eprintln!("SKIPPED: there is a driver here");
        return;
    }
    let (code, out, told) = outcome(alexnet(folder.path(), &["doctor"]));
    assert_eq!(code, 0, "{told}");
    assert!(out.contains("missing: NVIDIA's driver library (libcuda)"), "{out}");
    assert!(out.contains("--device auto the processor"), "{out}");
    let bench = ["bench", "infer", "--device", "cuda", "--steps", "1"];
    let (code, _, told) = outcome(alexnet(folder.path(), &bench));
    assert_eq!(code, 1, "{told}");
    let line = told.lines().last().unwrap_or_default();
    assert!(line.starts_with("alexnet: NVIDIA's driver library (libcuda) is not here"), "{told}");
    assert!(!told.contains("panicked"), "{told}");
}

/// Losses of two hundred steps over ten batches, as they come.
fn losses<D: Device>(device: D) -> Vec<f64> {
    let config = ModelConfig {
        model: ModelName::Modern,
        classes: 10,
        image_size: 63,
        width: 1.0 / 8.0,
        batch_norm: false,
        dropout: None,
    };
    let model = Model::new(config).expect("a network");
    let plan = Plan::new(&model, 8, Purpose::Training, Initialisation::Model).expect("a plan");
    let len = 8 * plan.image_len();
    let mut network = Network::new(device, plan, 7);
    let sgd = |_: &ParameterSpec| SgdStep {
        rule: UpdateRule::PyTorch,
        learning_rate: 0.01,
        momentum: 0.9,
        weight_decay: 5e-4,
    };
    let mut means = Vec::new();
    for step in 0..200_u64 {
        let images = values(len, (step % 10) as u32, 1.0);
        let labels: Vec<u32> = (0..8).map(|n| (n * 3 + step as u32) % 10).collect();
        let losses = network.train_step(&images, &labels, 7, step, sgd).expect("finite").losses;
        means.push(losses.iter().map(|&loss| f64::from(loss)).sum::<f64>() / 8.0);
    }
    means
}

/// Whether this process has a cache of its own, without which two networks may take other engines of
/// cuDNN, and so have other bits (decision 013); if not, a process that has one does this test.
fn has_its_cache(test: &str) -> bool {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR"));
    let there = std::env::var_os("ALEXNET_CACHE_DIR");
    if there.is_some_and(|there| Path::new(&there).starts_with(folder)) {
        return true;
    }
    let mut child = std::process::Command::new(std::env::current_exe().expect("a path"));
    child.args(["--exact", test, "--nocapture"]).env("ALEXNET_CACHE_DIR", folder.join(test));
    assert!(child.status().expect("this program can be run").success(), "{test}");
    false
}

#[test]
fn passes_that_a_gpu_remembers_have_the_bits_of_those_it_is_asked_for_one_by_one() {
    let test = "passes_that_a_gpu_remembers_have_the_bits_of_those_it_is_asked_for_one_by_one";
    if !has_its_cache(test) {
        return;
    }
    for precision in [Precision::F32, Precision::Bf16] {
        let network = || {
            let gpu = Cuda::new(0, precision)?;
            let config = ModelConfig {
                model: ModelName::Modern,
                classes: 10,
                image_size: 63,
                width: 1.0 / 8.0,
                batch_norm: false,
                dropout: None,
            };
            let model = Model::new(config).expect("a network");
            let plan = Plan::new(&model, 3, Purpose::Inference, Initialisation::Model);
            Ok::<_, CudaError>(Network::new(gpu, plan.expect("a plan"), 7))
        };
        let mut remembers = match network() {
            Ok(network) => network,
            Err(error) => return skipped(&error),
        };
        let len = remembers.plan().image_len();
        for salt in 0..5 {
            for count in [3, 2] {
                let images = values(count * len, salt, 1.0);
                let found = remembers.forward(&images, Pass::Evaluate).to_vec();
                let mut fresh = network().expect("there was one");
                assert_eq!(found, fresh.forward(&images, Pass::Evaluate), "{salt} {count}");
            }
        }
    }
}

const STEPS_TEST: &str =
    "steps_that_a_gpu_remembers_have_the_bits_of_those_it_is_asked_for_one_by_one";

/// Of every kind of training; whether the bits depend on all that changes from step to step, without
/// which their agreement would say nothing.
#[test]
fn steps_that_a_gpu_remembers_have_the_bits_of_those_it_is_asked_for_one_by_one() {
    if !has_its_cache(STEPS_TEST) {
        return;
    }
    let is_set = |name, usual: &str| std::env::var(name).is_ok_and(|value| value != usual);
    let refuses = is_set("EMULATED_GRAPHS", "all");
    // What is refused is refused in every case and at once, and what does not wait is soon wrong: one case in
    // each precision will do, and a few steps.
    let manners = ["EMULATED_LATE", "EMULATED_TURNS", "EMULATED_WAITS"];
    let few = refuses || manners.iter().any(|manner| is_set(manner, ""));
    let (each, steps) = if few { (remembered::cases().len() / 2, 5) } else { (1, STEPS) };
    for case in remembered::cases().into_iter().step_by(each) {
        let (found, graphs) = match trained(case, steps, Manner::Remembered, None) {
            Ok(found) => found,
            Err(error) => return skipped(&error),
        };
        let (expected, none) = trained(case, steps, Manner::InTurn, None).expect("there was one");
        assert!(found == expected, "{case:?}: {} values", found.len());
        let least = case.graphs_at_least();
        let are_enough = graphs[0] >= least[0] && graphs[1] >= least[1];
        assert!(none == [0, 0] && (few || are_enough), "{case:?}: {graphs:?}");
        if few {
            let (beside, _) = trained(case, steps, Manner::Beside, None).expect("there was one");
            assert!(beside == expected, "{case:?}: {} values side by side", beside.len());
        }
    }
    let (case, steps) = (remembered::cases()[0], remembered::STEPS_TO_CHANGE);
    let found = trained(case, steps, Manner::Remembered, None);
    let (found, _) = found.expect("there was one");
    for constant in remembered::CHANGES.into_iter().filter(|_| !few) {
        let other = trained(case, steps, Manner::Remembered, Some(constant));
        let (other, _) = other.expect("there was one");
        assert!(found != other, "{constant:?} is the same in every step");
    }
    eprintln!("steps agree");
}

/// The test above in a process where the emulated GPU is found: whether it passes, and what it says.
fn steps_on_the_stand_in(variables: &[(&str, &str)]) -> Option<(bool, String)> {
    let (libraries, _) = EMULATED.as_ref()?;
    let mut child = std::process::Command::new(std::env::current_exe().expect("a path"));
    child.args(["--exact", STEPS_TEST, "--nocapture"]).env("LD_LIBRARY_PATH", libraries);
    child.env("ALEXNET_CACHE_DIR", libraries.join("cache"));
    let output = child.envs(variables.iter().copied()).output().expect("this program can be run");
    let told = String::from_utf8_lossy(&output.stderr).into_owned();
    Some((output.status.success() && told.contains("steps agree"), told))
}

/// How many graphs were made and launched there, and recordings that ended in an error.
fn graphs_of_steps(graphs: &str) -> Option<[usize; 3]> {
    let variables = [("EMULATED_COUNTS", "1"), ("EMULATED_GRAPHS", graphs)];
    let (passes, told) = steps_on_the_stand_in(&variables)?;
    assert!(passes, "{graphs}: {told}");
    let line = told.lines().find(|line| line.starts_with("emulated GPU: ")).expect("counts");
    let counts: Vec<usize> = line.split(' ').filter_map(|word| word.parse().ok()).collect();
    Some(counts.try_into().expect("three counts"))
}

#[test]
fn steps_are_remembered_and_where_the_driver_refuses_they_are_done_all_the_same() {
    let Some([made, launched, spoilt]) = graphs_of_steps("all") else { return };
    // What no graph can hold is not asked of the driver while it listens.
    assert!(made > 0 && 2 * launched > 3 * made && spoilt == 0, "{made} {launched} {spoilt}");
    for (graphs, spoils) in
        [("none", false), ("not these", true), ("not made", false), ("not launched", false)]
    {
        let [made, launched, spoilt] = graphs_of_steps(graphs).expect("as before");
        assert_eq!((launched, spoilt > 0), (0, spoils), "{graphs}: {made} {spoilt}");
    }
}

#[test]
fn steps_whose_operations_run_beside_each_other_wait_where_one_needs_what_another_does() {
    // That other streams than the main one are late, all tests see.
    for manner in [("EMULATED_LATE", "main"), ("EMULATED_TURNS", "taken")] {
        let Some((passes, told)) = steps_on_the_stand_in(&[manner]) else { return };
        assert!(passes, "{manner:?}: {told}");
    }
    // What that is worth.
    for late in ["others", "main"] {
        let deaf = [("EMULATED_LATE", late), ("EMULATED_WAITS", "none")];
        let (passes, told) = steps_on_the_stand_in(&deaf).expect("as before");
        assert!(!passes, "{late}: {told}");
    }
}

#[test]
fn two_hundred_steps_on_a_gpu_follow_the_processor_s() {
    // Roundings grow with the steps; a wrong operation is another curve at once.
    for (precision, rounding) in [(Precision::F32, 1e-4), (Precision::Bf16, 1e-3)] {
        let gpu = match Cuda::new(0, precision) {
            Ok(gpu) => gpu,
            Err(error) => return skipped(&error),
        };
        let isa = Isa::choose().expect("instructions");
        let cpu = Cpu::with(0, isa, Precision::F32).expect("threads start");
        let mut furthest: f64 = 0.0;
        for (step, (found, expected)) in losses(gpu).iter().zip(losses(cpu)).enumerate() {
            let apart = (found - expected).abs() / expected;
            furthest = furthest.max(apart);
            let allowed = rounding * (1 + step) as f64;
            assert!(apart <= allowed, "{precision:?}, step {step}: {found} {expected}");
        }
        eprintln!("{precision:?}: losses at most {furthest:.1e} apart");
    }
}
