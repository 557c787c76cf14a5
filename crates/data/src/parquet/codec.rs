//! Compressed pages: the one place where the libraries for them are called.

use std::io::{self, Read};

use flate2::read::MultiGzDecoder;

use crate::contain::contain;

/// How pages are compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Codec {
    Plain,
    Snappy,
    Gzip,
    Zstd,
}

/// The most bytes that Snappy makes of one: a copy of 64 takes 3.
const SNAPPY_RATIO_MAX: usize = 22;
/// So many times the packed bytes are made room for before they are unpacked.
const ROOM_RATIO: usize = 4;

impl Codec {
    /// The codec of Parquet's number.
    ///
    /// # Errors
    /// Its name, if it is not read here.
    pub(super) fn of(number: i64) -> Result<Codec, &'static str> {
        match number {
            0 => Ok(Codec::Plain),
            1 => Ok(Codec::Snappy),
            2 => Ok(Codec::Gzip),
            6 => Ok(Codec::Zstd),
            3 => Err("LZO"),
            4 => Err("Brotli"),
            5 | 7 => Err("LZ4"),
            _ => Err("an unknown codec"),
        }
    }

    /// What `packed` holds, which must be `len` bytes.
    ///
    /// # Errors
    /// Anything else. Memory grows with what is really there, never beyond `len`.
    pub(super) fn unpack(self, packed: &[u8], len: usize) -> Result<Vec<u8>, String> {
        let unpacked = contain(|| self.call(packed, len));
        let unpacked = unpacked.unwrap_or_else(|| Err("it makes the decoder fail".into()))?;
        match unpacked.len() == len {
            true => Ok(unpacked),
            false => Err(format!("it does not hold the {len} bytes of its header")),
        }
    }

    fn call(self, packed: &[u8], len: usize) -> Result<Vec<u8>, String> {
        let unpacked = match self {
            Codec::Plain => Ok(packed.to_vec()),
            Codec::Snappy => unpack_snappy(packed, len),
            Codec::Gzip => read_to(MultiGzDecoder::new(packed), packed.len(), len),
            Codec::Zstd => zstd::stream::read::Decoder::with_buffer(packed)
                .and_then(|decoder| read_to(decoder, packed.len(), len)),
        };
        unpacked.map_err(|error| error.to_string().replace(char::is_control, " "))
    }
}

/// What some blocks of a Snappy stream hold, `len` bytes: behind that number they are a stream.
///
/// # Errors
/// As [`Codec::unpack`].
pub(super) fn unpack_blocks(packed: &[u8], len: usize) -> Result<Vec<u8>, String> {
    let (mut stream, mut left) = (Vec::with_capacity(packed.len() + 5), len);
    while left >= 0x80 {
        stream.push(left as u8 | 0x80);
        left >>= 7;
    }
    stream.push(left as u8);
    stream.extend_from_slice(packed);
    Codec::Snappy.unpack(&stream, len)
}

/// Everything, but no more than a byte beyond `len`.
fn read_to(decoder: impl Read, packed_len: usize, len: usize) -> io::Result<Vec<u8>> {
    let mut unpacked = Vec::with_capacity(len.min(packed_len.saturating_mul(ROOM_RATIO)));
    decoder.take(len as u64 + 1).read_to_end(&mut unpacked)?;
    Ok(unpacked)
}

fn unpack_snappy(packed: &[u8], len: usize) -> io::Result<Vec<u8>> {
    let promised = snap::raw::decompress_len(packed)?;
    if promised != len || len > packed.len().saturating_mul(SNAPPY_RATIO_MAX) {
        return Ok(Vec::new());
    }
    let mut unpacked = vec![0; len];
    let written = snap::raw::Decoder::new().decompress(packed, &mut unpacked)?;
    unpacked.truncate(written);
    Ok(unpacked)
}
