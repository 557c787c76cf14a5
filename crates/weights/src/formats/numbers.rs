//! Lists of numbers in protobuf's messages: packed or one by one, at hand or still in the file.

use crate::protobuf::{Fault, Field, Slice, Value};
use crate::values::{self, Kind, NotFinite, ValuesError};

/// The numbers of a message, in the order of the file.
#[derive(Clone, Debug)]
pub(super) struct Numbers<'a> {
    /// The message.
    pub(super) message: Slice<'a>,
    /// Which of its fields hold numbers, and of which kind.
    pub(super) fields: &'static [(u32, Kind)],
    /// What faults call it: `tensor 'conv1.bias'`.
    pub(super) name: String,
}

impl<'a> Numbers<'a> {
    /// How many there are.
    ///
    /// # Errors
    /// When the message is malformed.
    pub(super) fn count(&self) -> Result<u64, Fault> {
        self.parts().map(|part| part.and_then(|(field, kind)| self.count_in(&field, kind))).sum()
    }

    /// They themselves; the caller has compared their count with what it expects.
    ///
    /// # Errors
    /// When one is no number, or the file unreadable.
    pub(super) fn values(&self) -> Result<Vec<f32>, Fault> {
        let mut values = Vec::new();
        for part in self.parts() {
            let (field, kind) = part?;
            let (offset, read) = match field.value {
                Value::Bytes(packed) => {
                    let len = packed.bytes.len() / kind.size();
                    (packed.offset, values::read(&mut &packed.bytes[..], kind, len))
                }
                Value::Left(stretch) => (stretch.offset, stretch.values(kind)),
                Value::Fixed32(bits) => (field.offset, one(f32::from_bits(bits))),
                Value::Fixed64(bits) => (field.offset, one(f64::from_bits(bits) as f32)),
                Value::Varint(_) => return Err(self.ragged(&field, kind)),
            };
            match read {
                Ok(read) if values.is_empty() => values = read,
                Ok(read) => values.extend(read),
                Err(ValuesError::Io(error)) => {
                    let reason = format!("{} is not read: {error}", self.name);
                    return Err(Fault { offset, reason });
                }
                Err(ValuesError::NotFinite(NotFinite { index, value })) => {
                    let offset = offset + (index * kind.size()) as u64;
                    let found = NotFinite { index: values.len() + index, value };
                    return Err(Fault { offset, reason: format!("{} {found}", self.name) });
                }
            }
        }
        Ok(values)
    }

    fn parts(&self) -> impl Iterator<Item = Result<(Field<'a>, Kind), Fault>> {
        self.message.fields().filter_map(|field| match field {
            Ok(field) => {
                let of = self.fields.iter().find(|(number, _)| *number == field.number);
                of.map(|&(_, kind)| Ok((field, kind)))
            }
            Err(fault) => Some(Err(fault)),
        })
    }

    fn count_in(&self, field: &Field, kind: Kind) -> Result<u64, Fault> {
        let size = kind.size() as u64;
        let bytes = match field.value {
            Value::Bytes(packed) => packed.bytes.len() as u64,
            Value::Left(stretch) => stretch.len,
            Value::Fixed32(_) if kind == Kind::F32 => size,
            Value::Fixed64(_) if kind == Kind::F64 => size,
            _ => return Err(self.ragged(field, kind)),
        };
        if bytes.is_multiple_of(size) { Ok(bytes / size) } else { Err(self.ragged(field, kind)) }
    }

    fn ragged(&self, field: &Field, kind: Kind) -> Fault {
        let size = kind.size();
        let reason = format!("{} holds no whole numbers of {size} bytes", self.name);
        Fault { offset: field.offset, reason }
    }
}

fn one(value: f32) -> Result<Vec<f32>, ValuesError> {
    let values = vec![value];
    values::check(&values).map_err(ValuesError::NotFinite)?;
    Ok(values)
}
