//! What a kernel is called with, and by how many threads it is run.

use std::ffi::c_void;
use std::marker::PhantomData;

use super::declaration::Parameter;
use super::lanes::Touch;
use super::memory::{Element, Reals, RealsMut, View, ViewMut};

/// Threads of a block, where a kernel does not say otherwise: a multiple of 32, and small enough for
/// several blocks at a time on every GPU.
pub(crate) const BLOCK: usize = 256;
/// Neighbours that one thread takes together: `EIGHT` of `common.cuh`.
pub(crate) const EIGHT: usize = 8;
/// Shared memory that every GPU gives a block unasked.
const SHARED_BYTES_MAX: usize = 48 << 10;

/// What a kernel is called with.
#[derive(Clone, Copy)]
pub(crate) enum Argument<'a> {
    Out { memory: Touch, element: &'static str, _of: PhantomData<&'a mut ()> },
    In { memory: Touch, element: &'static str, _of: PhantomData<&'a ()> },
    U32(u32),
    U64(u64),
    F32(f32),
    Numbers(&'a [u32]),
}

impl<'a, T: Element> From<ViewMut<'a, T>> for Argument<'a> {
    fn from(view: ViewMut<'a, T>) -> Self {
        Self::Out { memory: view.touch(), element: T::NAME, _of: PhantomData }
    }
}
impl<'a, T: Element> From<View<'a, T>> for Argument<'a> {
    fn from(view: View<'a, T>) -> Self {
        Self::In { memory: view.touch(), element: T::NAME, _of: PhantomData }
    }
}
impl<'a> From<Reals<'a>> for Argument<'a> {
    fn from(reals: Reals<'a>) -> Self {
        match reals {
            Reals::F32(view) => view.into(),
            Reals::Bf16(view) => view.into(),
        }
    }
}
impl<'a> From<RealsMut<'a>> for Argument<'a> {
    fn from(reals: RealsMut<'a>) -> Self {
        match reals {
            RealsMut::F32(view) => view.into(),
            RealsMut::Bf16(view) => view.into(),
        }
    }
}
impl From<u32> for Argument<'_> {
    fn from(value: u32) -> Self {
        Self::U32(value)
    }
}
impl From<u64> for Argument<'_> {
    fn from(value: u64) -> Self {
        Self::U64(value)
    }
}
impl From<f32> for Argument<'_> {
    fn from(value: f32) -> Self {
        Self::F32(value)
    }
}
impl<'a, const N: usize> From<&'a [u32; N]> for Argument<'a> {
    fn from(values: &'a [u32; N]) -> Self {
        Self::Numbers(values)
    }
}

impl Argument<'_> {
    /// Whether a kernel that declares `parameter` may be given this.
    pub(super) fn fits(&self, parameter: &Parameter) -> bool {
        match (self, parameter) {
            (Self::Out { element, .. }, Parameter::Out(declared))
            | (Self::In { element, .. }, Parameter::In(declared)) => element == declared,
            (Self::U32(_), Parameter::Number(kind)) => kind == "u32",
            (Self::U64(_), Parameter::Number(kind)) => kind == "u64",
            (Self::F32(_), Parameter::Number(kind)) => kind == "float",
            (Self::Numbers(values), Parameter::Numbers(count)) => values.len() == *count,
            _ => false,
        }
    }

    /// What the kernel touches of it.
    pub(super) fn touch(&self) -> Option<Touch> {
        match self {
            Self::Out { memory, .. } | Self::In { memory, .. } => Some(*memory),
            Self::U32(_) | Self::U64(_) | Self::F32(_) | Self::Numbers(_) => None,
        }
    }

    /// Where its bytes are, as the driver wants to know it.
    pub(super) fn pointer(&self) -> *mut c_void {
        match self {
            Self::Out { memory, .. } | Self::In { memory, .. } => {
                std::ptr::from_ref(&memory.begin).cast_mut().cast()
            }
            Self::U32(value) => std::ptr::from_ref(value).cast_mut().cast(),
            Self::U64(value) => std::ptr::from_ref(value).cast_mut().cast(),
            Self::F32(value) => std::ptr::from_ref(value).cast_mut().cast(),
            Self::Numbers(values) => values.as_ptr().cast_mut().cast(),
        }
    }
}

/// How many threads run a kernel.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Launch {
    pub(super) blocks: u32,
    pub(super) threads: u32,
    pub(super) shared_bytes: u32,
}

impl Launch {
    /// So many threads, and a few more in the last block.
    pub(crate) fn threads(count: usize) -> Self {
        let blocks = u32::try_from(count.div_ceil(BLOCK)).expect("blocks of a launch");
        Self { blocks, threads: BLOCK as u32, shared_bytes: 0 }
    }

    /// A thread for eight of so many elements.
    pub(crate) fn eights(count: usize) -> Self {
        Self::threads(count.div_ceil(EIGHT))
    }

    /// So many blocks.
    pub(crate) fn blocks(count: usize) -> Self {
        let blocks = u32::try_from(count).expect("blocks of a launch");
        Self { blocks, threads: BLOCK as u32, shared_bytes: 0 }
    }

    /// For each of so many groups so many threads, and a few more in its last block; with the number of
    /// a group's blocks.
    pub(crate) fn threads_each(groups: usize, count: usize) -> (Self, u32) {
        let each = Self::threads(count).blocks;
        (Self::blocks(groups * each as usize), each)
    }

    /// With so many floats shared by each block, as they follow from its number of threads.
    pub(crate) fn sharing(self, floats: impl Fn(usize) -> usize) -> Self {
        let bytes = floats(self.threads as usize) * size_of::<f32>();
        assert!(bytes <= SHARED_BYTES_MAX, "{bytes} bytes of shared memory");
        Self { shared_bytes: bytes as u32, ..self }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_argument_fits_what_the_source_declares_and_nothing_else() {
        let [out, within] = [Parameter::Out, Parameter::In].map(|kind| kind("float".to_owned()));
        let [word, long] = ["u32", "u64"].map(|kind| Parameter::Number(kind.to_owned()));
        let parameters = [out, within, word, long, Parameter::Numbers(2)];
        let memory = Touch { begin: 0, end: 4, writes: true };
        let arguments = [
            Argument::Out { memory, element: "float", _of: PhantomData },
            Argument::In { memory, element: "float", _of: PhantomData },
            Argument::from(1_u32),
            Argument::from(1_u64),
            Argument::from(&[1, 2]),
        ];
        for (i, argument) in arguments.iter().enumerate() {
            for (j, parameter) in parameters.iter().enumerate() {
                assert_eq!(argument.fits(parameter), i == j, "{i} {parameter:?}");
            }
        }
        assert!(!Argument::from(&[1, 2, 3]).fits(&Parameter::Numbers(2)));
        let bytes = Argument::In { memory, element: "u8", _of: PhantomData };
        assert!(!bytes.fits(&parameters[1]));
    }

    #[test]
    fn a_launch_has_a_thread_for_every_element_and_no_block_for_none() {
        for (count, blocks) in [(0, 0), (1, 1), (256, 1), (257, 2)] {
            assert_eq!(Launch::threads(count).blocks, blocks, "{count}");
            let (launch, each) = Launch::threads_each(3, count);
            assert_eq!((launch.blocks, each), (3 * blocks, blocks), "{count}");
        }
    }
}
