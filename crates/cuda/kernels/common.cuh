// What every kernel stands on. The program joins this file and all `.cu` files to one source and
// has NVRTC compile it when a device is opened; nothing is included, so no CUDA headers are needed.
//
// How a kernel is read: it is the body of a loop over threads. A launch says how many blocks of
// how many threads there are; each thread finds its own number and does the work of that number
// alone. Threads of a block can meet (`__syncthreads`) and share a little fast memory; blocks
// cannot. Neighbouring threads touch neighbouring addresses wherever they can, for the memory
// serves 32 of them at once.
//
// How these kernels are kept the same from run to run: no thread adds to what another thread adds
// to. Whoever needs a sum gathers all its terms itself, in a fixed order.
//
// Conventions: outputs come first, then inputs, then sizes. Kernels are `extern "C"`, take pointers
// to plain numbers, `u32`, `u64`, `float` and the structures of `u32` defined beside them, so that
// the program can compare each call's arguments with the declaration it reads in these files.
// Shared memory is always `alignas(16) extern __shared__ float shared[]`, sized by the launch.
// Everything is in channels-last order, `(N, H, W, C)`.
//
// What flows through the network, activations and their gradients, has the type `value`, which the
// program defines above this file: `float`, or `u16` that are read as bf16. Parameters, their
// gradients and sums are `float` always. A kernel reads with `wide`, computes in `float`, and writes
// with `put`.

typedef unsigned char u8;
typedef unsigned short u16;
typedef unsigned int u32;
typedef unsigned long long u64;

// The number of this thread among all threads of the launch.
__device__ inline u64 thread_number() {
    return (u64)blockIdx.x * blockDim.x + threadIdx.x;
}

__device__ inline u32 smaller(u32 a, u32 b) {
    return a < b ? a : b;
}

// The upper half of each number, rounded to nearest, ties to even: bf16 as matrix products take it.
__device__ inline u16 to_bf16(float number) {
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 800
    u16 rounded;
    asm("cvt.rn.bf16.f32 %0, %1;" : "=h"(rounded) : "f"(number));
    return rounded;
#else
    u32 bits = __float_as_uint(number);
    // A NaN stays one: rounding could carry its fraction away and leave an infinity.
    if ((bits & 0x7fffffffu) > 0x7f800000u) return (u16)((bits >> 16) | 0x40u);
    return (u16)((bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16);
#endif
}

// Two neighbours, `a` being the first.
__device__ inline u32 two_to_bf16(float a, float b) {
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 800
    u32 rounded;
    asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(rounded) : "f"(b), "f"(a));
    return rounded;
#else
    return to_bf16(a) | (u32)to_bf16(b) << 16;
#endif
}

__device__ inline float wide(float number) {
    return number;
}
__device__ inline float wide(u16 bf16) {
    return __uint_as_float((u32)bf16 << 16);
}
__device__ inline void put(float* place, float number) {
    *place = number;
}
__device__ inline void put(u16* place, float number) {
    *place = to_bf16(number);
}

// Eight neighbours, which one thread takes together: as few as four bytes a thread would leave most
// of the memory's breadth unused.
const u32 EIGHT = 8;
struct Eight {
    float at[EIGHT];
};

// The same as they are stored: bf16 by twos, as they are rounded and widened with the fewest instructions.
template <class T>
struct alignas(16) Packed {
    T at[EIGHT];
};
template <>
struct alignas(16) Packed<u16> {
    u32 two_at[EIGHT / 2];
};
__device__ inline float number_of(const Packed<float>& packed, u32 k) {
    return packed.at[k];
}
__device__ inline float number_of(const Packed<u16>& packed, u32 k) {
    u32 two = packed.two_at[k / 2];
    return __uint_as_float(k % 2 ? two & 0xffff0000u : two << 16);
}
__device__ inline void pack(Packed<float>& packed, const Eight& run) {
    for (u32 k = 0; k < EIGHT; ++k) packed.at[k] = run.at[k];
}
__device__ inline void pack(Packed<u16>& packed, const Eight& run) {
    for (u32 k = 0; k < EIGHT; k += 2) packed.two_at[k / 2] = two_to_bf16(run.at[k], run.at[k + 1]);
}
template <class T>
__device__ inline Packed<T> packed(const Eight& run) {
    Packed<T> packed;
    pack(packed, run);
    return packed;
}

// Eight neighbours that begin where the memory can give them at once.
template <class T>
__device__ inline Packed<T> read_packed(const T* x) {
    return *(const Packed<T>*)x;
}
template <class T>
__device__ inline Eight unpacked(const Packed<T>& packed) {
    Eight run;
    for (u32 k = 0; k < EIGHT; ++k) run.at[k] = number_of(packed, k);
    return run;
}
template <class T>
__device__ inline Eight read_whole(const T* x) {
    return unpacked(read_packed(x));
}
// The first `count` of eight neighbours, the others 0: at once if all are asked for and stand where
// the memory can give them so.
template <class T>
__device__ inline Eight read_run(const T* x, u32 count) {
    if (count == EIGHT && (u64)x % 16 == 0) return read_whole(x);
    Eight run;
    for (u32 k = 0; k < EIGHT; ++k) run.at[k] = k < count ? wide(x[k]) : 0.0f;
    return run;
}
// Whether every run of `width` neighbours of an array can be read at once, where the array is whole runs
// of eight; and such a run, if that is known, as it is stored: so it takes the fewest registers.
template <class T>
__device__ inline bool are_whole(const T* numbers, u32 width) {
    return width == EIGHT && (u64)numbers % 16 == 0;
}
template <bool WHOLE, class T>
__device__ inline Packed<T> read_part(const T* x, u32 width) {
    return WHOLE ? read_packed(x) : packed<T>(read_run(x, width));
}
template <class T>
__device__ inline void write_packed(T* y, const Packed<T>& run) {
    *(Packed<T>*)y = run;
}
template <class T>
__device__ inline void write_run(T* y, const Eight& run, u32 count) {
    if (count == EIGHT && (u64)y % 16 == 0) return write_packed(y, packed<T>(run));
    for (u32 k = 0; k < EIGHT; ++k) {
        if (k < count) put(y + k, run.at[k]);
    }
}
template <bool WHOLE, class T>
__device__ inline void write_part(T* y, const Packed<T>& run, u32 width) {
    if (WHOLE) return write_packed(y, run);
    write_run(y, unpacked(run), width);
}

// Four neighbours from one place and four from another, as a run. Threads side by side that take fours of
// `float` have whole lines of memory between them; with eight each, an instruction would have half of every
// sector, and what it writes would be put together again, half by half.
const u32 FOUR = 4;
struct alignas(16) Four {
    float at[FOUR];
};
struct alignas(8) RoundedFour {
    u32 two_at[FOUR / 2];
};
// Whether fours of an array can be taken at once.
__device__ inline bool are_whole_fours(const float* numbers) {
    return (u64)numbers % sizeof(Four) == 0;
}
__device__ inline bool are_whole_fours(const u16* numbers) {
    return (u64)numbers % sizeof(RoundedFour) == 0;
}
template <bool WHOLE>
__device__ inline Eight read_fours(const float* one, const float* other) {
    Four fours[2] = {};
    if (WHOLE) {
        fours[0] = *(const Four*)one;
        fours[1] = *(const Four*)other;
    }
    Eight run;
    for (u32 k = 0; k < FOUR; ++k) {
        run.at[k] = WHOLE ? fours[0].at[k] : one[k];
        run.at[FOUR + k] = WHOLE ? fours[1].at[k] : other[k];
    }
    return run;
}
template <bool WHOLE>
__device__ inline void write_four(float* y, const float* four) {
    if (WHOLE) *(Four*)y = {four[0], four[1], four[2], four[3]};
    for (u32 k = 0; k < FOUR && !WHOLE; ++k) y[k] = four[k];
}
template <bool WHOLE>
__device__ inline void write_four(u16* y, const float* four) {
    if (WHOLE) *(RoundedFour*)y = {two_to_bf16(four[0], four[1]), two_to_bf16(four[2], four[3])};
    for (u32 k = 0; k < FOUR && !WHOLE; ++k) put(y + k, four[k]);
}
template <bool WHOLE, class T>
__device__ inline void write_fours(T* one, T* other, const Eight& run) {
    write_four<WHOLE>(one, run.at);
    write_four<WHOLE>(other, run.at + FOUR);
}

// The run of this thread where threads share an array of `len` elements: where it begins, and how
// many of its eight there are.
__device__ inline u64 run_begin() {
    return thread_number() * EIGHT;
}
__device__ inline u32 run_count(u64 len) {
    u64 begin = run_begin();
    return begin >= len ? 0 : len - begin < EIGHT ? (u32)(len - begin) : EIGHT;
}

// 0 of a number, NaN of what is none: added to a result, it keeps an infinity from hiding.
__device__ inline float spoilt(float number) {
    return number * 0.0f;
}

// max(0, number); NaN of what is not finite.
__device__ inline float rectified(float number) {
    return fmaxf(number, 0.0f) + spoilt(number);
}
