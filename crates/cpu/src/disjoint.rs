//! An output that many threads write, each its own part.

use std::marker::PhantomData;
use std::ops::Range;

/// A slice whose parts are borrowed one by one.
pub(crate) struct Disjoint<'a, T> {
    start: *mut T,
    len: usize,
    borrowed: PhantomData<&'a mut [T]>,
}

// SAFETY: parts are handed out by `part`, whose callers promise that they do not overlap.
unsafe impl<T: Send> Sync for Disjoint<'_, T> {}

impl<'a, T> Disjoint<'a, T> {
    pub(crate) fn new(whole: &'a mut [T]) -> Self {
        Self { start: whole.as_mut_ptr(), len: whole.len(), borrowed: PhantomData }
    }

    /// The elements of `range`.
    ///
    /// # Safety
    /// No two parts that live at once overlap.
    #[expect(clippy::mut_from_ref, reason = "that is what it is for")]
    #[inline]
    pub(crate) unsafe fn part(&self, range: Range<usize>) -> &mut [T] {
        assert!(range.start <= range.end && range.end <= self.len);
        // SAFETY: inside the slice; exclusive by the caller's promise.
        unsafe { std::slice::from_raw_parts_mut(self.start.add(range.start), range.len()) }
    }

    /// The address of the first element.
    #[inline]
    pub(crate) fn start(&self) -> *mut T {
        self.start
    }

    /// The address of element `index`, for kernels that write several rows.
    #[inline]
    pub(crate) fn at(&self, index: usize) -> *mut T {
        assert!(index <= self.len);
        self.start.wrapping_add(index)
    }
}
