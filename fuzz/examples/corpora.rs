//! Decodes every file beneath some folders and brings it to size, as evaluation does: what a hostile
//! file may cost at most.
//!
//!     cargo run --release --example corpora -- FOLDER... [--must-fail LIST]
//!
//! A file is decoded or refused with a reason of one line, within [`SECONDS_MAX`] and
//! [`BYTES_MAX`] of resident memory beyond what there was, and no decoder panics (Linux only). `LIST` has names of files,
//! one a line, that must be refused. Ends with 1 if any of that does not hold.

use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Instant;
use std::{env, fs};

use alexnet_data::{Fit, Preprocess, read_image};

/// Most time for one file, in seconds.
const SECONDS_MAX: f64 = 1.0;
/// Most memory for one file, in bytes.
const BYTES_MAX: usize = 256 << 20;

#[derive(Default)]
struct Totals {
    files: usize,
    decoded: usize,
    refused: usize,
    faults: usize,
    slowest: (f64, PathBuf),
    largest: (usize, PathBuf),
}

fn main() -> ExitCode {
    let mut arguments: Vec<String> = env::args().skip(1).collect();
    let mut must_fail = HashSet::new();
    if let Some(at) = arguments.iter().position(|argument| argument == "--must-fail") {
        let list = fs::read_to_string(&arguments[at + 1]).expect("a list of names");
        must_fail = list.lines().map(str::to_owned).collect();
        arguments.drain(at..at + 2);
    }
    let mut totals = Totals::default();
    for folder in &arguments {
        visit(Path::new(folder), &must_fail, &mut totals);
    }
    let Totals { files, decoded, refused, faults, slowest, largest } = &totals;
    println!("{files} files: {decoded} decoded, {refused} refused, {faults} faults");
    println!("slowest {:.3} s: {}", slowest.0, slowest.1.display());
    println!("most memory {} KiB: {}", largest.0 >> 10, largest.1.display());
    if *faults == 0 && *files > 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn visit(path: &Path, must_fail: &HashSet<String>, totals: &mut Totals) {
    if path.is_dir() {
        let mut entries: Vec<_> =
            fs::read_dir(path).expect("readable").map(|entry| entry.expect("one").path()).collect();
        entries.sort();
        entries.iter().for_each(|entry| visit(entry, must_fail, totals));
    } else if path.is_file() {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        examine(path, must_fail.contains(&*name), totals);
    }
}

fn examine(path: &Path, must_fail: bool, totals: &mut Totals) {
    let preprocess = Preprocess {
        fit: Fit::ShorterSide,
        resize: 256,
        crop: 224,
        mean: [124.0, 116.0, 104.0],
        std: [58.0, 57.0, 57.0],
        mean_image: None,
    };
    let mut pixels = vec![0.0; preprocess.image_len()];
    let (before, begin) = (start_peak(), Instant::now());
    let result = read_image(path).map(|image| preprocess.evaluate(&image, &mut pixels));
    let (seconds, bytes) = (begin.elapsed().as_secs_f64(), peak_bytes().saturating_sub(before));
    let mut fault = |what: &str| {
        println!("FAULT {}: {what}", path.display());
        totals.faults += 1;
    };
    match &result {
        Ok(Ok(())) if must_fail => fault("decoded, but must be refused"),
        Ok(Ok(())) => {}
        Ok(Err(error)) => fault(&format!("not brought to size: {error}")),
        Err(error) => {
            let message = error.to_string();
            if message.contains('\n') || message.contains("makes the decoder fail") {
                fault(&message);
            }
        }
    }
    if seconds > SECONDS_MAX {
        fault(&format!("took {seconds:.2} s"));
    }
    if bytes > BYTES_MAX {
        fault(&format!("took {} MiB", bytes >> 20));
    }
    totals.files += 1;
    *(if result.is_ok() { &mut totals.decoded } else { &mut totals.refused }) += 1;
    if seconds > totals.slowest.0 {
        totals.slowest = (seconds, path.to_path_buf());
    }
    if bytes > totals.largest.0 {
        totals.largest = (bytes, path.to_path_buf());
    }
}

/// Bytes that are resident now; the peak is looked for from here on.
fn start_peak() -> usize {
    fs::write("/proc/self/clear_refs", "5").expect("Linux counts the peak anew");
    peak_bytes()
}

/// The most bytes that were resident.
fn peak_bytes() -> usize {
    let status = fs::read_to_string("/proc/self/status").expect("Linux tells of a process");
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let kib = line.and_then(|line| line.trim().strip_suffix(" kB")?.trim().parse::<usize>().ok());
    kib.expect("a peak in kB") << 10
}
