//! Records in a MATLAB 5 file, packed or not: as much of the format as `meta.mat` needs.
//!
//! ```text
//! 124 bytes of text, u16 version, "IM" | element | element | ...
//! element:  u32 kind, u32 length, contents, padded to 8
//!       or: u16 kind, u16 length, 4 bytes of contents
//! packed (15):  zlib of one element
//! matrix (14):  flags, dimensions, name, then
//!               numbers or text: one element
//!               records: the length of field names, the names, a matrix for each field of each
//! ```
//!
//! Crates that read these files panic on damaged ones. All lengths here are of borrowed slices:
//! nothing is allocated by what a file claims.

use std::io::Read;

use flate2::read::ZlibDecoder;

const HEADER_BYTES: usize = 128;
/// At the end of the header, of files whose numbers are little-endian.
const LITTLE_ENDIAN: &[u8] = b"\x00\x01IM";
/// Longest variable, in bytes once unpacked.
const VARIABLE_BYTES_MAX: u64 = 64 << 20;
/// Most fields of a record; the devkit's have 8.
const FIELDS_MAX: usize = 256;

const MATRIX: u32 = 14;
const PACKED: u32 = 15;
/// Classes of matrices.
const RECORDS: u8 = 2;

/// The records of one variable.
#[derive(Debug)]
pub(super) struct Records {
    fields: Vec<String>,
    /// Field after field, record after record.
    values: Vec<Value>,
}

/// One of [`Records`].
pub(super) struct Record<'a> {
    fields: &'a [String],
    values: &'a [Value],
}

#[derive(Debug)]
enum Value {
    Number(f64),
    Text(String),
    /// Anything else, which nobody asks for.
    Other,
}

/// The records of `variable` in the file of these bytes, or why there are none.
pub(super) fn records(bytes: &[u8], variable: &str) -> Result<Records, String> {
    let header = bytes.get(..HEADER_BYTES).filter(|header| header.ends_with(LITTLE_ENDIAN));
    header.ok_or("it is not a MATLAB 5 file, or of a big-endian machine: restore it")?;
    let mut file = Elements(&bytes[HEADER_BYTES..]);
    while !file.0.is_empty() {
        let element = file.next()?;
        let unpacked;
        let matrix = match element {
            (PACKED, packed) => {
                unpacked = unpack(packed)?;
                Elements(&unpacked).next()?
            }
            element => element,
        };
        if let (MATRIX, contents) = matrix {
            let Matrix { class, dimensions, name, rest } = open(contents)?;
            if name == variable.as_bytes() && class == RECORDS {
                return read_records(dimensions, rest);
            }
        }
    }
    Err(format!("there are no records called {variable}: restore it"))
}

impl Records {
    pub(super) fn iter(&self) -> impl Iterator<Item = Record<'_>> {
        let records = self.values.chunks_exact(self.fields.len());
        records.map(|values| Record { fields: &self.fields, values })
    }
}

impl Record<'_> {
    /// A field that holds a whole number from 0.
    pub(super) fn number(&self, field: &str) -> Result<u64, String> {
        match self.value(field) {
            Some(&Value::Number(number)) if number >= 0.0 && number.fract() == 0.0 => {
                Ok(number as u64)
            }
            _ => Err(format!("a record has no {field} that is a number: restore it")),
        }
    }

    /// A field that holds text.
    pub(super) fn text(&self, field: &str) -> Result<String, String> {
        match self.value(field) {
            Some(Value::Text(text)) => Ok(text.clone()),
            _ => Err(format!("a record has no {field} that is text: restore it")),
        }
    }

    fn value(&self, field: &str) -> Option<&Value> {
        self.values.get(self.fields.iter().position(|name| name == field)?)
    }
}

/// What is left to read of a run of elements.
struct Elements<'a>(&'a [u8]);

impl<'a> Elements<'a> {
    /// The kind and the contents of the next one.
    fn next(&mut self) -> Result<(u32, &'a [u8]), String> {
        let cut = || "it ends in the middle of a value: restore it".to_owned();
        let (tag, rest) = self.0.split_first_chunk::<8>().ok_or_else(cut)?;
        let [kind, len] = [&tag[..4], &tag[4..]].map(u32_of);
        if kind >> 16 != 0 {
            self.0 = rest;
            // The tag's last four bytes are the contents.
            let contents = tag[4..].get(..(kind >> 16) as usize).ok_or_else(cut)?;
            return Ok((kind & 0xffff, contents));
        }
        let len = len as usize;
        let contents = rest.get(..len).ok_or_else(cut)?;
        // What is packed is not padded, nor need the last be.
        let padded = if kind == PACKED { len } else { len.next_multiple_of(8) };
        self.0 = rest.get(padded..).unwrap_or_default();
        Ok((kind, contents))
    }
}

fn u32_of(bytes: &[u8]) -> u32 {
    bytes.iter().rev().fold(0, |number, &byte| number << 8 | u32::from(byte))
}

fn unpack(packed: &[u8]) -> Result<Vec<u8>, String> {
    let mut bytes = Vec::new();
    let read = ZlibDecoder::new(packed).take(VARIABLE_BYTES_MAX + 1).read_to_end(&mut bytes);
    match read {
        Ok(_) if bytes.len() as u64 <= VARIABLE_BYTES_MAX => Ok(bytes),
        Ok(_) => Err(format!("it unpacks to more than {VARIABLE_BYTES_MAX} bytes: restore it")),
        Err(_) => Err("its compression is damaged: restore it".into()),
    }
}

/// The beginning of a matrix, and what follows.
struct Matrix<'a> {
    class: u8,
    /// An i32 each.
    dimensions: &'a [u8],
    name: &'a [u8],
    rest: Elements<'a>,
}

fn open(contents: &[u8]) -> Result<Matrix<'_>, String> {
    let mut rest = Elements(contents);
    let (_, flags) = rest.next()?;
    let (_, dimensions) = rest.next()?;
    let (_, name) = rest.next()?;
    let class = *flags.first().ok_or("a variable without a class: restore it")?;
    Ok(Matrix { class, dimensions, name, rest })
}

fn read_records(dimensions: &[u8], mut elements: Elements) -> Result<Records, String> {
    let (_, name_len) = elements.next()?;
    let (_, names) = elements.next()?;
    let name_len = u32_of(name_len.get(..4).unwrap_or_default()) as usize;
    if name_len == 0 || names.is_empty() || names.len() / name_len > FIELDS_MAX {
        return Err(format!("records without fields, or more than {FIELDS_MAX}: restore it"));
    }
    let field = |name: &[u8]| {
        let end = name.iter().position(|&byte| byte == 0).unwrap_or(name.len());
        String::from_utf8_lossy(&name[..end]).into_owned()
    };
    let fields: Vec<String> = names.chunks(name_len).map(field).collect();
    let mut values = Vec::new();
    while !elements.0.is_empty() {
        let (_, matrix) = elements.next()?;
        // An empty matrix may be no bytes at all.
        values.push(if matrix.is_empty() { Value::Other } else { value(matrix)? });
    }
    let sizes = dimensions.chunks(4).map(|size| u64::from(u32_of(size)));
    let promised = sizes.fold(fields.len() as u64, u64::saturating_mul);
    match values.len() as u64 == promised {
        true => Ok(Records { fields, values }),
        false => Err("it has not as many records as it says: restore it".into()),
    }
}

fn value(matrix: &[u8]) -> Result<Value, String> {
    const TEXT: u8 = 4;
    const NUMBERS: std::ops::RangeInclusive<u8> = 6..=15;
    let Matrix { class, rest: mut elements, .. } = open(matrix)?;
    Ok(match class {
        TEXT => {
            let (kind, contents) = elements.next()?;
            text(kind, contents).map_or(Value::Other, Value::Text)
        }
        class if NUMBERS.contains(&class) => {
            let (kind, contents) = elements.next()?;
            number(kind, contents).map_or(Value::Other, Value::Number)
        }
        _ => Value::Other,
    })
}

/// Text in the letters it is stored in: Latin-1, UTF-16 or UTF-8.
fn text(kind: u32, bytes: &[u8]) -> Option<String> {
    match kind {
        1 | 2 => Some(bytes.iter().map(|&byte| char::from(byte)).collect()),
        4 | 17 => {
            let units = bytes.chunks_exact(2).map(|unit| u16::from_le_bytes([unit[0], unit[1]]));
            char::decode_utf16(units).collect::<Result<_, _>>().ok()
        }
        16 => String::from_utf8(bytes.to_vec()).ok(),
        _ => None,
    }
}

/// A single number; whole ones are stored in the fewest bytes.
fn number(kind: u32, bytes: &[u8]) -> Option<f64> {
    Some(match kind {
        1 => i8::from_le_bytes(bytes.try_into().ok()?).into(),
        2 => u8::from_le_bytes(bytes.try_into().ok()?).into(),
        3 => i16::from_le_bytes(bytes.try_into().ok()?).into(),
        4 => u16::from_le_bytes(bytes.try_into().ok()?).into(),
        5 => i32::from_le_bytes(bytes.try_into().ok()?).into(),
        6 => u32::from_le_bytes(bytes.try_into().ok()?).into(),
        7 => f32::from_le_bytes(bytes.try_into().ok()?).into(),
        9 => f64::from_le_bytes(bytes.try_into().ok()?),
        _ => return None,
    })
}
