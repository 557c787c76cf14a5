//! Packed sets, as [`crate::pack`] writes them.

use std::fs;
use std::path::{Path, PathBuf};

use super::{Lack, Listing, Source, TRAIN, VAL, VALIDATION, Wanted, malformed};
use crate::error::DataError;
use crate::pack::{FORMAT, MANIFEST, Manifest, Packing, Row, Shard, VERSION, read_index};
use crate::sample::{Content, Form, Layout, Part, Sample, Store};
use crate::text::read_text;

/// A packed set.
struct Pack {
    root: PathBuf,
    manifest: Manifest,
}

pub(super) fn recognise(root: &Path) -> Result<Option<Box<dyn Source>>, DataError> {
    let path = root.join(MANIFEST);
    if !path.is_file() {
        return Ok(None);
    }
    let manifest: Manifest = serde_json::from_str(&read_text(&path)?).map_err(|error| {
        let reason = "it describes no packed set: pack it anew";
        malformed(&path, format!("line {}", error.line()), reason)
    })?;
    if manifest.format != FORMAT || manifest.version != VERSION {
        return Err(malformed(&path, "version", "a newer program wrote it: use that one"));
    }
    // A name is not believed either: it may not lead out of the folder.
    let mut names = manifest.train.iter().chain(&manifest.val).map(|shard| &shard.name);
    if let Some(name) =
        names.find(|name| !name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-'))
    {
        return Err(malformed(
            &path,
            format!("shard {name:?}"),
            "it is no shard's name: pack it anew",
        ));
    }
    Ok(Some(Box::new(Pack { root: root.to_path_buf(), manifest })))
}

impl Source for Pack {
    fn kind(&self) -> &'static str {
        "packed"
    }

    fn packing(&self) -> Option<Packing> {
        let Manifest { settings, train, val, unreadable, .. } = &self.manifest;
        let (shards, unreadable) = (train.len() + val.len(), unreadable.len());
        Some(Packing { settings: *settings, shards, unreadable })
    }

    fn list(&self, wanted: Wanted) -> Result<Option<Listing>, DataError> {
        let shards = match wanted {
            Wanted::Train | Wanted::Named(TRAIN) => &self.manifest.train,
            Wanted::Validation => &self.manifest.val,
            Wanted::Named(name) if VALIDATION.contains(&name) => &self.manifest.val,
            Wanted::Named(_) => return Ok(None),
        };
        if shards.is_empty() {
            return Ok(None);
        }
        let mut samples = Vec::new();
        for shard in shards {
            self.read_shard(shard, &mut samples)?;
        }
        let classes = self.manifest.classes.clone();
        Ok(Some(Listing { place: self.root.clone(), classes, samples, ..Listing::default() }))
    }

    fn splits(&self) -> Vec<&'static str> {
        let shards = [(TRAIN, &self.manifest.train), (VAL, &self.manifest.val)].into_iter();
        shards.filter(|(_, shards)| !shards.is_empty()).map(|(split, _)| split).collect()
    }

    fn remedy(&self, _: Lack) -> String {
        "pack it anew from a set that has them".into()
    }
}

impl Pack {
    fn read_shard(&self, shard: &Shard, samples: &mut Vec<Sample>) -> Result<(), DataError> {
        let (tar, index) = (self.root.join(shard.tar()), self.root.join(shard.index()));
        let len = fs::metadata(&tar).map_err(DataError::io("read", &tar))?.len();
        if len < shard.bytes {
            let (name, end) = ("its last image".into(), shard.bytes);
            return Err(DataError::Cut { path: tar, name, end });
        }
        let (rows, crc32) = read_index(&index)?;
        if crc32 != shard.index_crc32 || rows.len() != shard.images {
            return Err(malformed(&index, "CRC-32", "it is not the index that was written"));
        }
        let (store, classes) = (Store::file(&tar), self.manifest.classes.len());
        for (line, row) in (2..).zip(rows) {
            let Row { name, start, len, width, height, label, crc32, .. } = row;
            if label as usize >= classes || start.saturating_add(len) > shard.bytes {
                let reason = "it points outside of the set: pack it anew";
                return Err(malformed(&index, format!("line {line}"), reason));
            }
            let form = match (width, height) {
                (0, 0) => Form::Encoded,
                _ => Form::Pixels { width, height, layout: Layout::Interleaved },
            };
            let (store, name) = (store.clone(), name.into());
            let part = Part { store, name, start, len, form, crc32: Some(crc32) };
            samples.push(Sample { content: Content::Part(part), label });
        }
        Ok(())
    }
}
