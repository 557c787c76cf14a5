//! A GPU that is this machine's processor: stand-ins for CUDA's libraries, built by the C++ compiler
//! if there is one, with the kernels' own source inside. A process that finds them first on its
//! loader's path computes with them, through the very calls that a GPU would get.

use std::path::{Path, PathBuf};
use std::process::Command;

const LIBRARIES: [&str; 3] = ["libcuda", "libcublas", "libnvrtc"];

/// Builds the libraries into a folder of this name, from the kernels after `edits`: each `(what,
/// instead)` must be found in them. `None`, said aloud, where nothing here can build them.
pub(crate) fn build(name: &str, edits: &[(&str, &str)]) -> Option<PathBuf> {
    let Some(compiler) = compiler() else {
        eprintln!("SKIPPED: no C++ compiler here to run the kernels on the processor");
        return None;
    };
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("emulated-{name}"));
    std::fs::create_dir_all(&folder).expect("a folder for the libraries");
    let mut source = alexnet_cuda::source().to_owned();
    for (what, instead) in edits {
        assert!(source.contains(what), "the kernels have no {what:?}");
        source = source.replacen(what, instead, 1);
    }
    let kernels = source.split("extern \"C\" __global__ void ").skip(1);
    let table: String = kernels
        .map(|text| format!("KERNEL({})\n", text.split('(').next().unwrap_or_default()))
        .collect();
    std::fs::write(folder.join("kernels.inc"), source).expect("the kernels are written");
    std::fs::write(folder.join("table.inc"), table).expect("the table is written");
    let sources = Path::new(env!("CARGO_MANIFEST_DIR")).join("../cuda/tests/emulator");
    for library in LIBRARIES {
        let mut command = Command::new(&compiler);
        command.args(["-std=c++17", "-O2", "-ffp-contract=off", "-shared", "-fPIC", "-w"]);
        command.arg("-I").arg(&folder).arg("-I").arg(&sources);
        command.arg("-o").arg(folder.join(format!("{library}.so")));
        let output = command.arg(sources.join(format!("{library}.cpp"))).output();
        let output = output.expect("the compiler runs");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }
    Some(folder)
}

/// A C++ compiler on Linux, where the libraries' names are those of the real ones.
fn compiler() -> Option<String> {
    let named = std::env::var("CXX").ok();
    let usual = ["c++", "g++", "clang++"].map(str::to_owned);
    cfg!(target_os = "linux")
        .then(|| named.into_iter().chain(usual))?
        .find(|name| Command::new(name).arg("--version").output().is_ok_and(|o| o.status.success()))
}
