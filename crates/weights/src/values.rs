//! Numbers as files keep them become 32-bit floats: read straight into their place, and looked at
//! while they are in the processor's cache.

use std::io::{self, Read};

use half::slice::HalfFloatSliceExt;
use half::{bf16, f16};

use crate::parallel::try_map;

/// Values read and looked at at a time: a quarter of a megabyte.
const CHUNK: usize = 1 << 16;
/// Values that a thread takes at a time.
const PART: usize = 1 << 21;

// Files keep the least byte first, and so does every machine that this is built for.
const _: () = assert!(cfg!(target_endian = "little"));

/// How a file keeps a number; always the least byte first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    F64,
    F32,
    F16,
    Bf16,
}

impl Kind {
    /// Bytes of one number.
    pub(crate) fn size(self) -> usize {
        match self {
            Self::F64 => size_of::<f64>(),
            Self::F32 => size_of::<f32>(),
            Self::F16 | Self::Bf16 => size_of::<f16>(),
        }
    }
}

/// Why numbers were not read.
#[derive(Debug)]
pub(crate) enum ValuesError {
    /// The file is unreadable, ends too early, or there is no memory.
    Io(io::Error),
    /// One is no number.
    NotFinite(NotFinite),
}

/// A value that is no number, and its place.
#[derive(Clone, Copy, Debug, PartialEq, thiserror::Error)]
#[error("holds {value} at element {index}")]
pub(crate) struct NotFinite {
    pub(crate) index: usize,
    pub(crate) value: f32,
}

impl From<io::Error> for ValuesError {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

/// The next `len` numbers of `from`. Memory is taken at once, so that the caller has compared `len`
/// with what the file has.
///
/// # Errors
/// When they cannot be read, or one of them is no number.
pub(crate) fn read(from: &mut dyn Read, kind: Kind, len: usize) -> Result<Vec<f32>, ValuesError> {
    let mut values = Vec::new();
    values.try_reserve_exact(len).map_err(|_| io::Error::from(io::ErrorKind::OutOfMemory))?;
    let mut fill = filler(from, kind);
    // Piece by piece, so that what is filled is still in the cache when it is looked at.
    while values.len() < len {
        let begin = values.len();
        values.resize(len.min(begin + CHUNK), 0.0);
        fill_and_check(&mut values[begin..], begin, &mut *fill)?;
    }
    drop(fill);
    Ok(values)
}

/// As [`read`], of numbers in memory, by all processors.
///
/// # Errors
/// When one is no number.
pub(crate) fn of_bytes(bytes: &[u8], kind: Kind) -> Result<Vec<f32>, ValuesError> {
    let mut values = vec![0.0; bytes.len() / kind.size()];
    let parts = values.chunks_mut(PART).zip(bytes.chunks(PART * kind.size())).enumerate();
    try_map(parts.collect(), |(number, (values, mut bytes))| {
        let mut fill = filler(&mut bytes, kind);
        for (chunk, begin) in values.chunks_mut(CHUNK).zip((number * PART..).step_by(CHUNK)) {
            fill_and_check(chunk, begin, &mut *fill)?;
        }
        Ok::<_, ValuesError>(())
    })?;
    Ok(values)
}

fn fill_and_check(chunk: &mut [f32], begin: usize, fill: &mut Fill) -> Result<(), ValuesError> {
    fill(chunk)?;
    check(chunk).map_err(|NotFinite { index, value }| {
        ValuesError::NotFinite(NotFinite { index: begin + index, value })
    })
}

/// Fills a piece with the numbers that come next.
type Fill<'a> = dyn FnMut(&mut [f32]) -> io::Result<()> + 'a;

fn filler<'a>(from: &'a mut dyn Read, kind: Kind) -> Box<Fill<'a>> {
    match kind {
        Kind::F32 => Box::new(|chunk| from.read_exact(bytemuck::cast_slice_mut(chunk))),
        Kind::F16 => converted(from, |halves: &[f16], chunk| halves.convert_to_f32_slice(chunk)),
        Kind::Bf16 => converted(from, |halves: &[bf16], chunk| halves.convert_to_f32_slice(chunk)),
        Kind::F64 => converted(from, |doubles: &[f64], chunk| {
            chunk.iter_mut().zip(doubles).for_each(|(value, &double)| *value = double as f32);
        }),
    }
}

/// Reads numbers of another kind, and converts them.
fn converted<'a, T: bytemuck::Pod>(
    from: &'a mut dyn Read,
    convert: impl Fn(&[T], &mut [f32]) + 'a,
) -> Box<Fill<'a>> {
    let mut numbers = bytemuck::zeroed_vec::<T>(CHUNK);
    Box::new(move |chunk| {
        let numbers = &mut numbers[..chunk.len()];
        from.read_exact(bytemuck::cast_slice_mut(numbers))?;
        convert(numbers, chunk);
        Ok(())
    })
}

/// Whether all are numbers.
///
/// # Errors
/// The first that is none.
pub(crate) fn check(values: &[f32]) -> Result<(), NotFinite> {
    /// So many are looked at by one vector instruction after another, before any is asked for.
    const BLOCK: usize = 1024;
    let is_sound = |block: &[f32]| block.iter().fold(true, |sound, v| sound & v.is_finite());
    let Some(block) = values.chunks(BLOCK).position(|block| !is_sound(block)) else {
        return Ok(());
    };
    let mut from_there = values.iter().enumerate().skip(block * BLOCK);
    match from_there.find(|(_, value)| !value.is_finite()) {
        Some((index, &value)) => Err(NotFinite { index, value }),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// More than one part and two pieces, and the last one short.
    const LEN: usize = PART + 2 * CHUNK + 77;

    fn bytes(kind: Kind, values: &[f32]) -> Vec<u8> {
        let of = |&value: &f32| match kind {
            Kind::F64 => f64::from(value).to_le_bytes().to_vec(),
            Kind::F32 => value.to_le_bytes().to_vec(),
            Kind::F16 => f16::from_f32(value).to_le_bytes().to_vec(),
            Kind::Bf16 => bf16::from_f32(value).to_le_bytes().to_vec(),
        };
        values.iter().flat_map(of).collect()
    }

    #[test]
    fn numbers_of_every_kind_come_back() {
        // Small integers and their halves are exact in all of them.
        let values: Vec<f32> = (0..LEN).map(|n| (n % 256) as f32 / 2.0 - 64.0).collect();
        for kind in [Kind::F64, Kind::F32, Kind::F16, Kind::Bf16] {
            let bytes = bytes(kind, &values);
            assert_eq!(bytes.len(), LEN * kind.size());
            assert!(read(&mut &bytes[..], kind, LEN).expect("read") == values, "{kind:?}");
            assert!(of_bytes(&bytes, kind).expect("read") == values, "{kind:?}");
            let cut = read(&mut &bytes[1..], kind, LEN);
            assert!(matches!(cut, Err(ValuesError::Io(_))), "{kind:?}: {cut:?}");
        }
    }

    #[test]
    fn what_is_no_number_is_found_wherever_it_stands() {
        for place in [0, 1023, CHUNK, PART - 1, PART, LEN - 1] {
            for value in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
                for kind in [Kind::F64, Kind::F32, Kind::F16, Kind::Bf16] {
                    let mut values = vec![1.0; LEN];
                    values[place] = value;
                    let bytes = bytes(kind, &values);
                    for found in [read(&mut &bytes[..], kind, LEN), of_bytes(&bytes, kind)] {
                        let Err(ValuesError::NotFinite(found)) = found else { panic!("{kind:?}") };
                        assert_eq!(found.to_string(), format!("holds {value} at element {place}"));
                    }
                }
            }
        }
        // What is too large for 32 bits is no number there.
        let large = 1e300_f64.to_le_bytes();
        assert!(read(&mut &large[..], Kind::F64, 1).is_err());
    }
}
