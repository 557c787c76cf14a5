//! The published MD5s of ILSVRC-2012's files, and whether those at hand have them.
//!
//! They are those of torchvision's `datasets/imagenet.py`. A tar of another length is no damaged
//! download but another file, a part of the set perhaps: it is not compared, and that is said. The
//! devkit's length is not published; it must have the MD5 where one of the tars has its length.

use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::time::UNIX_EPOCH;

use md5::{Digest, Md5};
use serde::{Deserialize, Serialize};

use super::{TRAIN_TAR, VAL_TAR, devkit};
use crate::begun::to_json;
use crate::dataset::Dataset;
use crate::error::DataError;
use crate::parallel::Progress;
use crate::text::read_text;
use crate::whole_file::write_whole;

/// The file in which a folder keeps what was verified before it was written.
const RECORD: &str = "downloads.json";
/// Bytes read at a time.
const CHUNK_BYTES: usize = 1 << 20;

/// A file as it was published.
#[derive(Clone, Copy, Debug)]
struct Published {
    name: &'static str,
    /// Of the tars.
    bytes: Option<u64>,
    md5: &'static str,
}

/// The smallest first, so that a fault is found soon.
const PUBLISHED: [Published; 3] = [
    Published { name: devkit::ARCHIVE, bytes: None, md5: "fa75699e90414af021442c21a62c3abf" },
    Published {
        name: VAL_TAR,
        bytes: Some(6_744_924_160),
        md5: "29b22e2961454d5413ddabcf34fc5622",
    },
    Published {
        name: TRAIN_TAR,
        bytes: Some(147_897_477_120),
        md5: "1d675b47d978889d74fa0da5fadfb00e",
    },
];

/// What is known of a download.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It has the published MD5.
    Verified,
    /// It had it when the folder was begun, and has not been changed since.
    VerifiedBefore,
    /// It is another file than the published one: nothing is known of it.
    Other,
}

/// The files of ILSVRC-2012 that a data set is read from.
pub struct Downloads {
    files: Vec<Download>,
    /// What was verified before.
    known: Vec<Known>,
    record: PathBuf,
    /// One of the tars has the published length.
    is_real: bool,
}

struct Download {
    path: PathBuf,
    published: Published,
    /// As it lies there.
    found: Known,
}

/// A line of the record.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Known {
    name: String,
    bytes: u64,
    /// When it was written, in nanoseconds since 1970.
    modified_ns: u64,
    md5: String,
}

impl Downloads {
    /// Those of `dataset`, which is to be written into the folder `out`; none of any other data set.
    ///
    /// # Errors
    /// When the system refuses.
    pub fn of(dataset: &Dataset, out: &Path) -> Result<Self, DataError> {
        Self::among(&PUBLISHED, dataset, out)
    }

    fn among(published: &[Published], dataset: &Dataset, out: &Path) -> Result<Self, DataError> {
        let is_split = |path: &Path| path == dataset.train.folder || path == dataset.val.folder;
        let is_tar = |name: &str| {
            let path = dataset.root.join(name);
            is_split(&path) && path.is_file()
        };
        let devkit = dataset.root.join(devkit::FOLDER);
        let mut files = Vec::new();
        for &published in published {
            let path = dataset.root.join(published.name);
            let is_used = match published.bytes {
                Some(_) => is_tar(published.name),
                // One that was unpacked is read from its folder.
                None => (is_tar(TRAIN_TAR) || is_tar(VAL_TAR)) && !devkit.is_dir(),
            };
            if is_used && path.is_file() {
                let found = Known::of(&path, published)?;
                files.push(Download { path, published, found });
            }
        }
        let is_real = files.iter().any(|file| file.published.bytes == Some(file.found.bytes));
        let record = out.join(RECORD);
        let known = match record.is_file() {
            true => serde_json::from_str(&read_text(&record)?).unwrap_or_default(),
            false => Vec::new(),
        };
        Ok(Self { files, known, record, is_real })
    }

    /// How many bytes [`Downloads::verify`] reads.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.files.iter().filter(|file| self.is_to_read(file)).map(|file| file.found.bytes).sum()
    }

    /// Compares MD5s, and records in the folder which were found to be right. `progress` counts
    /// bytes.
    ///
    /// # Errors
    /// [`DataError::OtherSum`], a file that cannot be read, or a request to stop.
    pub fn verify(self, progress: Progress) -> Result<Vec<(PathBuf, Verdict)>, DataError> {
        let (mut verdicts, mut verified, mut read) = (Vec::new(), Vec::new(), 0);
        for file in &self.files {
            let verdict = self.verdict(file, &mut read, progress)?;
            verdicts.push((file.path.clone(), verdict));
            if verdict != Verdict::Other {
                verified.push(file.found.clone());
            }
        }
        if verified != self.known {
            write_whole(&self.record, &to_json(&verified))?;
        }
        Ok(verdicts)
    }

    fn is_to_read(&self, file: &Download) -> bool {
        let is_other = file.published.bytes.is_some_and(|bytes| bytes != file.found.bytes);
        !is_other && !self.known.contains(&file.found)
    }

    fn verdict(
        &self,
        Download { path, published, found }: &Download,
        read: &mut u64,
        progress: Progress,
    ) -> Result<Verdict, DataError> {
        if self.known.contains(found) {
            return Ok(Verdict::VerifiedBefore);
        }
        if published.bytes.is_some_and(|bytes| bytes != found.bytes) {
            return Ok(Verdict::Other);
        }
        let md5 = md5(path, read, progress)?;
        match md5 == published.md5 {
            true => Ok(Verdict::Verified),
            false if published.bytes.is_none() && !self.is_real => Ok(Verdict::Other),
            false => {
                let (path, published) = (path.clone(), published.md5);
                Err(DataError::OtherSum { path, found: md5, published })
            }
        }
    }
}

impl Known {
    fn of(path: &Path, published: Published) -> Result<Self, DataError> {
        let found = fs::metadata(path).map_err(DataError::io("read", path))?;
        let modified = found.modified().map_err(DataError::io("read", path))?;
        let since_1970 = modified.duration_since(UNIX_EPOCH).unwrap_or_default();
        let modified_ns = u64::try_from(since_1970.as_nanos()).unwrap_or(u64::MAX);
        let (name, md5) = (published.name.to_owned(), published.md5.to_owned());
        Ok(Self { name, bytes: found.len(), modified_ns, md5 })
    }
}

/// The MD5 of a file in hexadecimal; what is read is added to `read`.
fn md5(path: &Path, read: &mut u64, progress: Progress) -> Result<String, DataError> {
    let mut file = File::open(path).map_err(DataError::io("read", path))?;
    let (mut sum, mut chunk) = (Md5::new(), vec![0; CHUNK_BYTES]);
    loop {
        match file.read(&mut chunk) {
            Ok(0) => break,
            Ok(len) => {
                sum.update(&chunk[..len]);
                *read += len as u64;
            }
            Err(reason) if reason.kind() == io::ErrorKind::Interrupted => {}
            Err(reason) => return Err(DataError::io("read", path)(reason)),
        }
        if !progress(*read) {
            return Err(DataError::StoppedReading);
        }
    }
    Ok(sum.finalize().iter().map(|byte| format!("{byte:02x}")).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dataset::Split;

    /// Of RFC 1321: no bytes, and "abc".
    const EMPTY_MD5: &str = "d41d8cd98f00b204e9800998ecf8427e";
    const ABC_MD5: &str = "900150983cd24fb0d6963f7d28e17f72";
    /// In place of the real ones.
    const THREE: [Published; 3] = [
        Published { name: devkit::ARCHIVE, bytes: None, md5: EMPTY_MD5 },
        Published { name: VAL_TAR, bytes: Some(3), md5: ABC_MD5 },
        Published { name: TRAIN_TAR, bytes: Some(3), md5: ABC_MD5 },
    ];

    /// A folder with these files; a set that is read from both tars.
    fn downloads(devkit: &str, val: &str, train: &str) -> (tempfile::TempDir, Dataset) {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().to_path_buf();
        for (Published { name, .. }, text) in THREE.iter().zip([devkit, val, train]) {
            fs::write(root.join(name), text).unwrap();
        }
        let split = |tar: &str| Split { folder: root.join(tar), ..Split::default() };
        let (train, val) = (split(TRAIN_TAR), split(VAL_TAR));
        (folder, Dataset { root, classes: Vec::new(), train, val })
    }

    /// How many bytes are to be read, and what comes of it.
    fn verify(dataset: &Dataset) -> (u64, Result<Vec<Verdict>, String>) {
        let downloads = Downloads::among(&THREE, dataset, &dataset.root).unwrap();
        let (bytes, mut last) = (downloads.bytes(), 0);
        let verdicts = downloads.verify(&mut |read| {
            last = read;
            true
        });
        assert!(verdicts.is_err() || last == bytes, "{last} of {bytes}");
        let verdicts = verdicts.map(|all| all.into_iter().map(|(_, verdict)| verdict).collect());
        (bytes, verdicts.map_err(|error| error.to_string()))
    }

    #[test]
    fn only_the_published_files_are_verified_and_only_parts_of_the_real_set_are_refused() {
        use Verdict::{Other, Verified};
        for (files, bytes, expected) in [
            (["", "abc", "abc"], 6, [Verified, Verified, Verified]),
            (["", "abc", "small"], 3, [Verified, Verified, Other]),
            (["small", "small", "small"], 5, [Other, Other, Other]),
        ] {
            let (_folder, dataset) = downloads(files[0], files[1], files[2]);
            assert_eq!(verify(&dataset), (bytes, Ok(expected.to_vec())), "{files:?}");
        }
        for (files, name, found, published) in [
            (["", "abc", "abd"], TRAIN_TAR, "4911e516e5aa21d327512e0c8b197616", ABC_MD5),
            (["abc", "abc", "small"], devkit::ARCHIVE, ABC_MD5, EMPTY_MD5),
        ] {
            let (_folder, dataset) = downloads(files[0], files[1], files[2]);
            let path = dataset.root.join(name);
            let says = format!(
                "{} has the MD5 {found}, the published one is {published}: download it anew, or \
                 pass --no-verify to use it as it is",
                path.display()
            );
            assert_eq!(verify(&dataset).1, Err(says), "{files:?}");
        }
    }

    #[test]
    fn what_was_verified_is_read_again_only_if_it_was_changed() {
        use Verdict::{Verified, VerifiedBefore};
        let (_folder, dataset) = downloads("", "abc", "abc");
        assert_eq!(verify(&dataset), (6, Ok(vec![Verified; 3])));
        assert_eq!(verify(&dataset), (0, Ok(vec![VerifiedBefore; 3])));
        let tar = File::options().write(true).open(dataset.root.join(VAL_TAR)).unwrap();
        tar.set_modified(UNIX_EPOCH).unwrap();
        let again = vec![VerifiedBefore, Verified, VerifiedBefore];
        assert_eq!(verify(&dataset), (3, Ok(again)));
        fs::write(dataset.root.join(RECORD), "no record").unwrap();
        assert_eq!(verify(&dataset), (6, Ok(vec![Verified; 3])));
    }

    #[test]
    fn files_that_the_set_is_not_read_from_are_let_be() {
        let (_folder, mut dataset) = downloads("", "abc", "abd");
        dataset.train.folder = dataset.root.join("train");
        assert_eq!(verify(&dataset), (3, Ok(vec![Verdict::Verified; 2])));
        fs::create_dir(dataset.root.join(devkit::FOLDER)).unwrap();
        fs::remove_file(dataset.root.join(RECORD)).unwrap();
        assert_eq!(verify(&dataset), (3, Ok(vec![Verdict::Verified])));
        dataset.val.folder = dataset.root.join("val");
        assert_eq!(verify(&dataset), (0, Ok(Vec::new())));
    }

    #[test]
    fn a_request_to_stop_is_heard() {
        let (_folder, dataset) = downloads("", "abc", "abc");
        let downloads = Downloads::among(&THREE, &dataset, &dataset.root).unwrap();
        let stopped = downloads.verify(&mut |_| false);
        assert!(matches!(stopped, Err(DataError::StoppedReading)));
        assert!(!dataset.root.join(RECORD).exists());
    }
}
