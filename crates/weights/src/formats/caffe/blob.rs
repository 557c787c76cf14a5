//! Numbers in a net.

use super::fields::put_numbers;
use super::schema::{SHAPE_DIM, blob};
use crate::formats::numbers::Numbers;
use crate::protobuf::{Fault, Slice};
use crate::values::Kind;

/// Most dimensions; Caffe's own limit is 32, and no layer here has more than four.
const DIMENSIONS_MAX: usize = 8;

/// Which fields of a blob hold its values.
const FIELDS: &[(u32, Kind)] = &[(blob::DATA, Kind::F32), (blob::DOUBLE_DATA, Kind::F64)];

/// A blob whose values are still bytes.
#[derive(Debug)]
pub(super) struct Blob<'a> {
    /// Named for faults: `layer "conv1", blob 0`.
    numbers: Numbers<'a>,
    /// Its dimensions; four in files before 2015, where those of a bias are (1, 1, 1, N).
    pub(super) shape: Vec<usize>,
}

impl<'a> Blob<'a> {
    /// The blob in `message`.
    ///
    /// # Errors
    /// When its shape is malformed, or not that of the values it holds.
    pub(super) fn new(message: Slice<'a>, name: String) -> Result<Self, Fault> {
        let mut four = [None; 4];
        let mut shape = Vec::new();
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
                _ => {}
            }
        }
        // As Caffe: the old form goes first.
        if four.iter().any(Option::is_some) {
            shape = four.map(Option::unwrap_or_default).to_vec();
        }
        let numbers = Numbers { message, fields: FIELDS, name };
        let values = numbers.count()?;
        let product = shape.iter().try_fold(1_u64, |product, &size| product.checked_mul(size));
        let sizes: Option<Vec<usize>> =
            shape.iter().map(|&size| usize::try_from(size).ok()).collect();
        match (product, sizes) {
            (Some(product), Some(shape)) if product == values && product > 0 => {
                Ok(Self { numbers, shape })
            }
            _ => Err(message.fault(format!(
                "{} has {values} values, but its shape {shape:?} has another number: the file is \
                 damaged, or holds a net without its weights",
                numbers.name
            ))),
        }
    }

    /// A fault of this blob.
    pub(super) fn fault(&self, reason: &str) -> Fault {
        self.numbers.message.fault(format!("{} {reason}", self.numbers.name))
    }

    /// Its values.
    ///
    /// # Errors
    /// When one is no number, or the file unreadable.
    pub(super) fn values(&self) -> Result<Vec<f32>, Fault> {
        self.numbers.values()
    }
}
