//! What is left in a file until it is asked for is the same as what is read at once.

use std::fs::{self, File};
use std::io::Write;
use std::path::PathBuf;

use super::{Paths, caffe, found::Found, onnx};
use crate::outline::{Outline, OutlineError};
use crate::protobuf::{Fault, Message, Slice};

type Read = fn(Slice) -> Result<Found, Fault>;

/// Files of protobuf's among the goldens, where they have long lists, and what reads them.
const GOLDENS: [(&str, &Paths, Read); 6] = [
    ("caffe/caffe.caffemodel", caffe::NUMBERS, caffe::read),
    ("caffe/caffenet.caffemodel", caffe::NUMBERS, caffe::read),
    ("caffe/caffenet-2014.caffemodel", caffe::NUMBERS, caffe::read),
    ("onnx/dynamo.onnx", onnx::NUMBERS, onnx::read),
    ("onnx/dynamo_parts.onnx", onnx::NUMBERS, onnx::read),
    ("onnx/legacy.onnx", onnx::NUMBERS, onnx::read),
];

/// From everything left that may be to nothing; lists of sizes, of at most 128 bytes, never are.
const SHORTEST: [u64; 4] = [SHORTEST_LEFT, 300, 1000, u64::MAX];
const SHORTEST_LEFT: u64 = 129;

fn golden(name: &str) -> Vec<u8> {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../goldens");
    fs::read(folder.join(name)).expect("a golden")
}

fn file_of(bytes: &[u8]) -> File {
    let mut file = tempfile::tempfile().expect("a file");
    file.write_all(bytes).expect("written");
    file
}

fn outline(bytes: &[u8], paths: &Paths, shortest: u64) -> Result<Outline, Fault> {
    let len = bytes.len() as u64;
    let mut file = file_of(bytes);
    std::io::Seek::rewind(&mut file).expect("rewound");
    Outline::read(file, len, paths, shortest).map_err(|error| match error {
        OutlineError::Fault(fault) => fault,
        OutlineError::Io(error) => panic!("{error}"),
    })
}

fn outlined(bytes: &[u8], paths: &Paths, shortest: u64, read: Read) -> Result<Found, Fault> {
    read(outline(bytes, paths, shortest)?.slice())
}

#[test]
fn files_read_the_same_whatever_is_left_in_them() {
    for (name, paths, read) in GOLDENS {
        let bytes = golden(name);
        let whole = read(Slice::of_file(&bytes)).expect("read");
        for shortest in SHORTEST {
            let found = outlined(&bytes, paths, shortest, read).expect("read");
            assert!(found == whole, "{name}, from {shortest} bytes on");
        }
        let kept = |shortest| outline(&bytes, paths, shortest).expect("sound").slice().bytes.len();
        assert_eq!(kept(u64::MAX), bytes.len(), "{name}");
        assert!(
            kept(SHORTEST_LEFT) < bytes.len() / 2,
            "{name}: {} of {}",
            kept(SHORTEST_LEFT),
            bytes.len()
        );
    }
}

#[test]
fn a_damaged_file_is_refused_at_the_same_byte_or_read_the_same() {
    for (name, paths, read) in GOLDENS {
        let sound = golden(name);
        let places = (0..sound.len()).step_by(sound.len() / 400);
        for at in (0..600).chain(places).filter(|&at| at < sound.len()) {
            let mut bytes = sound.clone();
            bytes[at] ^= 1 << (at % 8);
            let (whole, left) =
                (read(Slice::of_file(&bytes)), outlined(&bytes, paths, SHORTEST_LEFT, read));
            match (whole, left) {
                (Ok(whole), Ok(left)) => assert!(whole == left, "{name}, byte {at}"),
                // An outline looks at all messages before any is read: it may find another fault.
                (Err(_), Err(_)) => {}
                (whole, left) => {
                    panic!("{name}, byte {at}: {:?} but {:?}", whole.err(), left.err());
                }
            }
        }
    }
}

#[test]
fn what_is_no_number_is_named_at_its_byte_in_the_file() {
    for (name, paths, read) in GOLDENS {
        let mut bytes = golden(name);
        let whole = read(Slice::of_file(&bytes)).expect("read");
        let longest = whole.arrays.iter().max_by_key(|array| array.values.len()).expect("arrays");
        let run: Vec<u8> = longest.values[5..25].iter().flat_map(|v| v.to_le_bytes()).collect();
        let Some(at) = bytes.windows(run.len()).position(|window| window == run) else {
            continue; // kept in another order than ours
        };
        bytes[at..at + 4].copy_from_slice(&f32::NAN.to_le_bytes());
        for shortest in SHORTEST {
            let fault = outlined(&bytes, paths, shortest, read).expect_err("no number");
            assert_eq!(fault.offset, at as u64, "{name}: {fault}");
            assert!(fault.reason.contains("holds NaN at element"), "{name}: {fault}");
            assert_eq!(Err(fault), read(Slice::of_file(&bytes)), "{name}");
        }
    }
}

#[test]
fn a_file_cut_behind_its_outline_is_refused() {
    for (name, paths, read) in GOLDENS {
        let bytes = golden(name);
        let mut file = file_of(&bytes);
        std::io::Seek::rewind(&mut file).expect("rewound");
        let cut = file.try_clone().expect("the same file");
        let outline =
            Outline::read(file, bytes.len() as u64, paths, SHORTEST_LEFT).expect("an outline");
        cut.set_len(bytes.len() as u64 / 2).expect("cut");
        let fault = read(outline.slice()).expect_err("its values are gone");
        assert!(fault.reason.contains("is not read: "), "{name}: {fault}");
    }
}

/// A file cannot say itself that a part of it is elsewhere: what an outline puts there is known to
/// it alone.
#[test]
fn wire_types_of_outlines_are_refused_in_files() {
    let forged = [
        // Field 5: left at byte 0, 24 bytes; outlined at byte 0, 24 bytes, of which 0 are kept.
        [&[5 << 3 | 7][..], &0_u64.to_le_bytes(), &24_u64.to_le_bytes()].concat(),
        [&[5 << 3 | 6][..], &0_u64.to_le_bytes(), &24_u64.to_le_bytes(), &[0; 8]].concat(),
    ];
    for forged in forged {
        let layer = Message::new().text(2, "InnerProduct");
        let layer = layer.bytes(7, forged.clone()).bytes(7, forged.clone());
        let files = [
            forged.clone(),
            Message::new().bytes(100, forged.clone()).to_bytes(),
            Message::new().message(100, layer).to_bytes(),
        ];
        for bytes in files {
            for shortest in [0, u64::MAX] {
                let fault = outlined(&bytes, caffe::NUMBERS, shortest, caffe::read);
                let fault = fault.expect_err("forged").to_string();
                assert!(fault.contains("field 5 has wire type"), "{fault}");
            }
        }
    }
}
