//! 16 floats in a 512-bit register.

use std::arch::x86_64::*;

use super::Vector;
use crate::microkernel::VECTORS;
use crate::wide_rows::Tops;

#[derive(Clone, Copy)]
pub(crate) struct Avx512(__m512);

/// The lowest `count` lanes.
#[inline(always)]
fn lanes(count: usize) -> __mmask16 {
    ((1_u32 << count) - 1) as __mmask16
}

/// Words of two vectors in turns: of the first and, from 32 on, of the second.
const fn in_turns(first: u16) -> [u16; 32] {
    let mut places = [0; 32];
    let mut lane = 0;
    while lane < 16 {
        places[2 * lane] = first + lane as u16;
        places[2 * lane + 1] = 32 + first + lane as u16;
        lane += 1;
    }
    places
}

static LOWER_HALVES: [u16; 32] = in_turns(0);
static UPPER_HALVES: [u16; 32] = in_turns(16);

/// The highest bytes of a block's 32 weights, each the upper half of a word.
///
/// # Safety
/// AVX-512 is there, and 16 bytes can be read at `from`.
#[inline(always)]
unsafe fn top_bytes(from: *const u8, tops: &Tops) -> __m512i {
    // SAFETY: the caller's promise.
    unsafe {
        // Every table entry twice: of an index, the fifth bit counts too.
        let tops = _mm256_broadcastsi128_si256(_mm_loadu_si128(tops.as_ptr().cast()));
        let tops = _mm512_slli_epi16::<8>(_mm512_cvtepu8_epi16(tops));
        let words = _mm512_broadcast_i32x4(_mm_loadu_si128(from.cast()));
        let counts = _mm512_set_epi64(
            0x000c_000c_000c_000c,
            0x000c_000c_000c_000c,
            0x0008_0008_0008_0008,
            0x0008_0008_0008_0008,
            0x0004_0004_0004_0004,
            0x0004_0004_0004_0004,
            0,
            0,
        );
        _mm512_permutexvar_epi16(_mm512_srlv_epi16(words, counts), tops)
    }
}

// SAFETY of every block below: AVX-512 is there (see `simd`), and addresses are the caller's
// promise.
impl Vector for Avx512 {
    const LANES: usize = 16;
    // 28 sums, two columns and a factor in 32 registers.
    const ROWS: usize = 14;

    #[inline(always)]
    fn splat(value: f32) -> Self {
        // SAFETY: as above.
        Self(unsafe { _mm512_set1_ps(value) })
    }
    #[inline(always)]
    unsafe fn load(from: *const f32) -> Self {
        // SAFETY: as above.
        Self(unsafe { _mm512_loadu_ps(from) })
    }
    #[inline(always)]
    unsafe fn store(self, to: *mut f32) {
        // SAFETY: as above.
        unsafe { _mm512_storeu_ps(to, self.0) }
    }
    #[inline(always)]
    unsafe fn load_part(from: *const f32, count: usize) -> Self {
        // SAFETY: as above; masked lanes are not touched.
        Self(unsafe { _mm512_maskz_loadu_ps(lanes(count), from) })
    }
    #[inline(always)]
    unsafe fn store_part(self, to: *mut f32, count: usize) {
        // SAFETY: as above; masked lanes are not touched.
        unsafe { _mm512_mask_storeu_ps(to, lanes(count), self.0) }
    }
    #[inline(always)]
    fn add(self, other: Self) -> Self {
        // SAFETY: as above.
        Self(unsafe { _mm512_add_ps(self.0, other.0) })
    }
    #[inline(always)]
    fn sub(self, other: Self) -> Self {
        // SAFETY: as above.
        Self(unsafe { _mm512_sub_ps(self.0, other.0) })
    }
    #[inline(always)]
    fn mul(self, other: Self) -> Self {
        // SAFETY: as above.
        Self(unsafe { _mm512_mul_ps(self.0, other.0) })
    }
    #[inline(always)]
    fn mul_add(self, factor: Self, addend: Self) -> Self {
        // SAFETY: as above.
        Self(unsafe { _mm512_fmadd_ps(self.0, factor.0, addend.0) })
    }
    #[inline(always)]
    fn relu(self) -> Self {
        // SAFETY: as above. Of a NaN and a number the instruction takes its second operand.
        Self(unsafe { _mm512_max_ps(_mm512_setzero_ps(), self.0) })
    }
    #[inline(always)]
    unsafe fn load_bf16(from: *const u16) -> Self {
        // SAFETY: as above.
        unsafe {
            let wide = _mm512_cvtepu16_epi32(_mm256_loadu_si256(from.cast()));
            Self(_mm512_castsi512_ps(_mm512_slli_epi32::<16>(wide)))
        }
    }
    const READS_SHORT: bool = true;
    #[inline(always)]
    unsafe fn load_short(from: *const u8, tops: &Tops) -> [Self; VECTORS] {
        // SAFETY: as above.
        unsafe {
            let low = _mm512_loadu_si512(from.cast());
            let third = _mm512_cvtepu8_epi16(_mm256_loadu_si256(from.add(64).cast()));
            let high = _mm512_or_si512(third, top_bytes(from.add(96), tops));
            // Words of both take turns.
            let join = |places: &[u16; 32]| {
                let places = _mm512_loadu_si512(places.as_ptr().cast());
                Self(_mm512_castsi512_ps(_mm512_permutex2var_epi16(low, places, high)))
            };
            [join(&LOWER_HALVES), join(&UPPER_HALVES)]
        }
    }
    #[inline(always)]
    unsafe fn load_short_bf16(from: *const u8, tops: &Tops) -> [Self; VECTORS] {
        // SAFETY: as above.
        unsafe {
            let low = _mm512_cvtepu8_epi16(_mm256_loadu_si256(from.cast()));
            let words = _mm512_or_si512(low, top_bytes(from.add(32), tops));
            let zero = _mm512_setzero_si512();
            let widen = |places: &[u16; 32]| {
                let places = _mm512_loadu_si512(places.as_ptr().cast());
                Self(_mm512_castsi512_ps(_mm512_permutex2var_epi16(zero, places, words)))
            };
            [widen(&LOWER_HALVES), widen(&UPPER_HALVES)]
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
        Self(unsafe { _mm512_sqrt_ps(self.0) })
    }
    #[inline(always)]
    fn rsqrt(self) -> Self {
        // SAFETY: as above.
        Self(unsafe { _mm512_div_ps(_mm512_set1_ps(1.0), _mm512_sqrt_ps(self.0)) })
    }
    #[inline(always)]
    fn or_larger(self, mark: Self, other: Self, other_mark: Self) -> (Self, Self) {
        // SAFETY: as above.
        unsafe {
            let larger = _mm512_cmp_ps_mask::<_CMP_GT_OQ>(other.0, self.0)
                | _mm512_cmp_ps_mask::<_CMP_UNORD_Q>(other.0, other.0);
            (
                Self(_mm512_mask_mov_ps(self.0, larger, other.0)),
                Self(_mm512_mask_mov_ps(mark.0, larger, other_mark.0)),
            )
        }
    }
    #[inline(always)]
    fn where_marked(self, mark: Self, wanted: Self) -> Self {
        // SAFETY: as above.
        unsafe {
            let (mark, wanted) = (_mm512_castps_si512(mark.0), _mm512_castps_si512(wanted.0));
            Self(_mm512_maskz_mov_ps(_mm512_cmpeq_epi32_mask(mark, wanted), self.0))
        }
    }
    #[inline(always)]
    unsafe fn load_marks(from: *const u8, count: usize) -> Self {
        // SAFETY: as above; masked lanes are not touched.
        unsafe {
            let bytes = if count == Self::LANES {
                _mm_loadu_si128(from.cast())
            } else {
                _mm_maskz_loadu_epi8(lanes(count), from.cast())
            };
            Self(_mm512_castsi512_ps(_mm512_cvtepu8_epi32(bytes)))
        }
    }
    #[inline(always)]
    unsafe fn store_marks(self, to: *mut u8, count: usize) {
        // SAFETY: as above; masked lanes are not touched.
        unsafe {
            let bytes = _mm512_cvtepi32_epi8(_mm512_castps_si512(self.0));
            if count == Self::LANES {
                _mm_storeu_si128(to.cast(), bytes);
            } else {
                _mm_mask_storeu_epi8(to.cast(), lanes(count), bytes);
            }
        }
    }
}
