//! Arrays of real numbers as this device keeps them.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use crate::blocks::Blocks;
use crate::driver::{Buffer, Gpu, Reals, RealsMut, View, ViewMut};
use crate::elementwise::round;
use crate::scratch::Room;

/// An array of real numbers: in `f32`, rounded to bf16, or both.
///
/// Parameters, their gradients and sums are `f32`. What flows through a network whose products are
/// bf16 is bf16: half the bytes to move, and what products take anyway. Weights are then kept in
/// both, the bf16 ones rounded anew with each update.
pub struct Floats {
    wide: Option<Buffer<f32>>,
    rounded: Option<Buffer<u16>>,
    stamp: u64,
    columns: Option<usize>,
    /// Blocks in which a convolution's input was made, which that convolution asks for. What is remembered as a
    /// graph writes the array unseen.
    laid_out: Option<Blocks>,
}

/// A number that no array had yet.
fn new_stamp() -> u64 {
    static LAST: AtomicU64 = AtomicU64::new(0);
    LAST.fetch_add(1, Relaxed) + 1
}

/// Whether numbers begin where kernels can take eight of them at once.
pub(crate) fn begin_whole(numbers: Reals<'_>) -> bool {
    match numbers {
        Reals::F32(view) => view.begins_whole(),
        Reals::Bf16(view) => view.begins_whole(),
    }
}

const VALUES_ONLY: &str = "an array of a network's values where one of f32 is wanted";

impl Floats {
    /// `len` zeros in `f32`.
    pub(crate) fn wide(gpu: &Gpu, len: usize) -> Self {
        Self::new(Some(gpu.zeros(len)), None)
    }

    /// `len` zeros in bf16.
    pub(crate) fn rounded(gpu: &Gpu, len: usize) -> Self {
        Self::new(None, Some(gpu.zeros(len)))
    }

    /// `len` zeros in both.
    pub(crate) fn both(gpu: &Gpu, len: usize) -> Self {
        Self::new(Some(gpu.zeros(len)), Some(gpu.zeros(len)))
    }

    fn new(wide: Option<Buffer<f32>>, rounded: Option<Buffer<u16>>) -> Self {
        Self { wide, rounded, stamp: new_stamp(), columns: None, laid_out: None }
    }

    /// Another number after whatever may have written the array.
    pub(crate) fn stamp(&self) -> u64 {
        self.stamp
    }

    /// What there is to be known of its contents is another from now on.
    fn is_written(&mut self) {
        self.stamp = new_stamp();
        self.columns = None;
        self.laid_out = None;
    }

    /// Says that rows of so many stand in it.
    pub(crate) fn has_columns(&mut self, columns: usize) {
        self.columns = Some(columns);
    }

    /// How long its rows are, where that was said since it was last written.
    pub(crate) fn columns(&self) -> Option<usize> {
        self.columns
    }

    /// The first `len` numbers in `f32`, to be read.
    pub(crate) fn first(&self, len: usize) -> View<'_, f32> {
        self.wide.as_ref().expect(VALUES_ONLY).first(len)
    }

    /// The same to be written.
    pub(crate) fn first_mut(&mut self, len: usize) -> ViewMut<'_, f32> {
        self.is_written();
        assert!(self.rounded.is_none(), "weights are written with their roundings");
        self.wide.as_mut().expect(VALUES_ONLY).first_mut(len)
    }

    /// The first `len` numbers in both kinds, to be written.
    pub(crate) fn first_of_both(
        &mut self,
        len: usize,
    ) -> (ViewMut<'_, f32>, Option<ViewMut<'_, u16>>) {
        self.is_written();
        let wide = self.wide.as_mut().expect(VALUES_ONLY).first_mut(len);
        (wide, self.rounded.as_mut().map(|buffer| buffer.first_mut(len)))
    }

    /// The inputs of so many images in blocks, to be written: until then nobody reads them in another way.
    pub(crate) fn blocks_mut(&mut self, blocks: &Blocks, images: usize) -> RealsMut<'_> {
        self.is_written();
        self.laid_out = Some(*blocks);
        self.any_mut(blocks.len(images))
    }

    /// The same to be read, if they stand so in it.
    pub(crate) fn blocks(&self, blocks: &Blocks, images: usize) -> Option<Reals<'_>> {
        (self.laid_out() == Some(*blocks)).then(|| self.values(blocks.len(images)))
    }

    /// In which blocks its contents stand, if they do.
    pub(crate) fn laid_out(&self) -> Option<Blocks> {
        self.laid_out
    }

    /// The first `len` values, to be read: `f32` if they are kept so.
    pub(crate) fn values(&self, len: usize) -> Reals<'_> {
        match (&self.wide, &self.rounded) {
            (Some(wide), _) => Reals::F32(wide.first(len)),
            (None, rounded) => Reals::Bf16(rounded.as_ref().expect("either kind").first(len)),
        }
    }

    /// The same to be written.
    pub(crate) fn values_mut(&mut self, len: usize) -> RealsMut<'_> {
        self.is_written();
        self.any_mut(len)
    }

    fn any_mut(&mut self, len: usize) -> RealsMut<'_> {
        match (&mut self.wide, &mut self.rounded) {
            (Some(wide), _) => RealsMut::F32(wide.first_mut(len)),
            (None, rounded) => {
                RealsMut::Bf16(rounded.as_mut().expect("either kind").first_mut(len))
            }
        }
    }

    /// Whether its values begin where kernels can take eight of them at once.
    pub(crate) fn begins_whole(&self) -> bool {
        begin_whole(self.values(0))
    }

    /// Copies `src` to the beginning. When this returns, `src` was read.
    pub(crate) fn upload(&mut self, gpu: &Gpu, crossing: &mut Room, src: &[f32]) {
        self.is_written();
        let len = src.len();
        if let Some(wide) = &mut self.wide {
            gpu.upload(wide.first_mut(len), src);
        }
        let Some(rounded) = &mut self.rounded else { return };
        let rounded = rounded.first_mut(len);
        match &self.wide {
            Some(wide) => round(gpu, rounded, wide.first(len)),
            None => {
                let mut crossed: ViewMut<'_, f32> = crossing.take(gpu, len);
                gpu.upload(crossed.again(), src);
                round(gpu, rounded, crossed.into_read());
            }
        }
    }

    /// The first `len` numbers in bf16, if they are kept so.
    pub(crate) fn first_rounded(&self, len: usize) -> Option<View<'_, u16>> {
        self.rounded.as_ref().map(|buffer| buffer.first(len))
    }
}
