//! Files that are there whole or not at all.

#![allow(clippy::unwrap_used)] // In helpers too, where the lint does not know a test.

use std::fs;

use alexnet_data::{check_writable, clear_unfinished, write_beside};

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

#[cfg(unix)]
#[test]
fn a_pipe_gets_the_whole_content_and_stays_a_pipe_and_a_socket_stays_one() {
    use std::os::unix::fs::FileTypeExt;
    let folder = tempfile::tempdir().unwrap();
    let pipe = folder.path().join("pipe");
    assert!(std::process::Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    let reader = std::thread::spawn({
        let pipe = pipe.clone();
        move || fs::read_to_string(pipe).unwrap()
    });
    write_beside(&pipe, |file| file.write_all(b"first ").and_then(|()| file.write_all(b"last")))
        .unwrap();
    assert!(fs::metadata(&pipe).unwrap().file_type().is_fifo());
    assert_eq!(reader.join().unwrap(), "first last");
    // What could not be made is not begun: nobody reads, and nobody waits.
    let refused: std::io::Result<()> = write_beside(&pipe, |file| {
        file.write_all(b"half")?;
        Err(std::io::ErrorKind::InvalidData.into())
    });
    assert_eq!(refused.unwrap_err().kind(), std::io::ErrorKind::InvalidData);
    let socket = folder.path().join("socket");
    let _listener = std::os::unix::net::UnixListener::bind(&socket).unwrap();
    write_beside(&socket, |file| file.write_all(b"...")).unwrap_err();
    assert!(fs::metadata(&socket).unwrap().file_type().is_socket());
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 2);
}

#[cfg(unix)]
#[test]
fn links_are_followed_to_their_file_there_or_not_which_is_replaced_beside_itself() {
    use std::os::unix::fs::{MetadataExt, symlink};
    let folder = tempfile::tempdir().unwrap();
    let (home, far) = (folder.path().join("home"), folder.path().join("far"));
    fs::create_dir(&home).unwrap();
    fs::create_dir(&far).unwrap();
    symlink("second", home.join("first")).unwrap();
    symlink("../far/file", home.join("second")).unwrap();
    for content in ["new", "old"] {
        write_beside(&home.join("first"), |file| file.write_all(content.as_bytes())).unwrap();
        assert_eq!(fs::read_to_string(far.join("file")).unwrap(), content);
        assert_eq!(fs::read_dir(&far).unwrap().count(), 1);
    }
    for name in ["first", "second"] {
        assert!(fs::symlink_metadata(home.join(name)).unwrap().is_symlink(), "{name}");
    }
    // As a whole: the old file's reader keeps what it had.
    let before = fs::metadata(far.join("file")).unwrap().ino();
    let _reader = fs::File::open(far.join("file")).unwrap();
    write_beside(&home.join("first"), |file| file.write_all(b"newer")).unwrap();
    assert_ne!(fs::metadata(far.join("file")).unwrap().ino(), before);
    symlink("circle", home.join("circle")).unwrap();
    write_beside(&home.join("circle"), |file| file.write_all(b"...")).unwrap_err();
}

#[test]
fn where_nothing_can_be_written_is_known_beforehand_and_told_without_names_of_ours() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    fs::write(at("file"), b"...").unwrap();
    check_writable(&at("file")).unwrap();
    check_writable(&at("new")).unwrap();
    for name in [".", "none/file", "file/file", "new/"] {
        let known = check_writable(&at(name)).unwrap_err();
        let met = write_beside(&at(name), |file| file.write_all(b"...")).unwrap_err();
        assert_eq!(known.to_string(), met.to_string(), "{name}");
        assert!(!met.to_string().contains("path"), "{name}: {met}");
    }
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
}
