//! What can go wrong with a dataset, in words its owner can act on.
//!
//! Every message is one line that names the file or folder.

use std::io;
use std::path::{Path, PathBuf};

use crate::decode::DecodeError;
use crate::passed_over::PassedOver;
use crate::preprocess::PreprocessError;

/// Why a dataset or one of its images could not be used.
#[derive(Debug, thiserror::Error)]
pub enum DataError {
    /// The system refused to read or write.
    #[error("cannot {action} {}: {reason}", path.display())]
    Io {
        /// What was tried: "read", "create".
        action: &'static str,
        /// The file or folder.
        path: PathBuf,
        /// The system's answer.
        reason: io::Error,
    },
    /// The disk is full, or a limit on files is reached.
    #[error("cannot {action} {}: {reason}; make room and repeat the command", path.display())]
    NoRoom {
        /// What was tried: "write", "create".
        action: &'static str,
        /// The file or folder.
        path: PathBuf,
        /// The system's answer.
        reason: io::Error,
    },
    /// This process, or this machine, has no more open files or memory to give: no fault of the file's.
    #[error(
        "cannot {action} {}: {reason}; that is not the file's fault: pass --workers with fewer, or {}",
        path.display(),
        match reason.kind() {
            io::ErrorKind::OutOfMemory => "allow more memory",
            _ => "allow more open files (ulimit -n)",
        }
    )]
    Exhausted {
        /// What was tried: "read", "create".
        action: &'static str,
        /// The file or folder.
        path: PathBuf,
        /// The system's answer.
        reason: io::Error,
    },
    /// A larger file ends before one of its images does.
    #[error(
        "{} ends before byte {end}, where {name} should: it is not whole, restore it",
        path.display()
    )]
    Cut {
        /// The larger file.
        path: PathBuf,
        /// The image in it.
        name: String,
        /// Where the image should end.
        end: u64,
    },
    /// A file that describes images does not say what it should.
    #[error("{}, {place}: {reason}", path.display())]
    Malformed {
        /// The file.
        path: PathBuf,
        /// Line, byte, field or record: "line 3", "byte 512", "column label".
        place: String,
        /// What is wrong there, and what to do.
        reason: String,
    },
    /// Nothing has this path.
    #[error("{} does not exist", path.display())]
    Missing {
        /// The path as it was given.
        path: PathBuf,
    },
    /// A file stands where a folder was expected.
    #[error("{} is not a folder", path.display())]
    NotAFolder {
        /// The path as it was given.
        path: PathBuf,
    },
    /// The dataset's folder holds nothing.
    #[error(
        "{} is empty: a dataset has train/<class>/ and val/<class>/ folders of images",
        root.display()
    )]
    EmptyDataset {
        /// The dataset's folder.
        root: PathBuf,
    },
    /// Which of two sets is meant cannot be told.
    #[error(
        "{} holds a set of kind {first} and one of kind {second}, either of which may be meant: move \
         one away, or name a folder that holds but one",
        root.display()
    )]
    SeveralKinds {
        /// The dataset's folder.
        root: PathBuf,
        /// The kind of one, as `data info` names it.
        first: &'static str,
        /// The kind of the other.
        second: &'static str,
    },
    /// There is nothing to train on.
    #[error("{} has no training images: {remedy}", root.display())]
    NoTrain {
        /// The dataset's folder.
        root: PathBuf,
        /// Where a set of its kind has them.
        remedy: String,
    },
    /// There is nothing to measure with.
    #[error(
        "{} has training images but none to measure with: {remedy}, or pass --val-fraction",
        root.display()
    )]
    NoValidation {
        /// The dataset's folder.
        root: PathBuf,
        /// Where a set of its kind has them.
        remedy: String,
    },
    /// No class can spare an image to measure with.
    #[error(
        "no image of {} can be set aside to measure with, for each class has only one: add images, or \
         a val/ folder in place of --val-fraction",
        root.display()
    )]
    NothingToSetAside {
        /// The dataset's folder.
        root: PathBuf,
    },
    /// What to measure with cannot be told.
    #[error(
        "{} has both {taken} and {rival}, either of which may be meant to measure with: rename or \
         remove one, or name it to alexnet eval by --split",
        root.display()
    )]
    SeveralValidations {
        /// The dataset's folder.
        root: PathBuf,
        /// Name of one split.
        taken: String,
        /// Name of another.
        rival: String,
    },
    /// There is neither a split nor a known class folder to evaluate.
    #[error(
        "{} has no images to measure with, nor a folder named after a class of the model (such as \
         {example}): {remedy}, or name another split by --split",
        root.display()
    )]
    NoSplit {
        /// The folder given for evaluation.
        root: PathBuf,
        /// Where a set of its kind has them.
        remedy: String,
        /// One class of the model.
        example: String,
    },
    /// A split that was asked for by name and is not there.
    #[error(
        "{} holds a set of kind {kind}, which has no split {name:?}{}",
        root.display(),
        match &splits[..] {
            [] => ": leave --split out to measure with all of it".to_owned(),
            splits => format!(": it has {}", splits.join(", ")),
        }
    )]
    NoSuchSplit {
        /// The folder given for evaluation.
        root: PathBuf,
        /// The kind of the set, as `data info` names it.
        kind: &'static str,
        /// What was asked for.
        name: String,
        /// The splits it has.
        splits: Vec<&'static str>,
    },
    /// A classifier needs at least two classes.
    #[error("{} has {found} class(es), at least 2 are needed: {remedy}", place.display())]
    TooFewClasses {
        /// What holds the training images.
        place: PathBuf,
        /// How many classes they are of.
        found: usize,
        /// What says the classes in a set of its kind.
        remedy: String,
    },
    /// A folder holds no image.
    #[error(
        "{} holds no .jpg, .jpeg or .png image{}",
        folder.display(),
        match passed_over.is_empty() {
            true => ": add images or remove it".to_owned(),
            false => format!("; {passed_over}"),
        }
    )]
    NoImages {
        /// The folder.
        folder: PathBuf,
        /// What lies in it that was perhaps meant to be one.
        passed_over: PassedOver,
    },
    /// A class that a file names, and no image is of.
    #[error(
        "no training image in {} is of the class {class}, which {} names: add images of it, or take \
         the name out (numbers count the names from 0)",
        place.display(),
        named_by.display()
    )]
    NameUnused {
        /// What holds the images.
        place: PathBuf,
        /// The class.
        class: String,
        /// The file of the names.
        named_by: PathBuf,
    },
    /// A class below others' numbers that no image is of.
    #[error(
        "no training image in {} is of class {class}: classes are numbered from 0 and without gaps; \
         number them so, or add images of it",
        place.display()
    )]
    NumberUnused {
        /// What holds the images.
        place: PathBuf,
        /// The class.
        class: String,
    },
    /// Images without classes.
    #[error(
        "{} holds images, such as {}, but no class folders: put them in a folder for each class, \
         or write their classes in {}.txt beside it, one line \"name class\" an image",
        folder.display(),
        image.file_name().unwrap_or_default().display(),
        folder.display()
    )]
    Flat {
        /// The folder.
        folder: PathBuf,
        /// One image in it.
        image: PathBuf,
    },
    /// A class to be measured was never trained.
    #[error(
        "{} is not one of the {classes} known classes: rename it to the class it belongs to, or \
         remove it",
        folder.display()
    )]
    UnknownClass {
        /// The folder named after the class.
        folder: PathBuf,
        /// How many classes are known.
        classes: usize,
    },
    /// A class name must fit into weights files and tables.
    #[error("{} has a name which is not valid UTF-8: rename it", path.display())]
    NameNotUnicode {
        /// The folder.
        path: PathBuf,
    },
    /// An image file that cannot be decoded.
    #[error("{} {reason}", path.display())]
    Decode {
        /// The image file.
        path: PathBuf,
        /// What is wrong with its bytes.
        reason: DecodeError,
    },
    /// Settings that no image could satisfy.
    #[error(transparent)]
    Preprocess(#[from] PreprocessError),
    /// A loader thread could not be started, or ended without an answer.
    #[error("a loader thread failed while preparing {doing}")]
    Worker {
        /// The image or batch it was working on.
        doing: String,
    },
    /// The system has no more threads, or no memory for them.
    #[error(
        "the system allows {allowed} of the {wanted} threads to read images with ({reason}): pass \
         --workers {}",
        (allowed / 2).max(1)
    )]
    ThreadsRefused {
        /// How many there were before one was refused.
        allowed: usize,
        /// How many were asked for.
        wanted: usize,
        /// The system's answer.
        reason: io::Error,
    },
    /// More images than [`crate::Unreadable`] allows.
    #[error(
        "more than {budget} images of this epoch cannot be read{}: repair or remove them",
        last.as_ref().map(|error| format!("; the last: {error}")).unwrap_or_default()
    )]
    TooManyUnreadable {
        /// The most that one epoch may have.
        budget: u64,
        /// Why the last could not be read.
        last: Option<Box<DataError>>,
    },
    /// Whoever watched the reading of a whole set asked to stop.
    #[error("stopped before all images were read: repeat the command")]
    StoppedReading,
    /// Not one image of a set.
    #[error("none of {images} images can be read")]
    NothingReadable {
        /// How many there are.
        images: usize,
    },
    /// Whoever watched the drawing of the sample set asked to stop.
    #[error("stopped while drawing; nothing was left")]
    Stopped,
    /// Images whose size changes have other bytes.
    #[error("images brought to another size cannot keep their bytes: pack them as jpeg or raw")]
    PackSettings,
    /// A folder in which something else was begun or made.
    #[error(
        "{} holds another set, or the beginning of one: choose another folder, or repeat the \
         command that began it",
        path.display()
    )]
    OtherBegun {
        /// The folder.
        path: PathBuf,
    },
    /// A folder in which another process packs or prepares.
    #[error(
        "{} is being written by another alexnet data command: wait for it or end it, or choose \
         another folder",
        path.display()
    )]
    AtWork {
        /// The folder.
        path: PathBuf,
    },
    /// A folder in which packing or preparing did not end.
    #[error(
        "{} is not whole: repeat the alexnet data command that began it, it will go on",
        path.display()
    )]
    Unfinished {
        /// The folder.
        path: PathBuf,
    },
    /// A folder of a class that an earlier run left whole is so no longer.
    #[error("{} is not as it was written: remove it and repeat the command", path.display())]
    Altered {
        /// The folder.
        path: PathBuf,
    },
    /// A class whose name no folder can have, or would be passed over with.
    #[error("class {class:?} cannot be a folder's name: rename it, or pack the set instead")]
    FolderName {
        /// Its name.
        class: String,
    },
    /// A download whose bytes are not those that were published.
    #[error(
        "{} has the MD5 {found}, the published one is {published}: download it anew, or pass \
         --no-verify to use it as it is",
        path.display()
    )]
    OtherSum {
        /// The download.
        path: PathBuf,
        /// Its MD5.
        found: String,
        /// What it should be.
        published: &'static str,
    },
    /// The sample set is written into a new folder only.
    #[error("{} exists and is not empty: choose another folder or remove it", path.display())]
    NotEmpty {
        /// The folder asked for.
        path: PathBuf,
    },
}

impl DataError {
    /// A closure for `map_err` that says what was tried, and on what.
    pub(crate) fn io(
        action: &'static str,
        path: &Path,
    ) -> impl FnOnce(io::Error) -> DataError + use<> {
        use io::ErrorKind::{FileTooLarge, QuotaExceeded, StorageFull};
        let path = path.to_path_buf();
        move |reason| match reason.kind() {
            StorageFull | QuotaExceeded | FileTooLarge => {
                DataError::NoRoom { action, path, reason }
            }
            _ if is_exhaustion(&reason) => DataError::Exhausted { action, path, reason },
            _ => DataError::Io { action, path, reason },
        }
    }

    /// Whether it says nothing of the image that was read: the next would fare no better, and to count
    /// this one as bad would change what is learnt or measured.
    #[must_use]
    pub fn is_of_the_machine(&self) -> bool {
        matches!(self, DataError::Exhausted { .. })
    }
}

/// Whether the system refuses for want of something that every file takes: open files of this process or
/// of the machine, or memory.
fn is_exhaustion(reason: &io::Error) -> bool {
    reason.kind() == io::ErrorKind::OutOfMemory
        || reason.raw_os_error().is_some_and(|code| TOO_MANY_OPEN_FILES.contains(&code))
}

/// The system's codes for too many open files.
#[cfg(unix)]
const TOO_MANY_OPEN_FILES: [i32; 2] =
    [rustix::io::Errno::MFILE.raw_os_error(), rustix::io::Errno::NFILE.raw_os_error()];
/// The system's code for too many open files.
#[cfg(not(unix))]
const TOO_MANY_OPEN_FILES: [i32; 1] = [4]; // ERROR_TOO_MANY_OPEN_FILES

#[cfg(all(test, unix))]
mod tests {
    use rustix::io::Errno;

    use super::*;

    #[test]
    fn what_the_machine_lacks_is_told_from_what_is_wrong_with_a_file() {
        let told = |errno: Errno| DataError::io("read", Path::new("a/1.jpg"))(errno.into());
        for (errno, way_out) in [
            (Errno::MFILE, "allow more open files (ulimit -n)"),
            (Errno::NFILE, "allow more open files (ulimit -n)"),
            (Errno::NOMEM, "allow more memory"),
        ] {
            let error = told(errno);
            let line = error.to_string();
            assert!(error.is_of_the_machine(), "{line}");
            assert!(line.starts_with("cannot read a/1.jpg: ") && line.ends_with(way_out), "{line}");
            assert!(line.contains("pass --workers with fewer"), "{line}");
        }
        // A disk's fault lies under one file, a right or a name is one file's.
        for errno in [Errno::IO, Errno::ACCESS, Errno::NOENT, Errno::LOOP, Errno::ISDIR] {
            assert!(!told(errno).is_of_the_machine(), "{errno}");
        }
    }
}
