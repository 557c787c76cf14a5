//! Memory for arrays: aligned for vectors and tiles, on large pages where the system has them.

use std::alloc::{Layout, alloc, alloc_zeroed, dealloc, handle_alloc_error};
use std::ops::{Deref, DerefMut};
use std::ptr::NonNull;

#[cfg(all(test, target_os = "linux"))]
use crate::guarded::{self, Mapping};

/// A cache line, and a row of a tile.
const LINE_BYTES: usize = 64;

/// A large page of x86-64 and of ARM with pages of 4 KiB.
const LARGE_PAGE_BYTES: usize = 2 << 20;

/// Plain numbers: any bits are a value, zero bits are 0.
pub trait Plain: Copy + Send + Sync + 'static {}
impl Plain for f32 {}
impl Plain for u32 {}
impl Plain for u16 {}
impl Plain for u8 {}

/// `len` numbers, zero at first.
pub struct Buffer<T> {
    start: NonNull<T>,
    len: usize,
    /// In tests: the pages around it, if the array lies beside forbidden ones.
    #[cfg(all(test, target_os = "linux"))]
    mapping: Option<Mapping>,
}

// SAFETY: a buffer owns plain numbers.
unsafe impl<T: Send> Send for Buffer<T> {}
// SAFETY: as above.
unsafe impl<T: Sync> Sync for Buffer<T> {}

impl<T: Plain> Buffer<T> {
    pub(crate) fn zeroed(len: usize) -> Self {
        #[cfg(all(test, target_os = "linux"))]
        if let Some(buffer) = Self::guarded(len, LINE_BYTES) {
            return buffer;
        }
        if len == 0 {
            return Self::at(NonNull::dangling(), len);
        }
        let layout = Self::layout(len);
        // SAFETY: the layout is not empty; the memory is set to zero before it is a buffer's.
        let start = unsafe {
            if layout.align() == LARGE_PAGE_BYTES {
                let start = alloc(layout);
                if !start.is_null() {
                    ask_for_large_pages(start, layout.size());
                    start.write_bytes(0, layout.size());
                }
                start
            } else {
                alloc_zeroed(layout)
            }
        };
        let Some(start) = NonNull::new(start.cast()) else { handle_alloc_error(layout) };
        Self::at(start, len)
    }

    /// An array for the device's user. Operations must take any place, so tests give it an odd one.
    pub(crate) fn array(len: usize) -> Self {
        #[cfg(all(test, target_os = "linux"))]
        if let Some(buffer) = Self::guarded(len, align_of::<T>()) {
            return buffer;
        }
        Self::zeroed(len)
    }

    /// Right beside a forbidden page, as near as the alignment lets it, where this thread's test
    /// wants that.
    #[cfg(all(test, target_os = "linux"))]
    fn guarded(len: usize, align: usize) -> Option<Self> {
        let mapping =
            guarded::side().map(|side| Mapping::new(len * size_of::<T>(), align, side))?;
        Some(Self { start: mapping.array().cast(), len, mapping: Some(mapping) })
    }

    fn at(start: NonNull<T>, len: usize) -> Self {
        Self {
            start,
            len,
            #[cfg(all(test, target_os = "linux"))]
            mapping: None,
        }
    }

    /// Makes the buffer at least `len` long; its contents are lost when it grows.
    pub(crate) fn grow(&mut self, len: usize) {
        if self.len < len {
            // The old memory first: both together would not be needed.
            *self = Self::zeroed(0);
            *self = Self::zeroed(len);
        }
    }

    fn layout(len: usize) -> Layout {
        let bytes = len.saturating_mul(size_of::<T>());
        let align = if bytes >= LARGE_PAGE_BYTES { LARGE_PAGE_BYTES } else { LINE_BYTES };
        let size = bytes.checked_next_multiple_of(align).unwrap_or(usize::MAX);
        Layout::from_size_align(size, align).expect("an array of less than half the address space")
    }
}

/// A hint: where it is not heard, pages stay small.
#[cfg(target_os = "linux")]
fn ask_for_large_pages(start: *mut u8, bytes: usize) {
    // SAFETY: the range was just allocated, whole large pages.
    unsafe { libc::madvise(start.cast(), bytes, libc::MADV_HUGEPAGE) };
}

#[cfg(not(target_os = "linux"))]
fn ask_for_large_pages(_: *mut u8, _: usize) {}

impl<T> Drop for Buffer<T> {
    fn drop(&mut self) {
        #[cfg(all(test, target_os = "linux"))]
        if self.mapping.is_some() {
            return;
        }
        if self.len > 0 {
            let bytes = self.len * size_of::<T>();
            let align = if bytes >= LARGE_PAGE_BYTES { LARGE_PAGE_BYTES } else { LINE_BYTES };
            // SAFETY: the same layout as it was allocated with; it was valid then.
            unsafe {
                let layout =
                    Layout::from_size_align_unchecked(bytes.next_multiple_of(align), align);
                dealloc(self.start.as_ptr().cast(), layout);
            }
        }
    }
}

impl<T> Deref for Buffer<T> {
    type Target = [T];
    fn deref(&self) -> &[T] {
        // SAFETY: `len` numbers are there, or `start` dangles and there is none.
        unsafe { std::slice::from_raw_parts(self.start.as_ptr(), self.len) }
    }
}

impl<T> DerefMut for Buffer<T> {
    fn deref_mut(&mut self) -> &mut [T] {
        // SAFETY: as above, and the borrow is exclusive.
        unsafe { std::slice::from_raw_parts_mut(self.start.as_ptr(), self.len) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_buffer_is_zero_aligned_and_keeps_what_is_written() {
        for len in [0, 1, 15, 16, 1000, (LARGE_PAGE_BYTES / 4) - 1, LARGE_PAGE_BYTES / 4 + 1] {
            let mut buffer = Buffer::<f32>::zeroed(len);
            assert!(buffer.len() == len && buffer.iter().all(|x| *x == 0.0), "{len}");
            assert!(len == 0 || buffer.as_ptr().addr().is_multiple_of(LINE_BYTES), "{len}");
            buffer.iter_mut().enumerate().for_each(|(i, x)| *x = i as f32);
            assert!(buffer.iter().enumerate().all(|(i, x)| *x == i as f32), "{len}");
            buffer.grow(len + 7);
            assert_eq!(buffer.len(), len + 7);
        }
    }
}
