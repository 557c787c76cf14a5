//! Protobuf's wire format (protobuf.dev/programming-guides/encoding), read where it lies and written
//! without a copy.
//!
//! A reader that makes objects of all a file holds can be made to fill the memory: two bytes of an
//! empty message become an object of hundreds. Here [`Slice::fields`] walks the fields of one message
//! at a time, and what is nested in it stays bytes until it is asked for. Faults know their place in
//! the file.

use std::borrow::Cow;
use std::fs::File;
use std::io::{self, Write};

pub use crate::outline::Stretch;

/// Bytes of a file that know where in it they lie.
#[derive(Clone, Copy, Debug)]
pub struct Slice<'a> {
    /// The bytes; of a message of an outline, what that keeps of it.
    pub bytes: &'a [u8],
    /// Where in the file they begin.
    pub offset: u64,
    /// Where in the file they end.
    pub(crate) end: u64,
    /// The file in which an outline has left some fields; not in what was copied as it is, for that
    /// may claim anything.
    pub(crate) file: Option<&'a File>,
}

/// What is wrong, and where in the file.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("at byte {offset}: {reason}")]
pub struct Fault {
    /// Where, in bytes from the file's beginning.
    pub offset: u64,
    /// What.
    pub reason: String,
}

/// One field of a message.
#[derive(Clone, Copy, Debug)]
pub struct Field<'a> {
    /// Its number in the schema.
    pub number: u32,
    /// Where it begins.
    pub offset: u64,
    /// What it holds.
    pub value: Value<'a>,
}

/// What a field holds.
#[derive(Clone, Copy, Debug)]
pub enum Value<'a> {
    /// An integer, a truth value or a choice.
    Varint(u64),
    /// Eight bytes.
    Fixed64(u64),
    /// A text, packed numbers or a message.
    Bytes(Slice<'a>),
    /// Packed numbers that are still in the file.
    Left(Stretch<'a>),
    /// Four bytes.
    Fixed32(u32),
}

/// Wire types.
const VARINT: u64 = 0;
const FIXED_64: u64 = 1;
pub(crate) const BYTES: u64 = 2;
const FIXED_32: u64 = 5;
/// Not protobuf's: what an outline keeps of a message, behind where it lies in the file.
pub(crate) const OUTLINED: u64 = 6;
/// Not protobuf's: where in the file a field lies, and nothing of it.
pub(crate) const LEFT: u64 = 7;

/// Bytes of the longest integer.
const VARINT_BYTES_MAX: usize = 10;

impl<'a> Slice<'a> {
    /// A whole file.
    #[must_use]
    pub fn of_file(bytes: &'a [u8]) -> Self {
        Self::new(bytes, 0)
    }

    /// Bytes that lie at `offset` of a file.
    pub(crate) fn new(bytes: &'a [u8], offset: u64) -> Self {
        Self { bytes, offset, end: offset + bytes.len() as u64, file: None }
    }

    /// Bytes it has in the file.
    pub(crate) fn file_len(self) -> u64 {
        self.end - self.offset
    }

    /// The fields of the message these bytes are, in their order; the first fault ends them.
    #[must_use]
    pub fn fields(self) -> Fields<'a> {
        Fields { rest: self }
    }

    /// A fault of what these bytes hold.
    #[must_use]
    pub fn fault(self, reason: impl Into<String>) -> Fault {
        Fault { offset: self.offset, reason: reason.into() }
    }

    /// The text these bytes are.
    ///
    /// # Errors
    /// When they are no UTF-8.
    pub fn text(self) -> Result<&'a str, Fault> {
        std::str::from_utf8(self.bytes).map_err(|_| self.fault("a text is not UTF-8"))
    }

    /// The integers packed in these bytes.
    ///
    /// # Errors
    /// When one is cut off or has more than ten bytes.
    pub fn varints(self) -> Result<Vec<u64>, Fault> {
        self.each_varint().collect()
    }

    /// The integers packed in these bytes, one by one: a list of them may take eight times the
    /// bytes. The first fault ends them.
    pub fn each_varint(mut self) -> impl Iterator<Item = Result<u64, Fault>> + use<'a> {
        std::iter::from_fn(move || {
            if self.bytes.is_empty() {
                return None;
            }
            let number = self.take_varint();
            if number.is_err() {
                self.bytes = &[];
            }
            Some(number)
        })
    }

    fn take(&mut self, len: u64) -> Result<Slice<'a>, Fault> {
        let cut = usize::try_from(len).ok().and_then(|len| self.bytes.split_at_checked(len));
        let (taken, rest) = cut.ok_or_else(|| self.fault(too_long(len, self.file_len())))?;
        let end = self.offset + len;
        let taken = Slice { bytes: taken, offset: self.offset, end, file: None };
        *self = Slice { bytes: rest, offset: end, ..*self };
        Ok(taken)
    }

    /// The number of a field and its wire type.
    pub(crate) fn take_key(&mut self) -> Result<(u32, u64), Fault> {
        let start = *self;
        let key = self.take_varint()?;
        let number = u32::try_from(key >> 3).ok().filter(|&number| number > 0);
        let number = number.ok_or_else(|| start.fault(format!("no field has key {key}")))?;
        Ok((number, key & 7))
    }

    pub(crate) fn take_varint(&mut self) -> Result<u64, Fault> {
        let mut value = 0;
        for (index, &byte) in self.bytes.iter().take(VARINT_BYTES_MAX).enumerate() {
            let bits = u64::from(byte & 0x7f);
            let shifted = bits << (7 * index);
            if shifted >> (7 * index) != bits {
                return Err(self.fault("a number of more than 64 bits"));
            }
            value |= shifted;
            if byte & 0x80 == 0 {
                self.take(index as u64 + 1)?;
                return Ok(value);
            }
        }
        let cut_off = self.bytes.len() < VARINT_BYTES_MAX;
        Err(self.fault(if cut_off { "a number is cut off" } else { "a number of over ten bytes" }))
    }
}

/// The fields of a message: [`Slice::fields`].
#[derive(Clone, Debug)]
pub struct Fields<'a> {
    rest: Slice<'a>,
}

impl<'a> Fields<'a> {
    fn take(&mut self) -> Result<Field<'a>, Fault> {
        let start = self.rest;
        let (number, wire_type) = self.rest.take_key()?;
        let value = match (wire_type, start.file) {
            (VARINT, _) => Value::Varint(self.rest.take_varint()?),
            (FIXED_64, _) => Value::Fixed64(self.take_u64()?),
            (FIXED_32, _) => Value::Fixed32(u32::from_le_bytes(array(self.rest.take(4)?))),
            (BYTES, _) => {
                let len = self.rest.take_varint()?;
                Value::Bytes(self.rest.take(len)?)
            }
            (OUTLINED, Some(_)) => Value::Bytes(self.take_outlined()?),
            (LEFT, Some(file)) => {
                let (offset, len) = (self.take_u64()?, self.take_u64()?);
                self.rest.offset = offset + len;
                Value::Left(Stretch { file, offset, len })
            }
            _ => return Err(start.fault(format!("field {number} has wire type {wire_type}"))),
        };
        Ok(Field { number, offset: start.offset, value })
    }

    /// Where in the file the next field begins.
    pub(crate) fn offset(&self) -> u64 {
        self.rest.offset
    }

    fn take_u64(&mut self) -> Result<u64, Fault> {
        Ok(u64::from_le_bytes(array(self.rest.take(8)?)))
    }

    fn take_outlined(&mut self) -> Result<Slice<'a>, Fault> {
        let (offset, len, kept) = (self.take_u64()?, self.take_u64()?, self.take_u64()?);
        let bytes = self.rest.take(kept)?.bytes;
        let end = offset + len;
        self.rest.offset = end;
        Ok(Slice { bytes, offset, end, file: self.rest.file })
    }
}

/// What is wrong with a field of `len` bytes where `left` are left.
pub(crate) fn too_long(len: u64, left: u64) -> String {
    format!("a field of {len} bytes, but only {left} are left")
}

/// The bytes of a slice of `N` bytes.
fn array<const N: usize>(slice: Slice) -> [u8; N] {
    let mut bytes = [0; N];
    bytes.copy_from_slice(slice.bytes);
    bytes
}

impl<'a> Iterator for Fields<'a> {
    type Item = Result<Field<'a>, Fault>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.bytes.is_empty() {
            return None;
        }
        let field = self.take();
        if field.is_err() {
            self.rest.bytes = &[];
        }
        Some(field)
    }
}

impl<'a> Field<'a> {
    /// The bytes it holds.
    ///
    /// # Errors
    /// When it holds none.
    pub fn bytes(self) -> Result<Slice<'a>, Fault> {
        match self.value {
            Value::Bytes(slice) => Ok(slice),
            Value::Left(stretch) => {
                let reason = format!("field {} has {} bytes", self.number, stretch.len);
                Err(Fault { offset: self.offset, reason })
            }
            _ => Err(self.unexpected("bytes")),
        }
    }

    /// The integer it holds.
    ///
    /// # Errors
    /// When it holds none.
    pub fn varint(self) -> Result<u64, Fault> {
        match self.value {
            Value::Varint(value) => Ok(value),
            _ => Err(self.unexpected("an integer")),
        }
    }

    /// The 32-bit float it holds.
    ///
    /// # Errors
    /// When it holds none.
    pub fn float(self) -> Result<f32, Fault> {
        match self.value {
            Value::Fixed32(bits) => Ok(f32::from_bits(bits)),
            _ => Err(self.unexpected("a float")),
        }
    }

    fn unexpected(self, expected: &str) -> Fault {
        let reason = format!("field {} does not hold {expected}", self.number);
        Fault { offset: self.offset, reason }
    }
}

/// A message to be written: bytes in it are borrowed where that will do.
#[derive(Clone, Debug, Default)]
pub struct Message<'a> {
    fields: Vec<(u32, Piece<'a>)>,
}

#[derive(Clone, Debug)]
enum Piece<'a> {
    Varint(u64),
    Fixed64(u64),
    Fixed32(u32),
    Bytes(Cow<'a, [u8]>),
    Message(Message<'a>),
}

impl<'a> Message<'a> {
    /// A message without fields.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// With an integer, a truth value or a choice; negative numbers as `as u64` makes them.
    #[must_use]
    pub fn varint(self, number: u32, value: u64) -> Self {
        self.with(number, Piece::Varint(value))
    }

    /// With a 32-bit float.
    #[must_use]
    pub fn float(self, number: u32, value: f32) -> Self {
        self.with(number, Piece::Fixed32(value.to_bits()))
    }

    /// With a 64-bit float.
    #[must_use]
    pub fn double(self, number: u32, value: f64) -> Self {
        self.with(number, Piece::Fixed64(value.to_bits()))
    }

    /// With a text.
    #[must_use]
    pub fn text(self, number: u32, text: &str) -> Self {
        self.bytes(number, text.as_bytes().to_vec())
    }

    /// With bytes.
    #[must_use]
    pub fn bytes(self, number: u32, bytes: impl Into<Cow<'a, [u8]>>) -> Self {
        self.with(number, Piece::Bytes(bytes.into()))
    }

    /// With integers packed in one field.
    #[must_use]
    pub fn varints(self, number: u32, values: impl IntoIterator<Item = u64>) -> Self {
        let mut packed = Vec::new();
        values.into_iter().for_each(|value| put_varint(&mut packed, value));
        self.bytes(number, packed)
    }

    /// With a message.
    #[must_use]
    pub fn message(self, number: u32, message: Message<'a>) -> Self {
        self.with(number, Piece::Message(message))
    }

    fn with(mut self, number: u32, piece: Piece<'a>) -> Self {
        self.fields.push((number, piece));
        self
    }

    /// Bytes it takes.
    #[must_use]
    pub fn len(&self) -> u64 {
        let fields = self.fields.iter();
        fields.map(|(number, piece)| head(*number, piece).len() as u64 + piece.len()).sum()
    }

    /// Whether it has no fields.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.fields.is_empty()
    }

    /// Its bytes.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        self.write_to(&mut bytes).expect("a vector takes all");
        bytes
    }

    /// Writes its bytes.
    ///
    /// # Errors
    /// As `out`.
    pub fn write_to(&self, out: &mut dyn Write) -> io::Result<()> {
        for (number, piece) in &self.fields {
            out.write_all(&head(*number, piece))?;
            match piece {
                Piece::Bytes(bytes) => out.write_all(bytes)?,
                Piece::Message(message) => message.write_to(out)?,
                Piece::Varint(_) | Piece::Fixed32(_) | Piece::Fixed64(_) => {}
            }
        }
        Ok(())
    }
}

impl Piece<'_> {
    /// Bytes behind the head.
    fn len(&self) -> u64 {
        match self {
            Self::Bytes(bytes) => bytes.len() as u64,
            Self::Message(message) => message.len(),
            Self::Varint(_) | Self::Fixed32(_) | Self::Fixed64(_) => 0,
        }
    }
}

/// Key and length of a field, or key and number.
fn head(number: u32, piece: &Piece) -> Vec<u8> {
    let mut head = Vec::with_capacity(2 * VARINT_BYTES_MAX);
    let mut key = |wire_type| put_varint(&mut head, u64::from(number) << 3 | wire_type);
    match piece {
        Piece::Varint(value) => {
            key(VARINT);
            put_varint(&mut head, *value);
        }
        Piece::Fixed32(bits) => {
            key(FIXED_32);
            head.extend(bits.to_le_bytes());
        }
        Piece::Fixed64(bits) => {
            key(FIXED_64);
            head.extend(bits.to_le_bytes());
        }
        Piece::Bytes(_) | Piece::Message(_) => {
            key(BYTES);
            put_varint(&mut head, piece.len());
        }
    }
    head
}

pub(crate) fn put_varint(bytes: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        bytes.push(value as u8 | 0x80);
        value >>= 7;
    }
    bytes.push(value as u8);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(message: &Message) -> Vec<u8> {
        let bytes = message.to_bytes();
        assert_eq!(bytes.len() as u64, message.len());
        bytes
    }

    #[test]
    fn a_message_comes_back_field_by_field() {
        let inner = Message::new().varints(1, [0, 127, 128, u64::MAX]).text(2, "kernel");
        let outer = Message::new().varint(1, 300).message(2, inner).float(15, 0.5).double(16, -2.0);
        let bytes = written(&outer);
        let fields: Vec<_> =
            Slice::of_file(&bytes).fields().collect::<Result<_, _>>().expect("sound");
        assert_eq!(fields.iter().map(|f| f.number).collect::<Vec<_>>(), [1, 2, 15, 16]);
        assert_eq!(fields[0].varint(), Ok(300));
        assert_eq!(fields[2].float(), Ok(0.5));
        assert!(matches!(fields[3].value, Value::Fixed64(bits) if bits == (-2.0_f64).to_bits()));
        let inner: Vec<_> =
            fields[1].bytes().expect("bytes").fields().map(Result::unwrap).collect();
        let packed = inner[0].bytes().expect("bytes").varints();
        assert_eq!(packed, Ok(vec![0, 127, 128, u64::MAX]));
        assert_eq!(inner[1].bytes().expect("bytes").text(), Ok("kernel"));
    }

    #[test]
    fn packed_integers_end_at_the_first_fault() {
        let numbers: Vec<_> = Slice::of_file(b"\x01\x96\x01\x80").each_varint().collect();
        assert_eq!(numbers[..2], [Ok(1), Ok(150)]);
        assert_eq!(numbers[2].as_ref().map_err(|fault| fault.offset), Err(3));
        assert_eq!(numbers.len(), 3);
    }

    #[test]
    fn the_bytes_are_those_of_the_encoding_guide() {
        // protobuf.dev/programming-guides/encoding: a = 150; b = "testing"; a message c of a = 150.
        let message = Message::new()
            .varint(1, 150)
            .text(2, "testing")
            .message(3, Message::new().varint(1, 150));
        let guide = b"\x08\x96\x01\x12\x07testing\x1a\x03\x08\x96\x01";
        assert_eq!(written(&message), guide);
    }

    #[test]
    fn faults_name_the_byte() {
        let cases: [(&[u8], u64, &str); 7] = [
            (b"\x08\x96", 1, "cut off"),
            (b"\x12\x07test", 2, "a field of 7 bytes, but only 4 are left"),
            (b"\x08\x01\x0b", 2, "wire type 3"),
            (b"\x00\x01", 0, "no field has key 0"),
            (b"\x08\xff\xff\xff\xff\xff\xff\xff\xff\xff\x7f", 1, "more than 64 bits"),
            (b"\x08\x80\x80\x80\x80\x80\x80\x80\x80\x80\x80\x01", 1, "over ten bytes"),
            (b"\x12\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01", 11, "only 0 are left"),
        ];
        for (bytes, offset, reason) in cases {
            let fault = Slice::of_file(bytes).fields().find_map(Result::err).expect("a fault");
            assert_eq!(fault.offset, offset, "{bytes:x?}: {fault}");
            assert!(fault.reason.contains(reason), "{bytes:x?}: {fault}");
        }
    }
}
