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

// The largest magnitude that a block sees of `len` numbers that its threads share in runs of eight;
// halves of the block are then folded onto each other. Magnitudes compare like the integers with
// their bits, and so compared a NaN is larger than infinity: it stays.
template <class T>
__device__ inline void largest_of(float* largest, float* shared, const T* numbers, u64 len) {
    u32 best = 0;
    for (u64 at = threadIdx.x * EIGHT; at < len; at += blockDim.x * EIGHT) {
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
    if (threadIdx.x == 0) *largest = shared[0];
}

// Of many arrays at once: array `a` is `table[4 a ..]`, its address, its length, whether it is of
// bf16, and the first of its blocks, each of which sees `piece` of its numbers.
extern "C" __global__ void largest_of_pieces(float* maxima, const u64* table, u32 arrays, u32 piece) {
    alignas(16) extern __shared__ float shared[];
    u32 array = 0;
    while (array + 1 < arrays && table[4 * (array + 1) + 3] <= blockIdx.x) ++array;
    u64 address = table[4 * array], len = table[4 * array + 1], begin = (blockIdx.x - table[4 * array + 3]) * piece;
    u64 count = begin >= len ? 0 : len - begin < piece ? len - begin : piece;
    if (table[4 * array + 2]) {
        largest_of(maxima + blockIdx.x, shared, (const u16*)address + begin, count);
    } else {
        largest_of(maxima + blockIdx.x, shared, (const float*)address + begin, count);
    }
}
// Then of each array's pieces, a block an array.
extern "C" __global__ void largest_of_arrays(float* found, const float* maxima, const u64* table, u32 arrays, u32 blocks) {
    alignas(16) extern __shared__ float shared[];
    u64 first = table[4 * blockIdx.x + 3];
    u64 end = blockIdx.x + 1 < arrays ? table[4 * (blockIdx.x + 1) + 3] : blocks;
    largest_of(found + blockIdx.x, shared, maxima + first, end - first);
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
