//! The part of TensorFlow's `event.proto` and `summary.proto` that scalars need, in protobuf's wire
//! format (protobuf.dev/programming-guides/encoding).
//!
//! ```text
//! Event      { 1: wall_time double, 2: step int64, 3: file_version string,
//!              5: summary Summary, 7: session_log SessionLog }
//! Summary    { 1: value repeated Value }    Value { 1: tag string, 2: simple_value float }
//! SessionLog { 1: status enum, 1 = START }
//! ```

/// One entry of an event file.
#[derive(Clone, Debug, PartialEq)]
pub struct Event {
    /// When, in seconds since 1970.
    pub wall_time: f64,
    /// The training step it belongs to.
    pub step: u64,
    /// What it tells.
    pub what: What,
}

/// What an [`Event`] tells.
#[derive(Clone, Debug, PartialEq)]
pub enum What {
    /// The file's form; its first event.
    Version(String),
    /// Values by their tags.
    Scalars(Vec<(String, f32)>),
    /// A session begins: events from this step on that stand before this one did not happen.
    Start,
    /// Something this program does not write.
    Other,
}

/// A field's number and wire type, as one byte.
const WALL_TIME: u8 = field(1, FIXED_64);
const STEP: u8 = field(2, VARINT);
const FILE_VERSION: u8 = field(3, BYTES);
const SUMMARY: u8 = field(5, BYTES);
const SESSION_LOG: u8 = field(7, BYTES);
const VALUE: u8 = field(1, BYTES);
const TAG: u8 = field(1, BYTES);
const SIMPLE_VALUE: u8 = field(2, FIXED_32);
const STATUS: u8 = field(1, VARINT);
const STATUS_START: u8 = 1;

const VARINT: u8 = 0;
const FIXED_64: u8 = 1;
const BYTES: u8 = 2;
const FIXED_32: u8 = 5;

const fn field(number: u8, wire_type: u8) -> u8 {
    (number << 3) | wire_type
}

impl Event {
    /// The event's bytes.
    pub(super) fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        // Zeros are left out, as every encoder of the language's third version does.
        if self.wall_time != 0.0 {
            bytes.push(WALL_TIME);
            bytes.extend(self.wall_time.to_le_bytes());
        }
        if self.step != 0 {
            bytes.push(STEP);
            put_varint(&mut bytes, self.step);
        }
        match &self.what {
            What::Version(version) => put_bytes(&mut bytes, FILE_VERSION, version.as_bytes()),
            What::Scalars(scalars) => {
                let mut summary = Vec::new();
                for (tag, value) in scalars {
                    let mut entry = Vec::new();
                    put_bytes(&mut entry, TAG, tag.as_bytes());
                    entry.push(SIMPLE_VALUE);
                    entry.extend(value.to_le_bytes());
                    put_bytes(&mut summary, VALUE, &entry);
                }
                put_bytes(&mut bytes, SUMMARY, &summary);
            }
            What::Start => put_bytes(&mut bytes, SESSION_LOG, &[STATUS, STATUS_START]),
            What::Other => {}
        }
        bytes
    }

    /// The event these bytes are, if they are one. Fields that this program does not write are
    /// passed over.
    pub(super) fn decode(bytes: &[u8]) -> Option<Self> {
        let mut event = Self { wall_time: 0.0, step: 0, what: What::Other };
        for field in fields(bytes)? {
            match field {
                (WALL_TIME, Value::Fixed64(bits)) => event.wall_time = f64::from_bits(bits),
                (STEP, Value::Varint(step)) => event.step = step,
                (FILE_VERSION, Value::Bytes(text)) => {
                    event.what = What::Version(String::from_utf8_lossy(text).into_owned());
                }
                (SUMMARY, Value::Bytes(summary)) => {
                    let values = fields(summary)?.into_iter();
                    let values = values.filter_map(|field| match field {
                        (VALUE, Value::Bytes(value)) => Some(value),
                        _ => None,
                    });
                    let scalars = values.map(decode_value).collect::<Option<Vec<_>>>()?;
                    event.what = What::Scalars(scalars.into_iter().flatten().collect());
                }
                (SESSION_LOG, Value::Bytes(log)) => {
                    let start = (STATUS, Value::Varint(STATUS_START.into()));
                    if fields(log)?.contains(&start) {
                        event.what = What::Start;
                    }
                }
                _ => {}
            }
        }
        Some(event)
    }
}

/// A tag and its number; nothing of a value of another kind; `None` of bytes that are no value.
fn decode_value(bytes: &[u8]) -> Option<Option<(String, f32)>> {
    let (mut tag, mut number) = (String::new(), None);
    for field in fields(bytes)? {
        match field {
            (TAG, Value::Bytes(text)) => tag = String::from_utf8_lossy(text).into_owned(),
            (SIMPLE_VALUE, Value::Fixed32(bits)) => number = Some(f32::from_bits(bits)),
            _ => {}
        }
    }
    Some(number.map(|number| (tag, number)))
}

/// A field's content.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Value<'b> {
    Varint(u64),
    Fixed64(u64),
    Fixed32(u32),
    Bytes(&'b [u8]),
}

/// The fields of a message, each with its key; those whose number is above 15 are left out. `None` if
/// the bytes are no message.
fn fields(mut bytes: &[u8]) -> Option<Vec<(u8, Value<'_>)>> {
    let mut fields = Vec::new();
    while !bytes.is_empty() {
        let key = take_varint(&mut bytes)?;
        let value = match (key & 7) as u8 {
            VARINT => Value::Varint(take_varint(&mut bytes)?),
            FIXED_64 => Value::Fixed64(u64::from_le_bytes(*take_array(&mut bytes)?)),
            FIXED_32 => Value::Fixed32(u32::from_le_bytes(*take_array(&mut bytes)?)),
            BYTES => {
                let len = usize::try_from(take_varint(&mut bytes)?).ok()?;
                Value::Bytes(bytes.split_off(..len)?)
            }
            _ => return None,
        };
        fields.extend(u8::try_from(key).ok().filter(|key| *key < 0x80).map(|key| (key, value)));
    }
    Some(fields)
}

fn take_array<'b, const N: usize>(bytes: &mut &'b [u8]) -> Option<&'b [u8; N]> {
    let (array, rest) = bytes.split_first_chunk()?;
    *bytes = rest;
    Some(array)
}

/// Seven bits a byte, the lowest first; the eighth says that more follow.
fn take_varint(bytes: &mut &[u8]) -> Option<u64> {
    let mut value = 0;
    for shift in (0..64).step_by(7) {
        let byte = *bytes.split_off_first()?;
        value |= u64::from(byte & 0x7f) << shift;
        if byte < 0x80 {
            return Some(value);
        }
    }
    None
}

fn put_varint(bytes: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        bytes.push(value as u8 | 0x80);
        value >>= 7;
    }
    bytes.push(value as u8);
}

fn put_bytes(bytes: &mut Vec<u8>, key: u8, content: &[u8]) {
    bytes.push(key);
    put_varint(bytes, content.len() as u64);
    bytes.extend_from_slice(content);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_is_read_as_it_was_written() {
        let scalars = vec![("train/loss".to_owned(), 2.5), ("empty".to_owned(), 0.0)];
        let whats = [What::Version("brain.Event:2".into()), What::Scalars(scalars), What::Start];
        for what in whats {
            for step in [0, 1, 127, 128, 450_000, u64::MAX] {
                let event = Event { wall_time: 1.5e9, step, what: what.clone() };
                assert_eq!(Event::decode(&event.encode()), Some(event));
            }
        }
    }

    #[test]
    fn every_cut_of_an_event_is_an_event_or_none() {
        let scalars = vec![("loss".to_owned(), 1.0)];
        let bytes = Event { wall_time: 1.0, step: 300, what: What::Scalars(scalars) }.encode();
        for end in 0..bytes.len() {
            let decoded = Event::decode(&bytes[..end]);
            assert!(decoded.is_none_or(|event| event.what == What::Other), "{end}");
        }
        for other in [vec![0x0b], vec![0x80; 11], vec![0x2a, 0xff, 0xff, 0xff, 0xff, 0x7f]] {
            assert_eq!(Event::decode(&other), None, "{other:?}");
        }
    }
}
