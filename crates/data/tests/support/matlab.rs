//! Writes `meta.mat` as MATLAB does: small elements small, whole doubles in few bytes.

use std::io::Write;

use flate2::Compression;
use flate2::write::ZlibEncoder;

/// One of the tree of classes; its id is its place, from 1.
#[derive(Clone)]
pub(crate) struct Synset {
    pub(crate) wnid: String,
    pub(crate) words: String,
    pub(crate) children: Vec<u16>,
    pub(crate) images: u16,
}

const FIELDS: [&str; 8] = [
    "ILSVRC2012_ID",
    "WNID",
    "words",
    "gloss",
    "num_children",
    "children",
    "wordnet_height",
    "num_train_images",
];
/// Letters that MATLAB leaves for the name of a field.
const FIELD_BYTES: usize = 32;

const DOUBLE: u8 = 6;
const TEXT: u8 = 4;
const RECORDS: u8 = 2;

/// The file of these synsets, the array compressed or not.
pub(crate) fn meta(synsets: &[Synset], packed: bool) -> Vec<u8> {
    let mut body = element(5, &(FIELD_BYTES as u32).to_le_bytes());
    let names = FIELDS.map(|name| {
        let mut bytes = name.as_bytes().to_vec();
        bytes.resize(FIELD_BYTES, 0);
        bytes
    });
    body.extend(element(1, &names.concat()));
    for (id, synset) in (1..).zip(synsets) {
        let children = synset.children.len();
        body.extend(doubles(&[id]));
        body.extend(text(&synset.wnid));
        body.extend(text(&synset.words));
        body.extend(text("what it is"));
        body.extend(doubles(&[children as u16]));
        body.extend(doubles(&synset.children));
        body.extend(doubles(&[u16::from(children > 0)]));
        body.extend(doubles(&[synset.images]));
    }
    let array = matrix(RECORDS, [synsets.len(), 1], "synsets", &body);
    let mut file = b"MATLAB 5.0 MAT-file, Platform: GLNXA64".to_vec();
    file.resize(124, b' ');
    file.extend(b"\x00\x01IM");
    // Another variable stands before it, which is none of ours.
    file.extend(matrix(DOUBLE, [1, 1], "version", &element(2, &[1])));
    match packed {
        true => {
            let mut zlib = ZlibEncoder::new(Vec::new(), Compression::default());
            zlib.write_all(&array).unwrap();
            let zlib = zlib.finish().unwrap();
            file.extend([15u32, zlib.len() as u32].map(u32::to_le_bytes).concat());
            file.extend(zlib);
        }
        false => file.extend(array),
    }
    file
}

fn element(kind: u32, bytes: &[u8]) -> Vec<u8> {
    let len = bytes.len() as u32;
    let (tag, size) = match len {
        1..=4 => ((kind | len << 16).to_le_bytes().to_vec(), 8),
        _ => ([kind, len].map(u32::to_le_bytes).concat(), 8 + bytes.len().next_multiple_of(8)),
    };
    let mut element = [&tag, bytes].concat();
    element.resize(size, 0);
    element
}

fn matrix(class: u8, [rows, columns]: [usize; 2], name: &str, body: &[u8]) -> Vec<u8> {
    let contents = [
        element(6, &[class, 0, 0, 0, 0, 0, 0, 0]),
        element(5, &[rows as u32, columns as u32].map(u32::to_le_bytes).concat()),
        element(1, name.as_bytes()),
        body.to_vec(),
    ]
    .concat();
    [&[14u32, contents.len() as u32].map(u32::to_le_bytes).concat(), &contents[..]].concat()
}

fn text(text: &str) -> Vec<u8> {
    let units: Vec<u8> = text.encode_utf16().flat_map(u16::to_le_bytes).collect();
    matrix(TEXT, [1, units.len() / 2], "", &element(4, &units))
}

fn doubles(numbers: &[u16]) -> Vec<u8> {
    let body = match numbers.iter().max() {
        None => element(9, &[]),
        Some(..256) => element(2, &numbers.iter().map(|&number| number as u8).collect::<Vec<_>>()),
        Some(_) => element(4, &numbers.iter().flat_map(|n| n.to_le_bytes()).collect::<Vec<_>>()),
    };
    matrix(DOUBLE, [numbers.len().min(1), numbers.len()], "", &body)
}
