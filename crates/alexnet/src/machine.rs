//! What the machine is, for records.

use alexnet_network::Plan;
use alexnet_ops::Device;
use serde::Serialize;
use sysinfo::{Process, ProcessRefreshKind, ProcessesToUpdate, System};

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
        let system = System::new_all().ok();
        let processor =
            system.as_ref().and_then(|s| s.cpus().first().map(|c| c.brand().to_owned()));
        Self {
            version: env!("CARGO_PKG_VERSION"),
            system: System::long_os_version().unwrap_or_default(),
            architecture: std::env::consts::ARCH,
            processor: processor.unwrap_or_default(),
            cores: cores(),
            memory_bytes: system.map_or(0, |s| s.total_memory()),
            device,
            command: std::env::args_os().map(|a| a.to_string_lossy().into_owned()).collect(),
        }
    }
}

/// An error that names the sizes, if what `plan` needs is more than is free of the device's memory, or
/// more than there is for this process; `copy_bytes` more of the machine's are for a copy to save. `smaller` are
/// the flags of which less takes less, if the command has any.
pub(crate) fn check_room<D: Device>(
    device: &D,
    plan: &Plan,
    copy_bytes: usize,
    what: &str,
    smaller: &[&str],
) -> anyhow::Result<()> {
    let own = device.own_memory();
    if let Some(own) = own {
        let (needed, free) = (plan.bytes_where(own.value_bytes, own.weight_bytes), own.free_bytes);
        anyhow::ensure!(
            needed <= free,
            "{what} needs {} MiB of the GPU's memory and more to work in, but {} MiB are free{}",
            needed.div_ceil(1 << 20),
            free >> 20,
            way_out(smaller)
        );
    }
    let host = if own.is_some() { 0 } else { plan.bytes() };
    let with = if copy_bytes > 0 { ", with a copy to save it from," } else { "" };
    check_memory(host + copy_bytes, &format!("{what}{with}"), smaller)
}

/// `: choose a smaller --batch-size or --width`
fn way_out(smaller: &[&str]) -> String {
    match smaller {
        [] => String::new(),
        [flag] => format!(": choose a smaller {flag}"),
        [flags @ .., last] => format!(": choose a smaller {} or {last}", flags.join(", ")),
    }
}

/// An error that names the size, if `bytes` are more than [`memory_bytes`].
fn check_memory(bytes: usize, what: &str, smaller: &[&str]) -> anyhow::Result<()> {
    let Some(there) = memory_bytes() else { return Ok(()) };
    anyhow::ensure!(
        bytes as u64 <= there,
        "{what} needs {} MiB, but there are {} MiB of memory for it{}",
        bytes >> 20,
        there >> 20,
        way_out(smaller)
    );
    Ok(())
}

/// The memory that this process may take, where the system tells: the machine's, or less where a
/// control group, as of a container, or a shell's `ulimit -v` allows no more.
pub(crate) fn memory_bytes() -> Option<u64> {
    let mut system = System::new().ok()?;
    system.refresh_memory();
    smallest([Some(system.total_memory()), of_control_group(&mut system), of_address_space()])
}

/// What `ulimit -v` allows, if it limits anything. More than that is not refused by the system in
/// words: the program is ended.
fn of_address_space() -> Option<u64> {
    let limits = std::fs::read_to_string("/proc/self/limits").ok()?;
    let line = limits.lines().find_map(|line| line.strip_prefix("Max address space"))?;
    line.split_whitespace().next()?.parse().ok()
}

/// What the control group of this process and those around it allow, of version 1 or 2, if they limit
/// it.
fn of_control_group(system: &mut System) -> Option<u64> {
    let own = sysinfo::get_current_pid().ok()?;
    system.refresh_processes_specifics(
        ProcessesToUpdate::Some(&[own]),
        false,
        ProcessRefreshKind::nothing(),
    );
    let group = system.process(own).and_then(Process::cgroup_limits);
    // Where the process's own group is not to be seen, that of the container may be.
    group.or_else(|| system.cgroup_limits()).map(|limits| limits.total_memory)
}

/// The least of what is known. A system that does not know says 0.
fn smallest<const N: usize>(limits: [Option<u64>; N]) -> Option<u64> {
    limits.into_iter().flatten().filter(|&bytes| bytes > 0).min()
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_smaller_of_the_machine_and_its_container_is_what_there_is() {
        let cases = [
            ([Some(24 << 30), None], Some(24 << 30)),
            ([Some(24 << 30), Some(300 << 20)], Some(300 << 20)),
            ([Some(24 << 30), Some(64 << 30)], Some(24 << 30)),
            ([Some(0), Some(300 << 20)], Some(300 << 20)),
            ([Some(0), None], None),
        ];
        for (limits, expected) in cases {
            assert_eq!(smallest(limits), expected, "{limits:?}");
        }
    }

    #[test]
    fn too_much_is_refused_with_the_flags_that_the_command_has() {
        let cases: [(&[&str], &str); 3] = [
            (&[], " of memory for it"),
            (&["--batch-size"], ": choose a smaller --batch-size"),
            (&["--a", "--b", "--c"], ": choose a smaller --a, --b or --c"),
        ];
        for (flags, end) in cases {
            let told = check_memory(usize::MAX, "w.pth", flags).unwrap_err().to_string();
            assert!(told.starts_with("w.pth needs") && told.ends_with(end), "{told}");
        }
    }
}
