//! An operator of a graph, its inputs, outputs and settings.

use super::schema::{attribute, node as field};
use super::tensor::Tensor;
use crate::protobuf::{Fault, Slice, Value};

/// Inputs or outputs; what joins more is no layer of this network.
const ENDS_MAX: usize = 16;
/// Integers in a setting: the pads of a window in space are six.
const INTEGERS_MAX: usize = 8;

/// An operator.
#[derive(Clone, Debug)]
pub(super) struct Node<'a> {
    slice: Slice<'a>,
    name: &'a str,
    pub(super) op: &'a str,
    /// Names; empty for what is left out.
    pub(super) inputs: Vec<&'a str>,
    pub(super) outputs: Vec<&'a str>,
}

impl<'a> Node<'a> {
    /// Everything but its settings.
    ///
    /// # Errors
    /// When it is malformed, holds a graph, or is not one of ONNX's own operators.
    pub(super) fn read(slice: Slice<'a>) -> Result<Self, Fault> {
        let mut node = Self { slice, name: "", op: "", inputs: Vec::new(), outputs: Vec::new() };
        let (mut domain, mut has_graph) = ("", false);
        for part in slice.fields() {
            let part = part?;
            match part.number {
                field::NAME => node.name = part.bytes()?.text()?,
                field::OP_TYPE => node.op = part.bytes()?.text()?,
                field::DOMAIN => domain = part.bytes()?.text()?,
                field::INPUT => node.inputs.push(part.bytes()?.text()?),
                field::OUTPUT => node.outputs.push(part.bytes()?.text()?),
                field::ATTRIBUTE => has_graph |= holds_graph(part.bytes()?)?,
                _ => {}
            }
            if node.inputs.len().max(node.outputs.len()) > ENDS_MAX {
                return Err(slice.fault(format!("a node with more than {ENDS_MAX} inputs")));
            }
        }
        if !matches!(domain, "" | "ai.onnx") {
            return Err(node.fault(format!("comes from '{domain}': only ONNX's own are read")));
        }
        if has_graph {
            return Err(node.fault(
                "holds a graph of its own: only plain layers are read (of PyTorch's exporters, \
                 torch.onnx.export with dynamo=True writes fewer of these)",
            ));
        }
        Ok(node)
    }

    /// A fault of this node.
    pub(super) fn fault(&self, reason: impl AsRef<str>) -> Fault {
        let named = [self.name, self.output()].into_iter().find(|name| !name.is_empty());
        let named = named.unwrap_or("without a name");
        self.slice.fault(format!("node '{named}' ({}) {}", self.op, reason.as_ref()))
    }

    /// Its input `index`, or "".
    pub(super) fn input(&self, index: usize) -> &'a str {
        self.inputs.get(index).copied().unwrap_or_default()
    }

    /// Its first output, or "".
    pub(super) fn output(&self) -> &'a str {
        self.outputs.first().copied().unwrap_or_default()
    }

    /// Refuses settings whose meaning is not known here.
    ///
    /// # Errors
    /// When it has one that is not among `names`.
    pub(super) fn only(&self, names: &[&str]) -> Result<(), Fault> {
        for setting in self.settings() {
            let name = setting?.0;
            if !names.contains(&name) {
                return Err(self.fault(format!("has the setting '{name}', which is not read")));
            }
        }
        Ok(())
    }

    /// Names and bytes of its settings.
    fn settings(&self) -> impl Iterator<Item = Result<(&'a str, Slice<'a>), Fault>> + use<'a> {
        let parts = self.slice.fields().filter_map(|part| match part {
            Ok(part) if part.number == field::ATTRIBUTE => Some(part.bytes()),
            Ok(_) => None,
            Err(fault) => Some(Err(fault)),
        });
        parts.map(|setting| {
            let setting = setting?;
            for part in setting.fields() {
                let part = part?;
                if part.number == attribute::NAME {
                    return Ok((part.bytes()?.text()?, setting));
                }
            }
            Err(setting.fault("a setting without a name"))
        })
    }

    fn setting(&self, name: &str) -> Result<Option<Slice<'a>>, Fault> {
        for setting in self.settings() {
            let (found, setting) = setting?;
            if found == name {
                return Ok(Some(setting));
            }
        }
        Ok(None)
    }

    /// What field `number` of a setting holds.
    fn value(&self, name: &str, number: u32) -> Result<Option<Value<'a>>, Fault> {
        let Some(setting) = self.setting(name)? else { return Ok(None) };
        for part in setting.fields() {
            let part = part?;
            if part.number == number {
                return Ok(Some(part.value));
            }
        }
        Err(setting.fault(format!("the setting '{name}' is of another kind than it should be")))
    }

    /// An integer, if it is set.
    pub(super) fn int(&self, name: &str) -> Result<Option<i64>, Fault> {
        match self.value(name, attribute::INT)? {
            Some(Value::Varint(value)) => Ok(Some(value as i64)),
            Some(_) => Err(self.fault(format!("has '{name}', but as no integer"))),
            None => Ok(None),
        }
    }

    /// A finite number, or `default`.
    pub(super) fn float(&self, name: &str, default: f32) -> Result<f32, Fault> {
        match self.value(name, attribute::FLOAT)? {
            Some(Value::Fixed32(bits)) if f32::from_bits(bits).is_finite() => {
                Ok(f32::from_bits(bits))
            }
            Some(_) => Err(self.fault(format!("has '{name}', but as no number"))),
            None => Ok(default),
        }
    }

    /// A text, if it is set.
    pub(super) fn text(&self, name: &str) -> Result<Option<&'a str>, Fault> {
        match self.value(name, attribute::STRING)? {
            Some(Value::Bytes(text)) => text.text().map(Some),
            Some(_) => Err(self.fault(format!("has '{name}', but as no text"))),
            None => Ok(None),
        }
    }

    /// A tensor, if it is set.
    pub(super) fn tensor(&self, name: &str) -> Result<Option<Tensor<'a>>, Fault> {
        match self.value(name, attribute::TENSOR)? {
            Some(Value::Bytes(tensor)) => Tensor::read(tensor).map(Some),
            Some(_) => Err(self.fault(format!("has '{name}', but as no tensor"))),
            None => Ok(None),
        }
    }

    /// A few integers, if they are set.
    pub(super) fn ints(&self, name: &str) -> Result<Option<Vec<i64>>, Fault> {
        let Some(setting) = self.setting(name)? else { return Ok(None) };
        let mut integers = Vec::new();
        for part in setting.fields() {
            let part = part?;
            match part.value {
                _ if part.number != attribute::INTS => {}
                Value::Bytes(packed) => {
                    for integer in packed.each_varint().take(INTEGERS_MAX + 1) {
                        integers.push(integer? as i64);
                    }
                }
                _ => integers.push(part.varint()? as i64),
            }
            if integers.len() > INTEGERS_MAX {
                return Err(self.fault(format!("has more integers in '{name}' than are read")));
            }
        }
        Ok(Some(integers))
    }
}

fn holds_graph(setting: Slice) -> Result<bool, Fault> {
    for part in setting.fields() {
        if matches!(part?.number, attribute::GRAPH | attribute::GRAPHS) {
            return Ok(true);
        }
    }
    Ok(false)
}
