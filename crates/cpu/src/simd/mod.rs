//! One vector of floats, whatever its width: what the kernels are written in.
//!
//! A kernel is generic over [`Vector`] and is compiled for each set of instructions by
//! [`crate::isa::Isa::dispatch`]. The methods are safe to call only from there: that the processor
//! has the instructions is what the dispatch has checked.

#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx512;
#[cfg(target_arch = "aarch64")]
mod neon;
mod portable;

use crate::microkernel::VECTORS;
use crate::wide_rows::{self, Tops};

#[cfg(target_arch = "x86_64")]
pub(crate) use avx2::Avx2;
#[cfg(target_arch = "x86_64")]
pub(crate) use avx512::Avx512;
#[cfg(target_arch = "aarch64")]
pub(crate) use neon::Neon;
pub(crate) use portable::Portable;

/// Lanes of the longest vector.
pub(crate) const LANES_MAX: usize = 16;

/// `LANES` floats computed with at once.
pub(crate) trait Vector: Copy {
    /// Floats in a vector.
    const LANES: usize;
    /// Rows of the largest micro-kernel (two vectors wide) whose sums stay in registers.
    const ROWS: usize;

    fn splat(value: f32) -> Self;
    /// # Safety
    /// `LANES` floats can be read at `from`; no alignment is needed.
    unsafe fn load(from: *const f32) -> Self;
    /// # Safety
    /// `LANES` floats can be written at `to`; no alignment is needed.
    unsafe fn store(self, to: *mut f32);
    /// The first `count <= LANES` lanes from memory, the others 0; nothing else is touched.
    ///
    /// # Safety
    /// `count` floats can be read at `from`.
    unsafe fn load_part(from: *const f32, count: usize) -> Self;
    /// The first `count <= LANES` lanes to memory; nothing else is touched.
    ///
    /// # Safety
    /// `count` floats can be written at `to`.
    unsafe fn store_part(self, to: *mut f32, count: usize);
    fn add(self, other: Self) -> Self;
    fn sub(self, other: Self) -> Self;
    fn mul(self, other: Self) -> Self;
    /// `self · factor + addend`, rounded once where the processor can.
    fn mul_add(self, factor: Self, addend: Self) -> Self;
    /// `max(0, self)`; a NaN stays one.
    fn relu(self) -> Self;
    /// `max(0, self)` of numbers. 0 times what is not finite is NaN: the contract's ReLU.
    #[inline(always)]
    fn rectified(self) -> Self {
        self.mul_add(Self::zero(), self.relu())
    }
    /// `LANES` bf16 values widened.
    ///
    /// # Safety
    /// `LANES` values can be read at `from`.
    unsafe fn load_bf16(from: *const u16) -> Self;
    /// Whether [`Self::load_short`] keeps up with memory.
    const READS_SHORT: bool = false;
    /// A block of [`Short`](wide_rows::Short) weights.
    ///
    /// # Safety
    /// The block can be read at `from`.
    #[inline(always)]
    unsafe fn load_short(from: *const u8, tops: &Tops) -> [Self; VECTORS] {
        // SAFETY: the caller's promise.
        unsafe { wide_rows::load_one_by_one::<Self, f32>(from, tops) }
    }
    /// The same of bf16 weights, widened.
    ///
    /// # Safety
    /// The block can be read at `from`.
    #[inline(always)]
    unsafe fn load_short_bf16(from: *const u8, tops: &Tops) -> [Self; VECTORS] {
        // SAFETY: the caller's promise.
        unsafe { wide_rows::load_one_by_one::<Self, u16>(from, tops) }
    }
    /// Asks for the cache line at `address`, which need not be valid.
    fn prefetch(address: *const f32);
    /// The same for the core's outer cache.
    fn prefetch_outer(address: *const f32);

    fn zero() -> Self {
        Self::splat(0.0)
    }

    /// [`Self::load`] of all lanes, [`Self::load_part`] of fewer.
    ///
    /// # Safety
    /// `count <= LANES` floats can be read at `from`.
    #[inline(always)]
    unsafe fn load_lanes(from: *const f32, count: usize) -> Self {
        // SAFETY: the caller's promise.
        unsafe {
            if count == Self::LANES { Self::load(from) } else { Self::load_part(from, count) }
        }
    }
    /// [`Self::store`] of all lanes, [`Self::store_part`] of fewer.
    ///
    /// # Safety
    /// `count <= LANES` floats can be written at `to`.
    #[inline(always)]
    unsafe fn store_lanes(self, to: *mut f32, count: usize) {
        // SAFETY: the caller's promise.
        unsafe { if count == Self::LANES { self.store(to) } else { self.store_part(to, count) } }
    }
    fn sqrt(self) -> Self;
    /// `1 / √self` of positive numbers, within a few roundings.
    fn rsqrt(self) -> Self;

    /// A mark for every lane: a byte that goes with the number there, kept in the bits of a float.
    #[inline(always)]
    fn mark(byte: u8) -> Self {
        Self::splat(f32::from_bits(u32::from(byte)))
    }
    /// `(self, mark)` lane by lane, but `(other, other_mark)` where `other` is larger or a NaN.
    fn or_larger(self, mark: Self, other: Self, other_mark: Self) -> (Self, Self);
    /// `self` where the marks are equal, else 0.
    fn where_marked(self, mark: Self, wanted: Self) -> Self;
    /// Marks from `count <= LANES` bytes; those of the other lanes are 0.
    ///
    /// # Safety
    /// `count` bytes can be read at `from`.
    unsafe fn load_marks(from: *const u8, count: usize) -> Self;
    /// The first `count <= LANES` marks as bytes.
    ///
    /// # Safety
    /// `count` bytes can be written at `to`.
    unsafe fn store_marks(self, to: *mut u8, count: usize);
}

/// Calls `visit(first, count)` for each vector of `len` floats; of `LANES`, but for the last.
#[inline(always)]
pub(crate) fn for_each_vector<V: Vector>(len: usize, mut visit: impl FnMut(usize, usize)) {
    let whole = len - len % V::LANES;
    for first in (0..whole).step_by(V::LANES) {
        visit(first, V::LANES);
    }
    if whole < len {
        visit(whole, len - whole);
    }
}
