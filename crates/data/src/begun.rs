//! Folders that are made over hours: begun, gone on with after an end at any moment, whole.
//!
//! From the first moment to the last a plan lies in such a folder, under a name that says that it
//! is not whole. The last step gives what became of it the other name.

use std::fs::{self, File, TryLockError};
use std::path::Path;

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::error::DataError;
use crate::text::read_text;
use crate::whole_file::{
    clear_unfinished, is_unfinished, rename_synced, write_if_changed, write_whole,
};
use crate::{pack, tree};

/// What the plans are called in folders that are not whole, and in those that are.
const PLANS: [[&str; 2]; 2] = [[pack::PLAN, pack::MANIFEST], [tree::PLAN, tree::MANIFEST]];

/// A folder held against other processes for as long as this is there. The system lets go of it with this
/// process, however that ends, and nothing stays behind in the folder.
pub(crate) struct Claim(#[expect(dead_code, reason = "an open file is what holds")] Option<File>);

/// Makes the folder `out` with `plan` in it, or sees that what is there was begun, or made, by the
/// same plan.
///
/// # Errors
/// A folder that holds something else, that another process is at work in, or that the system refuses to
/// make.
pub(crate) fn begin<P: PartialEq + Serialize + DeserializeOwned>(
    out: &Path,
    begun: &str,
    whole: &str,
    plan: &P,
) -> Result<Claim, DataError> {
    fs::create_dir_all(out).map_err(DataError::io("create", out))?;
    let claim = claim(out)?;
    let found = [begun, whole].into_iter().map(|name| out.join(name)).find(|file| file.is_file());
    if let Some(file) = found {
        let found: Option<P> = serde_json::from_str(&read_text(&file)?).ok();
        if found.as_ref() != Some(plan) {
            return Err(DataError::OtherBegun { path: out.to_path_buf() });
        }
    } else {
        for entry in fs::read_dir(out).map_err(DataError::io("read", out))? {
            // A run that was killed before its plan was there left this alone.
            if !is_unfinished(&entry.map_err(DataError::io("read", out))?.file_name()) {
                return Err(DataError::NotEmpty { path: out.to_path_buf() });
            }
        }
        write_whole(&out.join(begun), &to_json(plan))?;
    }
    clear_unfinished(out).map_err(DataError::io("clear", out))?;
    Ok(claim)
}

fn claim(out: &Path) -> Result<Claim, DataError> {
    // Some systems open no folder, and some file systems lock none: there nobody is kept out.
    let folder = match File::open(out).map_err(DataError::io("open", out)) {
        Err(error) if error.is_of_the_machine() => return Err(error),
        Err(_) => return Ok(Claim(None)),
        Ok(folder) => folder,
    };
    match folder.try_lock() {
        Err(TryLockError::WouldBlock) => Err(DataError::AtWork { path: out.to_path_buf() }),
        Ok(()) | Err(TryLockError::Error(_)) => Ok(Claim(Some(folder))),
    }
}

/// Names the folder whole: in one step its plan's file, in which `manifest` now stands, gets the
/// other name.
///
/// # Errors
/// When the system refuses.
pub(crate) fn finish(
    out: &Path,
    begun: &str,
    whole: &str,
    manifest: &impl Serialize,
) -> Result<(), DataError> {
    let (plan, path) = (out.join(begun), out.join(whole));
    if !plan.is_file() {
        // It was whole before.
        return write_if_changed(&path, &to_json(manifest));
    }
    write_whole(&plan, &to_json(manifest))?;
    rename_synced(&plan, &path).map_err(DataError::io("write", &path))
}

/// Half of a set is no set.
pub(crate) fn refuse_unfinished(root: &Path) -> Result<(), DataError> {
    for [begun, whole] in PLANS {
        if root.join(begun).is_file() && !root.join(whole).is_file() {
            return Err(DataError::Unfinished { path: root.to_path_buf() });
        }
    }
    Ok(())
}

pub(crate) fn to_json(value: &impl Serialize) -> Vec<u8> {
    // Strings, numbers and lists always have a form in JSON.
    serde_json::to_vec_pretty(value).unwrap_or_default()
}
