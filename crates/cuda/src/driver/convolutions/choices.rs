//! Which engines were found to be the fastest, kept for later runs.

use std::collections::BTreeMap;

use alexnet_ops::{ConvPass, ConvShape};

use crate::Products;
use crate::driver::cache::{Cache, hash_of};
use crate::driver::gpu::Gpu;

/// Changes with the engines that are tried and the order in which these are counted: what was the fastest
/// among others is found anew.
const LISTS: u32 = 3;

/// The engines found to be the fastest, in this run and in earlier ones.
pub(super) struct Choices {
    cache: Cache,
    name: String,
    found: BTreeMap<String, usize>,
}

impl Choices {
    pub(super) fn read(gpu: &Gpu, products: Products, version: usize) -> Self {
        let cache = Cache::usual();
        let name = format!("engines-{:016x}", hash_of(&(&gpu.name, version, products, LISTS)));
        let text = cache.read(&name).and_then(|bytes| String::from_utf8(bytes).ok());
        let lines = text.iter().flat_map(|text| text.lines());
        let line = |line: &str| {
            let (key, number) = line.rsplit_once(' ')?;
            Some((key.to_owned(), number.parse().ok()?))
        };
        let found = lines.filter_map(line).collect();
        Self { cache, name, found }
    }

    fn key(shape: &ConvShape, pass: ConvPass) -> String {
        format!("{pass:?} {shape:?}")
    }

    pub(super) fn of(&self, shape: &ConvShape, pass: ConvPass) -> Option<usize> {
        self.found.get(&Self::key(shape, pass)).copied()
    }

    pub(super) fn write_down(&mut self, shape: &ConvShape, pass: ConvPass, number: usize) {
        self.found.insert(Self::key(shape, pass), number);
        let lines = self.found.iter().map(|(key, number)| format!("{key} {number}\n"));
        self.cache.write(&self.name, lines.collect::<String>().as_bytes());
    }
}
