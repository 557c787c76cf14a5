//! The part of TensorFlow's `event.proto` and `summary.proto` that scalars need, in protobuf's wire
//! format (protobuf.dev/programming-guides/encoding).
//!
//! ```text
//! Event      { 1: wall_time double, 2: step int64, 3: file_version string,
//!              5: summary Summary, 7: session_log SessionLog }
//! Summary    { 1: value repeated Value }    Value { 1: tag string, 2: simple_value float }
//! SessionLog { 1: status enum, 1 = START }
//! ```

use alexnet_weights::protobuf::{Fault, Field, Message, Slice, Value};

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

/// Fields by their numbers.
const WALL_TIME: u32 = 1;
const STEP: u32 = 2;
const FILE_VERSION: u32 = 3;
const SUMMARY: u32 = 5;
const SESSION_LOG: u32 = 7;
const VALUE: u32 = 1;
const TAG: u32 = 1;
const SIMPLE_VALUE: u32 = 2;
const STATUS: u32 = 1;
const STATUS_START: u64 = 1;

impl Event {
    /// The event's bytes.
    pub(super) fn encode(&self) -> Vec<u8> {
        let mut event = Message::new();
        // Zeros are left out, as every encoder of the language's third version does.
        if self.wall_time != 0.0 {
            event = event.double(WALL_TIME, self.wall_time);
        }
        if self.step != 0 {
            event = event.varint(STEP, self.step);
        }
        event = match &self.what {
            What::Version(version) => event.text(FILE_VERSION, version),
            What::Scalars(scalars) => {
                let values = scalars.iter().fold(Message::new(), |summary, (tag, value)| {
                    let entry = Message::new().text(TAG, tag).float(SIMPLE_VALUE, *value);
                    summary.message(VALUE, entry)
                });
                event.message(SUMMARY, values)
            }
            What::Start => event.message(SESSION_LOG, Message::new().varint(STATUS, STATUS_START)),
            What::Other => event,
        };
        event.to_bytes()
    }

    /// The event these bytes are, if they are one. Fields that this program does not write are
    /// passed over.
    pub(super) fn decode(bytes: &[u8]) -> Option<Self> {
        decode(Slice::of_file(bytes)).ok()
    }
}

fn decode(bytes: Slice) -> Result<Event, Fault> {
    let mut event = Event { wall_time: 0.0, step: 0, what: What::Other };
    for field in bytes.fields() {
        let Field { number, value, .. } = field?;
        match (number, value) {
            (WALL_TIME, Value::Fixed64(bits)) => event.wall_time = f64::from_bits(bits),
            (STEP, Value::Varint(step)) => event.step = step,
            (FILE_VERSION, Value::Bytes(text)) => event.what = What::Version(lossy(text)),
            (SUMMARY, Value::Bytes(summary)) => event.what = What::Scalars(scalars(summary)?),
            (SESSION_LOG, Value::Bytes(log)) => {
                for field in log.fields() {
                    let Field { number, value, .. } = field?;
                    if matches!((number, value), (STATUS, Value::Varint(STATUS_START))) {
                        event.what = What::Start;
                    }
                }
            }
            _ => {}
        }
    }
    Ok(event)
}

/// Tags and numbers; nothing of values of another kind.
fn scalars(summary: Slice) -> Result<Vec<(String, f32)>, Fault> {
    let mut scalars = Vec::new();
    for field in summary.fields() {
        let Field { number: VALUE, value: Value::Bytes(entry), .. } = field? else { continue };
        let (mut tag, mut number) = (String::new(), None);
        for field in entry.fields() {
            let field = field?;
            match (field.number, field.value) {
                (TAG, Value::Bytes(text)) => tag = lossy(text),
                (SIMPLE_VALUE, Value::Fixed32(bits)) => number = Some(f32::from_bits(bits)),
                _ => {}
            }
        }
        scalars.extend(number.map(|number| (tag, number)));
    }
    Ok(scalars)
}

fn lossy(text: Slice) -> String {
    String::from_utf8_lossy(text.bytes).into_owned()
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
