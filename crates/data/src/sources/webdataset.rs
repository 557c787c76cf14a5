//! WebDataset shards: tar files in which a sample's parts follow each other.
//!
//! ```text
//! root/train-000000.tar    root/train/000000.tar    root/000000.tar (nothing but shards)
//! root/val-000000.tar      root/val/000000.tar
//!
//! 000000.tar:  cat/1.jpg  cat/1.cls  cat/2.png  cat/2.json  ...
//! ```
//!
//! A part's key is its path up to the first dot of the file name, what follows says what it is: the
//! image, or its class, in `.cls` as plain text and in `.json` as `"label"`. Classes are numbers or
//! names; of what they mean all is said in [`super::list`]. Parts of other kinds are passed over.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::Deserialize;

use super::list::Classes;
use super::{Lack, Listing, Source, Wanted, malformed, shards};
use crate::error::DataError;
use crate::sample::{Content, Form, Part, Sample, Store};
use crate::tar::{Member, members};

/// Longest `.cls` or `.json` that is read, in bytes.
const CLASS_BYTES_MAX: u64 = 1 << 20;
/// Of a shard.
const EXTENSION: &str = "tar";

/// A folder of shards.
struct Shards {
    root: PathBuf,
}

pub(super) fn recognise(root: &Path) -> Result<Option<Box<dyn Source>>, DataError> {
    let found = shards::has_any(root, EXTENSION)?;
    Ok(found.then(|| Box::new(Shards { root: root.to_path_buf() }) as Box<dyn Source>))
}

impl Source for Shards {
    fn kind(&self) -> &'static str {
        "webdataset"
    }

    fn is_doubtful(&self) -> bool {
        let holds_samples = |split: &Wanted| {
            let shards = shards::find(&self.root, *split, EXTENSION).unwrap_or_default();
            shards.iter().any(|shard| is_shard(shard))
        };
        ![Wanted::Train, Wanted::Validation, Wanted::Named("")].iter().any(holds_samples)
    }

    fn list(&self, wanted: Wanted) -> Result<Option<Listing>, DataError> {
        match shards::find(&self.root, wanted, EXTENSION)? {
            shards if shards.is_empty() => Ok(None),
            shards => list(&self.root, &shards).map(Some),
        }
    }

    fn splits(&self) -> Vec<&'static str> {
        shards::splits(&self.root, EXTENSION)
    }

    fn remedy(&self, lack: Lack) -> String {
        let classes = "add images of each, with a .cls or .json that says it";
        shards::remedy(&self.root, EXTENSION, lack, classes)
    }
}

/// An image with what is said of its class.
struct Labelled {
    part: Part,
    key: String,
    class: String,
}

fn list(root: &Path, shards: &[PathBuf]) -> Result<Listing, DataError> {
    let mut found = Vec::new();
    for shard in shards {
        read_shard(shard, &mut found)?;
    }
    let entries: Vec<_> = found.iter().map(|image| (0, "", &*image.class)).collect();
    let classes = Classes::of(&entries, root)?;
    let mut samples = Vec::with_capacity(found.len());
    for Labelled { part, key, class } in found {
        let unknown = |reason| sample_fault(part.store.path(), &key, reason);
        let label = classes.label(&class).map_err(unknown)?;
        samples.push(Sample { content: Content::Part(part), label });
    }
    let Classes { names, named_by, .. } = classes;
    let place = root.to_path_buf();
    Ok(Listing { place, classes: names, named_by, samples, ..Listing::default() })
}

/// Whether a tar says the class of anything in it, which other archives do not.
fn is_shard(tar: &Path) -> bool {
    let says_class = |member: &Member| {
        key_and_kind(member).is_some_and(|(_, kind)| {
            ["cls", "json"].iter().any(|known| kind.eq_ignore_ascii_case(known))
        })
    };
    members(tar).is_ok_and(|members| members.iter().any(says_class))
}

/// Adds the samples of one shard, in its order.
fn read_shard(shard: &Path, found: &mut Vec<Labelled>) -> Result<(), DataError> {
    let mut file = File::open(shard).map_err(DataError::io("read", shard))?;
    let store = Store::file(shard);
    let members = members(shard)?;
    let parts: Vec<_> =
        members.iter().filter_map(|member| Some((member, key_and_kind(member)?))).collect();
    for sample in parts.chunk_by(|(_, (key, _)), (_, (next, _))| key == next) {
        let (_, (key, _)) = sample[0];
        let fault = |reason: &str| sample_fault(shard, key, reason);
        let mut images = sample.iter().filter(|(_, (_, kind))| is_image(kind));
        let of_kind = |wanted: &str| {
            sample
                .iter()
                .find(|(_, (_, kind))| kind.eq_ignore_ascii_case(wanted))
                .map(|(it, _)| *it)
        };
        let (image, cls, json) = (images.next(), of_kind("cls"), of_kind("json"));
        if images.next().is_some() {
            return Err(fault("it has two images: a key must be of one sample"));
        }
        let (image, class) = match (image, cls, json) {
            (None, None, _) => continue,
            (None, ..) => return Err(fault("it has a class but no .jpg, .jpeg or .png: add it")),
            (_, None, None) => {
                return Err(fault("it has no .cls or .json to say its class: add it"));
            }
            (Some((image, _)), Some(cls), _) => {
                (*image, cls_class(&read(&mut file, shard, key, cls)?))
            }
            (Some((image, _)), None, Some(json)) => {
                (*image, json_class(&read(&mut file, shard, key, json)?))
            }
        };
        let class = class.map_err(fault)?;
        found.push(Labelled { part: part(&store, image), key: key.to_owned(), class });
    }
    Ok(())
}

fn sample_fault(shard: &Path, key: &str, reason: impl Into<String>) -> DataError {
    malformed(shard, format!("sample {key}"), reason)
}

/// A member's path split at the first dot of its file name; `None` of hidden files and of those
/// without a kind.
fn key_and_kind(member: &Member) -> Option<(&str, &str)> {
    let base = member.name.rfind('/').map_or(0, |slash| slash + 1);
    let dot = base + member.name[base..].find('.')?;
    (dot > base).then(|| (&member.name[..dot], &member.name[dot + 1..]))
}

fn is_image(kind: &str) -> bool {
    ["jpg", "jpeg", "png"].iter().any(|known| kind.eq_ignore_ascii_case(known))
}

fn part(store: &Arc<Store>, member: &Member) -> Part {
    Part {
        store: Arc::clone(store),
        name: member.name.as_str().into(),
        start: member.start,
        len: member.len,
        form: Form::Encoded,
        crc32: None,
    }
}

/// The bytes of a small member.
fn read(file: &mut File, shard: &Path, key: &str, member: &Member) -> Result<Vec<u8>, DataError> {
    if member.len > CLASS_BYTES_MAX {
        let reason = format!("its class takes more than {CLASS_BYTES_MAX} bytes: shorten it");
        return Err(sample_fault(shard, key, reason));
    }
    let mut bytes = vec![0; member.len as usize];
    file.seek(SeekFrom::Start(member.start)).map_err(DataError::io("read", shard))?;
    file.read_exact(&mut bytes).map_err(DataError::io("read", shard))?;
    Ok(bytes)
}

fn cls_class(bytes: &[u8]) -> Result<String, &'static str> {
    let class = str::from_utf8(bytes).map(str::trim).unwrap_or_default();
    match class.is_empty() || class.contains(char::is_control) {
        true => Err("its .cls is not one number or name: write that in it"),
        false => Ok(class.to_owned()),
    }
}

fn json_class(bytes: &[u8]) -> Result<String, &'static str> {
    #[derive(Deserialize)]
    struct Described {
        label: Label,
    }
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Label {
        Number(u64),
        Name(String),
    }
    match serde_json::from_slice::<Described>(bytes).map(|described| described.label) {
        Ok(Label::Number(number)) => Ok(number.to_string()),
        Ok(Label::Name(name)) => cls_class(name.as_bytes()),
        Err(_) => Err("its .json has no \"label\" that is a number or a name: add one"),
    }
}
