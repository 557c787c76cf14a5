// CUDA C as C++: what the kernels need of the language, and one thread after the other.
//
// A block's threads run in their order, each on a stack of its own once one of them meets a barrier;
// `__syncthreads` hands over to the next. So a kernel's source runs as it is, barriers and shared
// memory included, and a barrier that not all threads reach is seen.
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

#define __global__
#define __device__
#define __shared__
#define __syncthreads barrier

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
