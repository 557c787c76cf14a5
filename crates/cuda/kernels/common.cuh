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
// Shared memory is always `extern __shared__ float shared[]`, sized by the launch.
// Everything is in channels-last order, `(N, H, W, C)`.

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

// 0 of a number, NaN of what is none: added to a result, it keeps an infinity from hiding.
__device__ inline float spoilt(float value) {
    return value * 0.0f;
}

// max(0, value); NaN of what is not finite.
__device__ inline float rectified(float value) {
    return (value < 0.0f ? 0.0f : value) + spoilt(value);
}
