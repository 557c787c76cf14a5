// Sums and maxima over many values, the same bits every time. A thread takes up to `group` values
// and leaves one; the program launches the kernel again on what is left until one is. So the tree of
// additions depends on the length alone, and no barrier and no atomic addition is needed.

// Sums down the columns of `values (rows, columns)`: thread (g, c) those of rows
// `g * group .. (g + 1) * group`, carrying to the next addition what each one rounds away (Kahan),
// for a mean over a hundred thousand places would otherwise lose it.
extern "C" __global__ void sum_rows(float* sums, const float* values, u64 rows, u32 columns, u32 group) {
    u64 i = thread_number(), g = i / columns;
    u32 c = (u32)(i % columns);
    if (g * group >= rows) return;
    u64 end = (g + 1) * group < rows ? (g + 1) * group : rows;
    float sum = 0.0f, lost = 0.0f;
    for (u64 row = g * group; row < end; ++row) {
        float value = values[row * columns + c] - lost;
        float next = sum + value;
        lost = (next - sum) - value;
        sum = next;
    }
    sums[i] = sum;
}

// The largest magnitude, thread by thread over every `threads`-th value. Magnitudes compare like
// the integers with their bits, and so compared a NaN is larger than infinity: it stays.
extern "C" __global__ void largest(float* maxima, const float* values, u64 len, u64 threads) {
    u64 i = thread_number();
    if (i >= threads) return;
    u32 best = 0;
    for (u64 at = i; at < len; at += threads) {
        u32 magnitude = __float_as_uint(values[at]) & 0x7fffffffu;
        if (magnitude > best) best = magnitude;
    }
    maxima[i] = __uint_as_float(best);
}

extern "C" __global__ void sum_squares(double* sums, const float* values, u64 len, u64 threads) {
    u64 i = thread_number();
    if (i >= threads) return;
    double sum = 0.0;
    for (u64 at = i; at < len; at += threads) sum += (double)values[at] * (double)values[at];
    sums[i] = sum;
}

extern "C" __global__ void sum_doubles(double* sums, const double* values, u64 len, u64 threads) {
    u64 i = thread_number();
    if (i >= threads) return;
    double sum = 0.0;
    for (u64 at = i; at < len; at += threads) sum += values[at];
    sums[i] = sum;
}
