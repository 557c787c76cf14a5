//! The fields of one message, with names for what is wrong with them.

use crate::protobuf::{Fault, Field, Slice, Value};

/// Most fields in a message that is no blob: a hundred times those of a layer.
const FIELDS_MAX: usize = 4096;
/// Longest name, in bytes.
const NAME_BYTES_MAX: usize = 1024;
/// Largest size, stride or padding of a window.
const SIDE_MAX: u64 = 1 << 16;
/// Most bytes of a packed integer.
const VARINT_BYTES_MAX: usize = 10;

/// The fields of a message.
///
/// # Errors
/// When it is malformed or has too many.
pub(super) fn fields(message: Slice) -> Result<Vec<Field>, Fault> {
    let mut fields = Vec::new();
    extend(&mut fields, message)?;
    Ok(fields)
}

fn extend<'a>(fields: &mut Vec<Field<'a>>, message: Slice<'a>) -> Result<(), Fault> {
    for field in message.fields() {
        if fields.len() == FIELDS_MAX {
            return Err(message.fault(format!("more than the {FIELDS_MAX} fields read")));
        }
        fields.push(field?);
    }
    Ok(())
}

/// A name, on one line when it is quoted.
///
/// # Errors
/// When it is too long or no text.
pub(super) fn name<'a>(field: &Field<'a>) -> Result<&'a str, Fault> {
    let slice = field.bytes()?;
    if slice.bytes.len() > NAME_BYTES_MAX {
        return Err(slice.fault(format!("a name of {} bytes", slice.bytes.len())));
    }
    slice.text()
}

/// Appends integers, packed or one by one, to at most `most`.
///
/// # Errors
/// When there are more.
pub(super) fn put_numbers(numbers: &mut Vec<u64>, field: &Field, most: usize) -> Result<(), Fault> {
    let more = || Fault { offset: field.offset, reason: format!("more than {most} numbers") };
    match field.value {
        Value::Bytes(packed) if packed.bytes.len() > most * VARINT_BYTES_MAX => return Err(more()),
        Value::Bytes(packed) => numbers.extend(packed.varints()?),
        _ => numbers.push(field.varint()?),
    }
    if numbers.len() > most { Err(more()) } else { Ok(()) }
}

/// What a layer's message says of it beside its blobs: `convolution_param` and the like.
#[derive(Debug)]
pub(super) struct Settings<'a> {
    /// For faults: the layer, in quotes.
    layer: String,
    /// Where the layer is.
    offset: u64,
    fields: Vec<Field<'a>>,
}

impl<'a> Settings<'a> {
    /// Those in the fields `number` of a layer; of several, the later go before the earlier.
    ///
    /// # Errors
    /// When they are malformed.
    pub(super) fn new(
        layer: &str,
        message: Slice,
        all: &[Field<'a>],
        number: u32,
    ) -> Result<Self, Fault> {
        let mut fields = Vec::new();
        for field in all.iter().filter(|field| field.number == number) {
            extend(&mut fields, field.bytes()?)?;
        }
        Ok(Self { layer: format!("{layer:?}"), offset: message.offset, fields })
    }

    fn last(&self, number: u32) -> Option<&Field<'a>> {
        self.fields.iter().rev().find(|field| field.number == number)
    }

    /// What is wrong with field `number`, or, where it is not there, with the layer.
    pub(super) fn fault(&self, number: u32, reason: &str) -> Fault {
        let offset = self.last(number).map_or(self.offset, |field| field.offset);
        Fault { offset, reason: format!("layer {}: {reason}", self.layer) }
    }

    pub(super) fn number(&self, number: u32, default: u64) -> Result<u64, Fault> {
        self.last(number).map_or(Ok(default), |field| field.varint())
    }

    pub(super) fn truth(&self, number: u32, default: bool) -> Result<bool, Fault> {
        Ok(self.number(number, u64::from(default))? != 0)
    }

    /// A finite number.
    pub(super) fn float(&self, number: u32, default: f32) -> Result<f32, Fault> {
        let value = self.last(number).map_or(Ok(default), |field| field.float())?;
        if value.is_finite() {
            return Ok(value);
        }
        Err(self.fault(number, &format!("field {number} is {value}")))
    }

    /// Says no to anything but `expected`, if it is said at all.
    pub(super) fn only(&self, number: u32, expected: u64, what: &str) -> Result<(), Fault> {
        match self.number(number, expected)? {
            value if value == expected => Ok(()),
            value => {
                let reason = format!("{what} is {value}, but must be {expected}");
                Err(self.fault(number, &reason))
            }
        }
    }

    /// A size that is the same in height and width, given once, for each, or in fields of their own.
    pub(super) fn side(
        &self,
        number: u32,
        height_and_width: [u32; 2],
        default: Option<u64>,
        what: &str,
    ) -> Result<usize, Fault> {
        let mut given = Vec::new();
        for field in &self.fields {
            if field.number == number || height_and_width.contains(&field.number) {
                put_numbers(&mut given, field, 4)?;
            }
        }
        let side = match given.first().copied().or(default) {
            None => return Err(self.fault(number, &format!("{what} is not given"))),
            Some(side) if side > SIDE_MAX => {
                return Err(self.fault(number, &format!("{what} is {side}: at most {SIDE_MAX}")));
            }
            Some(side) => side,
        };
        if given.iter().any(|&other| other != side)
            || self.is_half_given(height_and_width, side, default)
        {
            return Err(self.fault(number, &format!("{what} is {given:?}: only squares are read")));
        }
        Ok(side as usize)
    }

    /// Whether only one of height and width is given, and not as the other is then.
    fn is_half_given(&self, both: [u32; 2], side: u64, default: Option<u64>) -> bool {
        let given = both.map(|number| self.last(number).is_some());
        given[0] != given[1] && default != Some(side)
    }
}
