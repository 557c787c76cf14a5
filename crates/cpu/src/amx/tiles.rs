//! Tile registers: whether there are any, their sizes, and the one loop that multiplies them.

use std::arch::asm;
use std::arch::x86_64::__cpuid_count;
use std::marker::PhantomData;
use std::sync::OnceLock;

/// Rows of a tile, and columns of a tile of sums.
pub(super) const TILE: usize = 16;
/// Factors in a row of a tile: the terms one instruction adds to each sum.
pub(super) const DEPTH: usize = 32;
/// Rows and columns of sums that one [`Product`] forms: two tiles each way.
pub(super) const BLOCK: usize = 2 * TILE;
/// Sums of one [`Product`]: (2 row tiles, 2 column tiles) of 16x16.
pub(super) const BLOCK_SUMS: usize = BLOCK * BLOCK;
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

/// The tile registers of this thread, configured: 0 to 5 with `rows` rows, 6 and 7 with 16.
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
            configuration.rows[tile] = if tile < 6 { rows } else { TILE } as u8;
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

/// Two tiles of rows of A by two tiles of columns of B: `sums (+)= Σ_step A(step) · B(step)`.
pub(super) struct Product {
    /// Terms of each sum, in units of [`DEPTH`].
    pub(super) steps: usize,
    /// The two row tiles of A at step 0, less the step's offset.
    pub(super) a: [*const u8; 2],
    /// Bytes from the start to each step's tile of A.
    pub(super) a_offsets: *const usize,
    /// Bytes from row to row of A.
    pub(super) a_stride: usize,
    /// Bytes from a tile of high parts of A to that of low parts.
    pub(super) a_low: usize,
    /// Tiles of B, one after another: two of high parts, two of low parts, for each step.
    pub(super) b: *const u8,
    /// Memory wanted soon in the second cache: 256 bytes are asked for at each step.
    pub(super) prefetch: *const u8,
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

/// A's two tiles into 4 and 5, from `p` and `q`.
macro_rules! load_a {
    () => {
        "tileloadd tmm4, [{p} + {stride}*1]
         tileloadd tmm5, [{q} + {stride}*1]"
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

/// What a step does: `p` and `q` are at A's high parts, `b` at B's.
macro_rules! step {
    // Eight registers hold four sums and two tiles of each factor, so A's high parts are read
    // twice, the second time from the inner cache.
    (split) => {
        concat!(
            "tileloadd tmm6, [{b} + {line}*1]
             tileloadd tmm7, [{b} + {line}*1 + 1024]
             add {p}, {low}
             add {q}, {low}
             ",
            load_a!(),
            "\n",
            multiply!(),
            "
             sub {p}, {low}
             sub {q}, {low}
             ",
            load_a!(),
            "\n",
            multiply!(),
            "
             tileloadd tmm6, [{b} + {line}*1 + 2048]
             tileloadd tmm7, [{b} + {line}*1 + 3072]
             ",
            multiply!(),
            "
             add {b}, 4096"
        )
    };
    (high) => {
        concat!(
            "tileloadd tmm6, [{b} + {line}*1]
             tileloadd tmm7, [{b} + {line}*1 + 1024]
             ",
            load_a!(),
            "\n",
            multiply!(),
            "
             add {b}, 2048"
        )
    };
}

/// The whole product as one block of instructions, so that no register need be kept between two.
macro_rules! form {
    ($product:ident, $sums:ident, $begin:ident, $step:ident) => {
        asm!(
            begin!($begin),
            "2:",
            "mov {p}, qword ptr [{offsets}]",
            "lea {q}, [{a1} + {p}]",
            "add {p}, {a0}",
            "prefetcht1 [{prefetch}]",
            "prefetcht1 [{prefetch} + 64]",
            "prefetcht1 [{prefetch} + 128]",
            "prefetcht1 [{prefetch} + 192]",
            step!($step),
            "add {prefetch}, 256",
            "add {offsets}, 8",
            "dec {steps}",
            "jnz 2b",
            "tilestored [{sums} + {line}*1], tmm0",
            "tilestored [{sums} + {line}*1 + 1024], tmm1",
            "tilestored [{sums} + {line}*1 + 2048], tmm2",
            "tilestored [{sums} + {line}*1 + 3072], tmm3",
            "/* {low} */",
            p = out(reg) _,
            q = out(reg) _,
            offsets = inout(reg) $product.a_offsets => _,
            a0 = in(reg) $product.a[0],
            a1 = in(reg) $product.a[1],
            stride = in(reg) $product.a_stride,
            low = in(reg) $product.a_low,
            b = inout(reg) $product.b => _,
            prefetch = inout(reg) $product.prefetch => _,
            steps = inout(reg) $product.steps => _,
            sums = in(reg) $sums,
            line = in(reg) ROW_BYTES,
            out("tmm0") _, out("tmm1") _, out("tmm2") _, out("tmm3") _,
            out("tmm4") _, out("tmm5") _, out("tmm6") _, out("tmm7") _,
            options(nostack),
        )
    };
}

impl Product {
    /// Bytes asked for ahead of use by a whole product.
    pub(super) fn prefetched(&self) -> usize {
        self.steps * 256
    }

    /// Forms the product into `sums`, adding to what is there if `ADD`: of both parts of each
    /// factor if `PARTS` is 2, of the high parts alone if it is 1.
    ///
    /// # Safety
    /// This thread's tiles are configured; `steps >= 1`; at every step two tiles of A (high and,
    /// with two parts, low) and `2 · PARTS` of B can be read, and `steps` offsets.
    pub(super) unsafe fn form<const PARTS: usize, const ADD: bool>(
        &self,
        sums: &mut [f32; BLOCK_SUMS],
    ) {
        debug_assert!(self.steps > 0 && (PARTS == 1 || PARTS == 2));
        let sums = sums.as_mut_ptr();
        // SAFETY: the caller's promise; the sums are four tiles of 1024 bytes.
        unsafe {
            match (PARTS, ADD) {
                (2, true) => form!(self, sums, load, split),
                (2, false) => form!(self, sums, zero, split),
                (_, true) => form!(self, sums, load, high),
                (_, false) => form!(self, sums, zero, high),
            }
        }
    }
}
