//! Memory that operations work in. It grows to what the largest operation needs and stays, so that
//! after the first step nothing is taken any more. All work in it is on one stream, in order: the next
//! operation may write over what the last one left.

use alexnet_ops::ConvShape;

use crate::driver::{Buffer, Element, Gpu, RealsMut, ViewMut};

/// Room for one array, and how often it was made anew.
#[derive(Default)]
pub(crate) struct Room(Option<Buffer<f32>>, u64);

impl Room {
    /// `len` elements, with anything in them.
    pub(crate) fn take<T: Element>(&mut self, gpu: &Gpu, len: usize) -> ViewMut<'_, T> {
        // Whole f64, so that the room's end does not decide where it may begin.
        let floats = (len * size_of::<T>()).div_ceil(size_of::<f64>()) * 2;
        if self.0.as_ref().is_none_or(|buffer| buffer.len() < floats) {
            // A graph may neither free nor make one.
            gpu.gives_up();
            self.0 = None; // so that both are never there at a time
            self.0 = Some(gpu.zeros(floats));
            self.1 += 1;
        }
        let buffer = self.0.as_mut().expect("made above");
        buffer.view_mut().of::<T>().into_part(0..len)
    }

    /// `len` numbers, in bf16 or in `f32`.
    pub(crate) fn reals(&mut self, gpu: &Gpu, len: usize, bf16: bool) -> RealsMut<'_> {
        match bf16 {
            true => RealsMut::Bf16(self.take(gpu, len)),
            false => RealsMut::F32(self.take(gpu, len)),
        }
    }
}

/// All rooms.
#[derive(Default)]
pub(crate) struct Scratch {
    /// A convolution's unfolded inputs.
    pub(crate) columns: Room,
    /// Those in blocks, and of which array, as its stamp says, they are.
    pub(crate) blocks: Room,
    pub(crate) blocks_of: Option<(u64, ConvShape)>,
    /// What cuDNN works in.
    pub(crate) workspace: Room,
    /// Which arrays are looked at, and what stands there.
    pub(crate) table: Room,
    pub(crate) table_is: Vec<u64>,
    /// Which parameters are updated and how, and what stands there. No recording updates any.
    pub(crate) updates: Room,
    pub(crate) updates_are: Vec<u64>,
    /// The training step of the dropout masks, and what stands there.
    pub(crate) step: Room,
    pub(crate) step_is: Option<u64>,
    /// Filters of pictures, and their rows resized in width alone. No recording brings pictures.
    pub(crate) filters: Room,
    pub(crate) rows: Room,
    /// On its way from or to the host, in `f32`.
    pub(crate) crossing: Room,
    /// Factors of a product, rounded to bf16 or laid out for it.
    pub(crate) rounded: [Room; 2],
    /// Sums that are not finished.
    pub(crate) sums: [Room; 2],
    /// What finished sums are needed for.
    pub(crate) whole: Room,
    /// A gradient that is used up at once; terms of a normalisation.
    pub(crate) terms: Room,
}

impl Scratch {
    /// Another number whenever a room is another array than before.
    pub(crate) fn generation(&self) -> u64 {
        let Self { columns, blocks, workspace, table, step, crossing, whole, terms, .. } = self;
        let rooms = [columns, blocks, workspace, table, step, crossing, whole, terms].into_iter();
        rooms.chain(&self.rounded).chain(&self.sums).map(|room| room.1).sum()
    }

    /// Nothing is known of what stands in any room: it may have been asked for and not done.
    pub(crate) fn forget(&mut self) {
        self.blocks_of = None;
        self.table_is = Vec::new();
        self.step_is = None;
    }
}
