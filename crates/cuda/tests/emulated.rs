//! The kernels on this machine's processor, called as a GPU would be: the whole device, from finding
//! the libraries to the last sum, but for the GPU itself.
//!
//! Tests here start this program again in an environment where the emulated libraries are found
//! first; there, the one ignored test does what `EMULATED_TASK` says.

#![expect(clippy::print_stderr, reason = "a skipped test says so, and a child tells its parent")]

mod emulator;
#[path = "emulator/streams.rs"]
mod streams;
mod support;

use std::path::Path;
use std::process::{Command, Output};
use std::sync::OnceLock;

use alexnet_cuda::{Cuda, Products, catch};
use alexnet_ops::conformance::{Case, TOLERANCE, cases};
use alexnet_ops::{Device, Precision};
use streams::Streams;
use support::{
    TOLERANCE_BF16, TOLERANCE_TF32, agrees, agrees_in_bf16, begun_sums_are_of_what_is_there, bf16,
    bits, borders, by_eights, groups_are_of_what_is_there, tf32,
    what_is_repeated_is_what_was_asked_for,
};

/// The libraries with the kernels as they are, built once.
fn sound() -> Option<&'static Path> {
    static BUILT: OnceLock<Option<std::path::PathBuf>> = OnceLock::new();
    BUILT.get_or_init(|| emulator::build("sound", &[])).as_deref()
}

/// Has a process with these libraries and variables do a task.
fn run(libraries: &Path, task: &str, variables: &[(&str, &str)]) -> Output {
    let mut child = Command::new(std::env::current_exe().expect("a running program has a path"));
    child.args(["--exact", "the_child_does_its_task", "--ignored", "--nocapture"]);
    child.env("LD_LIBRARY_PATH", libraries).env("EMULATED_TASK", task);
    child.env("ALEXNET_CACHE_DIR", "");
    child.envs(variables.iter().copied()).output().expect("this program can be run")
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[track_caller]
fn succeeds(task: &str, variables: &[(&str, &str)]) {
    let Some(libraries) = sound() else { return };
    let output = run(libraries, task, variables);
    assert!(output.status.success(), "{task} {variables:?}: {}", said(&output));
    assert!(said(&output).contains("the task is done"), "{}", said(&output));
}

#[test]
fn the_device_passes_the_suite() {
    succeeds("suite", &[]);
}

#[test]
fn the_device_passes_the_suite_when_everything_is_taken_in_pieces_without_cudnn() {
    succeeds("suite in pieces", &[("EMULATED_CUDNN_ENGINES", "none")]);
}

/// How many convolutions cuDNN computed as they are, and how many with rounded factors.
fn convolved(output: &Output) -> [usize; 2] {
    let told = said(output);
    assert!(output.status.success(), "{told}");
    let line = told.lines().find(|line| line.starts_with("emulated cuDNN: ")).expect("counts");
    let counts: Vec<usize> = line.split(' ').filter_map(|word| word.parse().ok()).collect();
    counts.try_into().expect("two counts")
}

#[test]
fn groups_are_laid_out_apart_in_every_kind_of_products() {
    for products in ["", " in tf32", " in bf16"] {
        succeeds(&format!("apart{products}"), &[]);
    }
}

#[test]
fn pictures_that_were_laid_out_for_engines_which_then_refuse_are_convolved_all_the_same() {
    let variables = [("EMULATED_CUDNN_ENGINES", "refusing")];
    for task in ["suite of ConvOfPictures", "bf16 of ConvOfPictures"] {
        succeeds(task, &variables);
    }
    let Some(libraries) = sound() else { return };
    let counted = [&variables[..], &[("EMULATED_COUNTS", "1")]].concat();
    let output = run(libraries, "suite of ConvOfPictures", &counted);
    assert_eq!(convolved(&output), [0, 0], "by products");
}

#[test]
fn cudnn_s_engines_that_round_factors_are_for_tf32_alone() {
    let Some(libraries) = sound() else { return };
    let run = |task, engines| {
        let variables = [("EMULATED_CUDNN_ENGINES", engines), ("EMULATED_COUNTS", "1")];
        run(libraries, task, &variables)
    };
    let [plain, rounding] = convolved(&run("by eights", "all"));
    assert!(plain > 0 && rounding == 0, "{plain} {rounding}");
    assert_eq!(convolved(&run("by eights", "rounding")), [0, 0], "f32 takes products instead");
    let [plain, rounding] = convolved(&run("by eights in tf32", "rounding"));
    assert!(plain == 0 && rounding > 0, "{plain} {rounding}");
    let [plain, rounding] = convolved(&run("by eights in tf32", "all"));
    assert!(plain > 0 && rounding > 0, "both are tried: {plain} {rounding}");
    // What the first is worth: an engine that rounds and does not say so is seen.
    let unsaid = run("by eights", "rounding unsaid");
    assert!(!unsaid.status.success() && said(&unsaid).contains("Conv"), "{}", said(&unsaid));
}

#[test]
fn which_engine_was_the_fastest_is_written_down_for_each_kind_of_products() {
    let Some(libraries) = sound() else { return };
    let cache = Path::new(env!("CARGO_TARGET_TMPDIR")).join("emulated-engines");
    let _ = std::fs::remove_dir_all(&cache);
    let folder = cache.display().to_string();
    let variables = [("ALEXNET_CACHE_DIR", &folder[..]), ("EMULATED_COUNTS", "1")];
    let mut tried = Vec::new();
    for (files, task) in ["by eights in bf16", "by eights in tf32", "by eights"].iter().enumerate()
    {
        let first = convolved(&run(libraries, task, &variables));
        let entries = std::fs::read_dir(&cache).expect("the cache").flatten();
        let names = entries.map(|file| file.file_name().to_string_lossy().into_owned());
        assert_eq!(names.filter(|name| name.starts_with("engines-")).count(), files + 1, "{task}");
        tried.push((task, first));
    }
    for (task, first) in tried {
        let again = convolved(&run(libraries, task, &variables));
        assert!(again.iter().sum::<usize>() < first.iter().sum(), "{task}: {first:?} {again:?}");
    }
}

#[test]
fn in_bf16_every_operation_is_within_a_hundredth_with_cudnn_and_without() {
    succeeds("bf16", &[]);
    succeeds("bf16", &[("EMULATED_CUDNN_ENGINES", "none")]);
}

#[test]
fn in_tf32_every_operation_is_within_two_thousandths_and_products_are_rounded() {
    succeeds("tf32", &[]);
}

#[test]
fn in_bf16_no_kernel_touches_memory_beside_its_arrays() {
    for guard in ["before", "behind"] {
        succeeds("exact bf16", &[("EMULATED_GUARD", guard)]);
    }
}

#[test]
fn no_kernel_touches_memory_beside_its_arrays() {
    for guard in ["before", "behind"] {
        succeeds("exact", &[("EMULATED_GUARD", guard)]);
    }
}

#[test]
fn every_operation_gives_the_same_bits_again_and_masks_and_updates_are_those_promised() {
    succeeds("bits", &[]);
}

#[test]
fn where_the_driver_remembers_nothing_every_operation_is_done_all_the_same() {
    for graphs in ["none", "not these", "not made", "not launched"] {
        succeeds("repeats", &[("EMULATED_GRAPHS", graphs)]);
    }
}

#[test]
fn streams_are_as_late_as_waits_let_them() {
    succeeds("streams are late", &[]);
    succeeds("streams overtake", &[("EMULATED_LATE", "main")]);
    succeeds("streams do not wait", &[("EMULATED_WAITS", "none")]);
    succeeds("streams take turns", &[("EMULATED_TURNS", "taken")]);
}

#[test]
fn memory_that_is_given_back_while_a_stream_has_still_to_use_it_is_seen() {
    let Some(libraries) = sound() else { return };
    for (task, expected) in
        [("free too soon", TOUCHED), ("free the host's too soon", "given back before it was read")]
    {
        let output = run(libraries, task, &[]);
        assert!(!output.status.success() && said(&output).contains(expected), "{}", said(&output));
    }
}

#[test]
fn the_device_waits_where_one_stream_needs_what_another_does() {
    let Some(libraries) = sound() else { return };
    // That others are late, every other test sees.
    succeeds("suite", &[("EMULATED_LATE", "main")]);
    for manner in [("EMULATED_LATE", "main"), ("EMULATED_TURNS", "taken")] {
        succeeds("repeats", &[manner]);
    }
    for late in ["others", "main"] {
        // What that is worth: without the waits images are not there.
        let variables = [("EMULATED_LATE", late), ("EMULATED_WAITS", "none")];
        let output = run(libraries, "suite of Images", &variables);
        assert!(!output.status.success() && said(&output).contains("Images"), "{}", said(&output));
    }
}

#[test]
fn shapes_around_the_borders_of_blocks_and_groups_agree_with_the_plain_loops() {
    succeeds("borders", &[]);
}

#[test]
fn what_is_missing_is_an_error_that_says_so() {
    let Some(libraries) = sound() else { return };
    for (variable, value, expected) in [
        ("EMULATED_GPUS", "0", "the driver finds no GPU"),
        ("EMULATED_GPUS", "1", "there is no GPU 1: the driver numbers 1 from 0"),
        ("EMULATED_CAPABILITY", "75", "emulated GPU has no bf16 (compute capability 7.5"),
        ("EMULATED_CAPABILITY", "61", "for sm_61: this NVRTC knows sm_75 and newer only"),
        (
            "EMULATED_COMPILER_FAILS",
            "1",
            "compile the kernels for sm_90: NVRTC_ERROR_COMPILATION: line 1",
        ),
    ] {
        let task = match expected {
            _ if expected.contains("no GPU 1") => "open the second",
            _ if expected.contains("no bf16") => "open in bf16",
            _ => "open in f32",
        };
        let output = run(libraries, task, &[(variable, value)]);
        assert!(said(&output).contains(expected), "{variable}={value}: {}", said(&output));
        assert!(!said(&output).contains("panicked"), "{}", said(&output));
    }
}

#[test]
fn a_full_memory_ends_the_operation_with_an_error_and_no_report_of_a_panic() {
    let Some(libraries) = sound() else { return };
    let output = run(libraries, "fill the memory", &[("EMULATED_BYTES", "100000000")]);
    let expected = "the GPU has no room for another 100 MiB: take a smaller batch";
    assert!(said(&output).contains(expected), "{}", said(&output));
    assert!(!said(&output).contains("panicked"), "{}", said(&output));
}

#[test]
fn a_missing_or_unsuitable_library_is_an_error_that_says_which() {
    let Some(libraries) = sound() else { return };
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("emulated-partly");
    for (missing, expected) in [
        ("libnvrtc", "(libnvrtc) is not here"),
        ("libcublas", "is too old, it has no cublasCreate_v2"),
        // Of this one nothing is said: convolutions go without it.
        ("libcudnn", "opened cuda:0 (emulated GPU, bf16)"),
    ] {
        let _ = std::fs::remove_dir_all(&folder);
        std::fs::create_dir_all(&folder).expect("a folder");
        for library in ["libcuda", "libcublas", "libcudnn", "libnvrtc"] {
            let file = format!("{library}.so");
            if library != missing {
                std::fs::copy(libraries.join(&file), folder.join(&file)).expect("a copy");
            }
        }
        if missing == "libcublas" {
            // There, but with nothing in it that is called.
            std::fs::copy(libraries.join("libcuda.so"), folder.join("libcublas.so"))
                .expect("a copy");
        }
        let output = run(&folder, "open in bf16", &[("VIRTUAL_ENV", ""), ("CONDA_PREFIX", "")]);
        // A machine may have the real one; then there is nothing to see.
        if !said(&output).contains("opened") {
            assert!(said(&output).contains(expected), "{missing}: {}", said(&output));
        }
        assert!(!said(&output).contains("panicked"), "{missing}: {}", said(&output));
    }
}

#[test]
fn kernels_that_were_compiled_once_are_not_compiled_again() {
    let Some(libraries) = sound() else { return };
    let cache = Path::new(env!("CARGO_TARGET_TMPDIR")).join("emulated-cache");
    let _ = std::fs::remove_dir_all(&cache);
    let folder = cache.display().to_string();
    let opens = |compiles: bool| {
        let mut variables = vec![("ALEXNET_CACHE_DIR", &folder[..])];
        if !compiles {
            variables.push(("EMULATED_COMPILER_FAILS", "1"));
        }
        said(&run(libraries, "open in bf16", &variables)).contains("opened")
    };
    assert!(!opens(false), "nothing was compiled yet");
    assert!(opens(true) && opens(false), "compiled and kept");
    for file in std::fs::read_dir(&cache).expect("the cache").flatten() {
        std::fs::write(file.path(), "damaged").expect("a file of the test");
    }
    assert!(!opens(false) && opens(true), "what is damaged is compiled again");
}

/// A kernel with one fault.
struct Fault {
    name: &'static str,
    /// The child's task that has to see it.
    task: &'static str,
    /// What is written in place of what.
    edit: (&'static str, &'static str),
    /// What has to be said of it.
    expected: &'static str,
}

const fn fault(
    name: &'static str,
    task: &'static str,
    edit: (&'static str, &'static str),
    expected: &'static str,
) -> Fault {
    Fault { name, task, edit, expected }
}

const BARRIER: &str = "    __syncthreads();\n    u64 i = first + threadIdx.x;";
const NO_BARRIER: &str = "    u64 i = first + threadIdx.x;";
const BARRIER_FOR_SOME: &str =
    "    if (threadIdx.x < 9) __syncthreads();\n    u64 i = first + threadIdx.x;";
const BEFORE_NEIGHBOURS: &str = "    __syncthreads();\n    if (run.has_before &&";
const BEHIND_PRODUCT: &str = "tall, broad);\n        __syncthreads();\n    }";
const PRODUCT_BARRIER: &str = "        __syncthreads();\n        multiply_stage";
const NO_PRODUCT_BARRIER: &str = "        multiply_stage";
const SUMS_OF_STORED: &str =
    "write_packed(y + row * s.columns + column, stored);\n        terms[0] = unpacked(stored);";
const SUMS_OF_FOUND: &str =
    "write_packed(y + row * s.columns + column, stored);\n        terms[0] = unpacked(found);";
const BEFORE_FOLD: &str = "    __syncthreads();\n    for (u32 left = lanes;";
const TOUCHED: &str = "memory beside an array was touched";

/// Faults that are compiled together, each in the kernels of another task.
const FAULTS: [&[Fault]; 7] = [
    &[
        fault("no barrier", "suite of Lrn", (BARRIER, NO_BARRIER), "Lrn"),
        fault(
            "a gradient where a normalised ReLU is 0",
            "suite of BatchNorm",
            ("terms[1] = let_through(terms[1], unpacked(output));", ""),
            "BatchNorm",
        ),
        fault(
            "another mask",
            "suite of Dropout",
            ("k0 += 0x9E3779B9u;", "k0 += 0x9E3779B8u;"),
            "Dropout",
        ),
        fault(
            "a window too few",
            "suite of Conv",
            ("|| p >= s.out_h) continue;", "|| p + 1 >= s.out_h) continue;"),
            "Conv",
        ),
        fault(
            "the last of equals",
            "suite of MaxPool",
            ("number > maximum.best.at[k];", "number >= maximum.best.at[k];"),
            "MaxPool",
        ),
        fault(
            "a filter past the border",
            "suite of Images",
            ("axis.first_max);", "axis.first_max + 1);"),
            "Images",
        ),
        fault(
            "a thread's last row stays where it was",
            "apart",
            ("< s.rows) leave_eight", "< s.rows && k + 1 < GROUP_ROWS) leave_eight"),
            "Conv",
        ),
    ],
    &[
        fault(
            "a barrier for some",
            "suite of Lrn",
            (BARRIER, BARRIER_FOR_SOME),
            "wait at a barrier",
        ),
        fault(
            "levels cut off in place of rounded",
            "suite of Images",
            ("HALF_LEVEL = 1u << (WEIGHT_BITS - 1)", "HALF_LEVEL = 0"),
            "Images",
        ),
        fault(
            "the mask of the four before",
            "suite of Dropout",
            ("    kept >>= first % 4;\n", ""),
            "Dropout",
        ),
        fault(
            "a copy that is not waited for",
            "bf16 of Linear",
            ("        await_copies_but_last();\n", ""),
            "Linear",
        ),
    ],
    &[
        fault(
            "a term too few",
            "suite of Lrn",
            ("at + 1 < maps / EIGHT};", "at + 2 < maps / EIGHT};"),
            "Lrn",
        ),
        fault(
            "no barrier behind a product",
            "bf16 of Linear",
            (BEHIND_PRODUCT, "tall, broad);\n    }"),
            "Linear",
        ),
        fault(
            "through a ReLU that is closed",
            "suite of ConvMaxPool",
            ("rectified ? ~0ull : ", "rectified ? 0x7f * EVERY_BYTE : "),
            "ConvMaxPool",
        ),
        fault(
            "a gradient without what dropout multiplied by",
            "begun",
            ("packed<value>(times(gradient, factor))", "packed<value>(gradient)"),
            "ReLU and dropout",
        ),
        fault(
            "a picture in blocks that is not mirrored",
            "suite of ConvOfPictures",
            ("? s.in_w - FOUR - of.w : of.w, inside", "? of.w : of.w, inside"),
            "ConvOfPictures",
        ),
        fault("not mirrored", "suite of Images", ("side - 1 - x : x", "x : x"), "Images"),
        fault(
            "a norm of the first piece alone",
            "suite of Sgd",
            ("updated[1].first : blocks;", "updated[1].first : 1;"),
            "Sgd",
        ),
    ],
    &[
        fault(
            "beside an array",
            "exact",
            ("(u32)(len - begin) : EIGHT", "(u32)(len - begin) + 1 : EIGHT"),
            TOUCHED,
        ),
        fault(
            "no barrier before what neighbours show",
            "suite of Lrn",
            (BEFORE_NEIGHBOURS, "    if (run.has_before &&"),
            "Lrn",
        ),
        fault(
            "no barrier before lanes are folded",
            "suite of LinearDropout",
            (BEFORE_FOLD, "    for (u32 left = lanes;"),
            "LinearDropout",
        ),
    ],
    &[
        fault(
            "a step that stays",
            "repeats",
            ("*place = step;", "if (*place == 0) *place = step;"),
            "was not repeated as it was asked for",
        ),
        fault(
            "rows behind the last",
            "exact",
            ("smaller(first + k, picture.height - 1)", "first + k"),
            TOUCHED,
        ),
    ],
    &[
        fault(
            "a gradient where the ReLU is 0",
            "suite of ConvLrn",
            ("if (RECTIFIES && own.at[i] <= 0.0f)", "if (RECTIFIES && own.at[i] < 0.0f)"),
            "ConvLrn",
        ),
        fault(
            "a block turned",
            "bf16 of Conv",
            (
                "within % s.side, h = row * s.side + within / s.side",
                "within / s.side, h = row * s.side + within % s.side",
            ),
            "Conv",
        ),
        fault(
            "of a square its last place alone",
            "begun",
            ("sum.at[k] += number_of(stored, k);", "sum.at[k] = number_of(stored, k);"),
            "begun",
        ),
        fault(
            "no barrier before a product",
            "bf16 of Linear",
            (PRODUCT_BARRIER, NO_PRODUCT_BARRIER),
            "Linear",
        ),
    ],
    &[
        fault("a mean without its bias", "begun", (SUMS_OF_STORED, SUMS_OF_FOUND), "begun means"),
        fault(
            "a gradient whose mean stays",
            "suite of BatchNorm",
            ("d_mean.at[k] *= share;", "d_mean.at[k] = 0.0f;"),
            "BatchNorm",
        ),
    ],
];

/// What the tests above are worth: what has to happen with a fault.
#[test]
fn a_fault_in_a_kernel_is_seen() {
    if sound().is_none() {
        return;
    }
    // Most of it is building, one after the other.
    std::thread::scope(|scope| {
        for (folder, some) in FAULTS.chunks(FAULTS.len().div_ceil(2)).enumerate() {
            scope.spawn(move || some.iter().for_each(|faults| are_seen(faults, folder)));
        }
    });
}

fn are_seen(faults: &[Fault], folder: usize) {
    let edits: Vec<_> = faults.iter().map(|fault| fault.edit).collect();
    let built = emulator::build(&format!("faulty-{folder}"), &edits);
    let libraries = built.expect("there is a compiler");
    for Fault { name, task, expected, .. } in faults {
        let output = run(&libraries, task, &[]);
        assert!(!output.status.success(), "{name} was not seen");
        assert!(said(&output).contains(expected), "{name}: {}", said(&output));
    }
}

#[test]
#[ignore = "run by the other tests, in processes of their own"]
fn the_child_does_its_task() {
    let Ok(task) = std::env::var("EMULATED_TASK") else { return };
    match task.as_str() {
        "suite" => agrees(&open(), &cases(), TOLERANCE),
        "by eights" => agrees(&open(), &by_eights(), TOLERANCE),
        "by eights in tf32" => agrees(&open_in(Products::Tf32), &by_eights(), TOLERANCE_TF32),
        "by eights in bf16" => {
            agrees_in_bf16(&open_in(Products::Bf16), &by_eights(), TOLERANCE_BF16);
        }
        "apart" => apart(Products::F32, TOLERANCE),
        "apart in tf32" => apart(Products::Tf32, TOLERANCE_TF32),
        "apart in bf16" => apart(Products::Bf16, TOLERANCE_BF16),
        _ if task.starts_with("suite of ") => {
            let of = |case: &Case| format!("{case:?}").starts_with(&task["suite of ".len()..]);
            cases().into_iter().filter(of).for_each(|case| agrees(&open(), &[case], TOLERANCE));
        }
        "suite in pieces" => agrees(&open().in_small_pieces(), &cases(), TOLERANCE),
        "exact" => exactly(Products::F32),
        "exact bf16" => exactly(Products::Bf16),
        _ if task.starts_with("bf16 of ") => {
            let of = |case: &Case| format!("{case:?}").starts_with(&task["bf16 of ".len()..]);
            let cases: Vec<_> = cases().into_iter().chain(by_eights()).filter(of).collect();
            agrees_in_bf16(&open_in(Products::Bf16), &cases, TOLERANCE_BF16);
        }
        "bf16" => bf16(&open(), &open_in(Products::Bf16)),
        "tf32" => tf32(&open(), &open_in(Products::Tf32)),
        "bits" => [open(), open().in_small_pieces()].iter().for_each(bits),
        "begun" => {
            [open(), open().in_small_pieces()].iter().for_each(begun_sums_are_of_what_is_there);
        }
        "repeats" => what_is_repeated_is_what_was_asked_for(&open()),
        "borders" => agrees(&open(), &borders(), TOLERANCE),
        "streams are late" => streams::are_late(&Streams::open()),
        "streams overtake" => streams::overtake(&Streams::open()),
        "streams do not wait" => streams::do_not_wait(&Streams::open()),
        "streams take turns" => streams::take_turns(&Streams::open()),
        "free too soon" => streams::free_too_soon(&Streams::open()),
        "free the host's too soon" => streams::free_the_host_s_too_soon(&Streams::open()),
        "open in bf16" => say_what_opens(0, Precision::Bf16),
        "open in f32" => say_what_opens(0, Precision::F32),
        "open the second" => say_what_opens(1, Precision::F32),
        "fill the memory" => {
            let device = open();
            let filled = catch(|| device.floats(100 << 18));
            eprintln!("{}", filled.map(|_| "filled".to_owned()).unwrap_or_else(|e| e.to_string()));
        }
        other => panic!("no task {other}"),
    }
    eprintln!("the task is done");
}

fn open() -> Cuda {
    open_in(Products::F32)
}

fn open_in(products: Products) -> Cuda {
    Cuda::new(0, products).expect("the emulated GPU opens")
}

/// Every case in arrays of just the right lengths. Images have a device each: what they work in may be
/// longer when it grows.
fn exactly(products: Products) {
    let device = open_in(products);
    for case in cases().iter().chain(&by_eights()) {
        let own =
            matches!(case, Case::Images(..) | Case::ConvOfPictures(..)).then(|| open_in(products));
        drop(case.run_exact(own.as_ref().unwrap_or(&device)));
    }
}

/// Convolutions whose groups are laid out apart.
fn apart(products: Products, tolerance: f32) {
    let device = open_in(products);
    match products {
        Products::Bf16 => agrees_in_bf16(&device, &by_eights(), tolerance),
        Products::F32 | Products::Tf32 => agrees(&device, &by_eights(), tolerance),
    }
    groups_are_of_what_is_there(&device);
}

fn say_what_opens(index: usize, precision: Precision) {
    match Cuda::new(index, precision) {
        Ok(device) => eprintln!("opened {}", device.name()),
        Err(error) => eprintln!("{error}"),
    }
}
