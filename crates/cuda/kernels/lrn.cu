// Local response normalisation (paper, section 3.3), across maps and within one map.
//
// With s_i = k + alpha * sum of x_j^2 over the window of i, forward is y_i = x_i * s_i^-beta. An
// input acts through its own numerator and through every sum it is part of, so
//
//   dx_i = dy_i * s_i^-beta - 2 alpha beta x_i * sum of t_j,   t_j = dy_j * x_j * s_j^(-beta-1),
//
// the sum over all j whose window holds i: the window of i, mirrored. The terms t are computed once
// and then gathered.

// The GPU's own approximations, right to a few in the last place of sums near 1, as they are, and far cheaper
// than a power and a division.
__device__ inline float logarithm(float number) {
#ifdef __CUDA_ARCH__
    float result;
    asm("lg2.approx.ftz.f32 %0, %1;" : "=f"(result) : "f"(number));
    return result;
#else
    return log2f(number);
#endif
}
__device__ inline float power_of_two(float exponent) {
#ifdef __CUDA_ARCH__
    float result;
    asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(result) : "f"(exponent));
    return result;
#else
    return exp2f(exponent);
#endif
}

// number^-beta and number^(-beta - 1).
struct Powers {
    float own, next;
};
__device__ inline Powers to_minus_beta(float number, float beta) {
    float exponent = logarithm(number);
    return {power_of_two(-beta * exponent), power_of_two((-beta - 1.0f) * exponent)};
}

// A window of `size` around element `at` of `count` in a row, cut at both ends: `first .. end`. It
// begins `size / 2` before the element.
__device__ inline u32 window_first(u32 at, u32 size) {
    return at > size / 2 ? at - size / 2 : 0;
}
__device__ inline u32 window_end(u32 at, u32 size, u32 count) {
    return smaller(at + size - size / 2, count);
}
// The elements whose window holds `at`.
__device__ inline u32 mirrored_first(u32 at, u32 size) {
    u32 before = size - size / 2 - 1;
    return at > before ? at - before : 0;
}
__device__ inline u32 mirrored_end(u32 at, u32 size, u32 count) {
    return smaller(at + size / 2 + 1, count);
}

// s of element `at` of a tower. The maps of one place stand side by side, and so do those of one
// tower: the neighbours of an element are around it, as far as its tower goes.
__device__ inline float sum_across_maps(const value* tower, u32 at, u32 maps, u32 size, float alpha, float k) {
    u32 end = window_end(at, size, maps);
    float squares = 0.0f;
    for (u32 j = window_first(at, size); j < end; ++j) squares += wide(tower[j]) * wide(tower[j]);
    return k + alpha * squares;
}

// A thread computes `width` neighbours of one tower, 8 or 1.
extern "C" __global__ void lrn_maps_forward(value* y, const value* x, u32 maps, u32 size, float alpha, float beta, float k, u32 width, u64 len) {
    u64 first = thread_number() * width;
    if (first >= len) return;
    u32 at = (u32)thread_number() % (maps / width) * width;
    Eight run = read_run(x + first, width);
    for (u32 i = 0; i < EIGHT; ++i) {
        if (i >= width) break;
        run.at[i] *= to_minus_beta(sum_across_maps(x + (first - at), at + i, maps, size, alpha, k), beta).own;
    }
    write_run(y + first, run, width);
}

// A block computes the terms of its own elements and of the `size - 1` around them into shared
// memory, and the powers beside them; then each thread gathers.
extern "C" __global__ void lrn_maps_backward(value* d_x, const value* d_y, const value* x, u32 maps, u32 size, float alpha, float beta, float k, u64 len) {
    alignas(16) extern __shared__ float shared[];
    u32 width = blockDim.x + size - 1, before = size - size / 2 - 1;
    float* terms = shared;
    float* powers = shared + width;
    u64 first = (u64)blockIdx.x * blockDim.x;
    // Where in its tower the element of the first slot is.
    u32 begin = (u32)((first + (u64)before * (maps - 1)) % maps);
    for (u32 slot = threadIdx.x; slot < width; slot += blockDim.x) {
        u64 j = first + slot;  // `before` more than the element it is
        if (j < before || j - before >= len) continue;
        j -= before;
        u32 at = (begin + slot) % maps;
        float sum = sum_across_maps(x + (j - at), at, maps, size, alpha, k);
        Powers power = to_minus_beta(sum, beta);
        terms[slot] = wide(d_y[j]) * wide(x[j]) * power.next;
        powers[slot] = power.own;
    }
    __syncthreads();
    u64 i = first + threadIdx.x;
    if (i >= len) return;
    u32 own = threadIdx.x + before, at = (begin + own) % maps, end = mirrored_end(at, size, maps);
    float sum = 0.0f;
    for (u32 j = mirrored_first(at, size); j < end; ++j) sum += terms[own + j - at];
    put(d_x + i, wide(d_y[i]) * powers[own] - 2.0f * alpha * beta * wide(x[i]) * sum);
}

// The window of all published tables, over towers of whole runs of eight maps. A thread computes one run,
// and what its windows reach of the runs beside it, the threads of the block show each other. A block's
// first and last threads have a run of the blocks beside it, and do nothing but show that. Threads that
// have none, before the first and behind the last, take the first, which nobody sees.
const u32 FIVE = 5, REACH = FIVE / 2, SPAN = EIGHT + 2 * REACH;
struct Run {
    u32 number;
    u64 first;
    bool is_own, has_before, has_after;
};
__device__ inline Run own_run(u32 maps, u64 len) {
    u32 inner = blockDim.x - 2, number = blockIdx.x * inner + threadIdx.x - 1;
    bool is_there = number < (u32)(len / EIGHT), is_own = is_there && threadIdx.x - 1 < inner;
    if (!is_there) number = 0;
    u32 at = number % (maps / EIGHT);
    return {number, (u64)number * EIGHT, is_own, at > 0, at + 1 < maps / EIGHT};
}

// A run and what is beside it in its tower, 0 where that ends. Threads come here together, and show what
// they have in `ends`, four numbers a thread.
struct Span {
    float at[SPAN];
};
struct alignas(8) End {
    float at[REACH];
};
__device__ inline Span with_neighbours(const Eight& own, float* ends, const Run& run) {
    End *firsts = (End*)ends + threadIdx.x, *lasts = firsts + blockDim.x, before = {}, after = {};
    *firsts = {own.at[0], own.at[1]};
    *lasts = {own.at[EIGHT - 2], own.at[EIGHT - 1]};
    __syncthreads();
    if (run.has_before && threadIdx.x > 0) before = lasts[-1];
    if (run.has_after && threadIdx.x + 1 < blockDim.x) after = firsts[1];
    Span span;
    for (u32 k = 0; k < REACH; ++k) span.at[k] = before.at[k];
    for (u32 k = 0; k < EIGHT; ++k) span.at[REACH + k] = own.at[k];
    for (u32 k = 0; k < REACH; ++k) span.at[REACH + EIGHT + k] = after.at[k];
    return span;
}

__device__ inline Eight sums_of_five(const Span& terms) {
    float pairs[SPAN - 1];
    for (u32 i = 0; i < SPAN - 1; ++i) pairs[i] = terms.at[i] + terms.at[i + 1];
    Eight sums;
    for (u32 i = 0; i < EIGHT; ++i) sums.at[i] = pairs[i] + pairs[i + 2] + terms.at[i + 4];
    return sums;
}
// s of each element of a run.
__device__ inline Eight sums_of_squares(const Eight& x, float* ends, const Run& run, float alpha, float k) {
    Eight squares;
    for (u32 i = 0; i < EIGHT; ++i) squares.at[i] = x.at[i] * x.at[i];
    Eight sums = sums_of_five(with_neighbours(squares, ends, run));
    for (u32 i = 0; i < EIGHT; ++i) sums.at[i] = k + alpha * sums.at[i];
    return sums;
}

// What is normalised: x, or the ReLU of a convolution's sums x and their bias. On the way back that is
// formed anew, for to keep it would be a pass over memory more; both ways see the same numbers, in `float`.
template <bool RECTIFIES, bool WHOLE>
__device__ inline Eight read_input(const value* x, const float* bias, u32 channels, const Run& run) {
    Eight own = unpacked(read_part<WHOLE>(x + run.first, EIGHT));
    if (!RECTIFIES) return own;
    Eight sum = unpacked(read_part<WHOLE>(bias + run.number % (channels / EIGHT) * EIGHT, EIGHT));
    for (u32 k = 0; k < EIGHT; ++k) own.at[k] = rectified(own.at[k] + sum.at[k]);
    return own;
}

template <bool RECTIFIES>
__device__ inline void normalise_five(value* y, const value* x, const float* bias, float* shared, u32 channels, u32 maps, float alpha, float beta, float k, u64 len) {
    Run run = own_run(maps, len);
    bool whole = are_whole(x, EIGHT) && are_whole(bias, EIGHT);
    Eight own = whole ? read_input<RECTIFIES, true>(x, bias, channels, run) : read_input<RECTIFIES, false>(x, bias, channels, run);
    Eight sums = sums_of_squares(own, shared, run, alpha, k);
    if (!run.is_own) return;
    for (u32 i = 0; i < EIGHT; ++i) own.at[i] *= to_minus_beta(sums.at[i], beta).own;
    write_run(y + run.first, own, EIGHT);
}
extern "C" __global__ void lrn_five_forward(value* y, const value* x, u32 maps, float alpha, float beta, float k, u64 len) {
    alignas(16) extern __shared__ float shared[];
    normalise_five<false>(y, x, nullptr, shared, maps, maps, alpha, beta, k, len);
}
extern "C" __global__ void bias_lrn_five_forward(value* y, const value* sums, const float* bias, u32 channels, u32 maps, float alpha, float beta, float k, u64 len) {
    alignas(16) extern __shared__ float shared[];
    normalise_five<true>(y, sums, bias, shared, channels, maps, alpha, beta, k, len);
}

template <bool RECTIFIES>
__device__ inline void normalise_five_back(value* d_x, const value* d_y, const value* x, const float* bias, float* shared, u32 channels, u32 maps, float alpha, float beta, float k, u64 len) {
    Run run = own_run(maps, len);
    Eight own, d, terms;
    if (are_whole(x, EIGHT) && are_whole(bias, EIGHT) && are_whole(d_y, EIGHT)) {
        // Both are on their way at the same time.
        d = read_whole(d_y + run.first);
        own = read_input<RECTIFIES, true>(x, bias, channels, run);
    } else {
        d = read_run(d_y + run.first, EIGHT);
        own = read_input<RECTIFIES, false>(x, bias, channels, run);
    }
    Eight sums = sums_of_squares(own, shared, run, alpha, k);
    for (u32 i = 0; i < EIGHT; ++i) {
        Powers powers = to_minus_beta(sums.at[i], beta);
        terms.at[i] = d.at[i] * own.at[i] * powers.next;
        d.at[i] *= powers.own;
    }
    Eight gathered = sums_of_five(with_neighbours(terms, shared + 2 * REACH * blockDim.x, run));
    if (!run.is_own) return;
    for (u32 i = 0; i < EIGHT; ++i) {
        d.at[i] -= 2.0f * alpha * beta * own.at[i] * gathered.at[i];
        if (RECTIFIES && own.at[i] <= 0.0f) d.at[i] = 0.0f;
    }
    write_run(d_x + run.first, d, EIGHT);
}
extern "C" __global__ void lrn_five_backward(value* d_x, const value* d_y, const value* x, u32 maps, float alpha, float beta, float k, u64 len) {
    alignas(16) extern __shared__ float shared[];
    normalise_five_back<false>(d_x, d_y, x, nullptr, shared, maps, maps, alpha, beta, k, len);
}
extern "C" __global__ void rectified_lrn_five_backward(value* d_x, const value* d_y, const value* sums, const float* bias, u32 channels, u32 maps, float alpha, float beta, float k, u64 len) {
    alignas(16) extern __shared__ float shared[];
    normalise_five_back<true>(d_x, d_y, sums, bias, shared, channels, maps, alpha, beta, k, len);
}

struct Maps {
    u32 height, width, channels;
};

__device__ inline float sum_within_map(const value* x, u32 i, Maps s, u32 size, float alpha, float k) {
    u32 c = i % s.channels, place = i / s.channels;
    u32 column = place % s.width, row = place / s.width % s.height, n = place / s.width / s.height;
    u32 row_end = window_end(row, size, s.height), column_end = window_end(column, size, s.width);
    float squares = 0.0f;
    for (u32 r = window_first(row, size); r < row_end; ++r) {
        for (u32 q = window_first(column, size); q < column_end; ++q) {
            float own = wide(x[(((u64)n * s.height + r) * s.width + q) * s.channels + c]);
            squares += own * own;
        }
    }
    return k + alpha * squares;
}

extern "C" __global__ void lrn_map_forward(value* y, const value* x, Maps s, u32 size, float alpha, float beta, float k, u32 len) {
    u32 i = (u32)thread_number();
    if (i < len) put(y + i, wide(x[i]) * to_minus_beta(sum_within_map(x, i, s, size, alpha, k), beta).own);
}

// First half of the gradient: the terms. A window of rows and columns does not fit a block, so they
// go through memory.
extern "C" __global__ void lrn_map_terms(float* terms, const value* d_y, const value* x, Maps s, u32 size, float alpha, float beta, float k, u32 len) {
    u32 i = (u32)thread_number();
    if (i >= len) return;
    float sum = sum_within_map(x, i, s, size, alpha, k);
    terms[i] = wide(d_y[i]) * wide(x[i]) * to_minus_beta(sum, beta).next;
}

// Second half: what an input's own numerator gives, and what it gives through the sums it is part of.
extern "C" __global__ void lrn_map_gather(value* d_x, const float* terms, const value* d_y, const value* x, Maps s, u32 size, float alpha, float beta, float k, u32 len) {
    u32 i = (u32)thread_number();
    if (i >= len) return;
    u32 c = i % s.channels, place = i / s.channels;
    u32 column = place % s.width, row = place / s.width % s.height, n = place / s.width / s.height;
    u32 row_end = mirrored_end(row, size, s.height), column_end = mirrored_end(column, size, s.width);
    float sum = 0.0f;
    for (u32 r = mirrored_first(row, size); r < row_end; ++r) {
        for (u32 q = mirrored_first(column, size); q < column_end; ++q) {
            sum += terms[(((u64)n * s.height + r) * s.width + q) * s.channels + c];
        }
    }
    float own = wide(d_y[i]) * to_minus_beta(sum_within_map(x, i, s, size, alpha, k), beta).own;
    put(d_x + i, own - 2.0f * alpha * beta * wide(x[i]) * sum);
}
