//! How fast weights are loaded, beside reading the same file into memory.
//!
//! ```text
//! cargo run --release -p alexnet-weights --example loading -- FILE...
//! ```
//!
//! Of each file the median of alternating rounds, the file being in the system's cache, and the
//! share of the bandwidth of reading that loading reaches.

use std::error::Error;
use std::path::Path;
use std::time::{Duration, Instant};

use alexnet_weights::formats::{self, Known};

/// Measured after one that is not.
const ROUNDS: usize = 15;

fn main() -> Result<(), Box<dyn Error>> {
    for file in std::env::args_os().skip(1) {
        let path = Path::new(&file);
        let (mut reads, mut loads) = (Vec::new(), Vec::new());
        for round in 0..=ROUNDS {
            let begin = Instant::now();
            let bytes = std::fs::read(path)?;
            let read = begin.elapsed();
            let len = bytes.len();
            drop(bytes);
            let begin = Instant::now();
            let opened = formats::open(path, &Known::default())?;
            let load = begin.elapsed();
            drop(opened);
            if round > 0 {
                reads.push(read);
                loads.push(load);
            }
            if round == ROUNDS {
                report(path, len, reads.as_mut_slice(), loads.as_mut_slice());
            }
        }
    }
    Ok(())
}

#[allow(clippy::print_stdout)]
fn report(path: &Path, len: usize, reads: &mut [Duration], loads: &mut [Duration]) {
    let (read, load) = (median(reads), median(loads));
    let ms = |time: &Duration| time.as_secs_f64() * 1e3;
    println!(
        "{}: {len} bytes; read {:.1} ms ({:.1} to {:.1}), loaded {:.1} ms ({:.1} to {:.1}): {:.0} %",
        path.display(),
        ms(&read),
        ms(&reads[0]),
        ms(&reads[reads.len() - 1]),
        ms(&load),
        ms(&loads[0]),
        ms(&loads[loads.len() - 1]),
        100.0 * read.as_secs_f64() / load.as_secs_f64()
    );
}

fn median(times: &mut [Duration]) -> Duration {
    times.sort();
    times[times.len() / 2]
}
