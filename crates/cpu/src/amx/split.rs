//! `f32` values as sums of two bf16 values, and in the orders tiles want.

use std::arch::x86_64::*;

/// The high parts and the low parts of 16 floats: `x ≈ high + low`.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512bf16")]
#[inline]
pub(super) fn split(x: __m512) -> (__m256i, __m256i) {
    let high = as_integers(_mm512_cvtneps_pbh(x));
    let low = _mm512_sub_ps(x, widen(high));
    (high, as_integers(_mm512_cvtneps_pbh(low)))
}

#[target_feature(enable = "avx512f,avx512bf16,avx512vl")]
#[inline]
fn as_integers(halves: __m256bh) -> __m256i {
    // SAFETY: both are 32 bytes without invalid values.
    unsafe { std::mem::transmute::<__m256bh, __m256i>(halves) }
}

#[target_feature(enable = "avx512f")]
#[inline]
fn widen(halves: __m256i) -> __m512 {
    _mm512_castsi512_ps(_mm512_slli_epi32::<16>(_mm512_cvtepu16_epi32(halves)))
}

/// Pairs `(a[i], b[i])` of bf16, the parts high and low: how B's tiles hold two terms of a column.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512bf16")]
#[inline]
pub(super) fn split_pairs(a: __m512, b: __m512) -> (__m512i, __m512i) {
    let ((a_high, a_low), (b_high, b_low)) = (split(a), split(b));
    (pair(a_high, b_high), pair(a_low, b_low))
}

/// `(a[i], b[i])` next to each other.
#[target_feature(enable = "avx512f")]
#[inline]
pub(super) fn pair(a: __m256i, b: __m256i) -> __m512i {
    let b = _mm512_slli_epi32::<16>(_mm512_cvtepu16_epi32(b));
    _mm512_or_si512(_mm512_cvtepu16_epi32(a), b)
}

/// 16 values and 16 more.
#[target_feature(enable = "avx512f")]
#[inline]
pub(super) fn join(first: __m256i, second: __m256i) -> __m512 {
    _mm512_castsi512_ps(_mm512_inserti64x4::<1>(_mm512_castsi256_si512(first), second))
}

/// `max(0, sum)` of numbers; 0 times what is not finite is NaN.
#[target_feature(enable = "avx512f")]
pub(super) fn rectified(sum: __m512) -> __m512 {
    let zero = _mm512_setzero_ps();
    // Of a NaN and a number the instruction takes its second operand.
    _mm512_fmadd_ps(sum, zero, _mm512_max_ps(zero, sum))
}

/// The lowest `count` of 16 lanes, all of them from 16 on.
#[inline]
pub(super) fn lanes(count: usize) -> __mmask16 {
    if count >= 16 { !0 } else { (1 << count) - 1 }
}

/// `count.min(16)` floats, the other lanes 0.
///
/// # Safety
/// So many can be read at `from`, and AVX-512 is there.
#[target_feature(enable = "avx512f")]
#[inline]
pub(super) unsafe fn load(from: *const f32, count: usize) -> __m512 {
    // SAFETY: masked lanes are not touched.
    unsafe { _mm512_maskz_loadu_ps(lanes(count), from) }
}

/// Rows of 16 numbers become columns.
#[target_feature(enable = "avx512f")]
#[inline]
pub(super) fn transpose(rows: &mut [__m512; 16]) {
    let double = |v: __m512| _mm512_castps_pd(v);
    let single = |v: __m512d| _mm512_castpd_ps(v);
    let mut t = *rows;
    // Pairs of numbers, then pairs of pairs, then quarters of a register.
    for i in 0..8 {
        t[2 * i] = _mm512_unpacklo_ps(rows[2 * i], rows[2 * i + 1]);
        t[2 * i + 1] = _mm512_unpackhi_ps(rows[2 * i], rows[2 * i + 1]);
    }
    for i in 0..4 {
        let [a, b, c, d] = [t[4 * i], t[4 * i + 1], t[4 * i + 2], t[4 * i + 3]];
        rows[4 * i] = single(_mm512_unpacklo_pd(double(a), double(c)));
        rows[4 * i + 1] = single(_mm512_unpackhi_pd(double(a), double(c)));
        rows[4 * i + 2] = single(_mm512_unpacklo_pd(double(b), double(d)));
        rows[4 * i + 3] = single(_mm512_unpackhi_pd(double(b), double(d)));
    }
    for i in 0..4 {
        t[i] = _mm512_shuffle_f32x4::<0x88>(rows[i], rows[4 + i]);
        t[4 + i] = _mm512_shuffle_f32x4::<0xdd>(rows[i], rows[4 + i]);
        t[8 + i] = _mm512_shuffle_f32x4::<0x88>(rows[8 + i], rows[12 + i]);
        t[12 + i] = _mm512_shuffle_f32x4::<0xdd>(rows[8 + i], rows[12 + i]);
    }
    for i in 0..4 {
        rows[i] = _mm512_shuffle_f32x4::<0x88>(t[i], t[8 + i]);
        rows[8 + i] = _mm512_shuffle_f32x4::<0xdd>(t[i], t[8 + i]);
        rows[4 + i] = _mm512_shuffle_f32x4::<0x88>(t[4 + i], t[12 + i]);
        rows[12 + i] = _mm512_shuffle_f32x4::<0xdd>(t[4 + i], t[12 + i]);
    }
}
