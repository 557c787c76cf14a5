// The matrix units' instructions, and those that feed them, each named for what it does. A warp's 32
// threads do them together. A matrix of bf16 lies in the warp's registers, two neighbours along the
// depth of a product in each, as the PTX manual draws it for `mma.m16n8k16`:
//
//   a (16, 16): thread t has row t / 4 and that + 8, columns 2 (t % 4) and those + 8: `part[0]`,
//               `part[1]` the two rows, `part[2]`, `part[3]` the same of the later columns.
//   b (16, 8):  thread t has column t / 4, rows 2 (t % 4) and those + 8.
//   sums (16, 8) of `float`: thread t has rows t / 4 and that + 8, columns 2 (t % 4) and the next.
//
// Compiled for programs whose values are bf16 alone; a processor that stands in for the GPU brings
// its own.
#if defined(__CUDA_ARCH__)

struct Quarters {
    u32 part[4];
};

// Four 8 x 8 matrices out of shared memory, turned: thread t says where row t % 8 of matrix t / 8
// begins, and gets from each of the four the neighbours 2 (t % 4) and the next of column t / 4.
__device__ inline Quarters load_turned(const u16* row) {
    u32 address = (u32)__cvta_generic_to_shared(row);
    Quarters got;
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0, %1, %2, %3}, [%4];"
                 : "=r"(got.part[0]), "=r"(got.part[1]), "=r"(got.part[2]), "=r"(got.part[3])
                 : "r"(address)
                 : "memory");
    return got;
}

// sums += a * b.
__device__ inline void multiply_add(float* sums, const Quarters& a, u32 b0, u32 b1) {
    asm volatile("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, "
                 "{%0, %1, %2, %3};"
                 : "+f"(sums[0]), "+f"(sums[1]), "+f"(sums[2]), "+f"(sums[3])
                 : "r"(a.part[0]), "r"(a.part[1]), "r"(a.part[2]), "r"(a.part[3]), "r"(b0), "r"(b1));
}

// Has 16 bytes copied to shared memory while the thread goes on; zeros in place of what is not there.
__device__ inline void begin_copy(u16* to, const u16* from, bool is_there) {
    u32 address = (u32)__cvta_generic_to_shared(to), bytes = is_there ? 16 : 0;
    asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(address), "l"(from), "r"(bytes) : "memory");
}
// The thread's copies since the last end are one group.
__device__ inline void end_copies() {
    asm volatile("cp.async.commit_group;" ::: "memory");
}
// Until all of the thread's groups but the last have arrived.
__device__ inline void await_copies_but_last() {
    asm volatile("cp.async.wait_group 1;" ::: "memory");
}

// Has the second cache fetch what stands there.
__device__ inline void expect(const void* address) {
    asm volatile("prefetch.global.L2 [%0];" ::"l"(address));
}

#endif
