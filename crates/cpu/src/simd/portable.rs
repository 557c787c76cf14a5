//! 4 floats in plain Rust.

use super::Vector;

#[derive(Clone, Copy)]
#[repr(align(16))]
pub(crate) struct Portable([f32; 4]);

impl Portable {
    #[inline(always)]
    fn zip(self, other: Self, combine: impl Fn(f32, f32) -> f32) -> Self {
        Self(std::array::from_fn(|lane| combine(self.0[lane], other.0[lane])))
    }
}

impl Vector for Portable {
    const LANES: usize = 4;
    // 6 sums of two vectors, two columns and a factor in 16 registers of four floats.
    const ROWS: usize = 6;

    #[inline(always)]
    fn splat(value: f32) -> Self {
        Self([value; 4])
    }
    #[inline(always)]
    unsafe fn load(from: *const f32) -> Self {
        // SAFETY: the caller's promise.
        Self(unsafe { from.cast::<[f32; 4]>().read_unaligned() })
    }
    #[inline(always)]
    unsafe fn store(self, to: *mut f32) {
        // SAFETY: the caller's promise.
        unsafe { to.cast::<[f32; 4]>().write_unaligned(self.0) }
    }
    #[inline(always)]
    unsafe fn load_part(from: *const f32, count: usize) -> Self {
        let mut lanes = [0.0; 4];
        // SAFETY: the caller's promise; `count <= 4`.
        unsafe { std::ptr::copy_nonoverlapping(from, lanes.as_mut_ptr(), count) };
        Self(lanes)
    }
    #[inline(always)]
    unsafe fn store_part(self, to: *mut f32, count: usize) {
        // SAFETY: the caller's promise; `count <= 4`.
        unsafe { std::ptr::copy_nonoverlapping(self.0.as_ptr(), to, count) };
    }
    #[inline(always)]
    fn add(self, other: Self) -> Self {
        self.zip(other, |a, b| a + b)
    }
    #[inline(always)]
    fn sub(self, other: Self) -> Self {
        self.zip(other, |a, b| a - b)
    }
    #[inline(always)]
    fn mul(self, other: Self) -> Self {
        self.zip(other, |a, b| a * b)
    }
    #[inline(always)]
    fn mul_add(self, factor: Self, addend: Self) -> Self {
        self.mul(factor).add(addend)
    }
    #[inline(always)]
    fn relu(self) -> Self {
        Self(self.0.map(|value| if value < 0.0 { 0.0 } else { value }))
    }
    #[inline(always)]
    unsafe fn load_bf16(from: *const u16) -> Self {
        // SAFETY: the caller's promise.
        let halves = unsafe { from.cast::<[u16; 4]>().read_unaligned() };
        Self(halves.map(|half| f32::from_bits(u32::from(half) << 16)))
    }
    #[inline(always)]
    fn prefetch(_: *const f32) {}
    #[inline(always)]
    fn prefetch_outer(_: *const f32) {}

    #[inline(always)]
    fn sqrt(self) -> Self {
        Self(self.0.map(f32::sqrt))
    }
    #[inline(always)]
    fn rsqrt(self) -> Self {
        Self(self.0.map(|value| 1.0 / value.sqrt()))
    }
    #[inline(always)]
    fn or_larger(self, mark: Self, other: Self, other_mark: Self) -> (Self, Self) {
        let larger: [u32; 4] = std::array::from_fn(|lane| {
            let (other, own) = (other.0[lane], self.0[lane]);
            if (other > own) | other.is_nan() { u32::MAX } else { 0 }
        });
        let choose = |yes: Self, no: Self| {
            Self(std::array::from_fn(|lane| {
                let (yes, no) = (yes.0[lane].to_bits(), no.0[lane].to_bits());
                f32::from_bits((yes & larger[lane]) | (no & !larger[lane]))
            }))
        };
        (choose(other, self), choose(other_mark, mark))
    }
    #[inline(always)]
    fn where_marked(self, mark: Self, wanted: Self) -> Self {
        let equal = |lane: usize| mark.0[lane].to_bits() == wanted.0[lane].to_bits();
        Self(std::array::from_fn(|lane| if equal(lane) { self.0[lane] } else { 0.0 }))
    }
    #[inline(always)]
    unsafe fn load_marks(from: *const u8, count: usize) -> Self {
        let mut bytes = [0_u8; 4];
        // SAFETY: the caller's promise; `count <= 4`.
        unsafe { std::ptr::copy_nonoverlapping(from, bytes.as_mut_ptr(), count) };
        Self(bytes.map(|byte| f32::from_bits(u32::from(byte))))
    }
    #[inline(always)]
    unsafe fn store_marks(self, to: *mut u8, count: usize) {
        let bytes = self.0.map(|mark| mark.to_bits() as u8);
        // SAFETY: the caller's promise; `count <= 4`.
        unsafe { std::ptr::copy_nonoverlapping(bytes.as_ptr(), to, count) };
    }
}
