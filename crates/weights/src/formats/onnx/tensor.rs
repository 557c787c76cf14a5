//! A tensor where it lies in the file, and its values.

use alexnet_network::Array;
use half::{bf16, f16};

use super::schema::data_type::{self, BFLOAT16, BOOL, FLOAT, FLOAT16, INT32, INT64};
use super::schema::tensor as field;
use crate::formats::numbers::Numbers;
use crate::protobuf::{Fault, Field, Slice, Value};
use crate::values::{self, Kind};

/// More than any operator here has.
const DIMENSIONS_MAX: usize = 8;
/// Sizes: a shape, or pads before and behind it.
const INTEGERS_MAX: usize = 2 * DIMENSIONS_MAX;

/// A tensor that was not copied yet.
#[derive(Clone, Debug)]
pub(super) struct Tensor<'a> {
    pub(super) name: &'a str,
    pub(super) shape: Vec<usize>,
    slice: Slice<'a>,
    data_type: u64,
    /// Product of its shape.
    len: usize,
    /// Values as bytes, if it has them so.
    raw: Option<Value<'a>>,
}

impl<'a> Tensor<'a> {
    /// Everything but the values.
    ///
    /// # Errors
    /// When it is malformed, too large, or keeps its values in another file.
    pub(super) fn read(slice: Slice<'a>) -> Result<Self, Fault> {
        let mut tensor =
            Self { name: "", shape: Vec::new(), slice, data_type: 0, len: 0, raw: None };
        let mut outside = false;
        for part in slice.fields() {
            let part = part?;
            match part.number {
                field::NAME => tensor.name = part.bytes()?.text()?,
                field::DATA_TYPE => tensor.data_type = part.varint()?,
                field::DIMS => tensor.add_dimensions(part)?,
                field::RAW_DATA => tensor.raw = Some(part.value),
                field::EXTERNAL_DATA => outside = true,
                field::DATA_LOCATION => outside |= part.varint()? != 0,
                field::SEGMENT => return Err(slice.fault("a tensor is split into segments")),
                _ => {}
            }
        }
        if outside {
            return Err(tensor.fault(
                "keeps its values in another file: save the model as one file (torch.onnx.export \
                 with external_data=False, or onnx.save of a loaded model)",
            ));
        }
        let len = tensor.shape.iter().try_fold(1_usize, |len, &size| len.checked_mul(size));
        tensor.len = len.ok_or_else(|| {
            tensor.fault(format!("has shape {:?}, more than any memory holds", tensor.shape))
        })?;
        Ok(tensor)
    }

    fn add_dimensions(&mut self, part: Field) -> Result<(), Fault> {
        let mut add = |size: u64| {
            let size = i64::try_from(size).ok().and_then(|size| usize::try_from(size).ok());
            match size {
                Some(size) if self.shape.len() < DIMENSIONS_MAX => self.shape.push(size),
                Some(_) => return Err(format!("has more than {DIMENSIONS_MAX} dimensions")),
                None => return Err("has a negative dimension".to_owned()),
            }
            Ok(())
        };
        let result = match part.value {
            Value::Bytes(packed) => {
                let mut result = Ok(());
                for size in packed.each_varint() {
                    result = result.and(add(size?));
                    if result.is_err() {
                        break;
                    }
                }
                result
            }
            _ => add(part.varint()?),
        };
        result.map_err(|reason| self.fault(reason))
    }

    /// A fault of this tensor.
    pub(super) fn fault(&self, reason: impl AsRef<str>) -> Fault {
        self.slice.fault(format!("tensor '{}' {}", self.name, reason.as_ref()))
    }

    /// How many values it has.
    pub(super) fn len(&self) -> usize {
        self.len
    }

    /// Its values as an array of this name; a matrix may be `transposed`.
    ///
    /// # Errors
    /// When they are of another type, not as many as the shape says, or not finite.
    pub(super) fn array(&self, name: String, transposed: bool) -> Result<Array, Fault> {
        let (mut shape, mut values) = (self.shape.clone(), self.floats()?);
        if transposed && let &[_, columns] = &self.shape[..] {
            shape.reverse();
            let column = |column| values.iter().skip(column).step_by(columns);
            values = (0..columns).flat_map(column).copied().collect();
        }
        Ok(Array { name, shape, values })
    }

    /// Its values.
    ///
    /// # Errors
    /// As [`Self::array`].
    pub(super) fn floats(&self) -> Result<Vec<f32>, Fault> {
        let fields: &[_] = match (self.data_type, self.raw) {
            (FLOAT, Some(_)) => &[(field::RAW_DATA, Kind::F32)],
            (FLOAT16, Some(_)) => &[(field::RAW_DATA, Kind::F16)],
            (BFLOAT16, Some(_)) => &[(field::RAW_DATA, Kind::Bf16)],
            (FLOAT, None) => &[(field::FLOAT_DATA, Kind::F32)],
            (FLOAT16, None) => return self.halves(|bits| f16::from_bits(bits).to_f32()),
            (BFLOAT16, None) => return self.halves(|bits| bf16::from_bits(bits).to_f32()),
            (other, _) => {
                return Err(self.fault(format!(
                    "is {}, but only FLOAT, FLOAT16 and BFLOAT16 are read: convert it",
                    data_type::name(other)
                )));
            }
        };
        let name = format!("tensor '{}'", self.name);
        let numbers = Numbers { message: self.slice, fields, name };
        self.expect(numbers.count()?)?;
        numbers.values()
    }

    /// Whether the file holds as many values as the shape says.
    fn expect(&self, found: u64) -> Result<(), Fault> {
        if found == self.len as u64 {
            return Ok(());
        }
        Err(self.fault(format!(
            "has shape {:?}, {} values, but the file holds {found}",
            self.shape, self.len
        )))
    }

    /// Its only value.
    ///
    /// # Errors
    /// When it has none or several, or as [`Self::array`].
    pub(super) fn scalar(&self) -> Result<f32, Fault> {
        let values = if self.len == 1 { self.floats()? } else { Vec::new() };
        values.first().copied().ok_or_else(|| {
            self.fault(format!("has shape {:?} where a single number stands", self.shape))
        })
    }

    /// Of `int32_data`, where numbers of 16 bits stand as integers.
    fn halves(&self, value: impl Fn(u16) -> f32) -> Result<Vec<f32>, Fault> {
        // Counted before memory is taken for them.
        let mut found = 0;
        self.each_integer(field::INT32_DATA, |_| {
            found += 1;
            Ok(())
        })?;
        self.expect(found)?;
        let mut values = Vec::with_capacity(self.len);
        self.each_integer(field::INT32_DATA, |bits| {
            let bits = u16::try_from(bits);
            let bits = bits.map_err(|_| self.fault("holds a number of more than 16 bits"))?;
            values.push(value(bits));
            Ok(())
        })?;
        values::check(&values).map_err(|found| self.fault(found.to_string()))?;
        Ok(values)
    }

    fn each_integer(
        &self,
        number: u32,
        mut visit: impl FnMut(u64) -> Result<(), Fault>,
    ) -> Result<(), Fault> {
        for part in self.slice.fields() {
            let part = part?;
            match part.value {
                _ if part.number != number => {}
                Value::Bytes(packed) => packed.each_varint().try_for_each(|n| visit(n?))?,
                Value::Left(stretch) => {
                    let bytes = stretch.bytes();
                    let bytes =
                        bytes.map_err(|error| self.fault(format!("is not read: {error}")))?;
                    let packed = Slice::new(&bytes, stretch.offset);
                    packed.each_varint().try_for_each(|n| visit(n?))?;
                }
                _ => visit(part.varint()?)?,
            }
        }
        Ok(())
    }

    /// Its values, if it holds a few integers or truth values.
    ///
    /// # Errors
    /// When it holds anything else.
    pub(super) fn integers(&self) -> Result<Vec<i64>, Fault> {
        let size = match self.data_type {
            INT64 => size_of::<i64>(),
            INT32 => size_of::<i32>(),
            BOOL => size_of::<bool>(),
            other => {
                let name = data_type::name(other);
                return Err(self.fault(format!("is {name} where integers stand")));
            }
        };
        let mut integers = Vec::new();
        let mut add = |integer: i64| {
            integers.push(integer);
            let few = integers.len() <= INTEGERS_MAX;
            few.then_some(()).ok_or_else(|| self.fault("holds too many integers for sizes"))
        };
        if let Some(raw) = self.raw {
            let Value::Bytes(raw) = raw else { return Err(self.fault("holds no few integers")) };
            if !raw.bytes.len().is_multiple_of(size) {
                return Err(self.fault(format!("ends within a number of {size} bytes")));
            }
            for bytes in raw.bytes.chunks(size) {
                let negative = size > 1 && bytes.last().is_some_and(|&byte| byte >= 0x80);
                let mut whole = [if negative { 0xff } else { 0 }; size_of::<i64>()];
                whole[..bytes.len()].copy_from_slice(bytes);
                add(i64::from_le_bytes(whole))?;
            }
        } else {
            let wide = self.data_type == INT64;
            let number = if wide { field::INT64_DATA } else { field::INT32_DATA };
            self.each_integer(number, |integer| add(integer as i64))?;
        }
        if integers.len() != self.len {
            let found = integers.len();
            return Err(self.fault(format!("has shape {:?}, but {found} values", self.shape)));
        }
        Ok(integers)
    }
}
