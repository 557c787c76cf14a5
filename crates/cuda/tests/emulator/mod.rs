//! A GPU that is this machine's processor: stand-ins for CUDA's libraries, built by the C++ compiler
//! if there is one, with the kernels' own source inside. A process that finds them first on its
//! loader's path computes with them, through the very calls that a GPU would get.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use alexnet_ops::Precision;

/// The one with the kernels in it, and those that stay as they are.
const DRIVER: &str = "libcuda";
const OTHERS: [&str; 3] = ["libcublas", "libcudnn", "libnvrtc"];

/// How a kernel's declaration begins.
const KERNEL: &str = "extern \"C\" __global__ void ";

/// What a block shares, here a variable beside both namespaces.
const SHARED: &str = "alignas(16) extern __shared__ float shared[];";

/// Builds the libraries into a folder of this name, from the kernels after `edits`: each `(what,
/// instead)` must be found in those for one precision at least. `None`, said aloud, where nothing here can build them.
pub(crate) fn build(name: &str, edits: &[(&str, &str)]) -> Option<PathBuf> {
    let Some(compiler) = compiler() else {
        eprintln!("SKIPPED: no C++ compiler here to run the kernels on the processor");
        return None;
    };
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("emulated-{name}"));
    std::fs::create_dir_all(&folder).expect("a folder for the libraries");
    let sources = [("f32", Precision::F32), ("bf16", Precision::Bf16)]
        .map(|(name, precision)| (name, alexnet_cuda::source(precision)));
    for (what, _) in edits {
        let is_there = sources.iter().any(|(_, source)| source.contains(what));
        assert!(is_there, "the kernels have no {what:?}");
    }
    for (name, source) in sources {
        let source = edits
            .iter()
            .fold(source.to_owned(), |source, (what, instead)| source.replacen(what, instead, 1));
        let kernels = source.split(KERNEL).skip(1);
        let table: String = kernels
            .map(|text| format!("KERNEL({})\n", text.split('(').next().unwrap_or_default()))
            .collect();
        // Both are one library's, which knows them apart by their namespaces.
        let source = source.replace(KERNEL, "void ").replace(SHARED, "");
        let written = std::fs::write(folder.join(format!("kernels-{name}.inc")), source);
        written
            .and_then(|()| std::fs::write(folder.join(format!("table-{name}.inc")), table))
            .expect("kernels and table are written");
    }
    compile(&compiler, DRIVER, &folder);
    for library in OTHERS {
        let (built, file) = (others(&compiler), format!("{library}.so"));
        std::fs::copy(built.join(&file), folder.join(&file)).expect("a copy of a library");
    }
    Some(folder)
}

/// Where the libraries are built that no kernel is in, once.
fn others(compiler: &str) -> &'static Path {
    static BUILT: OnceLock<PathBuf> = OnceLock::new();
    BUILT.get_or_init(|| {
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("emulated-others");
        std::fs::create_dir_all(&folder).expect("a folder for the libraries");
        OTHERS.iter().for_each(|library| compile(compiler, library, &folder));
        folder
    })
}

fn compile(compiler: &str, library: &str, folder: &Path) {
    let sources = Path::new(env!("CARGO_MANIFEST_DIR")).join("../cuda/tests/emulator");
    let mut command = Command::new(compiler);
    command.args(["-std=c++17", "-O2", "-ffp-contract=off", "-shared", "-fPIC", "-w"]);
    // Once loaded they stay, for they count up to the process's end.
    command.arg("-Wl,-z,nodelete");
    command.arg("-I").arg(folder).arg("-I").arg(&sources);
    command.arg("-o").arg(folder.join(format!("{library}.so")));
    let output = command.arg(sources.join(format!("{library}.cpp"))).arg("-ldl").output();
    let output = output.expect("the compiler runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

/// A C++ compiler on Linux, where the libraries' names are those of the real ones.
fn compiler() -> Option<String> {
    let named = std::env::var("CXX").ok();
    let usual = ["c++", "g++", "clang++"].map(str::to_owned);
    cfg!(target_os = "linux")
        .then(|| named.into_iter().chain(usual))?
        .find(|name| Command::new(name).arg("--version").output().is_ok_and(|o| o.status.success()))
}
