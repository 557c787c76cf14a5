//! Files that are there whole or not at all.

#![allow(clippy::unwrap_used)] // In helpers too, where the lint does not know a test.

use std::fs;

use alexnet_data::{clear_unfinished, write_beside};

#[cfg(unix)]
#[test]
fn the_bytes_that_are_synced_are_those_that_are_renamed_and_others_may_read_them() {
    use std::os::unix::fs::MetadataExt;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("file");
    let mut written = 0;
    write_beside(&path, |file| -> std::io::Result<()> {
        file.write_all(b"whole")?;
        let mut beside = fs::read_dir(folder.path())?;
        written = beside.next().unwrap()?.metadata()?.ino();
        assert!(beside.next().is_none());
        Ok(())
    })
    .unwrap();
    let found = fs::metadata(&path).unwrap();
    assert_eq!((found.ino(), found.mode() & 0o600), (written, 0o600));
    let usual = folder.path().join("usual");
    fs::write(&usual, b"").unwrap();
    assert_eq!(found.mode(), fs::metadata(usual).unwrap().mode());
}

#[test]
fn what_a_killed_writer_left_is_cleared_and_nothing_else() {
    let folder = tempfile::tempdir().unwrap();
    for name in [".writing-1a2b", "results.csv", ".hidden"] {
        fs::write(folder.path().join(name), b"...").unwrap();
    }
    fs::create_dir(folder.path().join(".writing-3c4d")).unwrap();
    fs::write(folder.path().join(".writing-3c4d/1.jpg"), b"...").unwrap();
    clear_unfinished(folder.path()).unwrap();
    let entries = fs::read_dir(folder.path()).unwrap();
    let mut left: Vec<_> = entries.map(|entry| entry.unwrap().file_name()).collect();
    left.sort();
    assert_eq!(left, [".hidden", "results.csv"]);
}
