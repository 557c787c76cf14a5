// Sums and maxima over many numbers, the same bits every time. A thread takes up to `group` of them
// and leaves one; the program launches the kernel again on what is left until one is. So the tree of
// additions depends on the length alone, and no barrier and no atomic addition is needed.

// Sums down the columns of `numbers (rows, columns)`: a thread those of `width` neighbouring columns,
// 8 or 1, in rows `g * group .. (g + 1) * group`, carrying to the next addition what each one rounds
// away (Kahan), for a mean over a hundred thousand places would otherwise lose it.
template <class T>
__device__ inline void sum_rows_of(float* sums, const T* numbers, u64 rows, u32 columns, u32 group, u32 width) {
    u32 runs = columns / width, i = (u32)thread_number();
    u64 g = i / runs;
    u32 c = i % runs * width;
    if (g * group >= rows) return;
    u64 end = (g + 1) * group < rows ? (g + 1) * group : rows;
    Eight sum = {}, lost = {};
    for (u64 row = g * group; row < end; ++row) {
        Eight run = read_run(numbers + row * columns + c, width);
        for (u32 k = 0; k < EIGHT; ++k) {
            float term = run.at[k] - lost.at[k];
            float next = sum.at[k] + term;
            lost.at[k] = (next - sum.at[k]) - term;
            sum.at[k] = next;
        }
    }
    write_run(sums + g * columns + c, sum, width);
}
extern "C" __global__ void sum_rows(float* sums, const float* numbers, u64 rows, u32 columns, u32 group, u32 width) {
    sum_rows_of(sums, numbers, rows, columns, group, width);
}
extern "C" __global__ void sum_value_rows(float* sums, const value* values, u64 rows, u32 columns, u32 group, u32 width) {
    sum_rows_of(sums, values, rows, columns, group, width);
}

// The largest magnitude that each block sees, thread by thread over runs of eight; halves of a block
// are then folded onto each other. Magnitudes compare like the integers with their bits, and so
// compared a NaN is larger than infinity: it stays.
template <class T>
__device__ inline void largest_of(float* maxima, float* shared, const T* numbers, u64 len) {
    u64 step = (u64)gridDim.x * blockDim.x * EIGHT;
    u32 best = 0;
    for (u64 at = run_begin(); at < len; at += step) {
        Eight run = read_run(numbers + at, len - at < EIGHT ? (u32)(len - at) : EIGHT);
        for (u32 k = 0; k < EIGHT; ++k) {
            u32 magnitude = __float_as_uint(run.at[k]) & 0x7fffffffu;
            best = magnitude > best ? magnitude : best;
        }
    }
    shared[threadIdx.x] = __uint_as_float(best);
    for (u32 half = blockDim.x / 2; half > 0; half /= 2) {
        __syncthreads();
        u32 other = __float_as_uint(shared[(threadIdx.x + half) % blockDim.x]);
        if (threadIdx.x < half && other > __float_as_uint(shared[threadIdx.x])) {
            shared[threadIdx.x] = __uint_as_float(other);
        }
    }
    if (threadIdx.x == 0) maxima[blockIdx.x] = shared[0];
}
extern "C" __global__ void largest(float* maxima, const float* numbers, u64 len) {
    extern __shared__ float shared[];
    largest_of(maxima, shared, numbers, len);
}
extern "C" __global__ void largest_value(float* maxima, const value* values, u64 len) {
    extern __shared__ float shared[];
    largest_of(maxima, shared, values, len);
}

extern "C" __global__ void sum_squares(double* sums, const float* numbers, u64 len, u64 threads) {
    u64 i = thread_number();
    if (i >= threads) return;
    double sum = 0.0;
    for (u64 at = i; at < len; at += threads) sum += (double)numbers[at] * (double)numbers[at];
    sums[i] = sum;
}

extern "C" __global__ void sum_doubles(double* sums, const double* numbers, u64 len, u64 threads) {
    u64 i = thread_number();
    if (i >= threads) return;
    double sum = 0.0;
    for (u64 at = i; at < len; at += threads) sum += numbers[at];
    sums[i] = sum;
}
