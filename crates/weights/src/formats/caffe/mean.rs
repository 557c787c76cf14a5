//! `.binaryproto`: the mean of the training images.

use std::io::{self, Write};

use super::blob::Blob;
use super::schema::blob;
use super::{COLOURS, turn_colours};
use crate::protobuf::{Fault, Message, Slice};

/// The side in pixels and (side, side, 3) levels, red, green and blue, of a mean image.
///
/// # Errors
/// When it is malformed, not square or not of three colours.
pub(crate) fn read_mean(file: Slice) -> Result<(usize, Vec<f32>), Fault> {
    let image = Blob::new(file, "the mean image".to_owned())?;
    let side = match image.shape[..] {
        [1, COLOURS, height, width] | [COLOURS, height, width] if height == width => height,
        ref shape => {
            let reason =
                format!("has shape {shape:?}: only that of a square of {COLOURS} colours is read");
            return Err(image.fault(&reason));
        }
    };
    let mut planes = image.values()?;
    turn_colours(&mut planes, side * side);
    let mut levels = Vec::with_capacity(planes.len());
    for place in 0..side * side {
        levels.extend((0..COLOURS).map(|colour| planes[colour * side * side + place]));
    }
    Ok((side, levels))
}

/// Writes (side, side, 3) levels.
///
/// # Errors
/// As `out`, or when there are fewer or more levels.
pub(crate) fn write_mean(side: usize, levels: &[f32], out: &mut dyn Write) -> io::Result<()> {
    if side.checked_mul(side).and_then(|pixels| pixels.checked_mul(COLOURS)) != Some(levels.len()) {
        let reason = format!("{} levels are no image of {side} pixels a side", levels.len());
        return Err(io::Error::new(io::ErrorKind::InvalidInput, reason));
    }
    let mut planes = Vec::with_capacity(levels.len());
    for colour in (0..COLOURS).rev() {
        planes.extend(levels.iter().skip(colour).step_by(COLOURS));
    }
    let side = side as u64;
    Message::new()
        .varint(blob::NUM, 1)
        .varint(blob::CHANNELS, COLOURS as u64)
        .varint(blob::HEIGHT, side)
        .varint(blob::WIDTH, side)
        .bytes(blob::DATA, bytemuck::cast_slice::<f32, u8>(&planes))
        .write_to(out)
}
