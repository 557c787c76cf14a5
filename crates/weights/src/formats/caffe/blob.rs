//! Numbers in a net.

use super::fields::put_numbers;
use super::schema::{SHAPE_DIM, blob};
use crate::protobuf::{Fault, Field, Slice, Value};

/// Most dimensions; Caffe's own limit is 32, and no layer here has more than four.
const DIMENSIONS_MAX: usize = 8;

/// A blob whose values are still bytes.
#[derive(Debug)]
pub(super) struct Blob<'a> {
    message: Slice<'a>,
    /// For faults: `layer "conv1", blob 0`.
    what: String,
    /// Its dimensions; four in files before 2015, where those of a bias are (1, 1, 1, N).
    pub(super) shape: Vec<usize>,
}

impl<'a> Blob<'a> {
    /// The blob in `message`.
    ///
    /// # Errors
    /// When its shape is malformed, or not that of the values it holds.
    pub(super) fn new(message: Slice<'a>, what: String) -> Result<Self, Fault> {
        let mut four = [None; 4];
        let mut shape = Vec::new();
        let mut values = 0_u64;
        for field in message.fields() {
            let field = field?;
            match field.number {
                blob::NUM | blob::CHANNELS | blob::HEIGHT | blob::WIDTH => {
                    four[(field.number - blob::NUM) as usize] = Some(field.varint()?);
                }
                blob::SHAPE => {
                    for field in field.bytes()?.fields() {
                        let field = field?;
                        if field.number == SHAPE_DIM {
                            put_numbers(&mut shape, &field, DIMENSIONS_MAX)?;
                        }
                    }
                }
                blob::DATA | blob::DOUBLE_DATA => values += count(&field, &what)?,
                _ => {}
            }
        }
        // As Caffe: the old form goes first.
        if four.iter().any(Option::is_some) {
            shape = four.map(Option::unwrap_or_default).to_vec();
        }
        let product = shape.iter().try_fold(1_u64, |product, &size| product.checked_mul(size));
        let sizes: Option<Vec<usize>> =
            shape.iter().map(|&size| usize::try_from(size).ok()).collect();
        match (product, sizes) {
            (Some(product), Some(shape)) if product == values && product > 0 => {
                Ok(Self { message, what, shape })
            }
            _ => Err(message.fault(format!(
                "{what} has {values} values, but its shape {shape:?} has another number: the file \
                 is damaged, or holds a net without its weights"
            ))),
        }
    }

    /// A fault of this blob.
    pub(super) fn fault(&self, reason: &str) -> Fault {
        self.message.fault(format!("{} {reason}", self.what))
    }

    /// Its values.
    ///
    /// # Errors
    /// When one is no number.
    pub(super) fn values(&self) -> Result<Vec<f32>, Fault> {
        // Nothing is reserved for a blob that is refused in the end.
        let mut index = 0;
        self.each(|value, offset| {
            if value.is_finite() {
                index += 1;
                return Ok(());
            }
            let reason = format!("{} holds {value} at element {index}", self.what);
            Err(Fault { offset, reason })
        })?;
        let mut values = Vec::with_capacity(index);
        self.each(|value, _| {
            values.push(value);
            Ok(())
        })?;
        Ok(values)
    }

    /// Shows every value, and where it stands.
    fn each(&self, mut see: impl FnMut(f32, u64) -> Result<(), Fault>) -> Result<(), Fault> {
        for field in self.message.fields() {
            let Field { number, offset, value } = field?;
            match (number, value) {
                (blob::DATA, Value::Bytes(packed)) => {
                    let (words, _) = packed.bytes.as_chunks();
                    for (word, place) in words.iter().zip((packed.offset..).step_by(4)) {
                        see(f32::from_le_bytes(*word), place)?;
                    }
                }
                (blob::DATA, Value::Fixed32(bits)) => see(f32::from_bits(bits), offset)?,
                (blob::DOUBLE_DATA, Value::Bytes(packed)) => {
                    let (words, _) = packed.bytes.as_chunks();
                    for (word, place) in words.iter().zip((packed.offset..).step_by(8)) {
                        see(f64::from_le_bytes(*word) as f32, place)?;
                    }
                }
                (blob::DOUBLE_DATA, Value::Fixed64(bits)) => {
                    see(f64::from_bits(bits) as f32, offset)?;
                }
                _ => {}
            }
        }
        Ok(())
    }
}

/// Values in a field of them, packed or one alone.
fn count(field: &Field, what: &str) -> Result<u64, Fault> {
    let size = if field.number == blob::DATA { size_of::<f32>() } else { size_of::<f64>() };
    match (field.value, size) {
        (Value::Bytes(packed), _) if packed.bytes.len().is_multiple_of(size) => {
            Ok((packed.bytes.len() / size) as u64)
        }
        (Value::Fixed32(_), 4) | (Value::Fixed64(_), 8) => Ok(1),
        _ => {
            let reason = format!("{what}: its values are no whole numbers of {size} bytes");
            Err(Fault { offset: field.offset, reason })
        }
    }
}
