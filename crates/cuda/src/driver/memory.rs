//! Arrays on the device, and borrowed parts of them. Nothing here is read or written by the host.

use std::any::type_name;
use std::marker::PhantomData;
use std::ops::Range;

use std::sync::Arc;

use cudarc::driver::{CudaSlice, DeviceRepr, ValidAsZeroBits};

use super::lanes::{Lanes, Touch};

/// What an array is made of.
pub(crate) trait Element: DeviceRepr + ValidAsZeroBits + Copy + Default {
    /// Its name in a kernel.
    const NAME: &'static str;
}

macro_rules! element {
    ($type:ty, $name:literal) => {
        impl Element for $type {
            const NAME: &'static str = $name;
        }
    };
}

element!(f32, "float");
element!(f64, "double");
element!(u8, "u8");
element!(u16, "u16");
element!(u32, "u32");
element!(u64, "u64");

/// An array on the device.
pub struct Buffer<T> {
    /// Frees the memory when dropped, after everything that was asked of the main lane before.
    _memory: CudaSlice<T>,
    address: u64,
    len: usize,
    lanes: Arc<Lanes>,
}

impl<T> Drop for Buffer<T> {
    fn drop(&mut self) {
        self.lanes.give_back(self.address, self.len * size_of::<T>());
    }
}

impl<T> Buffer<T> {
    /// `address` is that of `memory`, which has at least `len` elements.
    pub(super) fn new(memory: CudaSlice<T>, address: u64, len: usize, lanes: Arc<Lanes>) -> Self {
        Self { _memory: memory, address, len, lanes }
    }

    /// Elements.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether it has none.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// All of it, to be read.
    pub(crate) fn view(&self) -> View<'_, T> {
        View { address: self.address, len: self.len, of: PhantomData }
    }

    /// All of it, to be written.
    pub(crate) fn view_mut(&mut self) -> ViewMut<'_, T> {
        ViewMut { address: self.address, len: self.len, of: PhantomData }
    }

    /// The first `len` elements, to be read.
    pub(crate) fn first(&self, len: usize) -> View<'_, T> {
        self.view().part(0..len)
    }

    /// The first `len` elements, to be written.
    pub(crate) fn first_mut(&mut self, len: usize) -> ViewMut<'_, T> {
        self.view_mut().into_part(0..len)
    }
}

/// Bytes that a thread reads or writes at once at the most.
const WHOLE_BYTES: u64 = 16;

/// A part of an array, to be read.
pub(crate) struct View<'a, T> {
    address: u64,
    len: usize,
    of: PhantomData<&'a T>,
}

impl<T> Clone for View<'_, T> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<T> Copy for View<'_, T> {}

/// A part of an array, to be written.
pub(crate) struct ViewMut<'a, T> {
    address: u64,
    len: usize,
    of: PhantomData<&'a mut T>,
}

impl<T> View<'_, T> {
    pub(crate) fn len(&self) -> usize {
        self.len
    }
    pub(super) fn address(&self) -> u64 {
        self.address
    }
    /// As an operation that reads it says.
    pub(crate) fn touch(&self) -> Touch {
        touch::<T>(self.address, self.len, false)
    }
    /// Whether it begins where the memory can give the most at once, as the arrays of a GPU's driver do.
    pub(crate) fn begins_whole(&self) -> bool {
        self.address.is_multiple_of(WHOLE_BYTES)
    }
    /// These elements of it.
    pub(crate) fn part(self, range: Range<usize>) -> Self {
        let address = at::<T>(self.address, &range, self.len);
        Self { address, len: range.len(), of: PhantomData }
    }
}

impl<'a, T> ViewMut<'a, T> {
    pub(crate) fn len(&self) -> usize {
        self.len
    }
    /// As an operation that writes it says.
    pub(crate) fn touch(&self) -> Touch {
        touch::<T>(self.address, self.len, true)
    }
    pub(super) fn address(&self) -> u64 {
        self.address
    }
    /// These elements of it.
    pub(crate) fn into_part(self, range: Range<usize>) -> Self {
        let address = at::<T>(self.address, &range, self.len);
        Self { address, len: range.len(), of: PhantomData }
    }
    /// These elements of it, for a while.
    pub(crate) fn part(&mut self, range: Range<usize>) -> ViewMut<'_, T> {
        self.again().into_part(range)
    }
    /// All of it, for a while.
    pub(crate) fn again(&mut self) -> ViewMut<'_, T> {
        ViewMut { address: self.address, len: self.len, of: PhantomData }
    }
    /// All of it, to be read for a while.
    pub(crate) fn read(&self) -> View<'_, T> {
        View { address: self.address, len: self.len, of: PhantomData }
    }
    /// All of it, to be read from now on.
    pub(crate) fn into_read(self) -> View<'a, T> {
        View { address: self.address, len: self.len, of: PhantomData }
    }
    /// The same memory for elements of another type: any bits are a number of any of them.
    pub(crate) fn of<U: Element>(self) -> ViewMut<'a, U> {
        assert!(self.address.is_multiple_of(size_of::<U>() as u64), "memory for wider elements");
        let len = self.len * size_of::<T>() / size_of::<U>();
        ViewMut { address: self.address, len, of: PhantomData }
    }
}

/// What a layer reads: `f32`, or bf16.
#[derive(Clone, Copy)]
pub(crate) enum Reals<'a> {
    F32(View<'a, f32>),
    Bf16(View<'a, u16>),
}

/// What a layer writes: `f32`, or bf16.
pub(crate) enum RealsMut<'a> {
    F32(ViewMut<'a, f32>),
    Bf16(ViewMut<'a, u16>),
}

impl Reals<'_> {
    pub(crate) fn is_bf16(&self) -> bool {
        matches!(self, Self::Bf16(_))
    }
    pub(crate) fn len(&self) -> usize {
        match self {
            Self::F32(view) => view.len(),
            Self::Bf16(view) => view.len(),
        }
    }
    pub(super) fn address(&self) -> u64 {
        match self {
            Self::F32(view) => view.address(),
            Self::Bf16(view) => view.address(),
        }
    }
    /// These elements of it.
    pub(crate) fn part(self, range: Range<usize>) -> Self {
        match self {
            Self::F32(view) => Self::F32(view.part(range)),
            Self::Bf16(view) => Self::Bf16(view.part(range)),
        }
    }
}

impl Reals<'_> {
    /// As an operation that reads it says.
    pub(crate) fn touch(&self) -> Touch {
        match self {
            Self::F32(view) => view.touch(),
            Self::Bf16(view) => view.touch(),
        }
    }
    /// What a kernel that looks at many arrays is told of one: where it is, its length, whether it is
    /// of bf16.
    pub(crate) fn entry(&self) -> [u64; 3] {
        [self.address(), self.len() as u64, u64::from(self.is_bf16())]
    }
}

impl<T> ViewMut<'_, T> {
    /// Where it is, as a kernel that writes many arrays is told.
    pub(crate) fn entry(&self) -> u64 {
        self.address()
    }
}

impl<'a> RealsMut<'a> {
    /// As an operation that writes it says.
    pub(crate) fn touch(&self) -> Touch {
        match self {
            Self::F32(view) => view.touch(),
            Self::Bf16(view) => view.touch(),
        }
    }
    pub(crate) fn is_bf16(&self) -> bool {
        matches!(self, Self::Bf16(_))
    }
    pub(crate) fn len(&self) -> usize {
        match self {
            Self::F32(view) => view.len(),
            Self::Bf16(view) => view.len(),
        }
    }
    pub(super) fn address(&self) -> u64 {
        match self {
            Self::F32(view) => view.address(),
            Self::Bf16(view) => view.address(),
        }
    }
    /// These elements of it, for a while.
    pub(crate) fn part(&mut self, range: Range<usize>) -> RealsMut<'_> {
        match self {
            Self::F32(view) => RealsMut::F32(view.part(range)),
            Self::Bf16(view) => RealsMut::Bf16(view.part(range)),
        }
    }
    /// All of it, for a while.
    pub(crate) fn again(&mut self) -> RealsMut<'_> {
        let len = self.len();
        self.part(0..len)
    }
    /// All of it, to be read from now on.
    pub(crate) fn into_read(self) -> Reals<'a> {
        match self {
            Self::F32(view) => Reals::F32(view.into_read()),
            Self::Bf16(view) => Reals::Bf16(view.into_read()),
        }
    }
}

fn touch<T>(begin: u64, len: usize, writes: bool) -> Touch {
    Touch { begin, end: begin + (len * size_of::<T>()) as u64, writes }
}

fn at<T>(address: u64, range: &Range<usize>, len: usize) -> u64 {
    assert!(
        range.start <= range.end && range.end <= len,
        "elements {range:?} of {len} {} on the device",
        type_name::<T>()
    );
    address + (range.start * size_of::<T>()) as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    fn view(len: usize) -> View<'static, f32> {
        View { address: 1024, len, of: PhantomData }
    }

    #[test]
    fn a_part_begins_at_its_first_element_and_parts_of_parts_too() {
        let part = view(10).part(3..9).part(1..2);
        assert_eq!((part.address(), part.len()), (1024 + 4 * 4, 1));
        let wide = ViewMut { address: 1024, len: 7, of: PhantomData::<&mut f32> }.of::<f64>();
        assert_eq!((wide.address(), wide.len()), (1024, 3));
    }

    #[test]
    #[should_panic(expected = "elements 3..11 of 10 f32 on the device")]
    fn a_part_beyond_the_end_is_refused() {
        view(10).part(3..11);
    }
}
