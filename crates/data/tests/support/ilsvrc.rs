//! ILSVRC-2012 as it is downloaded, in small: tars of tars, a devkit, a CMYK JPEG, PNGs by the name of
//! JPEGs.

use std::io::Write;

use flate2::Compression;
use flate2::write::GzEncoder;
use tempfile::TempDir;

use super::matlab::{Synset, meta};
use super::{golden, tar, tree};

pub(crate) const TRAIN: &str = "ILSVRC2012_img_train.tar";
pub(crate) const VAL: &str = "ILSVRC2012_img_val.tar";
pub(crate) const DEVKIT: &str = "ILSVRC2012_devkit_t12";
pub(crate) const TRUTH: &str = "data/ILSVRC2012_validation_ground_truth.txt";

/// Ids go by this order, classes by that of the wnids; the last two are no classes.
pub(crate) const SYNSETS: [(&str, &str, &[u16], u16); 6] = [
    ("n02119789", "kit fox, Vulpes macrotis", &[], 2),
    ("n04152593", "screen, CRT screen", &[], 1),
    ("n01440764", "tench, Tinca tinca", &[], 3),
    ("n03126707", "crane", &[], 1),
    ("n00001740", "entity", &[1, 6], 0),
    ("n00015388", "animal, naïve façade", &[2, 3, 4], 0),
];
pub(crate) const CLASSES: [&str; 4] = ["n01440764", "n02119789", "n03126707", "n04152593"];
/// The training images: class, name and what is in the file, whatever its name says.
pub(crate) const TRAIN_IMAGES: [(&str, &str, &str); 7] = [
    ("n02119789", "n02119789_3.JPEG", "baseline.jpg"),
    ("n02119789", "n02119789_20.JPEG", "grey.jpg"),
    ("n04152593", "n04152593_17460.JPEG", "cmyk.jpg"),
    ("n01440764", "n01440764_9.JPEG", "progressive.jpg"),
    ("n01440764", "n01440764_10026.JPEG", "subsampled.jpg"),
    ("n01440764", "n01440764_7.JPEG", "wide.png"),
    ("n03126707", "n03126707_1.JPEG", "rgb.png"),
];
/// The validation images in the tar's order, with their true classes.
pub(crate) const VAL_IMAGES: [(&str, &str, &str); 4] = [
    ("n01440764", "ILSVRC2012_val_00000003.JPEG", "rgb.png"),
    ("n03126707", "ILSVRC2012_val_00000001.JPEG", "grey.jpg"),
    ("n02119789", "ILSVRC2012_val_00000004.JPEG", "progressive.jpg"),
    ("n04152593", "ILSVRC2012_val_00000002.JPEG", "cmyk.jpg"),
];
/// Their ids in the order of their names.
pub(crate) const GROUND_TRUTH: &str = "4\n2\n3\n1\n";

/// The downloads, before they are written.
pub(crate) struct Downloads {
    /// Bytes of `meta.mat`, where there is one.
    pub(crate) meta: Option<Vec<u8>>,
    pub(crate) ground_truth: Option<String>,
    /// Class and tar.
    pub(crate) train: Vec<(String, Vec<u8>)>,
    pub(crate) val: Vec<u8>,
}

pub(crate) fn synsets() -> Vec<Synset> {
    let synset = |(wnid, words, children, images): (&str, &str, &[u16], u16)| Synset {
        wnid: wnid.into(),
        words: words.into(),
        children: children.to_vec(),
        images,
    };
    SYNSETS.map(synset).to_vec()
}

pub(crate) fn tar_of(images: &[(&str, &str, &str)]) -> Vec<u8> {
    let files: Vec<_> =
        images.iter().map(|(_, name, image)| (*name, golden(&format!("pixels/{image}")))).collect();
    tar(&files.iter().map(|(name, bytes)| (*name, &bytes[..])).collect::<Vec<_>>())
}

pub(crate) fn downloads() -> Downloads {
    let class = |wnid: &str| {
        let images: Vec<_> = TRAIN_IMAGES.into_iter().filter(|image| image.0 == wnid).collect();
        (format!("{wnid}.tar"), tar_of(&images))
    };
    Downloads {
        meta: Some(meta(&synsets(), true)),
        ground_truth: Some(GROUND_TRUTH.into()),
        // In the order of their ids, as good as any.
        train: SYNSETS[..4].iter().map(|(wnid, ..)| class(wnid)).collect(),
        val: tar_of(&VAL_IMAGES),
    }
}

impl Downloads {
    pub(crate) fn train_tar(&self) -> Vec<u8> {
        tar(&self.train.iter().map(|(name, bytes)| (name.as_str(), &bytes[..])).collect::<Vec<_>>())
    }

    pub(crate) fn devkit(&self) -> Vec<u8> {
        let (meta_name, truth_name) =
            (format!("{DEVKIT}/data/meta.mat"), format!("{DEVKIT}/{TRUTH}"));
        let mut files = vec![("ILSVRC2012_devkit_t12/readme.txt", &b"about"[..])];
        files.extend(self.meta.iter().map(|meta| (meta_name.as_str(), &meta[..])));
        files.extend(self.ground_truth.iter().map(|text| (truth_name.as_str(), text.as_bytes())));
        let mut gzip = GzEncoder::new(Vec::new(), Compression::fast());
        gzip.write_all(&tar(&files)).unwrap();
        gzip.finish().unwrap()
    }

    pub(crate) fn write(&self) -> TempDir {
        let devkit = (format!("{DEVKIT}.tar.gz"), self.devkit());
        tree(&[(&devkit.0, &devkit.1), (TRAIN, &self.train_tar()), (VAL, &self.val)])
    }
}
