//! TFRecord: length, checksum of the length, bytes, checksum of the bytes.
//!
//! ```text
//! u64 length | u32 masked CRC-32C of the length | bytes | u32 masked CRC-32C of the bytes
//! ```

use std::io::{self, Read};

use super::message::Event;

/// Longer records are not of this program: its own have a few hundred bytes.
const RECORD_BYTES_MAX: usize = 1 << 20;
/// Added to a checksum after its rotation, so that a record within a record does not have the sum of
/// its own sum (tensorflow/core/lib/hash/crc32c.h).
const MASK: u32 = 0xa282_ead8;

impl Event {
    /// The event as it stands in a file.
    pub fn to_record(&self) -> Vec<u8> {
        let bytes = self.encode();
        let length = (bytes.len() as u64).to_le_bytes();
        let sums = [&length[..], &bytes].map(|part| masked_crc(part).to_le_bytes());
        [&length[..], &sums[0], &bytes, &sums[1]].concat()
    }
}

fn masked_crc(bytes: &[u8]) -> u32 {
    crc32c::crc32c(bytes).rotate_right(15).wrapping_add(MASK)
}

/// What an event file holds.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Events {
    /// In the order of the file.
    pub events: Vec<Event>,
    /// Bytes of the file up to where they end.
    pub whole_bytes: u64,
}

/// Reads events until the file ends or a record is cut off or damaged; what is before that is
/// returned.
///
/// # Errors
/// When the system refuses.
pub fn read_events(mut file: impl Read) -> io::Result<Events> {
    let mut read = Events::default();
    loop {
        match read_record(&mut file) {
            Ok(Some(bytes)) => match Event::decode(&bytes) {
                Some(event) => {
                    read.events.push(event);
                    read.whole_bytes += (8 + 4 + bytes.len() + 4) as u64;
                }
                None => return Ok(read),
            },
            Ok(None) => return Ok(read),
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(read),
            Err(error) => return Err(error),
        }
    }
}

/// The bytes of the next record; `None` if it is damaged.
fn read_record(file: &mut impl Read) -> io::Result<Option<Vec<u8>>> {
    let (mut length, mut sum) = ([0; 8], [0; 4]);
    file.read_exact(&mut length)?;
    file.read_exact(&mut sum)?;
    let bytes = usize::try_from(u64::from_le_bytes(length)).unwrap_or(usize::MAX);
    if u32::from_le_bytes(sum) != masked_crc(&length) || bytes > RECORD_BYTES_MAX {
        return Ok(None);
    }
    let mut bytes = vec![0; bytes];
    file.read_exact(&mut bytes)?;
    file.read_exact(&mut sum)?;
    Ok((u32::from_le_bytes(sum) == masked_crc(&bytes)).then_some(bytes))
}
