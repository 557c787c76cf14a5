//! 4 floats in a 128-bit register of 64-bit ARM, which has 32 of them.

use std::arch::aarch64::*;

use super::Vector;

#[derive(Clone, Copy)]
pub(crate) struct Neon(float32x4_t);

// SAFETY of every block below: NEON is part of 64-bit ARM, and addresses are the caller's promise.
impl Vector for Neon {
    const LANES: usize = 4;
    // 28 sums, two columns and a factor in 32 registers.
    const ROWS: usize = 14;

    #[inline(always)]
    fn splat(value: f32) -> Self {
        // SAFETY: as above.
        Self(unsafe { vdupq_n_f32(value) })
    }
    #[inline(always)]
    unsafe fn load(from: *const f32) -> Self {
        // SAFETY: as above.
        Self(unsafe { vld1q_f32(from) })
    }
    #[inline(always)]
    unsafe fn store(self, to: *mut f32) {
        // SAFETY: as above.
        unsafe { vst1q_f32(to, self.0) }
    }
    #[inline(always)]
    unsafe fn load_part(from: *const f32, count: usize) -> Self {
        let mut lanes = [0.0; 4];
        // SAFETY: as above; `count <= 4`.
        unsafe {
            std::ptr::copy_nonoverlapping(from, lanes.as_mut_ptr(), count);
            Self(vld1q_f32(lanes.as_ptr()))
        }
    }
    #[inline(always)]
    unsafe fn store_part(self, to: *mut f32, count: usize) {
        let mut lanes = [0.0; 4];
        // SAFETY: as above; `count <= 4`.
        unsafe {
            vst1q_f32(lanes.as_mut_ptr(), self.0);
            std::ptr::copy_nonoverlapping(lanes.as_ptr(), to, count);
        }
    }
    #[inline(always)]
    fn add(self, other: Self) -> Self {
        // SAFETY: as above.
        Self(unsafe { vaddq_f32(self.0, other.0) })
    }
    #[inline(always)]
    fn sub(self, other: Self) -> Self {
        // SAFETY: as above.
        Self(unsafe { vsubq_f32(self.0, other.0) })
    }
    #[inline(always)]
    fn mul(self, other: Self) -> Self {
        // SAFETY: as above.
        Self(unsafe { vmulq_f32(self.0, other.0) })
    }
    #[inline(always)]
    fn mul_add(self, factor: Self, addend: Self) -> Self {
        // SAFETY: as above.
        Self(unsafe { vfmaq_f32(addend.0, self.0, factor.0) })
    }
    #[inline(always)]
    fn relu(self) -> Self {
        // SAFETY: as above. The instruction keeps a NaN.
        Self(unsafe { vmaxq_f32(vdupq_n_f32(0.0), self.0) })
    }
    #[inline(always)]
    unsafe fn load_bf16(from: *const u16) -> Self {
        // SAFETY: as above.
        Self(unsafe { vreinterpretq_f32_u32(vshll_n_u16::<16>(vld1_u16(from))) })
    }
    #[inline(always)]
    fn prefetch(_: *const f32) {}
    #[inline(always)]
    fn prefetch_outer(_: *const f32) {}

    #[inline(always)]
    fn sqrt(self) -> Self {
        // SAFETY: as above.
        Self(unsafe { vsqrtq_f32(self.0) })
    }
    #[inline(always)]
    fn rsqrt(self) -> Self {
        // SAFETY: as above.
        Self(unsafe { vdivq_f32(vdupq_n_f32(1.0), vsqrtq_f32(self.0)) })
    }
    #[inline(always)]
    fn or_larger(self, mark: Self, other: Self, other_mark: Self) -> (Self, Self) {
        // SAFETY: as above. A NaN is not equal to itself.
        unsafe {
            let number = vceqq_f32(other.0, other.0);
            let larger = vornq_u32(vcgtq_f32(other.0, self.0), number);
            (
                Self(vbslq_f32(larger, other.0, self.0)),
                Self(vbslq_f32(larger, other_mark.0, mark.0)),
            )
        }
    }
    #[inline(always)]
    fn where_marked(self, mark: Self, wanted: Self) -> Self {
        // SAFETY: as above.
        unsafe {
            let (mark, wanted) = (vreinterpretq_u32_f32(mark.0), vreinterpretq_u32_f32(wanted.0));
            let kept = vandq_u32(vreinterpretq_u32_f32(self.0), vceqq_u32(mark, wanted));
            Self(vreinterpretq_f32_u32(kept))
        }
    }
    #[inline(always)]
    unsafe fn load_marks(from: *const u8, count: usize) -> Self {
        let mut bytes = [0_u8; 4];
        // SAFETY: as above; `count <= 4`.
        unsafe {
            std::ptr::copy_nonoverlapping(from, bytes.as_mut_ptr(), count);
            let wide = bytes.map(u32::from);
            Self(vreinterpretq_f32_u32(vld1q_u32(wide.as_ptr())))
        }
    }
    #[inline(always)]
    unsafe fn store_marks(self, to: *mut u8, count: usize) {
        let mut wide = [0_u32; 4];
        // SAFETY: as above; `count <= 4`.
        unsafe {
            vst1q_u32(wide.as_mut_ptr(), vreinterpretq_u32_f32(self.0));
            let bytes = wide.map(|mark| mark as u8);
            std::ptr::copy_nonoverlapping(bytes.as_ptr(), to, count);
        }
    }
}
