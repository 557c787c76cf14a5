//! Files that are not what they seem: an error that says so, never a panic.

#![allow(clippy::unwrap_used)] // In helpers too, where the lint does not know a test.

use std::fs;
use std::path::Path;

use alexnet_data::{DecodeError, decode, read_image};

fn golden(name: &str) -> Vec<u8> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../goldens/pixels");
    fs::read(folder.join(name)).unwrap()
}

#[test]
fn a_png_named_jpg_is_decoded_by_its_content() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("photo.jpg");
    fs::write(&path, golden("rgb.png")).unwrap();
    assert_eq!(read_image(&path).unwrap(), decode(&golden("rgb.png")).unwrap());
}

#[test]
fn a_message_is_one_line_that_names_the_file_and_says_what_to_do() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("photo.jpg");
    let jpeg = golden("baseline.jpg");
    let half_a_png = &golden("rgb.png")[..500];
    for (bytes, says) in [
        (&b""[..], "is empty (0 bytes): restore or remove it"),
        (b"hello", "is not a JPEG or PNG image (it starts with 68 65 6c 6c)"),
        (&jpeg[..jpeg.len() / 2], "is a truncated JPEG"),
        (b"\xff\xd8\xff\xd9", "is a damaged or unsupported JPEG"),
        (half_a_png, "is a damaged or unsupported PNG"),
        (b"\x89PNG\r\n\x1a\n", "is a damaged or unsupported PNG"),
    ] {
        fs::write(&path, bytes).unwrap();
        let message = read_image(&path).unwrap_err().to_string();
        assert!(message.starts_with(&path.display().to_string()), "{message}");
        assert!(message.contains(says), "{message}");
        assert!(!message.contains('\n'), "{message}");
    }
}

#[test]
fn a_file_that_is_not_there_is_named() {
    let message = read_image(Path::new("nowhere/photo.jpg")).unwrap_err().to_string();
    assert!(message.starts_with("cannot read nowhere/photo.jpg: "), "{message}");
}

/// Pillow refuses all of these with "image file is truncated".
#[test]
fn a_jpeg_cut_anywhere_is_truncated() {
    for name in ["baseline.jpg", "progressive.jpg", "exif-turned.jpg", "cmyk.jpg"] {
        let whole = golden(name);
        for length in 3..whole.len() {
            let cut = decode(&whole[..length]);
            assert_eq!(cut.unwrap_err(), DecodeError::TruncatedJpeg, "{name} at {length}");
        }
    }
}

#[test]
fn bytes_after_the_end_of_a_jpeg_do_not_matter() {
    let whole = golden("progressive.jpg");
    let longer = [&whole[..], b"and a camera's own data \xff\xd8\xff"].concat();
    assert_eq!(decode(&longer).unwrap(), decode(&whole).unwrap());
}

#[test]
fn sizes_are_checked_before_pixels_are_allocated() {
    let mut jpeg = golden("baseline.jpg");
    let frame = jpeg.windows(2).position(|marker| marker == [0xff, 0xc0]).unwrap();
    // Both sides are within the limit, their product is not.
    jpeg[frame + 5..frame + 9].copy_from_slice(&[0x3f, 0, 0x3f, 0]);
    let side = 0x3f00;
    let expected = DecodeError::TooManyPixels { width: side, height: side };
    assert_eq!(decode(&jpeg).unwrap_err(), expected);

    let mut header = golden("rgb.png");
    header[16..20].copy_from_slice(&20_000_u32.to_be_bytes());
    // The checksum of the changed header: without it this would be a damaged file.
    let checksum = crc32(&header[12..29]);
    header[29..33].copy_from_slice(&checksum.to_be_bytes());
    let refused = decode(&header).unwrap_err();
    assert!(matches!(refused, DecodeError::TooManyPixels { width: 20_000, .. }), "{refused}");
    let says = "the limit is 16384 a side and 50000000 in all: scale it down";
    assert!(refused.to_string().contains(says), "{refused}");
}

#[test]
fn changed_bytes_cause_an_error_or_wrong_pixels_but_never_a_panic() {
    for name in ["baseline.jpg", "progressive.jpg", "ycck.jpg", "rgb.png", "palette.png"] {
        let whole = golden(name);
        for at in 0..whole.len() {
            for flipped in [0x01, 0x80, 0xff] {
                let mut changed = whole.clone();
                changed[at] ^= flipped;
                let result = decode(&changed);
                assert_ne!(result, Err(DecodeError::Panicked), "{name}, byte {at} ^ {flipped}");
            }
        }
    }
}

/// Found by fuzzing: with four colours the decoder divides by zero and indexes beyond its slices.
#[test]
fn impossible_sampling_factors_let_no_panic_of_the_decoder_escape() {
    for name in ["cmyk.jpg", "ycck.jpg"] {
        let whole = golden(name);
        let frame = whole.windows(2).position(|at| at[0] == 0xff && matches!(at[1], 0xc0 | 0xc2));
        let first = frame.unwrap() + 11;
        for (colour, factors) in (0..4).flat_map(|colour| (0..=0xff).map(move |f| (colour, f))) {
            let mut changed = whole.clone();
            changed[first + 3 * colour] = factors;
            if let Err(reason) = decode(&changed) {
                let message = reason.to_string();
                assert!(!message.contains('\n'), "{name}, {colour}, {factors:#x}: {message}");
            }
        }
    }
}

fn crc32(bytes: &[u8]) -> u32 {
    let step = |crc: u32, _| (crc >> 1) ^ (0xedb8_8320 & (crc & 1).wrapping_neg());
    !bytes.iter().fold(u32::MAX, |crc, &byte| (0..8).fold(crc ^ u32::from(byte), step))
}
