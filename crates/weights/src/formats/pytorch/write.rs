//! Named arrays become a state dict that `torch.load(…, weights_only=True)` takes.
//!
//! ```text
//! archive/data.pkl      collections.OrderedDict of torch._utils._rebuild_tensor_v2(storage, …)
//! archive/byteorder     little
//! archive/data/0 …      each tensor's values
//! archive/version       3
//! archive/alexnet.json  table, classes and preprocessing, which PyTorch passes over
//! ```

use std::io::{self, Write};

use alexnet_network::Array;
use zip::ZipWriter;
use zip::write::SimpleFileOptions;

use super::DESCRIPTION_ENTRY;
use crate::ModelFile;

/// Values begin at multiples of so many bytes in the file, as PyTorch writes them.
const ALIGNMENT_BYTES: u16 = 64;

/// Opcodes of pickle's protocol 2 (CPython, `Lib/pickletools.py`).
mod op {
    pub(super) const PROTO_2: &[u8] = b"\x80\x02";
    pub(super) const GLOBAL: u8 = b'c';
    pub(super) const EMPTY_TUPLE: u8 = b')';
    pub(super) const REDUCE: u8 = b'R';
    pub(super) const MARK: u8 = b'(';
    pub(super) const TUPLE: u8 = b't';
    pub(super) const BINUNICODE: u8 = b'X';
    pub(super) const BININT: u8 = b'J';
    pub(super) const LONG1: u8 = 0x8a;
    pub(super) const NEWFALSE: u8 = 0x89;
    pub(super) const BINPERSID: u8 = b'Q';
    pub(super) const SETITEMS: u8 = b'u';
    pub(super) const STOP: u8 = b'.';
}

/// Writes `file` as a state dict with the names of its tensors.
///
/// # Errors
/// As `out`.
pub(crate) fn write(file: &ModelFile, out: &mut dyn Write) -> io::Result<()> {
    let mut out = Silent { out, error: None };
    let written = write_archive(file, &mut out);
    out.error.map_or(written, Err)
}

/// A file that is told of its end by its first error, once all is over: the archive's writer prints
/// lines of its own on what it cannot write.
struct Silent<'a> {
    out: &'a mut dyn Write,
    error: Option<io::Error>,
}

impl Write for Silent<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.error.is_none() {
            self.error = self.out.write_all(bytes).err();
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(()) // Whoever made `out` brings it to the disk.
    }
}

fn write_archive(file: &ModelFile, out: &mut Silent<'_>) -> io::Result<()> {
    let mut archive = ZipWriter::new_stream(out);
    let options = SimpleFileOptions::default()
        .compression_method(zip::CompressionMethod::Stored)
        .with_alignment(ALIGNMENT_BYTES);
    let mut entry = |name: &str, bytes: &[u8]| -> io::Result<()> {
        // Beyond 4 GiB an archive needs wider lengths, which must be asked for.
        let options = options.large_file(bytes.len() >= u32::MAX as usize);
        archive.start_file(format!("archive/{name}"), options)?;
        archive.write_all(bytes)
    };
    entry("data.pkl", &pickle(&file.weights))?;
    entry("byteorder", b"little")?;
    for (index, array) in file.weights.iter().enumerate() {
        entry(&format!("data/{index}"), bytemuck::cast_slice(&array.values))?;
    }
    entry("version", b"3\n")?;
    entry(DESCRIPTION_ENTRY, serde_json::to_string(&file.description())?.as_bytes())?;
    archive.finish()?;
    Ok(())
}

/// The dictionary of all tensors, whose values are the entries `data/0`, `data/1`…
fn pickle(arrays: &[Array]) -> Vec<u8> {
    let mut bytes = op::PROTO_2.to_vec();
    put_ordered_dict(&mut bytes);
    bytes.push(op::MARK);
    for (index, array) in arrays.iter().enumerate() {
        put_text(&mut bytes, &array.name);
        put_tensor(&mut bytes, array, index);
    }
    bytes.extend([op::SETITEMS, op::STOP]);
    bytes
}

/// `_rebuild_tensor_v2(storage, 0, shape, strides, requires_grad=False, backward_hooks={})`
fn put_tensor(bytes: &mut Vec<u8>, array: &Array, index: usize) {
    put_global(bytes, "torch._utils", "_rebuild_tensor_v2");
    bytes.push(op::MARK);
    bytes.push(op::MARK);
    put_text(bytes, "storage");
    put_global(bytes, "torch", "FloatStorage");
    put_text(bytes, &index.to_string());
    put_text(bytes, "cpu");
    put_number(bytes, array.values.len());
    bytes.extend([op::TUPLE, op::BINPERSID]);
    put_number(bytes, 0);
    put_numbers(bytes, &array.shape);
    put_numbers(bytes, &strides(&array.shape));
    bytes.push(op::NEWFALSE);
    put_ordered_dict(bytes);
    bytes.extend([op::TUPLE, op::REDUCE]);
}

fn put_ordered_dict(bytes: &mut Vec<u8>) {
    put_global(bytes, "collections", "OrderedDict");
    bytes.extend([op::EMPTY_TUPLE, op::REDUCE]);
}

fn put_global(bytes: &mut Vec<u8>, module: &str, name: &str) {
    bytes.push(op::GLOBAL);
    bytes.extend(format!("{module}\n{name}\n").bytes());
}

fn put_text(bytes: &mut Vec<u8>, text: &str) {
    bytes.push(op::BINUNICODE);
    bytes.extend((text.len() as u32).to_le_bytes());
    bytes.extend(text.bytes());
}

/// A number as Python pickles it: readers of less than all of pickle know no other form.
fn put_number(bytes: &mut Vec<u8>, number: usize) {
    if let Ok(number) = i32::try_from(number) {
        bytes.push(op::BININT);
        bytes.extend(number.to_le_bytes());
    } else {
        // Nine bytes, the last of which says that it is not negative.
        bytes.extend([op::LONG1, 9]);
        bytes.extend((number as u64).to_le_bytes());
        bytes.push(0);
    }
}

fn put_numbers(bytes: &mut Vec<u8>, numbers: &[usize]) {
    bytes.push(op::MARK);
    numbers.iter().for_each(|&number| put_number(bytes, number));
    bytes.push(op::TUPLE);
}

/// Distances in elements between neighbours along each dimension.
fn strides(shape: &[usize]) -> Vec<usize> {
    (1..=shape.len()).map(|from| shape[from..].iter().product()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_those_of_pythons_pickle() {
        // pickle.dumps(n, 2) without its head and full stop; Python shortens the smallest further.
        let cases: [(usize, &[u8]); 3] = [
            (37_748_736, b"J\x00\x00\x40\x02"),
            (i32::MAX as usize, b"J\xff\xff\xff\x7f"),
            (1 << 31, b"\x8a\x09\0\0\0\x80\0\0\0\0\0"),
        ];
        for (number, expected) in cases {
            let mut bytes = Vec::new();
            put_number(&mut bytes, number);
            assert_eq!(bytes, expected, "{number}");
        }
    }
}
