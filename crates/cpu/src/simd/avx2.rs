//! 8 floats in a 256-bit register.

use std::arch::x86_64::*;

use super::Vector;
use crate::microkernel::VECTORS;
use crate::wide_rows::Tops;

#[derive(Clone, Copy)]
pub(crate) struct Avx2(__m256);

/// All bits set in the lowest `count` lanes.
#[inline(always)]
fn lanes(count: usize) -> __m256i {
    const EDGE: [i32; 16] = [-1, -1, -1, -1, -1, -1, -1, -1, 0, 0, 0, 0, 0, 0, 0, 0];
    // SAFETY: AVX is there (see `simd`); `count <= 8`, so the load stays inside the table.
    unsafe { _mm256_loadu_si256(EDGE.as_ptr().add(8 - count).cast()) }
}

/// The highest bytes of a block's 16 weights.
///
/// # Safety
/// AVX2 is there, and 8 bytes can be read at `from`.
#[inline(always)]
unsafe fn top_bytes(from: *const u8, tops: &Tops) -> __m128i {
    // SAFETY: the caller's promise.
    unsafe {
        // The lower bytes of the four words twice, then the upper ones; of each the second time the
        // upper four bits.
        let bytes = _mm_set_epi8(7, 5, 3, 1, 7, 5, 3, 1, 6, 4, 2, 0, 6, 4, 2, 0);
        let bytes = _mm_shuffle_epi8(_mm_loadl_epi64(from.cast()), bytes);
        let fours = _mm_srlv_epi32(bytes, _mm_set_epi32(4, 0, 4, 0));
        let fours = _mm_and_si128(fours, _mm_set1_epi8(0xf));
        _mm_shuffle_epi8(_mm_loadu_si128(tops.as_ptr().cast()), fours)
    }
}

// SAFETY of every block below: AVX2 and FMA are there (see `simd`), and addresses are the caller's
// promise.
impl Vector for Avx2 {
    const LANES: usize = 8;
    // 12 sums, two columns and a factor in 16 registers.
    const ROWS: usize = 6;

    #[inline(always)]
    fn splat(value: f32) -> Self {
        // SAFETY: as above.
        Self(unsafe { _mm256_set1_ps(value) })
    }
    #[inline(always)]
    unsafe fn load(from: *const f32) -> Self {
        // SAFETY: as above.
        Self(unsafe { _mm256_loadu_ps(from) })
    }
    #[inline(always)]
    unsafe fn store(self, to: *mut f32) {
        // SAFETY: as above.
        unsafe { _mm256_storeu_ps(to, self.0) }
    }
    #[inline(always)]
    unsafe fn load_part(from: *const f32, count: usize) -> Self {
        // SAFETY: as above; masked lanes are not touched.
        Self(unsafe { _mm256_maskload_ps(from, lanes(count)) })
    }
    #[inline(always)]
    unsafe fn store_part(self, to: *mut f32, count: usize) {
        // SAFETY: as above; masked lanes are not touched.
        unsafe { _mm256_maskstore_ps(to, lanes(count), self.0) }
    }
    #[inline(always)]
    fn add(self, other: Self) -> Self {
        // SAFETY: as above.
        Self(unsafe { _mm256_add_ps(self.0, other.0) })
    }
    #[inline(always)]
    fn sub(self, other: Self) -> Self {
        // SAFETY: as above.
        Self(unsafe { _mm256_sub_ps(self.0, other.0) })
    }
    #[inline(always)]
    fn mul(self, other: Self) -> Self {
        // SAFETY: as above.
        Self(unsafe { _mm256_mul_ps(self.0, other.0) })
    }
    #[inline(always)]
    fn mul_add(self, factor: Self, addend: Self) -> Self {
        // SAFETY: as above.
        Self(unsafe { _mm256_fmadd_ps(self.0, factor.0, addend.0) })
    }
    #[inline(always)]
    fn relu(self) -> Self {
        // SAFETY: as above. Of a NaN and a number the instruction takes its second operand.
        Self(unsafe { _mm256_max_ps(_mm256_setzero_ps(), self.0) })
    }
    #[inline(always)]
    unsafe fn load_bf16(from: *const u16) -> Self {
        // SAFETY: as above.
        unsafe {
            let wide = _mm256_cvtepu16_epi32(_mm_loadu_si128(from.cast()));
            Self(_mm256_castsi256_ps(_mm256_slli_epi32::<16>(wide)))
        }
    }
    const READS_SHORT: bool = true;
    #[inline(always)]
    unsafe fn load_short(from: *const u8, tops: &Tops) -> [Self; VECTORS] {
        // SAFETY: as above.
        unsafe {
            let third = _mm_loadu_si128(from.add(32).cast());
            let top = top_bytes(from.add(48), tops);
            let join = |low: *const u8, high| {
                let low = _mm_loadu_si128(low.cast());
                let halves = [_mm_unpacklo_epi16(low, high), _mm_unpackhi_epi16(low, high)];
                Self(_mm256_castsi256_ps(_mm256_set_m128i(halves[1], halves[0])))
            };
            [
                join(from, _mm_unpacklo_epi8(third, top)),
                join(from.add(16), _mm_unpackhi_epi8(third, top)),
            ]
        }
    }
    #[inline(always)]
    unsafe fn load_short_bf16(from: *const u8, tops: &Tops) -> [Self; VECTORS] {
        // SAFETY: as above.
        unsafe {
            let low = _mm_loadu_si128(from.cast());
            let top = top_bytes(from.add(16), tops);
            let widen = |words| {
                Self(_mm256_castsi256_ps(_mm256_slli_epi32::<16>(_mm256_cvtepu16_epi32(words))))
            };
            [widen(_mm_unpacklo_epi8(low, top)), widen(_mm_unpackhi_epi8(low, top))]
        }
    }
    #[inline(always)]
    fn prefetch(address: *const f32) {
        // SAFETY: a prefetch never faults.
        unsafe { _mm_prefetch::<_MM_HINT_T0>(address.cast()) }
    }
    #[inline(always)]
    fn prefetch_outer(address: *const f32) {
        // SAFETY: a prefetch never faults.
        unsafe { _mm_prefetch::<_MM_HINT_T1>(address.cast()) }
    }

    #[inline(always)]
    fn sqrt(self) -> Self {
        // SAFETY: as above.
        Self(unsafe { _mm256_sqrt_ps(self.0) })
    }
    /// Root and quotient: makers differ in the bits of the instruction that estimates this.
    #[inline(always)]
    fn rsqrt(self) -> Self {
        // SAFETY: as above.
        Self(unsafe { _mm256_div_ps(_mm256_set1_ps(1.0), _mm256_sqrt_ps(self.0)) })
    }
    #[inline(always)]
    fn or_larger(self, mark: Self, other: Self, other_mark: Self) -> (Self, Self) {
        // SAFETY: as above.
        unsafe {
            let larger = _mm256_cmp_ps::<_CMP_GT_OQ>(other.0, self.0);
            let larger = _mm256_or_ps(larger, _mm256_cmp_ps::<_CMP_UNORD_Q>(other.0, other.0));
            (
                Self(_mm256_blendv_ps(self.0, other.0, larger)),
                Self(_mm256_blendv_ps(mark.0, other_mark.0, larger)),
            )
        }
    }
    #[inline(always)]
    fn where_marked(self, mark: Self, wanted: Self) -> Self {
        // SAFETY: as above.
        unsafe {
            let (mark, wanted) = (_mm256_castps_si256(mark.0), _mm256_castps_si256(wanted.0));
            Self(_mm256_and_ps(self.0, _mm256_castsi256_ps(_mm256_cmpeq_epi32(mark, wanted))))
        }
    }
    #[inline(always)]
    unsafe fn load_marks(from: *const u8, count: usize) -> Self {
        let mut bytes = [0_u8; 8];
        // SAFETY: as above; the part is copied where eight bytes can be read.
        unsafe {
            let from = if count == Self::LANES {
                from
            } else {
                std::ptr::copy_nonoverlapping(from, bytes.as_mut_ptr(), count);
                bytes.as_ptr()
            };
            Self(_mm256_castsi256_ps(_mm256_cvtepu8_epi32(_mm_loadl_epi64(from.cast()))))
        }
    }
    #[inline(always)]
    unsafe fn store_marks(self, to: *mut u8, count: usize) {
        // SAFETY: as above; the part is copied from where eight bytes can be written.
        unsafe {
            let wide = _mm256_castps_si256(self.0);
            let (low, high) = (_mm256_castsi256_si128(wide), _mm256_extracti128_si256::<1>(wide));
            let words = _mm_packus_epi32(low, high);
            let bytes = _mm_packus_epi16(words, words);
            if count == Self::LANES {
                _mm_storel_epi64(to.cast(), bytes);
            } else {
                let mut all = [0_u8; 8];
                _mm_storel_epi64(all.as_mut_ptr().cast(), bytes);
                std::ptr::copy_nonoverlapping(all.as_ptr(), to, count);
            }
        }
    }
}
