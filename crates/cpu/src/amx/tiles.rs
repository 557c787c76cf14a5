//! Tile registers: whether there are any, their sizes, and the two loops that multiply them.
//!
//! Eight registers hold sums and factors. A [`Strip`] keeps up to six tiles of sums above each other:
//! each tile of B is used six times, so it may come from the second cache, while A should come from
//! the first. A [`Block`] keeps two by two: both factors are used twice, and may come from the
//! second cache.

use std::arch::asm;
use std::arch::x86_64::__cpuid_count;
use std::marker::PhantomData;
use std::sync::OnceLock;

/// Rows of a tile, and columns of a tile of sums.
pub(super) const TILE: usize = 16;
/// Factors in a row of a tile: the terms one instruction adds to each sum.
pub(super) const DEPTH: usize = 32;
/// Sums of a tile.
pub(super) const TILE_SUMS: usize = TILE * TILE;
/// Bytes of a row of a tile.
pub(super) const ROW_BYTES: usize = 64;
/// Bytes of a tile.
pub(super) const TILE_BYTES: usize = TILE * ROW_BYTES;

/// Whether this processor and system let a program use tiles of bf16. Asks the system for the
/// registers' state, which Linux grants once for the whole process.
pub(crate) fn is_available() -> bool {
    static AVAILABLE: OnceLock<bool> = OnceLock::new();
    *AVAILABLE.get_or_init(|| {
        is_x86_feature_detected!("avx512bf16") && has_tiles() && system_grants_tiles()
    })
}

/// CPUID leaf 7: AMX-BF16 and AMX-TILE.
fn has_tiles() -> bool {
    const AMX_BF16: u32 = 1 << 22;
    const AMX_TILE: u32 = 1 << 24;
    let features = __cpuid_count(7, 0).edx;
    features & (AMX_BF16 | AMX_TILE) == AMX_BF16 | AMX_TILE
}

#[cfg(target_os = "linux")]
fn system_grants_tiles() -> bool {
    const ARCH_REQ_XCOMP_PERM: libc::c_long = 0x1023;
    const XFEATURE_XTILEDATA: libc::c_long = 18;
    // SAFETY: the call changes what the process may use, and touches no memory of ours.
    unsafe { libc::syscall(libc::SYS_arch_prctl, ARCH_REQ_XCOMP_PERM, XFEATURE_XTILEDATA) == 0 }
}

#[cfg(not(target_os = "linux"))]
fn system_grants_tiles() -> bool {
    false
}

/// The tile registers of this thread, configured: 6 with 16 rows, the others with `rows`.
pub(super) struct Tiles {
    /// Registers belong to one thread.
    not_send: PhantomData<*const ()>,
}

/// The layout `ldtilecfg` reads.
#[repr(C, align(64))]
struct Configuration {
    palette: u8,
    start_row: u8,
    reserved: [u8; 14],
    row_bytes: [u16; 16],
    rows: [u8; 16],
}

impl Tiles {
    /// # Safety
    /// [`is_available`].
    pub(super) unsafe fn configure(rows: usize) -> Self {
        assert!((1..=TILE).contains(&rows));
        let mut configuration = Configuration {
            palette: 1,
            start_row: 0,
            reserved: [0; 14],
            row_bytes: [0; 16],
            rows: [0; 16],
        };
        for tile in 0..8 {
            configuration.row_bytes[tile] = ROW_BYTES as u16;
            configuration.rows[tile] = if tile == 6 { TILE } else { rows } as u8;
        }
        // SAFETY: the processor has tiles, by the caller's promise; the configuration is valid.
        unsafe {
            asm!("ldtilecfg [{}]", in(reg) &raw const configuration, options(nostack, readonly));
        }
        Self { not_send: PhantomData }
    }
}

impl Drop for Tiles {
    fn drop(&mut self) {
        // SAFETY: tiles were configured.
        unsafe { asm!("tilerelease", options(nostack, nomem)) };
    }
}

/// Loads a row tile of A into 7 and multiplies it with the tile of B in 6.
macro_rules! row_tile {
    ($i:literal, $displacement:literal) => {
        concat!(
            "tileloadd tmm7, [{a",
            $i,
            "} + {stride}*1 + ",
            $displacement,
            "]
             tdpbf16ps tmm",
            $i,
            ", tmm7, tmm6
             "
        )
    };
}

/// The loop of a strip of the given row tiles.
macro_rules! strip {
    ($strip:ident, $sums:ident, $parts:ident; $($i:literal $a:ident)+) => {
        asm!(
            $(concat!("tilezero tmm", $i),)+
            "2:",
            $(concat!("add {a", $i, "}, qword ptr [{moves}]"),)+
            "tileloadd tmm6, [{b} + {line}*1]",
            $(row_tile!($i, 0),)+
            strip!(@low $parts $($i)+),
            "add {moves}, 8",
            "dec {steps}",
            "jnz 2b",
            $(concat!("tilestored [{sums} + {line}*1 + 1024*", $i, "], tmm", $i),)+
            $($a = inout(reg) $strip.a[$i] => _,)+
            stride = in(reg) $strip.a_stride,
            b = inout(reg) $strip.b => _,
            moves = inout(reg) $strip.a_moves.as_ptr() => _,
            steps = inout(reg) $strip.a_moves.len() => _,
            sums = in(reg) $sums,
            line = in(reg) ROW_BYTES,
            out("tmm0") _, out("tmm1") _, out("tmm2") _, out("tmm3") _,
            out("tmm4") _, out("tmm5") _, out("tmm6") _, out("tmm7") _,
            options(nostack),
        )
    };
    // The low parts of A lie right behind the high ones; those of B in the next tile.
    (@low both $($i:literal)+) => {
        concat!(
            $(row_tile!($i, 64),)+
            "tileloadd tmm6, [{b} + {line}*1 + 1024]
             ",
            $(row_tile!($i, 0),)+
            "add {b}, 2048"
        )
    };
    (@low high $($i:literal)+) => {
        "add {b}, 1024"
    };
}

/// Tiles of rows of A above each other by one tile of columns of B: `sums = Σ_step A(step) · B(step)`.
pub(super) struct Strip<'a> {
    /// Where each row tile of A begins.
    pub(super) a: [*const u8; Strip::TILES_MAX],
    /// How many bytes all of them move before each step.
    pub(super) a_moves: &'a [isize],
    /// Bytes from row to row of A. Its low parts lie [`ROW_BYTES`] behind the high ones.
    pub(super) a_stride: usize,
    /// Tiles of B, one after another: a tile of high parts, a tile of low parts, for each step.
    pub(super) b: *const u8,
}

impl Strip<'_> {
    /// Most row tiles of a strip.
    pub(super) const TILES_MAX: usize = 6;

    /// The number of row tiles, from 4 to 6, that covers `tiles` with the fewest to spare.
    pub(super) fn tiles_for(tiles: usize) -> usize {
        let waste = |&n: &usize| tiles.next_multiple_of(n) * (n + 1) / n;
        (4..=Self::TILES_MAX).rev().min_by_key(waste).unwrap_or(Self::TILES_MAX)
    }

    /// Forms the sums of `tiles` row tiles (4 to 6), of both parts of each factor if `PARTS` is 2, of
    /// the high parts alone if it is 1.
    ///
    /// # Safety
    /// This thread's tiles are configured; there is at least one step; at every step `tiles` tiles
    /// of A and `PARTS` of B can be read.
    pub(super) unsafe fn form<const PARTS: usize>(&self, tiles: usize, sums: &mut StripSums) {
        debug_assert!(!self.a_moves.is_empty() && (PARTS == 1 || PARTS == 2));
        let sums = sums.0.as_mut_ptr();
        // SAFETY: the caller's promise; there is room for six tiles of sums.
        unsafe {
            match (PARTS, tiles) {
                (2, 4) => strip!(self, sums, both; 0 a0 1 a1 2 a2 3 a3),
                (2, 5) => strip!(self, sums, both; 0 a0 1 a1 2 a2 3 a3 4 a4),
                (2, _) => strip!(self, sums, both; 0 a0 1 a1 2 a2 3 a3 4 a4 5 a5),
                (_, 4) => strip!(self, sums, high; 0 a0 1 a1 2 a2 3 a3),
                (_, 5) => strip!(self, sums, high; 0 a0 1 a1 2 a2 3 a3 4 a4),
                (_, _) => strip!(self, sums, high; 0 a0 1 a1 2 a2 3 a3 4 a4 5 a5),
            }
        }
    }
}

/// The sums of a strip, a tile after another.
#[repr(align(64))]
pub(super) struct StripSums(pub(super) [f32; Strip::TILES_MAX * TILE_SUMS]);

/// Two tiles of rows of A by two tiles of columns of B: `sums (+)= Σ_step A(step) · B(step)`.
pub(super) struct Block {
    /// Terms of each sum, in units of [`DEPTH`].
    pub(super) steps: usize,
    /// The two row tiles of A; a step further lies [`ROW_BYTES`] on.
    pub(super) a: [*const u8; 2],
    /// Bytes from row to row of A.
    pub(super) a_stride: usize,
    /// Bytes from the high to the low parts of A.
    pub(super) a_low: usize,
    /// The two column tiles of B; a step further lies [`TILE_BYTES`] on.
    pub(super) b: [*const u8; 2],
    /// Bytes from the high to the low parts of B.
    pub(super) b_low: usize,
}

/// The sums, zero or from memory.
macro_rules! begin {
    (zero) => {
        "tilezero tmm0
         tilezero tmm1
         tilezero tmm2
         tilezero tmm3"
    };
    (load) => {
        "tileloadd tmm0, [{sums} + {line}*1]
         tileloadd tmm1, [{sums} + {line}*1 + 1024]
         tileloadd tmm2, [{sums} + {line}*1 + 2048]
         tileloadd tmm3, [{sums} + {line}*1 + 3072]"
    };
}

/// A's two tiles into 4 and 5.
macro_rules! load_a {
    () => {
        "tileloadd tmm4, [{a0} + {stride}*1]
         tileloadd tmm5, [{a1} + {stride}*1]"
    };
}

/// B's two tiles into 6 and 7.
macro_rules! load_b {
    () => {
        "tileloadd tmm6, [{b0} + {line}*1]
         tileloadd tmm7, [{b1} + {line}*1]"
    };
}

/// All four pairs of the tiles in 4 and 5 with those in 6 and 7.
macro_rules! multiply {
    () => {
        "tdpbf16ps tmm0, tmm4, tmm6
         tdpbf16ps tmm1, tmm4, tmm7
         tdpbf16ps tmm2, tmm5, tmm6
         tdpbf16ps tmm3, tmm5, tmm7"
    };
}

/// Both factors move by so many registers' bytes.
macro_rules! move_both {
    ($operation:literal, $a:literal, $b:literal) => {
        concat!(
            $operation, " {a0}, ", $a, "\n", $operation, " {a1}, ", $a, "\n", $operation,
            " {b0}, ", $b, "\n", $operation, " {b1}, ", $b
        )
    };
}

/// The whole product as one block of instructions, so that no register need be kept between two.
macro_rules! block {
    ($block:ident, $sums:ident, $begin:ident; $($step:expr),+) => {
        asm!(
            begin!($begin),
            "2:",
            $($step,)+
            move_both!("add", "64", "1024"),
            "dec {steps}",
            "jnz 2b",
            "tilestored [{sums} + {line}*1], tmm0",
            "tilestored [{sums} + {line}*1 + 1024], tmm1",
            "tilestored [{sums} + {line}*1 + 2048], tmm2",
            "tilestored [{sums} + {line}*1 + 3072], tmm3",
            "/* {a_low} {b_low} */",
            a0 = inout(reg) $block.a[0] => _,
            a1 = inout(reg) $block.a[1] => _,
            b0 = inout(reg) $block.b[0] => _,
            b1 = inout(reg) $block.b[1] => _,
            stride = in(reg) $block.a_stride,
            a_low = in(reg) $block.a_low,
            b_low = in(reg) $block.b_low,
            steps = inout(reg) $block.steps => _,
            sums = in(reg) $sums,
            line = in(reg) ROW_BYTES,
            out("tmm0") _, out("tmm1") _, out("tmm2") _, out("tmm3") _,
            out("tmm4") _, out("tmm5") _, out("tmm6") _, out("tmm7") _,
            options(nostack),
        )
    };
    // High by high, low A by high B, high A (read again, from the inner cache) by low B.
    ($block:ident, $sums:ident, $begin:ident, both) => {
        block!(
            $block, $sums, $begin;
            load_b!(), load_a!(), multiply!(),
            "add {a0}, {a_low}", "add {a1}, {a_low}",
            load_a!(), multiply!(),
            "sub {a0}, {a_low}", "sub {a1}, {a_low}",
            "add {b0}, {b_low}", "add {b1}, {b_low}",
            load_b!(), load_a!(), multiply!(),
            "sub {b0}, {b_low}", "sub {b1}, {b_low}"
        )
    };
    ($block:ident, $sums:ident, $begin:ident, high) => {
        block!($block, $sums, $begin; load_b!(), load_a!(), multiply!())
    };
}

/// Rows and columns of a [`Block`]: two tiles each way.
pub(super) const BLOCK: usize = 2 * TILE;
/// Sums of a [`Block`]: tiles (row tile, column tile) of 16x16 each.
pub(super) const BLOCK_SUMS: usize = BLOCK * BLOCK;

impl Block {
    /// Forms the product into `sums`, adding to what is there if `add`: of both parts of each
    /// factor if `PARTS` is 2, of the high parts alone if it is 1.
    ///
    /// # Safety
    /// This thread's tiles are configured with 16 rows; `steps >= 1`; at every step two tiles of A
    /// and of B can be read, and with two parts as many low ones; `sums` is aligned to a line.
    pub(super) unsafe fn form<const PARTS: usize>(&self, sums: &mut [f32], add: bool) {
        debug_assert!(self.steps > 0 && (PARTS == 1 || PARTS == 2));
        assert_eq!(sums.len(), BLOCK_SUMS);
        let sums = sums.as_mut_ptr();
        // SAFETY: the caller's promise; the sums are four tiles of 1024 bytes.
        unsafe {
            match (PARTS, add) {
                (2, true) => block!(self, sums, load, both),
                (2, false) => block!(self, sums, zero, both),
                (_, true) => block!(self, sums, load, high),
                (_, false) => block!(self, sums, zero, high),
            }
        }
    }
}
