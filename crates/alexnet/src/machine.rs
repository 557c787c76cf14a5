//! What the machine is, for records.

use serde::Serialize;

/// `env.json` of a run.
#[derive(Serialize)]
pub(crate) struct Environment {
    version: &'static str,
    system: String,
    architecture: &'static str,
    processor: String,
    cores: usize,
    memory_bytes: u64,
    device: String,
    command: Vec<String>,
}

impl Environment {
    pub(crate) fn of(device: String) -> Self {
        let system = sysinfo::System::new_all().ok();
        let processor =
            system.as_ref().and_then(|s| s.cpus().first().map(|c| c.brand().to_owned()));
        Self {
            version: env!("CARGO_PKG_VERSION"),
            system: sysinfo::System::long_os_version().unwrap_or_default(),
            architecture: std::env::consts::ARCH,
            processor: processor.unwrap_or_default(),
            cores: cores(),
            memory_bytes: system.map_or(0, |s| s.total_memory()),
            device,
            command: std::env::args_os().map(|a| a.to_string_lossy().into_owned()).collect(),
        }
    }
}

/// An error that names the size, if `bytes` are more than this machine has memory.
pub(crate) fn check_memory(bytes: usize, what: &str) -> anyhow::Result<()> {
    let Some(there) = memory_bytes() else { return Ok(()) };
    anyhow::ensure!(
        bytes as u64 <= there,
        "{what} needs {} MiB, but this machine has {} MiB of memory: choose a smaller \
         --micro-batch, --batch-size, --image-size or --width",
        bytes >> 20,
        there >> 20
    );
    Ok(())
}

/// The machine's memory, where the system tells.
pub(crate) fn memory_bytes() -> Option<u64> {
    let there = sysinfo::System::new_all().ok()?.total_memory();
    (there > 0).then_some(there)
}

/// Cores this process may use.
pub(crate) fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

/// The most memory this process has held, where the system tells.
pub(crate) fn peak_rss_bytes() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kib * 1024)
}
