//! What is worth keeping from one run to the next: compiled kernels, and which of cuDNN's engines were
//! the fastest.
//!
//! Nothing depends on it but time: a file that is missing, damaged or cannot be written is as none.

use std::env;
use std::fs;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::PathBuf;

/// The folder to keep things in; empty for none.
const FOLDER_VARIABLE: &str = "ALEXNET_CACHE_DIR";
/// How every file begins; the rest's hash follows.
const HEAD: &[u8] = b"alexnet cache 1\n";
const HASH_BYTES: usize = size_of::<u64>();

/// A folder of files, if there is one.
#[derive(Clone, Debug)]
pub(super) struct Cache {
    folder: Option<PathBuf>,
}

impl Cache {
    /// The one that `ALEXNET_CACHE_DIR` names, else this user's.
    pub(super) fn usual() -> Self {
        let named = env::var_os(FOLDER_VARIABLE).map(PathBuf::from);
        Self { folder: named.or_else(users).filter(|folder| !folder.as_os_str().is_empty()) }
    }

    /// What was kept under this name.
    pub(super) fn read(&self, name: &str) -> Option<Vec<u8>> {
        let file = fs::read(self.folder.as_ref()?.join(name)).ok()?;
        let (hash, content) = file.strip_prefix(HEAD)?.split_at_checked(HASH_BYTES)?;
        (hash == hash_of(&content).to_le_bytes()).then(|| content.to_vec())
    }

    /// Keeps it, whole or not at all: another process may read meanwhile.
    pub(super) fn write(&self, name: &str, content: &[u8]) {
        let Some(folder) = &self.folder else { return };
        let file = [HEAD, &hash_of(&content).to_le_bytes(), content].concat();
        let beside = folder.join(format!("{name}.{}", std::process::id()));
        let kept = fs::create_dir_all(folder)
            .and_then(|()| fs::write(&beside, file))
            .and_then(|()| fs::rename(&beside, folder.join(name)));
        if kept.is_err() {
            let _ = fs::remove_file(&beside);
        }
    }
}

/// Where the system has programs keep such things.
fn users() -> Option<PathBuf> {
    let folder = |variable| env::var_os(variable).filter(|value| !value.is_empty());
    let base = folder("XDG_CACHE_HOME").map(PathBuf::from);
    let base = base.or_else(|| folder("LOCALAPPDATA").map(PathBuf::from));
    let base = base.or_else(|| folder("HOME").map(|home| PathBuf::from(home).join(".cache")));
    base.map(|base| base.join("alexnet"))
}

/// The same for the same value in every run of the same program.
pub(super) fn hash_of(value: &impl Hash) -> u64 {
    let mut hasher = DefaultHasher::new();
    value.hash(&mut hasher);
    hasher.finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_kept_is_there_again_and_what_was_damaged_is_not() {
        let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../target/tmp/cuda-cache");
        let _ = fs::remove_dir_all(&folder);
        let cache = Cache { folder: Some(folder.clone()) };
        assert_eq!(cache.read("kernels"), None);
        cache.write("kernels", b"compiled");
        assert_eq!(cache.read("kernels").as_deref(), Some(&b"compiled"[..]));
        let whole = fs::read(folder.join("kernels")).expect("it was written");
        for damaged in [&whole[..whole.len() - 1], &whole[..3], b""] {
            fs::write(folder.join("kernels"), damaged).expect("a file of the test");
            assert_eq!(cache.read("kernels"), None, "{damaged:?}");
        }
        let none = Cache { folder: None };
        none.write("kernels", b"compiled");
        assert_eq!(none.read("kernels"), None);
    }
}
