//! Memory that operations work in. It grows to what the largest operation needs and stays, so that
//! after the first step nothing is taken any more. The next operation may write over what the last one
//! left; what runs on another lane would wait for that, so it has rooms of its own.

use alexnet_ops::ConvShape;

use crate::driver::{Buffer, Element, Gpu, Lane, Reals, RealsMut, ViewMut, grown};
use crate::reduce::Begun;

/// Room for one array, and how often it was made anew.
#[derive(Default)]
pub(crate) struct Room(Option<Buffer<f32>>, u64);

impl Room {
    /// `len` elements, with anything in them.
    pub(crate) fn take<T: Element>(&mut self, gpu: &Gpu, len: usize) -> ViewMut<'_, T> {
        self.grow(gpu, floats_of::<T>(len), |_, wanted| wanted);
        self.first(len)
    }

    /// The same of a number that is another from batch to batch.
    pub(crate) fn take_varying<T: Element>(&mut self, gpu: &Gpu, len: usize) -> ViewMut<'_, T> {
        self.grow(gpu, floats_of::<T>(len), grown);
        self.first(len)
    }

    /// Room for as many as are wanted; if there is less, for as many as `by` says of what it had.
    fn grow(&mut self, gpu: &Gpu, wanted: usize, by: fn(usize, usize) -> usize) {
        let had = self.0.as_ref().map_or(0, Buffer::len);
        if had < wanted || self.0.is_none() {
            // A graph may neither free nor make one.
            gpu.gives_up();
            self.0 = None; // so that both are never there at a time
            self.0 = Some(gpu.zeros(whole(by(had, wanted))));
            self.1 += 1;
        }
    }

    /// The room, to be used beside all others. If it is not given back, for an error came, it counts as made
    /// anew when it is there again.
    pub(crate) fn lend(&mut self) -> Self {
        Self(self.0.take(), 0)
    }

    /// Takes back what was lent.
    pub(crate) fn take_back(&mut self, lent: Self) {
        self.0 = lent.0;
        self.1 += lent.1;
    }

    /// The first `len` elements.
    fn first<T: Element>(&mut self, len: usize) -> ViewMut<'_, T> {
        let buffer = self.0.as_mut().expect("it was made");
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

/// The floats in whose place so many elements stand.
fn floats_of<T: Element>(len: usize) -> usize {
    whole((len * size_of::<T>()).div_ceil(size_of::<f32>()))
}

/// So many floats and perhaps one more: whole `f64`, so that a room's end does not decide where it may
/// begin.
fn whole(floats: usize) -> usize {
    floats.next_multiple_of(2)
}

/// A room for an array as a convolution is to have it, and of which array, as its stamp says, and for which
/// convolution that is.
#[derive(Default)]
pub(crate) struct LaidOut(Room, Option<(u64, ConvShape)>);

impl LaidOut {
    /// As it stands there, or is laid there now.
    pub(crate) fn of(
        &mut self,
        gpu: &Gpu,
        (len, bf16): (usize, bool),
        key: (u64, ConvShape),
        lay: impl FnOnce(RealsMut<'_>),
    ) -> Reals<'_> {
        let mut there = self.0.reals(gpu, len, bf16);
        if self.1 != Some(key) {
            lay(there.again());
            self.1 = Some(key);
        }
        there.into_read()
    }
}

/// All rooms.
#[derive(Default)]
pub(crate) struct Scratch {
    /// A convolution's unfolded inputs.
    pub(crate) columns: Room,
    /// Its inputs in blocks.
    pub(crate) blocks: LaidOut,
    /// Its inputs, and its output's gradient, with groups apart.
    pub(crate) apart: [LaidOut; 2],
    /// What it forms of groups apart, before they stand beside each other.
    pub(crate) joined: Room,
    /// What cuDNN works in, on each lane.
    pub(crate) workspaces: [Room; Lane::COUNT],
    /// A gradient of weights as cuDNN forms it.
    pub(crate) formed: Room,
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
    /// Pictures that are laid out for a convolution, as they are.
    pub(crate) pictures: Room,
    /// On its way from or to the host, in `f32`.
    pub(crate) crossing: Room,
    /// Factors of a product, rounded to bf16 or laid out for it.
    pub(crate) rounded: [Room; 2],
    /// Sums that are not finished, and those of biases' gradients.
    pub(crate) sums: [Room; 2],
    pub(crate) bias_sums: [Room; 2],
    /// Those that were begun where an array was written, and of which they are.
    pub(crate) begun: Room,
    pub(crate) begun_of: Option<Begun>,
    /// Running statistics, as a normalisation takes them.
    pub(crate) whole: Room,
    /// A gradient that is used up at once; terms of a normalisation.
    pub(crate) terms: Room,
}

impl Scratch {
    /// Another number whenever a room is another array than before.
    pub(crate) fn generation(&self) -> u64 {
        let Self { columns, pictures, joined, formed, table, step, .. } = self;
        let Self { crossing, begun, whole, terms, .. } = self;
        let rooms = [columns, pictures, joined, formed, table, step, crossing, begun, whole, terms];
        let rooms = rooms.into_iter();
        let rooms = rooms.chain(&self.workspaces).chain(&self.bias_sums);
        let rooms = rooms.chain([&self.blocks, &self.apart[0], &self.apart[1]].map(|laid| &laid.0));
        rooms.chain(&self.rounded).chain(&self.sums).map(|room| room.1).sum()
    }

    /// Nothing is known of what stands in any room: it may have been asked for and not done.
    pub(crate) fn forget(&mut self) {
        self.forget_arrays();
        self.table_is = Vec::new();
        self.step_is = None;
    }

    /// Nothing is known of which arrays it is: what is remembered as a graph writes both unseen.
    pub(crate) fn forget_arrays(&mut self) {
        self.blocks.1 = None;
        self.apart.iter_mut().for_each(|laid| laid.1 = None);
        self.begun_of = None;
    }
}
