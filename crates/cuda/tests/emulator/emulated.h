// CUDA C as C++: what the kernels need of the language, and one thread after the other.
//
// A block's threads run in their order, each on a stack of its own once one of them meets a barrier;
// `__syncthreads` hands over to the next. So a kernel's source runs as it is, barriers and shared
// memory included, and a barrier that not all threads reach is seen. What a warp does together, its
// 32 threads reach one after the other, before those of the next warp begin.
#pragma once
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstring>

struct Triple {
    unsigned x, y, z;
};

extern thread_local Triple threadIdx, blockIdx, blockDim, gridDim;
void barrier();
void warp_barrier();

#define __global__
#define __device__
#define __shared__
#define __syncthreads barrier
#define __syncwarp warp_barrier

inline unsigned __float_as_uint(float value) {
    unsigned bits;
    std::memcpy(&bits, &value, 4);
    return bits;
}
inline float __uint_as_float(unsigned bits) {
    float value;
    std::memcpy(&value, &bits, 4);
    return value;
}

// `matrix_unit.cuh`, by the PTX manual's drawings.
struct Quarters {
    unsigned part[4];
};
Quarters load_turned(const unsigned short* row);
void multiply_add(float* sums, const Quarters& a, unsigned b0, unsigned b1);
void begin_copy(unsigned short* to, const unsigned short* from, bool is_there);
void end_copies();
void await_copies_but_last();
void expect(const void* address);
