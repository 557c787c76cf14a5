//! A disk in memory that remembers every call, so that whatever a power cut may leave of them can be
//! made; that fails when told; and that is careless when told, as other programs are.

#![allow(dead_code)] // Each test file uses its share.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, Cursor, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard};

use alexnet_data::{FileSystem, NewFile};

/// What a disk writes at once: less may be there after a power cut, half of it not.
const SECTOR: usize = 512;
/// Most bytes that a call to write takes: short writes are the rule here.
const WRITE_MAX: usize = 700;

/// What happened, in order. Files are known by numbers; names are entries of folders.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Call {
    Folder(PathBuf),
    Create(PathBuf, usize),
    Write(usize, Vec<u8>),
    Sync(usize),
    Rename(PathBuf, PathBuf),
    SyncFolder(PathBuf),
    Remove(PathBuf),
}

/// How a program may be careless.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Careless {
    Not,
    /// Files are not synced.
    NoSync,
    /// Folders are not synced.
    NoFolderSync,
    /// A file gets its name before it is synced.
    RenameBeforeSync,
    /// What was there goes before what is new comes, as in timm.
    UnlinkFirst,
}

/// How a call fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Failure {
    Kind(io::ErrorKind),
    /// Half is written, and then nothing more fits.
    HalfWritten,
}

#[derive(Debug)]
struct State {
    tree: BTreeMap<PathBuf, Node>,
    contents: Vec<Vec<u8>>,
    calls: Vec<Call>,
    careless: Careless,
    /// Calls asked for, those that change nothing too.
    asked: usize,
    /// At which of them, whether all later ones too, and how.
    fails: Option<(usize, bool, Failure)>,
    /// Syncs that a careless program does too late.
    late: Vec<usize>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Node {
    Folder,
    File(usize),
}

/// The disk. Clones are the same one.
#[derive(Clone, Debug)]
pub(crate) struct FakeDisk(Arc<Mutex<State>>);

impl FakeDisk {
    pub(crate) fn new(careless: Careless) -> Self {
        let tree = BTreeMap::from([("/".into(), Node::Folder)]);
        let state = State {
            tree,
            contents: Vec::new(),
            calls: Vec::new(),
            careless,
            asked: 0,
            fails: None,
            late: Vec::new(),
        };
        Self(Arc::new(Mutex::new(state)))
    }

    /// A disk of these files, as a machine finds it when it is started again.
    fn of(tree: BTreeMap<PathBuf, Node>, contents: Vec<Vec<u8>>) -> Self {
        let disk = Self::new(Careless::Not);
        (disk.state().tree, disk.state().contents) = (tree, contents);
        disk
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().expect("no panic while locked")
    }

    /// From the `nth` call on, or that one alone, calls fail.
    pub(crate) fn fail(&self, nth: usize, for_good: bool, how: Failure) {
        self.state().fails = Some((nth, for_good, how));
    }

    pub(crate) fn recover(&self) {
        self.state().fails = None;
    }

    /// Calls asked for so far.
    pub(crate) fn asked(&self) -> usize {
        self.state().asked
    }

    /// Calls that changed something so far.
    pub(crate) fn calls(&self) -> Vec<Call> {
        self.state().calls.clone()
    }

    pub(crate) fn has(&self, path: &str) -> bool {
        self.state().tree.contains_key(Path::new(path))
    }

    /// A file's bytes.
    pub(crate) fn get(&self, path: &Path) -> Option<Vec<u8>> {
        let state = self.state();
        state.file(path).ok().map(|file| state.contents[file].clone())
    }

    /// Makes a file of these bytes, or gives it these bytes.
    pub(crate) fn put(&self, path: &Path, bytes: Vec<u8>) {
        let mut state = self.state();
        let file = state.contents.len();
        state.contents.push(bytes);
        state.tree.insert(path.into(), Node::File(file));
    }

    /// Flips one bit of a file.
    pub(crate) fn damage(&self, path: &Path) {
        let mut bytes = self.get(path).expect("a file");
        let middle = bytes.len() / 2;
        bytes[middle] ^= 1;
        self.put(path, bytes);
    }
}

impl State {
    fn ask(&mut self) -> Result<(), Failure> {
        let asked = self.asked;
        self.asked += 1;
        match self.fails {
            Some((nth, for_good, how)) if asked == nth || (for_good && asked > nth) => Err(how),
            _ => Ok(()),
        }
    }

    fn file(&self, path: &Path) -> io::Result<usize> {
        match self.tree.get(path) {
            Some(Node::File(file)) => Ok(*file),
            _ => Err(io::ErrorKind::NotFound.into()),
        }
    }

    fn folder(&self, path: &Path) -> io::Result<()> {
        match self.tree.get(path) {
            Some(Node::Folder) => Ok(()),
            _ => Err(io::ErrorKind::NotFound.into()),
        }
    }

    fn apply(&mut self, call: Call) {
        apply(&mut self.tree, &call);
        self.calls.push(call);
    }

    /// What timm does before it renames.
    fn unlink_first(&mut self, to: &Path) {
        let beside =
            |path: &PathBuf| path.parent() == to.parent() && path.extension() == to.extension();
        let old: Vec<_> = self.tree.keys().filter(|path| beside(path)).cloned().collect();
        old.into_iter().for_each(|path| self.apply(Call::Remove(path)));
    }
}

impl Failure {
    fn error(self) -> io::Error {
        match self {
            Self::Kind(kind) => kind.into(),
            Self::HalfWritten => io::ErrorKind::StorageFull.into(),
        }
    }
}

/// What a call makes of names.
fn apply(tree: &mut BTreeMap<PathBuf, Node>, call: &Call) {
    match call {
        Call::Folder(path) => drop(tree.insert(path.clone(), Node::Folder)),
        Call::Create(path, file) => drop(tree.insert(path.clone(), Node::File(*file))),
        Call::Rename(from, to) => {
            if let Some(node) = tree.remove(from) {
                tree.insert(to.clone(), node);
            }
        }
        Call::Remove(path) => drop(tree.remove(path)),
        Call::Write(..) | Call::Sync(_) | Call::SyncFolder(_) => {}
    }
}

impl FileSystem for FakeDisk {
    fn create_folder(&self, path: &Path) -> io::Result<()> {
        let mut state = self.state();
        state.ask().map_err(Failure::error)?;
        state.folder(path.parent().expect("no root"))?;
        if state.tree.contains_key(path) {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        state.apply(Call::Folder(path.into()));
        Ok(())
    }

    fn create_unfinished(&self, folder: &Path) -> io::Result<(PathBuf, Box<dyn NewFile>)> {
        let mut state = self.state();
        state.ask().map_err(Failure::error)?;
        state.folder(folder)?;
        let file = state.contents.len();
        state.contents.push(Vec::new());
        let path = folder.join(format!(".writing-{file}"));
        state.apply(Call::Create(path.clone(), file));
        Ok((path, Box::new(FakeFile { disk: self.clone(), file })))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let mut state = self.state();
        state.ask().map_err(Failure::error)?;
        let file = state.file(from)?;
        if state.careless == Careless::UnlinkFirst {
            state.unlink_first(to);
        }
        // As the system would: the rename of what is renamed again holds for the second name.
        state.apply(Call::Rename(from.into(), to.into()));
        for late in std::mem::take(&mut state.late) {
            state.apply(Call::Sync(late));
        }
        debug_assert_eq!(state.file(to).ok(), Some(file));
        Ok(())
    }

    fn sync_folder(&self, folder: &Path) -> io::Result<()> {
        let mut state = self.state();
        state.ask().map_err(Failure::error)?;
        state.folder(folder)?;
        if state.careless != Careless::NoFolderSync {
            state.apply(Call::SyncFolder(folder.into()));
        }
        Ok(())
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        let mut state = self.state();
        state.ask().map_err(Failure::error)?;
        state.file(path)?;
        state.apply(Call::Remove(path.into()));
        Ok(())
    }

    fn list(&self, folder: &Path) -> io::Result<Vec<PathBuf>> {
        let mut state = self.state();
        state.ask().map_err(Failure::error)?;
        state.folder(folder)?;
        let paths = state.tree.keys().filter(|path| path.parent() == Some(folder));
        Ok(paths.cloned().collect())
    }

    fn open(&self, path: &Path) -> io::Result<(Box<dyn Read>, u64)> {
        let mut state = self.state();
        state.ask().map_err(Failure::error)?;
        let bytes = state.contents[state.file(path)?].clone();
        let len = bytes.len() as u64;
        Ok((Box::new(FakeReader { disk: self.clone(), bytes: Cursor::new(bytes) }), len))
    }

    fn free_bytes(&self, _: &Path) -> io::Result<u64> {
        Ok(if self.state().fails.is_some() { 1 << 10 } else { 1 << 40 })
    }
}

struct FakeFile {
    disk: FakeDisk,
    file: usize,
}

impl Write for FakeFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let mut state = self.disk.state();
        let mut taken = &bytes[..bytes.len().min(WRITE_MAX)];
        match state.ask() {
            Ok(()) => {}
            Err(Failure::HalfWritten) if taken.len() > 1 => taken = &taken[..taken.len() / 2],
            Err(failure) => return Err(failure.error()),
        }
        state.contents[self.file].extend_from_slice(taken);
        state.apply(Call::Write(self.file, taken.to_vec()));
        Ok(taken.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl NewFile for FakeFile {
    fn sync(&mut self) -> io::Result<()> {
        let mut state = self.disk.state();
        state.ask().map_err(Failure::error)?;
        match state.careless {
            Careless::NoSync => {}
            Careless::RenameBeforeSync => state.late.push(self.file),
            _ => state.apply(Call::Sync(self.file)),
        }
        Ok(())
    }
}

struct FakeReader {
    disk: FakeDisk,
    bytes: Cursor<Vec<u8>>,
}

impl Read for FakeReader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.disk.state().ask().map_err(Failure::error)?;
        self.bytes.read(buffer)
    }
}

/// Every disk that a machine may find after a power cut when `calls` were done: of what was not
/// synced any part may be there. Told to `judge` until that says `Err`.
pub(crate) fn power_cuts<E>(
    calls: &[Call],
    judge: &mut dyn FnMut(FakeDisk) -> Result<(), E>,
) -> Result<(), E> {
    let (mut safe, mut pending) = (BTreeMap::from([("/".into(), Node::Folder)]), Vec::new());
    for call in calls {
        match call {
            Call::SyncFolder(folder) => pending.retain(|call| {
                let synced = folder_of(call) == Some(folder);
                if synced {
                    apply(&mut safe, call);
                }
                !synced
            }),
            Call::Write(..) | Call::Sync(_) => {}
            change => pending.push(change.clone()),
        }
    }
    let data = Data::of(calls);
    for kept in 0..1u32 << pending.len() {
        let mut tree = safe.clone();
        for (bit, call) in pending.iter().enumerate() {
            if kept >> bit & 1 == 1 {
                apply(&mut tree, call);
            }
        }
        // What lies in a folder that is not there is not there.
        let folders: BTreeSet<_> = folders(&tree);
        tree.retain(|path, _| path.parent().is_none_or(|parent| folders.contains(parent)));
        data.torn(&tree, judge)?;
    }
    Ok(())
}

fn folder_of(call: &Call) -> Option<&Path> {
    match call {
        Call::Folder(path) | Call::Create(path, _) | Call::Rename(_, path) | Call::Remove(path) => {
            path.parent()
        }
        Call::Write(..) | Call::Sync(_) | Call::SyncFolder(_) => None,
    }
}

/// Folders that can be reached.
fn folders(tree: &BTreeMap<PathBuf, Node>) -> BTreeSet<PathBuf> {
    let is_folder = |path: &Path| tree.get(path) == Some(&Node::Folder);
    let reached = |path: &&PathBuf| path.ancestors().all(is_folder);
    tree.keys().filter(reached).cloned().collect()
}

/// What was written to each file, and how much of it was synced.
struct Data {
    written: Vec<Vec<u8>>,
    synced: Vec<usize>,
}

impl Data {
    fn of(calls: &[Call]) -> Self {
        let mut data = Self { written: Vec::new(), synced: Vec::new() };
        for call in calls {
            match call {
                Call::Create(_, file) => {
                    let files = file + 1;
                    data.written.resize(files, Vec::new());
                    data.synced.resize(files, 0);
                }
                Call::Write(file, bytes) => data.written[*file].extend_from_slice(bytes),
                Call::Sync(file) => data.synced[*file] = data.written[*file].len(),
                _ => {}
            }
        }
        data
    }

    /// Disks with these names and all that files may hold under them: of each file's unsynced part
    /// any first sectors, each as written or zeros. Files nobody looks at are left as they are.
    fn torn<E>(
        &self,
        tree: &BTreeMap<PathBuf, Node>,
        judge: &mut dyn FnMut(FakeDisk) -> Result<(), E>,
    ) -> Result<(), E> {
        let seen = |(path, node): (&PathBuf, &Node)| match node {
            Node::File(file) if path.extension().is_some() => Some(*file),
            _ => None,
        };
        let unsynced = |file: &usize| self.synced[*file] < self.written[*file].len();
        let files: Vec<_> = tree.iter().filter_map(seen).filter(unsynced).collect();
        self.torn_each(&files, self.written.clone(), &mut |contents| {
            judge(FakeDisk::of(tree.clone(), contents))
        })
    }

    fn torn_each<E>(
        &self,
        files: &[usize],
        contents: Vec<Vec<u8>>,
        judge: &mut dyn FnMut(Vec<Vec<u8>>) -> Result<(), E>,
    ) -> Result<(), E> {
        let Some((&file, others)) = files.split_first() else { return judge(contents) };
        let (written, synced) = (&self.written[file], self.synced[file]);
        let sectors = (written.len() - synced).div_ceil(SECTOR);
        for there in 0..=sectors {
            for zeroed in 0..1u32 << there {
                let len = (synced + there * SECTOR).min(written.len());
                let mut bytes = written[..len].to_vec();
                for (sector, part) in bytes[synced..].chunks_mut(SECTOR).enumerate() {
                    if zeroed >> sector & 1 == 1 {
                        part.fill(0);
                    }
                }
                let mut contents = contents.clone();
                contents[file] = bytes;
                self.torn_each(others, contents, judge)?;
            }
        }
        Ok(())
    }
}
